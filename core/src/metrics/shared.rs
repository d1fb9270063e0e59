//! Full-space AUC under one common model of the stages before: the second task of the ESMM paper (Ma et al., SIGIR 2018, section 3.2), where
//! every method's pCVR is multiplied by the pCTR of one and the same click network, so that methods differ in their pCVR alone.

use super::basic::{Undefined, auc};
use super::scores::{Scores, SpaceColumns};
use crate::graph::Graph;

/// A stage's name and AUC.
pub type StageAuc = (String, Result<f64, Undefined>);

/// For each stage that is no child of the row, over all rows, `P'(a row is in the stage's space) · P(stage | its space)`: the first from
/// `others`, the second from `scores`, each a model of the same graph but for its composition. There is no `ln(1 − p)`: it is for ranking.
///
/// # Errors
/// `others` are of other rows.
pub fn shared_columns(
    (graph, scores): (&Graph, &Scores),
    (other_graph, others): (&Graph, &Scores),
) -> Result<Vec<SpaceColumns>, OtherRows> {
    if scores.labels != others.labels {
        return Err(OtherRows);
    }
    let compose = |graph: &Graph, scores: &Scores| graph.compose(&scores.logits.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (own, other) = (compose(graph, scores), compose(other_graph, others));
    let reached = graph.flags(&scores.labels).reached;
    let of_stage = |stage: usize| {
        let path = graph.path(stage);
        let before = &path[..path.len() - 1];
        (!before.is_empty()).then(|| {
            let mut log_p = own.conditional[stage].log_p.clone();
            for step in before {
                let pair = &other.conditional[step.stage];
                let side = if step.reached { &pair.log_p } else { &pair.log_not_p };
                log_p.iter_mut().zip(side).for_each(|(p, more)| *p += more);
            }
            let (target, labels, log_not_p) = (graph.nodes[stage].name.clone(), reached[stage].clone(), vec![f64::NAN; log_p.len()]);
            SpaceColumns { target, space: "shared", rows: None, labels, log_p, log_not_p }
        })
    };
    Ok((0..graph.len()).filter_map(of_stage).collect())
}

/// The AUC of each of [`shared_columns`].
///
/// # Errors
/// `others` are of other rows.
pub fn shared_auc(own: (&Graph, &Scores), other: (&Graph, &Scores)) -> Result<Vec<StageAuc>, OtherRows> {
    let weights = (!own.1.weights.is_empty()).then_some(own.1.weights.as_slice());
    Ok(shared_columns(own, other)?.into_iter().map(|c| (c.target, auc(&c.log_p, &c.labels, weights))).collect())
}

/// The two models scored different rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("they were tested on other rows or labels")]
pub struct OtherRows;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Composition, Node};

    fn chain() -> Graph {
        let node = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
        Graph::new("row".into(), vec![node("a", None), node("b", Some(0)), node("c", Some(1))], vec![])
    }
    fn sigmoid(z: f32) -> f64 {
        1.0 / (1.0 + (-f64::from(z)).exp())
    }

    #[test]
    fn stages_before_are_the_others() {
        let labels = vec![vec![1, 1, 1, 0, 1, 0], vec![1, 0, 1, 0, 1, 0], vec![1, 0, 0, 0, 1, 0]];
        let z = |shift: f32| (0..3u8).map(|s| (0..6u8).map(|i| shift * f32::from((i * 7 + s * 5 + i * i) % 11) - 2.0).collect()).collect();
        let own = Scores { logits: z(0.4), labels: labels.clone(), ..Scores::default() };
        let other = Scores { logits: z(-0.3), labels: labels.clone(), ..Scores::default() };
        let graph = chain();
        let found = shared_auc((&graph, &own), (&graph, &other)).unwrap();
        assert_eq!(found.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        let p = |scores: &Scores, stage: usize, row: usize| sigmoid(scores.logits[stage][row]);
        let b: Vec<f64> = (0..6).map(|i| p(&other, 0, i) * p(&own, 1, i)).collect();
        let c: Vec<f64> = (0..6).map(|i| p(&other, 0, i) * p(&other, 1, i) * p(&own, 2, i)).collect();
        assert_eq!(found[0].1, auc(&b, &labels[1], None));
        assert_eq!(found[1].1, auc(&c, &labels[2], None));
        // A quotient's conditional probability is the quotient.
        let quotient = graph.composed_by(Composition::Quotient);
        let found = shared_auc((&quotient, &own), (&graph, &other)).unwrap();
        let b: Vec<f64> = (0..6).map(|i| p(&other, 0, i) * p(&own, 1, i) / p(&own, 0, i)).collect();
        assert_eq!(found[0].1, auc(&b, &labels[1], None));
        let less = Scores { labels: vec![vec![1; 6]; 3], ..other };
        assert_eq!(shared_auc((&graph, &own), (&graph, &less)), Err(OtherRows));
    }
}
