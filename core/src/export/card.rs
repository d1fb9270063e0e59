//! `card.json`: all that a reader needs besides the weights.

use super::inputs::{GroupInputs, Inputs};
use super::{ExportOptions, names, vocabulary};
use crate::data::layout::{BagColumn, GroupLayout, IdColumn, NumberColumn, TableLayout};
use crate::data::{FIRST_ID, Layout, MISSING, NumberFit, OUT_OF_VOCABULARY};
use crate::graph::words::{describe, prediction_columns};
use crate::graph::{Composition, Event};
use crate::onnx::{IR, OPSET, Onnx};
use crate::score::Scorer;
use crate::spec::Vocabulary;
use serde_json::{Map, Value, json};

/// Changes whenever the form of the card does.
const FORMAT: u32 = 1;

pub(super) fn card(scorer: &Scorer, options: &ExportOptions, inputs: Option<&Inputs>, onnx: &Onnx<'_>) -> Value {
    let spec = &scorer.spec;
    let mut card = json!({
        "format": FORMAT,
        "producer": format!("esmm-funnel {}", env!("CARGO_PKG_VERSION")),
        "funnel": spec.funnel.name,
        "run": scorer.origin(),
        "row": scorer.graph.row,
        "stages": (0..scorer.graph.len()).map(|s| stage(scorer, s)).collect::<Vec<_>>(),
        "outcomes": (scorer.graph.len()..scorer.graph.targets.len()).map(|t| outcome(scorer, t)).collect::<Vec<_>>(),
        "composition": match scorer.graph.composition { Composition::Product => "product", Composition::Quotient => "quotient" },
        "outputs": prediction_columns(&scorer.graph),
        "rows": { "out_of_vocabulary": OUT_OF_VOCABULARY, "missing": MISSING, "first_id": FIRST_ID },
        "tables": tables(scorer),
        "features": features(scorer, inputs),
        "embedding": { "dim": spec.embedding.dim, "per_stage": spec.embedding.per_stage },
        "encoder": { "kind": spec.encoder.kind, "settings": spec.encoder.settings },
        "files": { "vocabulary": names::VOCABULARY },
    });
    if options.safetensors {
        card["files"]["weights"] = names::WEIGHTS.into();
    }
    if inputs.is_some() {
        card["files"]["onnx"] = names::MODEL.into();
        let info = |v: &crate::onnx::proto::ValueInfo| {
            let tensor = v.r#type.as_ref().and_then(|t| t.tensor_type.clone()).unwrap_or_default();
            let dims = tensor.shape.unwrap_or_default().dim.into_iter().filter_map(|d| d.dim_param).collect::<Vec<_>>();
            let element = crate::onnx::proto::Type::of_code(tensor.elem_type).map(crate::onnx::proto::Type::name);
            json!({ "name": v.name, "type": element, "shape": dims, "what": v.doc_string })
        };
        card["onnx"] = json!({
            "opset": OPSET,
            "ir_version": IR,
            "inputs": onnx.inputs.iter().map(info).collect::<Vec<_>>(),
            "outputs": onnx.outputs.iter().map(info).collect::<Vec<_>>(),
        });
    }
    card
}

/// A list of lists of `[stage, reached]`: a sum over disjoint events, each a product of `p` or `1 − p` of stages' towers.
fn events(scorer: &Scorer, events: &[Event]) -> Value {
    let step = |s: &crate::graph::Step| json!([scorer.graph.nodes[s.stage].name, s.reached]);
    events.iter().map(|event| event.iter().map(step).collect::<Value>()).collect()
}

fn stage(scorer: &Scorer, s: usize) -> Value {
    let (node, words, stated) = (&scorer.graph.nodes[s], &describe(&scorer.graph)[s], &scorer.spec.stages[s]);
    let name = |i: Option<usize>| i.map(|i| scorer.graph.nodes[i].name.clone());
    json!({
        "name": node.name,
        "label": node.label,
        "after": name(node.parent),
        "unless": name(node.unless),
        "columns": words.columns,
        "equation": words.equation,
        "events": events(scorer, &scorer.graph.targets[s].yes),
        "bias": scorer.model.biases[s],
        "calibration": scorer.graph.correction(s).map(|c| json!({ "map": c.map, "log_keep_rate": c.log_keep_rate })),
        "without": stated.features.without,
        "tower": {
            "kind": stated.tower.kind,
            "settings": stated.tower.settings,
            "prefix": scorer.model.tower_prefix(s),
            "layers": scorer.model.towers[s].network.layers(),
        },
    })
}

fn outcome(scorer: &Scorer, t: usize) -> Value {
    let (target, words) = (&scorer.graph.targets[t], &describe(&scorer.graph)[t]);
    json!({
        "name": target.name,
        "any_of": target.stages.iter().map(|s| scorer.graph.nodes[*s].name.clone()).collect::<Vec<_>>(),
        "columns": words.columns,
        "equation": words.equation,
        "events": events(scorer, &target.yes),
    })
}

