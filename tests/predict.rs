//! Batch scoring: files and folders, killed and gone on with, in shards, with values and policies; and that all give the same numbers.

#![allow(clippy::unwrap_used)]

mod common;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use common::log::{Row, csv, parquet, rows, rows_of};
use common::table::Table;
use common::{PROJECT, Sandbox, says};
use esmm_funnel_core::run::RunFolder;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs;
use std::time::{Duration, SystemTime};

/// A trained run, and files of more rows than one batch has: `a.csv`, `b.csv`, and both in `all.csv` and `all.parquet`.
fn scored_log() -> (Sandbox, Vec<Row>) {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let all = rows(9, 30_000);
    t.write("a.csv", csv(&all[..18_000], false));
    t.write("b.csv", csv(&all[18_000..], false));
    t.write("all.csv", csv(&all, false));
    parquet(&all, &t.path("all.parquet"));
    (t, all)
}
/// The parts of a folder in order of their names.
fn parts(t: &Sandbox, folder: &str) -> Vec<String> {
    let names = fs::read_dir(t.path(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut parts: Vec<String> = names.filter(|n| n.starts_with("part-")).collect();
    parts.sort();
    parts
}
/// All parts, one after another.
fn whole(t: &Sandbox, folder: &str) -> Table {
    let mut parts = parts(t, folder).into_iter().map(|name| Table::read(&t.path(folder).join(name)));
    let mut all = parts.next().unwrap();
    for part in parts {
        assert_eq!(part.names, all.names);
        all.columns.iter_mut().zip(part.columns).for_each(|(to, from)| to.extend(from));
    }
    all
}
fn times(t: &Sandbox, folder: &str) -> Vec<(String, SystemTime)> {
    parts(t, folder).into_iter().map(|n| (n.clone(), fs::metadata(t.path(folder).join(n)).unwrap().modified().unwrap())).collect()
}
/// No file aside, no lock.
fn assert_tidy(t: &Sandbox, folder: &str) {
    let hidden = t.files(folder).into_iter().map(|f| f.0).find(|f| f.starts_with('.'));
    assert_eq!(hidden, None);
}
/// A nullable column of numbers.
fn nullable(t: &Sandbox, file: &str, name: &str) -> Vec<Option<f64>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(t.path(file)).unwrap()).unwrap().build().unwrap();
    reader.flat_map(|b| b.unwrap().column_by_name(name).unwrap().as_primitive::<Float64Type>().iter().collect::<Vec<_>>()).collect()
}

#[test]
fn a_folder_holds_the_bits_of_a_file_and_of_an_evaluation() {
    let (t, all) = scored_log();
    t.ok("predict run --data all.csv --out file.parquet");
    let file = Table::read(&t.path("file.parquet"));
    assert_eq!(file.text("id"), all.iter().map(|r| r.id.clone()).collect::<Vec<_>>());
    // The path of an evaluation, from encoded rows: to the last bit.
    t.write("all_labels.csv", csv(&all, true));
    t.ok("run log.toml --out evaluated --predictions --set split.test=[\"all_labels.csv\"]");
    t.ok("predict evaluated --data all.csv --out evaluated.parquet");
    Table::read(&t.path("evaluated/predictions.parquet")).assert_same(&Table::read(&t.path("evaluated.parquet")));

    let answer = t.ok("predict run --data all.csv --out plain --format json").json();
    assert_eq!((answer["reused_parts"].as_u64(), answer["complete"].as_bool()), (Some(0), Some(true)));
    assert_eq!(parts(&t, "plain"), ["part-00000.parquet"]);
    whole(&t, "plain").assert_same(&file);
    says(&t.ok("predict run --data a.csv b.csv --out two").stdout, &["30,000 rows in 2 parts in two"]);
    assert_eq!(parts(&t, "two"), ["part-00000.parquet", "part-00001.parquet"]);
    t.ok("predict run --data all.parquet --out cut --partition-rows 7000");
    let names = [0, 7000, 14_000, 21_000, 28_000].map(|row| format!("part-00000-{row:012}.parquet"));
    assert_eq!(parts(&t, "cut"), names);
    whole(&t, "cut").assert_same(&file);
    // Other batches than in one file, where a file ends inside one.
    close(&whole(&t, "two"), &file);

    let manifest = t.json("cut/predict.json");
    assert_eq!((manifest["status"].as_str(), manifest["rows"].as_u64()), (Some("finished"), Some(30_000)));
    assert_eq!((manifest["run"].as_str(), manifest["partition_rows"].as_u64()), (Some("run"), Some(7000)));
    let version = esmm_funnel_core::score::version(&RunFolder::open(&t.path("run")).unwrap(), true).unwrap();
    assert_eq!(manifest["model"], version.as_str());
    assert_eq!(manifest["inputs"][0]["name"], "all.parquet");
    assert!(manifest["inputs"][0]["fingerprint"].as_str().unwrap().contains(" bytes, modified "));
    assert_eq!(manifest["parts"][4]["rows"], 2000);
    assert_eq!((manifest["parts"][1]["file"].as_str(), manifest["parts"][1]["first_row"].as_u64()), (Some(names[1].as_str()), Some(7000)));
    let sum: u64 = (0..5).map(|p| manifest["parts"][p]["unknown_ids"]["item_id"].as_u64().unwrap_or(0)).sum();
    assert_eq!(manifest["unknown_ids"]["item_id"].as_u64().unwrap_or(0), sum);
    for folder in ["plain", "two", "cut"] {
        assert_tidy(&t, folder);
    }
}
/// Within 1e-6.
#[track_caller]
fn close(a: &Table, b: &Table) {
    assert_eq!((&a.names, a.text("id")), (&b.names, b.text("id")));
    for name in a.names.iter().filter(|n| n.starts_with("p_")) {
        let worst = a.numbers(name).iter().zip(b.numbers(name)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= 1e-6, "{name}: {worst}");
    }
}

