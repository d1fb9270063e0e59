//! What the command line says: stdout, stderr and exit code together.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{PROJECT, SMALL, Sandbox, says};

/// Numbers of training, which differ a little between processors.
const NUMBERS: [(&str, &str); 2] = [(r"\d+\.\d\d+", "[n]"), (r"  +(\S)", "  $1")];

#[test]
fn check_says_what_each_stage_means_and_what_it_costs() {
    let t = Sandbox::new();
    snapshot!("check_chain_of_two", t.run(&format!("check {PROJECT}/funnels/ctr_cvr.toml {SMALL}")));
    snapshot!("check_chain_of_four", t.run(&format!("check {PROJECT}/funnels/four_stage.toml {SMALL}")));
}

#[test]
fn check_shows_what_was_inferred() {
    let t = Sandbox::with_log();
    t.write(
        "short.toml",
        "features = \"infer\"\n[funnel]\nchain = \"impression -> click -> purchase\"\n[data]\nsource = { kind = \"csv\", files = [\"train.csv\"] }\n",
    );
    snapshot!("check_infer", t.run("check short.toml"));
}

#[test]
fn check_tells_all_mistakes_at_once() {
    let t = Sandbox::with_log();
    t.write(
        "bad.toml",
        r#"extends = "log.toml"

[stage.click]
tower = { kind = "mpl", hidden = [8] }

[stage.purchase]
after = "clik"

[train]
batch_row = 10
"#,
    );
    // Which towers there are is not what this is about.
    snapshot!("check_mistakes", t.run("check bad.toml"), [(r"towers in this build: .*", "towers in this build: [names]")]);
}

#[test]
fn a_mistake_on_the_command_line_has_a_caret_too() {
    let t = Sandbox::with_log();
    snapshot!("set_mistake", t.run("check log.toml --set train.epochs=0 --set train.batch_row=5"));
}

#[test]
fn check_of_several_specs_reports_all_and_fails_with_the_worst() {
    let t = Sandbox::with_log();
    t.write("bad.toml", "extends = \"log.toml\"\n[train]\nepochs = 0\n");
    let ran = t.run("check bad.toml log.toml missing.toml");
    says(&ran.stderr, &["bad.toml", "epochs", "log.toml: data ✓", "missing.toml"]);
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[test]
fn warnings_are_an_error_only_when_denied() {
    let t = Sandbox::with_log();
    // A purchase without a click, kept as it stands: worth a warning.
    let log = t.text("train.csv").replace(",0,0\n", ",0,1\n");
    t.write("train.csv", log);
    let args = "check log.toml --set data.orphan_labels=keep";
    let ran = t.ok(args);
    says(&ran.stderr, &["warning: ", "kept as they stand"]);
    t.run(&format!("{args} --deny-warnings")).exits(1);
    t.ok("check log.toml --set data.orphan_labels=clear_child --deny-warnings");
}

#[test]
fn list_names_every_plugin_once_in_order() {
    let t = Sandbox::new();
    let json = t.ok("list --format json").json();
    let names: Vec<(String, String)> =
        json.as_array().unwrap().iter().map(|p| (p["kind"].as_str().unwrap().to_owned(), p["name"].as_str().unwrap().to_owned())).collect();
    for known in [("tower", "mlp"), ("encoder", "concat"), ("objective", "entire_space"), ("source", "csv"), ("source", "synthetic")] {
        assert!(names.contains(&(known.0.into(), known.1.into())), "{known:?}");
    }
    let lines = t.ok("list");
    assert_eq!(lines.stdout.lines().count(), names.len(), "{lines}");
    for ((kind, name), line) in names.iter().zip(lines.stdout.lines()) {
        assert!(line.starts_with(kind.as_str()) && line.contains(name.as_str()), "{line}");
    }
    for kind in ["tower", "encoder", "objective", "source"] {
        let own: Vec<&str> = names.iter().filter(|n| n.0 == kind).map(|n| n.1.as_str()).collect();
        assert!(own.is_sorted(), "{own:?}");
        assert_eq!(t.ok(&format!("list {kind}")).stdout.lines().count(), own.len());
    }
    snapshot!("list_objectives", t.run("list objective"));
}

#[test]
fn explain_prints_settings_and_defaults() {
    let t = Sandbox::new();
    snapshot!("explain_tower", t.run("explain tower mlp"));
    snapshot!("explain_key", t.run("explain train.batch_rows"));
    snapshot!("explain_unknown_key", t.run("explain train.batch_row"));
    snapshot!("explain_unknown_tower", t.run("explain tower mpl"), [(r"towers in this build: .*", "towers in this build: [names]")]);
    says(&t.ok("explain").stdout, &["train", "stage", "tower"]);
}

#[test]
fn wrong_usage_exits_2_and_shows_how() {
    let t = Sandbox::new();
    snapshot!("unknown_subcommand", t.run("frobnicate"));
    snapshot!("missing_argument", t.run("run"));
    snapshot!("unknown_device", t.run("run x.toml --device gpu"));
    t.run("").exits(2);
    t.ok("--help");
    t.ok("--version");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let t = Sandbox::new();
    let script = "(set -o pipefail) 2>/dev/null || exit 0; set -o pipefail; \"$esmm\" schema | head -1";
    let ran = t.shell(script);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stderr.is_empty(), "{ran}");
    // For shells without `pipefail`: the code goes through a file.
    let ran = t.shell("{ \"$esmm\" schema; echo $? > code; } | head -1");
    assert_eq!((ran.stderr.as_str(), t.text("code").trim()), ("", "0"), "{ran}");
}

