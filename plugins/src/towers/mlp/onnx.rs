//! The perceptron as nodes. Layers work on the last dimension, whatever stands before it.

use super::{Activation, LAYER_EPSILON, MlpTower};
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::onnx::{Layer, Onnx, OnnxOutput, Value};

impl MlpTower<Bk> {
    /// As [`Self::hidden`].
    ///
    /// # Shapes
    /// `[.., W]` → `[.., H]`.
    pub(crate) fn onnx_hidden(&self, graph: &mut Onnx<'_>, x: &Value) -> Value {
        self.layers.iter().enumerate().fold(x.clone(), |x, (i, layer)| {
            let product = graph.linear(&format!("layers.{i}"), &x, layer);
            self.onnx_after(i, graph, &product)
        })
    }
    /// As [`Self::output`].
    pub(crate) fn onnx_output(&self, graph: &mut Onnx<'_>, x: &Value) -> OnnxOutput {
        let hidden = self.onnx_hidden(graph, x);
        match &self.head {
            None => OnnxOutput::logit(hidden),
            Some(head) => {
                let output = OnnxOutput::logit(graph.linear("head", &hidden, head));
                if self.is_empty() { output } else { output.with_hidden(hidden) }
            }
        }
    }
    fn onnx_after(&self, layer: usize, graph: &mut Onnx<'_>, x: &Value) -> Value {
        #[allow(clippy::cast_possible_truncation)]
        let x = match (self.norms.get(layer), self.batch_norms.get(layer)) {
            (Some(norm), _) => graph.layer_norm(&format!("norms.{layer}"), x, norm, LAYER_EPSILON as f32),
            (_, Some(norm)) => graph.scope(&format!("batch_norms.{layer}"), |graph| norm.onnx(graph, x)),
            _ => x.clone(),
        };
        match (self.slopes.get(layer), self.dices.get(layer)) {
            (Some(slopes), _) => {
                let slope = graph.parameter(&format!("slopes.{layer}.alpha"), &slopes.alpha.val());
                graph.prelu(&x, &slope)
            }
            (_, Some(dice)) => graph.scope(&format!("dices.{layer}"), |graph| dice.onnx(graph, &x)),
            _ if self.activation == Activation::Gelu => graph.gelu(&x),
            _ => graph.relu(&x),
        }
    }
    /// The layers by name, the head last.
    pub(super) fn stack(&self) -> Vec<Layer> {
        let layer = |i: usize| Layer {
            linear: format!("layers.{i}"),
            norm: match (self.norms.get(i), self.batch_norms.get(i)) {
                (Some(_), _) => Some(("layer", format!("norms.{i}"))),
                (_, Some(_)) => Some(("batch", format!("batch_norms.{i}"))),
                _ => None,
            },
            activation: Some(match self.activation {
                Activation::Relu => ("relu", None),
                Activation::Gelu => ("gelu", None),
                Activation::Prelu => ("prelu", Some(format!("slopes.{i}"))),
                Activation::Dice => ("dice", Some(format!("dices.{i}"))),
            }),
        };
        let head = self.head.iter().map(|_| Layer { linear: "head".into(), norm: None, activation: None });
        (0..self.layers.len()).map(layer).chain(head).collect()
    }
}

/// The output with further logits added, `[B, 1]` each.
pub(crate) fn onnx_beside(graph: &mut Onnx<'_>, output: OnnxOutput, terms: impl IntoIterator<Item = Value>) -> OnnxOutput {
    let logit = terms.into_iter().fold(output.logit, |sum, term| graph.add(&sum, &term));
    OnnxOutput { logit, ..output }
}
