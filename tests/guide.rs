//! `docs/from-logs-to-funnel.md` works as written: its SQL makes the shipped training table from the shipped logs, a second and naive
//! reading of the logs agrees with it, and its commands train.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{PROJECT, Sandbox, says};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const LOGS: &str = "examples/data/logs";

fn guide() -> String {
    fs::read_to_string(Path::new(PROJECT).join("docs/from-logs-to-funnel.md")).unwrap()
}
/// The fenced blocks of one language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}
fn unpacked(name: &str) -> String {
    let file = fs::File::open(Path::new(PROJECT).join(LOGS).join(name)).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// A Python that has `duckdb`: `ESMM_PYTHON`, or what `python3` is.
fn python() -> Option<PathBuf> {
    let candidates = [std::env::var_os("ESMM_PYTHON").map(PathBuf::from), Some("python3".into())];
    let has = |python: &PathBuf| Command::new(python).args(["-c", "import duckdb"]).output().is_ok_and(|o| o.status.success());
    candidates.into_iter().flatten().find(has)
}

#[test]
fn the_sql_makes_the_shipped_table() {
    let sql = blocks(&guide(), "sql");
    assert_eq!(sql.len(), 8, "the guide has its blocks");
    let Some(python) = python() else {
        eprintln!("skipped: no Python with `duckdb` (set ESMM_PYTHON, or `pip install duckdb`)");
        return;
    };
    let t = Sandbox::new();
    for log in ["impressions.csv.gz", "events.csv.gz", "users.csv"] {
        t.write(log, fs::read(Path::new(PROJECT).join(LOGS).join(log)).unwrap());
    }
    t.write("guide.sql", sql.join("\n"));
    let script = "import duckdb\nc = duckdb.connect()\nc.execute(open('guide.sql').read())\n\
                  for row in c.execute('FROM fates').fetchall(): print('|', ' | '.join(map(str, row)), '|')";
    let ran = Command::new(python).args(["-c", script]).current_dir(t.path(".")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(t.text("training.csv") == unpacked("training.csv.gz"), "the shipped table is what the guide's SQL makes");
    // The table of fates in the guide is the one that comes out.
    let fates = String::from_utf8(ran.stdout).unwrap();
    assert!(fates.lines().count() > 5 && guide().contains(fates.trim_end()), "{fates}");
}

struct Impression {
    id: String,
    at: Timestamp,
    user: String,
    item: String,
}
struct Event {
    kind: String,
    at: Timestamp,
    impression: String,
    user: String,
    item: String,
}

/// Lines of a log, each id once.
fn log(name: &str) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let text = unpacked(name);
    let lines = text.lines().skip(1).map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|cells| seen.insert(cells[0].clone())).collect()
}

/// The same question put another way: loops over events instead of joins, with no SQL and no shared code.
#[test]
fn a_naive_reading_of_the_logs_agrees() {
    let window = SignedDuration::from_hours(7 * 24);
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let impressions: Vec<Impression> = log("impressions.csv.gz")
        .into_iter()
        .map(|c| Impression { id: c[0].clone(), at: time(&c[1]), user: c[2].clone(), item: c[3].clone() })
        .collect();
    let events: Vec<Event> = log("events.csv.gz")
        .into_iter()
        .map(|c| Event { kind: c[1].clone(), at: time(&c[2]), impression: c[3].clone(), user: c[4].clone(), item: c[5].clone() })
        .collect();
    let by_id: BTreeMap<&str, &Impression> = impressions.iter().map(|i| (i.id.as_str(), i)).collect();
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for event in &events {
        let mut of = by_id.get(event.impression.as_str()).copied();
        if event.kind == "purchase" {
            // The impression whose first click is the last one before the purchase.
            let mut last: Option<(Timestamp, &Impression)> = None;
            for i in impressions.iter().filter(|i| i.user == event.user && i.item == event.item) {
                let clicks = events.iter().filter(|e| e.kind == "click" && e.impression == i.id && e.at >= i.at);
                if let Some(first) = clicks.map(|e| e.at).min().filter(|at| *at <= event.at && last.is_none_or(|l| *at > l.0)) {
                    last = Some((first, i));
                }
            }
            of = last.map(|l| l.1);
        }
        if let Some(i) = of.filter(|i| event.at >= i.at && event.at <= i.at + window) {
            kinds.entry(&i.id).or_default().insert(&event.kind);
        }
    }
    let (from, to) = (time("2026-03-08T00:00:00Z"), time("2026-03-22T00:00:00Z"));
    let text = unpacked("training.csv.gz");
    let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let table: BTreeMap<&str, Vec<&str>> =
        text.lines().skip(1).map(|l| l.split(',').collect::<Vec<_>>()).map(|cells| (cells[0], cells)).collect();
    let ripe: Vec<&Impression> = impressions.iter().filter(|i| i.at >= from && i.at < to).collect();
    assert_eq!(table.len(), ripe.len());
    assert_eq!(text.lines().count(), ripe.len() + 1, "no impression twice");
    for i in ripe {
        let row = &table[i.id.as_str()];
        let none = BTreeSet::new();
        let has = |kind: &str| kinds.get(i.id.as_str()).unwrap_or(&none).contains(kind);
        let labels = [has("click") || has("cart") || has("purchase"), has("cart") || has("purchase"), has("purchase")];
        let found = ["click", "cart", "purchase"].map(|name| row[column(name)] == "1");
        assert_eq!(found, labels, "{}", i.id);
        // What is known an hour before, and not what comes after.
        let known = |at: Timestamp| at >= i.at - window && at < i.at - SignedDuration::from_hours(1);
        let clicks = events.iter().filter(|e| e.kind == "click" && e.user == i.user && known(e.at)).count();
        let shown = impressions.iter().filter(|o| o.item == i.item && known(o.at)).count();
        assert_eq!([row[column("user_clicks_7d")], row[column("item_shown_7d")]], [clicks.to_string(), shown.to_string()], "{}", i.id);
    }
}

#[test]
fn the_commands_train() {
    let t = Sandbox::new();
    t.write("training.csv", unpacked("training.csv.gz"));
    let shell = blocks(&guide(), "sh");
    let commands = shell.iter().find(|b| b.contains("esmm-funnel init")).unwrap();
    t.shell(&format!("set -e\n{}", commands.replace("esmm-funnel ", "\"$esmm\" "))).exits(0);
    // The excerpt of the spec in the guide is what `init` wrote.
    let spec = t.text("shop.toml");
    let excerpt = &blocks(&guide(), "toml")[0];
    for line in excerpt.lines().filter(|l| !l.is_empty()) {
        let start = line.split("  #").next().unwrap();
        assert!(spec.contains(start), "`{line}` is not in\n{spec}");
    }
    let test = &t.json("runs/first/metrics.json")["test"];
    for stage in ["click", "cart", "purchase"] {
        assert!(test[stage]["full"]["auc"].as_f64().unwrap() > 0.6, "{test}");
    }
    assert_eq!(test["purchase"]["full"]["positives"], 28, "as the guide says");
    says(&t.text("runs/first/model-card.md"), &["by `shown_at`: train through 2026-03-17", "Only 28 test rows reach `purchase`"]);
}
