//! Scored rows, and their evaluation per stage and space.

use super::batch_auc::batch_auc;
use super::evaluation::{Evaluation, Spaces};
use super::summary::{Column, Summary, summarise};
use crate::data::Batch;
use crate::graph::compose::{Composed, LogPair};
use crate::graph::{Graph, LabelFlags};
use crate::spec;

/// Logits of rows, with all that metrics need of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scores {
    /// `[S][N]`: conditional logits.
    pub logits: Vec<Vec<f32>>,
    /// `[S][N]`: 0 or 1.
    pub labels: Vec<Vec<u8>>,
    /// `[N]`; empty: all 1.
    pub weights: Vec<f32>,
    /// `[A][N]`: codes of the metric columns.
    pub aux: Vec<Vec<u32>>,
    /// `[S][N]`: true conditional probabilities; empty where unknown.
    pub truth: Vec<Vec<f32>>,
    /// `[S][N]`: outcome had the parent been reached; empty where unknown.
    pub counterfactual: Vec<Vec<u8>>,
}

impl Scores {
    /// Adds a batch.
    pub fn append(&mut self, batch: &Batch, logits: &[Vec<f32>]) {
        extend(&mut self.logits, logits);
        extend(&mut self.labels, &batch.labels);
        extend(&mut self.aux, &batch.aux);
        extend(&mut self.truth, &batch.truth);
        extend(&mut self.counterfactual, &batch.counterfactual);
        self.weights.extend_from_slice(&batch.weights);
    }
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.first().map_or(0, Vec::len)
    }
    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
fn extend<T: Clone>(to: &mut Vec<Vec<T>>, from: &[Vec<T>]) {
    to.resize_with(to.len().max(from.len()), Vec::new);
    for (to, from) in to.iter_mut().zip(from) {
        to.extend_from_slice(from);
    }
}

/// The rows of one space, and what is predicted and true there.
struct Space<'a> {
    rows: Option<Vec<u32>>,
    labels: &'a [u8],
    model: &'a LogPair,
    truth: Option<&'a LogPair>,
}

/// What [`evaluate`] computes once for all spaces and slices.
struct Evaluator<'a> {
    graph: &'a Graph,
    scores: &'a Scores,
    ece_bins: usize,
    groups: Option<&'a [u32]>,
    batches: Option<spec::BatchAuc>,
    model: Composed,
    truth: Option<Composed>,
    /// `[S][N]`, `[T][N]`.
    in_space: Vec<Vec<bool>>,
    reached: Vec<Vec<u8>>,
}

/// Evaluates scored rows: per stage `conditional` (rows whose parent was reached and `unless` was not; the tower alone), per stage and outcome
/// `full` (all rows; the product), and where truth is known per stage `entire` (the tower over all rows, against the outcome each would have
/// had). `aux_names` names the columns of `scores.aux`; `value` names a code of one of them.
#[must_use]
pub fn evaluate(
    graph: &Graph,
    scores: &Scores,
    metrics: &spec::Metrics,
    aux_names: &[String],
    value: &dyn Fn(usize, u32) -> String,
) -> Evaluation {
    // By name: a column may be asked for both uses, and stands there once.
    let column = |name: &String| aux_names.iter().position(|n| n == name);
    let groups = metrics.gauc_by.as_ref().and_then(column).map(|c| scores.aux[c].as_slice());
    let evaluator = Evaluator { batches: metrics.batch_auc, ..Evaluator::new(graph, scores, metrics.ece_bins.get(), groups) };
    let mut evaluation = Evaluation { targets: evaluator.targets(None), ..Evaluation::default() };
    for (name, column) in metrics.slices.iter().filter_map(|name| Some((name, column(name)?))) {
        let codes = &scores.aux[column];
        let mut values: Vec<u32> = codes.clone();
        values.sort_unstable();
        values.dedup();
        let mut slices: Vec<_> = values
            .into_iter()
            .map(|code| {
                let rows: Vec<bool> = codes.iter().map(|c| *c == code).collect();
                (value(column, code), evaluator.targets(Some(&rows)))
            })
            .collect();
        slices.sort_by(|a, b| a.0.cmp(&b.0));
        evaluation.slices.push((name.clone(), slices));
    }
    evaluation
}

