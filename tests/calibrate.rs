//! `calibrate`: what it fits is what `eval` and `predict` apply, heads keep their order, known faults are undone, and nothing else of the run moves.

#![allow(clippy::unwrap_used)]

mod common;

use common::log::{Row, csv, rows};
use common::{Sandbox, says};
use serde_json::Value;

/// The generated log, trained until it is sure of itself.
fn trained() -> Sandbox {
    let t = Sandbox::with_log();
    t.ok("run log.toml --set train.epochs=4 --out run -q");
    t
}

fn metric(evaluation: &Value, path: &str) -> f64 {
    let at = path.split('.').fold(evaluation, |v, key| &v[key]);
    at.as_f64().unwrap_or_else(|| panic!("no number at {path} in {evaluation}"))
}

/// A CSV file's columns of numbers, by name.
fn columns(text: &str, names: &[&str]) -> Vec<Vec<f64>> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let at: Vec<usize> =
        names.iter().map(|n| header.iter().position(|h| h == n).unwrap_or_else(|| panic!("no {n} in {header:?}"))).collect();
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split(',').collect()).collect();
    at.iter().map(|at| rows.iter().map(|r| r[*at].parse().unwrap()).collect()).collect()
}
fn logit(p: f64) -> f64 {
    p.ln() - (-p).ln_1p()
}
fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// What the file says, applied by hand.
fn apply(stage: &Value, z: f64) -> f64 {
    let map = &stage["map"];
    let number = |key: &str| map[key].as_f64().unwrap();
    let z = match map["method"].as_str().unwrap() {
        "platt" => number("slope") * z + number("intercept"),
        "temperature" => z / number("temperature"),
        "none" => z,
        "isotonic" => {
            let knots: Vec<(f64, f64)> = serde_json::from_value(map["knots"].clone()).unwrap();
            let (first, last) = (knots[0], knots[knots.len() - 1]);
            match knots.windows(2).find(|k| k[0].0 <= z && z <= k[1].0) {
                Some(k) => k[0].1 + (z - k[0].0) / (k[1].0 - k[0].0) * (k[1].1 - k[0].1),
                None if z < first.0 => first.1 + 1e-4 * (z - first.0),
                None => last.1 + 1e-4 * (z - last.0),
            }
        }
        other => panic!("{other}"),
    };
    z + stage["keep_rate"].as_f64().map_or(0.0, f64::ln)
}

#[test]
fn what_is_fitted_is_what_eval_and_predict_apply() {
    let t = trained();
    let before = t.files("run");
    let plain = t.ok("eval run --format json -q").json();
    t.ok("predict run --data test.csv --out plain.csv -q");
    let names = ["p_click", "p_click_given_impression", "p_purchase", "p_purchase_given_click"];
    let raw = columns(&t.text("plain.csv"), &names);
    for method in ["platt", "temperature", "isotonic"] {
        let ran = t.ok(&format!("calibrate run --method {method} --format json -q"));
        let file = t.json("run/calibration.json");
        assert_eq!(ran.json()["calibration"], file);
        assert_eq!(file["stages"]["purchase"]["fitted_on"]["data"][0], "valid");
        // By hand: each conditional probability corrected, then the product.
        t.ok(&format!("predict run --data test.csv --out {method}.csv -q"));
        let found = columns(&t.text(&format!("{method}.csv")), &names);
        let mut moved = 0.0f64;
        for row in 0..raw[0].len() {
            let click = sigmoid(apply(&file["stages"]["click"], logit(raw[1][row])));
            let purchase = sigmoid(apply(&file["stages"]["purchase"], logit(raw[3][row])));
            for (column, expected) in [click, click, click * purchase, purchase].into_iter().enumerate() {
                assert!((found[column][row] - expected).abs() < 1e-9, "{method} {} of row {row}", names[column]);
                moved = moved.max((expected - raw[column][row]).abs());
            }
        }
        assert!(moved > 0.01, "{method} does something: {moved}");
        // `eval` is the same, of the same rows; AUC of a head to the last bit.
        let eval = t.ok("eval run --format json -q").json();
        assert_eq!(eval["test"], file["checked"]["after"]);
        assert_eq!(plain["test"], file["checked"]["before"]);
        for stage in ["click", "purchase"] {
            let auc = |e: &Value| metric(e, &format!("test.{stage}.conditional.auc"));
            assert!(auc(&eval) == auc(&plain), "{method}: {} and {}", auc(&eval), auc(&plain));
        }
        assert_ne!(metric(&eval, "test.click.full.pcoc"), metric(&plain, "test.click.full.pcoc"));
        assert_eq!(t.ok("eval run --uncalibrated --format json -q").json(), plain);
        t.ok(&format!("predict run --data test.csv --out {method}-off.csv --uncalibrated -q"));
        assert!(t.text(&format!("{method}-off.csv")) == t.text("plain.csv"));
        says(&t.text("run/model-card.md"), &["With the calibration:", &format!("{method}: ")]);
    }
    // Nothing of the finished run has moved, and when the calibration goes, it is as it was.
    says(&t.ok("calibrate run --method none").stdout, &["removed run/calibration.json"]);
    assert!(t.files("run") == before);
    says(&t.ok("calibrate run --method none").stdout, &["has no calibration"]);
}

