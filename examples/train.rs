//! Trains a funnel from Rust and reads its metrics: `cargo run --release --example train`.

use anyhow::{Result, bail};
use esmm_funnel_core::device::{DeviceChoice, choose};
use esmm_funnel_core::run::RunFolder;
use esmm_funnel_core::spec;
use esmm_funnel_core::train::session::{Session, SessionEnd, SessionOptions, load_data};
use esmm_funnel_plugins as _; // links the built-in towers, encoders, objectives and sources
use std::path::Path;
use std::sync::atomic::AtomicBool;

const SPEC: &str = r#"
[funnel]
chain = "impression -> click -> purchase"
[defaults]
tower = { kind = "mlp", hidden = [32, 16] }
[data]
source = { kind = "synthetic", rows = 50_000 }
[feature.ids]
kind = "id"
columns = ["user_id", "item_*", "position", "channel"]
"#;

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/from-rust".into());
    let spec = spec::load_text("train.rs", SPEC, Path::new("."), &["train.batch_rows=512".into()])?.spec;
    let options = SessionOptions {
        argv: std::env::args().collect(),
        device: choose(DeviceChoice::Auto)?,
        store: Path::new(".esmm-store"),
        show_values: false,
        verify: false,
        stop: &AtomicBool::new(false),
        progress: &|_| {},
        predictions: false,
    };
    let data = load_data(&spec, &options)?;
    let folder = RunFolder::create(Path::new(&folder))?;
    let session = Session { spec: &spec, folder: &folder, data: &data, options: &options };
    let SessionEnd::Finished(finished) = session.start(SPEC.as_bytes(), &mut [])? else { bail!("stopped") };
    let Some(test) = &finished.test else { bail!("no test rows") };
    for (stage, space, metrics) in test.summaries() {
        println!("{stage:10} {space:12} auc {:?} of {} rows", metrics.auc, metrics.rows);
    }
    Ok(())
}
