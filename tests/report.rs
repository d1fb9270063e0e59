//! `report` and `importance`: the page is whole, tells the same numbers as the run's other files, and asks for nothing from anywhere; what a
//! field is worth is what a naive permutation of its column gives.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

mod common;

use common::{PROJECT, SMALL, Sandbox, after, says};
use esmm_funnel_core::data::permutation;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

const SECTIONS: [&str; 10] = ["funnel", "metrics", "learning", "curves", "calibration", "scores", "fields", "data", "settings", "run"];

/// Nothing is loaded, and every section is there.
#[track_caller]
fn whole(page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for id in SECTIONS {
        assert_eq!(page.matches(&format!("<section id=\"{id}\">")).count(), 1, "section {id}");
    }
    // Attributes and rules that could load something; `url(#…)` is in the page itself.
    for outside in [" src=", "<link", "@import", "<iframe", "<img", "href=\"http", "url(http", "fetch(", "XMLHttp", "import("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(#").count());
    assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    assert!(!page.contains("NaN") && !page.contains(">inf"));
    assert_eq!(page.matches("<details").count(), page.matches("</details>").count());
}

/// Every AUC, log loss and count of `metrics.json` stands in the page as it is printed there.
#[track_caller]
fn agrees(page: &str, metrics: &Value) {
    for (stage, spaces) in metrics.as_object().unwrap().iter().filter(|s| s.0 != "slices") {
        for (space, m) in spaces.as_object().unwrap() {
            let row = format!("<td>{stage}</td><td>{space}</td>");
            let cells = after(page, &row).split("</tr>").next().unwrap().to_owned();
            for (key, digits) in [("auc", 4), ("logloss", 5), ("ece", 5), ("pcoc", 3)] {
                let shown = m[key].as_f64().map_or_else(|| "—".into(), |v| format!("{v:.digits$}"));
                assert!(cells.contains(&format!(">{shown}<")), "{stage}.{space}.{key} = {shown} in {cells}");
            }
            if let Some(why) = m["auc_reason"].as_str() {
                assert!(page.contains(&format!("AUC of {stage} ({space}) is undefined: {why}")));
            }
        }
    }
}

#[test]
fn every_kind_of_funnel_has_its_report() {
    let t = Sandbox::new();
    for name in ["ctr_cvr", "esm2", "din", "grocery", "seven_stage"] {
        let small = if name == "grocery" { "--set train.epochs=1" } else { SMALL };
        t.ok(&format!("run {PROJECT}/funnels/{name}.toml {small} --out {name} -q"));
        let page = t.text(&format!("{name}/report.html"));
        whole(&page);
        let metrics = &t.json(&format!("{name}/metrics.json"))["test"];
        agrees(&page, metrics);
        let spaces: Vec<usize> =
            metrics.as_object().unwrap().iter().filter(|s| s.0 != "slices").map(|s| s.1.as_object().unwrap().len()).collect();
        // Learning and curves have two charts a target; stages right after the row have one space under two names.
        let figures = page.matches("<figure>").count();
        assert!(figures >= 4 * spaces.len() + 2 * (spaces.iter().sum::<usize>() - spaces.len()), "{name}: {figures} figures");
        assert!(page.contains(&t.json(&format!("{name}/run.json"))["data"]["fingerprint"].as_str().unwrap().to_owned()));
        for line in t.text(&format!("{name}/resolved.toml")).lines().filter(|l| l.contains(" = ")) {
            let key = line.split(" = ").next().unwrap();
            assert!(page.contains(key), "{key}");
        }
        assert!(page.len() < 6_000_000, "{name}: {} bytes", page.len());
    }
}

#[test]
fn the_command_writes_what_the_run_wrote() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run -q");
    let first = t.text("run/report.html");
    fs::remove_file(t.path("run/report.html")).unwrap();
    let said = t.ok("report run");
    says(&said.stdout, &["the report is in run/report.html"]);
    assert!(t.text("run/report.html") == first, "the same rows, the same page");
    // Other rows: their own numbers.
    let valid = t.ok("eval run --data valid.csv --format json").json();
    assert_eq!(t.ok("report run --data valid.csv --format json").json()["part"], "data");
    let page = t.text("run/report.html");
    whole(&page);
    agrees(&page, &valid["data"]);
    assert!(page.contains("This report is about other rows: valid.csv") && page != first);
}

#[test]
fn without_a_test_part_valid_is_shown_and_said() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --set split={kind=\"random\",valid=0.2,test=0.0,seed=4} --out run -q");
    let page = t.text("run/report.html");
    whole(&page);
    assert!(page.contains("There is no test part: everything below is measured on valid"));
    agrees(&page, &t.json("run/metrics.json")["valid"]);
    t.ok("report run");
    assert!(t.text("run/report.html") == page);
}

