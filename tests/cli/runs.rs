//! Runs from end to end: what they leave behind, that numbers agree, that a run which was stopped ends in the same bits.

use super::fixture::{Done, SPEC, Sandbox, log, with_log};
use arrow::array::{Array, Float64Array};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::path::Path;

fn parquet(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}
fn numbers(batch: &RecordBatch, name: &str) -> Vec<f64> {
    batch.column_by_name(name).unwrap().as_any().downcast_ref::<Float64Array>().unwrap().values().to_vec()
}
fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    arrow::compute::cast(batch.column_by_name(name).unwrap(), &arrow::datatypes::DataType::Utf8)
        .unwrap()
        .as_any()
        .downcast_ref::<arrow::array::StringArray>()
        .unwrap()
        .iter()
        .map(|v| v.unwrap().to_owned())
        .collect()
}

#[test]
fn a_run_leaves_everything_and_its_numbers_agree() {
    let sandbox = with_log(2000);
    sandbox.ok("run s.toml --out r --predictions");
    for name in ["spec.toml", "resolved.toml", "run.json", "metrics.jsonl", "metrics.json", "predictions.parquet", "features/features.json"]
    {
        assert!(sandbox.file("r").join(name).is_file(), "{name}");
    }
    assert_eq!(sandbox.read("r/spec.toml"), sandbox.read("s.toml"));
    let manifest = sandbox.json("r/run.json");
    assert_eq!(manifest["status"], "finished");
    assert_eq!(manifest["data"]["rows"], 2000);
    for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        assert!(sandbox.checkpoint("r").join(name).is_file(), "{name}");
    }
    // `eval` says again what the run said.
    let metrics = sandbox.json("r/metrics.json");
    assert_eq!(sandbox.ok("eval r --format json").json()["test"], metrics["test"]);
    for space in ["conditional", "full"] {
        for key in ["rows", "positives", "auc", "logloss", "ne", "pcoc", "ece"] {
            assert!(metrics["test"]["purchase"][space][key].is_number(), "{space} {key}");
        }
    }
    // Raw rows through `predict`, from CSV and from Parquet, without labels: the very numbers of the test part.
    let stripped: Vec<String> = log(2000).lines().map(|l| l.rsplitn(3, ',').nth(2).unwrap().to_owned()).collect();
    sandbox.write("new.csv", stripped.join("\n"));
    sandbox.ok("predict r --data new.csv --out p.parquet");
    sandbox.ok("predict r --data new.csv --out p.csv");
    let (all, test) = (parquet(&sandbox.file("p.parquet")), parquet(&sandbox.file("r/predictions.parquet")));
    let columns: Vec<String> = all.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(columns, ["row", "p_click", "p_click_given_impression", "p_purchase", "p_purchase_given_click"]);
    assert_eq!(texts(&all, "row"), (0..2000).map(|r| r.to_string()).collect::<Vec<_>>(), "every row, in input order");
    assert_eq!(test.num_rows() as u64, metrics["test"]["click"]["full"]["rows"].as_u64().unwrap());
    for name in &columns[1..] {
        let by_row: BTreeMap<String, f64> = texts(&all, "row").into_iter().zip(numbers(&all, name)).collect();
        for (row, p) in texts(&test, "row").iter().zip(numbers(&test, name)) {
            assert_eq!(by_row[row].to_bits(), p.to_bits(), "{name} of row {row}");
        }
    }
    let csv = String::from_utf8(sandbox.read("p.csv")).unwrap();
    let first: Vec<f64> = csv.lines().nth(1).unwrap().split(',').skip(1).map(|v| v.parse().unwrap()).collect();
    assert_eq!(first, columns[1..].iter().map(|c| numbers(&all, c)[0]).collect::<Vec<_>>(), "CSV holds every digit");
    // Labelled rows of another file.
    let data = sandbox.ok("eval r --data log.csv --format json").json();
    assert_eq!(data["data"]["click"]["full"]["rows"], 2000);
}

