//! `compare`: the same numbers as the runs' own, intervals around them, gates, and clear words where runs cannot be compared.

#![allow(clippy::unwrap_used)]

mod common;

use common::{PROJECT, Sandbox, says};
use serde_json::Value;

/// The log's spec with little training, so that a run takes a moment.
fn train(t: &Sandbox, out: &str, more: &str) {
    t.ok(&format!("run log.toml --out {out} -q {more}"));
}
fn space<'a>(result: &'a Value, stage: &str, space: &str) -> &'a Value {
    let found = result["spaces"].as_array().unwrap().iter().find(|s| s["stage"] == stage && s["space"] == space);
    found.unwrap_or_else(|| panic!("no {stage} {space} in {result}"))
}
fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("{v} is no number"))
}

#[test]
fn a_trained_model_against_one_that_learned_nothing() {
    let t = Sandbox::with_log();
    train(&t, "good", "");
    train(&t, "bad", "--set train.optimizer.lr=1e-9 --set embedding.optimizer.lr=1e-9 --set train.epochs=1");
    let command = "compare bad good --replicates 400 --format json -q";
    let result = t.ok(&format!("{command} --out out")).json();
    assert_eq!((&result["first"], &result["rows"]), (&"bad".into(), &1500.into()));
    // The numbers are those of `metrics.json`, the intervals are around them.
    for run in ["good", "bad"] {
        let own = t.json(&format!("{run}/metrics.json"))["test"].clone();
        for (stage, at) in [("click", "full"), ("purchase", "conditional"), ("purchase", "full")] {
            let here = space(&result, stage, at);
            assert_eq!(here["positives"], own[stage][at]["positives"]);
            for measure in ["auc", "logloss", "pcoc", "ece"] {
                let m = &here["runs"][run][measure];
                let value = number(&m["value"]);
                assert!((value - number(&own[stage][at][measure])).abs() < 1e-9, "{run} {stage} {at} {measure}");
                assert!(number(&m["low"]) < value && value < number(&m["high"]), "{m}");
            }
        }
    }
    assert_eq!(result["spaces"].as_array().unwrap().len(), 3, "click conditional is click full");
    let auc = &space(&result, "click", "full")["against_first"]["good"]["auc"];
    let difference = ["good", "bad"].map(|run| number(&t.json(&format!("{run}/metrics.json"))["test"]["click"]["full"]["auc"]));
    assert!((number(&auc["value"]) - (difference[0] - difference[1])).abs() < 1e-9);
    assert_eq!(auc["verdict"], "better");
    // DeLong's way shares nothing with the resamples but the rows.
    assert!((number(&auc["delong"]["se"]) / number(&auc["se"]) - 1.0).abs() < 0.15, "{auc}");
    assert!((number(&auc["delong"]["difference"]) - number(&auc["value"])).abs() < 1e-9);

    // The same again, to the bit; another seed, and nearly the same.
    let again = t.ok(command).json();
    assert_eq!(again["spaces"], result["spaces"]);
    let other = t.ok(&format!("{command} --seed 2")).json();
    let other = &space(&other, "click", "full")["against_first"]["good"]["auc"];
    assert_eq!(other["value"], auc["value"]);
    assert_ne!(other["low"], auc["low"]);
    assert!((number(&other["se"]) / number(&auc["se"]) - 1.0).abs() < 0.2);

    // Rows of a user are alike here: drawn by user the interval of a click AUC is wider. Users are a feature, days a key.
    let by = t.ok(&format!("{command} --by user_id")).json();
    assert_eq!(by["drawn"]["units"], 60);
    let clustered = &space(&by, "click", "full")["against_first"]["good"]["auc"];
    assert!(number(&clustered["se"]) > number(&auc["se"]), "{clustered} {auc}");
    assert_eq!(clustered["delong"], Value::Null, "rows would have to be independent");
    assert_eq!(t.ok(&format!("{command} --by day")).json()["drawn"]["units"], 3);

    // What is written says the same.
    assert_eq!(t.json("out/compare.json")["spaces"], result["spaces"]);
    says(
        &t.text("out/compare.md"),
        &["# Comparison with `bad`", "| stage and space | run |", "| \\|ln PCOC\\| |", "real: better", "- Intervals and p rows: row noise"],
    );
    let page = t.text("out/compare.html");
    says(&page, &["<svg", "click full", "real: better", "Reliability", "Learning curves"]);
    for outside in ["http://", "https://", "src=", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }

    // Gates: the trained one is better, so only the other way round they fail.
    let gate = |runs: &str, gate: &str, code: i32| {
        let ran = t.run(&format!("compare {runs} --replicates 200 --fail-if-worse {gate}")).exits(code);
        says(&ran.stdout, &[if code == 1 { "FAILED" } else { "passed" }]);
        assert_eq!(ran.stderr.contains("gate failed: "), code == 1, "{ran}");
    };
    gate("bad good", "click.full.auc", 0);
    gate("good bad", "click.full.auc", 1);
    gate("good bad", "click.conditional.auc", 1);
    gate("good bad", "click.full.logloss", 1);
    gate("good bad", "click.full.auc:0.9", 0);
    gate("bad good", "click.full.logloss:0.001", 0);
    let text = t.ok("compare bad good --replicates 200 -q").stdout;
    says(&text, &["`good` against `bad` on 1,500 rows of the test part", "AUC +", "real: better", "Training noise is not measured"]);
}