#[test]
fn a_killed_try_goes_on_by_whole_parts() {
    let (t, _) = scored_log();
    let many = rows(4, 400_000);
    t.write("many.csv", csv(&many, false));
    t.ok("predict run --data many.csv --out expected --partition-rows 9000");
    let mut child = t.spawn("predict run --data many.csv --out out --partition-rows 9000");
    while !t.exists("out") || parts(&t, "out").len() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "it has 45 parts to write");
        std::thread::sleep(Duration::from_millis(2));
    }
    // Nothing that the process could do about it.
    child.kill().unwrap();
    child.wait().unwrap();
    let before = times(&t, "out");
    assert!(before.len() < 45, "{} parts", before.len());
    assert_eq!(t.json("out/predict.json")["status"], "running");
    let answer = t.ok("predict run --data many.csv --out out --partition-rows 9000 --format json").json();
    assert_eq!(answer["reused_parts"].as_u64(), Some(before.len() as u64));
    let after = times(&t, "out");
    assert_eq!((after.len(), &after[..before.len()]), (45, &before[..]), "no finished part is written again");
    assert_tidy(&t, "out");
    whole(&t, "out").assert_same(&whole(&t, "expected"));
    let parts_of = |folder: &str| {
        (t.json(&format!("{folder}/predict.json"))["parts"].clone(), t.json(&format!("{folder}/predict.json"))["unknown_ids"].clone())
    };
    assert_eq!(parts_of("out"), parts_of("expected"));
    for (file, bytes) in t.files("expected").into_iter().filter(|f| f.0.starts_with("part-")) {
        assert!(t.bytes(&format!("out/{file}")) == bytes, "{file}");
    }

    // Once more: nothing to do. With a part gone: that one only. With one damaged: that one.
    says(
        &t.ok("predict run --data many.csv --out out --partition-rows 9000").stdout,
        &["400,000 rows in 45 parts in out\n45 of them were there already"],
    );
    assert_eq!(times(&t, "out"), after);
    fs::remove_file(t.path("out").join(&after[7].0)).unwrap();
    fs::write(t.path("out").join(&after[20].0), b"PAR1 torn").unwrap();
    says(&t.ok("predict run --data many.csv --out out --partition-rows 9000").stdout, &["43 of them were there already"]);
    whole(&t, "out").assert_same(&whole(&t, "expected"));
    let again = times(&t, "out");
    assert_eq!(again.iter().zip(&after).filter(|(a, b)| a != b).count(), 2);

    // Not with other settings, another model, or changed rows.
    let refused = |args: &str, why: &str| {
        let message = t.fails(&format!("predict {args}"));
        says(&message, &["`out` was begun ", why, "name another folder, or remove this one to start anew"]);
    };
    refused("run --data many.csv --out out --partition-rows 100", "with another `--partition-rows` (9000, now 100)");
    refused("run --data many.csv --out out --partition-rows 9000 --value v=p_click*price", "with other columns or values");
    refused("run --data many.csv --out out --partition-rows 9000 --unknown-ids error", "with other policies");
    refused("run --data many.csv --out out --partition-rows 9000 --shard 1/2", "in 1 shards, now 2");
    refused("run --data many.csv a.csv --out out --partition-rows 9000", "from other inputs (`many.csv`, now `many.csv`, `a.csv`)");
    t.ok("run log.toml --out other --seed 77");
    refused("other --data many.csv --out out --partition-rows 9000", "with another model (`");
    t.write("many.csv", csv(&many[1..], false));
    refused("run --data many.csv --out out --partition-rows 9000", "before `many.csv` changed (");
    assert_eq!(times(&t, "out"), again);
}

