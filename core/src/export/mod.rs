//! A finished run for other programs: its weights under clear names, its network as ONNX, and a card that says everything else.
//!
//! | file | what |
//! |---|---|
//! | `card.json` | the funnel, the features in order and how raw values become table rows and numbers, what goes in and comes out |
//! | `vocabulary/<table>.parquet` | `id`, `row`: the ids that own a row of a table |
//! | `weights.safetensors` | tables, encoder, towers, biases |
//! | `model.onnx` (and `model.onnx.data`) | table rows and raw numbers in, the columns of `predict` out |
//!
//! The ONNX graph takes over where dictionaries end: an id comes in as its table row, a bag as padded rows with weights, a number as it stands
//! in the data (NaN is missing), and all transforms, pooling, networks and the composition in log space are in the graph. Before it is
//! written, it is computed on made-up rows and compared with the model. The folder is written aside and renamed: it is whole, or
//! not there.

mod card;
mod check;
mod compose;
mod inputs;
mod vocabulary;

use crate::onnx::proto::{Entry, Type};
use crate::onnx::{self, Onnx};
use crate::run::write_aside;
use crate::score::Scorer;
use anyhow::{Context, Result, bail};
use inputs::{Inputs, onnx_inputs};
use serde::Serialize;
use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Names of the files of an export.
pub mod names {
    /// What everything means.
    pub const CARD: &str = "card.json";
    /// All weights.
    pub const WEIGHTS: &str = "weights.safetensors";
    /// The network.
    pub const MODEL: &str = "model.onnx";
    /// Folder of the ids that own table rows.
    pub const VOCABULARY: &str = "vocabulary";
}

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportOptions {
    /// Write `weights.safetensors`.
    pub safetensors: bool,
    /// Write `model.onnx`.
    pub onnx: bool,
    /// With more bytes of weights than these, large ones stand in a file beside the model.
    pub inline_bytes: u64,
}
impl Default for ExportOptions {
    fn default() -> Self {
        Self { safetensors: true, onnx: true, inline_bytes: 16 << 20 }
    }
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exported {
    /// Each file's path in the folder, and its bytes.
    pub files: Vec<(String, u64)>,
    /// Of the ONNX graph: the largest difference to the model on made-up rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub largest_difference: Option<f64>,
}

impl Scorer {
    /// Writes the run's model into a new folder.
    ///
    /// # Errors
    /// A folder that is there already, a tower that does not say how it is written as ONNX, a graph that differs from the model, the file
    /// system; then there is no folder.
    pub fn export(&self, out: &Path, options: &ExportOptions, stop: &AtomicBool) -> Result<Exported> {
        refuse_existing(out)?;
        // Before anything is written: most that can go wrong goes wrong here.
        let mut graph = Onnx::new();
        let mut difference = None;
        let inputs = if options.onnx {
            let inputs = self.funnel_onnx(&mut graph)?;
            difference = Some(check::compare(self, &graph, &inputs)?);
            Some(inputs)
        } else {
            None
        };
        if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| format!("making the folder `{}`", parent.display()))?;
        }
        let mut files = Vec::new();
        let going_on = || if stop.load(Ordering::Relaxed) { Err(crate::data::Stopped) } else { Ok(()) };
        write_aside(out, |aside| {
            fs::create_dir_all(aside.join(names::VOCABULARY))?;
            for table in 0..self.preprocessor.layout().tables.len() {
                going_on()?;
                files.extend(vocabulary::write(self, table, aside)?);
            }
            if options.safetensors {
                going_on()?;
                files.push((names::WEIGHTS.into(), self.write_weights(&aside.join(names::WEIGHTS))?));
            }
            let card = card::card(self, options, inputs.as_ref(), &graph);
            if inputs.is_some() {
                going_on()?;
                let facts = vec![Entry::new("funnel", self.spec.funnel.name.clone()), Entry::new("card", names::CARD)];
                let written = onnx::write(graph, &aside.join(names::MODEL), &self.spec.funnel.name, facts, options.inline_bytes)?;
                files.push((names::MODEL.into(), written.model));
                files.extend(written.external.map(|bytes| (format!("{}.data", names::MODEL), bytes)));
            }
            let text = serde_json::to_string_pretty(&card)? + "\n";
            fs::write(aside.join(names::CARD), &text)?;
            files.insert(0, (names::CARD.into(), text.len() as u64));
            Ok(())
        })?;
        Ok(Exported { files, largest_difference: difference })
    }

    /// The whole funnel: what goes in, and the columns of `predict` as outputs.
    fn funnel_onnx<'a>(&'a self, graph: &mut Onnx<'a>) -> Result<Inputs> {
        let (inputs, groups) = onnx_inputs(graph, &self.preprocessor);
        let logits = self.model.onnx(&self.spec, graph, &groups)?;
        for (name, value) in compose::probabilities(graph, &self.graph, &logits) {
            let flat = graph.squeeze(&value, 1);
            graph.output(&name, &flat, Type::Float, &["batch"], "a probability");
        }
        Ok(inputs)
    }

    /// Writes the weights that score; gives the file's bytes.
    fn write_weights(&self, path: &Path) -> Result<u64> {
        crate::run::write_tensors(path, &self.scoring_weights()?)?;
        Ok(fs::metadata(path)?.len())
    }

    /// All weights but those of extra heads, which do not score, and of the objective.
    fn scoring_weights(&self) -> Result<crate::run::Tensors<'_>> {
        let mut tensors = self.model.tensors()?;
        tensors.retain(|(name, ..)| name != "objective" && !name.starts_with("head.") && !name.starts_with("own.head."));
        for (name, shape, values) in &mut tensors {
            if name == "bias" {
                *shape = vec![self.graph.len()];
                *values = Cow::Owned(self.model.biases[..self.graph.len()].to_vec());
            }
        }
        Ok(tensors)
    }
}

fn refuse_existing(out: &Path) -> Result<()> {
    let shown = out.display();
    if out.file_name().is_none() {
        bail!("`{shown}` is no name for a new folder; `--out` names one");
    }
    if out.is_dir() && fs::read_dir(out).with_context(|| format!("reading `{shown}`"))?.next().is_none() {
        return Ok(());
    }
    if out.exists() {
        bail!("`{shown}` exists, and an export never overwrites; remove it or name another folder with `--out`");
    }
    Ok(())
}