#[test]
fn each_seed_has_a_report() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --repeat 2 --out run -q");
    let pages = ["run/seed-1/report.html", "run/seed-2/report.html"].map(|p| t.text(p));
    for page in &pages {
        whole(page);
    }
    assert!(pages[0] != pages[1]);
}

#[test]
fn a_run_that_cannot_be_reported_on_says_why() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run -q");
    let kept = t.files("run");
    let restore = || kept.iter().for_each(|(name, bytes)| t.write(&format!("run/{name}"), bytes));
    says(&t.fails("report nowhere"), &["there is no run folder `nowhere`"]);
    t.write("run/run.json", t.text("run/run.json").replace("\"finished\"", "\"interrupted\""));
    for command in ["report run", "importance run"] {
        says(&t.fails(command), &["the run `run` is not finished", "esmm-funnel resume run"]);
    }
    restore();
    for file in ["run.json", "resolved.toml", "lint.json", "checkpoints/index.json"] {
        t.write(&format!("run/{file}"), "");
        let ran = t.run("report run").exits(2);
        assert!(ran.stderr.contains("error: ") && !ran.stderr.contains("internal fault"), "{file}: {ran}");
        restore();
    }
    for (file, _) in kept.iter().filter(|f| f.0.starts_with("features/")) {
        t.write(&format!("run/{file}"), "");
        says(&t.fails("report run"), &[file.rsplit('/').next().unwrap()]);
        restore();
    }
    t.write("run/metrics.jsonl", "{\"step\":\n");
    says(&t.fails("report run"), &["metrics.jsonl", "line 1"]);
    t.write("run/metrics.jsonl", "");
    t.ok("report run");
    says(&t.text("run/report.html"), &["nothing was recorded"]);
    t.write("run/importance.json", "");
    says(&t.fails("report run"), &["importance.json", "esmm-funnel importance"]);
    says(&t.fails("report run --data absent.csv"), &["absent.csv"]);
    says(&t.fails("importance run --data valid.csv --part test"), &["--part"]);
    says(&t.fails("importance run --repeats 0"), &["--repeats"]);
}

/// A user's taste and a row's signal move clicks; noise moves nothing.
fn write_known_truth(t: &Sandbox) {
    let mut state = 42u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for (file, rows) in [("train", 6000), ("valid", 1500), ("test", 500)] {
        let mut text = String::from("user,taste,signal,noise,price,tags,click\n");
        for _ in 0..rows {
            let (user, signal, noise, price) = (below(200), below(4), below(4), below(100));
            let taste = user % 3;
            let tag = below(5);
            let click = u64::from(below(100) < 5 + 15 * signal + 6 * taste + if tag == 0 { 10 } else { 0 });
            text += &format!("u{user},t{taste},s{signal},n{noise},{price},g{tag}|g{},{click}\n", below(5));
        }
        t.write(&format!("{file}.csv"), text);
    }
    t.write(
        "known.toml",
        r#"[funnel]
chain = "impression -> click"
[defaults]
tower = { kind = "mlp", hidden = [16] }
[data]
source = { kind = "csv", files = ["train.csv"] }
[split]
kind = "files"
valid = ["valid.csv"]
test = ["test.csv"]
[entity.user]
key = "user"
[feature.taste]
kind = "id"
of = "user"
[feature.row]
kind = "id"
columns = ["signal", "noise"]
[feature.price]
kind = "number"
[feature.tags]
kind = "bag"
[embedding]
dim = 4
optimizer = { kind = "adam", lr = 1e-2 }
[train]
batch_rows = 128
epochs = 3
optimizer = { kind = "adam", lr = 5e-3 }
"#,
    );
}

/// `field` → AUC drop and log loss rise of click in the full space.
fn worth(importance: &Value) -> BTreeMap<String, (f64, f64)> {
    let of = |f: &Value| {
        let w = &f["stages"].as_array().unwrap().iter().find(|w| w["space"] == "full").unwrap();
        (f["field"].as_str().unwrap().to_owned(), (w["auc_drop"]["mean"].as_f64().unwrap(), w["logloss_rise"]["mean"].as_f64().unwrap()))
    };
    importance["fields"].as_array().unwrap().iter().map(of).collect()
}

