//! From a spec to predictions: what a run leaves behind, and that every way to score gives the same numbers.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use arrow::array::{ArrayRef, Int64Array, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use common::log::{csv, parquet, rows_of};
use common::table::Table;
use common::{PROJECT, SMALL, Sandbox, says};
use parquet::arrow::ArrowWriter;
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn a_run_folder_holds_everything() {
    let t = Sandbox::new();
    t.ok(&format!("run {PROJECT}/funnels/ctr_cvr.toml {SMALL} --out run --predictions"));
    let step = t.checkpoint("run", "final");
    let expected = ["spec.toml", "resolved.toml", "run.json", "metrics.jsonl", "metrics.json", "lint.json", "predictions.parquet"];
    let inside = ["features/features.json", "features/vocabulary.parquet", "checkpoints/index.json"];
    for file in expected.into_iter().chain(inside) {
        assert!(t.path("run").join(file).is_file(), "{file}");
    }
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        assert!(t.path(&step).join(file).is_file(), "{file}");
    }
    let leftovers: Vec<String> = t.files("run").into_iter().map(|f| f.0).filter(|f| f.contains(".partial")).collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");

    assert_eq!(t.bytes("run/spec.toml"), std::fs::read(format!("{PROJECT}/funnels/ctr_cvr.toml")).unwrap());
    says(&t.text("run/resolved.toml"), &["hidden = [8]  # --set", "batch_rows = 256", "# default", "ctr_cvr.toml:"]);
    let run = t.json("run/run.json");
    assert_eq!((run["status"].as_str(), run["seed"].as_u64(), run["device"].as_str()), (Some("finished"), Some(1), Some("cpu")));
    assert_eq!((run["steps"].as_u64(), run["data"]["rows"].as_u64()), (run["total_steps"].as_u64(), Some(20_000)));
    assert_eq!(run["argv"][1], "run");
    for key in ["version", "created", "funnel", "threads", "durations"] {
        assert!(!run[key].is_null(), "{key}");
    }

    let metrics = t.json("run/metrics.json");
    for part in ["valid", "test"] {
        for space in ["conditional", "full", "entire"] {
            let m = &metrics[part]["purchase"][space];
            for key in ["rows", "positives", "logloss", "ne", "pcoc", "ece", "best"] {
                assert!(!m[key].is_null(), "{part} {space} {key}");
            }
            assert!(m["auc"].is_f64() || m["auc_reason"].is_string(), "{part} {space}: {m}");
        }
    }
    assert!(metrics["timing"]["rows_per_second"].as_f64() > Some(0.0) && metrics["timing"]["train_seconds"].is_f64());
    let lines = t.lines("run/metrics.jsonl");
    for part in ["train", "valid", "test"] {
        assert!(lines.iter().any(|l| l["part"] == part), "{part}");
    }
    let keys: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["step", "epoch", "part", "stage", "space", "rows", "positives", "loss", "auc", "logloss", "ne", "pcoc", "ece"];
    assert_eq!(keys, expected);
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    let t = Sandbox::with_log();
    for (out, seed) in [("a", 5), ("b", 5), ("c", 6)] {
        t.ok(&format!("run log.toml --out {out} --seed {seed}"));
    }
    let test = |run: &str| t.json(&format!("{run}/metrics.json"))["test"].clone();
    let weights = |run: &str| t.bytes(&format!("{}/model.safetensors", t.checkpoint(run, "final")));
    assert_eq!((test("a"), weights("a")), (test("b"), weights("b")));
    assert_ne!(weights("a"), weights("c"));
    assert_ne!(test("a"), test("c"));
    // It learns: users and items differ in what they click and buy.
    let auc = test("a")["click"]["full"]["auc"].as_f64().unwrap();
    assert!(auc > 0.6, "{auc}");
}

