//! What a tower or an encoder sees of a batch.

use crate::device::{Bk, Device};
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
}
impl StageInput {
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
        let input = StageInput {
            parts: vec![
                Part { values: t(&[1., 2., 3., 4., 5., 6.], [3, 2]), index: None },
                Part { values: t(&[0.5, -1., 0.25, 2., 3., -3.], [2, 3]), index: Some(Tensor::from_data([1i32, 0, 1], &cpu())) },
            ],
        };
        let layer = LinearConfig::new(5, 4).init(&cpu());
        let (a, b) = (input.project(&layer).into_data(), layer.forward(input.dense()).into_data());
        for (a, b) in a.iter::<f32>().zip(b.iter::<f32>()) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}