#[test]
fn a_run_and_its_like_are_not_told_apart() {
    let t = Sandbox::with_log();
    train(&t, "a", "--seed 1");
    train(&t, "b", "--seed 2");
    let ran = t.ok("compare a b --replicates 300 -q");
    says(&ran.stdout, &["no difference in AUC can be told", "would mostly go unseen"]);
    t.ok("compare a b --replicates 300 -q --fail-if-worse purchase.full.auc --fail-if-worse click.full.auc:0.01");
}

#[test]
fn several_seeds_measure_training_noise() {
    let t = Sandbox::with_log();
    train(&t, "many", "--repeat 3");
    train(&t, "few", "--repeat 3 --set train.optimizer.lr=1e-9 --set embedding.optimizer.lr=1e-9 --set train.epochs=1");
    let result = t.ok("compare few many --replicates 200 --format json -q").json();
    assert_eq!(result["runs"][1]["seeds"], serde_json::json!([1, 2, 3]));
    let here = space(&result, "purchase", "full");
    let own = t.json("many/metrics.json");
    let auc = &here["runs"]["many"]["auc"];
    assert!((number(&auc["value"]) - number(&own["test"]["purchase"]["full"]["auc"]["mean"])).abs() < 1e-9);
    let difference = &space(&result, "click", "full")["against_first"]["many"]["auc"];
    assert_eq!(difference["seeds"]["n"], 3);
    let larger = number(&difference["p_rows"]).max(number(&difference["seeds"]["p"]));
    assert_eq!(number(&difference["p"]), larger);
    says(&t.ok("compare few many --replicates 200 -q").stdout, &["(3 seeds)", "p seeds: training noise, by a paired t test"]);
    // One run of a folder of seeds is a run.
    t.ok("compare few/seed-1 many/seed-1 --replicates 100 -q");
}

#[test]
fn other_files_are_scored_by_all() {
    let t = Sandbox::with_log();
    let random = |seed: u32| format!("--set split={{kind=\"random\",valid=0.1,test=0.3,seed={seed}}}");
    train(&t, "one", &random(1));
    train(&t, "two", &random(2));
    let message = t.fails("compare one two -q");
    says(&message, &["tested on different rows", "`split.seed` is `1` for one and `2` for the other", "--data"]);
    let result = t.ok("compare one two --data test.csv --replicates 100 --format json -q").json();
    assert_eq!(result["rows"], 1500);
    for run in ["one", "two"] {
        let own = t.ok(&format!("eval {run} --data test.csv --format json")).json()["data"].clone();
        let auc = &space(&result, "purchase", "conditional")["runs"][run]["auc"]["value"];
        assert!((number(auc) - number(&own["purchase"]["conditional"]["auc"])).abs() < 1e-9);
    }
    // The same split of a file with other content.
    t.write("train.csv", common::log::csv(&common::log::rows(9, 3000), true));
    train(&t, "three", &random(1));
    says(&t.fails("compare one three -q"), &["tested on different rows", "train.csv had other content"]);
    // A stage that one has not.
    train(&t, "clicks", &format!("{} --set funnel.chain=impression->click", random(1)));
    let result = t.ok("compare three clicks --data test.csv --replicates 100 --format json -q").json();
    assert_eq!(result["spaces"].as_array().unwrap().len(), 1);
    assert!(result["notes"].as_array().unwrap().iter().any(|n| n.as_str().unwrap().contains("`clicks` has none")), "{result}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let t = Sandbox::with_log();
    train(&t, "a", "");
    train(&t, "b", "--seed 2");
    let fails = |args: &str, parts: &[&str]| says(&t.fails(&format!("compare {args}")), parts);
    fails("a a", &["`a` is given twice"]);
    fails("a nothing", &["there is no run folder `nothing`"]);
    t.write("folder/x", "");
    fails("a folder", &["`folder` holds no run", "seed-<n>"]);
    fails("a b --by usr_id", &["`--by usr_id`", "did you mean `user_id`", "metrics.gauc_by"]);
    fails("a b --fail-if-worse purchase.full.acu", &["did you mean `auc`"]);
    fails("a b --fail-if-worse purchas.full.auc", &["did you mean `purchase`"]);
    fails("a b --fail-if-worse purchase.full.auc:much", &["the margin `much`"]);
    fails("a b --fail-if-worse purchase.entire.auc --replicates 100 -q", &["`purchase.entire` is not compared here"]);
    fails("a b --data missing.csv", &["missing.csv"]);
    t.write("file", "");
    fails("a b --out file", &["`file` is a file"]);
    t.run("compare a").exits(2);
    t.run("compare a b --replicates 3").exits(2);
    // A run that is not finished.
    let text = t.text("b/run.json").replace("\"finished\"", "\"interrupted\"");
    t.write("b/run.json", text);
    fails("a b", &["is not finished", "resume"]);
    // Other stages.
    t.ok(&format!("run {PROJECT}/funnels/ctr_cvr.toml {} --set stage.click.label=click --out c -q", common::SMALL));
    fails("a c", &["tested on different rows"]);
}