#[test]
fn eval_repeats_the_test_metrics_exactly() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let test = t.json("run/metrics.json")["test"].clone();
    assert_eq!(t.ok("eval run --format json").json()["test"], test);
    // The test file as any other file: the same rows in another part.
    assert_eq!(t.ok("eval run --data test.csv --format json").json()["data"], test);
    // From another folder, and after the run was moved.
    std::fs::create_dir(t.path("elsewhere")).unwrap();
    std::fs::rename(t.path("run"), t.path("elsewhere/moved")).unwrap();
    assert_eq!(t.ok("eval elsewhere/moved --format json").json()["test"], test);
    let ran = t.shell("cd elsewhere && \"$esmm\" eval moved --format json").exits(0);
    assert_eq!(ran.json()["test"], test);
}

#[test]
fn predict_gives_the_runs_own_predictions_from_every_format() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run --predictions");
    let own = Table::read(&t.path("run/predictions.parquet"));
    let expected = ["id", "day", "p_click", "p_click_given_impression", "p_purchase", "p_purchase_given_click"];
    assert_eq!(own.names, expected);
    let rows = rows_of("test");
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    assert_eq!(own.text("id"), ids, "rows stand in input order");
    let (click, given, purchase) = (own.numbers("p_click"), own.numbers("p_purchase_given_click"), own.numbers("p_purchase"));
    for i in 0..rows.len() {
        assert!((click[i] * given[i] - purchase[i]).abs() < 1e-12, "the product along the path");
        assert!(0.0 < purchase[i] && purchase[i] < click[i] && click[i] < 1.0);
    }

    // The same rows without labels, as CSV, gzip and Parquet, in one file and in several.
    t.write("x.csv", csv(&rows, false));
    parquet(&rows, &t.path("x.parquet"));
    t.write("x1.csv", csv(&rows[..700], false));
    t.write("x2.csv", csv(&rows[700..], false));
    t.shell("gzip -k x.csv").exits(0);
    for (i, (data, out)) in [
        ("test.csv", "parquet"),
        ("x.csv", "csv"),
        ("x.csv.gz", "parquet"),
        ("x.parquet", "parquet"),
        ("x.parquet", "csv"),
        ("x1.csv x2.csv", "csv"),
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("p{i}.{out}");
        let ran = t.ok(&format!("predict run --data {data} --out {out}"));
        says(&ran.stdout, &["1,500 rows"]);
        own.assert_same(&Table::read(&t.path(&out)));
    }
    let leftovers =
        std::fs::read_dir(t.path("")).unwrap().filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("partial"));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn a_row_scores_the_same_whatever_stands_beside_it() {
    let t = Sandbox::with_log();
    let all: Vec<_> = ["train", "valid", "test"].into_iter().flat_map(rows_of).collect();
    t.write("all.csv", csv(&all, true));
    let split = "--set split={kind=\"random\",valid=0.2,test=0.3,seed=4}";
    t.ok(&format!("run log.toml {split} --set data.source.files=[\"all.csv\"] --out run --predictions"));
    t.ok("predict run --data all.csv --out all.parquet");
    let (test, every) = (Table::read(&t.path("run/predictions.parquet")), Table::read(&t.path("all.parquet")));
    assert_eq!(every.rows(), all.len());
    let at: Vec<usize> = test.text("id").iter().map(|id| every.text("id").iter().position(|i| i == id).unwrap()).collect();
    assert!(at.is_sorted() && at.len() > 1500, "test rows stand in input order");
    for name in test.names.iter().filter(|n| n.starts_with("p_")) {
        let (own, other) = (test.numbers(name), every.numbers(name));
        for (i, &a) in at.iter().enumerate() {
            assert!((own[i] / other[a] - 1.0).abs() < 1e-5, "{name} of {}", test.text("id")[i]);
        }
    }
    // Alone in its file.
    t.write("one.csv", csv(&all[7..8], false));
    t.ok("predict run --data one.csv --out one.csv.csv");
    let one = Table::read(&t.path("one.csv.csv"));
    assert!((one.numbers("p_purchase")[0] / every.numbers("p_purchase")[7] - 1.0).abs() < 1e-5);
}

