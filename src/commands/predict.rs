//! `predict`: score rows with a finished run.

use super::{RUNS, open_scorer};
use crate::STOP;
use crate::cli::PredictArgs;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, count};
use anyhow::Result;
use esmm_funnel_core::run::find_run;
use serde_json::json;
use std::path::Path;

pub fn run(args: &PredictArgs, ui: &Ui) -> Result<Exit> {
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = open_scorer(&folder, args.uncalibrated, ui)?;
    let source = scorer.open_source(&args.data)?;
    let progress = RowProgress::new(ui, "predicting");
    let summary = scorer.predict(&source, &args.out, &|rows| progress.show(rows, ""), &STOP)?;
    drop(progress);
    let mut text = format!("{} rows in {}", count(summary.rows), args.out.display());
    for (column, n) in &summary.unknown_ids {
        text += &format!("\n{column}: {} values are unknown to the model and read as out of vocabulary", count(*n));
    }
    for left_out in &summary.left_out {
        text += &format!("\n{left_out}");
    }
    ui.answer(&text, &json!({ "out": args.out, "summary": summary }))?;
    Ok(Exit::Done)
}