#[test]
fn json_on_stdout_is_one_value() {
    let t = Sandbox::with_log();
    let check = t.ok("check log.toml --format json").json();
    assert_eq!(check["stages"][1]["columns"][1], "p_purchase_given_click");
    assert_eq!(check["parts"]["test"]["rows"], 1500);
    let two = t.ok("check log.toml log.toml --format json").json();
    assert_eq!(two.as_array().unwrap().len(), 2);
    let run = t.ok("run log.toml --out run --format json").json();
    let auc = run["metrics"]["test"]["purchase"]["full"]["auc"].as_f64();
    assert!(auc.is_some_and(|a| (0.0..=1.0).contains(&a)), "{auc:?}");
    let eval = t.ok("eval run --format json").json();
    assert_eq!(eval["test"]["purchase"]["full"]["auc"].as_f64(), auc);
    let failed = t.run("check nowhere.toml --format json").exits(2);
    says(failed.json()["error"].as_str().unwrap(), &["nowhere.toml"]);
}

#[test]
fn run_tells_a_story_and_gives_an_answer() {
    let t = Sandbox::with_log();
    snapshot!("run", t.run("run log.toml --out run --device cpu"), NUMBERS);
    snapshot!("eval", t.run("eval run"), NUMBERS);
    snapshot!("predict", t.run("predict run --data test.csv --out p.csv"));
    assert_eq!(t.ok("run log.toml --out quiet -q").stderr, "");
}

#[test]
fn a_dry_run_does_what_check_does_and_leaves_no_run() {
    let t = Sandbox::with_log();
    let dry = t.ok("run log.toml --dry-run");
    assert_eq!(dry.stdout, t.ok("check log.toml").stdout);
    t.ok("run log.toml --dry-run --out kept");
    assert!(!t.exists("runs") && !t.exists("kept"));
}

#[test]
fn gates() {
    let t = Sandbox::with_log();
    let ran = t.run("run log.toml --out a --fail-if click.full.auc<1.1").exits(1);
    says(&ran.stderr, &["gate failed: click.full.auc < 1.1"]);
    // The run itself is whole.
    assert_eq!(t.json("a/run.json")["status"], "finished");
    t.ok("run log.toml --out b --fail-if click.full.auc<0.1 --fail-if purchase.conditional.logloss>9");
    t.ok("eval b --fail-if click.full.auc<0.1");
    t.run("eval b --fail-if click.full.auc>=0.1").exits(1);

    // A gate that cannot be read, or that names nothing, is told before any work.
    for (gate, why) in [
        ("click.full.auc=0.9", "then a number"),
        ("click.full.auc<high", "`high` is not a number"),
        ("click.full.acu<0.9", "unknown metric `acu`"),
        ("click.auc<0.9", "is not `<stage>.<conditional|full|entire>.<metric>`"),
        ("clik.full.auc<0.9", "did you mean `click`?"),
    ] {
        let message = t.fails(&format!("run log.toml --out c --fail-if {gate}"));
        says(&message, &["--fail-if", why]);
        assert!(!t.exists("c"), "{gate}");
    }
}

#[test]
fn runs_have_a_place_of_their_own_and_a_short_name() {
    let t = Sandbox::with_log();
    says(&t.fails("eval @last"), &["no run under `runs`"]);
    t.ok("run log.toml");
    t.ok("run log.toml --seed 7");
    assert_eq!(std::fs::read_dir(t.path("runs/log")).unwrap().count(), 2);
    let newest = t.ok("eval @last --format json").json();
    t.ok("run log.toml --seed 7 --out again");
    assert_eq!(newest["test"], t.json("again/metrics.json")["test"]);
}

#[test]
fn completions_are_scripts() {
    let t = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        says(&t.ok(&format!("completions {shell}")).stdout, &["esmm-funnel"]);
    }
}
