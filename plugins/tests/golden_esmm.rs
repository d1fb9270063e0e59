//! Whole training runs against plain `PyTorch`: same initial weights, same batches, so the same losses at every step and the same weights
//! at the end. The script that made the numbers is `tests/golden/esmm_torch.py`.

#![allow(clippy::unwrap_used)]

use esmm_funnel_core::data::{BagBatch, BagField, Batch, Field, Fields, GroupBatch, GroupFields, NumberField, TableShape};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::model::{Model, StepInput};
use esmm_funnel_core::run::Loaded;
use esmm_funnel_core::spec::{Pooling, Spec, load_text};
use esmm_funnel_core::train::Trainer;
use esmm_funnel_plugins as _;
use serde_json::Value;
use std::path::Path;

/// What the script's model sees: two tables, a bag and a number of the row, an id and a bag of the user.
fn fields() -> Fields {
    let field = |name: &str, table| Field { name: name.into(), feature: name.into(), table };
    let bag = |name: &str, table, pooling| BagField { field: field(name, table), pooling, attend_to: None };
    Fields {
        groups: vec![
            GroupFields {
                name: "impression".into(),
                singles: vec![field("item", 0), field("shop", 1)],
                bags: vec![bag("tags", 1, Pooling::Mean)],
                numbers: vec![NumberField { name: "price".into(), feature: "price".into(), is_missing: false }],
            },
            GroupFields { name: "user".into(), singles: vec![field("home", 1)], bags: vec![bag("seen", 0, Pooling::Sum)], numbers: vec![] },
        ],
        tables: vec![TableShape { name: "item".into(), rows: 12 }, TableShape { name: "shop".into(), rows: 7 }],
        aux: vec![],
    }
}

#[allow(clippy::cast_possible_truncation)]
fn floats(values: &Value) -> Vec<f32> {
    values.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}
fn ids(values: &Value) -> Vec<u32> {
    values.as_array().unwrap().iter().map(|v| u32::try_from(v.as_u64().unwrap()).unwrap()).collect()
}
fn bag(value: &Value) -> BagBatch {
    BagBatch { offsets: ids(&value["offsets"]), rows: ids(&value["rows"]), weights: floats(&value["weights"]) }
}

/// A batch for the stages of `spec`.
fn batch(spec: &Spec, value: &Value) -> Batch {
    let (item, shop, home) = (ids(&value["item"]), ids(&value["shop"]), ids(&value["home"]));
    let size = item.len();
    let row = GroupBatch {
        size,
        index: vec![],
        singles: item.into_iter().zip(shop).flat_map(|(item, shop)| [item, shop]).collect(),
        bags: vec![bag(&value["tags"])],
        numbers: floats(&value["price"]),
    };
    let user = GroupBatch { size: home.len(), index: ids(&value["user"]), singles: home, bags: vec![bag(&value["seen"])], numbers: vec![] };
    let label = |column: &str| ids(&value["labels"][column]).into_iter().map(|y| u8::from(y != 0)).collect();
    Batch {
        size,
        groups: vec![row, user],
        labels: spec.stages.iter().map(|s| label(&s.label)).collect(),
        weights: if spec.data.weight.is_some() { floats(&value["row_weights"]) } else { vec![] },
        ..Batch::default()
    }
}

/// Weights by name.
fn weights(value: &Value) -> Loaded {
    let shape = |v: &Value| ids(&v["shape"]).into_iter().map(|n| n as usize).collect();
    value.as_object().unwrap().iter().map(|(name, v)| (name.clone(), (shape(v), floats(&v["values"])))).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn trains_as_pytorch_does() {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/esmm_torch.json")).unwrap();
    let runs = golden["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 5);
    for run in runs {
        let name = run["name"].as_str().unwrap();
        let spec =
            load_text("golden.toml", run["spec"].as_str().unwrap(), Path::new("."), &[]).unwrap_or_else(|e| panic!("{name}: {e:?}")).spec;
        let losses = run["losses"].as_array().unwrap();
        let (initial, expected) = (weights(&run["initial"]), weights(&run["final"]));

        let mut model = Model::build(&spec, Graph::of(&spec), fields(), &vec![0.5; spec.stages.len()], &cpu(), true).unwrap();
        model.load(initial.clone()).unwrap();
        let mut trainer = Trainer::new(model, &spec, losses.len() as u64);
        for (step, (losses, value)) in losses.iter().zip(golden["batches"].as_array().unwrap()).enumerate() {
            let batch = batch(&spec, value);
            let report = trainer.step(&StepInput::new(&trainer.model.graph, &batch)).unwrap();
            let losses = losses.as_object().unwrap();
            assert!(report.terms.iter().map(|t| &t.name).eq(losses.keys()), "{name}: {:?}", report.terms);
            for (term, loss) in report.terms.iter().zip(losses.values()) {
                let loss = loss.as_f64().unwrap();
                assert!((term.value - loss).abs() <= 1e-5 * loss, "{name}, step {step}, {}: {} against {loss}", term.name, term.value);
            }
        }

        let found = trainer.model.tensors().unwrap();
        assert_eq!(found.len(), expected.len());
        for (tensor, shape, values) in &found {
            let (expected_shape, expected) = &expected[tensor];
            assert_eq!(shape, expected_shape, "{name}: {tensor}");
            let moved = largest_difference(&initial[tensor].1, expected);
            let off = largest_difference(values, expected);
            assert!(off <= 1e-4 && off <= 1e-3 * moved, "{name}: {tensor} is off by {off}, having moved by {moved}");
        }
    }
}
