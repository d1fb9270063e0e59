//! `din`: a sequence of the user's past, weighed by what is being shown now.

use super::mlp::{Activation, Columns, Hidden, MlpTower, Norm, Rate, count, gives};
use anyhow::{Result, bail};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput, OnnxSequence, Value};
use esmm_funnel_core::plugin::{Needs, Sequence, StageInput, StageOutput, StageShape, Tower, TowerSettings};
use esmm_funnel_core::register_tower;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::ops::Range;

/// Deep Interest Network (Zhou et al., KDD 2018): each value of a sequence is compared with the field that the sequence attends to, and their
/// weighted sum takes the place of the pooled sequence; then hidden layers. Every sequence has an attention unit of its own. Needs a sequence
/// that names the field it attends to, and an encoder that keeps fields apart, such as `concat`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Din {
    /// Width of each hidden layer of the attention unit, first to last. Empty means a weight for each column of what is compared.
    attention_hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer of the attention unit.
    attention_activation: Activation,
    /// Whether the weights of a row's values are made positive and sum to 1. The paper leaves them as they are, so that their sum says how
    /// strong the interest is.
    softmax: bool,
    /// Width of each hidden layer, first to last. Empty means one weight per column.
    hidden: Vec<NonZeroUsize>,
    /// The nonlinearity after each hidden layer.
    activation: Activation,
    /// Share of each hidden layer's outputs that is dropped in training: at least 0, less than 1. The attention unit drops nothing.
    dropout: Rate,
    /// How each hidden layer is normalised, before the nonlinearity. Those of the attention unit are not.
    norm: Norm,
}
impl Default for Din {
    fn default() -> Self {
        Self {
            attention_hidden: vec![count(36)],
            attention_activation: Activation::Dice,
            softmax: false,
            hidden: [200, 80].into_iter().map(count).collect(),
            activation: Activation::Dice,
            dropout: Rate::default(),
            norm: Norm::default(),
        }
    }
}

/// `a(q, k) = w·hidden([q, k, q − k, q ⊙ k]) + b`: how much a value k says about the target q.
#[derive(Module, Debug)]
pub struct AttentionUnit<B: Backend> {
    hidden: MlpTower<B>,
    score: Linear<B>,
    #[module(skip)]
    softmax: bool,
}
impl AttentionUnit<Bk> {
    fn new(settings: &Din, dim: usize, device: &Device) -> Self {
        let Din { attention_hidden: widths, attention_activation: activation, softmax, .. } = settings;
        let hidden = Hidden { widths, activation: *activation, dropout: Rate::default(), norm: Norm::None, first_draw: 0 };
        let score = LinearConfig::new(hidden.width(4 * dim), 1).init(device);
        Self { hidden: hidden.build(4 * dim, device), score, softmax: *softmax }
    }
    /// `Σ_k a(q, k)·k` over the values k of each row; 0 for a row without any.
    ///
    /// # Shapes
    /// `target` is `[B, D]`, as is the result.
    fn attend(&self, target: Tensor<Bk, 2>, sequence: &Sequence, input: &StageInput) -> Tensor<Bk, 2> {
        let [rows, dim] = target.dims();
        if sequence.is_empty() {
            return Tensor::zeros([rows, dim], &target.device());
        }
        let (q, k) = (sequence.spread(target), sequence.of_rows());
        let pairs = Tensor::cat(vec![q.clone(), k.clone(), q.clone() - k.clone(), q * k.clone()], 1);
        let scores = self.score.forward(self.hidden.hidden(&pairs, input));
        let weights = if self.softmax { softmax(scores, sequence, rows) } else { scores };
        sequence.sum(k * weights, rows)
    }
}

