//! What a sweep shows: a table of figures, and how each method differs from the first, as text, Markdown and JSON.

use super::axis::{self, Point};
use super::plan::{Method, Plan};
use super::rows;
use super::runs::Tested;
use super::search::{Choice, at};
use crate::commands::compare::words::{markdown_table, p_value};
use crate::ui::{count, table};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::metrics::{SpaceComparison, paired};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Published figures to show beside one's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Whose they are, and on what data.
    title: String,
    /// What each figure is called there: `{"purchase.conditional.auc": "CVR"}`.
    figures: BTreeMap<String, String>,
    /// Per method, per figure: mean and standard deviation, in points (AUC × 100).
    methods: BTreeMap<String, BTreeMap<String, [f64; 2]>>,
}
impl Beside {
    /// The published mean of a method's figure, in points.
    pub fn mean(&self, method: &str, figure: &str) -> Option<f64> {
        Some(self.methods.get(method)?.get(figure)?[0])
    }
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
        let beside: Self = serde_json::from_str(&text).with_context(|| format!("`--beside {}`", path.display()))?;
        for (method, figures) in &beside.methods {
            if let Some(unknown) = figures.keys().find(|f| !beside.figures.contains_key(*f)) {
                bail!("`--beside {}`: `{method}` has the figure `{unknown}`, which `figures` gives no name", path.display());
            }
        }
        Ok(beside)
    }
}

pub struct Report {
    pub text: String,
    pub markdown: String,
    pub json: Value,
}

/// One column of the table: a metric on test.
pub struct Figure {
    /// `purchase.conditional.auc`.
    pub path: String,
    /// `purchase conditional`.
    pub title: String,
    /// Compared with the first method: what is about more than the first stages.
    pub compared: bool,
}

/// What a sweep found.
pub struct Found<'a> {
    pub plan: &'a Plan,
    pub choices: &'a [Choice],
    /// Per method, per seed.
    pub tested: &'a [Vec<Tested>],
    /// Points of the axis.
    pub points: &'a [Point],
    /// Each method against the first on resampled rows.
    pub resampled: Option<&'a [SpaceComparison]>,
    pub figures: Vec<Figure>,
}

impl Report {
    pub fn of(found: &Found<'_>, beside: Option<&Beside>, seconds: f64) -> Self {
        let Found { plan, tested, .. } = found;
        let tables = tables(found, beside);
        let (lead, notes) = (lead(plan, tested), notes(found, beside));
        let mut text = format!("{lead}\n\n");
        let mut markdown = text.clone();
        for (i, (title, table)) in tables.iter().enumerate() {
            let gap = if i > 0 { "\n" } else { "" };
            let title = if title.is_empty() { String::new() } else { format!("{title}\n\n") };
            text += &format!("{gap}{title}{}", as_text(table));
            markdown += &format!("{gap}{title}{}", as_markdown(table));
        }
        text += &format!("\n{}\n", notes.join("\n"));
        markdown += &format!("\n{}\n", notes.iter().map(|n| format!("- {n}")).collect::<Vec<_>>().join("\n"));
        Self { text, markdown, json: as_json(found, beside, seconds) }
    }
}

/// The tables with their titles; the main one has none.
pub fn tables(found: &Found<'_>, beside: Option<&Beside>) -> Vec<(String, Table)> {
    let Found { plan, choices, tested, points, resampled, figures } = found;
    let mut tables = vec![(String::new(), main_table(plan, choices, tested, figures, beside))];
    let first = &plan.methods[0].name;
    if let Some(differences) = differences(plan, tested, figures) {
        tables.push((format!("Against `{first}`, in points; p of a paired t test over seeds:"), differences));
        if let (Some(bootstrap), Some(spaces)) = (&plan.bootstrap, resampled) {
            tables.push(rows::table(plan, bootstrap, spaces, figures));
        }
    }
    if let Some(axis) = &plan.axis {
        let along = |f: &Figure| (format!("{} along `{}`:", f.title, axis.key), axis::table(plan, points, f));
        tables.extend(figures.iter().map(along));
    }
    tables
}

/// What the columns are, of what was found.
pub fn figures(plan: &Plan, tested: &[Vec<Tested>]) -> Vec<Figure> {
    let spec = &plan.methods[0].spec;
    let first_row = spec.funnel.row.as_str();
    let mut figures = Vec::new();
    let mut add = |target: &str, space: &str, compared: bool| {
        let there = tested.iter().flatten().any(|t| t.test.get(target).is_some_and(|s| s.get(space).is_some()));
        if there {
            figures.push(Figure { path: format!("{target}.{space}.auc"), title: format!("{target} {space}"), compared });
        }
    };
    for stage in &spec.stages {
        if matches!(&stage.after, esmm_funnel_core::spec::After::Stage(after) if after == first_row) {
            add(&stage.name, "full", false);
        } else {
            for space in ["conditional", "shared", "full", "entire"] {
                add(&stage.name, space, true);
            }
        }
    }
    for outcome in &spec.outcomes {
        add(&outcome.name, "full", true);
    }
    figures
}