#[test]
fn an_entity_changes_the_speed_and_not_the_model() {
    // Ids only, the user's last: then the columns stand in the same order with the entity and without, and start with the same weights.
    // Ids are masked per row or per entity, so masking is off.
    let t = Sandbox::with_log();
    let spec = t.text("log.toml");
    let head = &spec[..spec.find("[entity.user]").unwrap()];
    let (features, rest) = (
        "[feature.item]\nkind = \"id\"\ncolumns = [\"item_id\"]\n[feature.user]\nkind = \"id\"\n",
        &spec[spec.find("[embedding]").unwrap()..],
    );
    let columns = "columns = [\"user_id\", \"city\"]\n";
    t.write("flat.toml", format!("{head}{features}{columns}{rest}"));
    t.write("entity.toml", format!("{head}[entity.user]\nkey = \"user_id\"\n{features}{columns}of = \"user\"\n{rest}"));
    for name in ["flat", "entity"] {
        t.ok(&format!("run {name}.toml --out {name} --predictions --set embedding.oov_rate=0"));
    }
    let [flat, entity] = ["flat", "entity"].map(|run| Table::read(&t.path(&format!("{run}/predictions.parquet"))));
    for (a, b) in flat.numbers("p_purchase").into_iter().zip(entity.numbers("p_purchase")) {
        assert!((a / b - 1.0).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn ids_never_seen_are_read_as_unknown_and_counted() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let mut rows = rows_of("test");
    rows.truncate(50);
    for row in &mut rows {
        row.user = format!("new-{}", row.id);
    }
    t.write("new.csv", csv(&rows, false));
    let ran = t.ok("predict run --data new.csv --out p.csv");
    says(&ran.stdout, &["user_id: 50 values are unknown to the model"]);
    assert!(!ran.stdout.contains("new-"), "values of features are not shown: {ran}");
}

#[test]
fn repeat_trains_with_seeds_that_count_up() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --seed 3 --repeat 2 --out many");
    let mean = t.json("many/metrics.json");
    assert_eq!(mean["seeds"], serde_json::json!([3, 4]));
    let auc = |run: &str| t.json(&format!("{run}/metrics.json"))["test"]["click"]["full"]["auc"].as_f64().unwrap();
    let (a, b) = (auc("many/seed-3"), auc("many/seed-4"));
    let spread = &mean["test"]["click"]["full"]["auc"];
    assert!((spread["mean"].as_f64().unwrap() - f64::midpoint(a, b)).abs() < 1e-12);
    assert!((spread["std"].as_f64().unwrap() - (a - b).abs() / 2f64.sqrt()).abs() < 1e-12, "{spread}");
    assert_eq!(spread["n"], 2);
    // Each is the run that it would have been alone.
    t.ok("run log.toml --seed 4 --out alone");
    assert_eq!(auc("alone"), b);
    t.ok("eval many/seed-4");
    let message = t.fails("run log.toml --repeat 0 --out none");
    says(&message, &["`--repeat 0`"]);
    assert!(!t.exists("none"));
}

#[test]
fn the_store_is_made_once_and_can_be_deleted() {
    let t = Sandbox::with_log();
    let reused = |args: &str| t.ok(&format!("prepare log.toml {args} --format json")).json()["reused"].as_bool().unwrap();
    t.ok("run log.toml --out a");
    assert!(reused(""), "made by the run");
    assert!(reused("--set train.epochs=9 --set feature.price.transform=none --set feature.item.min_count=9"), "what does not matter");
    assert!(!reused("--set data.keys=[\"id\"]"), "other columns");
    assert!(!reused("--store other"), "another place");
    let before = t.json("a/metrics.json")["test"].clone();
    std::fs::remove_dir_all(t.path(".esmm-store")).unwrap();
    assert!(!reused(""));
    t.ok("run log.toml --out b");
    assert_eq!(t.json("b/metrics.json")["test"], before);
    assert_eq!(t.ok("eval a --format json").json()["test"], before);
    // A file that changed is read again.
    let text = t.text("train.csv");
    t.write("train.csv", text + "x,1,u1,c1,3,t1,5.5,0,0\n");
    assert!(!reused(""));
}

/// The folder in which some process builds a store, if there is one.
fn unfinished(t: &Sandbox) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(t.path(".esmm-store")).into_iter().flatten().map(|e| e.unwrap().path());
    entries.filter(|p| p.is_dir()).find(|p| p.file_name().unwrap().to_string_lossy().starts_with('.'))
}

