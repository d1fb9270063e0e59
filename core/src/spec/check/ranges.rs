//! Numbers outside their range.

use super::super::decode::{Cx, Draft};
use super::super::read::dotted;
use super::super::{Buckets, InitBias, Optimizer, Scalar, Split, Transform};
use crate::diagnostic::Diagnostic;
use std::cmp::Ordering;

/// Reports numbers outside their range.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    for stage in &draft.stages {
        let path = format!("stage.{}", stage.name);
        number(cx, &format!("{path}.weight"), stage.weight, at_least_zero);
        if let InitBias::Value(bias) = stage.init_bias {
            number(cx, &format!("{path}.init_bias"), bias, finite);
        }
    }
    for outcome in &draft.outcomes {
        number(cx, &format!("outcome.{}.weight", outcome.name), outcome.weight, at_least_zero);
    }
    if let Some(split) = &draft.split {
        self::split(cx, split);
    }
    for feature in &draft.features.declared {
        if let Transform::Bucketize(Buckets::Edges(edges)) = &feature.transform {
            self::edges(cx, &format!("{}.transform.bucketize.edges", dotted("feature", &feature.name)), edges);
        }
    }
    if let Some(e) = &draft.embedding {
        number(cx, "embedding.init_std", e.init_std, at_least_zero);
        number(cx, "embedding.oov_rate", e.oov_rate, share);
        optimizer(cx, "embedding.optimizer", &e.optimizer);
    }
    if let Some(t) = &draft.train {
        number(cx, "train.clip_norm", t.clip_norm, at_least_zero);
        number(cx, "train.final_lr_fraction", t.final_lr_fraction, zero_to_one);
        number(cx, "train.share_of_rows", t.share_of_rows, part_or_all);
        let no_valid = matches!(draft.split, Some(Split::Random { valid, .. } | Split::Group { valid, .. }) if valid <= 0.0);
        if no_valid && t.patience_evals > 0 {
            let d = Diagnostic::error("no-valid", "train.patience_evals: early stopping needs rows in valid, and `split.valid` is 0")
                .at(cx.value("train.patience_evals"), "")
                .at(cx.value("split.valid"), "no rows");
            cx.report(d.help("give valid a share, as in `valid = 0.1`, or leave `patience_evals` at 0"));
        }
        optimizer(cx, "train.optimizer", &t.optimizer);
        if t.optimizer.is_per_row() {
            let d = Diagnostic::error("wrong-value", "train.optimizer: this rule keeps its state by row, and only tables have rows");
            cx.report(
                d.at(cx.value("train.optimizer.kind"), "").help("take `adam` or `adagrad` here, and the rule by row under `[embedding]`"),
            );
        }
    }
}

/// A rule: whether a number keeps it, and its words.
type Rule = fn(f64) -> Option<&'static str>;
fn unless(ok: bool, words: &'static str) -> Option<&'static str> {
    if ok { None } else { Some(words) }
}
fn finite(x: f64) -> Option<&'static str> {
    unless(x.is_finite(), "a finite number")
}
fn above_zero(x: f64) -> Option<&'static str> {
    unless(x.is_finite() && x > 0.0, "a number above 0")
}
fn at_least_zero(x: f64) -> Option<&'static str> {
    unless(x.is_finite() && x >= 0.0, "a number of at least 0")
}
fn share(x: f64) -> Option<&'static str> {
    unless((0.0..1.0).contains(&x), "a number from 0 to 1, 1 not included")
}
fn part_or_all(x: f64) -> Option<&'static str> {
    unless(x > 0.0 && x <= 1.0, "a number above 0, and 1 at most")
}
fn zero_to_one(x: f64) -> Option<&'static str> {
    unless((0.0..=1.0).contains(&x), "a number from 0 to 1")
}

fn number(cx: &mut Cx<'_>, key: &str, value: f64, rule: Rule) {
    if let Some(words) = rule(value) {
        cx.report(Diagnostic::error("out-of-range", format!("{key}: expected {words}, found `{value}`")).at(cx.value(key), ""));
    }
}

fn optimizer(cx: &mut Cx<'_>, path: &str, optimizer: &Optimizer) {
    let rules: Vec<(&str, f64, Rule)> = match *optimizer {
        Optimizer::Adam { lr, beta1, beta2, eps, l2 } | Optimizer::RowAdam { lr, beta1, beta2, eps, l2 } => {
            vec![
                ("lr", lr, above_zero),
                ("beta1", beta1, share),
                ("beta2", beta2, share),
                ("eps", eps, above_zero),
                ("l2", l2, at_least_zero),
            ]
        }
        Optimizer::Adagrad { lr, eps, initial_accumulator, l2 } | Optimizer::RowAdagrad { lr, eps, initial_accumulator, l2 } => vec![
            ("lr", lr, above_zero),
            ("eps", eps, above_zero),
            ("initial_accumulator", initial_accumulator, at_least_zero),
            ("l2", l2, at_least_zero),
        ],
        Optimizer::Sgd { lr, l2 } => vec![("lr", lr, above_zero), ("l2", l2, at_least_zero)],
    };
    for (key, value, rule) in rules {
        number(cx, &format!("{path}.{key}"), value, rule);
    }
}

