//! One file per subcommand.

pub mod calibrate;
mod check;
pub mod compare;
mod completions;
pub mod eval;
mod explain;
pub mod export;
mod graph;
pub mod importance;
mod init;
mod list;
pub mod man;
mod metrics_text;
mod new;
pub mod predict;
mod prepare;
pub mod replay;
pub mod report;
mod resume;
mod run;
mod schema;
pub mod serve;
mod sweep;
mod synth;

use crate::STOP;
use crate::cli::{Cli, Command, Global, NewCommand, SetArgs, SynthCommand};
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, plural};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::data::{PrepareOptions, PrepareProgress};
use esmm_funnel_core::device::{Chosen, cpu};
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use esmm_funnel_core::diagnostic::{Diagnostic, Severity};
use esmm_funnel_core::metrics::{Evaluation, Expectation};
use esmm_funnel_core::run::RunFolder;
use esmm_funnel_core::score::Scorer;
use esmm_funnel_core::spec::{self, Spec};
use esmm_funnel_core::train::Fit;
use esmm_funnel_core::train::session::{LoadedData, SessionOptions, load_data};
use std::path::{Path, PathBuf};

/// A run of fewer steps hardly moves from its start.
const FEW_STEPS: u64 = 50;

/// Folder of runs without `--out`.
const RUNS: &str = "runs";

pub fn dispatch(cli: Cli, ui: &Ui) -> Result<Exit> {
    let global = cli.global;
    match cli.command {
        Command::Run(args) => run::run(&args, &global, ui),
        Command::Sweep(args) => sweep::run(&args, &global, ui),
        Command::Compare(args) => compare::run(&args, &global, ui),
        Command::Resume(args) => resume::run(&args, &global, ui),
        Command::Check(args) => check::run(&args, &global, ui),
        Command::Init(args) => init::run(&args, ui),
        Command::Explain(args) => explain::run(&args, ui),
        Command::Graph(args) => graph::run(&args, &global, ui),
        Command::List(args) => list::run(&args, ui),
        Command::Schema => schema::run(),
        Command::Prepare(args) => prepare::run(&args, &global, ui),
        Command::Eval(args) => eval::run(&args, &global, ui),
        Command::Predict(args) => predict::run(&args, &global, ui),
        Command::Calibrate(args) => calibrate::run(&args, &global, ui),
        Command::Serve(args) => serve::run(&args, ui),
        Command::Replay(args) => replay::run(&args, ui),
        Command::Report(args) => report::run(&args, &global, ui),
        Command::Importance(args) => importance::run(&args, &global, ui),
        Command::Export(args) => export::run(&args, ui),
        Command::New(NewCommand::Tower(args)) => new::tower(&args, ui),
        Command::Synth(SynthCommand::Aliccp(args)) => synth::aliccp(&args, ui),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args, ui),
    }
}

/// Loads a spec and shows its warnings; gives how many. `seed` is one more `--set train.seed=…`.
fn load_spec(path: &Path, set: &SetArgs, seed: Option<u64>, ui: &Ui) -> Result<(Spec, usize)> {
    let mut sets = set.set.clone();
    sets.extend(seed.map(|seed| format!("train.seed={seed}")));
    let loaded = spec::load(path, &sets)?;
    ui.findings(&loaded.warnings);
    Ok((loaded.spec, loaded.warnings.len()))
}

/// Encodes or finds the data of a spec, with progress, and shows what the lint found; gives how many warnings.
fn load(spec: &Spec, options: &SessionOptions<'_>, ui: &Ui) -> Result<(LoadedData, usize)> {
    let data = load_data(spec, options)?;
    let mut findings = data.lint.diagnostics.clone();
    let (_, steps) = Fit::steps(spec, &data.dataset);
    if steps < FEW_STEPS {
        let few = Diagnostic::warning("few-steps", format!("training takes {} only, too few to learn much", plural(steps, "step")));
        let remedy = format!("set `train.epochs` above {} or `train.batch_rows` below {}", spec.train.epochs, spec.train.batch_rows);
        findings.push(few.at(spec.place("train.epochs"), "").help(remedy));
    }
    ui.findings(&findings);
    Ok((data, findings.iter().filter(|d| d.severity == Severity::Warning).count()))
}

/// Folder of stores.
fn store_dir(global: &Global) -> PathBuf {
    global.store.clone().unwrap_or_else(|| PathBuf::from(".esmm-store"))
}

/// Opens a finished run to score with, with its calibration or without.
fn open_scorer(folder: &RunFolder, uncalibrated: bool, ui: &Ui) -> Result<Scorer> {
    if uncalibrated {
        return Scorer::open_uncalibrated(folder, &cpu());
    }
    let scorer = Scorer::open(folder, &cpu())?;
    if let Some(calibration) = &scorer.calibration {
        let stages: Vec<&str> = calibration.stages.keys().map(String::as_str).collect();
        ui.story(&format!("calibrated: {} (`--uncalibrated` leaves that out)", stages.join(", ")));
    }
    Ok(scorer)
}

/// Options of a session on `device`.
fn session<'a>(device: Chosen, store: &'a Path, global: &Global, progress: &'a dyn Fn(PrepareProgress)) -> SessionOptions<'a> {
    SessionOptions {
        argv: std::env::args().collect(),
        device,
        store,
        show_values: global.show_values,
        verify: false,
        stop: &STOP,
        progress,
        predictions: false,
    }
}

/// How rows are prepared that a finished run scores.
fn preparing<'a>(store: &'a Path, global: &Global, progress: &'a dyn Fn(PrepareProgress)) -> PrepareOptions<'a> {
    PrepareOptions { cache_dir: store, show_values: global.show_values, verify: false, layout: None, progress, stop: &STOP }
}

/// A progress line for encoding.
fn encoding(ui: &Ui) -> RowProgress<'_> {
    RowProgress::new(ui, "encoding")
}

/// Parses `--fail-if`, each naming what is wrong with it.
fn expectations(texts: &[String]) -> Result<Vec<Expectation>> {
    texts.iter().map(|t| Expectation::parse(t).map_err(|e| anyhow::anyhow!("`--fail-if {t}`: {e}"))).collect()
}

/// Before any work: gates are about stages and outcomes that there are.
fn check_targets(expectations: &[Expectation], spec: &Spec) -> Result<()> {
    let names: Vec<&str> = spec.stages.iter().map(|s| s.name.as_str()).chain(spec.outcomes.iter().map(|o| o.name.as_str())).collect();
    match expectations.iter().find(|e| !names.contains(&e.target())) {
        None => Ok(()),
        Some(e) => {
            let hint = did_you_mean(e.target(), &names).map(|h| format!("; {h}")).unwrap_or_default();
            bail!("`--fail-if {e}`: no stage or outcome `{}`{hint}; there are: {}", e.target(), names.join(", "))
        }
    }
}

/// Evaluates the gates: 1 if one of them fails.
fn gates(expectations: &[Expectation], evaluation: Option<&Evaluation>, ui: &Ui) -> Result<Exit> {
    let mut exit = Exit::Done;
    if expectations.is_empty() {
        return Ok(exit);
    }
    let evaluation = evaluation.context("`--fail-if` needs test rows, and the test part is empty")?;
    for expectation in expectations {
        if expectation.holds(evaluation)? {
            ui.story(&format!("gate failed: {expectation}"));
            exit = Exit::GateFailed;
        }
    }
    Ok(exit)
}