#[test]
fn what_a_killed_prepare_leaves_is_swept_and_what_a_living_one_writes_is_not() {
    let t = Sandbox::with_log();
    let mut child = t.spawn(&format!("prepare {PROJECT}/funnels/four_stage.toml --set data.source.rows=1000000000"));
    while unfinished(&t).is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it has a billion rows to encode");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    t.ok("prepare log.toml");
    assert!(unfinished(&t).is_some_and(|dir| dir.join("labels.u8").is_file()));
    // Nothing that the process could do about it.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(unfinished(&t).is_some());
    t.ok("prepare log.toml");
    assert!(unfinished(&t).is_some(), "a store that is there is used without looking around");
    t.ok("prepare log.toml --set data.keys=[\"id\"]");
    assert_eq!(std::fs::read_dir(t.path(".esmm-store")).unwrap().count(), 2, "two stores, and no lock");
}

#[test]
fn a_damaged_store_is_told_and_made_anew() {
    let t = Sandbox::with_log();
    let store = t.ok("prepare log.toml --format json").json()["store"].as_str().unwrap().to_owned();
    says(&t.ok("prepare log.toml --verify").stdout, &["is there already, and whole"]);
    let labels = format!("{store}/labels.u8");
    let mut bytes = t.bytes(&labels);
    bytes[40] ^= 1;
    t.write(&labels, &bytes);
    says(
        &t.ok("prepare log.toml").stdout,
        &["was damaged (`", "labels.u8` is not what was written: its checksum differs) and is written anew"],
    );
    bytes[40] ^= 1;
    assert_eq!(t.bytes(&labels), bytes);
    says(&t.ok("prepare log.toml").stdout, &["is there already"]);
}

#[test]
fn times_as_text_numbers_and_columns_of_parquet_are_scored_alike() {
    let t = Sandbox::new();
    let seconds: Vec<i64> = (0..3000).map(|i| 1_700_000_000 + i * 20_011).collect();
    let clicks: Vec<i64> = seconds.iter().map(|s| i64::from(s / 3600 % 24 > 17 || s % 7 == 0)).collect();
    let text: Vec<String> = seconds.iter().map(|s| jiff::Timestamp::from_second(*s).unwrap().to_string()).collect();
    let mut csv = String::from("id,at,click\n");
    (0..3000).for_each(|i| csv += &format!("{i},{},{}\n", text[i], clicks[i]));
    t.write("log.csv", csv);
    let feature = "[feature.at]\nkind = \"time\"\nparts = [\"hour\", \"weekday\", \"week\"]\nunit = \"seconds\"\ntimezone = \"-03:30\"\n";
    let data = "[data]\nsource = { kind = \"csv\", files = [\"log.csv\"] }\nkeys = [\"id\"]\n";
    let train = "[train]\nbatch_rows = 64\nepochs = 3\noptimizer = { kind = \"adam\", lr = 0.01 }\n";
    t.write("spec.toml", format!("[funnel]\nchain = \"impression -> click\"\n{feature}{data}{train}"));
    t.ok("run spec.toml --out run");
    assert!(t.json("run/metrics.json")["test"]["click"]["full"]["auc"].as_f64().unwrap() > 0.75);
    t.ok("predict run --data log.csv --out text.csv");
    t.write("numbers.csv", (0..3000).fold("id,at\n".to_owned(), |csv, i| csv + &format!("{i},{}\n", seconds[i])));
    t.ok("predict run --data numbers.csv --out numbers.out.csv");
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3000));
    let at: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(seconds.iter().map(|s| s * 1000)).with_timezone("UTC"));
    let records = RecordBatch::try_from_iter([("id", id), ("at", at)]).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(t.path("log.parquet")).unwrap(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    writer.close().unwrap();
    t.ok("predict run --data log.parquet --out parquet.csv");
    assert_eq!(t.text("text.csv"), t.text("numbers.out.csv"));
    assert_eq!(t.text("text.csv"), t.text("parquet.csv"));
    t.write("broken.csv", "id,at\n1,2024-05-31\n2,tomorrow\n");
    says(
        &t.fails("predict run --data broken.csv --out none.csv"),
        &["broken.csv:3: column at: expected a time", "found text of 8 characters"],
    );
}

