//! Bad input: one clear message that names file, line, key and remedy; exit code 2; nothing that was there is harmed.

use super::fixture::{SPEC, Sandbox, log, with_log};
use arrow::array::{Float64Array, Int64Array};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// Asserts that a message holds all of these.
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in:\n{message}");
    }
    assert!(message.lines().count() <= 25, "more than a screen:\n{message}");
}
/// Runs the small spec on this text, and gives the message.
fn on_csv(content: impl AsRef<[u8]>) -> String {
    let sandbox = Sandbox::new();
    sandbox.write("s.toml", SPEC);
    sandbox.write("log.csv", content);
    let message = sandbox.fails("run s.toml --out r");
    assert!(!sandbox.file("r").exists(), "no run was begun");
    message
}
/// 100 rows with one line put in after line 50.
fn with_line(line: &[u8]) -> Vec<u8> {
    let rows = log(100);
    let at = rows.match_indices('\n').nth(49).unwrap().0 + 1;
    [&rows.as_bytes()[..at], line, &rows.as_bytes()[at..]].concat()
}

#[test]
fn files_that_are_not_there_or_not_files() {
    let sandbox = Sandbox::new();
    says(&sandbox.fails("run none.toml"), &["none.toml"]);
    sandbox.write("s.toml", SPEC);
    says(&sandbox.fails("run s.toml --out r"), &["no file `log.csv`", "s.toml:8:", "^^^"]);
    std::fs::create_dir(sandbox.file("log.csv")).unwrap();
    says(&sandbox.fails("run s.toml --out r"), &["`log.csv` is a folder", "log.csv/*.csv", "s.toml:8:"]);
    sandbox.write("glob.toml", SPEC.replace("log.csv", "logs/*.csv"));
    says(&sandbox.fails("run glob.toml --out r"), &["no file matches `logs/*.csv`"]);
    assert!(!sandbox.file("r").exists());
}

#[test]
fn empty_files_and_files_without_rows() {
    says(&on_csv(""), &["`log.csv` is empty", "header"]);
    says(&on_csv("row,user,item,price,day,click,purchase\n"), &["no rows in `log.csv`", "s.toml:8:"]);
}

#[test]
fn broken_lines() {
    says(&on_csv(with_line(b"1,u1,2\n")), &["log.csv:51", "expected 7 fields, found 3"]);
    says(&on_csv(with_line(b"1,u\xff1,2,0.5,1,0,0\n")), &["log.csv:51", "column user", "not UTF-8", "iconv"]);
    says(&on_csv(with_line(b"1,u1,2,0.5,1,yes,0\n")), &["log.csv:51: column click: expected 0 or 1, found \"yes\""]);
    says(&on_csv(with_line(b"1,u1,2,0.5,1,,0\n")), &["log.csv:51", "column click", "expected 0 or 1"]);
    let number = "\n[feature.price]\nkind = \"number\"\n";
    let sandbox = Sandbox::new();
    sandbox.write("s.toml", SPEC.to_owned() + number);
    sandbox.write("log.csv", with_line(b"1,u1,2,cheap,1,0,0\n"));
    let message = sandbox.fails("run s.toml --out r");
    says(&message, &["log.csv:51: column price: expected a number, found text of 5 characters", "`missing`"]);
    assert!(!message.contains("cheap"), "values of features are not shown");
    says(&sandbox.fails("run s.toml --out r --show-values"), &["cheap"]);
}

#[test]
fn labels_that_contradict_the_funnel() {
    let message = on_csv(with_line(b"1,u1,2,0.5,1,0,1\n"));
    says(&message, &["1 row", "`purchase` = 1 though `click` was not reached", "log.csv:51", "[data]", "orphan_labels = \"clear_child\""]);
    let no_purchase = |line: &str| line.strip_suffix('1').map_or_else(|| format!("{line}\n"), |l| format!("{l}0\n"));
    let never: String = log(200).lines().map(no_purchase).collect();
    says(&on_csv(never), &["stage `purchase`", "none of the", "has label `purchase` = 1"]);
    for policy in ["drop_row", "clear_child", "set_parent", "keep"] {
        let sandbox = Sandbox::new();
        sandbox.write("log.csv", with_line(b"1,u1,2,0.5,1,0,1\n"));
        sandbox.write("s.toml", SPEC);
        sandbox.ok(&format!("run s.toml --out r --set data.orphan_labels={policy}"));
    }
}

