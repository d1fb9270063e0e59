//! `init`: what it proposes passes `check` without a warning and trains as it stands; what it cannot read, it says.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder};
use common::log::{Row, csv, rows_of, save};
use common::{PROJECT, Sandbox, says};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Writes the spec for a file beside it, and checks and trains it untouched; gives the spec and the run's metrics on test.
#[track_caller]
fn proposed(t: &Sandbox, data: &str) -> (String, Value) {
    let ran = t.ok(&format!("init {data} --out spec.toml"));
    says(&ran.stdout, &["wrote spec.toml: ", "`esmm-funnel check spec.toml`"]);
    t.ok("check spec.toml --deny-warnings");
    t.ok("run spec.toml --out run -q");
    let test = t.json("run/metrics.json")["test"].clone();
    for (stage, spaces) in test.as_object().unwrap().iter().filter(|s| s.0 != "slices") {
        assert!(spaces["full"]["logloss"].as_f64().is_some_and(f64::is_finite), "{stage}: {spaces}");
    }
    (t.text("spec.toml"), test)
}

#[track_caller]
fn auc(test: &Value, stage: &str) -> f64 {
    test[stage]["full"]["auc"].as_f64().unwrap_or_else(|| panic!("no AUC of {stage} in {test}"))
}

#[test]
fn the_shipped_log_is_understood() {
    let t = Sandbox::new();
    let data = format!("{PROJECT}/examples/data/weekly_funnel_200hh.csv.gz");
    // To stdout, it is the same but for the file's name.
    let stdout = t.ok(&format!("init {data}")).stdout;
    let (spec, test) = proposed(&t, &data);
    let keys = |text: &str| text.split_once("\n\n").unwrap().1.replace(PROJECT, "[project]");
    assert_eq!(keys(&stdout), keys(&spec));
    snapshot!("shipped_log", stdout);
    assert!(auc(&test, "discount_buy") > 0.78 && auc(&test, "visit") > 0.78, "{test}");
}

#[test]
fn the_shared_files_train_untouched() {
    for (name, chain, parts) in [
        (
            "hillstrom.csv",
            "chain = \"impression -> visit -> conversion\"",
            ["spend: leakage suspect: alone it explains `conversion`", "kind = \"random\"", "578 of the 9,394 with visit"],
        ),
        (
            "weekly_funnel_200hh.csv.gz",
            "chain = \"impression -> visit -> grocery -> category_buy -> discount_buy\"",
            ["[entity.household]\nkey = \"household_id\"", "column = \"week\"\ntrain_through = 40", "missing = [\"NA\"]"],
        ),
    ] {
        let path = Path::new(PROJECT).join("../shared/data").join(name);
        if !path.is_file() {
            eprintln!("skipped: `{}` is not there", path.display());
            continue;
        }
        let (spec, test) = proposed(&Sandbox::new(), &path.display().to_string());
        says(&spec, &[chain]);
        says(&spec, &parts);
        assert!(test.as_object().unwrap().keys().all(|stage| auc(&test, stage) > 0.6), "{test}");
    }
}

/// The generated log as Parquet, with labels; tags are lists.
fn typed(rows: &[Row], path: &Path) {
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.tags.iter().for_each(|t| tags.values().append_value(t));
        tags.append(true);
    }
    let text = |of: fn(&Row) -> &str| Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let whole = |of: fn(&Row) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", text(|r| &r.id)),
        ("day", whole(|r| r.item % 3)),
        ("user_id", text(|r| &r.user)),
        ("city", text(|r| &r.city)),
        ("item_id", whole(|r| r.item)),
        ("tags", Arc::new(tags.finish())),
        ("price", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.price)))),
        ("click", whole(|r| i64::from(r.click))),
        ("purchase", whole(|r| i64::from(r.purchase))),
    ];
    save(columns, path);
}

#[test]
fn text_and_typed_columns_give_the_same_spec() {
    let t = Sandbox::new();
    let rows = rows_of("train");
    t.write("log.csv", csv(&rows, true));
    let (text, test) = proposed(&t, "log.csv");
    snapshot!("log", text);
    assert!(auc(&test, "purchase") > 0.6, "{test}");
    let t = Sandbox::new();
    typed(&rows, &t.path("log.parquet"));
    let (typed, _) = proposed(&t, "log.parquet");
    // Types say more than text: the reasons differ, the keys do not.
    let keys = |spec: &str| spec.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>().join("\n");
    let as_typed = keys(&text).replace("kind = \"csv\", files = [\"log.csv\"]", "kind = \"parquet\", files = [\"log.parquet\"]");
    assert_eq!(as_typed.replace("separator = \"|\"\n", ""), keys(&typed));
}

