//! What a tower or an encoder sees as values of a graph: the counterpart of [`StageInput`](crate::plugin::StageInput), nothing shared.

use super::build::{Onnx, Value};
use crate::plugin::PartShape;
use serde::Serialize;

/// The values of a sequence column, padded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxSequence {
    /// `[B, L, D]`.
    pub values: Value,
    /// `[B, L, 1]`: 1 for a value, 0 for padding.
    pub mask: Value,
}

/// The input of one stage's tower.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OnnxInput {
    /// `[B, W]` each, in the order of [`StageShape::parts`](crate::plugin::StageShape::parts).
    pub parts: Vec<Value>,
    /// `[B, W]` each, of the tower's own tables.
    pub own: Vec<Value>,
    /// The sequences, if the tower asked for them.
    pub sequences: Vec<OnnxSequence>,
    /// `[B, H]`: the hidden layer of the tower of the stage before, if the tower asked for it.
    pub upstream: Option<Value>,
}
impl OnnxInput {
    /// Of these parts and nothing else.
    #[must_use]
    pub fn new(parts: Vec<Value>) -> Self {
        Self { parts, ..Self::default() }
    }
    /// Everything, row by row.
    ///
    /// # Shapes
    /// `[B, width]`.
    pub fn dense(&self, graph: &mut Onnx<'_>) -> Value {
        graph.concat(&self.parts, 1)
    }
    /// The embedded fields, without the numbers. There must be one.
    ///
    /// # Shapes
    /// `shape` is what the tower was built for, its fields all D wide; gives `[B, F, D]`.
    pub fn fields(&self, graph: &mut Onnx<'_>, shape: &[PartShape]) -> Value {
        let with_fields = self.parts.iter().zip(shape).filter(|(_, s)| s.fields > 0);
        let views: Vec<Value> = with_fields.map(|(part, s)| fields_of(graph, part, s)).collect();
        graph.concat(&views, 1)
    }
    /// Sum over the fields of the tower's own vectors.
    ///
    /// # Shapes
    /// `shape` is [`StageShape::own`](crate::plugin::StageShape::own); gives `[B, D]` for tables D wide.
    pub fn own_sum(&self, graph: &mut Onnx<'_>, shape: &[PartShape]) -> Option<Value> {
        let sums: Vec<Value> = self
            .own
            .iter()
            .zip(shape)
            .map(|(part, s)| {
                let fields = fields_of(graph, part, s);
                graph.sum(&fields, &[1], false)
            })
            .collect();
        graph.total(sums)
    }
    /// The plain numbers alone.
    ///
    /// # Shapes
    /// `[B, N]`; `None` without any.
    pub fn numbers(&self, graph: &mut Onnx<'_>, shape: &[PartShape]) -> Option<Value> {
        let with_numbers = self.parts.iter().zip(shape).filter(|(_, s)| s.numbers > 0);
        let numbers: Vec<Value> = with_numbers.map(|(part, s)| graph.slice(part, 1, s.fields * s.dim, s.width())).collect();
        if numbers.is_empty() { None } else { Some(graph.concat(&numbers, 1)) }
    }
}

/// `[B, F, D]` of a part.
fn fields_of(graph: &mut Onnx<'_>, part: &Value, shape: &PartShape) -> Value {
    let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let own = if shape.numbers == 0 { part.clone() } else { graph.slice(part, 1, 0, shape.fields * shape.dim) };
    graph.reshape(&own, &[0, size(shape.fields), size(shape.dim)])
}

/// What a tower gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxOutput {
    /// `[B, 1]`: the logit, without the stage's bias.
    pub logit: Value,
    /// `[B, H]`: the layer that towers of later stages may read.
    pub hidden: Option<Value>,
}
impl OnnxOutput {
    /// Of a head's `[B, 1]`.
    #[must_use]
    pub fn logit(logit: Value) -> Self {
        Self { logit, hidden: None }
    }
    /// Lets towers of later stages read a layer, `[B, H]`.
    #[must_use]
    pub fn with_hidden(self, hidden: Value) -> Self {
        Self { hidden: Some(hidden), ..self }
    }
}

/// A layer of a network that is a plain stack: `x ← activation(norm(x · W + b))`. Names are those of parameters, without the tower's prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// `<linear>.weight` is `[in, out]`; `<linear>.bias` is `[out]`, if it is there.
    pub linear: String,
    /// How it is normalised, and the name of its parameters; `None`: not at all.
    pub norm: Option<(&'static str, String)>,
    /// The nonlinearity, and the name of its parameters where it has any; `None` for the head.
    pub activation: Option<(&'static str, Option<String>)>,
}
