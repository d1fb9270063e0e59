//! `concat`: every stage sees all fields side by side.

use burn::prelude::*;
use esmm_funnel_core::device::Device;
use esmm_funnel_core::plugin::{Encoder, EncoderSettings, EncoderShape, PartShape, StageInput};
use esmm_funnel_core::register_encoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The embedded fields and numbers side by side, the same for every stage: the shared bottom of the ESMM paper (Ma et al., SIGIR 2018).
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Concat {}

/// No parameters: gives what it is given.
#[derive(Module, Clone, Debug)]
pub struct ConcatEncoder;

impl EncoderSettings for Concat {
    type Encoder = ConcatEncoder;
    fn build(&self, shape: &EncoderShape, _device: &Device) -> anyhow::Result<(Self::Encoder, Vec<PartShape>)> {
        Ok((ConcatEncoder, shape.parts.clone()))
    }
}
impl Encoder for ConcatEncoder {
    fn forward(&self, inputs: &[StageInput]) -> Vec<StageInput> {
        inputs.to_vec()
    }
    fn is_identity(&self) -> bool {
        true
    }
}
register_encoder!("concat", Concat);
