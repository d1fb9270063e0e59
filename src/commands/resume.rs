//! `resume`: go on with a run that was stopped, with the spec of the run.

use super::report;
use super::run::{answer, choose, finished};
use super::{RUNS, check_targets, encoding, expectations, gates, load, session, store_dir};
use crate::cli::{Global, ResumeArgs};
use crate::progress::TrainProgress;
use crate::ui::{Exit, Ui};
use anyhow::{Result, bail};
use esmm_funnel_core::run::{Manifest, Status, find_run, names};
use esmm_funnel_core::spec;
use esmm_funnel_core::train::session::Session;
use std::path::Path;

pub fn run(args: &ResumeArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    let expectations = expectations(&args.fail_if)?;
    let folder = find_run(&args.run, Path::new(RUNS))?;
    if Manifest::load(&folder)?.status == Status::Finished {
        bail!("the run `{}` is finished; there is nothing to resume", folder.path.display());
    }
    let spec = spec::load(&folder.file(names::RESOLVED), &[])?.spec;
    check_targets(&expectations, &spec)?;
    let device = choose(args.device, ui)?;
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = session(device, &store, global, &progress);
    let (data, _) = load(&spec, &options, ui)?;
    let end = {
        let mut progress = TrainProgress::new(ui);
        Session { spec: &spec, folder: &folder, data: &data, options: &options }.resume(&mut [&mut progress])?
    };
    let Some(finished) = finished(end, &folder, ui) else { return Ok(Exit::Interrupted) };
    report::at_the_end(&finished, &spec, &folder, &data, ui);
    answer(&finished, &folder.path, ui)?;
    gates(&expectations, finished.test.as_ref(), ui)
}
