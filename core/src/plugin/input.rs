//! What a tower or an encoder sees of a batch.

use crate::device::{Bk, Device};
use crate::random::mix;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use burn::tensor::IndexingUpdateOp;

/// Widths of the input's parts: what is the rows' own, then what each entity shares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartShape {
    /// Embedded fields, each `dim` wide.
    pub fields: usize,
    /// Width of a field.
    pub dim: usize,
    /// Plain numbers after the fields.
    pub numbers: usize,
}
impl PartShape {
    /// Columns of the part.
    #[must_use]
    pub fn width(&self) -> usize {
        self.fields * self.dim + self.numbers
    }
}

/// A sequence that a tower may attend to: which fields belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceShape {
    /// The field of [`StageInput::fields`] in which its values stand pooled.
    pub pooled: usize,
    /// The field that its values are compared with.
    pub target: usize,
    /// Width of its values.
    pub dim: usize,
}

/// What a tower is built for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StageShape {
    /// The stage.
    pub stage: String,
    /// Parts of its input.
    pub parts: Vec<PartShape>,
    /// Parts of [`StageInput::own`], all without numbers; empty unless the tower asked for tables of its own.
    pub own: Vec<PartShape>,
    /// The sequences of [`StageInput::sequences`]; empty unless the tower asked for them, and behind an encoder that mixes fields.
    pub sequences: Vec<SequenceShape>,
    /// Width of [`StageInput::upstream`]; `None` unless the tower asked for it.
    pub upstream: Option<usize>,
}
impl StageShape {
    /// For a stage's tower that sees these parts and nothing else.
    #[must_use]
    pub fn new(stage: impl Into<String>, parts: Vec<PartShape>) -> Self {
        Self { stage: stage.into(), parts, ..Self::default() }
    }
    /// Columns of [`StageInput::dense`].
    #[must_use]
    pub fn width(&self) -> usize {
        self.parts.iter().map(PartShape::width).sum()
    }
    /// Number of fields of [`StageInput::fields`].
    #[must_use]
    pub fn fields(&self) -> usize {
        self.parts.iter().map(|p| p.fields).sum()
    }
    /// The columns of [`StageInput::dense`] that hold a field of [`StageInput::fields`].
    #[must_use]
    pub fn columns(&self, field: usize) -> std::ops::Range<usize> {
        let (mut first, mut field) = (0, field);
        for part in &self.parts {
            if field < part.fields {
                return first + field * part.dim..first + (field + 1) * part.dim;
            }
            field -= part.fields;
            first += part.width();
        }
        first..first
    }
    /// The width that all fields have.
    ///
    /// # Errors
    /// There is no field, since an encoder has mixed them or there are numbers alone; or fields differ in width.
    pub fn field_dim(&self) -> anyhow::Result<usize> {
        let mut dims = self.parts.iter().filter(|p| p.fields > 0).map(|p| p.dim);
        let Some(dim) = dims.next() else {
            anyhow::bail!("needs embedded fields side by side; use an encoder that keeps fields apart, such as `concat`");
        };
        match dims.find(|d| *d != dim) {
            Some(other) => anyhow::bail!("needs fields of one width, but some are {dim} wide and others {other}"),
            None => Ok(dim),
        }
    }
    /// The last layer of a tower, `[B, width]` → `[B, 1]`, without a bias: the stage has one of its own, which starts at its base rate.
    #[must_use]
    pub fn head(&self, width: usize, device: &Device) -> Linear<Bk> {
        LinearConfig::new(width, 1).with_bias(false).init(device)
    }
}

/// One part: the rows' own columns, or what distinct entities share.
#[derive(Debug, Clone)]
pub struct Part {
    /// `[N, W]`.
    pub values: Tensor<Bk, 2>,
    /// `[B]`: which of the N each row belongs to; `None`: N = B, in order.
    pub index: Option<Tensor<Bk, 1, Int>>,
}
impl Part {
    /// What each row has of what its member has.
    ///
    /// # Shapes
    /// `[N, W]` → `[B, W]`.
    #[must_use]
    pub fn expand(&self, values: Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        match &self.index {
            None => values,
            Some(index) => values.select(0, index.clone()),
        }
    }
}