/// A row is clicked if its item is among those its user saw last: pooled, the history cannot tell; a tower that attends to it can.
#[test]
fn a_tower_that_attends_sees_what_a_pooled_history_hides() {
    let t = Sandbox::new();
    let mut log = String::from("row,user,item,seen,click\n");
    for row in 0..6000_u32 {
        let dice = |salt: u32| (row * 7 + salt).wrapping_mul(2_654_435_761) >> 12;
        let seen: Vec<u32> = (0..dice(0) % 6).map(|i| dice(1 + i) % 12).collect();
        let item = if let (true, Some(last)) = (dice(9) % 2 == 0, seen.last()) { *last } else { dice(10) % 12 };
        let recent = &seen[seen.len().saturating_sub(3)..];
        let text: Vec<String> = seen.iter().map(|s| format!("i{s}")).collect();
        log += &format!("{row},u{row},i{item},{},{}\n", text.join("|"), u8::from(recent.contains(&item)));
    }
    t.write("log.csv", log);
    let spec = |tower: &str| {
        format!(
            "[funnel]\nchain = \"impression -> click\"\n[defaults]\ntower = {tower}\n[data]\nsource = {{ kind = \"csv\", files = [\"log.csv\"] }}\n\
             keys = [\"row\"]\n[entity.user]\nkey = \"user\"\n[feature.item]\nkind = \"id\"\n\
             [feature.seen]\nkind = \"sequence\"\nattend_to = \"item\"\nkeep_last = 3\nof = \"user\"\n[embedding]\ndim = 8\ninit_std = 0.3\n\
             optimizer = {{ kind = \"adam\", lr = 0.01 }}\n[train]\nbatch_rows = 128\nepochs = 4\noptimizer = {{ kind = \"adam\", lr = 0.005 }}\n"
        )
    };
    t.write("din.toml", spec("{ kind = \"din\", hidden = [16] }"));
    t.write("linear.toml", spec("{ kind = \"linear\" }"));
    t.ok("run din.toml --out din --predictions");
    t.ok("run linear.toml --out linear");
    let auc = |run: &str| t.json(&format!("{run}/metrics.json"))["test"]["click"]["full"]["auc"].as_f64().unwrap();
    assert!(auc("din") > 0.97 && auc("linear") < 0.85, "{} against {}", auc("din"), auc("linear"));
    // Raw rows are scored as the encoded ones were, to the bit.
    t.ok("predict din --data log.csv --out all.parquet");
    let of = |file: &str| -> BTreeMap<String, String> {
        let table = Table::read(&t.path(file));
        table.text("row").iter().cloned().zip(table.text("p_click").iter().cloned()).collect()
    };
    let (all, test) = (of("all.parquet"), of("din/predictions.parquet"));
    assert!(test.len() > 1000 && test.iter().all(|(row, p)| all[row] == *p));
    says(
        &t.fails("run linear.toml --out x --set feature.seen.attend_to=user"),
        &["attends to `user`, which is no column of a feature of single ids"],
    );
}

#[test]
fn ten_lines_over_a_csv_train() {
    let t = Sandbox::with_log();
    let spec = "features = \"infer\"\n\n[funnel]\nchain = \"impression -> click -> purchase\"\n\n[data]\nsource = { kind = \"csv\", files = [\"train.csv\"] }\n";
    assert!(spec.lines().count() <= 10);
    t.write("short.toml", spec);
    t.ok("run short.toml --out run --predictions");
    let run = t.json("run/run.json");
    assert_eq!(run["status"], "finished");
    t.ok("eval run");
    t.ok("predict run --data test.csv --out p.csv");
    assert_eq!(Table::read(&t.path("p.csv")).rows(), 1500);
}

