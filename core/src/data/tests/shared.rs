//! Columns in common: whatever is said once, the batch is the one of rows spelled out.

use super::*;
use crate::data::{RawEncoder, SharedColumns, spread};

fn rows(n: u32) -> RecordBatch {
    let mut csv = String::from("item,tags,tags_w,user,age,price,click,buy\n");
    for i in 0..n {
        let tags: Vec<String> = (0..i % 4).map(|t| format!("t{}", t * i % 5)).collect();
        let weights: Vec<String> = (0..i % 4).map(|t| format!("{t}.5")).collect();
        csv += &format!(
            "i{},{},{},u{},{},{}.5,{},{}\n",
            i % 7,
            tags.join("|"),
            weights.join("|"),
            i % 3,
            (i % 3) * 2,
            i % 9,
            u8::from(i % 3 == 0),
            u8::from(i % 6 == 0)
        );
    }
    text(&csv)
}

#[test]
fn said_once_or_with_every_row_gives_one_batch() {
    let mut spec = spec(vec![
        feature("item", "kind = 'id'\nmin_count = 2"),
        feature("tags", "kind = 'bag'\nweights = 'tags_w'\nseparator = '|'"),
        feature("price", "kind = 'number'\ntransform = 'log1p'"),
        feature("user", "kind = 'id'\nof = 'user'"),
        feature("age", "kind = 'number'\nof = 'user'\ntransform = 'none'"),
        feature("pair", "kind = 'cross'\ncolumns = ['item', 'user']"),
    ]);
    spec.entities = vec![Entity { name: "user".into(), key: "user".into() }];
    spec.split = Split::Random { valid: 0.0, test: 0.0, seed: 1 };
    let (_keep, dataset, _) = open(&spec, &memory(vec![rows(40)]));
    let encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    let columns = ["item", "tags", "tags_w", "price", "user", "age"];
    let source = memory(vec![rows(1)]).inputs().unwrap();
    let table = rows(12);
    let pick = |shared: bool, mask: u32, table: &RecordBatch| {
        let at = |(i, c): (usize, &&str)| (((mask >> i) & 1 == 1) == shared).then(|| table.schema().index_of(c).unwrap());
        table.project(&columns.iter().enumerate().filter_map(at).collect::<Vec<_>>()).unwrap()
    };
    // A bag and its weights stand together, or there would not be as many of the one as of the other.
    for mask in (0..1 << columns.len()).filter(|mask| (mask >> 1) & 1 == (mask >> 2) & 1) {
        // Row 7 has three tags, and an id that was seen once reads as unknown.
        let (shared, own) = (pick(true, mask, &table.slice(7, 1)), pick(false, mask, &table));
        let split = SharedColumns::of(encoder.layout(), |c| columns.iter().position(|k| *k == c).is_some_and(|i| (mask >> i) & 1 == 1));
        let once = encoder.encode_shared(&split, &shared, &own, [&source[0], &source[0]]).unwrap();
        let records = spread(&shared, &own).unwrap();
        let each = Chunk { records, input: 0, numbers: RowNumbers::From(0), broken: Vec::new() };
        assert_eq!(once, encoder.encode(&each, &source[0]).unwrap().batch, "columns {mask:b}");
    }
}
