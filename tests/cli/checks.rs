//! What is printed before training: `check`, `explain`, `list`, usage, gates of options.

use super::fixture::{Done, SPEC, Sandbox, with_log};
use std::process::Stdio;

#[test]
fn check_explains_stages_rows_and_costs() {
    insta::assert_snapshot!(with_log(1000).run("check s.toml").snapshot());
}

#[test]
fn check_shows_all_mistakes_at_once() {
    let sandbox = Sandbox::new();
    let spec = r#"
features = "infer"
[funnel]
name = "bad"
[stage.click]
after = "impression"
tower = { kind = "mpl" }
[stage.purchase]
after = "clik"
tower = { kind = "mlp", hiden = [8] }
[data]
source = { kind = "csv", files = ["log.csv"] }
[train]
epochs = "three"
"#;
    sandbox.write("bad.toml", spec);
    insta::assert_snapshot!(sandbox.run("check bad.toml --set train.batch_row=9").snapshot());
}

#[test]
fn check_branches_and_outcomes() {
    let sandbox = Sandbox::new();
    sandbox.write("log.csv", "user,click,cart,buy\na,1,1,1\nb,1,0,1\nc,0,0,0\nd,1,1,0\ne,1,0,0\nf,0,0,0\n");
    let spec = r#"
[funnel]
name = "esm2"
[stage.click]
after = "impression"
[stage.cart]
after = "click"
[stage.buy_after_cart]
after = "cart"
label = "buy"
[stage.buy_direct]
after = { stage = "click", unless = "cart" }
label = "buy"
[outcome.purchase]
any_of = ["buy_after_cart", "buy_direct"]
[data]
source = { kind = "csv", files = ["log.csv"] }
[feature.user]
kind = "id"
[split]
kind = "random"
valid = 0.0
test = 0.0
"#;
    sandbox.write("s.toml", spec);
    insta::assert_snapshot!(sandbox.run("check s.toml").snapshot());
}

#[test]
fn explain_and_list() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!("explain_tower_mlp", sandbox.run("explain tower mlp").snapshot());
    insta::assert_snapshot!("explain_key", sandbox.run("explain train.batch_rows").snapshot());
    insta::assert_snapshot!("explain_near_miss", sandbox.run("explain tower mpl").snapshot());
    insta::assert_snapshot!("list", sandbox.run("list").snapshot());
}

#[test]
fn usage_errors_exit_with_2() {
    let sandbox = Sandbox::new();
    for args in ["runn", "run", "run s.toml --device gpu", "list towers", "run s.toml --seed x"] {
        let done = sandbox.run(args);
        assert_eq!(done.code, Some(2), "{args}: {}", done.stderr);
        assert!(done.stdout.is_empty() && done.stderr.contains("error"), "{args}: {}", done.stderr);
    }
}

#[test]
fn json_parses_and_a_closed_pipe_is_fine() {
    let sandbox = with_log(600);
    let check = sandbox.ok("check s.toml --format json").json();
    assert_eq!(check["stages"][1]["columns"][1], "p_purchase_given_click");
    assert!(sandbox.ok("list --format json").json().as_array().is_some_and(|l| l.len() >= 6));
    let run = sandbox.ok("run s.toml --out r --format json").json();
    assert_eq!(run["metrics"], sandbox.json("r/metrics.json"));
    sandbox.write("bad.toml", SPEC.replace("mlp", "mpl"));
    let done = sandbox.run("check bad.toml --format json");
    assert_eq!((done.code, done.json()["diagnostics"][0]["places"][0]["line"].as_u64()), (Some(2), Some(6)));
    // A reader that goes away at once.
    let mut child = sandbox.command("schema").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(Done::of(child.wait_with_output().unwrap()).code, Some(0));
}

#[test]
fn gates_decide_the_exit_code() {
    let sandbox = with_log(600);
    let code = |args: &str| sandbox.run(args).code;
    assert_eq!(code("run s.toml --out a --fail-if purchase.full.auc>2"), Some(0));
    assert_eq!(code("run s.toml --out b --fail-if purchase.full.auc<2"), Some(1));
    assert_eq!(code("eval a --fail-if click.full.rows<1000000"), Some(1));
    assert!(sandbox.fails("run s.toml --out c --fail-if purchase.auc<2").contains("is not `<stage>.<conditional|full|entire>.<metric>`"));
    assert!(!sandbox.file("c").exists(), "a wrong gate is told before any work");
    let stage = sandbox.fails("run s.toml --out d --fail-if buy.full.auc<2");
    assert!(stage.contains("`buy.full.auc` has no value") && stage.contains("purchase.full"), "{stage}");
    // 600 rows in 4 epochs of 64 are fewer than 50 steps: a warning.
    assert_eq!(code("check s.toml"), Some(0));
    assert_eq!(code("check s.toml --deny-warnings"), Some(1));
}

#[test]
fn a_dry_run_leaves_no_run() {
    let sandbox = with_log(600);
    let done = sandbox.ok("run s.toml --out r --dry-run");
    assert!(done.stdout.contains("stage purchase") && !sandbox.file("r").exists());
}
