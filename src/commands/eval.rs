//! `eval`: the test part of a finished run, or all rows of other files.

use super::metrics_text::metrics_text;
use super::{RUNS, check_targets, encoding, expectations, gates, open_scorer, store_dir};
use crate::STOP;
use crate::cli::{EvalArgs, Global};
use crate::ui::{Exit, Ui};
use anyhow::Result;
use esmm_funnel_core::data::PrepareOptions;
use esmm_funnel_core::run::find_run;
use serde_json::json;
use std::path::Path;

pub fn run(args: &EvalArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    let expectations = expectations(&args.fail_if)?;
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = open_scorer(&folder, args.uncalibrated, ui)?;
    check_targets(&expectations, &scorer.spec)?;
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = PrepareOptions {
        cache_dir: &store,
        show_values: global.show_values,
        verify: false,
        layout: None,
        progress: &progress,
        stop: &STOP,
    };
    let files = (!args.data.is_empty()).then_some(args.data.as_slice());
    let evaluation = scorer.evaluate(files, &options)?;
    let part = if files.is_some() { "data" } else { "test" };
    ui.answer(&metrics_text(&evaluation), &json!({ part: evaluation }))?;
    gates(&expectations, Some(&evaluation), ui)
}
