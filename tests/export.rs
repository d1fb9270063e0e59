//! What leaves a run: weights, graph and card, checked from outside. The graphs are computed here by the definition of the operators; where
//! Python has onnxruntime and the rest, it computes them too (`ESMM_PYTHON` names the interpreter, else `python3` is tried).

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use arrow::array::{Array, ArrayRef};
use common::log::{Row, rows_of};
use common::table::Table;
use common::{PROJECT, SMALL, Sandbox, says};
use esmm_funnel_core::data::open_source;
use esmm_funnel_core::onnx::evaluate::{Evaluated, Named, run};
use esmm_funnel_core::onnx::read;
use esmm_funnel_plugins as _;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// The interpreter, if it has what the scripts import.
fn python() -> Option<String> {
    let python = std::env::var("ESMM_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime, pyarrow, safetensors, xxhash"]).output();
    has.is_ok_and(|o| o.status.success()).then_some(python)
}
/// Runs a script of the project; says so where it cannot.
fn script(t: &Sandbox, name: &str, args: &[&str]) {
    let Some(python) = python() else {
        eprintln!("skipped: {name}, as there is no Python with numpy, onnx, onnxruntime, pyarrow, safetensors and xxhash");
        return;
    };
    let ran = Command::new(python).arg(format!("{PROJECT}/{name}")).args(args).current_dir(t.path("")).output().unwrap();
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{name} {args:?}:\n{told}");
    eprint!("{told}");
}
/// `onnx.checker`, onnxruntime against `predict`, and, where the towers are plain stacks, `NumPy` against `predict`.
fn from_outside(t: &Sandbox, export: &str, data: &str, predictions: &str, numpy: bool) {
    script(t, "tests/golden/onnx_check.py", &[export]);
    script(t, "examples/score_onnx.py", &[export, data, predictions]);
    if numpy {
        script(t, "examples/score_numpy.py", &[export, data, predictions]);
    }
}

/// The rows of the log as a graph's inputs, by the card and the vocabularies: a second reading of what the card says.
fn inputs(t: &Sandbox, export: &str, card: &Value, rows: &[Row]) -> Named<'static> {
    let mut found = Named::new();
    let n = rows.len();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    for feature in card["features"].as_array().unwrap() {
        let (column, input) = (text(&feature["column"]), text(&feature["input"]));
        if feature["kind"] == "number" {
            #[allow(clippy::cast_possible_truncation)]
            found.insert(input, Evaluated::floats(vec![n], rows.iter().map(|r| r.price as f32).collect()));
            continue;
        }
        let table = card["tables"].as_array().unwrap().iter().find(|t| t["name"] == feature["table"]).unwrap();
        let file = Table::read(&t.path(export).join(table["vocabulary"]["file"].as_str().unwrap()));
        let known: HashMap<&str, i64> =
            file.text("id").iter().zip(file.text("row")).map(|(id, row)| (id.as_str(), row.parse().unwrap())).collect();
        let row_of = |id: &str| known.get(id).copied().unwrap_or(0);
        if feature["kind"] == "bag" {
            let longest = rows.iter().map(|r| r.tags.len()).max().unwrap();
            let (mut ids, mut weights) = (vec![0; n * longest], vec![0.0; n * longest]);
            for (i, tags) in rows.iter().map(|r| &r.tags).enumerate() {
                for (j, tag) in tags.iter().enumerate() {
                    (ids[i * longest + j], weights[i * longest + j]) = (row_of(tag), 1.0);
                }
            }
            found.insert(input, Evaluated::wholes(vec![n, longest], &ids));
            found.insert(text(&feature["input_weights"]), Evaluated::floats(vec![n, longest], weights));
            continue;
        }
        let ids: Vec<i64> = rows
            .iter()
            .map(|r| match column.as_str() {
                "user_id" => row_of(&r.user),
                "city" => row_of(&r.city),
                _ => row_of(&r.item.to_string()),
            })
            .collect();
        found.insert(input, Evaluated::wholes(vec![n], &ids));
    }
    found
}

