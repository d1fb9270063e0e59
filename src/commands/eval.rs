//! `eval`: the test part of a finished run, or all rows of other files.

use super::metrics_text::metrics_text;
use super::{RUNS, expectations, gates};
use crate::STOP;
use crate::cli::EvalArgs;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::run::find_run;
use esmm_funnel_core::score::Scorer;
use serde_json::json;
use std::path::Path;

pub fn run(args: &EvalArgs, ui: &Ui) -> Result<Exit> {
    let expectations = expectations(&args.fail_if)?;
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = Scorer::open(&folder, &cpu())?;
    let progress = RowProgress::new(ui, "evaluating");
    let files = (!args.data.is_empty()).then_some(args.data.as_slice());
    let evaluation = scorer.evaluate(files, &|rows| progress.show(rows, ""), &STOP)?;
    drop(progress);
    let part = if files.is_some() { "data" } else { "test" };
    ui.answer(&metrics_text(&evaluation), &json!({ part: evaluation }))?;
    gates(&expectations, Some(&evaluation), ui)
}
