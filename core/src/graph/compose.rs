//! Composition on the host, in f64 and log space: logits → conditional and full-space probabilities. What scoring uses; training composes
//! the same events as tensors.

use super::{Composition, Event, Graph};
use rayon::prelude::*;

/// `ln p` and `ln(1 − p)`, each `[N]` and each exact: neither is computed from the other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogPair {
    /// `ln p`.
    pub log_p: Vec<f64>,
    /// `ln(1 − p)`.
    pub log_not_p: Vec<f64>,
}

/// Probabilities of N rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Composed {
    /// Per stage: P(stage | parent reached), the tower alone.
    pub conditional: Vec<LogPair>,
    /// Per target (stages, then outcomes): P(target | row), the full space.
    pub targets: Vec<LogPair>,
}

/// `ln σ(z) = min(z, 0) − ln(1 + exp(−|z|))`: finite and accurate for any finite z.
#[must_use]
pub fn log_sigmoid(z: f64) -> f64 {
    z.min(0.0) - (-z.abs()).exp().ln_1p()
}

/// `ln Σ exp(xᵢ)` over two or more terms; −∞ terms are fine.
#[must_use]
pub fn log_sum_exp(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.iter().map(|t| (t - largest).exp()).sum::<f64>().ln()
}

/// `ln(1 − exp(x))`: NaN where `exp(x)` exceeds 1.
fn log_complement(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// `ln P` of a union of disjoint events, from each stage's `(ln p, ln(1 − p))`.
fn union(events: &[Event], pairs: &[(f64, f64)], terms: &mut Vec<f64>) -> f64 {
    let of = |event: &Event| event.iter().map(|s| if s.reached { pairs[s.stage].0 } else { pairs[s.stage].1 }).sum::<f64>();
    match events {
        [] => f64::NEG_INFINITY,
        [event] => of(event),
        _ => {
            terms.clear();
            terms.extend(events.iter().map(of));
            // Disjoint events: the sum is a probability, rounding aside.
            log_sum_exp(terms).min(0.0)
        }
    }
}

impl Graph {
    /// Composes logits, `logits[s][row]` of S stages as the towers give them; a calibration is applied here and nowhere else.
    #[must_use]
    pub fn compose(&self, logits: &[&[f32]]) -> Composed {
        let pairs = |row: usize, stage: usize| {
            let z = f64::from(logits[stage][row]);
            let z = self.correction(stage).map_or(z, |c| c.apply(z));
            (log_sigmoid(z), log_sigmoid(-z))
        };
        self.compose_with(logits.first().map_or(0, |z| z.len()), &pairs)
    }

    /// Composes conditional probabilities (known truth): `p[s][row]`.
    #[must_use]
    pub fn compose_probabilities(&self, p: &[&[f32]]) -> Composed {
        let pairs = |row: usize, stage: usize| {
            let p = f64::from(p[stage][row]);
            (p.ln(), (-p).ln_1p())
        };
        self.composed_by(Composition::Product).compose_with(p.first().map_or(0, |p| p.len()), &pairs)
    }

    /// A stage's conditional `(ln p, ln(1 − p))`, from what the towers give. A quotient has no other sides to be the sum of; where it exceeds
    /// 1, `ln(1 − p)` is NaN.
    fn conditional(&self, stage: usize, towers: &[(f64, f64)]) -> (f64, f64) {
        match (self.composition, self.nodes[stage].parent) {
            (Composition::Quotient, Some(parent)) => {
                let log_p = towers[stage].0 - towers[parent].0;
                (log_p, log_complement(log_p))
            }
            _ => towers[stage],
        }
    }

    fn compose_with(&self, rows: usize, pair: &(dyn Fn(usize, usize) -> (f64, f64) + Sync)) -> Composed {
        const ROWS: usize = 4096;
        let (stages, targets) = (self.len(), self.targets.len());
        let chunks: Vec<Composed> = (0..rows.div_ceil(ROWS))
            .into_par_iter()
            .map(|chunk| {
                let mut out = Composed { conditional: vec![LogPair::default(); stages], targets: vec![LogPair::default(); targets] };
                let (mut pairs, mut terms) = (vec![(0.0, 0.0); stages], Vec::new());
                for row in chunk * ROWS..rows.min((chunk + 1) * ROWS) {
                    for (stage, column) in out.conditional.iter_mut().enumerate() {
                        pairs[stage] = pair(row, stage);
                        let (log_p, log_not_p) = self.conditional(stage, &pairs);
                        column.log_p.push(log_p);
                        column.log_not_p.push(log_not_p);
                    }
                    for (target, column) in self.targets.iter().zip(&mut out.targets) {
                        column.log_p.push(union(&target.yes, &pairs, &mut terms));
                        column.log_not_p.push(union(&target.no, &pairs, &mut terms));
                    }
                }
                out
            })
            .collect();
        let gather = |pick: &dyn Fn(&Composed) -> &LogPair| LogPair {
            log_p: chunks.iter().flat_map(|c| pick(c).log_p.iter().copied()).collect(),
            log_not_p: chunks.iter().flat_map(|c| pick(c).log_not_p.iter().copied()).collect(),
        };
        Composed {
            conditional: (0..stages).map(|s| gather(&|c| &c.conditional[s])).collect(),
            targets: (0..targets).map(|t| gather(&|c| &c.targets[t])).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Node, Step};
    use proptest::prelude::*;

    /// A random graph: parents before children, some stages the complement branch of an earlier sibling, and one outcome over a stage and
    /// the children of its complement, where there is such a pair.
    fn graphs() -> impl Strategy<Value = Graph> {
        (1usize..7, proptest::collection::vec((any::<u8>(), any::<bool>()), 7)).prop_map(|(n, draws)| {
            let mut nodes: Vec<Node> = Vec::new();
            for (i, (draw, complement)) in draws.into_iter().take(n).enumerate() {
                let parent = (usize::from(draw) % (i + 1)).checked_sub(1);
                let siblings: Vec<usize> = (0..i).filter(|s| nodes[*s].parent == parent && nodes[*s].unless.is_none()).collect();
                let unless = siblings.get(usize::from(draw) % siblings.len().max(1)).copied().filter(|_| complement);
                nodes.push(Node { name: format!("s{i}"), label: format!("s{i}"), parent, unless });
            }
            let outcome = (0..n).find_map(|i| nodes[i].unless.map(|u| ("any".to_owned(), vec![u, i])));
            Graph::new("row".into(), nodes, outcome.into_iter().collect())
        })
    }

    /// P of each target by adding up all 2^S combinations of conditional decisions.
    fn enumerate(graph: &Graph, z: &[f64]) -> Vec<f64> {
        let p: Vec<f64> = z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect();
        let mut sums = vec![0.0; graph.targets.len()];
        for bits in 0..1u32 << graph.len() {
            let on = |s: usize| bits >> s & 1 == 1;
            let weight: f64 = (0..graph.len()).map(|s| if on(s) { p[s] } else { 1.0 - p[s] }).product();
            let mut reached = vec![false; graph.len()];
            for (s, node) in graph.nodes.iter().enumerate() {
                reached[s] = on(s) && node.parent.is_none_or(|p| reached[p]) && node.unless.is_none_or(|u| !reached[u]);
            }
            for (sum, target) in sums.iter_mut().zip(&graph.targets) {
                if target.stages.iter().any(|s| reached[*s]) {
                    *sum += weight;
                }
            }
        }
        sums
    }

    fn compose_row(graph: &Graph, z: &[f64]) -> Composed {
        #[allow(clippy::cast_possible_truncation)]
        let columns: Vec<[f32; 1]> = z.iter().map(|z| [*z as f32]).collect();
        graph.compose(&columns.iter().map(<[f32; 1]>::as_slice).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn equals_brute_force((graph, z) in graphs().prop_flat_map(|g| { let n = g.len(); (Just(g), proptest::collection::vec(-6i32..7, n)) })) {
            let z: Vec<f64> = z.into_iter().map(|z| f64::from(z) / 2.0).collect();
            let composed = compose_row(&graph, &z);
            for (pair, expected) in composed.targets.iter().zip(enumerate(&graph, &z)) {
                prop_assert!((pair.log_p[0].exp() - expected).abs() < 1e-12);
                prop_assert!((pair.log_not_p[0].exp() - (1.0 - expected)).abs() < 1e-12);
            }
        }

        /// Labels and probabilities read the graph alike: a stage is reached where its path's decisions are those of the row.
        #[test]
        fn labels_are_read_as_paths_are((graph, bits) in (graphs(), any::<u32>())) {
            let labels: Vec<u8> = (0..graph.len()).map(|s| u8::from(bits >> s & 1 == 1)).collect();
            let mut reached = vec![0; graph.len()];
            graph.reached(&labels, &mut reached);
            let flags = graph.flags(&reached.iter().map(|r| vec![*r]).collect::<Vec<_>>());
            for (stage, &own) in reached.iter().enumerate() {
                let path = graph.path(stage);
                let on_path = |path: &[Step]| path.iter().all(|s| (labels[s.stage] != 0) == s.reached);
                prop_assert_eq!(on_path(&path), own == 1);
                prop_assert_eq!(on_path(&path[..path.len() - 1]), flags.in_space[stage][0]);
                prop_assert_eq!(flags.reached[stage][0], own);
            }
        }

        #[test]
        fn children_are_rarer_and_sides_add_up((graph, z) in graphs().prop_flat_map(|g| { let n = g.len(); (Just(g), proptest::collection::vec(-80.0f64..80.0, n)) })) {
            let composed = compose_row(&graph, &z);
            for (s, node) in graph.nodes.iter().enumerate() {
                let own = composed.targets[s].log_p[0];
                prop_assert!(node.parent.is_none_or(|p| own <= composed.targets[p].log_p[0]));
            }
            for pair in &composed.targets {
                prop_assert!(pair.log_p[0].is_finite() && pair.log_not_p[0].is_finite());
                prop_assert!((pair.log_p[0].exp() + pair.log_not_p[0].exp() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_chain_follows_the_formula() {
        let node = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
        let graph = Graph::new("row".into(), vec![node("a", None), node("b", Some(0)), node("c", Some(1))], vec![]);
        for z in [[0.5, -1.0, 2.0], [-800.0, 800.0, -80.0], [80.0, 80.0, 80.0]] {
            let c = &compose_row(&graph, &z).targets[2];
            let ls = log_sigmoid;
            let no = log_sum_exp(&[ls(-z[0]), ls(z[0]) + ls(-z[1]), ls(z[0]) + ls(z[1]) + ls(-z[2])]).min(0.0);
            assert!((c.log_p[0] - (ls(z[0]) + ls(z[1]) + ls(z[2]))).abs() < 1e-9 && (c.log_not_p[0] - no).abs() < 1e-12);
            assert!(c.log_p[0].is_finite() && c.log_not_p[0].is_finite());
        }
    }

    #[test]
    fn quotients_are_of_full_space_probabilities() {
        let node = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
        let chain = Graph::new("row".into(), vec![node("a", None), node("b", Some(0)), node("c", Some(1))], vec![]);
        let graph = chain.composed_by(Composition::Quotient);
        let p = |z: f64| 1.0 / (1.0 + (-z).exp());
        let z = [0.4, -1.5, -0.3];
        let composed = compose_row(&graph, &z);
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} against {expected}");
        for (stage, z) in z.iter().enumerate() {
            close(composed.targets[stage].log_p[0].exp(), p(*z));
            close(composed.targets[stage].log_not_p[0].exp(), 1.0 - p(*z));
        }
        close(composed.conditional[0].log_p[0].exp(), p(z[0]));
        let quotient = p(z[1]) / p(z[0]);
        close(composed.conditional[1].log_p[0].exp(), quotient);
        close(composed.conditional[1].log_not_p[0].exp(), 1.0 - quotient);
        // More than 1: its logarithm is above 0, and it has no complement.
        close(composed.conditional[2].log_p[0].exp(), p(z[2]) / p(z[1]));
        assert!(composed.conditional[2].log_p[0] > 0.0 && composed.conditional[2].log_not_p[0].is_nan());
        // Known truth is of conditional probabilities, however the model composes.
        let truth: [&[f32]; 3] = [&[0.5], &[0.25], &[0.125]];
        assert_eq!(graph.compose_probabilities(&truth), chain.compose_probabilities(&truth));
        assert_eq!(graph.tower_rates(&[0.5, 0.25, 0.5]), [0.5, 0.125, 0.0625]);
        assert_eq!(chain.tower_rates(&[0.5, 0.25, 0.5]), [0.5, 0.25, 0.5]);
        assert_eq!(graph.composed_by(Composition::Product), chain);
    }
}
