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
pub use tower::{Needs, PlainPerceptron, Tower, TowerBuild, TowerSettings};

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

/// Whether a plugin may have this name: small letters, digits and `_`, a letter first. The macros ask while the crate is compiled.
#[must_use]
pub const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_') {
            return false;
        }
        at += 1;
    }
    at > 0 && bytes[0].is_ascii_lowercase()
}

/// The fields every `register_*!` macro fills alike.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($name:literal, $settings:ty, $build:expr) => {
        const _: () = assert!($crate::plugin::is_name($name), "a plugin's name is of small letters, digits and `_`, a letter first");
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
    ($name:literal, $settings:ty $(,)?) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Source($crate::plugin::SourceBuild::of::<$settings>()));
    };
    ($($other:tt)*) => {
        compile_error!("a name in quotes, then the type of the settings: `register_source!(\"csv\", Csv);`");
    };
}

/// Registers settings that implement [`TowerSettings`] under a name: `register_tower!("mlp", Mlp);`
#[macro_export]
macro_rules! register_tower {
    ($name:literal, $settings:ty $(,)?) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Tower($crate::plugin::TowerBuild::of::<$settings>()));
    };
    ($($other:tt)*) => {
        compile_error!("a name in quotes, then the type of the settings: `register_tower!(\"mlp\", Mlp);`");
    };
}

/// Registers settings that implement [`EncoderSettings`] under a name: `register_encoder!("concat", Concat);`
#[macro_export]
macro_rules! register_encoder {
    ($name:literal, $settings:ty $(,)?) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Encoder($crate::plugin::EncoderBuild::of::<$settings>()));
    };
    ($($other:tt)*) => {
        compile_error!("a name in quotes, then the type of the settings: `register_encoder!(\"concat\", Concat);`");
    };
}

/// Registers settings that implement [`ObjectiveSettings`] under a name: `register_objective!("entire_space", EntireSpace);`
#[macro_export]
macro_rules! register_objective {
    ($name:literal, $settings:ty $(,)?) => {
        $crate::__register!($name, $settings, $crate::plugin::Build::Objective($crate::plugin::ObjectiveBuild::of::<$settings>()));
    };
    ($($other:tt)*) => {
        compile_error!("a name in quotes, then the type of the settings: `register_objective!(\"entire_space\", EntireSpace);`");
    };
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_can_be_typed_and_found() {
        assert!(["mlp", "dcn_v2", "a"].into_iter().all(is_name));
        assert!(!["", "Mlp", "my tower", "2mlp", "_x", "é", "a-b"].into_iter().any(is_name));
    }
}