/// Trains on the log, exports, and compares the file's graph with `predict`, row by row.
fn exports(t: &Sandbox, name: &str, sets: &str, numpy: bool) {
    t.ok(&format!("run log.toml --out {name} --set train.epochs=1 {sets}"));
    exported(t, name, name, numpy);
}
/// Exports a run, as `name`, and compares the file's graph with `predict`, row by row.
fn exported(t: &Sandbox, run_folder: &str, name: &str, numpy: bool) {
    t.ok(&format!("predict {run_folder} --data test.csv --out {name}.parquet"));
    let export = format!("{name}-export");
    let said = t.ok(&format!("export {run_folder} --out {export}")).stdout;
    says(
        &said,
        &["card.json", "model.onnx", "weights.safetensors", "vocabulary/user_id.parquet", "the ONNX graph gives what the model gives"],
    );
    let (card, rows) = (t.json(&format!("{export}/card.json")), rows_of("test"));
    let found = run(&read(&t.path(&export).join("model.onnx")).unwrap(), inputs(t, &export, &card, &rows)).unwrap();
    let predicted = Table::read(&t.path(&format!("{name}.parquet")));
    let outputs = card["outputs"].as_array().unwrap();
    assert_eq!(outputs.iter().map(|o| o.as_str().unwrap()).collect::<Vec<_>>(), predicted.names[2..]);
    for output in outputs.iter().map(|o| o.as_str().unwrap()) {
        for (row, (p, q)) in found[output].values().into_iter().zip(predicted.numbers(output)).enumerate() {
            assert!((p - q).abs() < 1e-5 * q.max(1.0), "{name}: {output} of row {row} is {p}, predicted {q}");
        }
    }
    from_outside(t, &export, "test.csv", &format!("{name}.parquet"), numpy);
}

#[test]
fn towers_that_are_stacks_of_layers() {
    let t = Sandbox::with_log();
    exports(&t, "linear", "--set defaults.tower={kind=\"linear\"}", true);
    for (name, settings) in [
        ("relu", "hidden=[8]"),
        ("empty", "hidden=[]"),
        ("prelu", "hidden=[8,4],activation=\"prelu\",norm=\"layer\""),
        ("gelu", "hidden=[8],activation=\"gelu\",dropout=0.1"),
        ("dice", "hidden=[8,4],activation=\"dice\",norm=\"batch\""),
    ] {
        exports(&t, name, &format!("--set defaults.tower={{kind=\"mlp\",{settings}}}"), true);
    }
}

#[test]
fn calibrated_runs() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --set train.epochs=4 --out run -q");
    let maps: [fn(&Value) -> bool; 3] =
        [|m| m["slope"].is_f64(), |m| m["temperature"].is_f64(), |m| m["knots"].as_array().is_some_and(|k| k.len() > 2)];
    for (method, is_there) in ["platt", "temperature", "isotonic"].into_iter().zip(maps) {
        t.ok(&format!("calibrate run --method {method} --keep-rate click=0.5"));
        exported(&t, "run", method, true);
        let card = t.json(&format!("{method}-export/card.json"));
        assert!(is_there(&card["stages"][0]["calibration"]["map"]), "{method}: {}", card["stages"][0]["calibration"]);
    }
    // The calibration is in the graph, and can be left out.
    t.ok("export run --uncalibrated --out raw");
    assert!(t.json("raw/card.json")["stages"][0]["calibration"].is_null());
    t.ok("predict run --uncalibrated --data test.csv --out raw.parquet");
    let click = |file: &str| Table::read(&t.path(file)).numbers("p_click");
    assert_ne!(click("raw.parquet"), click("isotonic.parquet"));
}

#[test]
fn towers_of_all_kinds() {
    let t = Sandbox::with_log();
    for (name, settings) in [
        ("wide_deep", "hidden=[8]"),
        ("deepfm", "hidden=[8]"),
        ("dcn_v2", "hidden=[8]"),
        ("dcn_v2", "hidden=[8],rank=2,structure=\"stacked\""),
        ("autoint", "layers=2,head_dim=4,hidden=[8]"),
        ("final_mlp", "first=[8],second=[4]"),
    ] {
        let run = format!("{name}-{}", settings.len());
        exports(&t, &run, &format!("--set defaults.tower={{kind=\"{name}\",{settings}}}"), false);
    }
    exports(&t, "aitm", "--set defaults.tower.hidden=[8] --set stage.purchase.tower={kind=\"aitm\",hidden=[6]}", false);
}

#[test]
fn encoders_tables_and_quotients() {
    let t = Sandbox::with_log();
    let small = "--set defaults.tower.hidden=[8]";
    exports(&t, "mmoe", &format!("{small} --set encoder={{kind=\"mmoe\",experts=3,hidden=[8]}}"), false);
    let per_stage = "--set embedding.per_stage=true";
    exports(&t, "ple", &format!("{small} {per_stage} --set encoder={{kind=\"ple\",levels=2,hidden=[8],activation=\"gelu\"}}"), false);
    exports(&t, "per_stage", &format!("{small} {per_stage}"), true);
    exports(&t, "quotient", &format!("{small} --set funnel.composition=quotient"), true);
    exports(&t, "without", &format!("{small} --set stage.purchase.features.without=[\"price\",\"tags\"]"), true);
}

