//! What a tower or an encoder sees of a batch.

use crate::device::{Bk, Device};
use crate::random::mix;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;

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

/// What a tower is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageShape {
    /// The stage.
    pub stage: String,
    /// Parts of its input.
    pub parts: Vec<PartShape>,
}
impl StageShape {
    /// Columns of [`StageInput::dense`].
    #[must_use]
    pub fn width(&self) -> usize {
        self.parts.iter().map(PartShape::width).sum()
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
    fn expand(&self, values: Tensor<Bk, 2>) -> Tensor<Bk, 2> {
        match &self.index {
            None => values,
            Some(index) => values.select(0, index.clone()),
        }
    }
}

/// The input of one stage's tower: B rows, in parts of which some are shared by many rows.
#[derive(Debug, Clone)]
pub struct StageInput {
    /// The parts, in the order of [`StageShape::parts`].
    pub parts: Vec<Part>,
    /// In training, what [`Self::dropout`] draws from; `None` when scoring.
    pub noise: Option<Noise>,
}
impl StageInput {
    /// The input without any noise.
    #[must_use]
    pub fn new(parts: Vec<Part>) -> Self {
        Self { parts, noise: None }
    }

    /// The embedded fields, row by row; the numbers are left out.
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

/// What a tower gives.
#[derive(Debug, Clone)]
pub struct StageOutput {
    /// `[B]`: the stage's conditional logit.
    pub logit: Tensor<Bk, 1>,
}
impl StageOutput {
    /// Of a head's `[B, 1]`.
    #[must_use]
    pub fn logit(head: Tensor<Bk, 2>) -> Self {
        Self { logit: head.squeeze_dim(1) }
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
