//! What a user does wrong, or a machine does to them: one clear message that names the file, the line, the key and the remedy, exit code 2,
//! and nothing that existed is harmed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use common::log::{Row, csv, parquet, rows_of, save};
use common::{Sandbox, says};
use std::sync::Arc;

/// The message of a command that must fail; all of it is a snapshot.
#[track_caller]
fn told(t: &Sandbox, name: &str, args: &str) -> String {
    let ran = t.run(args);
    snapshot!(name, ran);
    ran.complains()
}

/// `check` of the log with a train file of these lines.
#[track_caller]
fn told_of_lines(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let t = Sandbox::with_log();
    let mut text = csv(&rows_of("train")[..20], true).into_bytes();
    change(&mut text);
    t.write("train.csv", &text);
    let message = told(&t, name, "run log.toml --device cpu -q");
    assert!(
        !t.exists("runs/log") || std::fs::read_dir(t.path("runs/log")).unwrap().next().is_none(),
        "a run that never began leaves no folder"
    );
    message
}

#[test]
fn a_missing_data_file() {
    let t = Sandbox::with_log();
    std::fs::remove_file(t.path("train.csv")).unwrap();
    let message = told(&t, "missing_data", "check log.toml -q");
    says(&message, &["no file `train.csv`", "log.toml:8", "relative paths"]);
    says(&t.fails("check log.toml -q --set data.source.files=[\"*.tsv\"]"), &["no file matches `*.tsv`"]);
}

#[test]
fn a_folder_instead_of_a_file() {
    let t = Sandbox::with_log();
    std::fs::create_dir(t.path("logs")).unwrap();
    let message = told(&t, "folder_as_data", "check log.toml -q --set data.source.files=[\"logs\"]");
    says(&message, &["`logs` is a folder", "`logs/*.csv`"]);
    says(&t.fails("check logs"), &["cannot read `logs`", "is a folder"]);
}

#[test]
fn an_empty_file() {
    let message = told_of_lines("empty_file", Vec::clear);
    says(&message, &["`train.csv` is empty", "header"]);
}

#[test]
fn a_header_without_rows() {
    let message = told_of_lines("header_only", |text| text.truncate(text.iter().position(|b| *b == b'\n').unwrap() + 1));
    says(&message, &["no row into train", "no rows in `train.csv`"]);
    let t = Sandbox::new();
    t.write("log.csv", "item,click\n");
    t.write(
        "one.toml",
        "features = \"infer\"\n[funnel]\nchain = \"row -> click\"\n[data]\nsource = { kind = \"csv\", files = [\"log.csv\"] }\n",
    );
    says(&told(&t, "header_only_infer", "check one.toml -q"), &["no rows in `log.csv`"]);
}

#[test]
fn a_ragged_row() {
    let message = told_of_lines("ragged_row", |text| text.extend(b"a,1,u1,c1,3,t1,5.0,1\n"));
    says(&message, &["train.csv:22", "expected 9 fields, found 8", "double quotes"]);
}

#[test]
fn bytes_that_are_not_utf8() {
    let message = told_of_lines("not_utf8", |text| text.extend(b"a,1,u\xff1,c1,3,t1,5.0,1,0\n"));
    says(&message, &["train.csv:22", "column user_id", "not UTF-8", "iconv"]);
}

#[test]
fn a_label_in_words() {
    let message = told_of_lines("label_in_words", |text| text.extend(b"a,1,u1,c1,3,t1,5.0,yes,0\n"));
    says(&message, &["train.csv:22: column click: expected 0 or 1, found \"yes\"", "0 or 1"]);
}

#[test]
fn a_word_where_a_number_stands() {
    let message = told_of_lines("number_in_words", |text| text.extend(b"a,1,u1,c1,3,t1,cheap,1,0\n"));
    says(&message, &["train.csv:22", "column price: expected a number", "`missing`"]);
    assert!(!message.contains("cheap"), "values of features are shown on request only");
}

