//! `sweep`: the methods of the paper, many seeds, one table; nothing is done twice, and nothing is chosen on test.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::table::Table;
use common::{PROJECT, Sandbox, says};
use serde_json::Value;
use std::fs;

const METHODS: [&str; 7] = ["base", "aman", "oversampling", "unbias", "division", "esmm_ns", "esmm"];
/// Makes the shipped specs small, with enough purchases for an AUC.
const SMALL: &str = "--set data.source={kind=\"synthetic\",rows=6000,users=300,items=200,rates=[0.3,0.3]} --set defaults.tower.hidden=[8] \
                     --set embedding.dim=4 --set train.batch_rows=40";

fn specs(names: &[&str]) -> String {
    names.iter().map(|n| format!("{PROJECT}/configs/paper/{n}.toml")).collect::<Vec<_>>().join(" ")
}
fn method<'a>(table: &'a Value, name: &str) -> &'a Value {
    table["methods"].as_array().unwrap().iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}
fn figure(table: &Value, name: &str, seed: usize, figure: &str) -> f64 {
    method(table, name)["runs"][seed]["figures"][figure].as_f64().unwrap_or_else(|| panic!("{name} {figure}"))
}

#[test]
fn every_config_of_the_paper_opens_with_its_intent_and_passes_check() {
    let t = Sandbox::new();
    for name in METHODS.iter().chain(&["xdl"]) {
        let text = fs::read_to_string(format!("{PROJECT}/configs/paper/{name}.toml")).unwrap();
        assert!(text.starts_with("# ") && text.contains("extends = \"common.toml\""), "{name}");
        assert!(*name == "xdl" || text.contains("Protocol: "), "{name}");
    }
    let all = specs(&[&METHODS[..], &["xdl"]].concat());
    let check = t.ok(&format!("check {all} {SMALL} --deny-warnings --format json")).json();
    assert_eq!(check.as_array().unwrap().len(), 8);
    let shown = t.ok(&format!("check {} {SMALL}", specs(&["division"]))).stdout;
    says(&shown, &["P(purchase) = σ(z_purchase); P(purchase | click) = σ(z_purchase) / σ(z_click), which may exceed 1"]);
    // As they are shipped they are specs of a network as the paper states it.
    let resolved = t.ok(&format!("run {} --dry-run --format json {SMALL}", specs(&["unbias"]))).stdout;
    says(&resolved, &["weighted by inverse propensity"]);
}

