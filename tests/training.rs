//! Early stopping, a data set of many kinds at once, and a real one.

#![allow(clippy::unwrap_used)]

mod common;

use common::{PROJECT, Sandbox};
use std::path::Path;

#[test]
fn early_stopping_keeps_the_best_on_valid() {
    let sandbox = Sandbox::with_log();
    let high = "--set train.optimizer.kind=adam --set train.optimizer.lr=0.05 --set train.epochs=40 --set train.batch_rows=128";
    sandbox.ok(&format!("run log.toml --out r {high} --set train.patience_evals=2 --set train.monitor=purchase.full.logloss"));
    let valid: Vec<(u64, f64)> = sandbox
        .lines("r/metrics.jsonl")
        .iter()
        .filter(|l| l["part"] == "valid" && l["stage"] == "purchase" && l["space"] == "full")
        .map(|l| (l["step"].as_u64().unwrap(), l["logloss"].as_f64().unwrap()))
        .collect();
    let best = valid.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(valid.len() - 1 - valid.iter().position(|v| v == best).unwrap(), 2, "two evaluations after the best one: {valid:?}");
    assert_eq!(sandbox.json("r/checkpoints/index.json")["final"], format!("step-{:08}", best.0));
    assert_eq!(sandbox.json("r/metrics.json")["valid"]["purchase"]["full"]["logloss"], best.1, "the result is the best checkpoint's");
}

#[test]
fn several_files_gzip_weights_bags_and_entities() {
    use std::io::Write;
    let sandbox = Sandbox::new();
    let mut parts = [String::from("user,tags,tag_w,item,w,click\n"), String::from("user,tags,tag_w,item,w,click\n")];
    for row in 0..800 {
        let user = row % 50;
        let (tags, weights) = (["t1|t2", "", "t3"][user % 3], ["0.5|2", "", "1"][user % 3]);
        parts[row % 2] += &format!("{user},{tags},{weights},{},{},{}\n", row % 7, 1 + row % 2, u8::from((row * 7 + user) % 5 == 0));
    }
    sandbox.write("logs/a.csv", &parts[0]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(parts[1].as_bytes()).unwrap();
    sandbox.write("logs/b.csv.gz", gzip.finish().unwrap());
    let spec = r#"
[funnel]
chain = "impression -> click"
[defaults]
tower = { kind = "mlp", hidden = [8] }
[data]
source = { kind = "csv", files = ["logs/*.csv*"] }
weight = "w"
[split]
kind = "group"
column = "user"
[entity.user]
key = "user"
[feature.user]
kind = "id"
of = "user"
[feature.tags]
kind = "bag"
weights = "tag_w"
pooling = "mean"
of = "user"
[feature.item]
kind = "id"
[train]
batch_rows = 32
epochs = 2
"#;
    sandbox.write("s.toml", spec);
    sandbox.ok("run s.toml --out r");
    let manifest = sandbox.json("r/run.json");
    assert_eq!((manifest["data"]["rows"].as_u64(), manifest["data"]["inputs"].as_array().map(Vec::len)), (Some(800), Some(2)));
}

#[test]
fn hillstrom_trains_from_a_short_spec() {
    let data = Path::new(PROJECT).join("../shared/data/hillstrom.csv");
    let spec = Path::new(PROJECT).join("examples/hillstrom.toml");
    let keys = std::fs::read_to_string(&spec).unwrap().lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).count();
    assert!(keys <= 25, "{keys} lines");
    if !data.is_file() {
        eprintln!("skipped: hillstrom.csv is not there");
        return;
    }
    let sandbox = Sandbox::new();
    let files = format!("data.source.files=[\"{}\"]", data.display());
    sandbox.ok(&format!("run {} --set {files} --out r --quiet", spec.display()));
    let test = &sandbox.json("r/metrics.json")["test"];
    // About 0.645 and 0.63 by logistic regression; one split's standard error for conversion is 0.02.
    assert!(test["visit"]["full"]["auc"].as_f64().unwrap() > 0.62 && test["conversion"]["full"]["auc"].as_f64().unwrap() > 0.57);
}