/// A log with a complement branch, and its spec `esm2.toml`.
fn branching() -> Sandbox {
    let t = Sandbox::new();
    let mut log = String::from("item,click,cart,purchase\n");
    for i in 0..3000_u32 {
        let (item, dice) = (i % 11, i.wrapping_mul(2_654_435_761) >> 16);
        let click = u32::from(dice % 100 < 40 + item);
        let cart = click * u32::from(dice / 100 % 10 < 4);
        let buy = click * u32::from(dice / 1000 % 10 < 2 + 5 * cart);
        log += &format!("i{item},{click},{cart},{buy}\n");
    }
    t.write("log.csv", log);
    t.write(
        "esm2.toml",
        r#"[funnel]
name = "esm2"
row = "impression"
[defaults]
tower = { kind = "mlp", hidden = [4] }
[stage.click]
after = "impression"
[stage.cart]
after = "click"
[stage.buy_after_cart]
after = "cart"
label = "purchase"
[stage.buy_direct]
after = { stage = "click", unless = "cart" }
label = "purchase"
[outcome.purchase]
any_of = ["buy_after_cart", "buy_direct"]
[data]
source = { kind = "csv", files = ["log.csv"] }
[feature.item]
kind = "id"
[train]
batch_rows = 256
"#
        .replace("[feature.item]\nkind = \"id\"", "[feature.item]\nkind = \"id\"\ncolumns = [\"item\"]"),
    );
    t
}

#[test]
fn every_objective_trains_a_branching_funnel() {
    let t = branching();
    for kind in ["conditional", "dcmt", "entire_space", "escm2_dr", "escm2_ips", "nise"] {
        for weighting in ["fixed", "uncertainty"] {
            let run = format!("{kind}-{weighting}");
            let objective = format!("--set objective.kind={kind} --set objective.weighting={weighting}");
            t.ok(&format!("run esm2.toml {objective} --predictions -q --out {run}"));
            let test = &t.json(&format!("{run}/metrics.json"))["test"];
            for target in ["click", "cart", "buy_after_cart", "buy_direct", "purchase"] {
                let ne = test[target]["full"]["ne"].as_f64();
                assert!(ne.is_some_and(|ne| ne < 1.1), "{run}: {target} has NE {ne:?}");
            }
            let scored = t.ok(&format!("predict {run} --data log.csv --out {run}.csv"));
            assert_eq!(scored.code, Some(0));
            assert!(!t.text(&format!("{run}.csv")).lines().next().unwrap().contains("imputation"), "{run}");
        }
    }
    snapshot!("check_escm2_dr", t.run("check esm2.toml --set objective.kind=escm2_dr"));
    snapshot!("check_nise", t.run("check esm2.toml --set objective.kind=nise"));
}

#[test]
fn a_branching_funnel_with_an_outcome() {
    let t = branching();
    snapshot!("check_branches", t.run("check esm2.toml"));
    t.ok("run esm2.toml --out run --predictions");
    let p = Table::read(&t.path("run/predictions.parquet"));
    let expected = [
        "p_click",
        "p_click_given_impression",
        "p_cart",
        "p_cart_given_click",
        "p_buy_after_cart",
        "p_buy_after_cart_given_cart",
        "p_buy_direct",
        "p_buy_direct_given_click_unless_cart",
        "p_purchase",
    ];
    assert_eq!(p.names, expected);
    let column = |name: &str| p.numbers(name);
    let (click, cart, carted, direct) =
        (column("p_click"), column("p_cart_given_click"), column("p_buy_after_cart"), column("p_buy_direct_given_click_unless_cart"));
    for (i, purchase) in column("p_purchase").into_iter().enumerate() {
        let direct = click[i] * (1.0 - cart[i]) * direct[i];
        assert!((purchase - (carted[i] + direct)).abs() < 1e-12, "the two ways are disjoint");
    }
    let test = &t.json("run/metrics.json")["test"];
    assert!(test["purchase"]["full"]["auc"].is_f64() && test["buy_direct"]["conditional"]["rows"].is_u64(), "{test}");
    t.ok("predict run --data log.csv --out p.parquet");
}