#[test]
fn columns_that_are_missing_or_wrong() {
    let run = |feature: &str| {
        let sandbox = with_log(200);
        sandbox.write("s.toml", SPEC.to_owned() + feature);
        sandbox.fails("run s.toml --out r")
    };
    says(&run("[feature.x]\nkind = \"id\"\ncolumns = [\"usr\"]\n"), &["usr", "did you mean `user`?", "s.toml:15:", "^^^"]);
    says(
        &run("[feature.x]\nkind = \"id\"\ncolumns = [\"click\"]\n"),
        &["`click` is the label of stage `click` and a feature", "gives the answer away"],
    );
    let sandbox = with_log(200);
    sandbox.write("s.toml", SPEC.replace("-> click", "-> clik"));
    says(&sandbox.fails("run s.toml --out r"), &["clik", "did you mean `click`?"]);
}

#[test]
fn parquet_that_is_cut_or_of_the_wrong_type() {
    let sandbox = Sandbox::new();
    let clicks: Vec<i64> = (0..100).map(|i| i % 3 / 2).collect();
    let users = (0..100).map(|i| f64::from(i % 10)).collect::<Vec<_>>();
    let batch = RecordBatch::try_from_iter(vec![
        ("user", Arc::new(Float64Array::from(users)) as Arc<dyn arrow::array::Array>),
        ("click", Arc::new(Int64Array::from(clicks))),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    sandbox.write("whole.parquet", &bytes);
    sandbox.write("cut.parquet", &bytes[..bytes.len() / 2]);
    let spec = "[funnel]\nchain = \"impression -> click\"\n[data]\nsource = { kind = \"parquet\", files = [\"whole.parquet\"] }\n[feature.user]\nkind = \"id\"\n";
    sandbox.write("s.toml", spec);
    says(&sandbox.fails("run s.toml --out r"), &["column `user` holds floating-point numbers", "kind = \"number\"", "s.toml:5:"]);
    sandbox.write("s.toml", spec.replace("whole", "cut"));
    says(&sandbox.fails("run s.toml --out r"), &["`cut.parquet` cannot be read as Parquet", "truncated"]);
    assert!(!sandbox.file("r").exists());
}

#[test]
fn specs_that_contradict_themselves() {
    let sandbox = with_log(200);
    sandbox.write("a.toml", "extends = \"b.toml\"\n");
    sandbox.write("b.toml", "extends = \"a.toml\"\n");
    says(&sandbox.fails("check a.toml"), &["a.toml", "b.toml", "extends"]);
    sandbox.write("c.toml", "[funnel\n");
    says(&sandbox.fails("check c.toml"), &["c.toml:1"]);
    sandbox.write("d.toml", SPEC.to_owned() + "[stage.refund]\nafter = \"refund\"\n");
    says(&sandbox.fails("check d.toml"), &["refund", "d.toml:14:"]);
}

#[test]
fn a_run_is_never_overwritten() {
    let sandbox = with_log(600);
    sandbox.ok("run s.toml --out r");
    let before = (sandbox.read("r/metrics.json"), sandbox.read("r/run.json"));
    says(&sandbox.fails("run s.toml --out r"), &["`r` holds a run", "--out"]);
    assert!((sandbox.read("r/metrics.json"), sandbox.read("r/run.json")) == before);
    sandbox.write("notes/mine.txt", "keep");
    says(&sandbox.fails("run s.toml --out notes"), &["`notes` is not empty"]);
    says(&sandbox.fails("run s.toml --out s.toml"), &["`s.toml` is a file"]);
    assert_eq!(sandbox.read("notes/mine.txt"), b"keep");
    says(&sandbox.fails("eval nowhere"), &["there is no run folder `nowhere`"]);
    says(&sandbox.fails("eval notes"), &["`notes` holds no run"]);
}

#[test]
fn predictions_need_their_columns_and_never_overwrite() {
    let sandbox = with_log(600);
    sandbox.ok("run s.toml --out r");
    sandbox.write("less.csv", log(10).replace("item", "itm"));
    says(&sandbox.fails("predict r --data less.csv --out p.csv"), &["no column `item`", "did you mean `itm`?"]);
    assert!(!sandbox.file("p.csv").exists());
    sandbox.write("p.csv", "mine");
    says(&sandbox.fails("predict r --data log.csv --out p.csv"), &["`p.csv` exists"]);
    assert_eq!(sandbox.read("p.csv"), b"mine");
    says(&sandbox.fails("predict r --data log.csv --out p.xlsx"), &["`.csv` or a `.parquet`"]);
    says(&sandbox.fails("predict r --data log.txt --out q.csv"), &["log.txt"]);
}

#[test]
fn a_gpu_that_is_not_there() {
    let sandbox = with_log(200);
    // On a machine with a GPU and a build that can use it, number 99 is still not there.
    says(&sandbox.fails("run s.toml --out r --device cuda:99"), &["`--device cuda:99` cannot be had", "cpu"]);
    assert!(!sandbox.file("r").exists());
}

#[test]
fn a_loss_that_explodes_names_step_stage_and_checkpoint() {
    let sandbox = with_log(600);
    let set = "--set train.optimizer.kind=sgd --set train.optimizer.lr=1e30 --set train.warmup_steps=40";
    let message = sandbox.fails(&format!("run s.toml --out r {set} --set train.checkpoint_every_steps=1"));
    says(&message, &["the loss of `click` is not finite at step", "the last good checkpoint is `step-", "train.optimizer.lr"]);
    let manifest = sandbox.json("r/run.json");
    assert_eq!(manifest["status"], "failed");
    assert!(manifest["error"].as_str().unwrap().contains("not finite"));
}

#[test]
fn a_damaged_checkpoint_is_told() {
    let sandbox = with_log(600);
    sandbox.ok("run s.toml --out r");
    let model = sandbox.checkpoint("r").join("model.safetensors");
    let bytes = std::fs::read(&model).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    for command in ["eval r", "predict r --data log.csv --out p.csv"] {
        says(&sandbox.fails(command), &["model.safetensors` is damaged", "restore it from a copy, or train again"]);
    }
    assert!(!sandbox.file("p.csv").exists());
}

#[test]
fn data_that_changed_since_are_told() {
    let sandbox = with_log(600);
    sandbox.ok("run s.toml --out r");
    sandbox.write("log.csv", log(700));
    says(&sandbox.fails("eval r"), &["data have changed", "--data"]);
}

/// The disk fills up while a checkpoint is written: the previous one stays whole, and `resume` goes on from it once there is room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_during_a_checkpoint() {
    let sandbox = with_log(2000);
    // A file may grow to 64 KiB (128 blocks of 512 bytes); the wide tower's checkpoint is larger.
    let program = super::fixture::PROGRAM;
    let set = "--set train.epochs=3 --set train.checkpoint_every_steps=5";
    let wide = "--set stage.click.tower.hidden=[400,200]";
    sandbox.ok(&format!("prepare s.toml {set}"));
    let script = format!("trap '' XFSZ; ulimit -f 128; exec {program} run s.toml --out r {set} {wide}");
    let shell = std::process::Command::new("bash").args(["-c", &script]).current_dir(sandbox.path()).env("NO_COLOR", "1").output();
    let Ok(output) = shell else {
        eprintln!("skipped: there is no bash to limit the size of files");
        return;
    };
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    says(&message, &["could not be written", "free some space", "esmm-funnel resume", "too large"]);
    let leftovers: Vec<_> = std::fs::read_dir(sandbox.file("r/checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
    assert_eq!(sandbox.json("r/run.json")["status"], "failed");
    // With room again it goes on, here from the start.
    sandbox.ok("resume r");
    sandbox.ok("eval r");
}
