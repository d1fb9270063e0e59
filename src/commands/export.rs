//! `export`: a finished run for other programs.

use super::{RUNS, open_scorer};
use crate::STOP;
use crate::ui::{Exit, Ui, count};
use anyhow::Result;
use clap::ValueEnum;
use esmm_funnel_core::export::ExportOptions;
use esmm_funnel_core::run::find_run;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or `@last`.
    run: String,
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What to write beside the card and the vocabularies [default: both].
    #[arg(long = "as", value_enum, value_name = "KIND")]
    form: Option<Form>,
    /// Leave the run's calibration out.
    #[arg(long)]
    uncalibrated: bool,
    /// Above so many MiB of weights the large ones stand in `model.onnx.data`, beside `model.onnx`.
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    inline_mib: u32,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// The whole funnel: table rows and raw numbers in, the columns of `predict` out.
    Onnx,
    /// The weights by name.
    Safetensors,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = open_scorer(&folder, args.uncalibrated, ui)?;
    let options = ExportOptions {
        safetensors: args.form != Some(Form::Onnx),
        onnx: args.form != Some(Form::Safetensors),
        inline_bytes: u64::from(args.inline_mib) << 20,
    };
    let exported = scorer.export(&args.out, &options, &STOP)?;
    let mut text = format!("{}:", args.out.display());
    for (file, bytes) in &exported.files {
        text += &format!("\n  {file}  {} bytes", count(*bytes));
    }
    if let Some(off) = exported.largest_difference {
        text += &format!("\nthe ONNX graph gives what the model gives on made-up rows, to {off:.0e}");
    }
    ui.answer(&text, &json!({ "out": args.out, "exported": exported }))?;
    Ok(Exit::Done)
}
