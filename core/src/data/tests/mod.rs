//! Rows in memory → store → batches, and what must hold on the way.

mod batches;
mod beside;
mod entity_inputs;
mod faults;
mod features;
mod resuming;
mod shared;
mod splits;
mod stores;

use super::source::{Chunk, ChunkStream, Input, RowNumbers, SharedSource, Source};
use super::{Dataset, LintReport, PrepareOptions, Prepared};
use crate::diagnostic::Diagnostics;
use crate::graph::Graph;
use crate::spec::*;
use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A source over tables in memory; each is an input whose lines count from 2, as below a header.
pub(super) struct Memory {
    pub tables: Vec<RecordBatch>,
    pub version: u32,
}
impl Source for Memory {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        Ok(self.tables[0].schema())
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let input = |i| Input {
            name: format!("log{i}.csv"),
            path: Some(format!("log{i}.csv").into()),
            fingerprint: format!("v{}", self.version),
            unit: "line",
            bytes: 10,
            entities: None,
        };
        Ok((0..self.tables.len()).map(input).collect())
    }
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        let table = &self.tables[input];
        let at = columns.iter().map(|c| table.schema().index_of(c)).collect::<Result<Vec<_>, _>>()?;
        let table = table.project(&at)?;
        // Odd stretches, so that nothing depends on where chunks end.
        let chunk = move |from: usize| Chunk {
            records: table.slice(from, 7.min(table.num_rows() - from)),
            input,
            numbers: RowNumbers::From(from as u64 + 2),
            broken: Vec::new(),
        };
        Ok(Box::new((0..self.tables[input].num_rows()).step_by(7).map(move |from| Ok(chunk(from)))))
    }
}

/// A table of text: header line, then rows, cells between commas.
pub(super) fn text(csv: &str) -> RecordBatch {
    let mut lines = csv.lines().map(|l| l.trim().split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    let column = |i: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r[i]))) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable(header.iter().enumerate().map(|(i, n)| (*n, column(i), true))).unwrap()
}
pub(super) fn memory(tables: Vec<RecordBatch>) -> SharedSource {
    Arc::new(Memory { tables, version: 1 })
}

pub(super) fn component(kind: &str) -> Component {
    Component { kind: kind.into(), settings: toml::Table::new(), path: String::new() }
}
pub(super) fn stage(name: &str, after: &str) -> Stage {
    Stage {
        name: name.into(),
        after: After::Stage(after.into()),
        label: name.into(),
        tower: component("mlp"),
        features: StageFeatures::default(),
        weight: 1.0,
        loss_weight: None,
        init_bias: InitBias::Named(InitBiasName::BaseRate),
    }
}
pub(super) fn feature(name: &str, toml: &str) -> Feature {
    Feature { name: name.into(), ..toml::from_str(toml).unwrap() }
}
/// impression → click → buy over these features, all rows in train.
pub(super) fn spec(features: Vec<Feature>) -> Spec {
    Spec {
        funnel: Funnel::default(),
        stages: vec![stage("click", "impression"), stage("buy", "click")],
        outcomes: Vec::new(),
        objective: component("entire_space"),
        encoder: component("concat"),
        data: Data {
            source: component("memory"),
            beside: Vec::new(),
            keys: Vec::new(),
            weight: None,
            orphan_labels: OrphanLabels::Error,
            truth: std::collections::BTreeMap::default(),
        },
        split: Split::Random { valid: 0.0, test: 0.0, seed: 1 },
        entities: Vec::new(),
        features: Features { infer: false, declared: features },
        embedding: Embedding::default(),
        train: Train::default(),
        metrics: Metrics::default(),
        origins: Origins::default(),
    }
}

pub(super) fn prepare_in(dir: &Path, spec: &Spec, source: &SharedSource) -> anyhow::Result<Prepared> {
    prepare_with(dir, spec, source, None)
}
pub(super) fn prepare_with(dir: &Path, spec: &Spec, source: &SharedSource, layout: Option<&super::Layout>) -> anyhow::Result<Prepared> {
    let stop = AtomicBool::new(false);
    let options = PrepareOptions { cache_dir: dir, show_values: false, verify: false, layout, progress: &|_| {}, stop: &stop };
    super::prepare(spec, source, &Graph::of(spec), &options)
}
/// Store in a temp folder, which the caller keeps.
pub(super) fn open(spec: &Spec, source: &SharedSource) -> (tempfile::TempDir, Dataset, LintReport) {
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepare_in(dir.path(), spec, source).unwrap();
    let (dataset, report) = Dataset::open(spec, &Graph::of(spec), &prepared).unwrap();
    (dir, dataset, report)
}
/// The messages of a failed prepare.
pub(super) fn messages(spec: &Spec, source: &SharedSource) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let error = prepare_in(dir.path(), spec, source).unwrap_err();
    let findings = error.downcast_ref::<Diagnostics>().unwrap_or_else(|| panic!("{error:#}"));
    findings.0.iter().map(|d| d.message.clone()).collect()
}