#[test]
fn interrupted_it_says_what_is_whole() {
    let (t, _) = scored_log();
    t.write("many.csv", csv(&rows(4, 400_000), false));
    let child = t.spawn("predict run --data many.csv --out out --partition-rows 9000");
    while !t.exists("out") || parts(&t, "out").is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    t.shell(&format!("kill -INT {}", child.id())).exits(0);
    let ran = t.wait(child).exits(130);
    says(&ran.stderr, &["whole in `out`; the same command goes on", "interrupted"]);
    assert_tidy(&t, "out");
    assert!(parts(&t, "out").len() < 45);
}

#[test]
fn shards_share_the_work_and_one_folder() {
    let (t, _) = scored_log();
    t.ok("predict run --data all.csv --out file.parquet");
    let file = Table::read(&t.path("file.parquet"));
    // Rows of one file, on three machines at once, of either format; a fourth try of one does nothing.
    for (data, folder) in [("all.csv", "csv"), ("all.parquet", "parquet")] {
        let children: Vec<_> = (1..=3).map(|i| t.spawn(&format!("predict run --data {data} --out {folder} --shard {i}/3"))).collect();
        for child in children {
            t.wait(child).exits(0);
        }
        // Shares start where batches do.
        let names = ["part-00000-000000000000.parquet", "part-00000-000000008192.parquet", "part-00000-000000016384.parquet"];
        assert_eq!(parts(&t, folder), names);
        whole(&t, folder).assert_same(&file);
        let manifest = t.json(&format!("{folder}/predict.json"));
        assert_eq!(
            (manifest["status"].as_str(), manifest["rows"].as_u64(), manifest["shards"].as_u64()),
            (Some("finished"), Some(30_000), Some(3))
        );
        assert_eq!(t.json(&format!("{folder}/predict-2-of-3.json"))["rows"], 8192);
        let before = times(&t, folder);
        let stdout = t.ok(&format!("predict run --data {data} --out {folder} --shard 2/3")).stdout;
        says(&stdout, &["shard 2/3: 8,192 rows in 1 part in", "1 of them was there already", "all 3 shards are finished"]);
        assert_eq!(times(&t, folder), before);
        says(&t.fails(&format!("predict run --data {data} --out {folder} --shard 1/2")), &["was begun in 3 shards, now 2"]);
        assert_tidy(&t, folder);
    }
    // Shares of less than a batch, cut further.
    for i in [2, 4, 1, 3] {
        t.ok(&format!("predict run --data test.csv --out small --shard {i}/4 --partition-rows 200"));
    }
    let starts: Vec<String> = parts(&t, "small").iter().map(|n| n[11..23].trim_start_matches('0').to_owned()).collect();
    assert_eq!(starts, ["", "200", "375", "575", "750", "950", "1125", "1325"]);
    t.ok("predict run --data test.csv --out small.parquet");
    close(&whole(&t, "small"), &Table::read(&t.path("small.parquet")));
    t.write("c.csv", csv(&rows_of("test"), false));
    // Whole files where there are enough of them; one shard is the same as none.
    for i in 1..=2 {
        t.ok(&format!("predict run --data a.csv b.csv c.csv --out files --shard {i}/2"));
    }
    t.ok("predict run --data a.csv b.csv c.csv --out none");
    t.ok("predict run --data a.csv b.csv c.csv --out one --shard 1/1");
    let names = ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"];
    assert_eq!((parts(&t, "files"), parts(&t, "none")), (names.map(String::from).to_vec(), names.map(String::from).to_vec()));
    whole(&t, "files").assert_same(&whole(&t, "none"));
    assert_eq!(t.files("one"), t.files("none"));
    assert_eq!(t.json("files/predict-1-of-2.json")["parts"].as_array().unwrap().len(), 1);
}

