//! `predict`: score rows with a finished run, into one file or a folder of parts.

use super::{RUNS, open_scorer};
use crate::STOP;
use crate::cli::Global;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, count, plural};
use anyhow::{Result, bail};
use esmm_funnel_core::run::find_run;
use esmm_funnel_core::score::{MissingColumns, Partition, PredictOptions, PredictSummary, Shard, UnknownIds};
use serde_json::json;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or `@last`.
    pub run: String,
    /// Files with the rows: CSV, TSV (or .gz of these) or Parquet.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub data: Vec<PathBuf>,
    /// The file to write, `.csv` or `.parquet`; or a folder (a name without an ending, or one that is there) for Parquet parts. Given again, a
    /// folder's missing parts are written.
    #[arg(long, value_name = "FILE|DIR")]
    pub out: PathBuf,
    /// A column more, computed from probabilities and columns, e.g. `value=p_purchase * price`.
    #[arg(long = "value", value_name = "NAME=EXPR")]
    pub values: Vec<String>,
    /// Most rows of a part [default: an input is one part].
    #[arg(long, value_name = "N")]
    pub partition_rows: Option<NonZeroU64>,
    /// Do the i-th of n equal shares, e.g. `1/4`; all machines write into one folder.
    #[arg(long, value_name = "I/N", default_value_t)]
    pub shard: Shard,
    /// Ids that the model does not know: `accept` reads them as out of vocabulary and counts them.
    #[arg(long, value_enum, default_value_t, value_name = "accept|error")]
    pub unknown_ids: Ids,
    /// Columns that the data lack: `default` reads them as if every cell were missing.
    #[arg(long, value_enum, default_value_t, value_name = "error|default")]
    pub missing_columns: Columns,
    /// Leave the run's calibration out.
    #[arg(long)]
    pub uncalibrated: bool,
}

/// Policy for unknown ids.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub enum Ids {
    #[default]
    Accept,
    Error,
}
/// Policy for missing columns.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub enum Columns {
    #[default]
    Error,
    Default,
}

pub fn run(args: &Args, global: &Global, ui: &Ui) -> Result<Exit> {
    let is_folder = folder_asked_for(args)?;
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = open_scorer(&folder, args.uncalibrated, ui)?;
    let source = scorer.open_source(&args.data)?;
    let progress = RowProgress::new(ui, "predicting");
    let show = |rows| progress.show(rows, "");
    let options = PredictOptions {
        values: &args.values,
        unknown_ids: match args.unknown_ids {
            Ids::Accept => UnknownIds::Accept,
            Ids::Error => UnknownIds::Error,
        },
        missing_columns: match args.missing_columns {
            Columns::Error => MissingColumns::Error,
            Columns::Default => MissingColumns::Default,
        },
        show_values: global.show_values,
        progress: &show,
        stop: &STOP,
    };
    if !is_folder {
        let summary = scorer.predict(&source, &args.out, &options)?;
        drop(progress);
        let text = format!("{} rows in {}{}", count(summary.rows), args.out.display(), notes(&summary));
        ui.answer(&text, &json!({ "out": args.out, "summary": summary }))?;
        return Ok(Exit::Done);
    }
    let partition = Partition { rows: args.partition_rows, shard: args.shard };
    let done = scorer.predict_parts(&source, &args.out, partition, &options)?;
    drop(progress);
    let (summary, parts) = (&done.manifest.summary, done.manifest.parts.len());
    let mut text = format!("{} rows in {} in {}", count(summary.rows), plural(parts as u64, "part"), args.out.display());
    if args.shard != Shard::WHOLE {
        text = format!("shard {}: {text}", args.shard);
    }
    if done.reused > 0 {
        text += &format!("\n{} of them {} there already", count(done.reused as u64), if done.reused == 1 { "was" } else { "were" });
    }
    if args.shard != Shard::WHOLE && done.complete {
        text += &format!("\nall {} shards are finished", args.shard.count());
    }
    text += &notes(summary);
    ui.answer(&text, &json!({ "out": args.out, "reused_parts": done.reused, "complete": done.complete, "manifest": done.manifest }))?;
    Ok(Exit::Done)
}

/// Whether `--out` is a folder of parts.
fn folder_asked_for(args: &Args) -> Result<bool> {
    let (out, shown) = (&args.out, args.out.display());
    let slash = out.as_os_str().as_encoded_bytes().ends_with(b"/");
    if slash || out.is_dir() || out.extension().is_none() {
        return Ok(true);
    }
    if args.shard != Shard::WHOLE {
        bail!("`--shard {}` writes parts, and `{shown}` is one file; name a folder with `--out`", args.shard);
    }
    if args.partition_rows.is_some() && out.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
        bail!("`--partition-rows` writes Parquet parts to a folder, and `{shown}` is called as a CSV file; name a folder with `--out`");
    }
    Ok(args.partition_rows.is_some())
}

/// What a person should know of the rows.
fn notes(summary: &PredictSummary) -> String {
    let mut text = String::new();
    for (column, n) in &summary.unknown_ids {
        text += &format!("\n{column}: {} values are unknown to the model and read as out of vocabulary", count(*n));
    }
    for (column, n) in &summary.missing_columns {
        text += &format!("\n{column}: the data have no such column; read as missing on {}", plural(*n, "row"));
    }
    for (name, n) in summary.without_value.iter().filter(|(_, n)| **n > 0) {
        text += &format!("\n{name}: {} without a value (a missing cell, or a result that is not finite)", plural(*n, "row"));
    }
    for left_out in &summary.left_out {
        text += &format!("\n{left_out}");
    }
    text
}
