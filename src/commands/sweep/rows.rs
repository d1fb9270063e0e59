//! Row noise: each method against the first on resamples of the test rows.

use super::plan::Plan;
use super::runs::{Runner, Tested};
use super::table::{Figure, Table};
use crate::commands::compare::words::p_value;
use anyhow::Result;
use esmm_funnel_core::metrics::{Contestant, Difference, SpaceComparison, Verdict, compare};
use serde_json::{Value, json};

/// How often the test rows are drawn, and what is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    pub replicates: u32,
    /// Column whose values are drawn; `None`: rows.
    pub by: Option<String>,
}
impl Bootstrap {
    /// All sweeps draw the same resamples.
    pub const SEED: u64 = 1;

    /// What was drawn, in words.
    fn words(&self) -> String {
        let drawn = self.by.as_ref().map_or_else(|| "row by row".to_owned(), |by| format!("by `{by}`"));
        format!("{} resamples of the test rows, drawn {drawn}", self.replicates)
    }
}

/// Resamples the test rows of every run, all alike, and compares each method with the first. `None`: interrupted.
pub fn measure(
    plan: &Plan,
    bootstrap: &Bootstrap,
    tested: &[Vec<Tested>],
    figures: &[Figure],
    runner: &mut Runner<'_>,
) -> Result<Option<Vec<SpaceComparison>>> {
    let runs = tested.iter().map(Vec::len).sum();
    let (mut contestants, mut done) = (Vec::new(), 0);
    for (method, own) in plan.methods.iter().zip(tested) {
        let mut members = Vec::new();
        for (run, first) in own.iter().zip(&tested[0]) {
            let Some(member) = runner.resampled(run, first, bootstrap, figures, (done, runs))? else { return Ok(None) };
            members.push(member);
            done += 1;
        }
        contestants.push(Contestant { name: method.name.clone(), members, placements: vec![None; figures.len()] });
    }
    let spaces = contestants.first().and_then(|c| c.members.first()).map_or(0, |m| m.spaces.len());
    Ok(Some(compare(&contestants, &vec![Vec::new(); spaces])))
}

/// The AUC difference of a method (from 1) in a figure.
fn difference<'a>(spaces: &'a [SpaceComparison], method: usize, figure: &Figure) -> Option<&'a Difference> {
    let space = spaces.iter().find(|s| figure.path == format!("{}.{}.auc", s.target, s.space))?;
    space.differences.get(method - 1)?.first()
}

/// The table's title and itself.
pub fn table(plan: &Plan, bootstrap: &Bootstrap, spaces: &[SpaceComparison], figures: &[Figure]) -> (String, Table) {
    let compared: Vec<&Figure> = figures.iter().filter(|f| f.compared).collect();
    let cell = |method: usize, figure: &Figure| {
        let found = difference(spaces, method, figure).and_then(|d| Some((d, d.value?, d.low?, d.high?)));
        let Some((d, value, low, high)) = found else { return "—".to_owned() };
        let real = if matches!(d.verdict, Verdict::Better | Verdict::Worse) { ", real" } else { "" };
        let p = d.p_holm.map_or_else(String::new, |p| format!(" (p {}{real})", p_value(p)));
        format!("{:+.2} [{:+.2}, {:+.2}]{p}", 100.0 * value, 100.0 * low, 100.0 * high)
    };
    let header = std::iter::once("method".to_owned()).chain(compared.iter().map(|f| f.title.clone()));
    let row = |m: usize| std::iter::once(plan.methods[m].name.clone()).chain(compared.iter().map(|f| cell(m, f))).collect();
    let title = format!("Against `{}` on {}, in points with 95 % intervals:", plan.methods[0].name, bootstrap.words());
    (title, Table(header.collect(), (1..plan.methods.len()).map(row).collect()))
}

/// How the table is to be read.
pub fn note(plan: &Plan, spaces: &[SpaceComparison]) -> String {
    let family = spaces.len() * (plan.methods.len() - 1);
    let seeds = if plan.repeat > 1 { "the larger of the p over rows and the p over seeds" } else { "the p over rows" };
    format!(
        "Intervals: over rows, of the mean over the seeds, so they measure row noise alone: how far other test rows would have moved the same models' \
         figures. p there: {seeds}, adjusted by Holm for all {family} differences; `real`: below 0.05.{}",
        if plan.repeat == 2 { " Two seeds can hardly tell anything from training noise: give five or more." } else { "" }
    )
}

/// `{"<figure>": {value, low, high, se, p_rows, p, p_holm, verdict}}` of a method (from 1).
pub fn as_json(spaces: &[SpaceComparison], method: usize, figures: &[Figure]) -> Value {
    figures.iter().filter_map(|f| Some((f.path.clone(), json!(difference(spaces, method, f)?)))).collect()
}