fn tables(scorer: &Scorer) -> Vec<Value> {
    let (layout, shapes) = (scorer.preprocessor.layout(), &scorer.preprocessor.fields().tables);
    let of_ids = |t: usize, table: &TableLayout| match (table.range, table.vocabulary) {
        (Some((first, last)), _) => json!({ "kind": "range", "first": first, "last": last }),
        (None, Vocabulary::Hashed) => json!({
            "kind": "hashed", "hash": "xxh3_64 of the id's text in UTF-8, with this seed", "seed": Layout::hash_seed(t), "modulo": table.hash_rows,
        }),
        (None, Vocabulary::Learned) => json!({ "kind": "learned", "file": vocabulary::file(scorer, t), "min_count": table.min_count }),
    };
    let table = |(t, shape): (usize, &crate::data::TableShape)| {
        let vocabulary = layout.tables.get(t).map_or_else(|| json!({ "kind": "ranges" }), |table| of_ids(t, table));
        json!({ "name": shape.name, "rows": shape.rows, "vocabulary": vocabulary })
    };
    shapes.iter().enumerate().map(table).collect()
}

/// The features in the order of the input: groups one after the other; of each the ids, the numbers cut into ranges, the bags, then the
/// other numbers. `columns` is where they stand in it.
fn features(scorer: &Scorer, inputs: Option<&Inputs>) -> Vec<Value> {
    let (layout, fields, dim) = (scorer.preprocessor.layout(), scorer.preprocessor.fields(), scorer.spec.embedding.dim.get());
    let (mut out, mut at) = (Vec::new(), 0);
    for (g, group) in layout.groups.iter().enumerate() {
        let of = Group { layout: group, inputs: inputs.map(|i| &i.groups[g]) };
        let mut put = |mut feature: Map<String, Value>, width: usize| {
            feature.insert("of".into(), group.name.clone().into());
            feature.insert("columns".into(), json!([at, at + width]));
            at += width;
            out.push(Value::Object(feature));
        };
        let table = |t: usize| fields.tables[t].name.clone();
        for i in 0..group.ids.len() {
            put(of.id(i, &table(group.ids[i].table)), dim);
        }
        let fits = scorer.preprocessor.numbers(g);
        let (ranges, numbers): (Vec<usize>, Vec<usize>) = (0..fits.len()).partition(|n| matches!(fits[*n], NumberFit::Ranges { .. }));
        for (single, n) in ranges.into_iter().enumerate() {
            let mut feature = of.number(n, &fits[n]);
            feature.insert("table".into(), table(fields.groups[g].singles[group.ids.len() + single].table).into());
            put(feature, dim);
        }
        for b in 0..group.bags.len() {
            put(of.bag(b, &table(group.bags[b].id.table)), dim);
        }
        for n in numbers {
            put(of.number(n, &fits[n]), 1 + usize::from(fits[n].indicator()));
        }
    }
    out
}

struct Group<'a> {
    layout: &'a GroupLayout,
    inputs: Option<&'a GroupInputs>,
}
impl Group<'_> {
    fn id(&self, i: usize, table: &str) -> Map<String, Value> {
        let column = &self.layout.ids[i];
        let mut feature = id_column(column, if column.cross.is_empty() { "id" } else { "cross" }, table);
        if let Some(time) = &column.time {
            feature.insert("kind".into(), "time".into());
            feature.insert("part".into(), time.part.name().into());
            feature.insert("unit".into(), json!(time.unit));
            feature.insert("timezone".into(), json!(time.timezone));
        }
        if let Some(inputs) = self.inputs {
            feature.insert("input".into(), inputs.ids[i].clone().into());
        }
        feature
    }
    fn bag(&self, b: usize, table: &str) -> Map<String, Value> {
        let BagColumn { id, weights, separator, pooling, sequence } = &self.layout.bags[b];
        let mut feature = id_column(id, if sequence.is_some() { "sequence" } else { "bag" }, table);
        feature.insert("weights".into(), json!(weights));
        feature.insert("separator".into(), json!(separator));
        feature.insert("pooling".into(), json!(pooling));
        if let Some(sequence) = sequence {
            feature.insert("attend_to".into(), json!(sequence.attend_to));
            feature.insert("keep_last".into(), json!(sequence.keep_last));
        }
        if let Some(inputs) = self.inputs {
            feature.insert("input".into(), inputs.bags[b].0.clone().into());
            feature.insert("input_weights".into(), inputs.bags[b].1.clone().into());
        }
        feature
    }
    fn number(&self, n: usize, fit: &NumberFit) -> Map<String, Value> {
        let NumberColumn { column, feature, missing, .. } = &self.layout.numbers[n];
        let mut of = Map::new();
        of.insert("column".into(), column.clone().into());
        of.insert("feature".into(), feature.clone().into());
        of.insert("kind".into(), "number".into());
        of.insert("missing".into(), json!(missing));
        of.insert("transform".into(), json!(fit));
        if let Some(inputs) = self.inputs {
            of.insert("input".into(), inputs.numbers[n].clone().into());
        }
        of
    }
}

fn id_column(column: &IdColumn, kind: &str, table: &str) -> Map<String, Value> {
    let mut feature = Map::new();
    feature.insert("column".into(), column.column.clone().into());
    feature.insert("feature".into(), column.feature.clone().into());
    feature.insert("kind".into(), kind.into());
    feature.insert("sources".into(), column.sources().collect::<Vec<_>>().into());
    feature.insert("missing".into(), json!(column.missing));
    feature.insert("table".into(), table.into());
    feature
}
