//! `check`: parse, plugins, graph, data; what each stage means; what the run will cost.

use super::{encoding, load, load_spec, session, store_dir};
use crate::cli::{CheckArgs, Global};
use crate::ui::{Exit, Ui, bytes, count, plural, table};
use anyhow::Result;
use esmm_funnel_core::data::{Decision, Part};
use esmm_funnel_core::device::{self, DeviceChoice};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::graph::words;
use esmm_funnel_core::model::{Model, ModelPlan};
use esmm_funnel_core::plugin::LossWords;
use esmm_funnel_core::spec::{FeatureKind, Spec};
use esmm_funnel_core::train::Fit;
use esmm_funnel_core::train::session::LoadedData;
use serde_json::{Value, json};

pub fn run(args: &CheckArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    let (mut texts, mut values, mut warnings) = (Vec::new(), Vec::new(), 0);
    let mut failed = None;
    for path in &args.specs {
        let one = || -> Result<(String, Value, usize)> {
            let (spec, warned) = load_spec(path, &args.set, None, ui)?;
            ui.story(&format!("{}: parse ✓ plugins ✓ graph ✓", path.display()));
            let device = device::choose(DeviceChoice::Cpu)?;
            let store = store_dir(global);
            let encoding = encoding(ui);
            let progress = |p| encoding.prepare(p);
            let (data, lint) = load(&spec, &session(device, &store, global, &progress), ui)?;
            ui.story(&format!("{}: data ✓", path.display()));
            let (text, value) = describe(&spec, &data)?;
            Ok((text, value, warned + lint))
        };
        match one() {
            Ok((text, value, n)) => {
                warnings += n;
                texts.push(text);
                values.push(value);
            }
            Err(error) => {
                // All specs are checked; the last failure decides how the command ends.
                if let Some(earlier) = failed.replace(error) {
                    ui.failure(&earlier);
                }
            }
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let value = if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
    ui.answer(&texts.join("\n"), &value)?;
    Ok(if args.deny_warnings && warnings > 0 { Exit::GateFailed } else { Exit::Done })
}

/// What a spec means and costs, as text and as JSON.
pub fn describe(spec: &Spec, data: &LoadedData) -> Result<(String, Value)> {
    let graph = &data.graph;
    let losses = Model::losses(spec, graph)?;
    let mut text = format!("funnel {}: {}\n", spec.funnel.name, chain(graph));
    let mut stages = Vec::new();
    for target in words::describe(graph) {
        let losses: Vec<&LossWords> = losses.iter().filter(|l| l.target == target.name).collect();
        text += &stage_text(&target, &losses);
        stages.push(json!({
            "name": target.name,
            "outcome": target.is_outcome,
            "rows": target.space,
            "label": target.label,
            "losses": losses.iter().map(|l| json!({ "words": l.words, "equation": l.equation })).collect::<Vec<_>>(),
            "prediction": target.equation,
            "columns": target.columns,
        }));
    }
    text += &format!("\n{}", parts_text(data));
    for inferred in &data.prepared.inferred {
        text += &format!("\ninferred {}: {} ({})", inferred.column, decision(inferred.decision), inferred.reason);
    }
    if !data.prepared.inferred.is_empty() {
        text.push('\n');
    }
    let cost = cost(spec, data)?;
    text += &format!(
        "\n{} table rows × {} = {} of weights + {} of optimiser state; about {} of memory at the peak; {} of {} rows",
        count(cost.plan.table_rows as u64),
        spec.embedding.dim,
        bytes(cost.plan.table_bytes as u64),
        bytes(cost.plan.state_bytes as u64),
        bytes(cost.peak),
        plural(cost.steps, "step"),
        count(spec.train.batch_rows.get() as u64),
    );
    let value = json!({
        "funnel": spec.funnel.name,
        "stages": stages,
        "parts": data.parts(),
        "inferred": data.prepared.inferred.iter().map(|i| json!({ "column": i.column, "decision": decision(i.decision), "reason": i.reason })).collect::<Vec<_>>(),
        "cost": {
            "table_rows": cost.plan.table_rows, "table_bytes": cost.plan.table_bytes, "state_bytes": cost.plan.state_bytes,
            "peak_bytes": cost.peak, "steps": cost.steps, "batch_rows": spec.train.batch_rows,
        },
        "lint": esmm_funnel_core::diagnostic::render::json(&data.lint.diagnostics),
    });
    Ok((text, value))
}

fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::Take(FeatureKind::Id) => "id",
        Decision::Take(FeatureKind::Bag) => "bag",
        Decision::Take(FeatureKind::Sequence) => "sequence",
        Decision::Take(FeatureKind::Number) => "number",
        Decision::Take(FeatureKind::Cross) => "cross",
        Decision::Take(FeatureKind::Time) => "time",
        Decision::LeaveOut => "left out",
    }
}

fn chain(graph: &Graph) -> String {
    let is_chain = graph.nodes.iter().enumerate().all(|(i, n)| n.unless.is_none() && n.parent == i.checked_sub(1));
    if is_chain {
        return std::iter::once(graph.row.as_str()).chain(graph.nodes.iter().map(|n| n.name.as_str())).collect::<Vec<_>>().join(" → ");
    }
    let edges = graph.nodes.iter().enumerate().map(|(i, n)| format!("{} → {}", graph.given(i).replace("_unless_", " unless "), n.name));
    edges.collect::<Vec<_>>().join(", ")
}

fn stage_text(target: &words::TargetWords, losses: &[&LossWords]) -> String {
    let mut text = format!("\n{} {}\n", if target.is_outcome { "outcome" } else { "stage" }, target.name);
    text += &format!("  rows        {}\n  label       {}\n", target.space, target.label);
    for loss in losses {
        text += &format!("  loss        {}\n", loss.words);
        text.extend(loss.equation.lines().map(|line| format!("              {line}\n")));
    }
    if losses.is_empty() {
        let through = if target.is_outcome { "the stages it sums over" } else { "the outcome it belongs to" };
        text += &format!("  loss        none of its own: trained through {through}\n");
    }
    text + &format!("  prediction  {}\n  columns     {}\n", target.equation, target.columns.join(", "))
}

fn parts_text(data: &LoadedData) -> String {
    let graph = &data.graph;
    let mut header = vec!["part".to_owned(), "rows".to_owned()];
    header.extend(graph.nodes.iter().map(|n| n.name.clone()));
    let rows: Vec<Vec<String>> = Part::ALL
        .iter()
        .map(|part| {
            let counts = data.dataset.counts(*part);
            let rates = counts.space_positives.iter().enumerate().map(|(s, n)| match counts.rate(s) {
                None => count(*n),
                Some(rate) => format!("{} ({:.2} %)", count(*n), 100.0 * rate),
            });
            [part.name().to_owned(), count(counts.rows)].into_iter().chain(rates).collect()
        })
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    table(&header, &rows) + "(rates are of the rows whose parent was reached)\n"
}

struct Cost {
    plan: ModelPlan,
    peak: u64,
    steps: u64,
}
fn cost(spec: &Spec, data: &LoadedData) -> Result<Cost> {
    let plan = ModelPlan::of(spec, data.dataset.fields())?;
    let (_, steps) = Fit::steps(spec, &data.dataset);
    let peak = plan.peak_bytes(spec, data.dataset.store().rows());
    Ok(Cost { plan, peak, steps })
}