#[test]
fn an_overfitted_run_is_mended_on_rows_it_has_not_seen() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --set train.epochs=30 --set embedding.optimizer.lr=2e-2 --out run -q");
    let ran = t.ok("calibrate run --format json -q").json();
    let checked = &ran["calibration"]["checked"];
    assert_eq!(checked["on"], "test");
    for stage in ["click", "purchase"] {
        let loss = |part: &str| metric(&checked[part], &format!("{stage}.conditional.logloss"));
        assert!(loss("after") < loss("before") - 0.02, "{stage}: {} → {}", loss("before"), loss("after"));
        let ece = |part: &str| metric(&checked[part], &format!("{stage}.conditional.ece"));
        assert!(ece("after") < 0.9 * ece("before"), "{stage}: {} → {}", ece("before"), ece("after"));
    }
    // In words, for people.
    let ran = t.ok("calibrate run");
    says(&ran.stdout, &["before → after, on test", "·z", "log loss", "1,500", "`--uncalibrated` leaves it out"]);
}

#[test]
fn other_rows_are_fitted_to_and_checked_in_turns() {
    let t = trained();
    let labelled = |seed, n| csv(&rows(seed, n), true);
    t.write("new.csv", labelled(77, 3000));
    let ran = t.ok("calibrate run --data new.csv --method platt --format json -q").json();
    let calibration = &ran["calibration"];
    says(calibration["checked"]["on"].as_str().unwrap(), &["each fifth by what was fitted to the other four"]);
    assert_eq!(calibration["stages"]["click"]["fitted_on"]["data"][0], "new.csv");
    assert_eq!(calibration["stages"]["click"]["fitted_on"]["rows"], 3000);
    assert_eq!(metric(&calibration["checked"]["after"], "click.full.rows"), 3000.0);
    let pcoc = metric(&calibration["checked"]["after"], "click.full.pcoc");
    assert!((pcoc - 1.0).abs() < 0.01, "{pcoc}");
    // Only one stage anew: the other keeps what it has.
    let click = calibration["stages"]["click"].clone();
    let ran = t.ok("calibrate run --stage purchase --method temperature --format json -q").json();
    assert_eq!(ran["calibration"]["stages"]["click"], click);
    assert_eq!(ran["calibration"]["stages"]["purchase"]["map"]["method"], "temperature");
    // And taken away alone.
    let ran = t.ok("calibrate run --stage purchase --method none --format json -q").json();
    assert_eq!(ran["calibration"]["stages"].as_object().unwrap().keys().collect::<Vec<_>>(), ["click"]);
    t.ok("calibrate run --stage click --method none -q");
    assert!(!t.exists("run/calibration.json"));
}

/// Of the rows without a click every fourth is kept. The model learns their rates; the keep rate brings back those of all rows.
#[test]
fn sampled_negatives_are_put_back() {
    let t = Sandbox::with_log();
    let thin =
        |rows: Vec<Row>| -> Vec<Row> { rows.into_iter().enumerate().filter(|(i, r)| r.click == 1 || i % 4 == 0).map(|(_, r)| r).collect() };
    for (file, seed, n) in [("train.csv", 1, 16_000), ("valid.csv", 2, 6_000), ("test.csv", 3, 6_000)] {
        t.write(file, csv(&thin(rows(seed, n)), true));
    }
    let all = rows(9, 12_000);
    t.write("all.csv", csv(&all, true));
    t.ok("run log.toml --out run -q");
    let pcoc = |t: &Sandbox, path: &str| metric(&t.ok("eval run --data all.csv --format json -q").json(), &format!("data.{path}.pcoc"));
    assert!(pcoc(&t, "click.full") > 1.6, "odds four times too high: {}", pcoc(&t, "click.full"));
    for method in ["none", "platt", "isotonic"] {
        let ran = t.ok(&format!("calibrate run --method {method} --keep-rate click=0.25 --format json -q")).json();
        for path in ["click.full", "purchase.full"] {
            assert!((pcoc(&t, path) - 1.0).abs() < 0.06, "{method} {path}: {}", pcoc(&t, path));
            // The check on the thinned test part counts each kept row for four.
            let checked = &ran["calibration"]["checked"];
            let after = metric(&checked["after"], &format!("{path}.pcoc"));
            assert_eq!(t.ok("eval run --format json -q").json()["test"], checked["after"]);
            assert!((after - 1.0).abs() < 0.06 && metric(&checked["before"], &format!("{path}.pcoc")) > 1.5, "{method} {path}: {after}");
        }
    }
    says(&t.text("run/model-card.md"), &["| 0.25 |"]);
    // Fitted on all rows, no rate is needed.
    t.ok("calibrate run --data all.csv -q");
    assert!((pcoc(&t, "click.full") - 1.0).abs() < 0.02, "{}", pcoc(&t, "click.full"));
}

