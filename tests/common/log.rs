//! A small log of impressions, clicks and purchases: the same rows as CSV and as Parquet, in a file each for train, valid and test.

use super::Sandbox;
use arrow::array::{ArrayRef, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// One impression.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    pub user: String,
    pub city: String,
    pub item: i64,
    pub tags: Vec<String>,
    pub price: f64,
    pub click: u8,
    pub purchase: u8,
}

/// The files and their rows.
pub const FILES: [(&str, u64, usize); 3] = [("train", 1, 4000), ("valid", 2, 800), ("test", 3, 1500)];

/// A spec over the three files.
pub const SPEC: &str = r#"[funnel]
chain = "impression -> click -> purchase"

[defaults]
tower = { kind = "mlp", hidden = [16, 8] }

[data]
source = { kind = "csv", files = ["train.csv"] }
keys = ["id", "day"]

[split]
kind = "files"
valid = ["valid.csv"]
test = ["test.csv"]

[entity.user]
key = "user_id"

[feature.user]
kind = "id"
columns = ["user_id", "city"]
of = "user"

[feature.item]
kind = "id"
columns = ["item_id"]
min_count = 2

[feature.tags]
kind = "bag"
columns = ["tags"]
separator = "|"

[feature.price]
kind = "number"
columns = ["price"]
transform = "log1p"

[embedding]
dim = 4
optimizer = { kind = "adam", lr = 5e-3 }

[train]
batch_rows = 128
epochs = 2
optimizer = { kind = "adam", lr = 5e-3 }
"#;

/// A generator of numbers that needs no crate (Knuth's MMIX constants).
struct Draw(u64);
impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
    fn chance(&mut self, percent: u64) -> u8 {
        u8::from(self.below(100) < percent)
    }
}

/// Rows that a seed gives: some users click and some items sell.
pub fn rows(seed: u64, n: usize) -> Vec<Row> {
    let mut draw = Draw(seed);
    (0..n)
        .map(|i| {
            let (user, item) = (draw.below(60), draw.below(40));
            let click = draw.chance(15 + 30 * (user % 2));
            let purchase = click * draw.chance(20 + 50 * (item % 2));
            Row {
                id: format!("{seed}-{i}"),
                user: format!("u{user}"),
                city: format!("c{}", user % 7),
                item: i64::try_from(item).unwrap(),
                tags: (0..draw.below(4)).map(|_| format!("t{}", draw.below(9))).collect(),
                price: f64::from(u32::try_from(draw.below(10_000)).unwrap()) / 100.0,
                click,
                purchase,
            }
        })
        .collect()
}

/// Rows of one of [`FILES`].
pub fn rows_of(file: &str) -> Vec<Row> {
    let (_, seed, n) = FILES.into_iter().find(|f| f.0 == file).unwrap();
    rows(seed, n)
}

/// As CSV, with the labels or without.
pub fn csv(rows: &[Row], labels: bool) -> String {
    let mut text = String::from("id,day,user_id,city,item_id,tags,price");
    text += if labels { ",click,purchase\n" } else { "\n" };
    for r in rows {
        text += &format!("{},{},{},{},{},{},{}", r.id, day(r), r.user, r.city, r.item, r.tags.join("|"), r.price);
        text += &if labels { format!(",{},{}\n", r.click, r.purchase) } else { "\n".into() };
    }
    text
}
fn day(row: &Row) -> i64 {
    row.item % 3
}

/// As Parquet, in other columns' order, without labels; tags are lists.
pub fn parquet(rows: &[Row], path: &Path) {
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in rows {
        row.tags.iter().for_each(|t| tags.values().append_value(t));
        tags.append(true);
    }
    let text = |of: fn(&Row) -> &str| Arc::new(StringArray::from_iter_values(rows.iter().map(of))) as ArrayRef;
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("price", Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.price)))),
        ("tags", Arc::new(tags.finish())),
        ("item_id", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.item)))),
        ("city", text(|r| &r.city)),
        ("user_id", text(|r| &r.user)),
        ("day", Arc::new(Int64Array::from_iter_values(rows.iter().map(day)))),
        ("id", text(|r| &r.id)),
    ];
    save(columns, path);
}

/// Writes columns as a Parquet file.
pub fn save(columns: Vec<(&str, ArrayRef)>, path: &Path) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Writes the three files and `log.toml` over them.
pub fn write(sandbox: &Sandbox) {
    for (name, seed, n) in FILES {
        sandbox.write(&format!("{name}.csv"), csv(&rows(seed, n), true));
    }
    sandbox.write("log.toml", SPEC);
}
