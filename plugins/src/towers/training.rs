//! Every tower and encoder trains inside a model: what it gives back to the core moves its weights, and the tables below it.

use esmm_funnel_core::data::{BagBatch, BagField, Batch, Field, Fields, GroupBatch, GroupFields, NumberField, SingleField, TableShape};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::model::{Model, StepInput};
use esmm_funnel_core::run::{Loaded, Tensors};
use esmm_funnel_core::spec::{Pooling, Spec, load_text};
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
                bags: vec![BagField {
                    field: field("seen", 0),
                    pooling: Pooling::Mean,
                    attend_to: Some(SingleField { group: 0, single: 0 }),
                }],
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
        ("concat", r#"{ kind = "mlp", hidden = [16, 8], activation = "prelu", norm = "layer", dropout = 0.1 }"#),
        ("concat", r#"{ kind = "dcn_v2", hidden = [8], dropout = 0.1 }"#),
        ("concat", r#"{ kind = "dcn_v2", rank = 2, structure = "stacked", hidden = [8], activation = "gelu" }"#),
        ("concat", r#"{ kind = "final_mlp", first = [16, 8], second = [8], dropout = 0.1 }"#),
        ("concat", r#"{ kind = "autoint", layers = 2, head_dim = 4, hidden = [8] }"#),
        ("concat", r#"{ kind = "mlp", hidden = [16, 8], activation = "dice", norm = "batch" }"#),
        ("concat", r#"{ kind = "wide_deep", hidden = [8] }"#),
        ("concat", r#"{ kind = "deepfm", hidden = [16, 8] }"#),
        ("concat", r#"{ kind = "din", attention_hidden = [6], hidden = [8] }"#),
        ("concat", r#"{ kind = "din", softmax = true, attention_activation = "relu", hidden = [8], norm = "batch" }"#),
        ("mmoe", r#"{ kind = "wide_deep", hidden = [8] }"#),
        ("mmoe", r#"{ kind = "mlp", hidden = [8] }"#),
        ("ple", r#"{ kind = "mlp", hidden = [8] }"#),
        ("{ kind = 'ple', levels = 2, hidden = [16], activation = 'gelu' }", r#"{ kind = "final_mlp", first = [8], second = [8] }"#),
    ];
    for (encoder, tower) in cases {
        for per_stage in [false, true] {
            learns(&format!("{encoder}, {tower}, tables per stage: {per_stage}"), &spec(encoder, tower, per_stage, &[]));
        }
    }
}

/// All towers are of one kind but where `sets` says otherwise.
fn spec(encoder: &str, tower: &str, per_stage: bool, sets: &[&str]) -> Spec {
    let encoder = if encoder.starts_with('{') { encoder.to_owned() } else { format!("{{ kind = \"{encoder}\" }}") };
    let text = format!("encoder = {encoder}\n{SPEC}\n[defaults]\ntower = {tower}\n[embedding]\ndim = 4\nper_stage = {per_stage}\n");
    let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
    load_text("test.toml", &text, Path::new("."), &sets).unwrap_or_else(|e| panic!("{encoder}, {tower}: {e}")).spec
}
fn trainer(spec: &Spec) -> Trainer {
    let model = Model::build(spec, Graph::of(spec), fields(), &[0.5, 0.5], &cpu(), true).unwrap();
    Trainer::new(model, spec, 60)
}
fn weights(trainer: &Trainer) -> Vec<(String, Vec<f32>)> {
    trainer.model.tensors().unwrap().into_iter().map(|(name, _, values)| (name, values.to_vec())).collect()
}
/// The loss falls, and all that can be learned moves.
fn learns(name: &str, spec: &Spec) {
    let mut trainer = trainer(spec);
    let before = weights(&trainer);
    let batch = batch();
    let input = StepInput::new(&trainer.model.graph, &batch);
    let loss = |trainer: &mut Trainer| trainer.step(&input).unwrap().terms.iter().map(|t| t.value).sum::<f64>();
    let first = loss(&mut trainer);
    let last = (0..59).map(|_| loss(&mut trainer)).last().unwrap();
    assert!(last < 0.7 * first, "{name}: the loss went from {first} to {last}");
    for ((tensor, before), (_, after)) in before.iter().zip(&weights(&trainer)) {
        assert_ne!(before, after, "{name}: `{tensor}` has not moved");
    }
}

#[test]
fn parameters_start_where_the_settings_say() {
    let start = "init = 'normal', bias_start = 0.1, prelu_start = -0.25";
    let spec = spec("concat", &format!("{{ kind = 'mlp', hidden = [400, 300], activation = 'prelu', {start} }}"), false, &[]);
    let trainer = trainer(&spec);
    let (mut slopes, mut biases, mut layers) = (0, 0, 0);
    for (name, shape, values) in trainer.model.tensors().unwrap().into_iter().filter(|(name, ..)| name.starts_with("tower.click")) {
        if name.ends_with("alpha") {
            slopes += values.len();
            assert!(values.iter().all(|v| *v == -0.25), "{name}");
        } else if name.ends_with("bias") {
            biases += values.len();
            assert!(values.iter().all(|v| *v == 0.1), "{name}");
        } else if name.ends_with("weight") && values.len() > 2000 {
            layers += 1;
            // Far from every draw of a uniform distribution of the same spread.
            let (n, fan_in) = (values.len() as f64, shape[0] as f64);
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n * fan_in;
            let outside = values.iter().filter(|v| f64::from(v.abs()) > 2.0 / fan_in.sqrt()).count() as f64 / n;
            let error = 5.0 / n.sqrt();
            assert!(mean.abs() * fan_in.sqrt() < error && (variance - 1.0).abs() < 2.0 * error, "{name}: {mean}, {variance}");
            assert!((outside - 0.0455).abs() < error, "{name}: {outside}");
        }
    }
    assert_eq!((slopes, biases, layers), (700, 700, 2));
    learns("started elsewhere", &spec);
}

#[test]
fn a_tower_that_reads_the_stage_before_trains_it_too() {
    for below in [
        r#"{ kind = "mlp", hidden = [8] }"#,
        r#"{ kind = "din", hidden = [8] }"#,
        r#"{ kind = "final_mlp", first = [8], second = [4] }"#,
        r#"{ kind = "dcn_v2", hidden = [8], norm = "batch" }"#,
    ] {
        for above in ["{ kind = 'aitm', hidden = [6] }", "{ kind = 'aitm', hidden = [8, 4], activation = 'dice', dropout = 0.1 }"] {
            let spec = spec("concat", below, false, &[&format!("stage.purchase.tower={above}")]);
            learns(&format!("{above} on {below}"), &spec);
        }
    }
}

#[test]
fn a_batch_without_any_value_trains() {
    let spec = spec("concat", r#"{ kind = "din", softmax = true, hidden = [8] }"#, false, &[]);
    let mut trainer = trainer(&spec);
    let mut batch = batch();
    batch.groups[1].bags[0] = BagBatch { offsets: vec![0; 4], rows: vec![], weights: vec![] };
    let input = StepInput::new(&trainer.model.graph, &batch);
    for _ in 0..3 {
        assert!(trainer.step(&input).unwrap().terms.iter().all(|t| t.value.is_finite()));
    }
    let scored = trainer.model.scorer().logits(&batch).unwrap();
    assert!(scored.iter().flatten().all(|z| z.is_finite()));
}

#[test]
fn statistics_of_batches_are_part_of_the_model() {
    for tower in [
        r#"{ kind = "mlp", hidden = [8, 4], activation = "dice", norm = "batch", dropout = 0.2 }"#,
        r#"{ kind = "din", attention_hidden = [6], hidden = [8], norm = "batch" }"#,
    ] {
        let spec = spec("concat", tower, false, &[]);
        let batch = batch();
        let input = StepInput::new(&Graph::of(&spec), &batch);
        let steps = |trainer: &mut Trainer, n: usize| (0..n).for_each(|_| drop(trainer.step(&input).unwrap()));
        let score = |trainer: &Trainer| trainer.model.scorer().logits(&batch).unwrap();
        let (mut whole, mut again) = (trainer(&spec), trainer(&spec));
        steps(&mut whole, 5);
        steps(&mut again, 5);
        assert_eq!(weights(&whole), weights(&again), "towers side by side give the same bits");
        let running = weights(&whole).into_iter().filter(|(name, _)| name.contains(".running.")).count();
        assert!(running >= 4, "{tower}: {running}");

        let scored = score(&whole);
        assert_eq!(weights(&whole), weights(&again), "{tower}: scoring moves nothing");
        let mut resumed = trainer(&spec);
        let owned =
            |tensors: Tensors<'_>| -> Loaded { tensors.into_iter().map(|(name, shape, v)| (name, (shape, v.into_owned()))).collect() };
        resumed.restore(5, owned(whole.model.tensors().unwrap()), owned(whole.optimizer_tensors())).unwrap();
        assert_eq!(score(&resumed), scored, "{tower}");
        steps(&mut whole, 5);
        steps(&mut resumed, 5);
        assert_eq!(weights(&whole), weights(&resumed), "{tower}: going on gives the same bits");
        assert_eq!(score(&whole), score(&resumed), "{tower}");
        assert_ne!(score(&whole), scored, "{tower}");
    }
}

#[test]
fn attention_needs_what_it_attends_to() {
    let fault = |encoder: &str, fields: Fields| {
        let spec = spec(encoder, r#"{ kind = "din" }"#, false, &[]);
        let model = Model::build(&spec, Graph::of(&spec), fields, &[0.5, 0.5], &cpu(), true);
        format!("{:#}", model.err().unwrap())
    };
    let mixed = fault("mmoe", fields());
    assert!(mixed.contains("stage `click`: tower `din`") && mixed.contains("keeps fields apart"), "{mixed}");
    let mut without = fields();
    without.groups[1].bags[0].attend_to = None;
    let without = fault("concat", without);
    assert!(without.contains("stage `click`: tower `din`: needs a sequence"), "{without}");
}