#[test]
fn the_seven_methods_in_one_table() {
    let t = Sandbox::new();
    let command = format!(
        "sweep {} {SMALL} --repeat 2 --search aman:objective.outside_rate=0.1,1.0 --beside {PROJECT}/configs/paper/published.json --out out -q",
        specs(&METHODS)
    );
    let text = t.ok(&command).stdout;
    says(&text, &["purchase conditional", "paper CVR *", "68.56 ± 0.37", "Against `base`", "on its own data", "training noise alone"]);
    assert_eq!(
        text.trim_end().strip_suffix("\nthe table is in out/table.txt, .md, .json and .html").unwrap(),
        t.text("out/table.txt").trim_end()
    );
    says(&t.text("out/table.md"), &["| method | click full | purchase conditional |", "|---|---:|", "| esmm |"]);

    let table = t.json("out/table.json");
    assert_eq!(table["seeds"], serde_json::json!([1, 2]));
    for name in METHODS {
        for seed in 0..2 {
            for of in ["click.full", "purchase.conditional", "purchase.shared", "purchase.full", "purchase.entire"] {
                let auc = figure(&table, name, seed, &format!("{of}.auc"));
                assert!((0.3..=1.0).contains(&auc), "{name} {of}: {auc}");
            }
        }
    }
    // Networks of their own: what is done to the purchase tower leaves the click net as it is, to the bit.
    for name in ["aman", "oversampling", "unbias"] {
        for seed in 0..2 {
            assert_eq!(figure(&table, name, seed, "click.full.auc"), figure(&table, "base", seed, "click.full.auc"), "{name}");
        }
    }
    assert_ne!(figure(&table, "esmm", 0, "click.full.auc"), figure(&table, "base", 0, "click.full.auc"));
    // The first method's shared figure is its own product.
    assert_eq!(figure(&table, "base", 0, "purchase.shared.auc"), figure(&table, "base", 0, "purchase.full.auc"));
    assert_ne!(figure(&table, "esmm", 0, "purchase.shared.auc"), figure(&table, "esmm", 0, "purchase.full.auc"));
    // The spread and the difference are of the seeds' figures.
    let cvr = |name, seed| figure(&table, name, seed, "purchase.conditional.auc");
    let spread = &method(&table, "esmm")["figures"]["purchase.conditional.auc"];
    assert!((spread["mean"].as_f64().unwrap() - f64::midpoint(cvr("esmm", 0), cvr("esmm", 1))).abs() < 1e-12);
    let against = &method(&table, "esmm")["against_first"]["purchase.conditional.auc"];
    let difference = |seed| cvr("esmm", seed) - cvr("base", seed);
    assert!((against["mean"].as_f64().unwrap() - f64::midpoint(difference(0), difference(1))).abs() < 1e-12);
    assert!(against["p"].as_f64().is_some_and(|p| (0.0..=1.0).contains(&p)));

    // The rate was chosen by what valid said, and the chosen one has a run for each seed.
    let search = &method(&table, "aman")["search"];
    let candidates = search["candidates"].as_array().unwrap();
    let of = |candidate: &Value| candidate["valid"].as_f64().unwrap();
    let chosen = candidates.iter().find(|c| c["value"] == search["chosen"]).unwrap();
    assert!(candidates.iter().all(|c| of(c) <= of(chosen)), "{search}");
    for candidate in candidates {
        let value = candidate["value"].as_str().unwrap();
        let metrics = t.json(&format!("out/aman/objective.outside_rate={value}/seed-1/metrics.json"));
        assert_eq!(metrics["valid"]["purchase"]["conditional"]["auc"], candidate["valid"]);
        assert_eq!(t.exists(&format!("out/aman/objective.outside_rate={value}/seed-2")), candidate["value"] == search["chosen"]);
    }

    // A quotient above 1 has an AUC and no log loss, and `eval` says the same as the run.
    let division = t.json("out/division/seed-1/metrics.json");
    let conditional = &division["test"]["purchase"]["conditional"];
    assert!(conditional["auc"].is_number());
    if conditional["logloss"].is_null() {
        says(conditional["logloss_reason"].as_str().unwrap(), &["predictions exceed 1"]);
    }
    assert!(division["test"]["purchase"]["full"]["logloss"].is_number());
    assert_eq!(t.ok("eval out/division/seed-1 --format json").json()["test"], division["test"]);

    // All is there: nothing is trained again, and the table is the same.
    let before: Vec<_> = t.files("out").into_iter().filter(|f| !f.0.starts_with("table")).collect();
    let again = t.ok(&command.replace(" -q", ""));
    assert!(!again.stderr.contains("starts") && !again.stderr.contains("goes on"), "{again}");
    assert_eq!(t.files("out").into_iter().filter(|f| !f.0.starts_with("table")).collect::<Vec<_>>(), before);
    assert_eq!(again.stdout, text);
}

#[test]
fn predictions_of_a_quotient_are_quotients() {
    let t = Sandbox::new();
    t.ok(&format!("run {} {SMALL} --predictions --out run -q", specs(&["division"])));
    let table = Table::read(&t.path("run/predictions.parquet"));
    let column = |name: &str| -> Vec<f64> {
        let at = table.names.iter().position(|n| n == name).unwrap();
        table.columns[at].iter().map(|v| v.parse().unwrap()).collect()
    };
    let [click, purchase, given] = ["p_click", "p_purchase", "p_purchase_given_click"].map(column);
    let test = t.json("run/metrics.json")["test"].clone();
    for (i, given) in given.iter().enumerate() {
        assert!((given - purchase[i] / click[i]).abs() < 1e-12 * given.abs().max(1.0), "row {i}");
    }
    let pcoc = purchase.iter().sum::<f64>() / test["purchase"]["full"]["positives"].as_f64().unwrap();
    assert!((pcoc - test["purchase"]["full"]["pcoc"].as_f64().unwrap()).abs() < 1e-9);
    // It starts at the full-space rate, and stays near it: a product's tower would start at the conditional rate, three times as high.
    assert!((0.5..2.0).contains(&pcoc), "{pcoc}");
}

