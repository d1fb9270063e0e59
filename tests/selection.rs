//! Nothing selects on test: whatever stands in the test rows, the same model comes out.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::log::{Row, csv, rows_of};
use common::table::Table;
use common::{Sandbox, after};
use serde_json::Value;

const TRAIN: &str = "run log.toml --predictions --set train.eval_every_steps=7 --set train.patience_evals=3 --set train.epochs=6";

/// A run over the log, its test rows changed.
struct Trained {
    t: Sandbox,
}
impl Trained {
    fn new(change: impl Fn(usize, &mut Row)) -> Self {
        let t = Sandbox::with_log();
        let mut rows = rows_of("test");
        rows.iter_mut().enumerate().for_each(|(i, row)| change(i, row));
        t.write("test.csv", csv(&rows, true));
        t.ok(&format!("{TRAIN} --out run"));
        Self { t }
    }
    fn weights(&self) -> Vec<Vec<u8>> {
        let best = self.t.checkpoint("run", "final");
        ["model", "optimizer"].iter().map(|f| self.t.bytes(&format!("{best}/{f}.safetensors"))).collect()
    }
    /// Which checkpoints there are, and where each stands.
    fn states(&self) -> Vec<Value> {
        let mut states = vec![self.t.json("run/checkpoints/index.json")];
        for which in ["latest", "best", "final"] {
            let mut state = self.t.json(&format!("{}/state.json", self.t.checkpoint("run", which)));
            // The data and the clock differ, as they should.
            state.as_object_mut().unwrap().retain(|key, _| !["data", "train_seconds"].contains(&key.as_str()));
            states.push(state);
        }
        states
    }
    fn journal(&self) -> Vec<Value> {
        self.t.lines("run/metrics.jsonl").into_iter().filter(|l| l["part"] != "test").collect()
    }
    fn valid(&self) -> Value {
        self.t.json("run/metrics.json")["valid"].clone()
    }
    fn test(&self) -> Value {
        self.t.json("run/metrics.json")["test"].clone()
    }
    fn features(&self) -> Vec<(String, Vec<u8>)> {
        self.t.files("run/features")
    }
    fn predictions(&self) -> Table {
        Table::read(&self.t.path("run/predictions.parquet"))
    }
    fn assert_same_model(&self, other: &Self) {
        assert_eq!(self.states(), other.states());
        assert!(self.weights() == other.weights(), "other weights");
        assert_eq!(self.journal(), other.journal());
        assert_eq!(self.valid(), other.valid());
        assert!(self.features() == other.features(), "other vocabulary or transforms");
    }
}

#[test]
fn labels_of_test_rows_change_the_test_metrics_and_nothing_else() {
    let plain = Trained::new(|_, _| {});
    // Patience did its work, so that there was something to select.
    let states = plain.states();
    assert_ne!(states[0]["final"], states[0]["latest"], "{:?}", states[0]);
    let flipped = Trained::new(|_, row| (row.click, row.purchase) = (1 - row.click, (1 - row.click) * (1 - row.purchase)));
    plain.assert_same_model(&flipped);
    plain.predictions().assert_same(&flipped.predictions());
    assert_ne!(plain.test(), flipped.test());
    let auc = |t: &Trained| t.test()["click"]["full"]["auc"].as_f64().unwrap();
    assert!((auc(&plain) + auc(&flipped) - 1.0).abs() < 1e-9, "flipped labels mirror the AUC");
}

#[test]
fn features_of_test_rows_do_not_reach_the_model() {
    let plain = Trained::new(|_, _| {});
    let strange = Trained::new(|i, row| {
        row.user = format!("stranger-{i}");
        row.item += 1000;
        row.price = 1e6;
        row.tags = vec!["new".into()];
    });
    plain.assert_same_model(&strange);
    let vocabulary = strange.t.bytes("run/features/vocabulary.parquet");
    let text = String::from_utf8_lossy(&vocabulary);
    assert!(!text.contains("stranger"), "{}", after(&text, "stranger"));
}

#[test]
fn a_split_by_column_keeps_test_out_too() {
    let runs = [0, 1].map(|flip| {
        let t = Sandbox::with_log();
        let mut rows: Vec<Row> = ["train", "valid", "test"].into_iter().flat_map(rows_of).collect();
        // `day` is the item modulo 3: 0 trains, 1 selects, 2 tests.
        rows.iter_mut().filter(|r| r.item % 3 == 2).for_each(|r| (r.click, r.purchase) = (r.click ^ flip, 0));
        rows.iter_mut().filter(|r| r.item % 3 == 2 && r.click == 1).step_by(2).for_each(|r| r.purchase = 1);
        t.write("all.csv", csv(&rows, true));
        let split = "--set split={kind=\"column\",column=\"day\",train_through=0,valid_through=1,test_from=2}";
        t.ok(&format!("{TRAIN} {split} --set data.source.files=[\"all.csv\"] --out run"));
        Trained { t }
    });
    runs[0].assert_same_model(&runs[1]);
    runs[0].predictions().assert_same(&runs[1].predictions());
    assert_ne!(runs[0].test(), runs[1].test());
}
