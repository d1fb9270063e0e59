//! `calibrate`: correct the probabilities of a finished run, stage by stage, and say what that did to rows it was not fitted on.

use super::{RUNS, encoding, preparing, store_dir};
use crate::cli::Global;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, count, table};
use anyhow::{Result, bail};
use esmm_funnel_core::calibration::{Calibration, Method};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use esmm_funnel_core::metrics::Evaluation;
use esmm_funnel_core::run::{RunFolder, card, find_run, names};
use esmm_funnel_core::score::{CalibrateOptions, Calibrated, Scorer};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or `@last`.
    pub run: String,
    /// Fit on all rows of these files instead of the valid part; they need labels.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// What is fitted to each stage's conditional logit.
    #[arg(long, value_enum, default_value_t = MethodName::Platt)]
    pub method: MethodName,
    /// Fit only these stages; the others keep the correction they have [default: every stage].
    #[arg(long = "stage", value_name = "NAME", num_args = 1..)]
    pub stages: Vec<String>,
    /// The rows hold only this share of the negatives of a stage, drawn at random, e.g. `click=0.1`: predictions are put back to the rate of all rows.
    #[arg(long = "keep-rate", value_name = "STAGE=R")]
    pub keep_rates: Vec<String>,
}

/// Methods, as the command line names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MethodName {
    /// `a·z + b`, by maximum likelihood with Platt's smoothed targets.
    Platt,
    /// A rising curve, by isotonic regression; wants a thousand positives.
    Isotonic,
    /// `z / T`.
    Temperature,
    /// Nothing: takes a calibration away, or leaves `--keep-rate` alone.
    None,
}
impl MethodName {
    fn method(self) -> Method {
        match self {
            Self::Platt => Method::Platt,
            Self::Isotonic => Method::Isotonic,
            Self::Temperature => Method::Temperature,
            Self::None => Method::None,
        }
    }
}

pub fn run(args: &Args, global: &Global, ui: &Ui) -> Result<Exit> {
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let method = args.method.method();
    if method == Method::None && args.stages.is_empty() && args.keep_rates.is_empty() {
        return remove(&folder, ui);
    }
    let mut scorer = Scorer::open_uncalibrated(&folder, &cpu())?;
    let known: Vec<&str> = scorer.graph.nodes.iter().map(|n| n.name.as_str()).collect();
    let stages = chosen(&args.stages, &known)?;
    let keep_rates = keep_rates(&args.keep_rates, &known, &stages)?;
    if !stages.iter().all(|s| *s) {
        scorer.calibration = Calibration::load(&folder, &scorer.graph, &scorer.checkpoint)?;
    }
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let scoring = RowProgress::new(ui, "scoring");
    let prepare = preparing(&store, global, &progress);
    let files = (!args.data.is_empty()).then_some(args.data.as_slice());
    let options = CalibrateOptions { method, stages, keep_rates, files, progress: &|rows| scoring.show(rows, "") };
    let calibrated = scorer.calibrate(&options, &prepare)?;
    drop(options);
    drop(scoring);
    for warning in &calibrated.warnings {
        ui.story(&format!("warning: {warning}"));
    }
    if calibrated.calibration.stages.is_empty() {
        return remove(&folder, ui);
    }
    calibrated.calibration.save(&folder)?;
    card::write(&folder)?;
    let value = json!({ "run": folder.path, "calibration": calibrated.calibration, "warnings": calibrated.warnings });
    let names: Vec<&str> = scorer.graph.nodes.iter().map(|n| n.name.as_str()).collect();
    ui.answer(&text(&calibrated, &names, &folder), &value)?;
    Ok(Exit::Done)
}

fn remove(folder: &RunFolder, ui: &Ui) -> Result<Exit> {
    let path = folder.file(names::CALIBRATION);
    let removed = Calibration::remove(folder)?;
    if folder.file(names::CARD).exists() {
        card::write(folder)?;
    }
    let text =
        if removed { format!("removed {}", path.display()) } else { format!("the run `{}` has no calibration", folder.path.display()) };
    ui.answer(&text, &json!({ "run": folder.path, "calibration": null, "removed": removed }))?;
    Ok(Exit::Done)
}

