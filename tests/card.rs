//! The model card says what is in the run folder, and nothing else.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Sandbox, says};

#[test]
fn a_card_holds_the_runs_own_facts() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --seed 7 --out run -q");
    let (card, run) = (t.text("run/model-card.md"), t.json("run/run.json"));
    let test = &t.json("run/metrics.json")["test"];
    let purchase = &test["purchase"]["full"];
    says(
        &card,
        &[
            "# Model card: log\n",
            "`P(purchase) = σ(z_click) · σ(z_purchase)`",
            &format!("fingerprint `{}`", run["data"]["fingerprint"].as_str().unwrap()),
            "| train.csv |",
            "Split: by file, valid `",
            "| train | 4,000 |",
            "| tags | bag | impression | every id of train |",
            "| city | id | user |",
            &format!(
                "| purchase | full | 1,500 | {} | {:.4} | {:.5} |",
                purchase["positives"],
                purchase["auc"].as_f64().unwrap(),
                purchase["logloss"].as_f64().unwrap()
            ),
            "None: probabilities are those of the towers as trained.",
            "| train.batch_rows | 128 | log.toml:",
            "| train.seed | 7 | --set |",
            "esmm-funnel run log.toml --seed 7 --out run -q\n",
            "seed 7, device cpu",
        ],
    );
    assert!(!card.contains("train.clip_norm"), "defaults are in resolved.toml");
}

#[test]
fn what_is_uncertain_or_undefined_is_named() {
    let t = Sandbox::with_log();
    let mut rows = common::log::rows_of("test");
    rows.truncate(60);
    for row in &mut rows {
        row.purchase = 0;
    }
    t.write("test.csv", common::log::csv(&rows, true));
    t.ok("run log.toml --out run -q");
    let card = t.text("run/model-card.md");
    says(
        &card,
        &[
            "- auc of purchase (full) is undefined: no row has label 1",
            "Only 0 test rows reach `purchase`",
            "| purchase | full | 60 | 0 | — |",
        ],
    );
    t.ok("run log.toml --set split={kind=\"random\",valid=0.3,test=0.0} --out other -q");
    says(&t.text("other/model-card.md"), &["The test part is empty; there are no results."]);
}

#[test]
fn every_repeat_has_one() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --repeat 2 --out runs -q");
    says(&t.text("runs/seed-2/model-card.md"), &["seed 2, device"]);
}

#[test]
fn manual_pages_of_all_commands() {
    let t = Sandbox::new();
    let main = t.ok("man").stdout;
    says(&main, &[".TH esmm-funnel 1", "esmm\\-funnel\\-calibrate(1)", "Calibrate a finished run"]);
    says(&t.ok("man --out pages").stdout, &["wrote ", "pages/esmm-funnel.1"]);
    says(&t.text("pages/esmm-funnel-calibrate.1"), &["keep\\-rate", "temperature"]);
    says(&t.text("pages/esmm-funnel-synth-aliccp.1"), &["vocab\\-scale"]);
    // A page for every command there is.
    let help = t.ok("--help").stdout;
    let commands = help.split_once("Commands:\n").unwrap().1.lines().take_while(|l| l.starts_with("  ")).filter(|l| !l.starts_with("   "));
    for name in commands.filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help") {
        assert!(t.exists(&format!("pages/esmm-funnel-{name}.1")), "no page of {name}");
    }
    t.write("file", "");
    says(&t.fails("man --out file"), &["`file` is a file"]);
}
