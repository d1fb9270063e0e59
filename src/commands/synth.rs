//! `synth`: data in the form of a public data set, of its shape, with the truth that it does not have.

use crate::STOP;
use crate::cli::SynthAliccpArgs;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, bytes, count};
use anyhow::Result;
use esmm_funnel_plugins::sources::aliccp::generate::{PartSummary, Synth};
use serde_json::json;

pub fn aliccp(args: &SynthAliccpArgs, ui: &Ui) -> Result<Exit> {
    let settings = Synth {
        rows: args.rows,
        test_rows: args.test_rows.unwrap_or(args.rows / 4),
        seed: args.seed,
        vocab_scale: args.vocab_scale,
        click_rate: args.click_rate,
        buy_rate: args.buy_rate,
        orphans: args.orphans,
        history_scale: args.history_scale,
        bias: args.bias,
        confounding: args.confounding,
        gzip: args.gzip,
    };
    let progress = RowProgress::new(ui, "writing");
    let parts = settings.write(&args.out, &|rows| progress.show(rows, ""), &STOP)?;
    drop(progress);
    let mut text: Vec<String> = parts.iter().map(said).collect();
    text.push(format!("wrote {}: source = {{ kind = \"aliccp\", dir = \"{}\" }}", args.out.display(), args.out.display()));
    ui.answer(&text.join("\n"), &json!({ "out": args.out, "settings": settings, "parts": parts }))?;
    Ok(Exit::Done)
}

fn said(p: &PartSummary) -> String {
    format!(
        "{}: {} rows in {} groups, {} clicks, {} purchases ({} without a click), {}; true rate of purchases given a click: {:.3} % of all rows, {:.3} % of the clicked",
        p.part,
        count(p.rows),
        count(p.groups),
        count(p.clicks),
        count(p.buys),
        count(p.orphans),
        bytes(p.bytes),
        100.0 * p.true_buy_rate,
        100.0 * p.true_buy_rate_clicked
    )
}