/// The same as nodes, on padded sequences.
impl AttentionUnit<Bk> {
    /// As [`Self::attend`].
    ///
    /// # Shapes
    /// `target` is `[B, D]`, as is the result.
    fn onnx(&self, graph: &mut Onnx<'_>, target: &Value, sequence: &OnnxSequence) -> Value {
        let (k, one) = (&sequence.values, graph.unsqueeze(target, 1));
        // The target in each place: adding it to zeros spreads it.
        let zero = graph.number(0.0);
        let zeros = graph.mul(&sequence.mask, &zero);
        let q = graph.add(&zeros, &one);
        let (difference, product) = (graph.sub(&q, k), graph.mul(&q, k));
        let pairs = graph.concat(&[q, k.clone(), difference, product], -1);
        let hidden = graph.scope("hidden", |graph| self.hidden.onnx_hidden(graph, &pairs));
        let scores = graph.linear("score", &hidden, &self.score);
        let weights = if self.softmax { onnx_softmax(graph, &scores, &sequence.mask) } else { graph.mul(&scores, &sequence.mask) };
        let weighted = graph.mul(k, &weights);
        graph.sum(&weighted, &[1], false)
    }
}
/// As [`softmax`]; 0 for padding.
///
/// # Shapes
/// `scores` and `mask` are `[B, L, 1]`, as is the result.
fn onnx_softmax(graph: &mut Onnx<'_>, scores: &Value, mask: &Value) -> Value {
    let (one, most) = (graph.number(1.0), graph.number(80.0));
    let count = graph.sum(mask, &[1], true);
    let known = graph.mul(scores, mask);
    let (total, divisor) = (graph.sum(&known, &[1], true), graph.max(&count, &one));
    let mean = graph.div(&total, &divisor);
    let centred = graph.sub(scores, &mean);
    let limited = graph.min(&centred, &most);
    let exponential = graph.exp(&limited);
    let terms = graph.mul(&exponential, mask);
    let sum = graph.sum(&terms, &[1], true);
    // Without values the sum is 0, as is every term.
    let missing = graph.sub(&one, &count);
    let guard = graph.relu(&missing);
    let sum = graph.add(&sum, &guard);
    graph.div(&terms, &sum)
}

/// Softmax over the values of each row. It is taken from the row's mean, as no maximum of a ragged row is to be had: the largest term is at
/// least 1, and beyond e⁸⁰ times the mean's all terms count alike.
///
/// # Shapes
/// `scores` is `[E, 1]`, as is the result.
fn softmax(scores: Tensor<Bk, 2>, sequence: &Sequence, rows: usize) -> Tensor<Bk, 2> {
    let fixed = scores.clone().detach();
    let mean = sequence.sum(fixed.clone(), rows) / sequence.sum(fixed.ones_like(), rows);
    let terms = (scores - sequence.spread(mean)).clamp_max(80.0).exp();
    terms.clone() / sequence.spread(sequence.sum(terms, rows))
}

/// Where a field stands.
#[derive(Debug, Clone)]
struct Place {
    part: usize,
    /// Its columns in the part.
    within: Range<usize>,
    /// Its columns among those of all parts.
    columns: Range<usize>,
}
impl Place {
    fn of(field: usize, shape: &StageShape) -> Self {
        let columns = shape.columns(field);
        let (mut part, mut first) = (0, 0);
        while first + shape.parts[part].width() <= columns.start {
            first += shape.parts[part].width();
            part += 1;
        }
        Self { part, within: columns.start - first..columns.end - first, columns }
    }
    /// # Shapes
    /// `[B, D]`.
    fn values(&self, input: &StageInput) -> Tensor<Bk, 2> {
        let part = &input.parts[self.part];
        part.expand(part.values.clone().narrow(1, self.within.start, self.within.len()))
    }
    /// The input with zeros there.
    fn cleared(&self, mut input: StageInput) -> StageInput {
        let values = &mut input.parts[self.part].values;
        let rows = values.dims()[0];
        let zeros = Tensor::zeros([rows, self.within.len()], &values.device());
        *values = values.clone().slice_assign([0..rows, self.within.clone()], zeros);
        input
    }
}

