//! `replay`: what was logged, scored again, with the rows together that were together then. Equal means equal bits.

use super::log::{RUN, names};
use super::model::Served;
use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, Float64Array, StringArray, UInt32Array, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, UInt32Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use esmm_funnel_core::data::Stopped;
use esmm_funnel_core::score::online::join;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Differences that are told.
const TOLD: usize = 10;

/// A score that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The file.
    pub file: String,
    /// The row of the file, from 0.
    pub row: usize,
    /// The request, and the row of it.
    pub request: (u64, u32),
    /// The column.
    pub column: String,
    /// What was logged.
    pub logged: Option<f64>,
    /// What it is now.
    pub now: f64,
}

/// What a replay saw.
#[derive(Debug, Default, Serialize)]
pub struct Replayed {
    /// Files.
    pub files: usize,
    /// Rows.
    pub rows: u64,
    /// Requests.
    pub requests: u64,
    /// The model that scored now, per run.
    pub models: BTreeMap<String, String>,
    /// Rows per model version that the log names.
    pub logged_models: BTreeMap<String, u64>,
    /// Rows with a score that differs.
    pub rows_that_differ: u64,
    /// The largest difference.
    pub largest: f64,
    /// The first ones.
    pub differences: Vec<Difference>,
}

/// Scores all files of a log again, with `run` or else with the run that each names.
///
/// # Errors
/// No log, a file that is damaged, a run that is gone or takes other columns.
pub fn replay(folder: &Path, run: Option<&Path>, progress: &dyn Fn(u64), stop: &AtomicBool) -> Result<Replayed> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("`{}`", folder.display()))?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "parquet") && !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("there is no log in `{}`: no file that ends in .parquet; `serve --log` writes them", folder.display());
    }
    let mut out = Replayed::default();
    let mut loaded: Option<Served> = None;
    for path in files {
        let (records, named) = read(&path)?;
        let wanted = match run {
            Some(run) => run.to_owned(),
            None => named.with_context(|| format!("`{}` does not name its run; give it with `--run`", path.display()))?,
        };
        if loaded.as_ref().is_none_or(|served| served.run != wanted) {
            let help = || format!("loading the run of `{}`; `--run` names it if it has moved", path.display());
            loaded = Some(Served::open(wanted).with_context(help)?);
        }
        let Some(served) = &loaded else { bail!("no run") };
        out.models.insert(served.run.display().to_string(), served.online.version().to_owned());
        out.files += 1;
        LogFile { path: &path, records: &records, served }.replay(&mut out, progress, stop)?;
    }
    Ok(out)
}

fn read(path: &Path) -> Result<(RecordBatch, Option<PathBuf>)> {
    let read = || -> Result<_> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
        let metadata = builder.metadata().file_metadata().key_value_metadata();
        let run = metadata.and_then(|m| m.iter().find(|kv| kv.key == RUN)?.value.clone()).map(PathBuf::from);
        let schema = builder.schema().clone();
        let batches = builder.build()?.collect::<Result<Vec<_>, _>>()?;
        Ok((concat_batches(&schema, &batches)?, run))
    };
    read().with_context(|| format!("reading `{}`", path.display()))
}

/// A file of a log.
struct LogFile<'a> {
    path: &'a Path,
    records: &'a RecordBatch,
    served: &'a Served,
}

impl LogFile<'_> {
    fn column(&self, name: &str, is: &DataType) -> Result<&dyn Array> {
        let found = self.records.column_by_name(name).filter(|c| c.data_type() == is);
        let found = found.with_context(|| format!("`{}` is no log of `serve`: it has no column `{name}` of {is}", self.path.display()))?;
        Ok(found.as_ref())
    }

    fn replay(&self, out: &mut Replayed, progress: &dyn Fn(u64), stop: &AtomicBool) -> Result<()> {
        let batches: &UInt64Array = self.column(names::BATCH, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let requests: &UInt64Array = self.column(names::REQUEST, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let rows: &UInt32Array = self.column(names::ROW, &DataType::UInt32)?.as_primitive::<UInt32Type>();
        let models: &StringArray = self.column(names::MODEL, &DataType::Utf8)?.as_string();
        for model in models.iter().flatten() {
            match out.logged_models.get_mut(model) {
                Some(n) => *n += 1,
                None => drop(out.logged_models.insert(model.to_owned(), 1)),
            }
        }
        let schema = self.served.online.schema();
        let columns = schema.fields().iter().map(|f| {
            self.column(f.name(), f.data_type())?;
            Ok(self.records.schema().index_of(f.name())?)
        });
        let features = self.records.project(&columns.collect::<Result<Vec<_>>>()?)?;
        let named = self.served.online.names().iter();
        let logged =
            named.map(|n| Ok(self.column(n, &DataType::Float64)?.as_primitive::<Float64Type>())).collect::<Result<Vec<&Float64Array>>>()?;
        let mut from = 0;
        while from < self.records.num_rows() {
            if stop.load(Relaxed) {
                return Err(Stopped.into());
            }
            let to = end(batches, from);
            let mut encoded = Vec::new();
            let mut first = from;
            while first < to {
                let last = end(requests, first).min(to);
                encoded.push(self.served.online.encode(&features.slice(first, last - first))?);
                first = last;
                out.requests += 1;
            }
            let scored =
                if let [one] = &encoded[..] { self.served.online.score(one)? } else { self.served.online.score(&join(&encoded))? };
            for row in from..to {
                let mut differs = false;
                for (column, (now, logged)) in self.served.online.names().iter().zip(scored.iter().zip(&logged)) {
                    let (now, logged) = (now[row - from], logged.is_valid(row).then(|| logged.value(row)));
                    if logged.is_some_and(|l| l.to_bits() == now.to_bits()) {
                        continue;
                    }
                    differs = true;
                    let apart = logged.map_or(f64::INFINITY, |l| (l - now).abs());
                    out.largest = out.largest.max(apart);
                    if out.differences.len() < TOLD {
                        out.differences.push(Difference {
                            file: self.path.display().to_string(),
                            row,
                            request: (requests.value(row), rows.value(row)),
                            column: column.clone(),
                            logged,
                            now,
                        });
                    }
                }
                out.rows_that_differ += u64::from(differs);
            }
            out.rows += (to - from) as u64;
            progress(out.rows);
            from = to;
        }
        Ok(())
    }
}

/// Where the stretch of equal values ends that starts at `from`.
fn end(values: &UInt64Array, from: usize) -> usize {
    let all = values.values();
    all[from..].iter().position(|v| *v != all[from]).map_or(all.len(), |n| from + n)
}