/// A log with every kind of feature, and branches.
const EVERYTHING: &str = r#"[funnel]
row = "impression"
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
[defaults]
tower = { kind = "mlp", hidden = [8] }
[data]
source = { kind = "csv", files = ["all.csv"] }
[entity.user]
key = "user"
[feature.user]
kind = "id"
of = "user"
missing = ["u0"]
[feature.age]
kind = "number"
transform = { bucketize = { quantiles = 4 } }
of = "user"
[feature.history]
kind = "sequence"
attend_to = "item"
keep_last = 3
of = "user"
[feature.item]
kind = "id"
min_count = 3
[feature.shelf]
kind = "id"
vocabulary = "hashed"
hash_rows = 16
[feature.user_shelf]
kind = "cross"
columns = ["user", "shelf"]
[feature.tags]
kind = "bag"
weights = "tag_weights"
pooling = "mean"
[feature.time]
kind = "time"
parts = ["hour", "weekday", "week", "quarter"]
timezone = "+02:00"
[feature.price]
kind = "number"
transform = "log1p"
missing = ["NA", "-1"]
[feature.stock]
kind = "number"
transform = "none"
[feature.seen]
kind = "number"
[embedding]
dim = 4
[train]
epochs = 1
batch_rows = 128
"#;
fn everything(t: &Sandbox) {
    let mut text = String::from("user,age,history,item,shelf,tags,tag_weights,time,price,stock,seen,click,cart,buy\n");
    let mut state = 5u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for row in 0..3000 {
        let user = below(40);
        // What an entity has follows from it.
        let age = if user % 9 == 0 { String::new() } else { (18 + user).to_string() };
        let history: Vec<String> = (0..user % 6).map(|i| format!("{}", (user * 7 + i * 3) % 30)).collect();
        let tags: Vec<String> = (0..below(4)).map(|_| format!("t{}", below(9))).collect();
        let weights: Vec<String> = tags.iter().map(|_| format!("{}", below(8) as f64 / 4.0)).collect();
        let (day, hour) = (1 + below(28), below(24));
        let time = if below(20) == 0 { String::new() } else { format!("2024-0{}-{day:02}T{hour:02}:30:00Z", 1 + row % 9) };
        let price = match below(12) {
            0 => "NA".to_owned(),
            1 => "-1".to_owned(),
            2 => String::new(),
            _ => format!("{}", below(9000) as f64 / 100.0),
        };
        let stock = if below(5) == 0 { String::new() } else { below(3).to_string() };
        let click = u64::from(below(100) < 40);
        let cart = click * u64::from(below(100) < 50);
        let buy = click * u64::from(below(100) < 40);
        text += &format!(
            "u{user},{age},{},{},s{},{},{},{time},{price},{stock},{},{click},{cart},{buy}\n",
            history.join("|"),
            below(30),
            below(50),
            tags.join("|"),
            weights.join("|"),
            1_700_000_000 + below(100_000),
        );
    }
    t.write("all.csv", text);
    t.write("all.toml", EVERYTHING);
}

