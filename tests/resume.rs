//! A run that was stopped, by whatever means, ends in the same bits as one that was not.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{PROJECT, Sandbox, says};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Long enough to be caught in the middle, with evaluations and checkpoints on the way.
const TRAIN: &str = "run log.toml --predictions --set train.batch_rows=16 --set train.epochs=8 --set train.eval_every_steps=150 \
                     --set train.checkpoint_every_steps=40 --set train.decay=cosine --set train.warmup_steps=30";

fn start() -> Sandbox {
    start_with("")
}
fn start_with(more: &str) -> Sandbox {
    let t = Sandbox::with_log();
    t.ok(&format!("{TRAIN} {more} --out whole"));
    t
}

/// Files of the final and the best checkpoint, without the clock.
fn weights(t: &Sandbox, run: &str) -> Vec<Vec<u8>> {
    ["final", "best"]
        .into_iter()
        .flat_map(|which| ["model", "optimizer"].map(|f| t.bytes(&format!("{}/{f}.safetensors", t.checkpoint(run, which)))))
        .collect()
}
fn metrics(t: &Sandbox, run: &str, part: &str) -> Value {
    t.json(&format!("{run}/metrics.json"))[part].clone()
}
fn evaluations(t: &Sandbox, run: &str) -> Vec<Value> {
    t.lines(&format!("{run}/metrics.jsonl")).into_iter().filter(|l| l["part"] != "train").collect()
}

#[track_caller]
fn assert_same_end(t: &Sandbox, run: &str) {
    assert!(weights(t, run) == weights(t, "whole"), "other weights or optimiser state");
    for part in ["valid", "test"] {
        assert_eq!(metrics(t, run, part), metrics(t, "whole", part));
    }
    assert_eq!(t.bytes(&format!("{run}/predictions.parquet")), t.bytes("whole/predictions.parquet"));
    // The journal tells one story: no line twice, none missing.
    assert_eq!(evaluations(t, run), evaluations(t, "whole"));
    let mut seen = BTreeSet::new();
    for line in t.lines(&format!("{run}/metrics.jsonl")) {
        let key = ["step", "part", "stage", "space"].map(|k| line[k].to_string());
        assert!(seen.insert(key), "twice: {line}");
    }
    assert_eq!(t.json(&format!("{run}/run.json"))["status"], "finished");
}

