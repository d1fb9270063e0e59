//! `replay`: what `serve --log` wrote, scored again.

use crate::STOP;
use crate::progress::RowProgress;
use crate::serve::find;
use crate::serve::replay::{Difference, Replayed, replay};
use crate::ui::{Exit, Ui, count, plural};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;

/// See `esmm-funnel replay --help`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that `serve --log` wrote.
    pub dir: PathBuf,
    /// Score with this run [default: the one that the log names].
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let run = args.run.as_deref().map(find).transpose()?;
    let progress = RowProgress::new(ui, "replaying");
    let found = replay(&args.dir, run.as_deref(), &|rows| progress.show(rows, ""), &STOP)?;
    drop(progress);
    ui.answer(&text(&found), &json!({ "replay": found }))?;
    Ok(if found.rows_that_differ == 0 { Exit::Done } else { Exit::GateFailed })
}

fn text(found: &Replayed) -> String {
    let of = format!("{} rows of {} in {}", count(found.rows), plural(found.requests, "request"), plural(found.files as u64, "file"));
    let models = found.models.values().cloned().collect::<Vec<_>>().join(", ");
    let others: Vec<_> = found.logged_models.iter().filter(|(m, _)| !found.models.values().any(|v| v == *m)).collect();
    let mut text = if found.rows_that_differ == 0 {
        format!("{of}: the same scores, bit for bit (model {models})")
    } else {
        let n = count(found.rows_that_differ);
        format!("{of}: {n} rows have other scores (model {models}); the largest difference is {:e}", found.largest)
    };
    for (model, rows) in others {
        text += &format!("\n{} rows were scored by model {model}, which is another", count(*rows));
    }
    for Difference { file, row, request, column, logged, now } in &found.differences {
        let logged = logged.map_or_else(|| "null".into(), |l| l.to_string());
        text += &format!("\n{file}: row {row} (request {}, row {}), {column}: logged {logged}, now {now}", request.0, request.1);
    }
    text
}
