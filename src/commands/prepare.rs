//! `prepare`: raw data → columnar store, with label and leakage lint.

use super::{encoding, load, load_spec, session, store_dir};
use crate::cli::{Global, PrepareArgs};
use crate::ui::{Exit, Ui, count};
use anyhow::Result;
use esmm_funnel_core::device::{self, DeviceChoice};
use esmm_funnel_core::diagnostic::render;
use esmm_funnel_core::train::session::SessionOptions;
use serde_json::json;

pub fn run(args: &PrepareArgs, global: &Global, ui: &Ui) -> Result<Exit> {
    let (spec, _) = load_spec(&args.spec.spec, &args.spec.set, None, ui)?;
    let store = store_dir(global);
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = SessionOptions { verify: args.verify, ..session(device::choose(DeviceChoice::Cpu)?, &store, global, &progress) };
    let (data, _) = load(&spec, &options, ui)?;
    drop(encoding);
    let meta = data.prepared.store.meta();
    let rows = data.dataset.store().rows() as u64;
    let path = store.join(&meta.fingerprint);
    let how = match (&data.prepared.damage, data.prepared.reused) {
        (Some(damage), _) => format!("was damaged ({damage}) and is written anew"),
        (None, true) if args.verify => "is there already, and whole".into(),
        (None, true) => "is there already".into(),
        (None, false) => "is written".into(),
    };
    let text = format!("the store {} {how}: {} rows, {:.1} s", path.display(), count(rows), data.seconds);
    let value = json!({
        "store": path, "reused": data.prepared.reused, "damage": data.prepared.damage, "rows": rows, "seconds": data.seconds, "lint": render::json(&data.lint.diagnostics),
    });
    ui.answer(&text, &value)?;
    Ok(Exit::Done)
}
