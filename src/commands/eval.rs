//! `eval`: the test part of a finished run, or all rows of other files.

use super::metrics_text::{metrics_text, values_text};
use super::{RUNS, check_targets, encoding, expectations, gates, open_scorer, preparing, store_dir};
use crate::cli::Global;
use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::run::find_run;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or `@last`.
    pub run: String,
    /// Evaluate all rows of these files instead of the test part.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Metrics of a value computed from probabilities and columns, e.g. `value=p_purchase * price`.
    #[arg(long = "value", value_name = "NAME=EXPR")]
    pub values: Vec<String>,
    /// Leave the run's calibration out.
    #[arg(long)]
    pub uncalibrated: bool,
    /// Exit with 1 if this holds.
    #[arg(long = "fail-if", value_name = "EXPR")]
    pub fail_if: Vec<String>,
}

pub fn run(args: &Args, global: &Global, ui: &Ui) -> Result<Exit> {
    let expectations = expectations(&args.fail_if)?;
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = open_scorer(&folder, args.uncalibrated, ui)?;
    check_targets(&expectations, &scorer.spec)?;
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = preparing(&store, global, &progress);
    let files = (!args.data.is_empty()).then_some(args.data.as_slice());
    let evaluation = scorer.evaluate(files, &args.values, &options)?;
    let part = if files.is_some() { "data" } else { "test" };
    ui.answer(&(metrics_text(&evaluation) + &values_text(&evaluation)), &json!({ part: evaluation }))?;
    gates(&expectations, Some(&evaluation), ui)
}