/// A log with everything that real ones have: dates, orphans, a column known after the fact, gaps, awkward names, semicolons.
fn awkward() -> String {
    let mut text = String::from("shown;Clicked?;add to cart;paid;when;user \"id\";genres;price [€];copy;muted;note;paid_amount;rated;a*\n");
    let mut state = 7_u64;
    let mut below = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    for row in 0..3000_u64 {
        let user = below(150);
        let clicked = u64::from(below(100) < 20 + 30 * (user % 2));
        let cart = clicked * u64::from(below(100) < 50);
        let mut paid = cart * u64::from(below(100) < 60);
        if row % 1000 == 999 {
            paid = 1 - cart;
        }
        let muted = clicked * below(2);
        let genres: Vec<String> = (0..below(4)).map(|_| format!("g{}", below(12))).collect();
        let price = if row % 50 == 3 { "NA".to_owned() } else { format!("{}.5", below(30) * below(30)) };
        let amount = if paid == 1 { format!("{}.25", below(90)) } else { String::new() };
        let rated = if clicked == 1 { below(2).to_string() } else { String::new() };
        let when = format!("2024-{:02}-{:02}T{:02}:00:00", 1 + row / 1000, 1 + row % 1000 / 40, row % 24);
        text += &format!(
            "1;{clicked};{cart};{paid};{when};u{user};{};{price};{};{muted};same;{amount};{rated};{}\n",
            genres.join(","),
            ["no", "yes"][usize::try_from(clicked).unwrap()],
            below(5)
        );
    }
    text
}

#[test]
fn an_awkward_log_is_understood() {
    let t = Sandbox::new();
    t.write("my log.csv", awkward());
    std::fs::rename(t.path("my log.csv"), t.path("my_log.csv")).unwrap();
    let (spec, test) = proposed(&t, "my_log.csv");
    snapshot!("awkward_log", spec);
    assert!(auc(&test, "Clicked") > 0.55, "{test}");
    says(
        &spec,
        &[
            "delimiter = \";\"",
            "chain = \"shown -> Clicked -> add_to_cart -> paid\"",
            "[stage.Clicked]\nlabel = \"Clicked?\"",
            "orphan_labels = \"clear_child\"",
            "kind = \"column\"\ncolumn = \"when\"\ntrain_through = \"2024-",
            "missing = [\"NA\"]",
            "separator = \",\"",
            "copy: leakage suspect",
            "muted: looks like another outcome",
            "paid_amount: leakage suspect",
            "note: the same value in all rows",
            "with 0 in their place it could be a stage",
        ],
    );
    let ran = t.ok("init my_log.csv --format json").json();
    assert_eq!(ran["proposal"]["stages"][2]["column"], "paid");
    assert_eq!(
        ran["proposal"]["stages"][2]["ones"].as_u64().unwrap() - ran["proposal"]["stages"][2]["reached"].as_u64().unwrap(),
        orphans()
    );
}

/// Rows of [`awkward`] with `paid` = 1 and `add to cart` = 0.
fn orphans() -> u64 {
    awkward().lines().skip(1).filter(|l| matches!(l.split(';').collect::<Vec<_>>()[2..4], ["0", "1"])).count() as u64
}

#[test]
fn groups_are_kept_together_where_there_is_no_time() {
    let t = Sandbox::new();
    let rows: String = awkward()
        .lines()
        .map(|l| l.split(';').enumerate().filter(|(i, _)| *i != 4).map(|(_, c)| c).collect::<Vec<_>>().join(";") + "\n")
        .collect();
    t.write("log.csv", rows);
    let (spec, _) = proposed(&t, "log.csv");
    says(&spec, &["kind = \"group\"\ncolumn = 'user \"id\"'"]);
}

#[test]
fn a_log_of_few_rows_trains_too() {
    let t = Sandbox::new();
    for (rows, chain) in [(30, "-> buy"), (100, "-> click -> buy")] {
        let t = Sandbox::new();
        let lines = |i| format!("{},{},{}\n", i % 5, u8::from(i % 3 == 0), u8::from(i % 9 == 0));
        let rows = (0..rows).map(lines).collect::<Vec<String>>().concat();
        t.write("log.csv", format!("slot,click,buy\n{rows}"));
        let (spec, _) = proposed(&t, "log.csv");
        says(&spec, &[chain]);
    }
    t.write("log.csv", "slot,click\n1,0\n2,1\n3,0\n");
    says(&t.fails("init log.csv"), &["no split gives train, valid and test rows with both values of `click`", "3 rows, 1 of them"]);
}

