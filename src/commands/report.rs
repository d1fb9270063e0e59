//! `report`: a run as a page for people; `run` and `resume` write the same at their end.

use super::{RUNS, encoding, preparing, store_dir};
use crate::cli::Global;
use crate::report::facts::Scored;
use crate::report::{self, Facts};
use crate::ui::{Exit, Ui, chain};
use anyhow::{Result, bail};
use esmm_funnel_core::data::{Dataset, Part};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::run::{RunFolder, find_run};
use esmm_funnel_core::score::{Scorer, collect, evaluate};
use esmm_funnel_core::spec::Spec;
use esmm_funnel_core::train::session::{Finished, LoadedData};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or `@last`.
    pub run: String,
    /// Report on all rows of these files instead of the test part.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
}

pub fn run(args: &Args, global: &Global, ui: &Ui) -> Result<Exit> {
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = Scorer::open(&folder, &cpu())?;
    let data = rows_of(&scorer, &args.data, global, ui)?;
    let part = part_of(&data);
    if data.rows(part) == 0 {
        bail!("there are no rows to report on: the run's test and valid parts are empty; name files with `--data`");
    }
    let scores = collect(&scorer.model, &data, part)?;
    let evaluation = evaluate(&scorer.spec, &scorer.graph, &data, &scores);
    let files: Vec<String> = args.data.iter().map(|f| f.display().to_string()).collect();
    let name = if files.is_empty() { part.name() } else { "data" };
    let scored = Scored { part: name, files: &files, of: part, scores: &scores, evaluation: &evaluation, data: &data };
    let path = report::write(&Facts::gather(&folder, &scorer.spec, &scorer.graph, scored)?)?;
    ui.answer(&format!("the report is in {}", path.display()), &json!({ "report": path, "part": name }))?;
    Ok(Exit::Done)
}

/// The run's rows, or those of other files.
pub(super) fn rows_of(scorer: &Scorer, files: &[PathBuf], global: &Global, ui: &Ui) -> Result<Dataset> {
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = preparing(&store, global, &progress);
    scorer.rows((!files.is_empty()).then_some(files), &options)
}

/// Test, or valid where test is empty.
fn part_of(data: &Dataset) -> Part {
    if data.rows(Part::Test) > 0 { Part::Test } else { Part::Valid }
}

/// The report at the end of a run, of rows that are scored already. A report that cannot be written is told and fails nothing.
pub fn at_the_end(finished: &Finished, spec: &Spec, folder: &RunFolder, data: &LoadedData, ui: &Ui) {
    let started = Instant::now();
    let write = || -> Result<()> {
        let Some((part, scores)) = &finished.scored else { return Ok(()) };
        let Some(evaluation) = finished.test.as_ref().or(finished.valid.as_ref()) else { return Ok(()) };
        let scored = Scored { part: part.name(), files: &[], of: *part, scores, evaluation, data: &data.dataset };
        report::write(&Facts::gather(folder, spec, &data.graph, scored)?)?;
        Ok(())
    };
    let again = format!("`esmm-funnel report {}` tries again", folder.path.display());
    match catch_unwind(AssertUnwindSafe(write)) {
        Ok(Ok(())) => tracing::info!("the report took {:.2} s", started.elapsed().as_secs_f64()),
        Ok(Err(error)) => {
            ui.story(&format!("warning: the run is finished, but its report could not be written: {}; {again}", chain(&error)));
        }
        Err(_) => ui.story(&format!("warning: the run is finished, but writing its report met an internal fault; {again}")),
    }
}
