//! Columns beside the rows, and loss weights made of them.

use super::super::beside::Beside;
use super::super::source::{Chunk, ChunkStream, Input, RowNumbers, SharedSource, Source};
use super::super::{BatchPlan, Part};
use super::*;
use arrow::array::{AsArray, Float64Array, Int64Array};
use std::num::NonZeroUsize;

/// Tables in memory, in chunks of this size.
struct Pieces {
    tables: Vec<RecordBatch>,
    size: usize,
    version: u32,
}
impl Source for Pieces {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        Ok(self.tables[0].schema())
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let fingerprint = format!("v{}", self.version);
        let input = |i| Input {
            name: format!("p{i}.parquet"),
            path: None,
            fingerprint: fingerprint.clone(),
            unit: "row",
            bytes: 0,
            entities: None,
        };
        Ok((0..self.tables.len()).map(input).collect())
    }
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        let (table, size) = (&self.tables[input], self.size);
        let at = columns.iter().map(|c| table.schema().index_of(c)).collect::<Result<Vec<_>, _>>()?;
        let table = table.project(&at)?;
        let chunk = move |from: usize| Chunk {
            records: table.slice(from, size.min(table.num_rows() - from)),
            input,
            numbers: RowNumbers::From(from as u64 + 1),
            broken: Vec::new(),
        };
        Ok(Box::new((0..self.tables[input].num_rows()).step_by(size).map(move |from| Ok(chunk(from)))))
    }
}

/// Rows `from..to` of a log: id, item, click, buy.
fn log(rows: std::ops::Range<usize>) -> RecordBatch {
    let lines = rows.map(|i| format!("\n{i},i{},{},{}", i % 5, u8::from(i % 3 == 0), u8::from(i % 6 == 0)));
    text(&format!("id,item,click,buy{}", lines.collect::<String>()))
}
fn p(row: usize) -> f64 {
    0.25 + (row % 4) as f64 / 8.0
}
/// What stands beside them; ids are numbers here and text there.
fn scores(rows: std::ops::Range<usize>) -> RecordBatch {
    let ids = Int64Array::from_iter_values(rows.clone().map(|i| i64::try_from(i).unwrap()));
    let p = Float64Array::from_iter_values(rows.map(p));
    RecordBatch::try_from_iter(vec![("p_click", Arc::new(p) as ArrayRef), ("id", Arc::new(ids) as ArrayRef)]).unwrap()
}
fn together(logs: Vec<RecordBatch>, beside: Vec<RecordBatch>, size: usize, keys: &[&str]) -> anyhow::Result<SharedSource> {
    let keys: Vec<String> = keys.iter().map(|k| (*k).to_owned()).collect();
    Ok(Arc::new(Beside::new(memory(logs), Arc::new(Pieces { tables: beside, size, version: 1 }), &keys)?))
}
fn says(error: &anyhow::Error, parts: &[&str]) {
    let found = error.downcast_ref::<Diagnostics>().unwrap_or_else(|| panic!("{error:#}"));
    let text = format!("{} {}", found.0[0].message, found.0[0].help.join(" "));
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn rows_are_joined_whatever_the_chunks() {
    for size in [1, 3, 7, 8, 100] {
        let source = together(vec![log(0..20), log(20..23)], vec![scores(0..20), scores(20..23)], size, &["id"]).unwrap();
        let names: Vec<String> = source.schema().unwrap().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["id", "item", "click", "buy", "p_click"]);
        assert_eq!(source.beside(), ["p_click"]);
        let columns = ["p_click".to_owned(), "item".to_owned()];
        for (input, rows) in [(0, 0..20), (1, 20..23)] {
            for first in 0..rows.len() {
                let mut at = rows.start + first;
                for chunk in source.read_from(input, &columns, first as u64).unwrap() {
                    let chunk = chunk.unwrap();
                    assert_eq!(chunk.records.schema().field(0).name(), "p_click");
                    let (found, items) = (chunk.records.column(0), chunk.records.column(1).as_string::<i32>());
                    for row in 0..chunk.records.num_rows() {
                        assert_eq!(found.as_primitive::<arrow::datatypes::Float64Type>().value(row), p(at));
                        assert_eq!(items.value(row), format!("i{}", at % 5));
                        assert_eq!(chunk.numbers.get(row), (at - rows.start) as u64 + 2);
                        at += 1;
                    }
                }
                assert_eq!(at, rows.end);
            }
        }
    }
}

