//! Every objective trains inside a model: all weights move, those of its extra heads and its own too; a stop and a restart change no bit; and
//! scoring leaves out what only the objective needs.

use crate::towers::training::{SPEC, batch, fields};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::model::{Model, StepInput};
use esmm_funnel_core::run::Loaded;
use esmm_funnel_core::spec::{Spec, load_text};
use esmm_funnel_core::train::Trainer;
use std::path::Path;

/// Objectives, and the extra heads of a later stage.
const CASES: [(&str, &[&str]); 9] = [
    ("kind = 'entire_space'", &[]),
    ("kind = 'conditional'", &[]),
    ("kind = 'conditional', outside_rate = 0.1, positive_copies = 3", &[]),
    ("kind = 'conditional', inverse_propensity = true", &[]),
    ("kind = 'escm2_ips'", &[]),
    ("kind = 'escm2_dr'", &["imputation"]),
    ("kind = 'escm2_dr', routing = 'separate'", &["imputation"]),
    ("kind = 'dcmt'", &["counterfactual"]),
    ("kind = 'nise'", &[]),
];

fn spec(objective: &str) -> Spec {
    let text = format!(
        "objective = {{ {objective} }}\n{SPEC}\n[defaults]\ntower = {{ kind = 'mlp', hidden = [8], dropout = 0.1 }}\n[embedding]\ndim = 4\n"
    );
    load_text("test.toml", &text, Path::new("."), &[]).unwrap_or_else(|e| panic!("{objective}: {e:?}")).spec
}
fn trainer(spec: &Spec) -> Trainer {
    Trainer::new(Model::build(spec, Graph::of(spec), fields(), &[0.5, 0.3], &cpu(), true).unwrap(), spec, 60)
}
fn weights(model: &Model) -> Loaded {
    model.tensors().unwrap().into_iter().map(|(name, shape, values)| (name, (shape, values.into_owned()))).collect()
}
/// Log loss of each stage on the rows of its space.
fn log_losses(logits: &[Vec<f32>], input: &StepInput<'_>) -> Vec<f64> {
    let of_stage = |s: usize| {
        let rows = (0..logits[s].len()).filter(|i| input.flags.in_space[s][*i]);
        let loss = |i: usize| (1.0 + (if input.flags.reached[s][i] == 1 { -logits[s][i] } else { logits[s][i] }).exp()).ln();
        rows.map(|i| f64::from(loss(i))).sum()
    };
    (0..logits.len()).map(of_stage).collect()
}

#[test]
fn objectives_train_inside_a_model() {
    let batch = batch();
    for (objective, heads) in CASES {
        for weighting in ["fixed", "uncertainty"] {
            let name = format!("{objective}, {weighting}");
            let mut trainer = trainer(&spec(&format!("{objective}, weighting = '{weighting}'")));
            let before = weights(&trainer.model);
            for head in heads {
                assert!(before.keys().any(|n| n.starts_with(&format!("head.purchase.{head}."))), "{name}: {:?}", before.keys());
            }
            assert_eq!(before.contains_key("objective"), weighting == "uncertainty", "{name}");
            assert_eq!(before["bias"].1.len(), 2 + heads.len(), "{name}");
            let input = StepInput::new(&trainer.model.graph, &batch);
            let steps: Vec<_> = (0..60).map(|_| log_losses(&trainer.step(&input).unwrap().logits, &input)).collect();
            for (stage, (first, last)) in steps[0].iter().zip(&steps[59]).enumerate() {
                assert!(*last < 0.9 * first, "{name}: the log loss of stage {stage} went from {first} to {last}");
            }
            for (tensor, (_, after)) in &weights(&trainer.model) {
                assert_ne!(&before[tensor].1, after, "{name}: `{tensor}` has not moved");
            }
        }
    }
}

#[test]
fn a_restored_trainer_goes_on_in_the_same_bits() {
    let batch = batch();
    for (objective, _) in CASES {
        let spec = spec(&format!("{objective}, weighting = 'uncertainty'"));
        let mut whole = trainer(&spec);
        let input = StepInput::new(&whole.model.graph, &batch);
        let run = |trainer: &mut Trainer| (0..10).for_each(|_| drop(trainer.step(&input).unwrap()));
        run(&mut whole);
        let state = whole.optimizer_tensors().into_iter().map(|(name, shape, values)| (name, (shape, values.into_owned()))).collect();
        let mut second = trainer(&spec);
        second.restore(whole.step, weights(&whole.model), state).unwrap();
        run(&mut whole);
        run(&mut second);
        assert!(weights(&whole.model) == weights(&second.model), "{objective}");
    }
}

#[test]
fn scoring_leaves_extra_heads_out() {
    let batch = batch();
    for (objective, heads) in CASES.into_iter().filter(|c| !c.1.is_empty()) {
        let mut model = trainer(&spec(objective)).model;
        let before = model.scorer().logits(&batch).unwrap();
        assert_eq!(before.len(), 2);
        let mut other = weights(&model);
        for (_, (_, values)) in other.iter_mut().filter(|w| w.0.starts_with("head.")) {
            for value in values {
                *value += 1.0;
            }
        }
        for bias in &mut other.get_mut("bias").unwrap().1[2..] {
            *bias += 1.0;
        }
        model.load(other).unwrap();
        assert_eq!(model.scorer().logits(&batch).unwrap(), before, "{objective}: {heads:?}");
    }
}