#[test]
fn every_kind_of_feature_branches_and_outcomes() {
    let t = Sandbox::new();
    everything(&t);
    for (name, sets, numpy) in [
        ("plain", "", true),
        ("din", "--set defaults.tower={kind=\"din\",hidden=[8],attention_hidden=[4]}", false),
        ("softmax", "--set defaults.tower={kind=\"din\",hidden=[8],softmax=true,attention_activation=\"prelu\",norm=\"layer\"}", false),
        ("fm", "--set defaults.tower={kind=\"deepfm\",hidden=[8]} --set stage.cart.features.without=[\"history\",\"price\"]", false),
    ] {
        t.ok(&format!("run all.toml --out {name} {sets}"));
        t.ok(&format!("predict {name} --data all.csv --out {name}.parquet"));
        t.ok(&format!("export {name} --out {name}-export"));
        from_outside(&t, &format!("{name}-export"), "all.csv", &format!("{name}.parquet"), numpy);
    }
    let card = t.json("plain-export/card.json");
    let kinds: Vec<&str> = card["features"].as_array().unwrap().iter().map(|f| f["kind"].as_str().unwrap()).collect();
    for kind in ["id", "cross", "time", "number", "bag", "sequence"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    // Where a feature stands is where the one before it ends, and all are as wide as the first layer.
    let mut at = 0;
    for feature in card["features"].as_array().unwrap() {
        assert_eq!(feature["columns"][0], at);
        at = feature["columns"][1].as_u64().unwrap();
    }
    assert_eq!(card["outputs"].as_array().unwrap().last().unwrap(), "p_purchase");
    assert_eq!(card["outcomes"][0]["events"].as_array().unwrap().len(), 2);
}

/// The rows of a shipped, synthetic funnel as a Parquet file.
fn synthetic_rows(run: &Path, out: &Path) {
    let resolved = esmm_funnel_core::spec::load(&run.join("resolved.toml"), &[]).unwrap().spec;
    let source = open_source(&resolved, None).unwrap();
    let names: Vec<String> = source.schema().unwrap().fields().iter().map(|f| f.name().clone()).collect();
    let chunk = source.read(0, &names).unwrap().next().unwrap().unwrap();
    let rows = chunk.records.num_rows().min(500);
    let columns: Vec<(&str, ArrayRef)> =
        names.iter().zip(chunk.records.columns()).map(|(n, c)| (n.as_str(), c.slice(0, rows))).filter(|(_, c)| !c.is_empty()).collect();
    common::log::save(columns, out);
}

#[test]
fn shipped_funnels() {
    let t = Sandbox::new();
    for name in ["ctr_cvr", "din", "esm2", "nested", "four_stage", "seven_stage"] {
        t.ok(&format!("run {PROJECT}/funnels/{name}.toml {SMALL} --set train.epochs=1 --out {name}"));
        synthetic_rows(&t.path(name), &t.path(&format!("{name}-rows.parquet")));
        t.ok(&format!("predict {name} --data {name}-rows.parquet --out {name}.parquet"));
        let exported = t.ok(&format!("export {name} --out {name}-export --format json")).json();
        assert!(exported["exported"]["largest_difference"].as_f64().unwrap() < 1e-5);
        from_outside(&t, &format!("{name}-export"), &format!("{name}-rows.parquet"), &format!("{name}.parquet"), name != "din");
    }
}

#[test]
fn one_form_alone_and_weights_beside_the_model() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run --set train.epochs=1 --set embedding.dim=32");
    t.ok("export run --out weights --as safetensors");
    t.ok("export run --out sub/graph --as onnx --inline-mib 0");
    let names = |folder: &str| t.files(folder).into_iter().map(|f| f.0).collect::<Vec<_>>();
    let vocabularies = ["vocabulary/city.parquet", "vocabulary/item_id.parquet", "vocabulary/tags.parquet", "vocabulary/user_id.parquet"];
    let with = |files: &[&'static str]| [files, &vocabularies].concat();
    assert_eq!(names("weights"), [&with(&["card.json"])[..], &["weights.safetensors"]].concat());
    assert_eq!(names("sub/graph"), with(&["card.json", "model.onnx", "model.onnx.data"]));
    let data = t.path("sub/graph/model.onnx.data");
    assert!(std::fs::metadata(data).unwrap().len() > 60 * 32 * 4);
    assert!(t.json("weights/card.json")["onnx"].is_null() && t.json("sub/graph/card.json")["files"]["weights"].is_null());
    t.ok("predict run --data test.csv --out p.parquet");
    script(&t, "tests/golden/onnx_check.py", &["sub/graph"]);
    script(&t, "examples/score_onnx.py", &["sub/graph", "test.csv", "p.parquet"]);
    script(&t, "examples/score_numpy.py", &["weights", "test.csv", "p.parquet"]);
    // The same run gives the same bytes.
    t.ok("export run --out again --as safetensors");
    assert_eq!(t.files("weights"), t.files("again"));
}

#[test]
fn what_cannot_be_exported() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run --set train.epochs=1");
    t.write("there/file", "mine");
    says(&t.fails("export run --out there"), &["`there` exists", "never overwrites", "--out"]);
    assert_eq!(t.text("there/file"), "mine");
    says(&t.fails("export run --out ."), &["`.`", "--out"]);
    says(&t.fails("export nowhere --out x"), &["there is no run folder `nowhere`"]);
    // A file where the parent folder should be.
    says(&t.fails("export run --out there/file/x"), &["there/file"]);
    let mut manifest = t.json("run/run.json");
    manifest["status"] = "running".into();
    t.write("run/run.json", manifest.to_string());
    says(&t.fails("export run --out x"), &["the run `run` is not finished", "esmm-funnel resume run"]);
    assert!(!t.exists("x") && !t.exists(".x.partial"));
}
