//! Encoders: embedded fields → what each stage's tower sees.

use super::input::{PartShape, StageInput};
use super::module::{DynModule, PlainModule, Slot};
use super::registry::{self, Settings};
use crate::device::Device;
use crate::onnx::{Onnx, OnnxInput};

/// What an encoder is built for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderShape {
    /// The stages, in order.
    pub stages: Vec<String>,
    /// Parts of the embedded input.
    pub parts: Vec<PartShape>,
}

/// A shared network between the embeddings and the towers.
pub trait Encoder: PlainModule {
    /// One embedded input a stage (the same for all unless tables are per stage) → what each tower sees.
    fn forward(&self, inputs: &[StageInput]) -> Vec<StageInput>;
    /// True if [`Self::forward`] gives back what it is given: the core then leaves its graph out.
    fn is_identity(&self) -> bool {
        false
    }
    /// Writes into `graph` what [`Self::forward`] computes, so that `export` can give the funnel away as ONNX. `None` if the encoder does not
    /// say how, which by default is so unless it is the identity.
    fn onnx(&self, _graph: &mut Onnx<'_>, inputs: &[OnnxInput]) -> Option<Vec<OnnxInput>> {
        self.is_identity().then(|| inputs.to_vec())
    }
}

/// Settings of an encoder, which build it.
pub trait EncoderSettings: Settings {
    /// The network.
    type Encoder: Encoder;
    /// Builds it; with it, the parts that each tower will see.
    ///
    /// # Errors
    /// Settings that cannot work on this input.
    fn build(&self, shape: &EncoderShape, device: &Device) -> anyhow::Result<(Self::Encoder, Vec<PartShape>)>;
}

/// An encoder, its type erased.
pub trait DynEncoder: DynModule {
    /// See [`Encoder::forward`].
    fn forward(&self, inputs: &[StageInput]) -> Vec<StageInput>;
    /// See [`Encoder::is_identity`].
    fn is_identity(&self) -> bool;
    /// See [`Encoder::onnx`].
    fn onnx(&self, graph: &mut Onnx<'_>, inputs: &[OnnxInput]) -> Option<Vec<OnnxInput>>;
    /// A copy without autodiff, for scoring.
    fn inner(&self) -> Box<dyn DynEncoder>;
}
impl<T: Encoder> DynEncoder for Slot<T> {
    fn forward(&self, inputs: &[StageInput]) -> Vec<StageInput> {
        self.get().forward(inputs)
    }
    fn is_identity(&self) -> bool {
        self.get().is_identity()
    }
    fn onnx(&self, graph: &mut Onnx<'_>, inputs: &[OnnxInput]) -> Option<Vec<OnnxInput>> {
        self.get().onnx(graph, inputs)
    }
    fn inner(&self) -> Box<dyn DynEncoder> {
        Box::new(Slot::inner(self))
    }
}

/// An encoder and the parts its towers will see.
pub type BuiltEncoder = (Box<dyn DynEncoder>, Vec<PartShape>);

/// What the registry keeps of an encoder.
#[derive(Debug, Clone, Copy)]
pub struct EncoderBuild {
    /// Decodes the settings and builds.
    pub build: fn(&toml::Table, &EncoderShape, &Device) -> anyhow::Result<BuiltEncoder>,
}
impl EncoderBuild {
    /// Of these settings.
    #[must_use]
    pub const fn of<S: EncoderSettings>() -> Self {
        Self {
            build: |settings, shape, device| {
                let (encoder, parts) = registry::decode::<S>(settings)?.build(shape, device)?;
                Ok((Box::new(Slot::new(encoder, device)), parts))
            },
        }
    }
}