#[test]
fn values_are_columns_more() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let mut all = rows_of("test");
    all[3].price = 0.0;
    t.write("x.csv", csv(&all, false));
    // A missing price, and one of 0.
    let text = t.text("x.csv");
    let line = text.lines().nth(8).unwrap().to_owned();
    t.write("x.csv", text.replace(&line, &format!("{},", &line[..line.rfind(',').unwrap()])));
    let ran = t.shell("$esmm predict run --data x.csv --out x.parquet --value 'value = p_purchase * price' --value 'per=p_click/price' --value 'capped=min(p_purchase_given_click, {p_click}) * 2^-1'").exits(0);
    says(&ran.stdout, &["per: 2 rows without a value (a missing cell, or a result that is not finite)", "value: 1 row without a value"]);
    let names = ["p_click", "p_purchase", "p_purchase_given_click", "value", "per", "capped"];
    let [click, purchase, given, value, per, capped] = names.map(|n| nullable(&t, "x.parquet", n));
    for (i, row) in all.iter().enumerate() {
        let price = (i != 7).then_some(row.price);
        assert_eq!(value[i], price.map(|price| purchase[i].unwrap() * price));
        assert_eq!(per[i], price.filter(|p| *p != 0.0).map(|price| click[i].unwrap() / price));
        assert_eq!(capped[i], Some(given[i].unwrap().min(click[i].unwrap()) * 0.5));
    }
    // Without values the probabilities are the same; in CSV a row without a value has an empty cell.
    t.shell("$esmm predict run --data x.csv --out x.csv.csv --value 'per=p_click/price'").exits(0);
    assert_eq!(t.text("x.csv.csv").lines().filter(|l| l.ends_with(',')).count(), 2);
    t.shell("$esmm predict run --data x.csv --out folder --value 'per=p_click/price'").exits(0);
    assert_eq!(nullable(&t, "folder/part-00000.parquet", "per"), per);
    let manifest = t.json("folder/predict.json");
    assert_eq!((manifest["without_value"]["per"].as_u64(), manifest["values"]["per"].as_str()), (Some(2), Some("p_click/price")));

    let fails = |value: &str, parts: &[&str]| {
        let message = t.shell(&format!("$esmm predict run --data x.csv --out none.csv --value '{value}'")).complains();
        says(&message, parts);
        assert!(!t.exists("none.csv"));
    };
    fails(
        "v=p_purchse * price",
        &[
            "unknown name `p_purchse`",
            "--> --value:1:1",
            "^^^^^^^^^",
            "did you mean `p_purchase`?",
            "names there are: p_click, p_click_given_impression",
        ],
    );
    fails("v=p_cart * price", &["unknown name `p_cart`", "price"]);
    fails("v=p_click * city", &["x.csv:2: column city: expected a number, found text of 2 characters", "1500 such cells"]);
    fails("p_click * price", &["`--value p_click * price` has no name", "for example `--value 'value=p_purchase * price'`"]);
    fails("id=p_click", &["predictions have a column `id` already"]);
    fails("p_click=p_click*2", &["predictions have a column `p_click` already"]);
    fails("v=p_click *", &["expected a number, a name or `(`, found the end"]);
    fails("v=3", &["names no probability and no column"]);
    parquet(&all, &t.path("x2.parquet"));
    let message = t.shell("$esmm predict run --data x2.parquet --out none.csv --value 'v=p_click * tags'").complains();
    says(&message, &["column tags: expected numbers, found List"]);
}