/// The values of a sequence column, one by one, unpadded.
///
/// A row's values are those of its member (the row itself, or the entity that it shares with others), first to last.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// `[T, D]`: the vectors of all members' values, one after the other.
    pub values: Tensor<Bk, 2>,
    /// `[E]`: for each row and each of its values, row by row, which of the T it is. `None`: E = T, in order.
    pub value: Option<Tensor<Bk, 1, Int>>,
    /// `[E]`: the row.
    pub row: Tensor<Bk, 1, Int>,
}
impl Sequence {
    /// `[E, D]`: the values of each row, row by row.
    #[must_use]
    pub fn of_rows(&self) -> Tensor<Bk, 2> {
        match &self.value {
            None => self.values.clone(),
            Some(value) => self.values.clone().select(0, value.clone()),
        }
    }
    /// What each value's row has.
    ///
    /// # Shapes
    /// `x` is `[B, W]`; gives `[E, W]`.
    #[must_use]
    pub fn spread(&self, x: Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        x.select(0, self.row.clone())
    }
    /// Sum over each row's values; 0 for a row without any.
    ///
    /// # Shapes
    /// `x` is `[E, W]`; gives `[B, W]` for B = `rows`.
    #[must_use]
    pub fn sum(&self, x: Tensor<Bk, 2>, rows: usize) -> Tensor<Bk, 2> {
        let width = x.dims()[1];
        Tensor::zeros([rows, width], &x.device()).select_assign(0, self.row.clone(), x, IndexingUpdateOp::Add)
    }
    /// E: values of all rows together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.row.dims()[0]
    }
    /// True if no row has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The input of one stage's tower: B rows, in parts of which some are shared by many rows.
#[derive(Debug, Clone, Default)]
pub struct StageInput {
    /// The parts, in the order of [`StageShape::parts`].
    pub parts: Vec<Part>,
    /// What the tower's own tables hold for the same ids, in the order of [`StageShape::own`]; see [`Self::own_sum`].
    pub own: Vec<Part>,
    /// Sequences, in the order of [`StageShape::sequences`].
    pub sequences: Vec<Sequence>,
    /// `[B, H]`: the hidden layer of the tower of the stage before.
    pub upstream: Option<Tensor<Bk, 2>>,
    /// In training, what [`Self::dropout`] draws from; `None` when scoring.
    pub noise: Option<Noise>,
}
impl StageInput {
    /// An input of these parts, without any noise.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts, ..Self::default() }
    }
    /// True in training.
    #[must_use]
    pub fn in_training(&self) -> bool {
        self.noise.is_some()
    }

    /// Sum over the fields of the tower's own vectors: with tables one wide, the first-order term `Σ_f w_f(id_f)`.
    ///
    /// # Shapes
    /// `shape` is [`StageShape::own`]; gives `[B, D]` for tables D wide.
    #[must_use]
    pub fn own_sum(&self, shape: &[PartShape]) -> Option<Tensor<Bk, 2>> {
        let sums = self.own.iter().zip(shape).map(|(part, s)| {
            let n = part.values.dims()[0];
            part.expand(part.values.clone().reshape([n, s.fields, s.dim]).sum_dim(1).reshape([n, s.dim]))
        });
        sums.reduce(|a, b| a + b)
    }

    /// The embedded fields, row by row; the numbers are left out. There must be one.
    ///
    /// # Shapes
    /// `shape` is what the tower was built for, its fields all D wide; gives `[B, F, D]`, the parts' fields one after the other.
    #[must_use]
    pub fn fields(&self, shape: &[PartShape]) -> Tensor<Bk, 3> {
        let views: Vec<Tensor<Bk, 3>> = self
            .parts
            .iter()
            .zip(shape)
            .filter(|(_, s)| s.fields > 0)
            .map(|(part, s)| {
                let n = part.values.dims()[0];
                let own = part.values.clone().narrow(1, 0, s.fields * s.dim);
                let rows = part.expand(own);
                let b = if part.index.is_some() { rows.dims()[0] } else { n };
                rows.reshape([b, s.fields, s.dim])
            })
            .collect();
        Tensor::cat(views, 1)
    }

    /// In training, zeroes each value with probability `rate` and scales the others by `1 / (1 − rate)`; when scoring, gives back `x`. Calls of
    /// one forward pass are told apart by `layer`. Unlike a global generator this does not depend on which tower runs first.
    ///
    /// # Shapes
    /// `x` is `[N, H]`, as is the result.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn dropout(&self, x: Tensor<Bk, 2>, rate: f64, layer: usize) -> Tensor<Bk, 2> {
        let (Some(Noise(seed)), true) = (self.noise, rate > 0.0) else { return x };
        let [n, h] = x.dims();
        let (kept, threshold) = ((1.0 / (1.0 - rate)) as f32, (rate * 2f64.powi(32)) as u64);
        let key = mix(seed ^ mix(layer as u64));
        let mask: Vec<f32> = (0..(n * h) as u64).map(|i| if mix(key ^ i) >> 32 < threshold { 0.0 } else { kept }).collect();
        let device = x.clone().inner().device();
        x * Tensor::from_inner(Tensor::from_data(TensorData::new(mask, [n, h]), &device))
    }

    /// Everything, row by row.
    ///
    /// # Shapes
    /// `[B, width]`: the parts side by side.
    #[must_use]
    pub fn dense(&self) -> Tensor<Bk, 2> {
        let mut parts: Vec<_> = self.parts.iter().map(|p| p.expand(p.values.clone())).collect();
        match parts.len() {
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 1),
        }
    }

    /// `dense() · W + b`, where what rows share is multiplied once and then expanded: `x·W = Σ_part x_part·W_part`.
    ///
    /// # Shapes
    /// `layer` maps `width` to any `H`; gives `[B, H]`.
    #[must_use]
    pub fn project(&self, layer: &Linear<Bk>) -> Tensor<Bk, 2> {
        if self.parts.len() == 1 {
            return layer.forward(self.dense());
        }
        let weight = layer.weight.val();
        let mut first = 0;
        let mut sum: Option<Tensor<Bk, 2>> = None;
        for part in &self.parts {
            let rows = part.values.dims()[1];
            let own = weight.clone().narrow(0, first, rows);
            first += rows;
            let product = part.expand(part.values.clone().matmul(own));
            sum = Some(match sum {
                None => product,
                Some(sum) => sum + product,
            });
        }
        let sum = sum.unwrap_or_else(|| layer.forward(self.dense()));
        match &layer.bias {
            None => sum,
            Some(bias) => sum + bias.val().unsqueeze(),
        }
    }
}

