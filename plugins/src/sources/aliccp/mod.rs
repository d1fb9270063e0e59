//! `aliccp`: the raw text of Ali-CCP, skeleton and common features, read at the speed of a scan.
//!
//! A row of the skeleton has some ten features of item and context, and names its user's few hundred by an index that about 58 rows share. They are
//! an entity input: read once, stored once, and never repeated in a row.

mod blocks;
mod fields;
mod files;
pub mod generate;
mod parse;
mod truth;
mod world;

pub use fields::Variant;

use super::{fault, file_input};
use anyhow::Context;
use arrow::datatypes::{Schema, SchemaRef};
use blocks::Chunks;
use esmm_funnel_core::data::IdRef;
use esmm_funnel_core::data::source::{ChunkStream, EntityColumns, Input, SharedSource, Source, Tolerance, TruthColumns};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::SourceSettings;
use esmm_funnel_core::register_source;
use fields::{FIELDS, weights_column};
use files::{RawFile, files, is_raw, is_test};
use parse::{Holds, KEY, Parser, schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How the files are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The raw files: skeletons and common features.
    #[default]
    Raw,
    /// One file: `sample_id,click,buy,field:id,field:id,…`, with the user's fields in every row, and no values.
    Text,
}

/// What becomes of a line that cannot be used: torn or empty, of other fields or separators, with more or fewer features than it says, with an
/// index that stands twice or nowhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// It is told, and nothing is trained.
    #[default]
    Error,
    /// It is left out and counted, up to `malformed_limit` of them.
    Skip,
}

/// Raw text of Ali-CCP (or made in its form by `esmm-funnel synth aliccp`), plain or gzip, streamed and parsed on all cores.
///
/// Columns: `sample_id`, `click`, `buy`, `part`, `common_feature_index`; every field under its number, with its values in `<field>_w`: `205`, `206`,
/// `207`, `216`, `301`, `508`, `509` and `702` are single ids, `210` and `853` bags. The user's fields, `101`, `121` to `129` and the bags `109_14`,
/// `110_14`, `127_14` and `150_14`, stand in the common features: declare `[entity.user]` with `key = "common_feature_index"`, and say `of = "user"`
/// for them. `part` is 0 for train, 1 for valid, 2 for the rows of files with `test` in their name; split by it. A skeleton's common features are in
/// the file of the same name beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Aliccp {
    /// Folder of `sample_skeleton_*.csv` and `common_features_*.csv`, or `.csv.gz`. Default: none, and `skeleton` names the files.
    pub dir: Option<String>,
    /// Paths and globs of skeletons, instead of `dir`.
    pub skeleton: Vec<String>,
    /// Paths and globs of common features, for skeletons without a file of the same name beside them.
    pub common: Vec<String>,
    /// `raw`, or `text` for lines `sample_id,click,buy,field:id,field:id,…`; the latter have no columns `<field>_w` and no `common_feature_index`.
    pub form: Form,
    /// Read the truth of generated rows too, from `truth_*.parquet` beside each skeleton, for the spec's first two stages: click and purchase.
    pub truth: bool,
    /// Which of the preprocessings in circulation.
    pub variant: Variant,
    /// Share of the rows of train files that are in valid, chosen by their sample ids.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub valid: f64,
    /// What becomes of a line that cannot be used.
    pub malformed: Malformed,
    /// With `malformed = "skip"`: how many lines may be left out, over all files.
    pub malformed_limit: u64,
}

impl Default for Aliccp {
    fn default() -> Self {
        Self {
            dir: None,
            skeleton: Vec::new(),
            common: Vec::new(),
            form: Form::Raw,
            truth: false,
            variant: Variant::Paper,
            valid: 0.1,
            malformed: Malformed::Error,
            malformed_limit: 1000,
        }
    }
}

