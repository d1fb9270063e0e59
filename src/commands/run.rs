//! `run`: train a funnel and evaluate it.

use super::metrics_text::metrics_text;
use super::report;
use super::{RUNS, check, check_targets, encoding, expectations, gates, load, load_spec, session, store_dir};
use crate::cli::{Global, RunArgs};
use crate::progress::TrainProgress;
use crate::ui::{Exit, Ui, count};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::data::Part;
use esmm_funnel_core::device::{self, Chosen};
use esmm_funnel_core::metrics::{Evaluation, mean_std};
use esmm_funnel_core::run::{RunFolder, names, replace_file};
use esmm_funnel_core::spec::Spec;
use esmm_funnel_core::train::events::Observer;
use esmm_funnel_core::train::session::{Finished, LoadedData, Session, SessionEnd, SessionOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub fn run(args: &RunArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    let expectations = expectations(&args.fail_if)?;
    let (spec, _) = load_spec(&args.spec.spec, &args.spec.set, args.seed, ui)?;
    check_targets(&expectations, &spec)?;
    let device = choose(args.device, ui)?;
    if args.repeat == Some(0) {
        bail!("`--repeat 0` trains nothing; give 1 or more");
    }
    let out = args.out.clone().unwrap_or_else(|| default_folder(&spec));
    // Before any work: a run is never overwritten.
    let folder = if args.dry_run { None } else { Some(RunFolder::create(&out)?) };
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = SessionOptions { predictions: args.predictions, ..session(device, &store, global, &progress) };
    let data = match load(&spec, &options, ui) {
        Ok((data, _)) => data,
        Err(error) => {
            if let Some(folder) = &folder {
                discard_empty(folder);
            }
            return Err(error);
        }
    };
    encoding.done();
    let Some(folder) = folder else {
        let (text, value) = check::describe(&spec, &data)?;
        ui.answer(&text, &value)?;
        return Ok(Exit::Done);
    };
    match args.repeat {
        None => one(&spec, args, &folder, &data, &options, ui)?.map_or(Ok(Exit::Interrupted), |finished| {
            answer(&finished, &folder.path, ui)?;
            gates(&expectations, finished.test.as_ref(), ui)
        }),
        Some(n) => repeat(n, &spec, &folder, &data, &options, args, ui)?
            .map_or(Ok(Exit::Interrupted), |mean| gates(&expectations, Some(&mean), ui)),
    }
}

/// The device, told when `auto` had to settle for less.
pub fn choose(choice: device::DeviceChoice, ui: &Ui) -> Result<Chosen> {
    let chosen = device::choose(choice)?;
    match &chosen.reason {
        Some(why) => ui.story(&format!("device: cpu ({why})")),
        None => ui.story(&format!("device: {}", chosen.name)),
    }
    Ok(chosen)
}

/// Trains once. `None`: interrupted.
fn one(
    spec: &Spec,
    args: &RunArgs,
    folder: &RunFolder,
    data: &LoadedData,
    options: &SessionOptions<'_>,
    ui: &Ui,
) -> Result<Option<Box<Finished>>> {
    ui.story(&format!(
        "run {}: {} train, {} valid, {} test rows",
        folder.path.display(),
        count(data.dataset.rows(Part::Train)),
        count(data.dataset.rows(Part::Valid)),
        count(data.dataset.rows(Part::Test))
    ));
    let text = std::fs::read(&args.spec.spec).with_context(|| format!("reading `{}`", args.spec.spec.display()))?;
    let end = {
        let mut progress = TrainProgress::new(ui);
        let observers: &mut [&mut dyn Observer] = &mut [&mut progress];
        Session { spec, folder, data, options }.start(&text, observers)?
    };
    let finished = finished(end, folder, ui);
    if let Some(finished) = &finished {
        report::at_the_end(finished, spec, folder, data, ui);
    }
    Ok(finished)
}

/// What a session ended with. `None`: interrupted, and told how to go on.
pub fn finished(end: SessionEnd, folder: &RunFolder, ui: &Ui) -> Option<Box<Finished>> {
    match end {
        SessionEnd::Interrupted { step } => {
            ui.story(&format!("interrupted at step {step}; `esmm-funnel resume {}` goes on", folder.path.display()));
            None
        }
        SessionEnd::Finished(finished) => Some(finished),
    }
}

fn repeat(
    n: u32,
    spec: &Spec,
    folder: &RunFolder,
    data: &LoadedData,
    options: &SessionOptions<'_>,
    args: &RunArgs,
    ui: &Ui,
) -> Result<Option<Evaluation>> {
    let first = spec.train.seed;
    let (mut valid, mut test) = (Vec::new(), Vec::new());
    for i in 0..u64::from(n) {
        let (spec, _) = load_spec(&args.spec.spec, &args.spec.set, Some(first + i), ui)?;
        let own = RunFolder::create(&folder.path.join(format!("seed-{}", first + i)))?;
        let Some(finished) = one(&spec, args, &own, data, options, ui)? else { return Ok(None) };
        valid.extend(finished.valid);
        test.extend(finished.test);
    }
    let parts = json!({ "valid": spread(&valid), "test": spread(&test), "seeds": (first..first + u64::from(n)).collect::<Vec<_>>() });
    replace_file(&folder.file(names::METRICS), |w| Ok(serde_json::to_writer_pretty(w, &parts)?))?;
    let text = format!("{}\n{} runs in {}", spread_text(&parts["test"]), n, folder.path.display());
    ui.answer(&text, &json!({ "run": folder.path, "metrics": parts }))?;
    Ok(Evaluation::mean(&test))
}

fn spread(evaluations: &[Evaluation]) -> Value {
    if evaluations.is_empty() { Value::Null } else { mean_std(evaluations) }
}

/// `stage space auc mean ± std`, one a line.
fn spread_text(test: &Value) -> String {
    let mut rows = Vec::new();
    let show = |m: &Value, digits: usize| match (m["mean"].as_f64(), m["std"].as_f64()) {
        (Some(mean), Some(std)) => format!("{mean:.digits$} ± {std:.digits$}"),
        (Some(mean), None) => format!("{mean:.digits$}"),
        _ => "—".into(),
    };
    for (stage, spaces) in test.as_object().into_iter().flatten().filter(|(name, _)| *name != "slices") {
        for (space, metrics) in spaces.as_object().into_iter().flatten() {
            rows.push(vec![
                stage.clone(),
                space.clone(),
                show(&metrics["auc"], 4),
                show(&metrics["logloss"], 5),
                show(&metrics["pcoc"], 3),
            ]);
        }
    }
    crate::ui::table(&["stage", "space", "auc", "log loss", "pcoc"], &rows)
}

/// Prints a finished run's result.
pub fn answer(finished: &Finished, folder: &Path, ui: &Ui) -> Result<()> {
    let mut text = match (&finished.test, &finished.valid) {
        (Some(test), _) => metrics_text(test),
        (None, Some(valid)) => format!("the test part is empty; on valid:\n{}", metrics_text(valid)),
        (None, None) => "valid and test are empty; nothing was evaluated\n".into(),
    };
    for alarm in &finished.manifest.alarms {
        text += &format!("alarm: {alarm}\n");
    }
    text += &format!(
        "{:.0} rows/s, trained in {:.1} s; everything is in {}",
        finished.metrics["timing"]["rows_per_second"].as_f64().unwrap_or(0.0),
        finished.manifest.durations.train_seconds,
        folder.display()
    );
    Ok(ui.answer(&text, &json!({ "run": folder, "metrics": finished.metrics, "alarms": finished.manifest.alarms }))?)
}

/// `runs/<funnel>/<time>-<id>`.
fn default_folder(spec: &Spec) -> PathBuf {
    let now = jiff::Zoned::now();
    let id = u64::try_from(now.timestamp().as_nanosecond() & 0xffff).unwrap_or(0) ^ u64::from(std::process::id() & 0xffff);
    Path::new(RUNS).join(&spec.funnel.name).join(format!("{}-{id:04x}", now.strftime("%Y%m%d-%H%M%S")))
}

/// Takes away the folder of a run that never began.
fn discard_empty(folder: &RunFolder) {
    // Only empty folders go: `remove_dir` refuses others.
    let _ = std::fs::remove_dir(folder.checkpoints());
    let _ = std::fs::remove_dir(&folder.path);
}