#[test]
fn eval_weighs_by_value() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let all = rows_of("test");
    let values = "--value value=p_purchase*price --value margin=p_purchase*price-p_click*0.5 --value given=p_purchase_given_click*price";
    let answer = t.ok(&format!("eval run --format json {values}")).json()["test"].clone();
    assert_eq!(t.ok(&format!("eval run --data test.csv --format json {values}")).json()["data"], answer);
    let plain = t.ok("eval run --format json").json()["test"].clone();
    assert_eq!((plain.get("value"), &plain["click"]), (None, &answer["click"]));
    t.ok("predict run --data test.csv --out p.csv");
    let p = Table::read(&t.path("p.csv"));
    let (click, purchase, given) = (p.numbers("p_click"), p.numbers("p_purchase"), p.numbers("p_purchase_given_click"));
    let near = |found: &serde_json::Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "{found} {expected}");
    };
    let sum = |of: &dyn Fn(usize) -> f64| (0..all.len()).map(of).sum::<f64>();
    let reached = |i: usize| f64::from(all[i].purchase);
    let value = &answer["value"]["value"];
    assert_eq!(
        (value["rows"].as_u64(), value["without_value"].as_u64(), value["expression"].as_str()),
        (Some(1500), Some(0), Some("p_purchase*price"))
    );
    let realised = sum(&|i| reached(i) * all[i].price);
    near(&value["predicted"], sum(&|i| purchase[i] * all[i].price));
    near(&value["realised"], realised);
    near(&value["ratio"], sum(&|i| purchase[i] * all[i].price) / realised);
    let margin = &answer["value"]["margin"];
    near(&margin["realised"], sum(&|i| reached(i) * all[i].price - f64::from(all[i].click) * 0.5));
    near(&margin["weighted"]["p_click"]["stake"], 750.0);
    // The top decile by expected value: 150 of 1500 rows, none tied at its end.
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| (purchase[*b] * all[*b].price).total_cmp(&(purchase[*a] * all[*a].price)));
    let top: f64 = order[..150].iter().map(|i| reached(*i) * all[*i].price).sum();
    near(&value["top_decile"]["capture"], top / realised);
    near(&value["top_decile"]["lift"], 10.0 * top / realised);
    // AUC and log loss, pair by pair.
    let naive = |p: &[f64], rows: &[usize], label: &dyn Fn(usize) -> u8| {
        let (mut won, mut pairs, mut loss, mut weight) = (0.0, 0.0, 0.0, 0.0);
        for &i in rows {
            loss -= all[i].price * if label(i) == 1 { p[i].ln() } else { (1.0 - p[i]).ln() };
            weight += all[i].price;
            for &j in rows.iter().filter(|j| label(i) == 1 && label(**j) == 0) {
                let pair = all[i].price * all[j].price;
                pairs += pair;
                won += pair * if p[i] == p[j] { 0.5 } else { f64::from(u8::from(p[i] > p[j])) };
            }
        }
        (won / pairs, loss / weight)
    };
    let every: Vec<usize> = (0..all.len()).collect();
    let (auc, loss) = naive(&purchase, &every, &|i| all[i].purchase);
    near(&value["weighted"]["p_purchase"]["auc"], auc);
    near(&value["weighted"]["p_purchase"]["logloss"], loss);
    let clicked: Vec<usize> = every.into_iter().filter(|i| all[*i].click == 1).collect();
    let (auc, loss) = naive(&given, &clicked, &|i| all[i].purchase);
    let conditional = &answer["value"]["given"]["weighted"]["p_purchase_given_click"];
    assert_eq!(conditional["rows"].as_u64(), Some(clicked.len() as u64));
    near(&conditional["auc"], auc);
    near(&conditional["logloss"], loss);
    assert!(click.iter().all(|p| *p > 0.0));
    let shown = t.ok(&format!("eval run {values}")).stdout;
    says(&shown, &["value", "realised", "ratio", "top 10% holds", "p_click in margin", "p_purchase_given_click in given"]);
    // A random split, with rows left out by the orphan policy: columns stand beside their own rows.
    let text = csv(&rows(5, 3000), true).replacen(",0,0\n", ",0,1\n", 7);
    t.write("mixed.csv", text);
    let split =
        "--set split={kind=\"random\",valid=0.2,test=0.4,seed=4} --set data.source.files=[\"mixed.csv\"] --set data.orphan_labels=drop_row";
    t.ok(&format!("run log.toml {split} --out mixed --predictions"));
    let found = t.ok("eval mixed --format json --value v=p_click*price").json()["test"]["value"]["v"].clone();
    let p = Table::read(&t.path("mixed/predictions.parquet"));
    let price: std::collections::HashMap<String, f64> = rows(5, 3000).into_iter().map(|r| (r.id, r.price)).collect();
    near(&found["predicted"], p.text("id").iter().zip(p.numbers("p_click")).map(|(id, p)| p * price[id]).sum());
    assert_eq!(found["rows"].as_u64(), Some(p.rows() as u64));

    says(&t.fails("eval run --value v=p_bought*price"), &["unknown name `p_bought`", "--> --value:1:1"]);
    says(&t.fails("eval run --value v=p_click*city"), &["test.csv:2: column city: expected a number"]);
}

