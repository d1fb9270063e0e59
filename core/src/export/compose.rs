//! Logits → probabilities as nodes: [`Graph::compose`](crate::graph::Graph::compose) in single precision.
//!
//! Everything is a sum of `ln σ(±z) = min(±z, 0) − ln(1 + e^(−|z|))`, finite for any logit, and the exponential comes last.

use crate::calibration::{Correction, Map, TILT};
use crate::graph::words::prediction_columns;
use crate::graph::{Composition, Event, Graph};
use crate::onnx::proto::Type;
use crate::onnx::{Onnx, Value};

/// The columns of [`prediction_columns`] by name, from per-stage logits `[B, 1]`; each `[B, 1]`.
pub(super) fn probabilities(onnx: &mut Onnx<'_>, graph: &Graph, logits: &[Value]) -> Vec<(String, Value)> {
    let mut pairs = Vec::with_capacity(logits.len());
    for (stage, z) in logits.iter().enumerate() {
        let z = graph.correction(stage).map_or_else(|| z.clone(), |correction| corrected(onnx, correction, z));
        pairs.push(log_pair(onnx, &z));
    }
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

/// [`Correction::apply`], in double precision: knots may lie close together.
fn corrected(onnx: &mut Onnx<'_>, correction: &Correction, z: &Value) -> Value {
    let wide = onnx.cast(z, Type::Double);
    let affine = |onnx: &mut Onnx<'_>, slope: f64, intercept: f64| {
        let (slope, intercept) = (onnx.double(slope), onnx.double(intercept));
        let scaled = onnx.mul(&wide, &slope);
        onnx.add(&scaled, &intercept)
    };
    let after = correction.log_keep_rate;
    let out = match &correction.map {
        Map::None {} => affine(onnx, 1.0, after),
        Map::Platt { slope, intercept } => affine(onnx, *slope, intercept + after),
        Map::Temperature { temperature } => affine(onnx, 1.0 / temperature, after),
        // A line, and at each knot a bend: y₀ + s·(z − x₀) + Σ Δsᵢ·max(z − xᵢ, 0).
        Map::Isotonic { knots } => {
            let mut slopes = vec![TILT];
            slopes.extend(knots.windows(2).map(|k| (k[1].1 - k[0].1) / (k[1].0 - k[0].0)));
            slopes.push(TILT);
            let bends: Vec<f64> = slopes.windows(2).map(|s| s[1] - s[0]).collect();
            let (x, y) = knots.first().copied().unwrap_or_default();
            let line = affine(onnx, TILT, y - TILT * x + after);
            let (at, bends, zero) = (knots.iter().map(|k| k.0).collect::<Vec<_>>(), onnx.doubles(&bends), onnx.double(0.0));
            let at = onnx.doubles(&at);
            let past = onnx.sub(&wide, &at);
            let past = onnx.max(&past, &zero);
            let bent = onnx.mul(&past, &bends);
            let sum = onnx.sum(&bent, &[1], true);
            onnx.add(&line, &sum)
        }
    };
    onnx.cast(&out, Type::Float)
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

    /// Branches, a shared label, an outcome over both ways; a chain; and a chain whose logits are corrected.
    fn graphs() -> [Graph; 4] {
        let node = |name: &str, parent, unless| Node { name: name.into(), label: name.into(), parent, unless };
        let chain = Graph::new("row".into(), vec![node("a", None, None), node("b", Some(0), None), node("c", Some(1), None)], vec![]);
        let branches = vec![node("a", None, None), node("b", Some(0), None), node("c", Some(1), None), node("d", Some(0), Some(1))];
        let quotient = chain.composed_by(Composition::Quotient);
        let correction = |map, rate: f64| Some(Correction { map, log_keep_rate: rate.ln() });
        let knots = vec![(-19.0, -12.0), (-1.5, -3.0), (-1.4999, -2.0), (0.25, 0.5)];
        let corrections = vec![
            correction(Map::Platt { slope: 0.8, intercept: -0.3 }, 1.0),
            correction(Map::Isotonic { knots }, 0.1),
            correction(Map::Temperature { temperature: 1.7 }, 1.0),
        ];
        let calibrated = chain.clone().calibrated_by(corrections);
        [chain, Graph::new("row".into(), branches, vec![("any".into(), vec![2, 3])]), quotient, calibrated]
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
