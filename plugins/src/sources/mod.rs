//! Sources: where rows come from.

pub mod aliccp;
pub mod csv;
pub mod parquet;
pub mod synthetic;

use anyhow::Context;
use esmm_funnel_core::data::source::Input;
use esmm_funnel_core::diagnostic::{Diagnostic, Diagnostics};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

/// A finding as an error.
pub(crate) fn fault(id: &'static str, message: impl Into<String>, help: &str) -> anyhow::Error {
    let finding = Diagnostic::error(id, message);
    Diagnostics::from(if help.is_empty() { finding } else { finding.help(help) }).into()
}

/// The files that paths and globs name, each once: globs in the order given, the files of one sorted. `given` ones stand in for those of
/// the settings.
pub(crate) fn expand(given: Option<&[PathBuf]>, files: &[String], kind: &str, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let count_from = if given.is_some() {
        "the working directory"
    } else {
        "the folder of the spec that states them, those of `--set` from the working directory"
    };
    let given: Option<Vec<String>> = given.map(|f| f.iter().map(|p| p.display().to_string()).collect());
    let files = given.as_deref().unwrap_or(files);
    if files.is_empty() {
        return Err(fault("no-files", format!("the `{kind}` source needs `files`"), &format!("for example `files = [\"log.{ending}\"]`")));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for pattern in files {
        let path = Path::new(pattern);
        if path.is_dir() {
            let help = format!("name its files, for example `{}/*.{ending}`", pattern.trim_end_matches('/'));
            return Err(fault("folder-as-file", format!("`{pattern}` is a folder"), &help));
        }
        if path.exists() {
            if !found.iter().any(|f| f == path) {
                found.push(path.to_owned());
            }
            continue;
        }
        let is_glob = pattern.contains(['*', '?', '[']);
        let paths = glob::glob(pattern).map_err(|e| fault("bad-glob", format!("`{pattern}` is no pattern: {}", e.msg), ""))?;
        let mut matched = paths.collect::<Result<Vec<_>, _>>().with_context(|| format!("cannot list `{pattern}`"))?;
        matched.retain(|p| p.is_file());
        if matched.is_empty() {
            let message = if is_glob { format!("no file matches `{pattern}`") } else { format!("no file `{pattern}`") };
            return Err(fault("no-files", message, &format!("relative paths count from {count_from}")));
        }
        matched.sort();
        matched.retain(|p| !found.contains(p));
        found.append(&mut matched);
    }
    Ok(found)
}

/// A file as an input: its fingerprint is its size and modification time.
pub(crate) fn file_input(path: &Path, unit: &'static str) -> anyhow::Result<Input> {
    let name = path.display().to_string();
    let meta = std::fs::metadata(path).with_context(|| format!("cannot read `{name}`"))?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    let fingerprint = format!("{} bytes, modified {changed}", meta.len());
    Ok(Input { name, path: Some(path.to_owned()), fingerprint, unit, bytes: meta.len(), entities: None })
}

/// Counts the bytes that pass, for progress.
pub(crate) struct Counting<R> {
    pub inner: R,
    pub count: Arc<AtomicU64>,
}
impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Refuses a file whose columns are not those of the first one; their order may differ.
pub(crate) fn same_columns(first: (&Path, &[String]), other: (&Path, &[String])) -> anyhow::Result<()> {
    let lacks = |of: &[String], names: &[String]| names.iter().filter(|n| !of.contains(n)).map(|n| format!("`{n}`")).collect::<Vec<_>>();
    let (missing, extra) = (lacks(other.1, first.1), lacks(first.1, other.1));
    let mut differences = Vec::new();
    if !missing.is_empty() {
        differences.push(format!("lacks {}", missing.join(", ")));
    }
    if !extra.is_empty() {
        differences.push(format!("also has {}", extra.join(", ")));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("`{}` has other columns than `{}`: it {}", other.0.display(), first.0.display(), differences.join(", and "));
    Err(fault("different-columns", message, "files of one source have the same columns"))
}

/// Where each wanted column stands among those of a file.
pub(crate) fn positions(path: &Path, names: &[String], wanted: &[String]) -> anyhow::Result<Vec<usize>> {
    let at = |column: &String| {
        let message = || format!("`{}`: no column `{column}`", path.display());
        names.iter().position(|n| n == column).ok_or_else(|| fault("unknown-column", message(), &format!("columns: {}", names.join(", "))))
    };
    wanted.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    //! Files of both kinds with the same rows → the same store, batches and scores.

    use super::csv::Csv;
    use super::parquet::Parquet;
    use ::parquet::arrow::ArrowWriter;
    use arrow::array::ArrayRef;
    use arrow::compute::cast;
    use arrow::datatypes::DataType;
    use arrow::record_batch::RecordBatch;
    use esmm_funnel_core::data::source::SharedSource;
    use esmm_funnel_core::data::{
        Batch, BatchPlan, Dataset, LintReport, Part, PrepareOptions, Prepared, Preprocessor, RawEncoder, prepare,
    };
    use esmm_funnel_core::graph::Graph;
    use esmm_funnel_core::plugin::SourceSettings;
    use esmm_funnel_core::spec::*;
    use std::num::NonZeroUsize;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn component(kind: &str) -> Component {
        Component { kind: kind.into(), settings: toml::Table::new(), path: String::new() }
    }
    fn stage(name: &str, after: &str) -> Stage {
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
    fn spec(stages: Vec<Stage>, features: Vec<Feature>, split: Split) -> Spec {
        Spec {
            funnel: Funnel::default(),
            stages,
            outcomes: Vec::new(),
            objective: component("entire_space"),
            encoder: component("concat"),
            data: Data {
                source: component("csv"),
                beside: Vec::new(),
                keys: Vec::new(),
                weight: None,
                orphan_labels: OrphanLabels::Error,
                truth: std::collections::BTreeMap::default(),
            },
            split,
            entities: Vec::new(),
            features: Features { infer: features.is_empty(), declared: features },
            embedding: Embedding::default(),
            train: Train::default(),
            metrics: Metrics::default(),
            origins: Origins::default(),
        }
    }
    /// A file of the shared data, or a message that the test is skipped.
    #[allow(clippy::print_stderr)]
    fn shared(name: &str) -> Option<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
        if !path.is_file() {
            eprintln!("skipped: `{}` is not there", path.display());
            return None;
        }
        Some(path)
    }
    fn csv_of(path: &Path) -> SharedSource {
        Csv { files: vec![path.display().to_string()], ..Csv::default() }.open(None, &Graph::default()).unwrap()
    }
    fn open(dir: &Path, spec: &Spec, source: &SharedSource) -> (Prepared, Dataset, LintReport) {
        let stop = AtomicBool::new(false);
        let options = PrepareOptions { cache_dir: dir, show_values: false, verify: false, layout: None, progress: &|_| {}, stop: &stop };
        let graph = Graph::of(spec);
        let prepared = prepare(spec, source, &graph, &options).unwrap_or_else(|e| panic!("{e:#?}"));
        let (dataset, report) = Dataset::open(spec, &graph, &prepared).unwrap_or_else(|e| panic!("{e:#?}"));
        (prepared, dataset, report)
    }
    fn all(dataset: &Dataset, part: Part) -> Vec<Batch> {
        let plan = BatchPlan::sequential(NonZeroUsize::new(4096).unwrap());
        dataset.batches(part, plan).map(|b| b.unwrap().0).collect()
    }
    /// The same rows as Parquet, with columns cast.
    fn to_parquet(source: &SharedSource, types: &[(&str, DataType)], path: &Path) -> SharedSource {
        let schema = source.schema().unwrap();
        let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let mut writer = None;
        for chunk in source.read(0, &columns).unwrap() {
            let records = chunk.unwrap().records;
            let typed = columns.iter().zip(records.columns()).map(|(name, column)| {
                let to = types.iter().find(|(n, _)| n == name).map_or(&DataType::Utf8, |(_, t)| t);
                (name.as_str(), cast(column, to).unwrap(), true)
            });
            let batch = RecordBatch::try_from_iter_with_nullable(typed.collect::<Vec<(&str, ArrayRef, bool)>>()).unwrap();
            let file = || std::fs::File::create(path).unwrap();
            writer.get_or_insert_with(|| ArrowWriter::try_new(file(), batch.schema(), None).unwrap()).write(&batch).unwrap();
        }
        writer.unwrap().close().unwrap();
        Parquet { files: vec![path.display().to_string()] }.open(None, &Graph::default()).unwrap()
    }

    #[test]
    fn hillstrom_is_inferred_and_text_agrees_with_types() {
        let Some(path) = shared("hillstrom.csv") else { return };
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(
            vec![stage("visit", "impression"), stage("conversion", "visit")],
            vec![],
            Split::Random { valid: 0.1, test: 0.2, seed: 1 },
        );
        let text = csv_of(&path);
        let (prepared, dataset, report) = open(dir.path(), &spec, &text);
        report.check().unwrap();
        assert_eq!(prepared.store.rows(), 64_000);
        assert_eq!(report.parts.iter().map(|p| p.labels[1]).sum::<u64>(), 578);
        let left_out: Vec<&str> = prepared
            .inferred
            .iter()
            .filter(|i| i.decision == esmm_funnel_core::data::Decision::LeaveOut)
            .map(|i| i.column.as_str())
            .collect();
        assert_eq!(left_out, ["visit", "conversion", "spend"]);
        let types = [
            ("recency", DataType::Int32),
            ("history", DataType::Float64),
            ("mens", DataType::UInt8),
            ("newbie", DataType::Int64),
            ("visit", DataType::Boolean),
            ("conversion", DataType::Float32),
            ("spend", DataType::Float32),
        ];
        let typed = to_parquet(&text, &types, &dir.path().join("hillstrom.parquet"));
        let (_, from_types, _) = open(dir.path(), &spec, &typed);
        for part in Part::ALL {
            assert_eq!(all(&dataset, part), all(&from_types, part));
        }
        // Raw rows of the other format, through the saved preprocessor.
        dataset.preprocessor().save(dir.path()).unwrap();
        let encoder = RawEncoder::new(Arc::new(Preprocessor::load(dir.path()).unwrap()));
        let input = typed.inputs().unwrap().remove(0);
        let chunks = typed.read(0, &encoder.columns()).unwrap();
        let singles: Vec<u32> = chunks.flat_map(|c| encoder.encode(&c.unwrap(), &input).unwrap().batch.groups.remove(0).singles).collect();
        let whole = Split::Random { valid: 0.0, test: 0.0, seed: 1 };
        let everything = Spec { split: whole, ..spec };
        let (again, report) = Dataset::reopen(&everything, &Graph::of(&everything), &prepared, dataset.preprocessor().clone()).unwrap();
        report.check().unwrap();
        assert_eq!(singles, all(&again, Part::Train).into_iter().flat_map(|mut b| b.groups.remove(0).singles).collect::<Vec<_>>());
    }

    #[test]
    fn weekly_funnel_is_split_by_week_and_households_are_stored_once() {
        let Some(path) = shared("weekly_funnel_200hh.csv.gz") else { return };
        let dir = tempfile::tempdir().unwrap();
        let feature = |name: &str, text: &str| Feature { name: name.into(), ..toml::from_str(text).unwrap() };
        let features = vec![
            feature("category", "kind = 'id'"),
            feature("history", "kind = 'number'\ncolumns = ['v?', 'g4', 'c?', 'd8', 'since_cat']\ntransform = 'log1p'"),
            feature("household", "kind = 'id'\ncolumns = ['household_id', 'hh_*']\nof = 'household'\nmissing = ['NA']"),
        ];
        let stages = vec![
            stage("visit", "impression"),
            stage("grocery", "visit"),
            stage("category_buy", "grocery"),
            stage("discount_buy", "category_buy"),
        ];
        let split = Split::Column {
            column: "week".into(),
            train_through: Scalar::Integer(41),
            valid_through: Scalar::Integer(45),
            test_from: Some(Scalar::Integer(46)),
        };
        let mut spec = spec(stages, features, split);
        spec.entities = vec![Entity { name: "household".into(), key: "household_id".into() }];
        let (prepared, dataset, report) = open(dir.path(), &spec, &csv_of(&path));
        report.check().unwrap();
        assert_eq!(prepared.store.rows(), 72_000);
        assert_eq!(Part::ALL.map(|p| dataset.rows(p)), [33 * 1600, 4 * 1600, 8 * 1600]);
        assert_eq!((report.entities[0].entities, report.entities[0].keys), (200, 200));
        assert_eq!((0..4).map(|s| report.parts.iter().map(|p| p.labels[s]).sum()).collect::<Vec<u64>>(), [40_496, 37_264, 11_636, 8_252]);
        assert!(report.leakage.is_empty(), "{:?}", report.leakage);
        assert!(all(&dataset, Part::Test).iter().all(|b| b.groups[1].size <= 200));
    }

    #[test]
    fn files_of_valid_and_test_may_stand_beside_the_source_s_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, rows: usize| {
            let rows = (0..rows).map(|i| format!("i{i},{},{}\n", u8::from(i % 4 < 2), u8::from(i % 4 == 0))).collect::<Vec<_>>().concat();
            std::fs::write(dir.path().join(name), format!("item,click,buy\n{rows}")).unwrap();
            dir.path().join(name).display().to_string()
        };
        let (train, valid) = (file("train-1.csv", 8), file("valid.csv", 5));
        file("test.csv", 3);
        let split = Split::Files { valid: vec![valid], test: vec![dir.path().join("t*t.csv").display().to_string()] };
        let item = Feature { name: "item".into(), ..toml::from_str("kind = 'id'").unwrap() };
        let mut spec = spec(vec![stage("click", "impression"), stage("buy", "click")], vec![item], split);
        spec.data.source.settings.insert("files".into(), toml::Value::Array(vec![train.clone().into()]));
        let source = esmm_funnel_core::data::open_source(&spec, None).unwrap();
        let (_, dataset, report) = open(&dir.path().join("cache"), &spec, &source);
        report.check().unwrap();
        assert_eq!(Part::ALL.map(|p| dataset.rows(p)), [8, 5, 3]);
        assert_eq!(dataset.store().meta().inputs.len(), 3);
        // Files given take the place of all of these.
        let only = esmm_funnel_core::data::open_source(&spec, Some(&[PathBuf::from(train)])).unwrap();
        assert_eq!(only.inputs().unwrap().len(), 1);
        spec.data.source.kind = "cvs".into();
        let error = esmm_funnel_core::data::open_source(&spec, None).err().unwrap();
        let findings = error.downcast_ref::<esmm_funnel_core::diagnostic::Diagnostics>().unwrap();
        assert_eq!(
            (findings.0[0].message.as_str(), findings.0[0].help[0].as_str()),
            ("unknown source `cvs`", "sources in this build: aliccp, csv, parquet, synthetic")
        );
    }

    #[test]
    fn progress_ends_at_all_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let rows = (0..60_000).map(|i| format!("item{i},{},{}\n", u8::from(i % 4 < 2), u8::from(i % 4 == 0))).collect::<Vec<_>>().concat();
        let path = dir.path().join("log.csv");
        std::fs::write(&path, format!("item,click,buy\n{rows}")).unwrap();
        let text = csv_of(&path);
        let typed = to_parquet(&text, &[], &dir.path().join("log.parquet"));
        let spec = spec(
            vec![stage("click", "impression"), stage("buy", "click")],
            vec![Feature { name: "item".into(), ..toml::from_str("kind = 'id'").unwrap() }],
            Split::default(),
        );
        for source in [text, typed] {
            let (seen, stop) = (std::cell::RefCell::new(Vec::new()), AtomicBool::new(false));
            let progress = |p| seen.borrow_mut().push(p);
            let options =
                PrepareOptions { cache_dir: dir.path(), show_values: false, verify: false, layout: None, progress: &progress, stop: &stop };
            prepare(&spec, &source, &Graph::of(&spec), &options).unwrap();
            let seen = seen.into_inner();
            assert!(seen.is_sorted_by_key(|p| (p.rows, p.bytes)), "{seen:?}");
            // The first is told before anything is read.
            assert!(seen[0].bytes == 0 && seen[1].bytes > 0);
            let last = &seen[seen.len() - 1];
            assert_eq!((last.rows, last.bytes), (60_000, last.total_bytes));
        }
    }
}