#[test]
fn orphan_labels_with_the_toml_to_type() {
    let message = told_of_lines("orphan_labels", |text| text.extend(b"a,1,u1,c1,3,t1,5.0,0,1\n"));
    says(&message, &["1 row has label `purchase` = 1", "train.csv:22", "[data]", "orphan_labels = \"clear_child\""]);
}

#[test]
fn a_stage_of_one_class() {
    let message = told_of_lines("single_class", |text| {
        let all = String::from_utf8(std::mem::take(text)).unwrap().replace(",1,1\n", ",1,0\n");
        text.extend(all.bytes());
    });
    says(&message, &["stage `purchase`: none of the", "label `purchase` = 1", "log.toml:2"]);
}

/// The log's rows as Parquet, labels included.
fn labelled(rows: &[Row], item: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let text = |of: fn(&Row) -> &str| Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let label = |of: fn(&Row) -> u8| Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| i64::from(of(r))))) as ArrayRef;
    vec![("user_id", text(|r| &r.user)), ("item_id", item), ("click", label(|r| r.click)), ("purchase", label(|r| r.purchase))]
}
const PARQUET_SPEC: &str = "[funnel]\nchain = \"impression -> click -> purchase\"\n\n[data]\nsource = { kind = \"parquet\", files = [\"log.parquet\"] }\n\n[feature.ids]\nkind = \"id\"\ncolumns = [\"user_id\", \"item_id\"]\n";

#[test]
fn a_fraction_where_an_id_stands() {
    let t = Sandbox::new();
    let rows = rows_of("train");
    let items = Float64Array::from_iter_values(rows.iter().map(|r| f64::from(u32::try_from(r.item).unwrap()) + 0.5));
    save(labelled(&rows, Arc::new(items)), &t.path("log.parquet"));
    t.write("log.toml", PARQUET_SPEC);
    says(&told(&t, "float_id", "check log.toml -q"), &["item_id", "kind = \"number\""]);
}

#[test]
fn a_truncated_parquet_file() {
    let t = Sandbox::new();
    let rows = rows_of("train");
    save(labelled(&rows, Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.item)))), &t.path("log.parquet"));
    t.write("log.toml", PARQUET_SPEC);
    t.ok("check log.toml -q");
    let bytes = t.bytes("log.parquet");
    t.write("log.parquet", &bytes[..bytes.len() / 2]);
    says(&told(&t, "truncated_parquet", "check log.toml -q"), &["`log.parquet` cannot be read as Parquet", "truncated"]);
    // The end is there, the middle is not.
    let mut broken = bytes.clone();
    broken[10..bytes.len() / 2].fill(0xff);
    t.write("log.parquet", broken);
    says(&t.fails("check log.toml -q"), &["`log.parquet` cannot be read as Parquet"]);
}

#[test]
fn names_that_are_not_there() {
    let t = Sandbox::with_log();
    let message = told(&t, "unknown_column", "check log.toml -q --set feature.item.columns=[\"itm_id\"]");
    says(&message, &["feature `item`", "no column `itm_id`", "did you mean `item_id`?"]);
    says(&t.fails("check log.toml -q --set stage.click.label=clik"), &["stage `click`", "did you mean `click`?"]);
    says(&t.fails("check log.toml -q --set data.keys=[\"idd\"]"), &["`data.keys`", "did you mean `id`?"]);
    says(&t.fails("check log.toml -q --set extends=other.toml"), &["cannot change what a spec extends"]);
}

#[test]
fn a_label_listed_as_a_feature() {
    let t = Sandbox::with_log();
    let message = told(&t, "label_as_feature", "check log.toml -q --set feature.item.columns=[\"item_id\",\"click\"]");
    says(&message, &["label of stage `click`", "take the column out"]);
}

#[test]
fn specs_that_are_missing_or_go_in_circles() {
    let t = Sandbox::with_log();
    says(&told(&t, "missing_spec", "run lgo.toml"), &["cannot read `lgo.toml`", "did you mean `log.toml`?"]);
    t.write("a.toml", "extends = \"b.toml\"\n");
    t.write("b.toml", "extends = \"a.toml\"\n");
    says(&told(&t, "extends_circle", "run a.toml"), &["`a.toml` → `b.toml` → `a.toml`", "b.toml:1"]);
    t.write("half.toml", "[train]\nepochs = [1,\n");
    says(&told(&t, "not_toml", "run half.toml"), &["half.toml:2", "not valid TOML"]);
}