#[cfg(unix)]
#[test]
fn a_killed_sweep_goes_on_to_the_same_table() {
    let t = Sandbox::new();
    let methods = specs(&["base", "esmm"]);
    let command = |out: &str| format!("sweep {methods} {SMALL} --set train.checkpoint_every_steps=5 --repeat 2 --out {out} -q");
    t.ok(&command("whole"));
    let mut child = t.spawn(&command("killed"));
    while !t.exists("killed/esmm/seed-1/checkpoints/index.json") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What a process leaves that was killed before its run began.
    t.write("killed/base/seed-2/spec.toml", "");
    let done = t.bytes("killed/base/seed-1/run.json");
    t.ok(&command("killed"));
    assert_eq!(t.bytes("killed/base/seed-1/run.json"), done, "a finished run is not touched");
    let figures = |out: &str| {
        let table = t.json(&format!("{out}/table.json"));
        table["methods"].as_array().unwrap().iter().map(|m| (m["figures"].clone(), m["against_first"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(figures("killed"), figures("whole"));
}

#[test]
fn what_cannot_be_swept_is_told_before_any_work() {
    let t = Sandbox::new();
    let (base, aman) = (specs(&["base"]), specs(&["base", "aman"]));
    let fails = |args: &str, parts: &[&str]| {
        says(&t.fails(&format!("sweep {args} -q")), parts);
        assert!(!t.exists("runs") && !t.exists("out"), "{args}: nothing was made");
    };
    fails(&format!("{base} --repeat 0"), &["`--repeat 0` trains nothing"]);
    fails(&format!("{base} {base}"), &["both called `base`"]);
    fails(&format!("{base} {PROJECT}/funnels/four_stage.toml"), &["the stages click, purchase", "of the same stages"]);
    fails("missing.toml", &["missing.toml"]);
    fails(&format!("{aman} --search aman"), &["METHOD:KEY=V1,V2"]);
    fails(&format!("{aman} --search amam:objective.outside_rate=0.1,0.2"), &["no spec is called `amam`", "did you mean `aman`"]);
    fails(&format!("{aman} --search aman:objective.outside_rat=0.1"), &["unknown field `outside_rat`"]);
    fails(&format!("{aman} --search aman:objective.outside_rate=0.1,2"), &["2 is out of range"]);
    fails(&format!("{aman} --search aman:train.epochs=1 --search aman:train.epochs=2"), &["has a search already"]);
    fails(&format!("{aman} --search aman:train.epochs=1,2 --search-by purchas.full.auc"), &["did you mean `purchase`"]);
    fails(&format!("{aman} --search aman:train.epochs=1,2 --search-by purchase.full"), &["`<stage>.<space>.<metric>`"]);
    fails(&format!("{aman} --search aman:train.epochs=1,2 --search-by purchase.full.acu"), &["did you mean `auc`"]);
    fails(&format!("{base} --beside nothing.json"), &["reading `nothing.json`"]);
    t.write("beside.json", r#"{"title": "x", "figures": {}, "methods": {"base": {"a": [1, 2]}}}"#);
    fails(&format!("{base} --beside beside.json"), &["the figure `a`"]);
    let quotient = "--set funnel.composition=quotient";
    says(&t.fails(&format!("check {base} {quotient} {SMALL} -q")), &["objective `conditional`", "objective.kind = \"entire_space\""]);
    let both = "--set objective.inverse_propensity=true --set objective.outside_rate=0.5";
    says(&t.fails(&format!("check {base} {both} {SMALL} -q")), &["choose one"]);
}

#[test]
fn a_folder_with_runs_of_other_settings_is_left_alone() {
    let t = Sandbox::new();
    let base = specs(&["base"]);
    t.ok(&format!("sweep {base} {SMALL} --repeat 1 --out out -q"));
    let before = t.files("out");
    let message = t.fails(&format!("sweep {base} {SMALL} --repeat 1 --out out -q --set train.optimizer.lr=0.5"));
    says(&message, &["out/base/seed-1", "`train.optimizer.lr` was `0.001`, and is `0.5` now", "--out"]);
    assert_eq!(t.files("out"), before);
    // More seeds of the same are welcome.
    t.ok(&format!("sweep {base} {SMALL} --repeat 2 --out out -q"));
    assert!(t.exists("out/base/seed-2/metrics.json"));
}

#[test]
fn without_valid_rows_nothing_can_be_chosen() {
    let t = Sandbox::new();
    let split = "--set split={kind=\"random\",valid=0.0,test=0.3,seed=1}";
    let search = "--search base:objective.positive_copies=2,3";
    let message = t.fails(&format!("sweep {} {SMALL} {split} {search} --repeat 1 --out out -q", specs(&["base"])));
    says(&message, &["`purchase.conditional.auc` on valid is undefined for every value", "--search-by"]);
}

#[test]
fn raw_files_of_ali_ccp_take_one_line_and_a_folder() {
    let t = Sandbox::new();
    t.ok("synth aliccp --rows 6000 --test-rows 2000 --click-rate 0.3 --buy-rate 0.3 --vocab-scale 0.01 --history-scale 0.05 --out raw");
    for name in ["base", "aliccp", "paper/common", "paper/base", "paper/division", "paper/esmm"] {
        let text = fs::read_to_string(format!("{PROJECT}/configs/{name}.toml")).unwrap();
        t.write(&format!("mine/{name}.toml"), text.replace("extends = \"data.toml\"", "extends = \"../aliccp.toml\""));
    }
    let small = "--set defaults.tower.hidden=[8] --set embedding.dim=4 --set train.batch_rows=100";
    let methods = "mine/paper/base.toml mine/paper/division.toml mine/paper/esmm.toml";
    t.ok(&format!("sweep {methods} --set data.source.dir=raw {small} --repeat 1 --out out -q"));
    let table = t.json("out/table.json");
    assert_eq!(table["rows"]["test"], 2000);
    for name in ["base", "division", "esmm"] {
        assert!(figure(&table, name, 0, "purchase.shared.auc") > 0.4, "{name}");
    }
}

#[test]
fn figures_along_the_share_of_the_training_rows() {
    let t = Sandbox::new();
    let command =
        format!("sweep {} {SMALL} --repeat 2 --axis data-share=0.2,0.5,1.0 --bootstrap 200 --out out -q", specs(&["base", "esmm"]));
    let text = t.ok(&format!("{command} --beside {PROJECT}/configs/paper/published.json")).stdout;
    says(
        &text,
        &["purchase conditional along `data-share`", "200 resamples of the test rows, drawn row by row", "is trained on, drawn row by row"],
    );
    let table = t.json("out/table.json");
    let points = table["axis"]["points"].as_array().unwrap();
    let rows: Vec<u64> = points.iter().map(|p| p["train_rows"].as_u64().unwrap()).collect();
    assert_eq!(rows[2], table["rows"]["train"].as_u64().unwrap());
    let share = |i: usize| rows[i] as f64 / rows[2] as f64;
    assert!((share(0) - 0.2).abs() < 0.03 && (share(1) - 0.5).abs() < 0.03, "{rows:?}");
    // The whole of the rows is the run that the table has anyway; a share is drawn anew with each seed.
    assert!(!t.exists("out/base/data-share=1.0") && t.exists("out/esmm/data-share=0.2/seed-2"));
    let method_of = |i: usize, figure: &str| points[i]["methods"]["esmm"][figure]["mean"].as_f64().unwrap();
    let figure = "purchase.conditional.auc";
    assert_eq!(method_of(2, figure), method(&table, "esmm")["figures"][figure]["mean"].as_f64().unwrap());
    assert_ne!(method_of(0, figure), method_of(1, figure));
    let manifests = [1, 2].map(|seed| t.json(&format!("out/base/data-share=0.2/seed-{seed}/run.json"))["data"]["parts"].clone());
    assert_ne!(manifests[0]["train"], manifests[1]["train"]);
    assert_eq!(manifests[0]["test"], manifests[1]["test"]);

    // Row noise: the value is the difference of the table, the interval is around it, and `compare` of the same folders says the same.
    let resampled = &method(&table, "esmm")["against_first_on_resamples"];
    let compared = t.ok("compare out/base out/esmm --replicates 200 --format json -q").json();
    for figure in ["purchase.conditional.auc", "purchase.full.auc", "purchase.shared.auc", "purchase.entire.auc"] {
        let (row, seeds) = (&resampled[figure], &method(&table, "esmm")["against_first"][figure]);
        assert!((row["value"].as_f64().unwrap() - seeds["mean"].as_f64().unwrap()).abs() < 1e-9, "{figure}");
        assert!(
            row["low"].as_f64().unwrap() < row["value"].as_f64().unwrap() && row["high"].as_f64().unwrap() > row["value"].as_f64().unwrap()
        );
        let parts: Vec<&str> = figure.split('.').collect();
        if let Some(other) = compared["spaces"].as_array().unwrap().iter().find(|s| s["stage"] == parts[0] && s["space"] == parts[1]) {
            assert_eq!(other["against_first"]["esmm"]["auc"]["low"], row["low"], "{figure}");
        }
    }
    let page = t.text("out/table.html");
    says(&page, &["Along data-share", "<svg", "paper CVR *", "published", "training rows"]);
    for outside in ["http://", "https://", "src=", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }

    // All is there: nothing is trained or drawn again.
    let before: Vec<_> = t.files("out").into_iter().filter(|f| !f.0.starts_with("table")).collect();
    let again = t.ok(&command.replace(" -q", ""));
    assert!(!again.stderr.contains("starts") && !again.stderr.contains("goes on"), "{again}");
    assert_eq!(t.files("out").into_iter().filter(|f| !f.0.starts_with("table")).collect::<Vec<_>>(), before);

    let fails = |args: &str, parts: &[&str]| says(&t.fails(&format!("sweep {} {SMALL} --out other -q {args}", specs(&["base"]))), parts);
    fails("--axis data-share", &["KEY=V1,V2"]);
    fails("--axis data-share=0.1,2", &["train.share_of_rows: expected a number above 0, and 1 at most"]);
    fails("--axis train.epoch=1,2", &["unknown key `epoch`"]);
    fails("--axis train.seed=1,2", &["seeds count up with `--repeat`"]);
    fails("--bootstrap 3", &["too few resamples"]);
    assert!(!t.exists("other"));
}
