//! `compare`: finished runs on the same rows, with intervals, and in words which differences are real.
//!
//! Two numbers of two runs differ always. Whether they would on other rows of the same kind, and with other seeds, is what is asked before a model goes
//! live; so a difference stands here with an interval, is held against all others that are looked at, and can fail a pipeline.

mod gate;
mod page;
pub mod resamples;
pub mod sides;
pub mod words;

use super::store_dir;
use crate::cli::Global;
use crate::ui::{Exit, Ui};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::metrics::{SpaceComparison, compare};
use esmm_funnel_core::run::replace_file;
use gate::Gate;
use serde_json::{Value, json};
use sides::{Rows, Side};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folders, `@last`, or folders of runs with several seeds (of `run --repeat`, or a method's of `sweep`). The others are compared with the first.
    #[arg(required = true, num_args = 2..)]
    pub runs: Vec<String>,
    /// Score all rows of these files, which need labels, instead of the test part that the runs have in common.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Draw the rows that share a value of this column (a user, say) together: rows of one user are alike, and count for less than they number.
    #[arg(long, value_name = "COLUMN")]
    pub by: Option<String>,
    /// Resamples of the rows.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub replicates: u32,
    /// Seed of the resamples.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Exit with 1 if another run is worse than the first by more than a margin [default: 0], and that is no chance: its whole 95 % interval over
    /// rows is beyond, e.g. `purchase.full.auc:0.002`.
    #[arg(long = "fail-if-worse", value_name = "METRIC[:MARGIN]")]
    pub fail_if_worse: Vec<String>,
    /// Write compare.md, compare.json and compare.html into this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What a comparison came to.
pub struct Compared {
    pub sides: Vec<Side>,
    pub rows: Rows,
    pub spaces: Vec<SpaceComparison>,
    pub replicates: u32,
    pub seed: u64,
}

pub fn run(args: &Args, global: &Global, ui: &Ui) -> Result<Exit> {
    let gates = args.fail_if_worse.iter().map(|text| Gate::parse(text)).collect::<Result<Vec<_>>>()?;
    if let Some(out) = args.out.as_deref().filter(|out| out.is_file()) {
        bail!("`{}` is a file; `--out` names a folder", out.display());
    }
    let mut sides = sides::open(&args.runs)?;
    sides::agree(&sides, args.data.is_empty())?;
    gates.iter().try_for_each(|gate| gate.check(&sides))?;
    let store = store_dir(global);
    let Some(measured) = sides::measure(&mut sides, args, &store, global, ui)? else {
        ui.story("interrupted; nothing was written");
        return Ok(Exit::Interrupted);
    };
    let spaces = compare(&measured.contestants, &measured.labels);
    let compared = Compared { sides, rows: measured.rows, spaces, replicates: args.replicates, seed: args.seed };
    let judged: Vec<(String, bool)> = gates.iter().map(|gate| gate.judge(&compared)).collect::<Result<Vec<_>>>()?.concat();
    let text = words::text(&compared, &judged);
    let json = as_json(&compared, args, &judged);
    if let Some(out) = &args.out {
        write(out, &compared, &judged, &json)?;
    }
    let text = match &args.out {
        Some(out) => format!("{}\nwritten to {}/compare.md, .json and .html", text.trim_end(), out.display()),
        None => text,
    };
    ui.answer(&text, &json)?;
    for (what, _) in judged.iter().filter(|(_, failed)| *failed) {
        ui.story(&format!("gate failed: {what}"));
    }
    Ok(if judged.iter().any(|(_, failed)| *failed) { Exit::GateFailed } else { Exit::Done })
}

fn write(out: &Path, compared: &Compared, judged: &[(String, bool)], json: &Value) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("making the folder `{}`", out.display()))?;
    let put = |name: &str, text: &str| replace_file(&out.join(name), |w| Ok(w.write_all(text.as_bytes())?));
    put("compare.md", &words::markdown(compared, judged))?;
    put("compare.html", &page::html(compared, judged))?;
    replace_file(&out.join("compare.json"), |w| Ok(serde_json::to_writer_pretty(w, json)?))
}

fn as_json(compared: &Compared, args: &Args, judged: &[(String, bool)]) -> Value {
    let Compared { sides, rows, spaces, .. } = compared;
    let runs = sides.iter().map(|side| {
        let folders: Vec<&Path> = side.runs.iter().map(|r| r.folder.path.as_path()).collect();
        json!({ "name": side.name, "folders": folders, "seeds": side.runs.iter().map(|r| r.seed).collect::<Vec<_>>() })
    });
    json!({
        "first": sides[0].name,
        "runs": runs.collect::<Vec<_>>(),
        "data": if args.data.is_empty() { Value::Null } else { json!(args.data) },
        "rows": rows.count,
        "drawn": { "by": args.by, "units": rows.units, "replicates": args.replicates, "seed": args.seed },
        "spaces": spaces.iter().map(|s| words::space_json(s, sides)).collect::<Vec<_>>(),
        "gates": judged.iter().map(|(what, failed)| json!({ "gate": what, "failed": failed })).collect::<Vec<_>>(),
        "notes": words::notes(compared),
    })
}
