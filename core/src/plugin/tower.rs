//! Towers: the network of a stage.

use super::input::{StageInput, StageOutput, StageShape};
use super::module::{DynModule, PlainModule, Slot};
use super::registry::{self, Settings};
use crate::device::Device;

/// A stage's network: an ordinary Burn module with a `forward`.
pub trait Tower: PlainModule {
    /// One logit a row.
    fn forward(&self, input: &StageInput) -> StageOutput;
}

/// Settings of a tower, which build it.
pub trait TowerSettings: Settings {
    /// The network.
    type Tower: Tower;
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
    /// A copy without autodiff, for scoring.
    fn inner(&self) -> Box<dyn DynTower>;
}
impl<T: Tower> DynTower for Slot<T> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        self.get().forward(input)
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
}
impl TowerBuild {
    /// Of these settings.
    #[must_use]
    pub const fn of<S: TowerSettings>() -> Self {
        Self { build: |settings, shape, device| Ok(Box::new(Slot::new(registry::decode::<S>(settings)?.build(shape, device)?, device))) }
    }
}