/// Waits until a run has written a checkpoint at or after `step`.
fn wait_for_checkpoint(t: &Sandbox, run: &str, step: u64) {
    loop {
        let index: Option<Value> =
            std::fs::read(t.path(&format!("{run}/checkpoints/index.json"))).ok().map(|b| serde_json::from_slice(&b).unwrap());
        let latest = index.and_then(|i| i["latest"].as_str()?.strip_prefix("step-")?.parse::<u64>().ok());
        if latest.is_some_and(|s| s >= step) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(unix)]
fn signal(child: &std::process::Child, name: &str) {
    assert!(std::process::Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn interrupted_then_resumed() {
    let t = start();
    let child = t.spawn(&format!("{TRAIN} --out run"));
    wait_for_checkpoint(&t, "run", 200);
    signal(&child, "INT");
    let ran = t.wait(child).exits(130);
    says(&ran.stderr, &["interrupted at step", "`esmm-funnel resume run` goes on"]);
    assert_eq!(ran.stdout, "");
    let stopped = t.json("run/run.json");
    assert_eq!(stopped["status"], "interrupted");
    let step = stopped["steps"].as_u64().unwrap();
    assert!((200..2000).contains(&step), "{step}");
    assert!(t.checkpoint("run", "latest").ends_with(&format!("step-{step:08}")), "the checkpoint is of the last step");
    let message = t.fails("eval run");
    says(&message, &["is not finished", "`esmm-funnel resume run`"]);

    t.ok("resume run");
    assert_same_end(&t, "run");
    assert_eq!(t.json("run/run.json")["resumed"], 1);
}

#[cfg(unix)]
#[test]
fn terminated_twice_then_resumed() {
    let t = start();
    let child = t.spawn(&format!("{TRAIN} --out run"));
    wait_for_checkpoint(&t, "run", 120);
    signal(&child, "TERM");
    t.wait(child).exits(130);
    let child = t.spawn("resume run");
    wait_for_checkpoint(&t, "run", 900);
    signal(&child, "INT");
    t.wait(child).exits(130);
    t.ok("resume run");
    assert_same_end(&t, "run");
    assert_eq!(t.json("run/run.json")["resumed"], 2);
}

#[test]
fn killed_then_resumed() {
    let t = start();
    let mut child = t.spawn(&format!("{TRAIN} --out run"));
    wait_for_checkpoint(&t, "run", 400);
    child.kill().unwrap();
    assert_eq!(t.wait(child).code, None);
    assert_eq!(t.json("run/run.json")["status"], "running");
    // What a kill in the middle of a write leaves.
    t.shell("mkdir -p run/checkpoints/.step-99999999.partial && echo half > run/checkpoints/.step-99999999.partial/model.safetensors")
        .exits(0);
    let half = t.text("run/metrics.jsonl") + "{\"step\":9";
    t.write("run/metrics.jsonl", half);
    t.ok("resume run");
    assert_same_end(&t, "run");
    assert!(!t.exists("run/checkpoints/.step-99999999.partial"), "leftovers go");
}

/// What an objective trains besides the towers is part of a checkpoint: its extra heads, and the numbers it learns.
#[test]
fn killed_with_extra_heads_and_learned_weights_then_resumed() {
    let objective = "--set objective={kind=\"escm2_dr\",weighting=\"uncertainty\"}";
    let t = start_with(objective);
    let mut child = t.spawn(&format!("{TRAIN} {objective} --out run"));
    wait_for_checkpoint(&t, "run", 300);
    child.kill().unwrap();
    assert_eq!(t.wait(child).code, None);
    t.ok("resume run");
    assert_same_end(&t, "run");
    let weights = t.bytes(&format!("{}/model.safetensors", t.checkpoint("run", "final")));
    let header = String::from_utf8_lossy(&weights[..8192.min(weights.len())]).into_owned();
    says(&header, &["\"head.purchase.imputation.", "\"objective\""]);
    let names: BTreeSet<String> = t.lines("run/metrics.jsonl").iter().map(|l| l["space"].as_str().unwrap().to_owned()).collect();
    for name in ["purchase.dr", "purchase.imputation", "purchase.dr.effective_sample_size", "purchase.dr.clipped"] {
        assert!(names.contains(name), "{name}: {names:?}");
    }
}

#[test]
fn killed_before_the_first_checkpoint() {
    let t = start();
    let mut child = t.spawn(&format!("{TRAIN} --set train.checkpoint_every_steps=0 --out run"));
    while !t.exists("run/run.json") {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    t.wait(child);
    t.ok("resume run");
    assert_same_end(&t, "run");
}

#[test]
fn killed_after_the_last_step() {
    // All is trained, predictions are written, but the run does not say so yet.
    let t = start();
    t.shell("cp -r whole run").exits(0);
    let unfinished = t.text("run/run.json").replace("\"finished\"", "\"running\"");
    t.write("run/run.json", unfinished);
    std::fs::remove_file(t.path("run/metrics.json")).unwrap();
    t.ok("resume run");
    assert_same_end(&t, "run");
}

#[cfg(unix)]
#[test]
fn interrupted_while_encoding() {
    let t = Sandbox::new();
    let spec = format!("{PROJECT}/funnels/ctr_cvr.toml --set data.source.rows=20000000");
    let child = t.spawn(&format!("run {spec} --out run -q"));
    while !t.exists(".esmm-store") {
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&child, "INT");
    let ran = t.wait(child).exits(130);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""), "{ran}");
    assert!(!t.exists("run"), "a run that never began leaves no folder");
    assert_eq!(t.files(".esmm-store").len(), 0, "nor half a store");
}

#[test]
fn a_finished_run_is_not_resumed() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let before = t.files("run");
    says(&t.fails("resume run"), &["`run` is finished"]);
    assert!(t.files("run") == before);
}

#[test]
fn changed_data_or_a_missing_run_are_told() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let unfinished = t.text("run/run.json").replace("\"finished\"", "\"interrupted\"");
    t.write("run/run.json", unfinished);
    let before = t.files("run");
    let more = t.text("train.csv") + "x,1,u1,c1,3,t1,5.5,0,0\n";
    t.write("train.csv", more);
    says(&t.fails("resume run"), &["the data of the run `run` have changed", "start a new run"]);
    assert!(t.files("run") == before, "the run is as it was");
    says(&t.fails("resume nowhere"), &["no run folder `nowhere`"]);
    std::fs::create_dir(t.path("empty")).unwrap();
    says(&t.fails("resume empty"), &["`empty` holds no run"]);
}
