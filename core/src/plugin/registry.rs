//! One registry for every kind of plugin. `inventory` promises no order, so names are sorted before anyone sees them.

use super::Build;
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use toml::Spanned;
use toml::de::DeValue;

/// What a plugin can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The network of a stage.
    Tower,
    /// Embedded fields → what each stage's tower sees.
    Encoder,
    /// Stages → one loss.
    Objective,
    /// Where rows come from.
    Source,
}
impl Kind {
    /// All kinds, in the order they are listed.
    pub const ALL: [Self; 4] = [Self::Tower, Self::Encoder, Self::Objective, Self::Source];
}
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tower => "tower",
            Self::Encoder => "encoder",
            Self::Objective => "objective",
            Self::Source => "source",
        })
    }
}

/// Settings of a plugin: an ordinary serde struct with doc comments. Implemented for all that qualify, by [`crate::plugin::Settings`].
pub trait Settings: Serialize + DeserializeOwned + JsonSchema + Default + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + JsonSchema + Default + Send + Sync + 'static> Settings for T {}

/// What a `register_*!` macro submits.
#[derive(Debug)]
pub struct Plugin {
    /// Name used as `kind = "…"`.
    pub name: &'static str,
    /// Crate, file and line of the registration.
    pub crate_name: &'static str,
    /// File of the registration.
    pub file: &'static str,
    /// Line of the registration.
    pub line: u32,
    /// JSON Schema of the settings; the title's description is the plugin's summary.
    pub schema: fn() -> Schema,
    /// The default settings, as `explain` prints them.
    pub defaults: fn() -> toml::Table,
    /// Decodes a spanned table (without `kind`), to find faults with their place.
    pub validate: for<'a> fn(Spanned<DeValue<'a>>) -> Result<(), toml::de::Error>,
    /// Makes the thing.
    pub build: Build,
}
inventory::collect!(Plugin);

impl Plugin {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.build {
            Build::Tower(_) => Kind::Tower,
            Build::Encoder(_) => Kind::Encoder,
            Build::Objective(_) => Kind::Objective,
            Build::Source(_) => Kind::Source,
        }
    }
}

/// For the macros: schema of settings `S`.
#[must_use]
pub fn schema_of<S: Settings>() -> Schema {
    schemars::schema_for!(S)
}
/// For the macros: default settings `S` as a table.
///
/// # Panics
/// Never: settings serialise to tables; what TOML cannot hold is left out.
#[must_use]
pub fn defaults_of<S: Settings>() -> toml::Table {
    toml::Table::try_from(S::default()).unwrap_or_default()
}
/// For the macros: decodes a spanned table as `S`.
///
/// # Errors
/// The serde error, with the span of the key at fault.
pub fn validate_as<S: Settings>(value: Spanned<DeValue<'_>>) -> Result<(), toml::de::Error> {
    S::deserialize(toml::de::ValueDeserializer::from(value)).map(drop)
}
/// Decodes validated settings.
///
/// # Errors
/// The serde error.
pub fn decode<S: Settings>(settings: &toml::Table) -> anyhow::Result<S> {
    Ok(settings.clone().try_into()?)
}

/// All plugins of a kind, sorted by name.
#[must_use]
pub fn all(kind: Kind) -> Vec<&'static Plugin> {
    let mut found: Vec<_> = inventory::iter::<Plugin>.into_iter().filter(|p| p.kind() == kind).collect();
    found.sort_by_key(|p| (p.name, p.file, p.line));
    found
}
/// The names of a kind, sorted.
#[must_use]
pub fn names(kind: Kind) -> Vec<&'static str> {
    let mut names: Vec<_> = all(kind).into_iter().map(|p| p.name).collect();
    names.dedup();
    names
}
/// The plugin of this name.
#[must_use]
pub fn find(kind: Kind, name: &str) -> Option<&'static Plugin> {
    all(kind).into_iter().find(|p| p.name == name)
}
/// Names registered twice: each pair names both places.
#[must_use]
pub fn duplicates() -> Vec<(&'static Plugin, &'static Plugin)> {
    Kind::ALL
        .into_iter()
        .flat_map(|kind| {
            let found = all(kind);
            found.windows(2).filter(|w| w[0].name == w[1].name).map(|w| (w[0], w[1])).collect::<Vec<_>>()
        })
        .collect()
}
