//! One run's predictions as another's weights: `data.beside` and `stage.NAME.loss_weight`.

#![allow(clippy::unwrap_used)]

mod common;

use common::log::{csv, rows_of};
use common::table::Table;
use common::{Sandbox, says};
use std::fmt::Write as _;

/// A run on the three files of the log, and what it predicts for each.
fn scored() -> Sandbox {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out clicks");
    t.ok("predict clicks --data train.csv valid.csv test.csv --out scores");
    t
}
const BESIDE: &str = "--set data.beside=[\"scores/part-*.parquet\"] --set objective.kind=conditional";
const WEIGHTS: &str = "--set stage.purchase.loss_weight=min(1/p_click,4)";

#[test]
fn weights_beside_are_those_written_by_hand() {
    let t = scored();
    let run = |spec: &str, out: &str, sets: &str| t.ok(&format!("run {spec} --out {out} {sets}"));
    run("log.toml", "beside", &format!("{BESIDE} {WEIGHTS}"));
    run("log.toml", "plain", "--set objective.kind=conditional");
    // The same weights as a column of the files themselves.
    let mut clipped = [0, 0];
    for (part, file) in ["train", "valid", "test"].into_iter().enumerate() {
        let scores = Table::read(&t.path(&format!("scores/part-{part:05}.parquet")));
        let (rows, p) = (rows_of(file), scores.numbers("p_click"));
        assert_eq!(rows.len(), p.len());
        let text = csv(&rows, true);
        let mut lines = text.lines();
        let mut with = format!("{},w\n", lines.next().unwrap());
        for (line, p) in lines.zip(&p) {
            clipped[usize::from(1.0 / p > 4.0)] += 1;
            writeln!(with, "{line},{}", (1.0 / p).min(4.0)).unwrap();
        }
        t.write(&format!("hand/{file}.csv"), with);
    }
    assert!(clipped.iter().all(|n| *n > 100), "{clipped:?}");
    t.write("hand/log.toml", t.text("log.toml"));
    run("hand/log.toml", "hand/run", "--set objective.kind=conditional --set stage.purchase.loss_weight=w");
    let weights = |run: &str| t.bytes(&format!("{}/model.safetensors", t.checkpoint(run, "final")));
    assert!(weights("beside") == weights("hand/run"), "the same weights give the same model");
    assert!(weights("beside") != weights("plain"));
    let metrics = |run: &str| t.json(&format!("{run}/metrics.json"))["test"].clone();
    assert_eq!(metrics("beside"), metrics("hand/run"));
    // What weighs the loss does not weigh metrics.
    let rows = |run: &str| metrics(run)["purchase"]["conditional"]["positives"].clone();
    assert_eq!(rows("beside"), rows("plain"));

    // The run's own spec leads to the same data; other data need no weights.
    assert_eq!(t.ok("eval beside --format json").json()["test"]["purchase"], metrics("beside")["purchase"]);
    assert_eq!(t.ok("eval beside --data test.csv --format json").json()["data"]["purchase"], metrics("beside")["purchase"]);
    let check = t.ok(&format!("check log.toml {BESIDE} {WEIGHTS}")).stdout;
    says(&check, &["each row weighted by `loss_weight`", "−mean u·[ purchase·ln σ(z_purchase)", "u = min(1/p_click,4)"]);
    let full = t.ok(&format!("check log.toml {BESIDE} {WEIGHTS} --set objective.kind=entire_space")).stdout;
    says(&full, &["−mean u·[ purchase·ln P(purchase)", "u = min(1/p_click,4)"]);
}

#[test]
fn columns_beside_can_be_features() {
    let t = scored();
    let feature = "--set feature.score.kind=number --set feature.score.columns=[\"p_click\"]";
    t.ok(&format!("run log.toml --out stacked {BESIDE} {feature}"));
    t.ok("eval stacked");
    says(&t.fails("eval stacked --data test.csv"), &["column `p_click` is missing", "`data.beside`"]);
    says(&t.fails("predict stacked --data test.csv --out x.parquet"), &["no column `p_click`, which the model needs", "`data.beside`"]);
}

#[test]
fn what_does_not_fit_is_told() {
    let t = scored();
    let fails = |sets: &str| t.fails(&format!("check log.toml {sets}"));
    let files = |files: &str| format!("--set data.beside={files} {WEIGHTS} --set objective.kind=conditional");
    says(&fails(&files(r#"["scores/part-00000.parquet"]"#)), &["names 1 file, and the data have 3 inputs", "--> --set"]);
    let swapped = files(r#"["scores/part-00001.parquet","scores/part-00000.parquet","scores/part-00002.parquet"]"#);
    says(&fails(&swapped), &["`scores/part-00001.parquet` has 800 rows, and `train.csv`, which it stands beside, has 4000"]);
    says(&fails(&files(r#"["scores"]"#)), &["names no .parquet, .csv or .tsv files", "part-*.parquet"]);
    says(&fails(&files(r#"["nowhere/*.parquet"]"#)), &["no file matches `nowhere/*.parquet`", "--> --set"]);
    says(&fails(&format!("{BESIDE} --set data.keys=[\"id\"] {WEIGHTS}")), &["column `day` stands in the data and beside them"]);
    let nise = format!("--set data.beside=[\"scores/part-*.parquet\"] {WEIGHTS} --set objective.kind=nise");
    says(&fails(&nise), &["`nise` weighs no loss term of stage `purchase`", "conditional"]);
    let wrong = "--set stage.purchase.loss_weight=1/(p_click";
    says(&fails(&format!("{BESIDE} {wrong}")), &["stage.purchase.loss_weight: expected an operator or `)`, found the end"]);
    let constant = "--set stage.purchase.loss_weight=2";
    says(&fails(&format!("{BESIDE} {constant}")), &["stage.purchase.loss_weight"]);
    // As many rows, in another order; and fewer rows.
    let mut lines: Vec<String> = rows_of("train").iter().map(|r| format!("{},0.5", r.id)).collect();
    lines.swap(2500, 2501);
    t.write("moved.csv", format!("id,p_click\n{}\n", lines.join("\n")));
    let short = csv(&rows_of("train")[..10], false).replace("user_id,city,item_id,tags,price", "a,b,c,d,p_click");
    t.write("short.csv", short);
    t.write(
        "one.toml",
        t.text("log.toml").replace("kind = \"files\"\nvalid = [\"valid.csv\"]\ntest = [\"test.csv\"]", "kind = \"random\""),
    );
    let ran = t.fails(&format!("check one.toml {}", files("[\"short.csv\"]")));
    let moved = t.fails(&format!("check one.toml {}", files("[\"moved.csv\"]")));
    says(&moved, &["moved.csv: row 2501: `id` is another than at ", "train.csv:2502"]);
    says(&ran, &["short.csv` has 10 rows, and `", "train.csv`, which it stands beside, has 4000"]);
}