/// Rows of a CSV file, cells apart.
fn cells(t: &Sandbox, file: &str) -> Vec<Vec<String>> {
    t.text(file).lines().map(|l| l.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn importance_finds_the_signal_and_is_what_a_permuted_file_gives() {
    let t = Sandbox::new();
    write_known_truth(&t);
    t.ok("run known.toml --out run -q");
    let answer = t.ok("importance run --repeats 5 --seed 3 --format json").json();
    let found = worth(&answer["importance"]);
    assert_eq!(answer["importance"], t.json("run/importance.json"));
    assert_eq!((answer["importance"]["part"].as_str(), answer["importance"]["rows"].as_u64()), (Some("valid"), Some(1500)));
    let drop = |f: &str| found[f].0;
    assert!(drop("signal") > 0.08 && drop("signal") > 2.0 * drop("taste"), "{found:?}");
    assert!(drop("taste") > drop("noise") + 0.004 && drop("noise").abs() < 0.01 && drop("price").abs() < 0.01, "{found:?}");
    assert!(found["signal"].1 > 0.02 && found["noise"].1.abs() < 0.005, "{found:?}");
    // The same again, and another with another seed.
    assert_eq!(t.ok("importance run --repeats 5 --seed 3 --format json").json(), answer);
    assert!(worth(&t.ok("importance run --repeats 5 --seed 4 --format json").json()["importance"]) != found);

    // Naive: permute the column in the file, evaluate the file.
    let once = worth(&t.ok("importance run --repeats 1 --seed 9 --format json").json()["importance"]);
    let measure = |file: &str| {
        let m = &t.ok(&format!("eval run --data {file} --format json")).json()["data"]["click"]["full"];
        (m["auc"].as_f64().unwrap(), m["logloss"].as_f64().unwrap())
    };
    let base = measure("valid.csv");
    let rows = cells(&t, "valid.csv");
    let column = |name: &str| rows[0].iter().position(|c| c == name).unwrap();
    for name in ["signal", "noise", "price", "tags", "taste"] {
        let at = column(name);
        let mut permuted = rows.clone();
        if name == "taste" {
            // Users in order of their first row over all files; those of valid are dealt out among each other.
            let mut users: Vec<String> = Vec::new();
            for file in ["train.csv", "valid.csv", "test.csv"] {
                for row in cells(&t, file).into_iter().skip(1) {
                    if !users.contains(&row[0]) {
                        users.push(row[0].clone());
                    }
                }
            }
            users.retain(|u| rows[1..].iter().any(|r| r[0] == *u));
            let order = permutation(users.len(), 9, name, 0);
            let taste = |user: &str| rows[1..].iter().find(|r| r[0] == user).unwrap()[at].clone();
            for row in &mut permuted[1..] {
                let place = users.iter().position(|u| *u == row[0]).unwrap();
                row[at] = taste(&users[order[place] as usize]);
            }
        } else {
            let order = permutation(rows.len() - 1, 9, name, 0);
            for (i, from) in order.iter().enumerate() {
                permuted[i + 1][at].clone_from(&rows[*from as usize + 1][at]);
            }
        }
        t.write("permuted.csv", permuted.iter().map(|r| r.join(",") + "\n").collect::<String>());
        let after = measure("permuted.csv");
        let expected = (base.0 - after.0, after.1 - base.1);
        assert!((once[name].0 - expected.0).abs() < 1e-6, "{name}: AUC drop {} and {}", once[name].0, expected.0);
        assert!((once[name].1 - expected.1).abs() < 1e-6, "{name}: log loss rise {} and {}", once[name].1, expected.1);
    }

    // The report shows it.
    let before = t.text("run/report.html");
    says(&before, &["esmm-funnel importance run"]);
    t.ok("report run");
    let page = t.text("run/report.html");
    whole(&page);
    says(&page, &["AUC lost when a field is permuted", "click: what fields are worth", "1 permutation of each field, seed 9"]);
    let text = t.ok("importance run --part test --repeats 2").stdout;
    says(&text, &["500 rows of test, 2 permutations of each field", "click, full: auc", "signal", "of", "auc drop", "±"]);
    assert!(text.find("\nsignal").unwrap() < text.find("\nnoise").unwrap());
}

#[test]
fn fields_of_every_kind_are_listed_and_permuted() {
    let t = Sandbox::with_log();
    t.write(
        "more.toml",
        "extends = \"log.toml\"\n[feature.both]\nkind = \"cross\"\ncolumns = [\"item_id\", \"day\"]\n[feature.cheap]\nkind = \"number\"\n\
         columns = [\"day\"]\ntransform = { bucketize = { quantiles = 3 } }\n",
    );
    t.ok("run more.toml --out run -q");
    let found = t.ok("importance run --repeats 1 --format json").json();
    let fields = found["importance"]["fields"].as_array().unwrap();
    let names: Vec<String> = fields.iter().map(|f| format!("{} {} {}", f["field"], f["kind"], f["of"]).replace('"', "")).collect();
    for expected in [
        "item_id id impression",
        "item_id×day cross impression",
        "tags bag impression",
        "price number impression",
        "day number impression",
        "user_id id user",
        "city id user",
    ] {
        assert!(names.contains(&expected.to_owned()), "{expected} in {names:?}");
    }
    assert_eq!(names.len(), 7);
    let members = |name: &str| fields.iter().find(|f| f["field"] == name).unwrap()["members"].as_u64().unwrap();
    assert_eq!((members("price"), members("city")), (800, 60));
    t.ok("report run");
    let page = t.text("run/report.html");
    assert!(page.contains("item_id×day") && page.contains(">cross<"));
}
