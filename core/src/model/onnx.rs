//! The forward pass as ONNX nodes: what [`ScoreModel::logits`](super::ScoreModel::logits) computes. Nothing is shared there: what an entity
//! has stands in each of its rows.

use super::{Mask, Model, Owner, StageTower, TableSet};
use crate::onnx::{Onnx, OnnxInput, OnnxSequence, Value};
use crate::spec::{Pooling, Spec};
use anyhow::{Context, Result};

/// What goes in of one group: table rows, and transformed numbers.
#[derive(Debug, Clone, Default)]
pub struct GroupValues {
    /// `[B]` a field: table rows.
    pub singles: Vec<Value>,
    /// A bag field: table rows `[B, L]` and weights `[B, L]`, 0 for padding.
    pub bags: Vec<(Value, Value)>,
    /// `[B, 1]` a column.
    pub numbers: Vec<Value>,
}

impl Model {
    /// Writes everything from table rows to logits: per stage `[B, 1]`, the stage's bias included.
    ///
    /// # Errors
    /// A tower or encoder that does not say how it is written, named with its stage.
    pub fn onnx<'a>(&'a self, spec: &Spec, graph: &mut Onnx<'a>, groups: &[GroupValues]) -> Result<Vec<Value>> {
        let stages = self.graph.len();
        let embedded: Vec<OnnxInput> = (0..self.embeddings.len()).map(|set| self.embed_onnx(graph, set, groups)).collect();
        let shared: Vec<OnnxInput> = self.towers[..stages].iter().map(|t| OnnxInput::new(embedded[t.tables.0].parts.clone())).collect();
        let encoded = graph.scope("encoder", |graph| self.encoder.onnx(graph, &shared)).with_context(|| {
            let kind = &spec.encoder.kind;
            format!("encoder `{kind}` does not say how it is written as ONNX: {}", remedy("Encoder"))
        })?;
        let mut hidden: Vec<Option<Value>> = Vec::with_capacity(stages);
        let mut logits = Vec::with_capacity(stages);
        for (stage, (tower, encoded)) in self.towers.iter().zip(&encoded).enumerate() {
            let parent = self.graph.nodes[stage].parent.filter(|_| tower.needs.upstream);
            let input = OnnxInput { upstream: parent.and_then(|p| hidden[p].clone()), ..tower.onnx_input(graph, encoded, &embedded) };
            let output = graph.scope(&tower.prefix, |graph| tower.network.onnx(graph, &input)).with_context(|| {
                let (name, kind) = (&self.graph.nodes[stage].name, &spec.stages[stage].tower.kind);
                format!("stage `{name}`: tower `{kind}` does not say how it is written as ONNX: {}", remedy("Tower"))
            })?;
            let bias = graph.weight(&format!("bias.{}", self.graph.nodes[stage].name), &[1], vec![self.biases[stage]]);
            logits.push(graph.add(&output.logit, &bias));
            hidden.push(output.hidden);
        }
        Ok(logits)
    }

    /// The embedded input of a set of tables; nothing for those of extra heads, which do not score.
    fn embed_onnx<'a>(&'a self, graph: &mut Onnx<'a>, set: usize, groups: &[GroupValues]) -> OnnxInput {
        let own = &self.embeddings[set];
        if matches!(own.owner, Owner::Tower(t) if t >= self.graph.len()) {
            return OnnxInput::default();
        }
        let prefix = self.table_prefix(set);
        let table = |graph: &mut Onnx<'a>, table: usize| own.onnx_table(graph, &prefix, table);
        let mut input = OnnxInput::default();
        for (fields, values) in self.fields.groups.iter().zip(groups) {
            let mut columns = Vec::new();
            for (field, rows) in fields.singles.iter().zip(&values.singles) {
                let table = table(graph, field.table);
                columns.push(graph.gather(&table, rows));
            }
            for (bag, (rows, weights)) in fields.bags.iter().zip(&values.bags) {
                let table = table(graph, bag.field.table);
                let vectors = graph.gather(&table, rows);
                columns.push(pooled(graph, &vectors, weights, bag.pooling));
            }
            if own.columns().numbers {
                columns.extend(values.numbers.iter().cloned());
            }
            // A group without columns is not an input.
            if !columns.is_empty() {
                input.parts.push(graph.concat(&columns, 1));
            }
        }
        for (g, b) in self.attended() {
            let (rows, mask) = &groups[g].bags[b];
            let table = table(graph, self.fields.groups[g].bags[b].field.table);
            input.sequences.push(OnnxSequence { values: graph.gather(&table, rows), mask: graph.unsqueeze(mask, 2) });
        }
        input
    }
}

fn remedy(of: &str) -> String {
    format!("implement `{of}::onnx` beside its `forward` (docs/write-a-tower.md), or export the weights alone with `--as safetensors`")
}

/// `[B, D]` of vectors `[B, L, D]` and weights `[B, L]`.
fn pooled(graph: &mut Onnx<'_>, vectors: &Value, weights: &Value, pooling: Pooling) -> Value {
    let row = graph.unsqueeze(weights, 1);
    let product = graph.matmul(&row, vectors);
    let sum = graph.squeeze(&product, 1);
    match pooling {
        Pooling::Sum => sum,
        Pooling::Mean => {
            let (total, zero) = (graph.sum(weights, &[1], true), graph.number(0.0));
            let (mean, empty) = (graph.div(&sum, &total), graph.equal(&total, &zero));
            graph.choose(&empty, &zero, &mean)
        }
    }
}

impl TableSet {
    fn onnx_table<'a>(&'a self, graph: &mut Onnx<'a>, prefix: &str, table: usize) -> Value {
        let dim = self.tables.dim();
        match self.tables.named_weights().nth(table) {
            Some((name, weights)) => graph.weight(&format!("{prefix}{name}"), &[weights.len() / dim, dim], weights),
            None => graph.number(0.0),
        }
    }
}

impl StageTower {
    /// What a tower sees; a stage that does without something sees 0 there.
    fn onnx_input(&self, graph: &mut Onnx<'_>, encoded: &OnnxInput, embedded: &[OnnxInput]) -> OnnxInput {
        let (shared, own) = self.tables;
        let mut input = OnnxInput {
            parts: encoded.parts.clone(),
            own: own.map_or_else(Vec::new, |set| embedded[set].parts.clone()),
            sequences: if self.needs.sequences { embedded[shared].sequences.clone() } else { Vec::new() },
            upstream: None,
        };
        if let Some(mask) = &self.mask {
            graph.scope(&self.prefix, |graph| mask.hide_onnx(graph, &mut input));
        }
        input
    }
}

impl Mask {
    fn hide_onnx(&self, graph: &mut Onnx<'_>, input: &mut OnnxInput) {
        for (kind, values, masks) in [("parts", &mut input.parts, &self.parts), ("own", &mut input.own, &self.own)] {
            for (i, (value, mask)) in values.iter_mut().zip(masks).enumerate() {
                let mask = graph.parameter(&format!("without.{kind}.{i}"), mask);
                *value = graph.mul(value, &mask);
            }
        }
        for (sequence, seen) in input.sequences.iter_mut().zip(&self.sequences) {
            let seen = graph.number(*seen);
            sequence.values = graph.mul(&sequence.values, &seen);
        }
    }
}
