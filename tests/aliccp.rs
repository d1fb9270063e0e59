//! Ali-CCP's raw form from end to end, on generated files: the same store however many threads read it, and the same numbers however it is scored.

#![allow(clippy::unwrap_used)]

mod common;

use common::table::Table;
use common::{PROJECT, Sandbox, says};

const SYNTH: &str = "synth aliccp --rows 8000 --test-rows 2000 --click-rate 0.3 --buy-rate 0.3 --vocab-scale 0.01 --history-scale 0.05";
const SMALL: &str = "--set defaults.tower.hidden=[8] --set embedding.dim=4 --set train.batch_rows=100";

fn spec(dir: &str) -> String {
    format!("{PROJECT}/configs/aliccp.toml --set data.source.dir={dir} {SMALL}")
}

#[test]
fn a_run_over_generated_files_is_evaluated_and_scored_from_raw_rows() {
    let t = Sandbox::new();
    let made = t.ok(&format!("{SYNTH} --out data --format json")).json();
    assert_eq!(made["parts"][0]["rows"], 8000);
    t.ok(&format!("run {} --set data.source.truth=true --out run --predictions -q", spec("data")));
    let run = t.json("run/run.json");
    let inputs = run["data"]["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), 4);
    assert!(inputs[1]["fingerprint"].as_str().unwrap().contains("variant paper"), "{inputs:?}");
    let test = t.json("run/metrics.json")["test"].clone();
    assert_eq!(test["purchase"]["full"]["rows"], 2000);
    let entire = &test["purchase"]["entire"];
    assert!(entire["auc"].as_f64().is_some() && entire["best"]["auc"].as_f64() > Some(0.6), "{entire}");
    // Other files, given as files: the same rows give the same numbers.
    let again = t.ok("eval run --data data/sample_skeleton_test.csv --format json").json();
    assert_eq!(again["data"]["purchase"], test["purchase"]);
    t.ok("predict run --data data/sample_skeleton_test.csv --out raw.parquet");
    Table::read(&t.path("run/predictions.parquet")).assert_same(&Table::read(&t.path("raw.parquet")));
    // A row whose user is unknown has no prediction.
    t.write("lone/common_features_x.csv", "");
    t.write("lone/sample_skeleton_x.csv", "1,0,0,nobody,0,\n");
    says(
        &t.fails("predict run --data lone/sample_skeleton_x.csv --out lone.csv"),
        &["sample_skeleton_x.csv:1", "a key that an entity input holds"],
    );
}

#[test]
fn the_number_of_threads_changes_no_byte_and_compression_none() {
    let t = Sandbox::new();
    // More than a block of each file.
    t.ok("synth aliccp --rows 20000 --test-rows 500 --out plain --vocab-scale 0.01");
    t.ok("synth aliccp --rows 20000 --test-rows 500 --out gz --vocab-scale 0.01 --gzip");
    let prepare = |threads: &str, dir: &str| {
        let args = format!("prepare {} --store store-{threads}-{dir}", spec(dir));
        let done = t.command(&args).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let mut files = t.files(&format!("store-{threads}-{dir}"));
        assert!(files.len() > 20);
        // The folder has the data's name, and `meta.json` tells the inputs.
        files.retain(|(name, _)| !name.ends_with("meta.json") || dir == "plain");
        files.into_iter().map(|(name, bytes)| (name.rsplit('/').next().unwrap().to_owned(), bytes)).collect::<Vec<_>>()
    };
    let one = prepare("1", "plain");
    assert!(one == prepare("4", "plain"), "threads change the store");
    let bare: Vec<_> = one.into_iter().filter(|(name, _)| name != "meta.json").collect();
    assert!(bare == prepare("4", "gz"), "compression changes the store");
}

#[test]
fn malformed_lines_are_told_or_left_out() {
    let t = Sandbox::new();
    t.ok(&format!("{SYNTH} --out data"));
    let rows = t.text("data/sample_skeleton_train.csv");
    let (first, second) = (rows.lines().next().unwrap(), rows.lines().nth(1).unwrap());
    let nobody = second.split(',').enumerate().map(|(i, c)| if i == 3 { "nobody" } else { c }).collect::<Vec<_>>().join(",");
    t.write(
        "data/sample_skeleton_train.csv",
        format!("{rows}{}\n{nobody}\n{}\n{}", first.replace('\u{2}', ":"), &second[..40], &first[..first.len() - 1]),
    );
    let users = t.text("data/common_features_train.csv");
    t.write("data/common_features_train.csv", format!("{users}{}\n", users.lines().next().unwrap()));
    let message = t.run(&format!("prepare {}", spec("data"))).exits(2).stderr;
    says(&message, &["common_features_train.csv:", "expected each key once", "malformed = \"skip\""]);
    let skip = format!("prepare {} --set data.source.malformed=skip", spec("data"));
    says(&t.run(&format!("{skip} --set data.source.malformed_limit=4")).exits(2).stderr, &["5 broken so far, and 4 may be left out"]);
    let ran = t.run(&skip).exits(0);
    says(&ran.stdout, &["10,000 rows"]);
    says(
        &ran.stderr,
        &["sample_skeleton_train.csv:8002: expected a key that an entity input holds", "a line end after every line", "left out"],
    );
    // What is there tells it again.
    says(&t.run(&skip).exits(0).stderr, &["sample_skeleton_train.csv:8002"]);
}

#[test]
fn files_may_be_named_one_by_one_and_other_preprocessings_have_configs() {
    let t = Sandbox::new();
    t.ok(&format!("{SYNTH} --out data"));
    let test = t.text("data/sample_skeleton_test.csv");
    let some: String = test.split_inclusive('\n').take(600).collect();
    t.write("data/sample_skeleton_valid.csv", some);
    t.write("data/common_features_valid.csv", t.bytes("data/common_features_test.csv"));
    let files = "source = { kind = \"aliccp\", skeleton = [\"data/sample_skeleton_train.csv\"], valid = 0.0 }\n[split]\nkind = \"files\"\n\
                 valid = [\"data/sample_skeleton_valid.csv\"]\ntest = [\"data/sample_skeleton_test.csv\"]\n";
    t.write("files.toml", format!("extends = \"{PROJECT}/configs/aliccp.toml\"\n[data]\n{files}"));
    t.ok(&format!("run files.toml {SMALL} --out run -q"));
    let run = t.json("run/metrics.json");
    assert_eq!((&run["valid"]["click"]["full"]["rows"], &run["test"]["click"]["full"]["rows"]), (&600.into(), &2000.into()));
    // Another file of users alone is no data.
    says(&t.fails("eval run --data data/common_features_test.csv"), &["no skeleton among the files"]);
    let aitm = spec("data").replace("aliccp.toml", "aliccp_aitm.toml");
    t.ok(&format!("run {aitm} --out aitm -q"));
    let fingerprint = t.json("aitm/run.json")["data"]["inputs"][1]["fingerprint"].to_string();
    assert!(fingerprint.contains("variant aitm"), "{fingerprint}");
}
