//! Sources as plugins.

use super::registry::{self, Settings};
use crate::data::source::SharedSource;
use crate::graph::Graph;
use std::path::{Path, PathBuf};

/// Settings of a source, which open it. Relative paths in the settings are resolved by the spec loader against the file that states them: a
/// source says which keys hold paths in [`SourceSettings::PATH_KEYS`].
pub trait SourceSettings: Settings {
    /// Keys whose strings (or arrays of strings) are paths or globs.
    const PATH_KEYS: &'static [&'static str] = &[];

    /// Whether a file, given to be scored, is of a form that this source alone reads, whatever its name ends in.
    #[must_use]
    fn reads(_file: &Path) -> bool {
        false
    }

    /// Opens the source for a funnel. `files` replace the files of the settings (scoring other rows); a source without files refuses them.
    ///
    /// # Errors
    /// Names the file or glob that is missing.
    fn open(&self, files: Option<&[PathBuf]>, graph: &Graph) -> anyhow::Result<SharedSource>;
}

/// Settings, files in their place, the funnel → an open source.
pub type OpenSource = fn(&toml::Table, Option<&[PathBuf]>, &Graph) -> anyhow::Result<SharedSource>;

/// What the registry keeps of a source.
#[derive(Debug, Clone, Copy)]
pub struct SourceBuild {
    /// See [`SourceSettings::PATH_KEYS`].
    pub path_keys: &'static [&'static str],
    /// See [`SourceSettings::reads`].
    pub reads: fn(&Path) -> bool,
    /// Decodes the settings and opens.
    pub open: OpenSource,
}
impl SourceBuild {
    /// Of these settings.
    #[must_use]
    pub const fn of<S: SourceSettings>() -> Self {
        Self { path_keys: S::PATH_KEYS, reads: S::reads, open: |table, files, graph| registry::decode::<S>(table)?.open(files, graph) }
    }
}

/// The source plugin that reads a file, by its name's ending: `.parquet`, or `.csv`, `.tsv` (and `.gz` of these).
#[must_use]
pub fn kind_of_file(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    match name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1 {
        "parquet" => Some("parquet"),
        "csv" | "tsv" => Some("csv"),
        _ => None,
    }
}