/// A stream of random numbers for one stage and step: the same for the same seed, whatever else runs beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise(pub u64);
impl Noise {
    /// Whether `row` of `stream` is drawn, which it is with probability `rate`.
    #[must_use]
    pub fn draws(self, stream: usize, row: usize, rate: f64) -> bool {
        let random = mix(mix(self.0 ^ mix(stream as u64)) ^ row as u64);
        ((random >> 11) as f64) < rate * 2f64.powi(53)
    }
}

/// What a tower gives.
#[derive(Debug, Clone)]
pub struct StageOutput {
    /// `[B]`: the stage's conditional logit.
    pub logit: Tensor<Bk, 1>,
    /// `[B, H]`: a hidden layer that towers of later stages may read.
    pub hidden: Option<Tensor<Bk, 2>>,
}
impl StageOutput {
    /// Of a head's `[B, 1]`.
    #[must_use]
    pub fn logit(head: Tensor<Bk, 2>) -> Self {
        Self { logit: head.squeeze_dim(1), hidden: None }
    }
    /// Lets towers of later stages read a layer, `[B, H]`; H is what [`super::Needs::hidden`] says.
    #[must_use]
    pub fn with_hidden(self, hidden: Tensor<Bk, 2>) -> Self {
        Self { hidden: Some(hidden), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    #[test]
    fn project_equals_dense_then_multiply() {
        let t = |values: &[f32], shape: [usize; 2]| Tensor::<Bk, 2>::from_data(TensorData::new(values.to_vec(), shape), &cpu());
        let input = StageInput::new(vec![
            Part { values: t(&[1., 2., 3., 4., 5., 6.], [3, 2]), index: None },
            Part { values: t(&[0.5, -1., 0.25, 2., 3., -3.], [2, 3]), index: Some(Tensor::from_data([1i32, 0, 1], &cpu())) },
        ]);
        let layer = LinearConfig::new(5, 4).init(&cpu());
        let (a, b) = (input.project(&layer).into_data(), layer.forward(input.dense()).into_data());
        for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
            assert!((a - b).abs() < 1e-5);
        }
    }

    #[test]
    fn fields_stand_row_by_row() {
        let t = |values: &[f32], shape: [usize; 2]| Tensor::<Bk, 2>::from_data(TensorData::new(values.to_vec(), shape), &cpu());
        let shape = [PartShape { fields: 1, dim: 2, numbers: 1 }, PartShape { fields: 2, dim: 2, numbers: 0 }];
        let input = StageInput::new(vec![
            Part { values: t(&[1., 2., 9., 3., 4., 9.], [2, 3]), index: None },
            Part { values: t(&[5., 6., 7., 8.], [1, 4]), index: Some(Tensor::from_data([0i32, 0], &cpu())) },
        ]);
        let fields = input.fields(&shape);
        assert_eq!(fields.dims(), [2, 3, 2]);
        assert_eq!(fields.into_data().to_vec::<f32>().unwrap(), [1., 2., 5., 6., 7., 8., 3., 4., 5., 6., 7., 8.]);
    }

    #[test]
    fn dropout_keeps_the_mean_and_depends_on_its_seed_alone() {
        let device = Device::autodiff(cpu());
        let x = Tensor::<Bk, 2>::ones([200, 50], &device);
        let mut input = StageInput::new(vec![Part { values: x.clone(), index: None }]);
        let draw = |input: &StageInput, layer| input.dropout(x.clone(), 0.3, layer).into_data().to_vec::<f32>().unwrap();
        assert_eq!(draw(&input, 0), vec![1.0; 10_000], "scoring drops nothing");
        input.noise = Some(Noise(7));
        let first = draw(&input, 0);
        assert_eq!(first, draw(&input, 0));
        assert_ne!(first, draw(&input, 1));
        let zeros = first.iter().filter(|v| **v == 0.0).count();
        assert!((2700..3300).contains(&zeros) && first.iter().all(|v| *v == 0.0 || (*v - 1.0 / 0.7).abs() < 1e-6), "{zeros}");
    }
}
