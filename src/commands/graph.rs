//! `graph`: the funnel as a picture, with the rates of its data where they are there.

use super::{encoding, load, load_spec, session, store_dir};
use crate::STOP;
use crate::cli::{Drawing, Global, GraphArgs};
use crate::ui::{Exit, Ui, chain};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::data::{Dataset, Part};
use esmm_funnel_core::device::{self, DeviceChoice};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::graph::draw::{self, Counts};
use esmm_funnel_core::run::replace_file;
use esmm_funnel_core::spec::Spec;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

pub fn run(args: &GraphArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    if let Some(out) = args.out.as_deref().filter(|out| out.exists()) {
        bail!("`{}` exists, and drawings never overwrite; remove it or name another file", out.display());
    }
    let (spec, _) = load_spec(&args.spec.spec, &args.spec.set, None, ui)?;
    let graph = Graph::of(&spec);
    let counts = if args.no_rates { None } else { counts(&spec, &graph, global, ui)? };
    let counts = counts.as_ref();
    let drawing = match args.drawing.unwrap_or_else(|| kind_of(args.out.as_deref())) {
        Drawing::Text => draw::text(&graph, counts),
        Drawing::Mermaid => draw::mermaid(&graph, counts),
        Drawing::Svg => draw::svg(&graph, counts),
    };
    let value = value(&spec, &graph, counts, &drawing);
    if let Some(out) = &args.out {
        replace_file(out, |file| Ok(file.write_all(drawing.as_bytes())?)).with_context(|| format!("writing `{}`", out.display()))?;
        ui.answer(&format!("the funnel is in {}", out.display()), &value)?;
    } else {
        ui.answer(&drawing, &value)?;
    }
    Ok(Exit::Done)
}

/// By what a file's name ends in.
fn kind_of(out: Option<&Path>) -> Drawing {
    match out.and_then(Path::extension).and_then(|e| e.to_str()) {
        Some("svg") => Drawing::Svg,
        Some("mmd" | "mermaid") => Drawing::Mermaid,
        _ => Drawing::Text,
    }
}

/// Counts over all parts; without data nothing, and the reason on stderr.
fn counts(spec: &Spec, graph: &Graph, global: &Global, ui: &Ui) -> Result<Option<Counts>> {
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    match load(spec, &session(device::choose(DeviceChoice::Cpu)?, &store, global, &progress), ui) {
        Ok((data, _)) => Ok(Some(sum(&data.dataset, graph))),
        Err(error) if STOP.load(std::sync::atomic::Ordering::Relaxed) => Err(error),
        Err(error) => {
            ui.story(&format!("drawn without rates, as the data cannot be read: {}", chain(&error)));
            Ok(None)
        }
    }
}

fn sum(dataset: &Dataset, graph: &Graph) -> Counts {
    let mut sum = Counts { rows: 0, space: vec![0; graph.len()], reached: vec![0; graph.len()] };
    for part in Part::ALL {
        let counts = dataset.counts(part);
        sum.rows += counts.rows;
        for stage in 0..graph.len() {
            sum.space[stage] += counts.space_rows[stage];
            sum.reached[stage] += counts.space_positives[stage];
        }
    }
    sum
}

#[allow(clippy::cast_precision_loss)]
fn value(spec: &Spec, graph: &Graph, counts: Option<&Counts>, drawing: &str) -> Value {
    let rate = |n: u64, of: u64| (of > 0).then(|| n as f64 / of as f64);
    let name = |stage: Option<usize>| stage.map(|s| graph.nodes[s].name.clone());
    let stages: Vec<Value> = (0..graph.len())
        .map(|s| {
            let node = &graph.nodes[s];
            json!({
                "name": node.name, "label": node.label, "parent": name(node.parent), "unless": name(node.unless),
                "rows": counts.map(|c| c.space[s]), "reached": counts.map(|c| c.reached[s]),
                "rate": counts.and_then(|c| rate(c.reached[s], c.space[s])),
            })
        })
        .collect();
    let outcomes: Vec<Value> = (graph.len()..graph.targets.len())
        .map(|t| {
            let target = &graph.targets[t];
            json!({
                "name": target.name,
                "any_of": target.stages.iter().map(|&s| graph.nodes[s].name.as_str()).collect::<Vec<_>>(),
                "reached": counts.map(|c| c.of(graph, t)), "rate": counts.and_then(|c| rate(c.of(graph, t), c.rows)),
            })
        })
        .collect();
    json!({
        "funnel": spec.funnel.name, "row": graph.row, "rows": counts.map(|c| c.rows), "stages": stages, "outcomes": outcomes, "drawing": drawing,
    })
}
