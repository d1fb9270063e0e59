//! Loads a finished run and scores the rows of files: `cargo run --release --example score -- RUN FILE… OUT.parquet`.

use anyhow::{Context, Result};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::run::RunFolder;
use esmm_funnel_core::score::{PredictOptions, Scorer};
use esmm_funnel_plugins as _; // links the built-in towers, encoders, objectives and sources
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let mut args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let out = args.pop().context("usage: score RUN FILE… OUT")?;
    let (run, files) = args.split_first().context("usage: score RUN FILE… OUT")?;
    let scorer = Scorer::open(&RunFolder::open(Path::new(run))?, &cpu())?;
    let source = scorer.open_source(files)?;
    let summary = scorer.predict(&source, &out, &PredictOptions::new(&AtomicBool::new(false)))?;
    println!("{} rows scored; ids unknown to the model: {:?}", summary.rows, summary.unknown_ids);
    Ok(())
}