impl<'a> Evaluator<'a> {
    fn new(graph: &'a Graph, scores: &'a Scores, ece_bins: usize, groups: Option<&'a [u32]>) -> Self {
        let logits: Vec<&[f32]> = scores.logits.iter().map(Vec::as_slice).collect();
        let truth: Vec<&[f32]> = scores.truth.iter().map(Vec::as_slice).collect();
        let LabelFlags { in_space, reached } = graph.flags(&scores.labels);
        let truth = (!truth.is_empty()).then(|| graph.compose_probabilities(&truth));
        Self { graph, scores, ece_bins, groups, batches: None, model: graph.compose(&logits), truth, in_space, reached }
    }

    /// All metrics of all spaces of all targets, on all rows or on those where `slice` holds.
    fn targets(&self, slice: Option<&[bool]>) -> Vec<(String, Spaces)> {
        let summaries = |spaces: Vec<(&'static str, Space<'_>)>| spaces.iter().map(|(name, space)| (*name, self.summary(space))).collect();
        self.spaces(slice).into_iter().map(|(target, spaces)| (target, summaries(spaces))).collect()
    }

    /// The spaces of each target, on all rows or on those where `slice` holds.
    fn spaces(&self, slice: Option<&[bool]>) -> Vec<(String, Vec<(&'static str, Space<'_>)>)> {
        let pick = |also: Option<&[bool]>| -> Option<Vec<u32>> {
            if slice.is_none() && also.is_none() {
                return None;
            }
            let holds = |r: &u32| [slice, also].into_iter().flatten().all(|f| f[*r as usize]);
            Some((0..u32::try_from(self.scores.len()).unwrap_or(u32::MAX)).filter(holds).collect())
        };
        self.graph
            .targets
            .iter()
            .enumerate()
            .map(|(t, target)| {
                let mut spaces = Vec::new();
                let is_stage = t < self.graph.len();
                if is_stage {
                    let space = Space {
                        rows: pick(Some(&self.in_space[t])),
                        labels: &self.reached[t],
                        model: &self.model.conditional[t],
                        truth: self.truth.as_ref().map(|c| &c.conditional[t]),
                    };
                    spaces.push(("conditional", space));
                }
                let space = Space {
                    rows: pick(None),
                    labels: &self.reached[t],
                    model: &self.model.targets[t],
                    truth: self.truth.as_ref().map(|c| &c.targets[t]),
                };
                spaces.push(("full", space));
                if is_stage && let Some(outcome) = self.scores.counterfactual.get(t) {
                    let space = Space {
                        rows: pick(None),
                        labels: outcome,
                        model: &self.model.conditional[t],
                        truth: self.truth.as_ref().map(|c| &c.conditional[t]),
                    };
                    spaces.push(("entire", space));
                }
                (target.name.clone(), spaces)
            })
            .collect()
    }

    fn summary(&self, space: &Space<'_>) -> Summary {
        let rows = space.rows.as_deref();
        let labels = picked(space.labels, rows);
        let weights = (!self.scores.weights.is_empty()).then(|| picked(&self.scores.weights, rows));
        let groups = self.groups.map(|g| picked(g, rows));
        let of = |pair: &LogPair| {
            let (log_p, log_not_p) = (picked(&pair.log_p, rows), picked(&pair.log_not_p, rows));
            let column =
                Column { log_p: &log_p, log_not_p: &log_not_p, labels: &labels, weights: weights.as_deref(), groups: groups.as_deref() };
            summarise(&column, self.ece_bins)
        };
        let batch_auc = self.batches.map(|b| {
            let log_p = picked(&space.model.log_p, rows);
            batch_auc(&log_p, &labels, weights.as_deref(), rows, self.scores.len(), b)
        });
        Summary { best: space.truth.map(|t| Box::new(of(t))), batch_auc, ..of(space.model) }
    }
}

