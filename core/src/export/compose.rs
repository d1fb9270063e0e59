//! Logits → probabilities as nodes: [`Graph::compose`](crate::graph::Graph::compose) in single precision.
//!
//! Everything is a sum of `ln σ(±z) = min(±z, 0) − ln(1 + e^(−|z|))`, finite for any logit, and the exponential comes last.

use crate::graph::words::prediction_columns;
use crate::graph::{Composition, Event, Graph};
use crate::onnx::{Onnx, Value};

/// The columns of [`prediction_columns`] by name, from per-stage logits `[B, 1]`; each `[B, 1]`.
pub(super) fn probabilities(onnx: &mut Onnx<'_>, graph: &Graph, logits: &[Value]) -> Vec<(String, Value)> {
    let pairs: Vec<(Value, Value)> = logits.iter().map(|z| log_pair(onnx, z)).collect();
    let mut out = Vec::new();
    for (target, of) in graph.targets.iter().enumerate() {
        let full = union(onnx, &of.yes, &pairs);
        out.push(onnx.exp(&full));
        if target < graph.len() {
            let given = match (graph.composition, graph.nodes[target].parent) {
                (Composition::Quotient, Some(parent)) => onnx.sub(&pairs[target].0, &pairs[parent].0),
                _ => pairs[target].0.clone(),
            };
            out.push(onnx.exp(&given));
        }
    }
    prediction_columns(graph).into_iter().zip(out).collect()
}

/// `(ln σ(z), ln σ(−z))`.
fn log_pair(onnx: &mut Onnx<'_>, z: &Value) -> (Value, Value) {
    let (one, zero) = (onnx.number(1.0), onnx.number(0.0));
    let size = onnx.abs(z);
    let fall = onnx.neg(&size);
    let small = onnx.exp(&fall);
    let more = onnx.add(&one, &small);
    let log = onnx.log(&more);
    let minus = onnx.neg(z);
    let (yes, no) = (onnx.min(z, &zero), onnx.min(&minus, &zero));
    (onnx.sub(&yes, &log), onnx.sub(&no, &log))
}

/// `ln P` of a union of disjoint events: `ln Σ exp`, taken from the largest.
fn union(onnx: &mut Onnx<'_>, events: &[Event], pairs: &[(Value, Value)]) -> Value {
    let mut terms: Vec<Value> = Vec::new();
    for event in events {
        let steps: Vec<Value> = event.iter().map(|s| if s.reached { pairs[s.stage].0.clone() } else { pairs[s.stage].1.clone() }).collect();
        let zero = onnx.number(0.0);
        terms.push(onnx.total(steps).unwrap_or(zero));
    }
    let Some((first, rest)) = terms.split_first() else { return onnx.number(f32::NEG_INFINITY) };
    if rest.is_empty() {
        return first.clone();
    }
    let largest = rest.iter().fold(first.clone(), |largest, term| onnx.max(&largest, term));
    let mut shares = Vec::new();
    for term in &terms {
        let off = onnx.sub(term, &largest);
        shares.push(onnx.exp(&off));
    }
    let zero = onnx.number(0.0);
    let sum = onnx.total(shares).unwrap_or_else(|| zero.clone());
    let log = onnx.log(&sum);
    let all = onnx.add(&largest, &log);
    onnx.min(&all, &zero)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;
    use crate::onnx::proto::Type;
    use crate::onnx::{Evaluated, evaluate};
    use crate::score;

    /// Branches, a shared label, an outcome over both ways; and a chain.
    fn graphs() -> [Graph; 3] {
        let node = |name: &str, parent, unless| Node { name: name.into(), label: name.into(), parent, unless };
        let chain = Graph::new("row".into(), vec![node("a", None, None), node("b", Some(0), None), node("c", Some(1), None)], vec![]);
        let branches = vec![node("a", None, None), node("b", Some(0), None), node("c", Some(1), None), node("d", Some(0), Some(1))];
        let quotient = chain.composed_by(Composition::Quotient);
        [chain, Graph::new("row".into(), branches, vec![("any".into(), vec![2, 3])]), quotient]
    }

    #[test]
    #[allow(clippy::cast_possible_truncation)]
    fn the_core_composes_the_same_and_all_is_finite() {
        let extremes = [-80.0f32, -20.0, -1.5, 0.0, 0.3, 20.0, 80.0];
        for graph in graphs() {
            let stages = graph.len();
            let rows = extremes.len().pow(stages as u32);
            let column =
                |s: usize| -> Vec<f32> { (0..rows).map(|r| extremes[r / extremes.len().pow(s as u32) % extremes.len()]).collect() };
            let logits: Vec<Vec<f32>> = (0..stages).map(column).collect();
            let mut onnx = Onnx::new();
            let inputs: Vec<Value> = (0..stages).map(|s| onnx.input(&format!("z{s}"), Type::Float, &["batch", "one"], "")).collect();
            let columns = probabilities(&mut onnx, &graph, &inputs);
            let values = inputs.iter().zip(&logits).map(|(v, z)| (v.name().to_owned(), Evaluated::floats(vec![rows, 1], z.clone())));
            let found = evaluate(&onnx, values.collect()).unwrap();
            let expected = score::probabilities(&graph, &logits.iter().map(Vec::as_slice).collect::<Vec<_>>());
            for ((name, value), expected) in columns.iter().zip(&expected) {
                for (p, q) in found[value.name()].values().into_iter().zip(expected) {
                    // Single precision rounds a logarithm of −160 by 8·10⁻⁶; and a quotient of towers that contradict each other has no bound.
                    let fits = q.abs() < 1e37;
                    assert!(!fits || (p - q).abs() <= 3e-5 * q.abs().max(1e-30), "{name}: {p} against {q}");
                    assert!(!fits || p.is_finite());
                }
            }
        }
    }
}