#[test]
fn same_seed_same_run_and_the_store_is_reused() {
    let sandbox = with_log(1500);
    sandbox.ok("run s.toml --out a");
    let stores = || std::fs::read_dir(sandbox.file(".esmm-store")).unwrap().count();
    assert_eq!(stores(), 1);
    sandbox.ok("run s.toml --out b");
    assert_eq!(stores(), 1);
    assert!(sandbox.ok("prepare s.toml").stdout.contains("is there already"));
    let same = |file: &str| sandbox.read(&format!("a/{file}")) == sandbox.read(&format!("b/{file}"));
    assert!(same("metrics.jsonl"));
    let model = |run: &str| std::fs::read(sandbox.checkpoint(run).join("model.safetensors")).unwrap();
    assert!(model("a") == model("b"));
    sandbox.ok("run s.toml --out c --seed 2");
    assert!(model("a") != model("c"));
    assert_eq!(
        sandbox.json("a/metrics.json")["test"]["click"]["full"]["rows"],
        sandbox.json("c/metrics.json")["test"]["click"]["full"]["rows"]
    );
}

#[test]
fn repeats_give_mean_and_spread() {
    let sandbox = with_log(1000);
    sandbox.ok("run s.toml --out r --repeat 3 --seed 5");
    let auc = &sandbox.json("r/metrics.json")["test"]["purchase"]["full"]["auc"];
    let each: Vec<f64> = (5..8)
        .map(|seed| sandbox.json(&format!("r/seed-{seed}/metrics.json"))["test"]["purchase"]["full"]["auc"].as_f64().unwrap())
        .collect();
    let mean = each.iter().sum::<f64>() / 3.0;
    let std = (each.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    assert!((auc["mean"].as_f64().unwrap() - mean).abs() < 1e-12 && (auc["std"].as_f64().unwrap() - std).abs() < 1e-12);
    assert_eq!(auc["n"], 3);
}

#[test]
fn early_stopping_keeps_the_best_on_valid() {
    let sandbox = with_log(1500);
    let high = "--set train.optimizer.kind=adam --set train.optimizer.lr=0.05 --set train.epochs=40";
    sandbox.ok(&format!("run s.toml --out r {high} --set train.patience_evals=2 --set train.monitor=purchase.full.logloss"));
    let lines: Vec<serde_json::Value> =
        String::from_utf8(sandbox.read("r/metrics.jsonl")).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let valid: Vec<(u64, f64)> = lines
        .iter()
        .filter(|l| l["part"] == "valid" && l["stage"] == "purchase" && l["space"] == "full")
        .map(|l| (l["step"].as_u64().unwrap(), l["logloss"].as_f64().unwrap()))
        .collect();
    let best = valid.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(valid.last().unwrap().1 > best.1, "{valid:?}");
    assert_eq!(valid.len() - 1 - valid.iter().position(|v| v == best).unwrap(), 2, "two evaluations after the best one: {valid:?}");
    assert_eq!(sandbox.json("r/checkpoints/index.json")["final"], format!("step-{:08}", best.0));
    assert_eq!(sandbox.json("r/metrics.json")["valid"]["purchase"]["full"]["logloss"], best.1, "the result is the best checkpoint's");
}

/// Stopped by Ctrl-C somewhere in the middle, and resumed: the same bytes as without the stop.
#[cfg(unix)]
#[test]
fn a_resumed_run_ends_in_the_same_bits() {
    let sandbox = with_log(6000);
    let set = "--set train.epochs=60 --set train.batch_rows=128 --set train.eval_every_steps=70 --set train.checkpoint_every_steps=9 \
               --set train.clip_norm=1.0 --set train.warmup_steps=50 --set train.decay=cosine";
    sandbox.ok(&format!("run s.toml --out whole {set}"));
    let child = sandbox.command(&format!("run s.toml --out stopped {set}")).stderr(std::process::Stdio::piped()).spawn().unwrap();
    // Not before a checkpoint is there.
    let index = sandbox.file("stopped/checkpoints/index.json");
    while !index.exists() {
        std::thread::yield_now();
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    let manifest = sandbox.json("stopped/run.json");
    assert_eq!(manifest["status"], "interrupted");
    assert!(manifest["steps"].as_u64().unwrap() < manifest["total_steps"].as_u64().unwrap());
    assert!(sandbox.fails("eval stopped").contains("`esmm-funnel resume stopped` goes on"));
    sandbox.ok("resume stopped");
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let of = |run: &str| std::fs::read(sandbox.checkpoint(run).join(file)).unwrap();
        assert!(of("whole") == of("stopped"), "{file}");
    }
    assert_eq!(sandbox.json("whole/metrics.json")["test"], sandbox.json("stopped/metrics.json")["test"]);
    let lines = |run: &str| {
        let text = String::from_utf8(sandbox.read(&format!("{run}/metrics.jsonl"))).unwrap();
        text.lines().filter(|l| !l.contains("\"part\":\"train\"")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines("whole"), lines("stopped"), "no evaluation is missing or there twice");
    assert_eq!(sandbox.json("stopped/run.json")["resumed"], 1);
    assert!(sandbox.fails("resume stopped").contains("is finished; there is nothing to resume"));
}

#[test]
fn branches_and_outcomes_train_and_predict() {
    let sandbox = Sandbox::new();
    let mut rows = String::from("id,user,click,cart,buy\n");
    for line in log(3000).lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (row, user, click, purchase) = (cells[0], cells[1], cells[5], cells[6]);
        let cart = click == "1" && row.parse::<usize>().unwrap() % 3 == 0;
        rows += &format!("{row},{user},{click},{},{purchase}\n", u8::from(cart));
    }
    sandbox.write("log.csv", rows);
    let spec = r#"
[funnel]
name = "esm2"
[defaults]
tower = { kind = "mlp", hidden = [8] }
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
keys = ["id"]
[feature.user]
kind = "id"
[train]
batch_rows = 128
epochs = 3
"#;
    sandbox.write("s.toml", spec);
    sandbox.ok("run s.toml --out r --predictions");
    let p = parquet(&sandbox.file("r/predictions.parquet"));
    let columns: Vec<String> = p.schema().fields().iter().skip(1).map(|f| f.name().clone()).collect();
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
    assert_eq!(columns, expected);
    let of = |name: &str| numbers(&p, name);
    for row in 0..p.num_rows() {
        let (click, cart) = (of("p_click_given_impression")[row], of("p_cart_given_click")[row]);
        let direct = click * (1.0 - cart) * of("p_buy_direct_given_click_unless_cart")[row];
        let after = click * cart * of("p_buy_after_cart_given_cart")[row];
        assert!((of("p_purchase")[row] - direct - after).abs() < 1e-12 && (of("p_buy_direct")[row] - direct).abs() < 1e-12);
        if row > 50 {
            break;
        }
    }
    let test = sandbox.json("r/metrics.json")["test"].clone();
    assert!(test["purchase"]["full"]["auc"].is_number() && test["purchase"]["conditional"].is_null());
}

#[test]
fn several_files_gzip_weights_bags_and_entities() {
    use std::io::Write;
    let sandbox = Sandbox::new();
    let mut parts = [String::from("user,tags,tag_w,item,w,click\n"), String::from("user,tags,tag_w,item,w,click\n")];
    for row in 0..800 {
        let user = row % 50;
        let (tags, weights) = (["t1|t2", "", "t3"][user % 3], ["0.5|2", "", "1"][user % 3]);
        parts[row % 2] += &format!("{user},{tags},{weights},{},{},{}\n", row % 7, 1 + row % 2, u8::from((row * 7 + user) % 5 == 0));
    }
    sandbox.write("logs/a.csv", &parts[0]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(parts[1].as_bytes()).unwrap();
    sandbox.write("logs/b.csv.gz", gzip.finish().unwrap());
    let spec = r#"
[funnel]
chain = "impression -> click"
[defaults]
tower = { kind = "mlp", hidden = [8] }
[data]
source = { kind = "csv", files = ["logs/*.csv*"] }
weight = "w"
[split]
kind = "group"
column = "user"
[entity.user]
key = "user"
[feature.user]
kind = "id"
of = "user"
[feature.tags]
kind = "bag"
weights = "tag_w"
pooling = "mean"
of = "user"
[feature.item]
kind = "id"
[train]
batch_rows = 32
epochs = 2
"#;
    sandbox.write("s.toml", SPEC);
    sandbox.write("s.toml", spec);
    sandbox.ok("run s.toml --out r");
    let manifest = sandbox.json("r/run.json");
    assert_eq!((manifest["data"]["rows"].as_u64(), manifest["data"]["inputs"].as_array().map(Vec::len)), (Some(800), Some(2)));
}