/// A model's probability in one space, and what happened there.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceColumns {
    /// Stage or outcome.
    pub target: String,
    /// `conditional`, `full`, `entire`, or another name for another set of rows.
    pub space: &'static str,
    /// The scored rows that are in it, ascending; `None`: all.
    pub rows: Option<Vec<u32>>,
    /// 0 or 1, of these rows.
    pub labels: Vec<u8>,
    /// `ln p`, of these rows.
    pub log_p: Vec<f64>,
    /// `ln(1 − p)`, of these rows; NaN where p exceeds 1.
    pub log_not_p: Vec<f64>,
}

/// The columns of every space that [`evaluate`] measures. Where the rows of `conditional` are all rows (a stage right after the row), `full` is the
/// same and stands alone.
#[must_use]
pub fn columns(graph: &Graph, scores: &Scores) -> Vec<SpaceColumns> {
    let mut all = Vec::new();
    each_space(graph, scores, &mut |columns| all.push(columns));
    all
}

/// What [`columns`] gives, one space after the other: no more than one of them is in memory.
pub fn each_space(graph: &Graph, scores: &Scores, look: &mut dyn FnMut(SpaceColumns)) {
    let evaluator = Evaluator::new(graph, scores, 1, None);
    for (t, (target, spaces)) in evaluator.spaces(None).into_iter().enumerate() {
        let same = graph.nodes.get(t).is_some_and(|n| n.parent.is_none() && n.unless.is_none());
        for (space, found) in spaces {
            if same && space == "conditional" {
                continue;
            }
            let rows = found.rows.as_deref();
            look(SpaceColumns {
                target: target.clone(),
                space,
                labels: picked(found.labels, rows).into_owned(),
                log_p: picked(&found.model.log_p, rows).into_owned(),
                log_not_p: picked(&found.model.log_not_p, rows).into_owned(),
                rows: found.rows,
            });
        }
    }
}

fn picked<'a, T: Copy>(values: &'a [T], rows: Option<&[u32]>) -> std::borrow::Cow<'a, [T]>
where
    [T]: ToOwned<Owned = Vec<T>>,
{
    rows.map_or(std::borrow::Cow::Borrowed(values), |rows| rows.iter().map(|r| values[*r as usize]).collect::<Vec<T>>().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;

    #[test]
    fn spaces_hold_the_right_rows() {
        let node = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
        let graph = Graph::new("impression".into(), vec![node("click", None), node("purchase", Some(0))], vec![]);
        let scores = Scores {
            logits: vec![vec![0.0, 1.0, -1.0, 2.0], vec![1.0, 0.0, 3.0, -1.0]],
            labels: vec![vec![0, 1, 1, 0], vec![0, 1, 0, 0]],
            aux: vec![vec![0, 0, 1, 1]],
            truth: vec![vec![0.5; 4], vec![0.1, 0.2, 0.3, 0.4]],
            counterfactual: vec![vec![0, 1, 1, 0], vec![1, 1, 0, 0]],
            ..Scores::default()
        };
        let metrics = spec::Metrics { gauc_by: Some("channel".into()), slices: vec!["channel".into()], ..spec::Metrics::default() };
        let e = evaluate(&graph, &scores, &metrics, &["channel".into()], &|_, code| format!("c{code}"));
        let get = |path: &str| e.get(path).unwrap();
        assert_eq!([get("click.full.rows"), get("purchase.conditional.rows"), get("purchase.full.rows")], [4.0, 2.0, 4.0]);
        assert_eq!([get("purchase.conditional.positives"), get("purchase.entire.positives")], [1.0, 2.0]);
        // Clicked rows: purchase logit 0 against 3, the lower one bought.
        assert!((get("purchase.conditional.auc") - 0.0).abs() < 1e-12);
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        let p: f64 = [(0.0, 1.0), (1.0, 0.0), (-1.0, 3.0), (2.0, -1.0)].iter().map(|(a, b)| sigmoid(*a) * sigmoid(*b)).sum();
        assert!((get("purchase.full.pcoc") - p).abs() < 1e-6);
        let json = serde_json::to_value(&e).unwrap();
        assert_eq!(json["slices"]["channel"]["c1"]["click"]["full"]["rows"], 2);
        assert!(json["purchase"]["entire"]["best"]["auc"].is_number());
        assert_eq!(json["slices"]["channel"]["c1"]["purchase"]["conditional"]["auc_reason"], "no row has label 1");
    }
}
