//! Nothing that selects or fits ever looks at test rows.

use super::fixture::{SPEC, Sandbox, hash, log};

/// A log with days 0 to 9: train through 6, valid 7, test from 8.
const SPLIT: &str = "[split]\nkind = \"column\"\ncolumn = \"day\"\ntrain_through = 6\nvalid_through = 7\n";

fn sandbox(rows: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("log.csv", rows);
    let features = "[feature.user]\nkind = \"id\"\nmin_count = 2\n[feature.item]\nkind = \"id\"\n\
                    [feature.price]\nkind = \"number\"\ntransform = { bucketize = { quantiles = 5 } }\n";
    let early = "[train]\npatience_evals = 2\neval_every_steps = 10\nmonitor = \"purchase.full.auc\"\n";
    sandbox.write(
        "s.toml",
        SPEC.replace("features = \"infer\"", "").replace("[train]\n", early).replace("epochs = 4", "epochs = 8") + features + SPLIT,
    );
    sandbox.ok("run s.toml --out r --predictions");
    sandbox
}
/// Rewrites the rows of the test days.
fn change_test(rows: &str, change: impl Fn(usize, &mut Vec<String>)) -> String {
    rows.lines()
        .enumerate()
        .map(|(i, line)| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            if i > 0 && cells[4].parse::<u32>().unwrap() >= 8 {
                change(i, &mut cells);
            }
            cells.join(",") + "\n"
        })
        .collect()
}
fn valid_lines(sandbox: &Sandbox) -> Vec<String> {
    let text = String::from_utf8(sandbox.read("r/metrics.jsonl")).unwrap();
    text.lines().filter(|l| !l.contains("\"part\":\"test\"")).map(str::to_owned).collect()
}
fn checkpoint(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let name = sandbox.json("r/checkpoints/index.json")["final"].as_str().unwrap().to_owned();
    let file = |f: &str| sandbox.read(&format!("r/checkpoints/{name}/{f}"));
    vec![name.clone().into_bytes(), file("model.safetensors"), file("optimizer.safetensors")]
}

#[test]
fn other_test_labels_change_nothing_but_the_test_metrics() {
    let rows = log(3000);
    let before = sandbox(&rows);
    let after = sandbox(&change_test(&rows, |i, cells| {
        let click = hash(i, 9) % 2;
        cells[5] = click.to_string();
        cells[6] = (click * (hash(i, 10) % 2)).to_string();
    }));
    assert!(checkpoint(&before) == checkpoint(&after), "same best step, same weights");
    assert_eq!(valid_lines(&before), valid_lines(&after));
    assert!(before.read("r/predictions.parquet") == after.read("r/predictions.parquet"));
    let metrics = |s: &Sandbox| s.json("r/metrics.json");
    assert_eq!(metrics(&before)["valid"], metrics(&after)["valid"]);
    assert_ne!(metrics(&before)["test"]["click"]["full"]["auc"], metrics(&after)["test"]["click"]["full"]["auc"]);
}

#[test]
fn other_test_features_change_neither_vocabulary_nor_transforms() {
    let rows = log(3000);
    let before = sandbox(&rows);
    let after = sandbox(&change_test(&rows, |i, cells| {
        cells[1] = format!("new{}", i % 7);
        cells[3] = format!("{}", 1e6 + (i % 11) as f64);
    }));
    assert!(checkpoint(&before)[1] == checkpoint(&after)[1], "same weights");
    for file in ["features.json", "vocabulary.parquet"] {
        let of = |s: &Sandbox| s.read(&format!("r/features/{file}"));
        assert!(of(&before) == of(&after), "{file}");
    }
    assert!(before.read("r/predictions.parquet") != after.read("r/predictions.parquet"));
}
