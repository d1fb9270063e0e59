//! Burn's layers as nodes.

use super::build::{Onnx, Value};
use crate::device::Bk;
use burn::nn::{LayerNorm, Linear};
use burn::prelude::*;

impl Onnx<'_> {
    /// A parameter, named below the scope.
    pub fn parameter<const D: usize>(&mut self, name: &str, tensor: &Tensor<Bk, D>) -> Value {
        let data = tensor.clone().into_data().convert::<f32>();
        let dims = data.shape.to_vec();
        let values: Vec<f32> = data.iter::<f32>().collect();
        self.weight(name, &dims, values)
    }
    /// `x · W + b`.
    ///
    /// # Shapes
    /// `[.., W]` → `[.., H]`.
    pub fn linear(&mut self, name: &str, x: &Value, layer: &Linear<Bk>) -> Value {
        let weight = self.parameter(&format!("{name}.weight"), &layer.weight.val());
        let product = self.matmul(x, &weight);
        match &layer.bias {
            None => product,
            Some(bias) => {
                let bias = self.parameter(&format!("{name}.bias"), &bias.val());
                self.add(&product, &bias)
            }
        }
    }
    /// Normalised over the last dimension, with scale and shift.
    ///
    /// # Shapes
    /// `[.., W]` → `[.., W]`.
    pub fn layer_norm(&mut self, name: &str, x: &Value, layer: &LayerNorm<Bk>, epsilon: f32) -> Value {
        use super::Attribute::{Float, Int};
        let gamma = self.parameter(&format!("{name}.gamma"), &layer.gamma.val());
        let beta = layer.beta.as_ref().map(|beta| self.parameter(&format!("{name}.beta"), &beta.val()));
        let inputs: Vec<&Value> = [x, &gamma].into_iter().chain(&beta).collect();
        self.node("LayerNormalization", &inputs, &[("axis", Int(-1)), ("epsilon", Float(epsilon))])
    }
}
