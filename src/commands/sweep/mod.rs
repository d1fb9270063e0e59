//! `sweep`: several specs, several seeds, one table.
//!
//! Every run is a run folder, `DIR/<method>/seed-<n>`, or `DIR/<method>/<key>=<value>/seed-<n>` where a setting is searched. The command may be
//! given again at any time: what is finished is read, what was stopped goes on, what is missing is trained. A setting is chosen on valid rows
//! alone; test rows are read for the table and for nothing else. Where a setting is tried along an axis, its runs are in
//! `DIR/<method>/<key>=<value>/seed-<n>` too, but for the values that the specs have anyway.

mod axis;
mod kept;
mod page;
mod plan;
mod rows;
mod runs;
mod search;
mod table;

use super::run::choose;
use super::store_dir;
use crate::cli::{Global, SweepArgs};
use crate::ui::{Exit, Ui};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::run::replace_file;
use plan::{Method, Plan};
use runs::{Runner, Tested};
use search::Choice;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

pub fn run(args: &SweepArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    let started = Instant::now();
    let plan = Plan::of(args, ui)?;
    let beside = args.beside.as_deref().map(table::Beside::load).transpose()?;
    let device = choose(args.device, ui)?;
    let store = store_dir(global);
    std::fs::create_dir_all(&plan.out).with_context(|| format!("making the folder `{}`", plan.out.display()))?;
    let mut runner = Runner::new(&plan, device, &store, global, ui);
    let mut choices = Vec::new();
    for method in &plan.methods {
        let Some(choice) = search::choose(method, &plan, &mut runner)? else { return Ok(interrupted(ui)) };
        choices.push(choice);
    }
    let Some(tested) = test_all(&plan, &choices, None, &mut runner)? else { return Ok(interrupted(ui)) };
    let Some(points) = axis::run(&plan, &choices, &mut runner)? else { return Ok(interrupted(ui)) };
    let figures = table::figures(&plan, &tested);
    let resampled = match &plan.bootstrap {
        None => None,
        Some(bootstrap) => match rows::measure(&plan, bootstrap, &tested, &figures, &mut runner)? {
            None => return Ok(interrupted(ui)),
            found => found,
        },
    };
    let seconds = started.elapsed().as_secs_f64();
    let found = table::Found { plan: &plan, choices: &choices, tested: &tested, points: &points, resampled: resampled.as_deref(), figures };
    let report = table::Report::of(&found, beside.as_ref(), seconds);
    write(&plan.out, &report, &page::html(&found, beside.as_ref()))?;
    let text = format!("{}\nthe table is in {}/table.txt, .md, .json and .html", report.text.trim_end(), plan.out.display());
    ui.answer(&text, &report.json)?;
    Ok(Exit::Done)
}

/// Per method, per seed: what its run came to, at a point of the axis. `None`: interrupted.
fn test_all(plan: &Plan, choices: &[Choice], point: Option<&str>, runner: &mut Runner<'_>) -> Result<Option<Vec<Vec<Tested>>>> {
    let mut tested: Vec<Vec<Tested>> = plan.methods.iter().map(|_| Vec::new()).collect();
    for seed in plan.seeds() {
        for (m, (method, choice)) in plan.methods.iter().zip(choices).enumerate() {
            let Some(run) = runner.run(method, choice.chosen.as_deref(), point, seed)? else { return Ok(None) };
            let first = tested[0].last().map(|t: &Tested| t.run.clone());
            // The first method's own stages before are the shared ones.
            let first = first.filter(|_| m > 0).unwrap_or_else(|| run.folder.clone());
            let Some(shared) = runner.shared(&run, &first)? else { return Ok(None) };
            tested[m].push(Tested::of(seed, run, &shared));
        }
    }
    Ok(Some(tested))
}

fn interrupted(ui: &Ui) -> Exit {
    ui.story("the sweep was interrupted; the same command goes on with it");
    Exit::Interrupted
}

fn write(out: &Path, report: &table::Report, page: &str) -> Result<()> {
    let json: &Value = &report.json;
    let put = |name: &str, text: &str| replace_file(&out.join(name), |w| Ok(w.write_all(text.as_bytes())?));
    put("table.txt", &report.text)?;
    put("table.md", &report.markdown)?;
    put("table.html", page)?;
    replace_file(&out.join("table.json"), |w| Ok(serde_json::to_writer_pretty(w, json)?))
}

/// The specs of a sweep must agree on what is compared.
fn same_stages(first: &Method, other: &Method) -> Result<()> {
    let names = |m: &Method| m.spec.stages.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    let (a, b) = (names(first), names(other));
    if a != b {
        bail!(
            "`{}` has the stages {}, and `{}` has {}; a sweep compares specs of the same stages",
            first.path.display(),
            a.join(", "),
            other.path.display(),
            b.join(", ")
        );
    }
    Ok(())
}