#[test]
fn a_run_folder_that_exists_is_left_alone() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let before = t.files("run");
    says(&told(&t, "run_exists", "run log.toml --out run --device cpu -q"), &["`run` holds a run", "never overwritten", "--out"]);
    assert!(t.files("run") == before);
    std::fs::create_dir(t.path("papers")).unwrap();
    t.write("papers/thesis.txt", "do not lose");
    says(&t.fails("run log.toml --out papers"), &["`papers` is not empty"]);
    let unfinished = t.text("run/run.json").replace("\"finished\"", "\"interrupted\"");
    t.write("run/run.json", unfinished);
    says(&t.fails("run log.toml --out run"), &["holds a run that is not finished", "`esmm-funnel resume run`"]);
    says(&t.fails("run log.toml --out log.toml"), &["`log.toml` is a file"]);
    assert_eq!(t.text("papers/thesis.txt"), "do not lose");
    // An empty folder is fine, and stays if nothing came of the run.
    std::fs::create_dir(t.path("fresh")).unwrap();
    t.ok("run log.toml --out fresh");
}

#[test]
fn a_gpu_that_is_not_there() {
    let t = Sandbox::with_log();
    let ran = t.run("run log.toml --device cuda:0 -q");
    if ran.code == Some(0) {
        eprintln!("skipped: there is a GPU");
        return;
    }
    says(&ran.complains(), &["`--device cuda:0` cannot be had", "`--device cpu`"]);
    assert!(!t.exists("runs"));
}

#[test]
fn a_loss_that_is_no_number() {
    let t = Sandbox::with_log();
    let rates = "--set train.optimizer.lr=1e30 --set embedding.optimizer.lr=1e30";
    let message = told(&t, "loss_not_finite", &format!("run log.toml --device cpu -q {rates} --out run"));
    says(&message, &["the loss of `", "is not finite at step", "no checkpoint yet", "train.optimizer.lr"]);
    let t = Sandbox::with_log();
    // The rate grows until it breaks, with checkpoints before that.
    let rates = "--set train.optimizer.lr=1e37 --set train.warmup_steps=1000000 --set train.checkpoint_every_steps=1";
    let ran = t.run(&format!("run log.toml --out run {rates} --set train.optimizer.kind=sgd"));
    if ran.code == Some(2) {
        let message = ran.complains();
        says(&message, &["is not finite at step", "the last good checkpoint is `step-"]);
        let run = t.json("run/run.json");
        assert_eq!(run["status"], "failed");
        says(run["error"].as_str().unwrap(), &["is not finite at step"]);
        assert!(t.path(&t.checkpoint("run", "latest")).is_dir());
    } else {
        panic!("the loss stayed finite: {ran}");
    }
}

#[test]
fn a_checkpoint_cut_in_half() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let file = format!("{}/model.safetensors", t.checkpoint("run", "final"));
    let whole = t.bytes(&file);
    t.write(&file, &whole[..whole.len() / 2]);
    for command in ["eval run", "predict run --data test.csv --out p.csv"] {
        let message = t.fails(command);
        says(&message, &["model.safetensors` is damaged", "restore it from a copy, or train again"]);
    }
    snapshot!("damaged_checkpoint", t.run("eval run"), [(r"it has \d+ bytes, \d+ were", "it has [n] bytes, [n] were")]);
    assert!(!t.exists("p.csv"));
    std::fs::remove_file(t.path(&file)).unwrap();
    says(&t.fails("eval run"), &["model.safetensors"]);
    t.write(&file, &whole);
    t.ok("eval run");
    for file in ["run/features/features.json", "run/features/vocabulary.parquet", "run/run.json", "run/checkpoints/index.json"] {
        let whole = t.bytes(file);
        t.write(file, &whole[..whole.len() / 2]);
        let name = file.rsplit('/').next().unwrap();
        says(&t.fails("eval run"), &[name]);
        t.write(file, whole);
    }
}