/// The input with other vectors in the place of pooled sequences.
struct Replaced {
    /// Zero in those places.
    rest: StageInput,
    /// The columns, and what stands there, `[B, D]`.
    vectors: Vec<(Range<usize>, Tensor<Bk, 2>)>,
}
impl Columns for Replaced {
    fn dense(&self) -> Tensor<Bk, 2> {
        self.vectors.iter().fold(self.rest.dense(), |x, (columns, vector)| {
            let rows = x.dims()[0];
            x.slice_assign([0..rows, columns.clone()], vector.clone())
        })
    }
    fn project(&self, layer: &Linear<Bk>) -> Tensor<Bk, 2> {
        let weight = layer.weight.val();
        let product = |(columns, vector): &(Range<usize>, Tensor<Bk, 2>)| {
            vector.clone().matmul(weight.clone().narrow(0, columns.start, columns.len()))
        };
        self.vectors.iter().map(product).fold(self.rest.project(layer), |sum, product| sum + product)
    }
}

/// `[B, input]` → one logit a row, `[B]`.
#[derive(Module, Debug)]
pub struct DinTower<B: Backend> {
    /// One a sequence.
    attention: Vec<AttentionUnit<B>>,
    deep: MlpTower<B>,
    /// Of each sequence, where it stands pooled, and its target.
    #[module(skip)]
    places: Vec<(Place, Place)>,
    /// Columns of the input.
    #[module(skip)]
    width: usize,
}

impl TowerSettings for Din {
    type Tower = DinTower<Bk>;
    fn needs(&self) -> Needs {
        Needs { sequences: true, ..gives(&self.hidden) }
    }
    fn build(&self, shape: &StageShape, device: &Device) -> Result<Self::Tower> {
        let Self { hidden: widths, activation, dropout, norm, .. } = self;
        let hidden = Hidden { widths, activation: *activation, dropout: *dropout, norm: *norm, first_draw: 0 };
        shape.field_dim()?;
        if shape.sequences.is_empty() {
            bail!("needs a sequence that names the field it attends to, and no feature is one");
        }
        Ok(DinTower {
            attention: shape.sequences.iter().map(|s| AttentionUnit::new(self, s.dim, device)).collect(),
            deep: hidden.with_head(shape, device),
            places: shape.sequences.iter().map(|s| (Place::of(s.pooled, shape), Place::of(s.target, shape))).collect(),
            width: shape.width(),
        })
    }
}
impl Tower for DinTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let sequences = self.attention.iter().zip(&self.places).zip(&input.sequences);
        let attended = sequences
            .map(|((unit, (pooled, target)), sequence)| (pooled.columns.clone(), unit.attend(target.values(input), sequence, input)));
        let vectors = attended.collect();
        let rest = self.places.iter().fold(StageInput::new(input.parts.clone()), |rest, (pooled, _)| pooled.cleared(rest));
        self.deep.output(&Replaced { rest, vectors }, input)
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let mut vectors: Vec<(&Place, Value)> = Vec::new();
        for (i, ((unit, (pooled, target)), sequence)) in self.attention.iter().zip(&self.places).zip(&input.sequences).enumerate() {
            let target = graph.slice(&input.parts[target.part], 1, target.within.start, target.within.end);
            vectors.push((pooled, graph.scope(&format!("attention.{i}"), |graph| unit.onnx(graph, &target, sequence))));
        }
        vectors.sort_by_key(|(place, _)| place.columns.start);
        // What stands between the pooled sequences stays.
        let (x, mut at, mut pieces) = (input.dense(graph), 0, Vec::new());
        for (place, vector) in vectors {
            if place.columns.start > at {
                pieces.push(graph.slice(&x, 1, at, place.columns.start));
            }
            pieces.push(vector);
            at = place.columns.end;
        }
        if at < self.width {
            pieces.push(graph.slice(&x, 1, at, self.width));
        }
        let x = graph.concat(&pieces, 1);
        Some(graph.scope("deep", |graph| self.deep.onnx_output(graph, &x)))
    }
}
register_tower!("din", Din);
