//! Towers: the network of a stage.

use super::input::{StageInput, StageOutput, StageShape};
use super::module::{DynModule, PlainModule, Slot};
use super::registry::{self, Settings};
use crate::device::{Bk, Device};
use crate::onnx::{Layer, Onnx, OnnxInput, OnnxOutput};
use burn::nn::Linear;

/// A stage's network: an ordinary Burn module with a `forward`.
pub trait Tower: PlainModule {
    /// One logit a row.
    fn forward(&self, input: &StageInput) -> StageOutput;
    /// Writes into `graph` what [`Self::forward`] computes when scoring, so that `export` can give the funnel away as ONNX. `None`, the default,
    /// if the tower does not say how. The conformance kit compares the two.
    fn onnx(&self, _graph: &mut Onnx<'_>, _input: &OnnxInput) -> Option<OnnxOutput> {
        None
    }
    /// The network as a plain stack of layers on everything side by side, head last, for readers of an exported card. Empty, the default, if
    /// it is more than that.
    fn layers(&self) -> Vec<Layer> {
        Vec::new()
    }
    /// Says, of a tower that is a [`PlainPerceptron`] and nothing else, what its layers are. Where the CPU computes, the core then runs them itself,
    /// faster than `forward` and equal to it up to rounding. By default a tower does not say.
    fn perceptron(&self) -> Option<PlainPerceptron<'_>> {
        None
    }
}

/// `x ← max(x·W + b, 0)` for each hidden layer, of which there is one at least, on [`StageInput::dense`]; then the head: one logit a row.
#[derive(Debug)]
pub struct PlainPerceptron<'a> {
    /// The hidden layers, first to last.
    pub hidden: Vec<&'a Linear<Bk>>,
    /// From the last of them to one logit.
    pub head: &'a Linear<Bk>,
}

/// What a tower asks of the core, and what it has for other towers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Width of tables of the tower's own, a vector for each id besides the shared one: 1 for first-order weights. 0: none.
    pub own_dim: usize,
    /// Whether it reads [`StageInput::upstream`]: its stage must then have a parent whose tower gives a hidden layer.
    pub upstream: bool,
    /// Whether it reads [`StageInput::sequences`].
    pub sequences: bool,
    /// Width of the hidden layer that it gives ([`StageOutput::hidden`]). 0: it gives none.
    pub hidden: usize,
}

/// Settings of a tower, which build it.
pub trait TowerSettings: Settings {
    /// The network.
    type Tower: Tower;
    /// What it asks for besides the stage's input; nothing by default.
    fn needs(&self) -> Needs {
        Needs::default()
    }
    /// Builds it for a stage. Parameters may be drawn at random: the core has seeded the device.
    ///
    /// # Errors
    /// Settings that cannot work on this input; the message is shown with the stage's name.
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower>;
}

/// A tower, its type erased.
pub trait DynTower: DynModule {
    /// See [`Tower::forward`].
    fn forward(&self, input: &StageInput) -> StageOutput;
    /// See [`Tower::onnx`].
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput>;
    /// See [`Tower::layers`].
    fn layers(&self) -> Vec<Layer>;
    /// See [`Tower::perceptron`].
    fn perceptron(&self) -> Option<PlainPerceptron<'_>>;
    /// A copy without autodiff, for scoring.
    fn inner(&self) -> Box<dyn DynTower>;
}
impl<T: Tower> DynTower for Slot<T> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        self.get().forward(input)
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        self.get().onnx(graph, input)
    }
    fn layers(&self) -> Vec<Layer> {
        self.get().layers()
    }
    fn perceptron(&self) -> Option<PlainPerceptron<'_>> {
        self.get().perceptron().filter(|p| !p.hidden.is_empty())
    }
    fn inner(&self) -> Box<dyn DynTower> {
        Box::new(Slot::inner(self))
    }
}

/// What the registry keeps of a tower.
#[derive(Debug, Clone, Copy)]
pub struct TowerBuild {
    /// Decodes the settings and builds.
    pub build: fn(&toml::Table, &StageShape, &Device) -> anyhow::Result<Box<dyn DynTower>>,
    /// Decodes the settings and says what they ask for.
    pub needs: fn(&toml::Table) -> anyhow::Result<Needs>,
}
impl TowerBuild {
    /// Of these settings.
    #[must_use]
    pub const fn of<S: TowerSettings>() -> Self {
        Self {
            build: |settings, shape, device| Ok(Box::new(Slot::new(registry::decode::<S>(settings)?.build(shape, device)?, device))),
            needs: |settings| Ok(registry::decode::<S>(settings)?.needs()),
        }
    }
}
