//! A spec for data that nobody has described yet: what `init` writes.
//!
//! ```text
//! Source ──► Scan          one pass: a sample from all over the data, exact counts of 0/1 columns (`scan`)
//! Scan ──► stages          nested 0/1 columns, in order (`funnel`)
//! Scan ──► split           a time column, or the entity's key, or row by row (`split`)
//! Scan ──► columns         key, feature of which kind, or left out, with the reason (`columns`, `features`)
//! Proposal ──► TOML        with the reasons as comments (`write`)
//! ```
//!
//! A new kind of feature is one more decision of `columns::judge_column`, and one more table of `features::features`.

mod columns;
mod features;
mod funnel;
mod scan;
mod split;
mod write;

pub use columns::{ProposedColumn, ProposedEntity, Role};
pub use features::ProposedFeature;
pub use funnel::ProposedStage;
pub use write::SourceTable;

use super::prepare::PrepareProgress;
use super::source::{Input, Source};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::spec::Split;
use columns::Columns;
use scan::Scan;
use serde::Serialize;
use std::sync::atomic::AtomicBool;

/// Rows that columns are judged by, at most.
pub const SAMPLE_ROWS: usize = 200_000;

/// How to look at the data.
pub struct ProposeOptions<'a> {
    /// Rows that columns are judged by, at most; labels are counted on all rows.
    pub sample_rows: usize,
    /// Called after every chunk.
    pub progress: &'a dyn Fn(PrepareProgress),
    /// Set to true to stop; [`propose`] then fails with [`super::Stopped`].
    pub stop: &'a AtomicBool,
}

/// What the data look like, as a spec.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposal {
    /// Rows of the data.
    pub rows: u64,
    /// Rows that columns were judged by.
    pub sampled: u64,
    /// What a row is.
    pub row: String,
    /// The chain, first to last: one stage at least.
    pub stages: Vec<ProposedStage>,
    /// Columns carried into predictions.
    pub keys: Vec<String>,
    /// What many rows share.
    pub entity: Option<ProposedEntity>,
    /// Which part each row is in.
    pub split: Split,
    /// Why this split, in words.
    pub split_reason: String,
    /// The features, columns of one treatment together.
    pub features: Vec<ProposedFeature>,
    /// Every column, in order of the data: what became of it, and why.
    pub columns: Vec<ProposedColumn>,
}

/// Reads the data once and proposes a spec that trains on them.
///
/// # Errors
/// [`Diagnostics`]: no rows, no column of 0 and 1, no column left for features, too few rows for the parts; [`super::Stopped`]; whatever the
/// source says of files that cannot be read.
pub fn propose(source: &dyn Source, options: &ProposeOptions<'_>) -> anyhow::Result<Proposal> {
    let scan = scan::scan(source, options)?;
    let schema = scan.sample.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut chain = funnel::chain(&scan, &names);
    if chain.is_empty() {
        return Err(no_flag(&scan, &names, &source.inputs()?).into());
    }
    let columns = Columns::look(&scan, &names, &chain);
    let parts = loop {
        if let Some(found) = split::split(&scan, &columns, &chain) {
            break found;
        }
        // The last stage has too few 1s, or too few 0s, to be in every part.
        if chain.len() < 2 {
            let message = format!("no split gives train, valid and test rows with both values of `{}`", names[scan.flags[chain[0]].column]);
            let help = format!("there are {} rows, {} of them with a 1; bring more", scan.rows, scan.flags[chain[0]].ones);
            return Err(Diagnostics::from(Diagnostic::error("too-few-rows", message).help(help)).into());
        }
        chain.pop();
    };
    let stages = funnel::stages(&scan, &chain, &names);
    let (judged, features, keys) = columns.judge(&chain, &parts.split);
    if features.is_empty() {
        let help = judged.iter().map(|c| format!("`{}`: {}", c.column, c.reason)).collect::<Vec<_>>().join("\n");
        return Err(Diagnostics::from(Diagnostic::error("no-features", "no column is left for features").help(help)).into());
    }
    Ok(Proposal {
        rows: scan.rows,
        sampled: scan.places.len() as u64,
        row: columns.row(&stages),
        stages,
        keys,
        entity: columns.entity.map(|e| e.proposed),
        split: parts.split,
        split_reason: parts.reason,
        features,
        columns: judged,
    })
}

fn no_flag(scan: &Scan, names: &[&str], inputs: &[Input]) -> Diagnostics {
    let of = inputs.iter().map(|i| format!("`{}`", i.name)).collect::<Vec<_>>().join(", ");
    let message = format!("no column of {of} holds 0 and 1, so there is no outcome to predict");
    let mut fault = Diagnostic::error("no-labels", message);
    for &(column, missing) in &scan.gappy {
        let name = names[column];
        fault = fault.help(format!("`{name}` holds 0, 1 and empty cells ({missing}): fill them, with 0 where the outcome did not happen"));
    }
    fault = fault.help("a funnel's outcomes are columns of 0 and 1, one for each stage: clicked or not, bought or not");
    fault.help(format!("columns: {}", names.join(", "))).into()
}