#[test]
fn what_the_model_does_not_know_goes_by_policy() {
    let t = Sandbox::with_log();
    t.ok("run log.toml --out run");
    let mut some = rows_of("test");
    some.truncate(60);
    for row in &mut some[10..] {
        row.user = "nobody".into();
    }
    t.write("new.csv", csv(&some, false));
    let summary = t.ok("predict run --data new.csv --out p.csv --format json").json()["summary"].clone();
    assert_eq!(
        (summary["unknown_ids"]["user_id"].as_u64(), summary["rows"].as_u64()),
        (Some(50), Some(60)),
        "of all rows, though it is one user"
    );
    let message = t.fails("predict run --data new.csv --out none.csv --unknown-ids error");
    says(&message, &["new.csv:12: column user_id: an id that the model does not know", "`--unknown-ids accept`"]);
    assert!(!t.exists("none.csv") && !message.contains("nobody"));
    t.ok("predict run --data test.csv --out known.csv --unknown-ids error");

    // Without a column it is as if all its cells were empty.
    let cells = |drop: &[usize], blank: bool| {
        let line = |(n, line): (usize, &str)| {
            let cells = line.split(',').enumerate().filter(|(i, _)| blank || !drop.contains(i));
            cells.map(|(i, cell)| if n > 0 && drop.contains(&i) { "" } else { cell }).collect::<Vec<_>>().join(",") + "\n"
        };
        csv(&some, false).lines().enumerate().map(line).collect::<String>()
    };
    for (i, drop) in [vec![6], vec![3, 5], vec![2, 3, 4, 5]].into_iter().enumerate() {
        t.write("blank.csv", cells(&drop, true));
        t.write("short.csv", cells(&drop, false));
        t.ok(&format!("predict run --data blank.csv --out blank{i}.csv"));
        let ran = t.run("predict run --data short.csv --out none.csv").exits(2);
        assert_eq!(ran.stderr.matches("which the model needs").count(), drop.len(), "{ran}");
        let ran = t.ok(&format!("predict run --data short.csv --out short{i}.csv --missing-columns default"));
        says(&ran.stdout, &["the data have no such column; read as missing on 60 rows"]);
        assert_eq!(t.text(&format!("short{i}.csv")), t.text(&format!("blank{i}.csv")), "without {drop:?}");
    }
    t.ok("predict run --data short.csv --out folder --missing-columns default --partition-rows 25");
    assert_eq!(t.json("folder/predict.json")["missing_columns"]["tags"], 60);
    assert_eq!(t.json("folder/predict.json")["policies"]["missing_columns"], "default");
    // A key is no feature, and data with none of the columns are other data.
    t.write("short.csv", cells(&[0], false));
    says(
        &t.fails("predict run --data short.csv --out none.csv --missing-columns default"),
        &["no column `id`, which predictions carry as a key"],
    );
    t.write("short.csv", "id,day,x\n1,2,3\n");
    let ran = t.run("predict run --data short.csv --out none.csv --missing-columns default").exits(2);
    assert_eq!(ran.stderr.matches("which the model needs").count(), 5, "{ran}");
}

/// The commands of a page, block after block in one folder.
#[test]
fn the_page_on_scoring_runs_as_written() {
    let t = Sandbox::new();
    let page = fs::read_to_string(std::path::Path::new(PROJECT).join("docs/scoring.md")).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6);
    for block in blocks {
        t.shell(&format!("set -e; PATH=$(dirname \"$esmm\"):$PATH\n{block}")).exits(0);
    }
    let one = Table::read(&t.path("scores.parquet"));
    one.assert_same(&whole(&t, "scores"));
    one.assert_same(&whole(&t, "sharded"));
    assert_eq!((one.rows(), parts(&t, "scores").len(), parts(&t, "sharded").len()), (20_000, 4, 3));
}

