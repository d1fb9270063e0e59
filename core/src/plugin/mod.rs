//! The public traits, the registry, the register macros and the conformance kit.

pub mod registry;
pub mod source;

pub use registry::{Kind, Plugin, Settings};
pub use source::{SourceBuild, SourceSettings};

/// How a plugin is made, per kind.
#[derive(Debug, Clone, Copy)]
pub enum Build {
    /// A tower.
    Tower(()),
    /// An encoder.
    Encoder(()),
    /// An objective.
    Objective(()),
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