/// A header and rows.
pub struct Table(pub Vec<String>, pub Vec<Vec<String>>);

fn main_table(plan: &Plan, choices: &[Choice], tested: &[Vec<Tested>], figures: &[Figure], beside: Option<&Beside>) -> Table {
    let mut header = vec!["method".to_owned()];
    header.extend(figures.iter().map(|f| f.title.clone()));
    header.extend(beside.iter().flat_map(|b| b.figures.values().map(|name| format!("{name} *"))));
    let rows = plan.methods.iter().zip(choices).zip(tested).map(|((method, choice), tested)| {
        let mut row = vec![name_of(method, choice)];
        row.extend(figures.iter().map(|f| spread(&values(tested, &f.path))));
        for path in beside.iter().flat_map(|b| b.figures.keys()) {
            let published = beside.and_then(|b| b.methods.get(&method.name)?.get(path));
            row.push(published.map_or_else(|| "—".into(), |[mean, std]| format!("{mean:.2} ± {std:.2}")));
        }
        row
    });
    Table(header, rows.collect())
}

/// `aman` or, where a setting was chosen, `aman (0.5)`.
fn name_of(method: &Method, choice: &Choice) -> String {
    choice.chosen.as_ref().map_or_else(|| method.name.clone(), |value| format!("{} ({value})", method.name))
}

/// Values over the seeds where a figure is defined.
pub fn values(tested: &[Tested], path: &str) -> Vec<f64> {
    tested.iter().filter_map(|t| at(&t.test, path)).collect()
}

pub fn mean_std(values: &[f64]) -> (Option<f64>, Option<f64>) {
    let n = values.len() as f64;
    let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n);
    let std = mean.filter(|_| values.len() > 1).map(|m| (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
    (mean, std)
}

/// `66.00 ± 0.37`, in points.
pub fn spread(values: &[f64]) -> String {
    match mean_std(values) {
        (Some(mean), Some(std)) => format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * std),
        (Some(mean), None) => format!("{:.2}", 100.0 * mean),
        _ => "—".into(),
    }
}

/// Differences to the first method of the seeds where both have a figure.
pub fn against_first(tested: &[Vec<Tested>], method: usize, path: &str) -> Vec<f64> {
    let pairs = tested[method].iter().zip(&tested[0]);
    pairs.filter_map(|(own, first)| Some(at(&own.test, path)? - at(&first.test, path)?)).collect()
}

fn differences(plan: &Plan, tested: &[Vec<Tested>], figures: &[Figure]) -> Option<Table> {
    let compared: Vec<&Figure> = figures.iter().filter(|f| f.compared).collect();
    if plan.methods.len() < 2 || compared.is_empty() {
        return None;
    }
    let cell = |method: usize, figure: &Figure| {
        let differences = against_first(tested, method, &figure.path);
        let Some(mean) = mean_std(&differences).0 else { return "—".to_owned() };
        let p = paired(&differences).map_or_else(String::new, |test| format!(" (p {})", p_value(test.p)));
        format!("{:+.2}{p}", 100.0 * mean)
    };
    let header = std::iter::once("method".to_owned()).chain(compared.iter().map(|f| f.title.clone()));
    let row = |m: usize| std::iter::once(plan.methods[m].name.clone()).chain(compared.iter().map(|f| cell(m, f))).collect();
    Some(Table(header.collect(), (1..plan.methods.len()).map(row).collect()))
}

pub fn lead(plan: &Plan, tested: &[Vec<Tested>]) -> String {
    let [train, valid, test] = tested[0].first().map_or([0; 3], |t| t.rows);
    let seeds: Vec<String> = plan.seeds().map(|s| s.to_string()).collect();
    format!(
        "AUC × 100 on test, mean ± standard deviation over {} ({}); {} train, {} valid and {} test rows.",
        crate::ui::plural(u64::from(plan.repeat), "seed"),
        seeds.join(", "),
        count(train),
        count(valid),
        count(test)
    )
}

