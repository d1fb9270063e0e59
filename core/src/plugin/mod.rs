//! The public traits, the registry, the register macros and the conformance kit.

pub mod conformance;
pub mod encoder;
pub mod input;
pub mod module;
pub mod objective;
pub mod registry;
pub mod source;
pub mod tower;

pub use encoder::{Encoder, EncoderBuild, EncoderSettings, EncoderShape};
pub use input::{PartShape, Sequence, SequenceShape, StageInput, StageOutput, StageShape};
pub use objective::{ExtraHead, Head, Loss, LossWords, Objective, ObjectiveBuild, ObjectiveSettings, Reading, Start, Term};
pub use registry::{Kind, Plugin, Settings};
pub use source::{SourceBuild, SourceSettings};
pub use tower::{Needs, Tower, TowerBuild, TowerSettings};

/// How a plugin is made, per kind.
#[derive(Debug, Clone, Copy)]
pub enum Build {
    /// A tower.
    Tower(TowerBuild),
    /// An encoder.
    Encoder(EncoderBuild),
    /// An objective.
    Objective(ObjectiveBuild),
    /// A source.
    Source(SourceBuild),
}

/// The fields every `register_*!` macro fills alike.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($name:literal, $settings:ty, $build:expr) => {
        $crate::inventory::submit! {
            $crate::plugin::Plugin {
                name: $name,
                crate_name: env!("CARGO_PKG_NAME"),
                file: file!(),
                line: line!(),
                schema: $crate::plugin::registry::schema_of::<$settings>,
                defaults: $crate::plugin::registry::defaults_of::<$settings>,
                validate: $crate::plugin::registry::validate_as::<$settings>,
                build: $build,
            }
        }
    };
}

/// Registers settings that implement [`SourceSettings`] under a name: `register_source!("csv", Csv);`
#[macro_export]
macro_rules! register_source {
    ($name:literal, $settings:ty) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Source($crate::plugin::SourceBuild::of::<$settings>()));
    };
}

/// Registers settings that implement [`TowerSettings`] under a name: `register_tower!("mlp", Mlp);`
#[macro_export]
macro_rules! register_tower {
    ($name:literal, $settings:ty) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Tower($crate::plugin::TowerBuild::of::<$settings>()));
    };
}

/// Registers settings that implement [`EncoderSettings`] under a name: `register_encoder!("concat", Concat);`
#[macro_export]
macro_rules! register_encoder {
    ($name:literal, $settings:ty) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Encoder($crate::plugin::EncoderBuild::of::<$settings>()));
    };
}

/// Registers settings that implement [`ObjectiveSettings`] under a name: `register_objective!("entire_space", EntireSpace);`
#[macro_export]
macro_rules! register_objective {
    ($name:literal, $settings:ty) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Objective($crate::plugin::ObjectiveBuild::of::<$settings>()));
    };
}