#[test]
fn predictions_never_overwrite() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    t.write("p.csv", "mine");
    says(&told(&t, "predictions_exist", "predict run --data test.csv --out p.csv"), &["`p.csv` exists", "never overwrite"]);
    assert_eq!(t.text("p.csv"), "mine");
    says(&t.fails("predict run --data test.csv --out p.txt"), &["`p.txt`", "`.csv` or a `.parquet`"]);
    says(&t.fails("predict run --data test.csv --out no/where/p.csv"), &["no/where/p.csv"]);
    says(&t.fails("predict run --data log.toml --out q.csv"), &["`log.toml`", ".csv, .tsv"]);
    says(&t.fails("predict run --data nope.csv --out q.csv"), &["no file `nope.csv`", "working directory"]);
}

#[test]
fn rows_to_score_that_lack_a_column() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let rows = rows_of("test");
    t.write("x.csv", csv(&rows, false).replacen("item_id", "itemid", 1));
    let message = told(&t, "predict_missing_column", "predict run --data x.csv --out p.csv");
    says(&message, &["no column `item_id`", "did you mean `itemid`?"]);
    parquet(&rows, &t.path("x.parquet"));
    t.write("y.csv", csv(&rows[..5], false) + "a,1,u1,c1,3,t1\n");
    says(&t.fails("predict run --data y.csv --out p.csv"), &["y.csv:7", "expected 7 fields, found 6"]);
    t.write("z.csv", csv(&rows[..5], false) + "a,1,u1,c1,3,t1,cheap\n");
    says(&t.fails("predict run --data z.csv --out p.csv"), &["z.csv:7", "column price"]);
    says(&t.fails("predict run --data test.csv x.parquet --out p.csv"), &["several kinds"]);
    // Evaluation needs labels.
    t.write("x.csv", csv(&rows, false));
    says(&t.run("eval run --data x.csv").exits(2).stderr, &["column `click` is missing", "column `purchase` is missing"]);
    let left: Vec<String> = std::fs::read_dir(t.path(""))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.contains("p.csv"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// With `ulimit -f`, files beyond a size fail as on a full disk.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full() {
    let t = Sandbox::with_log();
    let args = "--set train.checkpoint_every_steps=10 --set embedding.dim=64 -q --predictions";
    t.ok(&format!("run log.toml {args} --out whole"));
    t.ok(&format!("run log.toml {args} --set train.epochs=1 --out probe"));
    let optimizer = t.bytes(&format!("{}/optimizer.safetensors", t.checkpoint("probe", "final"))).len();
    // Blocks are 512 bytes, or 1024 in some shells: a limit that the model fits and the optimiser's state does not.
    let model = t.bytes(&format!("{}/model.safetensors", t.checkpoint("probe", "final"))).len();
    assert!(model * 3 / 2 < optimizer);

    // A run stopped in the middle, then resumed on a full disk.
    let child = t.spawn(&format!("run log.toml {args} --set train.epochs=400 --out run"));
    while !t.exists("run/checkpoints/index.json") {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    t.wait(child).exits(130);
    let before = t.files("run/checkpoints");
    let full = |blocks: usize| t.shell(&format!("trap '' XFSZ; ulimit -f {blocks} && \"$esmm\" resume run -q"));
    let mut ran = full(model * 5 / 4 / 512);
    if ran.code.is_none() {
        eprintln!("skipped: this system cannot limit the size of files: {ran}");
        return;
    }
    if !ran.stderr.contains("checkpoint") {
        ran = full(model * 5 / 4 / 1024);
    }
    let message = ran.complains();
    says(&message, &["the checkpoint `run/checkpoints/step-", "could not be written", "free some space", "`esmm-funnel resume"]);
    assert!(t.files("run/checkpoints") == before, "the old checkpoint is whole, and nothing stands aside");
    assert_eq!(t.json("run/run.json")["status"], "failed");
    // With space again, it goes on; that it ends in the same bits is tested with `resume`.
    let child = t.spawn("resume run -q");
    let first = t.checkpoint("run", "latest");
    while t.checkpoint("run", "latest") == first {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    t.wait(child).exits(130);
}