impl SourceSettings for Aliccp {
    const PATH_KEYS: &'static [&'static str] = &["dir", "skeleton", "common"];

    fn reads(file: &Path) -> bool {
        is_raw(file)
    }

    fn open(&self, given: Option<&[PathBuf]>, graph: &Graph) -> anyhow::Result<SharedSource> {
        if !(0.0..=1.0).contains(&self.valid) {
            return Err(fault("valid-share", format!("`valid` must be from 0 to 1, not {}", self.valid), ""));
        }
        let truth = if self.truth { truth::columns(graph) } else { Vec::new() };
        Ok(Arc::new(AliccpSource { settings: self.clone(), files: files(self, given)?, truth, read: Arc::default() }))
    }
}
register_source!("aliccp", Aliccp);

#[derive(Debug)]
struct AliccpSource {
    settings: Aliccp,
    files: Vec<RawFile>,
    truth: Vec<TruthColumns>,
    /// Bytes behind in the file opened last.
    read: Arc<AtomicU64>,
}

impl AliccpSource {
    fn input(&self, file: &RawFile) -> anyhow::Result<Input> {
        let Aliccp { variant, valid, malformed, malformed_limit, .. } = &self.settings;
        let mut input = file_input(&file.path, "line")?;
        input.fingerprint += &format!(", variant {}, valid {valid}", variant.name());
        if *malformed == Malformed::Skip {
            input.fingerprint += &format!(", up to {malformed_limit} left out");
        }
        if !self.truth.is_empty() {
            input.fingerprint += ", with the truth";
        }
        let user = FIELDS.iter().filter(|f| f.user && variant.takes(f));
        let columns = user.flat_map(|f| [f.name.to_owned(), weights_column(f)]).collect();
        input.entities = (file.holds == Holds::Common).then(|| EntityColumns { key: KEY.to_owned(), columns });
        Ok(input)
    }
}

/// The part of a row: its sample id decides, so that it stays whatever is left out before it.
fn part(sample_id: i64, valid: f64) -> i64 {
    if valid < 0.0 {
        return 2;
    }
    let hash = IdRef::Integer(sample_id).stable_hash(0x70_6172_7473);
    #[allow(clippy::cast_precision_loss)]
    let at = (hash >> 11) as f64 / 9_007_199_254_740_992.0;
    i64::from(at < valid)
}

impl Source for AliccpSource {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        let own = schema(self.settings.variant, self.settings.form);
        let fields = own.fields().iter().map(|f| f.as_ref().clone()).chain(truth::fields(&self.truth));
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }

    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        self.files.iter().map(|file| self.input(file)).collect()
    }

    fn tolerance(&self) -> Tolerance {
        let rows = if self.settings.malformed == Malformed::Skip { self.settings.malformed_limit } else { 0 };
        Tolerance {
            rows,
            help: "mend the files, or leave such lines out: `malformed = \"skip\"` in the source, and `malformed_limit` of them",
        }
    }

    fn truth(&self) -> Vec<TruthColumns> {
        self.truth.clone()
    }

    fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        self.read_after(input, columns, 0)
    }

    /// What is left out is cut into blocks, and not parsed.
    fn read_after(&self, input: usize, columns: &[String], chunks: usize) -> anyhow::Result<ChunkStream> {
        let file = self.files.get(input).with_context(|| format!("no input {input}"))?;
        let all = self.schema()?;
        let wanted = columns.iter().map(|c| all.index_of(c)).collect::<Result<Vec<_>, _>>();
        let wanted = Arc::new(all.project(&wanted.with_context(|| format!("`{}`", file.path.display()))?)?);
        let is_truth = |name: &str| self.truth.iter().any(|t| name == t.probability || name == t.outcome);
        let with_truth = columns.iter().any(|c| is_truth(c));
        let mut fields: Vec<_> = wanted.fields().iter().filter(|f| !is_truth(f.name())).cloned().collect();
        if with_truth && !columns.iter().any(|c| c == "sample_id") {
            fields.push(Arc::new(all.field_with_name("sample_id")?.clone()));
        }
        let valid = if is_test(&file.path) { -1.0 } else { self.settings.valid };
        let parser = Parser::new(file.holds, self.settings.variant, Arc::new(Schema::new(fields)), part, valid);
        let rest = Box::new(Chunks::open(&file.path, input, parser, &self.read)?.without(chunks)?);
        if with_truth { truth::join(rest, &truth::beside(&file.path), &self.truth, wanted) } else { Ok(rest) }
    }
}

#[cfg(test)]
mod tests;