/// The place of a stage's name.
fn find(option: &str, name: &str, known: &[&str]) -> Result<usize> {
    if let Some(at) = known.iter().position(|k| *k == name) {
        return Ok(at);
    }
    let hint = did_you_mean(name, known).map(|h| format!("; {h}")).unwrap_or_default();
    bail!("`{option}`: no stage `{name}`{hint}; there are: {}", known.join(", "))
}

/// Per stage, whether it is asked for.
fn chosen(asked: &[String], known: &[&str]) -> Result<Vec<bool>> {
    let mut chosen = vec![asked.is_empty(); known.len()];
    for name in asked {
        chosen[find(&format!("--stage {name}"), name, known)?] = true;
    }
    Ok(chosen)
}

/// Parses `STAGE=R`.
fn keep_rates(texts: &[String], known: &[&str], stages: &[bool]) -> Result<Vec<Option<f64>>> {
    let mut rates = vec![None; known.len()];
    for text in texts {
        let option = format!("--keep-rate {text}");
        let Some((name, rate)) = text.split_once('=') else { bail!("`{option}`: expected `STAGE=R`, e.g. `{}=0.1`", known[0]) };
        let stage = find(&option, name.trim(), known)?;
        let Some(rate) = rate.trim().parse().ok().filter(|r: &f64| *r > 0.0 && *r <= 1.0) else {
            bail!("`{option}`: a rate is above 0 and at most 1, and `{}` is not", rate.trim())
        };
        if !stages[stage] {
            bail!("`{option}`: stage `{}` is not among those of `--stage`", known[stage]);
        }
        if rates[stage].replace(rate).is_some() {
            bail!("`{option}`: stage `{}` has two rates", known[stage]);
        }
    }
    Ok(rates)
}

/// `stages`: in the order of the funnel.
fn text(calibrated: &Calibrated, stages: &[&str], folder: &RunFolder) -> String {
    let calibration = &calibrated.calibration;
    let rows: Vec<Vec<String>> = stages
        .iter()
        .filter_map(|name| calibration.stages.get(*name).map(|stage| (*name, stage)))
        .map(|(name, stage)| {
            let (on, rows, positives) = match &stage.fitted_on {
                Some(on) => (on.data.join(", "), count(on.rows), count(on.positives)),
                None => ("—".into(), "—".into(), "—".into()),
            };
            let kept = stage.keep_rate.map_or_else(|| "—".into(), |r| format!("{r}"));
            vec![name.to_owned(), stage.map.method().name().into(), stage.map.to_string(), kept, on, rows, positives]
        })
        .collect();
    let mut text = table(&["stage", "method", "corrected z", "keep rate", "fitted on", "rows", "positives"], &rows);
    if let (Some((before, after)), Some(checked)) = (&calibrated.checked, &calibration.checked) {
        text += &format!("\nbefore → after, on {}\n{}", checked.on, comparison(before, after));
        text += "(a correction keeps the order of rows, so the AUC of a conditional head stays; that of a product of heads can move)\n";
        if calibration.stages.values().any(|s| s.keep_rate.is_some()) {
            text += "(in these metrics a kept negative counts for all that it stands for)\n";
        }
    }
    text + &format!("wrote {}; `eval` and `predict` use it, `--uncalibrated` leaves it out", folder.file(names::CALIBRATION).display())
}

/// One row per stage and space.
fn comparison(before: &Evaluation, after: &Evaluation) -> String {
    let number = |v: Option<f64>, digits: usize| v.map_or_else(|| "—".into(), |v| format!("{v:.digits$}"));
    let pair = |a: Option<f64>, b: Option<f64>, digits| format!("{} → {}", number(a, digits), number(b, digits));
    let rows: Vec<Vec<String>> = before
        .summaries()
        .zip(after.summaries())
        .filter(|((_, space, _), _)| *space != "entire")
        .map(|((stage, space, a), (_, _, b))| {
            vec![
                stage.to_owned(),
                space.to_owned(),
                count(a.rows),
                count(a.positives),
                pair(a.pcoc, b.pcoc, 3),
                pair(a.ece, b.ece, 5),
                pair(a.logloss, b.logloss, 5),
                pair(a.auc, b.auc, 4),
            ]
        })
        .collect();
    table(&["stage", "space", "rows", "positives", "pcoc", "ece", "log loss", "auc"], &rows)
}
