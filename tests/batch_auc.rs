//! `metrics.batch_auc`: beside the exact AUC, and never in its place.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Sandbox, says};

#[test]
fn stands_beside_the_auc() {
    let t = Sandbox::with_log();
    let ran = t.ok("run log.toml --out run --set metrics.batch_auc={rows=400,batches=3}");
    says(&ran.stdout, &["batch auc of purchase (conditional): 0.", "a mean over batches, usually above the auc; 3 counted, 0 left out"]);
    let metrics = t.json("run/metrics.json")["test"].clone();
    for (stage, space) in [("click", "full"), ("purchase", "conditional"), ("purchase", "full")] {
        let found = &metrics[stage][space];
        assert_eq!((&found["batch_auc"]["batches"], &found["batch_auc"]["left_out"]), (&3.into(), &0.into()), "{found}");
        assert!(found["auc"].as_f64().unwrap() != found["batch_auc"]["mean"].as_f64().unwrap(), "{found}");
    }
    // The run's own spec says so too, and nothing may be chosen by it.
    assert_eq!(t.ok("eval run --format json").json()["test"], metrics);
    let message = t.fails("run log.toml --out other --set train.monitor=purchase.full.batch_auc");
    says(&message, &["train.monitor: unknown metric `batch_auc`"]);
    // No batch of one row has both labels.
    let message = t.ok("run log.toml --out none --set metrics.batch_auc={rows=1,batches=3}").stdout;
    says(&message, &["batch auc of click (full) is undefined: none of 3 batches has rows of both labels"]);
    let none = t.json("none/metrics.json")["test"]["click"]["full"]["batch_auc"].clone();
    assert!(none["mean"].is_null() && none["left_out"] == 3, "{none}");
    t.ok("run log.toml --out plain");
    assert!(t.json("plain/metrics.json")["test"]["click"]["full"].get("batch_auc").is_none());
}