#[test]
fn what_cannot_be_done_is_said() {
    let t = trained();
    let before = t.files("run");
    says(
        &t.fails("calibrate run --stage purchas"),
        &["`--stage purchas`: no stage `purchas`; did you mean `purchase`?", "there are: click, purchase"],
    );
    says(&t.fails("calibrate run --keep-rate click"), &["`--keep-rate click`: expected `STAGE=R`", "click=0.1"]);
    says(&t.fails("calibrate run --keep-rate click=1.5"), &["a rate is above 0 and at most 1, and `1.5` is not"]);
    says(&t.fails("calibrate run --keep-rate click=0"), &["and `0` is not"]);
    says(&t.fails("calibrate run --keep-rate clik=0.5"), &["no stage `clik`", "did you mean `click`?"]);
    says(&t.fails("calibrate run --stage click --keep-rate purchase=0.5"), &["stage `purchase` is not among those of `--stage`"]);
    says(&t.fails("calibrate run --keep-rate click=0.5 --keep-rate click=0.2"), &["stage `click` has two rates"]);
    says(&t.fails("calibrate nowhere"), &["there is no run folder `nowhere`"]);
    // Three purchases, and none.
    let mut few = rows(5, 600);
    let mut bought = 0;
    for row in &mut few {
        bought += row.purchase;
        row.purchase &= u8::from(bought <= 3);
    }
    t.write("few.csv", csv(&few, true));
    says(
        &t.fails("calibrate run --data few.csv"),
        &[
            "stage `purchase`: 3 rows with label 1",
            "are too few to fit to: 10 of each are needed",
            "nothing was written",
            "`--stage click`",
        ],
    );
    t.ok("calibrate run --data few.csv --stage click -q");
    t.ok("calibrate run --method none -q");
    for row in &mut few {
        row.purchase = 0;
    }
    t.write("none.csv", csv(&few, true));
    says(&t.fails("calibrate run --data none.csv"), &["stage `purchase`: 0 rows with label 1"]);
    t.write("unlabelled.csv", csv(&few, false));
    says(&t.run("calibrate run --data unlabelled.csv").exits(2).stderr, &["column `click` is missing", "column `purchase` is missing"]);
    assert!(t.files("run") == before, "a refusal writes nothing");
}

#[test]
fn rows_that_are_few_are_warned_of() {
    let t = Sandbox::with_log();
    t.write("valid.csv", csv(&rows(2, 200), true));
    t.ok("run log.toml --out run -q");
    let ran = t.ok("calibrate run");
    says(&ran.stderr, &["warning: stage `purchase`: ", "are few for `platt`", "100 or more are better"]);
}

#[test]
fn a_run_without_valid_rows_asks_for_others() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --set split={kind=\"random\",valid=0.0,test=0.3} --out run -q");
    says(&t.fails("calibrate run"), &["no valid rows to fit to", "never fitted on test", "`--data`"]);
    t.ok("calibrate run --data valid.csv -q");
    // Without a test part the check is made on valid, in turns.
    t.ok("run log.toml --set split={kind=\"random\",valid=0.3,test=0.0} --out other -q");
    let ran = t.ok("calibrate other --format json -q").json();
    says(ran["calibration"]["checked"]["on"].as_str().unwrap(), &["valid, each fifth by"]);
}

#[test]
fn half_written_runs_and_damaged_files_are_told() {
    let t = trained();
    t.ok("calibrate run -q");
    let good = t.text("run/calibration.json");
    let remedy = ["run/calibration.json` cannot be used", "`esmm-funnel calibrate run`", "--method none"];
    let damaged = |content: &str, why: &str| {
        t.write("run/calibration.json", content);
        for command in ["eval run", "predict run --data test.csv --out p.csv", "calibrate run --stage click"] {
            let message = t.fails(command);
            says(&message, &remedy);
            says(&message, &[why]);
        }
        assert!(!t.exists("p.csv"));
    };
    damaged(&good[..good.len() / 2], "it is not JSON");
    damaged(&good.replace("\"format\": 1", "\"format\": 7"), "it has format 7, this version reads 1");
    damaged(&good.replace("\"slope\": ", "\"slope\": -"), "`slope` must be above 0");
    damaged(&good.replace("\"click\": {\n      \"map\"", "\"clack\": {\n      \"map\""), "a stage `clack`, which the run does not have");
    damaged(&good.replace("\"checkpoint\": \"step-0", "\"checkpoint\": \"step-9"), "it was fitted to checkpoint");
    // What it was trained to is there all the same, and both remedies work.
    t.ok("eval run --uncalibrated -q");
    t.ok("calibrate run -q");
    t.ok("eval run -q");
    t.write("run/calibration.json", "{");
    t.ok("calibrate run --method none -q");
    t.ok("eval run -q");
    // A run that was stopped.
    let manifest = t.text("run/run.json").replace("\"finished\"", "\"interrupted\"");
    t.write("run/run.json", manifest);
    says(&t.fails("calibrate run"), &["is not finished", "esmm-funnel resume run"]);
}