fn split(cx: &mut Cx<'_>, split: &Split) {
    match split {
        Split::Random { valid, test, .. } | Split::Group { valid, test, .. } => {
            number(cx, "split.valid", *valid, share);
            number(cx, "split.test", *test, share);
            if share(*valid).is_none() && share(*test).is_none() && valid + test >= 1.0 {
                let (first, second) =
                    if cx.stated.contains_key("split.test") { ("split.test", "split.valid") } else { ("split.valid", "split.test") };
                let d = Diagnostic::error("out-of-range", format!("split: `valid` {valid} and `test` {test} leave no row for training"))
                    .at(cx.value(first), "")
                    .at(cx.value(second), "");
                cx.report(d.help("together they must stay below 1"));
            }
        }
        Split::Column { train_through, valid_through, test_from, .. } => {
            let bounds =
                [("train_through", Some(train_through)), ("valid_through", Some(valid_through)), ("test_from", test_from.as_ref())];
            for (key, bound) in bounds {
                if let Some(Scalar::Float(bound)) = bound {
                    number(cx, &format!("split.{key}"), *bound, finite);
                }
            }
            ordered(cx, ("train_through", train_through), ("valid_through", valid_through), true);
            if let Some(test_from) = test_from {
                ordered(cx, ("valid_through", valid_through), ("test_from", test_from), false);
            }
        }
        Split::Files { valid, test } => {
            for (part, files) in [("valid", valid), ("test", test)] {
                if files.is_empty() {
                    let d = Diagnostic::error("no-files", format!("split.{part}: no files")).at(cx.value(&format!("split.{part}")), "");
                    cx.report(d.help(format!("name at least one file or glob: `{part} = [\"{part}/*.csv\"]`")));
                }
            }
            for (i, file) in test.iter().enumerate() {
                if valid.contains(file) {
                    let d = Diagnostic::error("split-overlap", format!("split: `{file}` is in valid and in test"));
                    cx.report(d.at(cx.value(&format!("split.test[{i}]")), "").help("every row is in one part"));
                }
            }
        }
    }
}
fn ordered(cx: &mut Cx<'_>, (low_key, low): (&str, &Scalar), (high_key, high): (&str, &Scalar), equal_ok: bool) {
    let wrong = match compare(low, high) {
        Some(Ordering::Greater) => true,
        Some(Ordering::Equal) => !equal_ok,
        _ => false,
    };
    if wrong {
        let d = Diagnostic::error("split-order", format!("split: `{high_key}` does not come after `{low_key}`"))
            .at(cx.value(&format!("split.{high_key}")), "")
            .at(cx.value(&format!("split.{low_key}")), "");
        cx.report(d.help("parts follow one another: train, valid, test"));
    }
}
/// The order of two bounds, if they are of one sort.
fn compare(a: &Scalar, b: &Scalar) -> Option<Ordering> {
    #[allow(clippy::cast_precision_loss, reason = "only the order matters, and bounds this large are nanoseconds far apart")]
    let number = |s: &Scalar| match s {
        Scalar::Integer(i) => Some(*i as f64),
        Scalar::Float(f) => Some(*f),
        _ => None,
    };
    match (a, b) {
        (Scalar::Integer(a), Scalar::Integer(b)) => Some(a.cmp(b)),
        (Scalar::Text(a), Scalar::Text(b)) => Some(a.cmp(b)),
        (Scalar::Datetime(a), Scalar::Datetime(b)) => Some(a.to_string().cmp(&b.to_string())),
        _ => number(a)?.partial_cmp(&number(b)?),
    }
}

fn edges(cx: &mut Cx<'_>, key: &str, edges: &[f64]) {
    if edges.is_empty() {
        cx.report(Diagnostic::error("out-of-range", format!("{key}: no edges")).at(cx.value(key), "").help("give at least one number"));
    }
    for (i, edge) in edges.iter().enumerate() {
        number(cx, &format!("{key}[{i}]"), *edge, finite);
    }
    for (i, pair) in edges.windows(2).enumerate() {
        if pair[0] >= pair[1] {
            let d = Diagnostic::error("out-of-range", format!("{key}: edges must ascend, but {} follows {}", pair[1], pair[0]));
            cx.report(d.at(cx.value(&format!("{key}[{}]", i + 1)), "").at(cx.value(&format!("{key}[{i}]")), ""));
        }
    }
}