pub fn notes(found: &Found<'_>, beside: Option<&Beside>) -> Vec<String> {
    let Found { plan, choices, resampled, .. } = found;
    let first = &plan.methods[0];
    let mut notes = vec![
        "conditional: rows whose parent was reached, the tower alone. full: all rows, the method's own probabilities.".to_owned(),
        format!(
            "shared: all rows, each method's conditional probability times what `{}` predicts for the stages before, so that methods differ in \
             the one stage alone.",
            first.name
        ),
        "entire: all rows, the tower alone, against the outcome each row would have had; only where the truth is known.".to_owned(),
        "p: over seeds, so it measures training noise alone, on one split of one data set.".to_owned(),
    ];
    if !first.spec.embedding.per_stage {
        notes.push(format!(
            "`{}` shares its tables between stages (`embedding.per_stage = false`): what is shared was not trained separately.",
            first.name
        ));
    }
    for (method, choice) in plan.methods.iter().zip(*choices) {
        let (Some(search), Some(chosen)) = (&method.search, &choice.chosen) else { continue };
        let tried = choice.candidates.iter().map(|(v, found)| format!("{v}: {}", found.map_or_else(|| "—".into(), |f| format!("{f:.4}"))));
        notes.push(format!(
            "{}: `{}` = {chosen}, the best by `{}` on valid with seed {} ({}).",
            method.name,
            search.key,
            plan.search_by,
            plan.first_seed,
            tried.collect::<Vec<_>>().join(", ")
        ));
    }
    notes.extend(resampled.filter(|_| plan.methods.len() > 1).map(|spaces| rows::note(plan, spaces)));
    if let Some(axis) = plan.axis.as_ref().filter(|a| a.key == axis::DATA_SHARE) {
        notes.push(format!(
            "{}: the share of the training rows that is trained on, drawn row by row and anew with each seed; a smaller share is a part of a larger one. \
             Valid and test are the same rows for all; ids, base rates and scales are those of the share.",
            axis.key
        ));
    }
    notes.extend(beside.map(|b| format!("*: {}", b.title)));
    notes
}

fn as_text(Table(header, rows): &Table) -> String {
    table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

fn as_markdown(Table(header, rows): &Table) -> String {
    markdown_table(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

fn as_json(found: &Found<'_>, beside: Option<&Beside>, seconds: f64) -> Value {
    let Found { plan, choices, tested, points, resampled, figures } = found;
    let [train, valid, test] = tested[0].first().map_or([0; 3], |t| t.rows);
    let methods = plan.methods.iter().zip(*choices).enumerate().map(|(m, (method, choice))| {
        let (mut spreads, mut against) = (Map::new(), Map::new());
        for figure in figures {
            spreads.insert(figure.path.clone(), values_json(&values(&tested[m], &figure.path)));
            if m > 0 {
                against.insert(figure.path.clone(), difference_json(&against_first(tested, m, &figure.path)));
            }
        }
        let runs = tested[m].iter().map(|t| {
            let found: Map<String, Value> = figures.iter().map(|f| (f.path.clone(), json!(at(&t.test, &f.path)))).collect();
            json!({ "seed": t.seed, "run": t.run, "train_seconds": t.train_seconds, "figures": found })
        });
        json!({
            "name": method.name, "spec": method.path, "search": search_json(plan, method, choice), "figures": spreads,
            "against_first": if m > 0 { Value::Object(against) } else { Value::Null },
            "against_first_on_resamples": resampled.filter(|_| m > 0).map(|spaces| rows::as_json(spaces, m, figures)), "runs": runs.collect::<Vec<_>>(),
        })
    });
    json!({
        "funnel": plan.methods[0].spec.funnel.name,
        "seeds": plan.seeds().collect::<Vec<_>>(),
        "rows": { "train": train, "valid": valid, "test": test },
        "first": plan.methods[0].name,
        "methods": methods.collect::<Vec<_>>(),
        "beside": beside.map(|b| json!({ "title": b.title, "figures": b.figures, "methods": b.methods })),
        "bootstrap": plan.bootstrap.as_ref().map(|b| json!({ "replicates": b.replicates, "by": b.by, "seed": rows::Bootstrap::SEED })),
        "axis": axis::as_json(plan, points, figures),
        "p_is_over": "seeds: training noise alone, on one split of one data set",
        "seconds": seconds,
    })
}

/// `{mean, std, n}`.
pub fn values_json(values: &[f64]) -> Value {
    let (mean, std) = mean_std(values);
    json!({ "mean": mean, "std": std, "n": values.len() })
}

fn difference_json(differences: &[f64]) -> Value {
    let (mean, std) = mean_std(differences);
    let test = paired(differences);
    json!({ "mean": mean, "std": std, "n": differences.len(), "t": test.map(|t| t.t), "p": test.map(|t| t.p) })
}

fn search_json(plan: &Plan, method: &Method, choice: &Choice) -> Value {
    let Some(search) = &method.search else { return Value::Null };
    let candidates = choice.candidates.iter().map(|(value, found)| json!({ "value": value, "valid": found }));
    json!({
        "key": search.key, "by": plan.search_by, "seed": plan.first_seed, "chosen": choice.chosen,
        "candidates": candidates.collect::<Vec<_>>(),
    })
}