#[test]
fn bad_requests_are_told_in_words() {
    let (t, _) = scored_log();
    for shard in ["3/2", "0/2", "x", "1/0"] {
        let ran = t.run(&format!("predict run --data a.csv --out out --shard {shard}"));
        assert_eq!(ran.code, Some(2));
        says(&ran.stderr, &[&format!("invalid value '{shard}' for '--shard <I/N>'")]);
    }
    says(&t.run("predict run --data a.csv --out out --shard 3/2").stderr, &["there is no shard 3 of 2; shards of 2 are 1/2 to 2/2"]);
    says(&t.run("predict run --data a.csv --out out --partition-rows 0").stderr, &["--partition-rows"]);
    says(&t.fails("predict run --data a.csv --out x.csv --shard 1/2"), &["`--shard 1/2` writes parts, and `x.csv` is one file"]);
    says(&t.fails("predict run --data a.csv --out x.csv --partition-rows 5"), &["`--partition-rows` writes Parquet parts"]);
    says(&t.fails("predict run --data a.csv --out x.json"), &["written to a `.csv` or a `.parquet` file, or in parts to a folder"]);
    t.write("sheet.xlsx", b"PK\x03\x04");
    says(
        &t.fails("predict run --data sheet.xlsx --out out"),
        &["`sheet.xlsx`: rows are read from .csv, .tsv (also .gz) and .parquet files"],
    );
    assert!(!t.exists("out"));

    t.write("foreign/notes.txt", "mine");
    says(
        &t.fails("predict run --data a.csv --out foreign"),
        &["`foreign` holds `notes.txt`, which predictions did not write; name an empty folder"],
    );
    t.write("strange/part-00000.parquet", "mine");
    says(&t.fails("predict run --data a.csv --out strange"), &["`strange` holds `part-00000.parquet` and no `predict.json`"]);
    t.write("torn/predict.json", "{");
    says(&t.fails("predict run --data a.csv --out torn"), &["`torn/predict.json` is damaged; remove it, or name another folder"]);
    t.write("plain", "a file");
    says(&t.fails("predict run --data a.csv --out plain"), &["`plain` is a file"]);
    says(&t.fails("predict run --data a.csv --out plain/below"), &["making the folder `plain/below`"]);
    assert_eq!((t.text("foreign/notes.txt"), t.text("strange/part-00000.parquet")), ("mine".into(), "mine".into()));
    // A folder that cannot be written to; the superuser may write anywhere, and then there is nothing to see.
    fs::create_dir(t.path("closed")).unwrap();
    fs::set_permissions(t.path("closed"), std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    if fs::write(t.path("closed/probe"), "").is_err() {
        says(&t.fails("predict run --data a.csv --out closed"), &["writing to the folder `closed`", "Permission denied"]);
    }
    says(&t.fails("predict run --data a.csv --out /proc/none"), &["making the folder `/proc/none`"]);

    // A faulty cell: what was whole before it stays, and mended the command goes on.
    let text = t.text("a.csv");
    let broken = text
        .lines()
        .enumerate()
        .map(|(i, line)| if i == 12_000 { format!("{},much\n", &line[..line.rfind(',').unwrap()]) } else { format!("{line}\n") });
    t.write("c.csv", broken.collect::<String>());
    says(&t.fails("predict run --data a.csv c.csv --out out"), &["c.csv:12001: column price: expected a number"]);
    assert_eq!(parts(&t, "out"), ["part-00000.parquet"]);
    assert_tidy(&t, "out");
    says(&t.fails("predict run --data a.csv b.csv --out out"), &["from other inputs"]);
    // One process at a time.
    t.write("many.csv", csv(&rows(4, 400_000), false));
    let mut child = t.spawn("predict run --data many.csv --out busy --partition-rows 9000");
    while !t.exists("busy/predict.json") {
        std::thread::sleep(Duration::from_millis(2));
    }
    says(
        &t.fails("predict run --data many.csv --out busy --partition-rows 9000"),
        &["another process is writing to `busy`, the same shard"],
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
