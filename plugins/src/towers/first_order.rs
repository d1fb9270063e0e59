//! First-order terms, which `wide_deep` and `deepfm` share: a weight for each id and for each number.

use burn::module::Initializer;
use burn::nn::{Linear, LinearConfig};
use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, Value};
use esmm_funnel_core::plugin::input::Part;
use esmm_funnel_core::plugin::{PartShape, StageInput, StageShape};

/// Width of the tables that hold the weights of ids.
pub(super) const OWN_DIM: usize = 1;

/// `Σ_f w_f(id_f) + Σ_n w_n·x_n`.
#[derive(Module, Debug)]
pub struct FirstOrder<B: Backend> {
    /// `[numbers, 1]`; `None` where there are none.
    numbers: Option<Linear<B>>,
    #[module(skip)]
    parts: Vec<PartShape>,
    #[module(skip)]
    own: Vec<PartShape>,
}
impl FirstOrder<Bk> {
    /// For a tower that asked for tables [`OWN_DIM`] wide. The numbers' weights start at 0: drawn by the usual rule, those of a few numbers would
    /// be large beside the base rate that a stage starts at.
    pub(super) fn new(shape: &StageShape, device: &Device) -> Self {
        let numbers: usize = shape.parts.iter().map(|p| p.numbers).sum();
        let numbers =
            (numbers > 0).then(|| LinearConfig::new(numbers, 1).with_bias(false).with_initializer(Initializer::Zeros).init(device));
        Self { numbers, parts: shape.parts.clone(), own: shape.own.clone() }
    }
    /// # Shapes
    /// `[B, 1]`; `None` without ids and numbers.
    pub(super) fn forward(&self, input: &StageInput) -> Option<Tensor<Bk, 2>> {
        let numbers = self.numbers.as_ref().map(|layer| self.numbers_of(input).project(layer));
        input.own_sum(&self.own).into_iter().chain(numbers).reduce(|a, b| a + b)
    }
    /// As [`Self::forward`].
    pub(super) fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<Value> {
        let numbers = self.numbers.as_ref().and_then(|layer| {
            let numbers = input.numbers(graph, &self.parts)?;
            Some(graph.linear("numbers", &numbers, layer))
        });
        let ids = input.own_sum(graph, &self.own);
        graph.total(ids.into_iter().chain(numbers))
    }
    /// The input's numbers alone.
    fn numbers_of(&self, input: &StageInput) -> StageInput {
        let numbers = |(part, s): (&Part, &PartShape)| {
            let values = || part.values.clone().narrow(1, s.fields * s.dim, s.numbers);
            (s.numbers > 0).then(|| Part { values: values(), index: part.index.clone() })
        };
        StageInput::new(input.parts.iter().zip(&self.parts).filter_map(numbers).collect())
    }
}