#[test]
fn a_bag_of_another_columns_ids_is_its_history() {
    let t = Sandbox::new();
    let mut log = String::from("item,seen,tags,click\n");
    for row in 0..4000_u32 {
        let dice = |salt: u32| (row * 7 + salt).wrapping_mul(2_654_435_761) >> 12;
        let list = |salt: u32, of: &str, n: u32| {
            (0..dice(salt) % 5).map(|i| format!("{of}{}", dice(salt + 1 + i) % n)).collect::<Vec<_>>().join("|")
        };
        log += &format!("i{},{},{},{}\n", dice(0) % 60, list(10, "i", 60), list(20, "t", 30), u8::from(dice(30) % 5 == 0));
    }
    t.write("log.csv", log);
    let (spec, _) = proposed(&t, "log.csv");
    says(&spec, &["[feature.seen]\nkind = \"sequence\"", "attend_to = \"item\"", "[feature.tags]\nkind = \"bag\""]);
    t.ok("run spec.toml --out din --set defaults.tower.kind=din -q");
}

#[test]
fn paths_count_from_the_spec() {
    let t = Sandbox::new();
    t.write("data/log.csv", csv(&rows_of("train"), true));
    std::fs::create_dir_all(t.path("specs/deep")).unwrap();
    t.ok("init data/log.csv --out specs/deep/log.toml");
    says(&t.text("specs/deep/log.toml"), &["files = [\"../../data/log.csv\"]"]);
    t.ok("check specs/deep/log.toml --deny-warnings");
    says(&t.ok("init data/log.csv").stdout, &["files = [\"data/log.csv\"]"]);
    // A pattern names the same columns in many files.
    t.write("data/more.csv", csv(&rows_of("test"), true));
    t.ok("init data/*.csv --out specs/all.toml");
    says(&t.text("specs/all.toml"), &["files = [\"../data/*.csv\"]", "5,500 rows"]);
    t.ok("check specs/all.toml --deny-warnings");
}

#[test]
fn a_spec_that_is_there_stays() {
    let t = Sandbox::with_log();
    let before = t.text("log.toml");
    says(&t.fails("init train.csv --out log.toml"), &["`log.toml` exists already", "never overwrites"]);
    assert_eq!(t.text("log.toml"), before);
    says(&t.fails("init train.csv --out no/where/x.toml"), &["there is no folder `no/where`"]);
}

/// The message about a file of these bytes, as a snapshot too.
#[track_caller]
fn told(name: &str, file: &str, bytes: &[u8]) -> String {
    let t = Sandbox::new();
    t.write(file, bytes);
    let ran = t.run(&format!("init {file} --out spec.toml"));
    snapshot!(name, ran);
    assert!(!t.exists("spec.toml"), "nothing is written");
    ran.complains()
}

#[test]
fn data_that_cannot_be_read() {
    says(&told("empty", "log.csv", b""), &["`log.csv` is empty", "header"]);
    says(&told("header_only", "log.csv", b"item,click\n"), &["no rows in `log.csv`"]);
    says(
        &told("no_labels", "log.csv", b"item,price,rated\na,2.5,1\nb,3,\nc,7,0\n"),
        &["no column of `log.csv` holds 0 and 1", "`rated` holds 0, 1 and empty cells (1)"],
    );
    says(
        &told("labels_only", "log.csv", "click,buy\n1,1\n1,0\n0,0\n0,0\n".repeat(40).replace("\nclick,buy", "").as_bytes()),
        &["no column is left for features"],
    );
    says(&told("binary", "log.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), &["`log.csv` is not a CSV"]);
    says(&told("ragged", "log.csv", b"item,click\na,1\nb,0,7\n"), &["log.csv:3", "expected 2 fields, found 3"]);
    says(&told("other_ending", "log.xlsx", b"PK"), &["`log.xlsx`", ".csv, .tsv"]);
    says(&told("not_parquet", "log.parquet", b"item,click\n"), &["`log.parquet` cannot be read as Parquet"]);
    let t = Sandbox::new();
    says(&t.fails("init nowhere.csv"), &["no file `nowhere.csv`", "the working directory"]);
    says(&t.fails("init nowhere"), &["no file `nowhere`"]);
    std::fs::create_dir(t.path("logs")).unwrap();
    says(&t.fails("init logs"), &["`logs` is a folder", "logs/*.csv"]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv(&rows_of("train"), true).as_bytes()).unwrap();
    let whole = gzip.finish().unwrap();
    t.write("log.csv.gz", &whole[..whole.len() / 2]);
    says(&t.fails("init log.csv.gz"), &["the gzip data ends early"]);
    t.write("log.csv.gz", &whole);
    t.ok("init log.csv.gz");
    // A Parquet file under another name is known by its first bytes.
    typed(&rows_of("test"), &t.path("log.data"));
    says(&t.ok("init log.data").stdout, &["kind = \"parquet\""]);
}
