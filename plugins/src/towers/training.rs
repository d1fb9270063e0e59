//! Every tower and encoder trains inside a model: what it gives back to the core moves its weights, and the tables below it.

use esmm_funnel_core::data::{BagBatch, BagField, Batch, Field, Fields, GroupBatch, GroupFields, NumberField, TableShape};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::model::{Model, StepInput};
use esmm_funnel_core::spec::{Pooling, load_text};
use esmm_funnel_core::train::Trainer;
use std::path::Path;

pub(crate) const SPEC: &str = r#"
[funnel]
row = "impression"
[stage.click]
after = "impression"
label = "click"
[stage.purchase]
after = "click"
label = "purchase"
[data]
source = { kind = "synthetic", rows = 100 }
[entity.user]
key = "user_id"
[feature.item]
kind = "id"
[feature.price]
kind = "number"
transform = "none"
[feature.home]
kind = "id"
of = "user"
[feature.seen]
kind = "bag"
share_with = "item"
of = "user"
[train]
optimizer = { kind = "adam", lr = 0.01 }
"#;

pub(crate) fn fields() -> Fields {
    let field = |name: &str, table| Field { name: name.into(), feature: name.into(), table };
    Fields {
        groups: vec![
            GroupFields {
                name: "impression".into(),
                singles: vec![field("item", 0)],
                bags: vec![],
                numbers: vec![NumberField { name: "price".into(), feature: "price".into(), is_missing: false }],
            },
            GroupFields {
                name: "user".into(),
                singles: vec![field("home", 1)],
                bags: vec![BagField { field: field("seen", 0), pooling: Pooling::Mean, attend_to: None }],
                numbers: vec![],
            },
        ],
        tables: vec![TableShape { name: "item".into(), rows: 9 }, TableShape { name: "home".into(), rows: 5 }],
        aux: vec![],
    }
}
pub(crate) fn batch() -> Batch {
    let seen = BagBatch { offsets: vec![0, 2, 2, 3], rows: vec![1, 4, 7], weights: vec![1.0, 1.0, 1.0] };
    let row = GroupBatch {
        size: 8,
        index: vec![],
        singles: vec![1, 2, 3, 4, 5, 6, 7, 8],
        bags: vec![],
        numbers: vec![0.1, -0.4, 1.2, 0.3, 0.0, -1.0, 0.7, 0.5],
    };
    let user = GroupBatch { size: 3, index: vec![0, 0, 1, 1, 1, 2, 2, 0], singles: vec![1, 2, 3], bags: vec![seen], numbers: vec![] };
    Batch { size: 8, groups: vec![row, user], labels: vec![vec![1, 0, 1, 0, 1, 0, 0, 1], vec![1, 0, 0, 0, 1, 0, 0, 0]], ..Batch::default() }
}

#[test]
fn networks_train_inside_a_model() {
    let cases = [
        ("concat", r#"{ kind = "mlp", hidden = [16, 8], activation = "prelu", layer_norm = true, dropout = 0.1 }"#),
        ("concat", r#"{ kind = "dcn_v2", hidden = [8], dropout = 0.1 }"#),
        ("concat", r#"{ kind = "dcn_v2", rank = 2, structure = "stacked", hidden = [8], activation = "gelu" }"#),
        ("concat", r#"{ kind = "final_mlp", first = [16, 8], second = [8], dropout = 0.1 }"#),
        ("concat", r#"{ kind = "autoint", layers = 2, head_dim = 4, hidden = [8] }"#),
        ("mmoe", r#"{ kind = "mlp", hidden = [8] }"#),
        ("ple", r#"{ kind = "mlp", hidden = [8] }"#),
        ("{ kind = 'ple', levels = 2, hidden = [16], activation = 'gelu' }", r#"{ kind = "final_mlp", first = [8], second = [8] }"#),
    ];
    for (encoder, tower) in cases {
        for per_stage in [false, true] {
            let encoder = if encoder.starts_with('{') { encoder.to_owned() } else { format!("{{ kind = \"{encoder}\" }}") };
            let name = format!("{encoder}, {tower}, tables per stage: {per_stage}");
            let text = format!("encoder = {encoder}\n{SPEC}\n[defaults]\ntower = {tower}\n[embedding]\ndim = 4\nper_stage = {per_stage}\n");
            let spec = load_text("test.toml", &text, Path::new("."), &[]).unwrap_or_else(|e| panic!("{name}: {e:?}")).spec;
            let model = Model::build(&spec, Graph::of(&spec), fields(), &[0.5, 0.5], &cpu(), true).unwrap();
            let before = model.tensors().unwrap().into_iter().map(|(name, _, values)| (name, values.to_vec())).collect::<Vec<_>>();
            let mut trainer = Trainer::new(model, &spec, 60);
            let batch = batch();
            let input = StepInput::new(&trainer.model.graph, &batch);
            let loss = |trainer: &mut Trainer| trainer.step(&input).unwrap().terms.iter().map(|t| t.value).sum::<f64>();
            let first = loss(&mut trainer);
            let last = (0..59).map(|_| loss(&mut trainer)).last().unwrap();
            assert!(last < 0.7 * first, "{name}: the loss went from {first} to {last}");
            for ((tensor, before), (_, _, after)) in before.iter().zip(&trainer.model.tensors().unwrap()) {
                assert_ne!(before[..], after[..], "{name}: `{tensor}` has not moved");
            }
        }
    }
}