#[test]
fn rows_that_are_not_the_same_are_refused() {
    let read = |beside: RecordBatch, keys: &[&str]| {
        let source = together(vec![log(0..20)], vec![beside], 8, keys).unwrap();
        source.read(0, &["p_click".into()]).unwrap().find_map(Result::err).unwrap()
    };
    says(&read(scores(0..17), &["id"]), &["`p0.parquet` has 17 rows, and `log0.csv`, which it stands beside, has 20", "in the same order"]);
    says(&read(scores(0..31), &["id"]), &["`p0.parquet` has 31 rows", "has 20"]);
    says(&read(scores(0..0), &["id"]), &["`p0.parquet` has 0 rows", "has 20"]);
    let moved = arrow::compute::concat_batches(&scores(0..1).schema(), &[scores(0..9), scores(10..21)]).unwrap();
    says(&read(moved, &["id"]), &["p0.parquet: row 10: `id` is another than at log0.csv:11"]);
    let fails = |logs, beside, keys: &[&str]| together(logs, beside, 8, keys).err().unwrap();
    says(&fails(vec![log(0..20)], vec![scores(0..20)], &[]), &["column `id` stands in the data and beside them", "`data.keys`"]);
    let two = vec![scores(0..10), scores(10..20)];
    says(&fails(vec![log(0..20)], two, &["id"]), &["names 2 files, and the data have 1 input", "p1.parquet", "log0.csv"]);
}

/// BASE on rows weighted by 1/p.
fn weighted(expression: &str) -> Spec {
    let mut spec = spec(vec![feature("item", "kind = 'id'")]);
    spec.data.keys = vec!["id".into()];
    spec.stages[1].loss_weight = Some(expression.into());
    spec
}

#[test]
fn loss_weights_are_stored_by_stage() {
    let source = together(vec![log(0..20)], vec![scores(0..20)], 8, &["id"]).unwrap();
    let (_keep, dataset, _) = open(&weighted("min(1 / p_click, 2.5) + 0 * id"), &source);
    let plan = BatchPlan::sequential(NonZeroUsize::MIN.saturating_add(19));
    let batch = dataset.batches(Part::Train, plan).next().unwrap().unwrap().0;
    assert!(batch.loss_weights[0].is_empty(), "no stage but `buy` has any");
    #[allow(clippy::cast_possible_truncation)]
    let expected: Vec<f32> = (0..20).map(|row| (1.0 / p(row)).min(2.5) as f32).collect();
    assert_eq!(batch.loss_weights[1], expected);
    // Other rows, which are not trained on, need no such column.
    let dir = tempfile::tempdir().unwrap();
    let layout = dataset.preprocessor().layout().for_other_rows();
    let prepared = prepare_with(dir.path(), &weighted("p_click"), &memory(vec![log(0..9)]), Some(&layout)).unwrap();
    assert_eq!(prepared.store.rows(), 9);
}

#[test]
fn files_beside_are_part_of_what_a_store_is_of() {
    let dir = tempfile::tempdir().unwrap();
    let source = |version| -> SharedSource {
        let files = Pieces { tables: vec![scores(0..20)], size: 8, version };
        Arc::new(Beside::new(memory(vec![log(0..20)]), Arc::new(files), &["id".into()]).unwrap())
    };
    let prepare = |version, expression| prepare_in(dir.path(), &weighted(expression), &source(version)).unwrap();
    assert!(!prepare(1, "p_click").reused);
    assert!(prepare(1, "p_click").reused);
    assert!(!prepare(2, "p_click").reused);
    assert!(!prepare(1, "p_click * 2").reused);
}

#[test]
fn loss_weights_that_are_none() {
    let source = together(vec![log(0..20)], vec![scores(0..20)], 8, &["id"]).unwrap();
    let found = messages(&weighted("1 / (p_click - 0.25)"), &source);
    assert_eq!(
        found,
        [
            "log0.csv:2: the weight by stage.buy.loss_weight: expected a finite weight of 0 or more, found no finite number; 5 such rows, the \
          first at log0.csv:2, log0.csv:6, log0.csv:10, log0.csv:14, log0.csv:18"
        ]
    );
    assert!(messages(&weighted("0.3 - p_click"), &source)[0].contains("found a negative number; 15 such rows"));
    assert!(messages(&weighted("log(item)"), &source)[0].contains("found no finite number; 20 such rows"));
    assert_eq!(messages(&weighted("1 / p_clik"), &source), ["`stage.buy.loss_weight`: no column `p_clik` in the data"]);
}

#[test]
fn inference_leaves_columns_beside_and_of_loss_weights_out() {
    let source = together(vec![log(0..40)], vec![scores(0..40)], 8, &["id"]).unwrap();
    let mut infer = weighted("1 + 0 * id");
    infer.features = Features { infer: true, declared: vec![] };
    let dir = tempfile::tempdir().unwrap();
    let inferred = prepare_in(dir.path(), &infer, &source).unwrap().inferred;
    let reason = |column: &str| inferred.iter().find(|i| i.column == column).map(|i| i.reason.clone()).unwrap();
    assert!(reason("p_click").contains("beside the data"), "{inferred:?}");
    assert!(reason("id").contains("in the loss weight of stage `buy`"), "{inferred:?}");
    assert_eq!(inferred.iter().filter(|i| matches!(i.decision, super::super::Decision::Take(_))).count(), 1, "{inferred:?}");
    // A feature that names one takes it.
    let mut named = weighted("p_click");
    named.features.declared.push(feature("p_click", "kind = 'number'"));
    let (_keep, dataset, _) = open(&named, &source);
    assert_eq!(dataset.fields().groups[0].numbers.len(), 1);
}
