use super::*;
use crate::data::{Batch, BatchPlan, IdValue, NumberFit, Part, Preprocessor, RawEncoder, SingleField};
use arrow::array::{Float32Array, Float64Array, Int64Array, ListArray, UInt8Array};
use arrow::datatypes::{Float32Type, Int64Type};
use std::num::NonZeroUsize;

fn first_batch(dataset: &Dataset) -> Batch {
    let plan = BatchPlan::sequential(NonZeroUsize::new(1000).unwrap());
    dataset.batches(Part::Train, plan).next().unwrap().unwrap().0
}
/// The raw encoder's batch of a whole table, through saved files.
fn raw_batch(dataset: &Dataset, table: &RecordBatch) -> Batch {
    let dir = tempfile::tempdir().unwrap();
    dataset.preprocessor().save(dir.path()).unwrap();
    let encoder = RawEncoder::new(Arc::new(Preprocessor::load(dir.path()).unwrap()));
    let source = memory(vec![table.clone()]);
    let input = source.inputs().unwrap().remove(0);
    let chunk = Chunk { records: table.clone(), input: 0, numbers: RowNumbers::From(2), broken: Vec::new() };
    let mut batch = encoder.encode(&chunk, &input).unwrap().batch;
    batch.labels = encoder.encode_labels(&chunk, &input).unwrap();
    batch
}

const CSV: &str = "item,shops,shops_w,price,age,click,buy
    42,7|8,1|0.5,1.5,3,1,1
    042,,,2.5,,1,0
    a,9|7|9,1|1|2,,5,0,0
    42,8,3,10,NA,0,0";

fn typed() -> RecordBatch {
    let shops = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(7), Some(8)]),
        None,
        Some(vec![Some(9), Some(7), Some(9)]),
        Some(vec![Some(8)]),
    ]);
    let weights = ListArray::from_iter_primitive::<Float32Type, _, _>([
        Some(vec![Some(1.0), Some(0.5)]),
        Some(vec![]),
        Some(vec![Some(1.0), Some(1.0), Some(2.0)]),
        Some(vec![Some(3.0)]),
    ]);
    RecordBatch::try_from_iter_with_nullable([
        ("item", Arc::new(StringArray::from(vec!["42", "042", "a", "42"])) as ArrayRef, true),
        ("shops", Arc::new(shops), true),
        ("shops_w", Arc::new(weights), true),
        ("price", Arc::new(Float64Array::from(vec![Some(1.5), Some(2.5), None, Some(10.0)])), true),
        ("age", Arc::new(Int64Array::from(vec![Some(3), None, Some(5), None])), true),
        ("click", Arc::new(UInt8Array::from(vec![1, 1, 0, 0])), true),
        ("buy", Arc::new(Float32Array::from(vec![1.0, 0.0, 0.0, 0.0])), true),
    ])
    .unwrap()
}

fn features() -> Vec<Feature> {
    vec![
        feature("item", "kind = 'id'"),
        feature("shops", "kind = 'bag'\nweights = 'shops_w'"),
        feature("price", "kind = 'number'\ntransform = 'log1p'"),
        feature("age", "kind = 'number'\ntransform = { bucketize = { quantiles = 2 } }\nmissing = ['NA']"),
    ]
}

#[test]
fn text_and_typed_columns_give_the_same_batches_in_training_and_scoring() {
    let (spec, table) = (spec(features()), text(CSV));
    let (_keep, from_text, _) = open(&spec, &memory(vec![table.clone()]));
    let (_keep, from_types, _) = open(&spec, &memory(vec![typed()]));
    let batch = first_batch(&from_text);
    assert_eq!(batch, first_batch(&from_types));
    assert_eq!(batch, raw_batch(&from_text, &table));
    assert_eq!(batch, raw_batch(&from_text, &typed()));
    assert_eq!(batch, raw_batch(&from_types, &table));
    let rows = &batch.groups[0];
    // item 42, 042, a → 2, 3, 4; ages 3 and 5 are cut at 5 into rows 2 and 3, missing is 1.
    assert_eq!(rows.singles, [2, 2, 3, 1, 4, 3, 2, 1]);
    assert_eq!(rows.bags[0].offsets, [0, 2, 2, 5, 6]);
    assert_eq!(rows.bags[0].rows, [2, 3, 4, 2, 4, 3]);
    assert_eq!(rows.bags[0].weights, [1.0, 0.5, 1.0, 1.0, 2.0, 3.0]);
    // log1p, standardised, and the indicator that price is missing.
    assert_eq!(rows.numbers.len(), 8);
    assert_eq!((rows.numbers[4], rows.numbers[5]), (0.0, 1.0));
    assert_eq!(batch.labels, [[1, 1, 0, 0], [1, 0, 0, 0]]);
    let fields = from_text.fields();
    assert_eq!(fields.tables.iter().map(|t| (t.name.as_str(), t.rows)).collect::<Vec<_>>(), [("item", 5), ("shops", 5), ("age", 4)]);
    let numbers: Vec<(&str, bool)> = fields.groups[0].numbers.iter().map(|n| (n.name.as_str(), n.is_missing)).collect();
    assert_eq!(numbers, [("price", false), ("price", true)]);
}

#[test]
fn integer_columns_and_text_are_one_id() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![5, -1, 5]));
    let label = || Arc::new(StringArray::from(vec!["1", "0", "1"])) as ArrayRef;
    let buy: ArrayRef = Arc::new(StringArray::from(vec!["1", "0", "0"]));
    let table = RecordBatch::try_from_iter([("u", ids), ("click", label()), ("buy", Arc::clone(&buy))]).unwrap();
    let (_keep, dataset, _) = open(&spec(vec![feature("u", "kind = 'id'")]), &memory(vec![table]));
    assert_eq!(dataset.preprocessor().vocabulary(0).0, [IdValue::Integer(5), IdValue::Integer(-1)]);
    let batch = raw_batch(&dataset, &text("u,click,buy\n-1,0,0\n5,1,0\n05,0,0\n,0,0"));
    assert_eq!(batch.groups[0].singles, [3, 2, 0, 1]);
}

#[test]
fn rare_ids_share_a_row_and_unknown_ones_are_counted() {
    let table = text("a,b,click,buy\nx,y,1,1\nx,x,1,0\ny,z,0,0\nz,x,0,0");
    let mut spec = spec(vec![feature("a", "kind = 'id'\nmin_count = 2"), feature("b", "kind = 'id'\nshare_with = 'a'")]);
    let (_keep, dataset, _) = open(&spec, &memory(vec![table.clone()]));
    assert_eq!(dataset.fields().tables.len(), 1);
    // x stands on rows 1, 2 and 4: both columns of row 2 count once.
    let (ids, counts) = dataset.preprocessor().vocabulary(0);
    assert_eq!(ids.iter().map(ToString::to_string).zip(counts).collect::<Vec<_>>(), [("x".into(), &3), ("y".into(), &2), ("z".into(), &2)]);
    spec.features.declared[0].min_count = 3;
    let (_keep, dataset, _) = open(&spec, &memory(vec![table]));
    assert_eq!(first_batch(&dataset).groups[0].singles, [2, 0, 2, 2, 0, 0, 0, 2]);
    let encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    let chunk = Chunk { records: text("b,a\nnew,x\nnew,"), input: 0, numbers: RowNumbers::From(1), broken: Vec::new() };
    let encoded = encoder.encode(&chunk, &memory(vec![text("a\n1")]).inputs().unwrap()[0]).unwrap();
    assert_eq!(encoded.unknown_ids, [("b".to_owned(), 2)]);
    assert_eq!(encoded.batch.groups[0].singles, [2, 0, 1, 0]);
}

#[test]
fn hashed_ids_find_the_same_row_everywhere() {
    let spec = spec(vec![feature("a", "kind = 'id'\nvocabulary = 'hashed'\nhash_rows = 100")]);
    let table = text("a,click,buy\nx,1,1\n7,1,0\nx,0,0\n,0,0");
    let (_keep, dataset, _) = open(&spec, &memory(vec![table.clone()]));
    assert_eq!(dataset.fields().tables[0].rows, 102);
    let batch = first_batch(&dataset);
    let rows = &batch.groups[0].singles;
    assert_eq!((rows[0], rows[3]), (rows[2], 1));
    assert!(rows[..3].iter().all(|r| (2..102).contains(r)));
    assert_eq!(batch, raw_batch(&dataset, &table));
}

#[test]
fn crosses_combine_values_and_agree_between_store_and_raw_rows() {
    let table = text("a,b,click,buy\nx,1,1,1\nx,2,1,0\nx,1,0,0\ny,1,0,0\n,1,0,0\nNA,2,0,0\nx1,,0,0");
    let cross = "kind = 'cross'\ncolumns = ['a', 'b']\nmissing = ['NA']";
    let spec = spec(vec![feature("a", "kind = 'id'"), feature("pair", cross)]);
    let (_keep, dataset, _) = open(&spec, &memory(vec![table.clone()]));
    let names: Vec<&str> = dataset.fields().groups[0].singles.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["a", "a×b"], "a column of a cross may be a feature of its own");
    let batch = first_batch(&dataset);
    let pairs: Vec<u32> = batch.groups[0].singles.chunks(2).map(|f| f[1]).collect();
    assert_eq!(pairs, [2, 3, 2, 4, 1, 1, 1], "a missing part makes the pair missing");
    assert_eq!(batch, raw_batch(&dataset, &table));
    let columns = RawEncoder::new(Arc::new(dataset.preprocessor().clone())).columns();
    assert_eq!(columns, ["a", "b"]);
}

#[test]
fn sequences_keep_their_order_and_end_and_know_what_they_attend_to() {
    let table = text("item,user,seen,click,buy\n3,u,1|2|3,1,1\n1,u,1|2|3,1,0\n2,v,3,0,0\n3,w,,0,0");
    let seen = "kind = 'sequence'\nattend_to = 'item'\nkeep_last = 2\npooling = 'mean'\nof = 'user'";
    let mut spec = spec(vec![feature("seen", seen), feature("user", "kind = 'id'"), feature("item", "kind = 'id'")]);
    spec.entities = vec![Entity { name: "user".into(), key: "user".into() }];
    let (_keep, dataset, _) = open(&spec, &memory(vec![table.clone()]));
    let fields = dataset.fields();
    let bag = &fields.groups[1].bags[0];
    assert_eq!(bag.attend_to, Some(SingleField { group: 0, single: 1 }), "the item, of the row");
    assert_eq!(bag.field.table, fields.groups[0].singles[1].table, "they share its table");
    let batch = first_batch(&dataset);
    let bag = &batch.groups[1].bags[0];
    assert_eq!(bag.offsets, [0, 2, 3, 3]);
    let items: Vec<u32> = batch.groups[0].singles.chunks(2).map(|f| f[1]).collect();
    let row_of = |item: usize| [items[1], items[2], items[0]][item - 1];
    assert_eq!(bag.rows, [row_of(2), row_of(3), row_of(3)], "the last two, oldest first");
    assert_eq!(batch, raw_batch(&dataset, &table));
    // How much of the past counts is no part of the encoded rows.
    let (dir, source) = (tempfile::tempdir().unwrap(), memory(vec![table]));
    prepare_in(dir.path(), &spec, &source).unwrap();
    spec.features.declared[0].keep_last = None;
    let prepared = prepare_in(dir.path(), &spec, &source).unwrap();
    assert!(prepared.reused);
    let (dataset, _) = Dataset::open(&spec, &Graph::of(&spec), &prepared).unwrap();
    assert_eq!(first_batch(&dataset).groups[1].bags[0].offsets, [0, 3, 4, 4]);
    spec.features.declared[0].attend_to = Some("itme".into());
    assert_eq!(messages(&spec, &source), ["feature `seen` attends to `itme`, which is no column of a feature of single ids"]);
}

#[test]
fn parts_of_times_agree_between_store_and_raw_rows() {
    let table = text(
        "id,when,day,click,buy\nx,2024-02-29 23:30,2024-12-30,1,1\ny,2024-02-29T22:30:00Z,2023-01-01,1,0\nx,,NA,0,0\nx,1709245800,2021-01-03,0,0",
    );
    let when = feature("when", "kind = 'time'\nunit = 'seconds'\ntimezone = '+01:00'");
    let date = feature("date", "kind = 'time'\ncolumns = ['day']\nparts = ['week', 'weekend', 'month']\nmissing = ['NA']");
    let mut spec = spec(vec![when, feature("id", "kind = 'id'"), date]);
    let (_keep, dataset, _) = open(&spec, &memory(vec![table.clone()]));
    let fields = &dataset.fields().groups[0].singles;
    let names: Vec<(&str, &str)> = fields.iter().map(|f| (f.name.as_str(), f.feature.as_str())).collect();
    let date_parts = [("day:week", "date"), ("day:weekend", "date"), ("day:month", "date")];
    assert_eq!(names, [&[("when:hour", "when"), ("when:weekday", "when"), ("id", "id")][..], &date_parts].concat());
    let rows: Vec<(&str, usize)> = fields.iter().map(|f| (f.name.as_str(), dataset.fields().tables[f.table].rows)).collect();
    let sizes = [("when:hour", 26), ("when:weekday", 9), ("id", 4), ("day:week", 55), ("day:weekend", 4), ("day:month", 14)];
    assert_eq!(rows, sizes, "the rows that can be, with one for missing and one that nothing uses");
    let batch = first_batch(&dataset);
    // Row 2 is 0 of hours, 1 of weekdays, weeks and months. Thursday is 4; 2024-12-30 is a Monday in week 1, 2023-01-01 a Sunday in week 52.
    let thursday = [23 + 2, 4 + 1];
    let expected = [
        [thursday[0], thursday[1], 2, 1 + 1, 2, 12 + 1],
        [thursday[0], thursday[1], 3, 52 + 1, 3, 1 + 1],
        [1, 1, 2, 1, 1, 1],
        [thursday[0], thursday[1], 2, 53 + 1, 3, 1 + 1],
    ];
    assert_eq!(batch.groups[0].singles, expected.concat());
    assert_eq!(batch, raw_batch(&dataset, &table));
    assert_eq!(RawEncoder::new(Arc::new(dataset.preprocessor().clone())).columns(), ["when", "id", "day"]);
    // A time that training never saw has a row of its own.
    let other = raw_batch(&dataset, &text("id,when,day,click,buy\nx,2030-06-05T04:00,2031-07-05,0,0"));
    assert_eq!(other.groups[0].singles, [4 + 2, 3 + 1, 2, 27 + 1, 3, 7 + 1]);
    // Of an entity, and through a reused store: the settings of other tables do not matter, those of the time do.
    spec.entities = vec![Entity { name: "user".into(), key: "id".into() }];
    spec.features.declared[0].of = Some("user".into());
    let dir = tempfile::tempdir().unwrap();
    let source = memory(vec![table.clone()]);
    let prepared = prepare_in(dir.path(), &spec, &source).unwrap();
    assert_eq!(prepared.store.meta().entities[0].entities, 3, "two times of x, of which one is missing, and one of y");
    let (dataset, _) = Dataset::open(&spec, &Graph::of(&spec), &prepared).unwrap();
    let batch = first_batch(&dataset);
    assert_eq!(batch.groups[1].singles, [thursday, thursday, [1, 1]].concat());
    let reused = |spec: &Spec| prepare_in(dir.path(), spec, &source).unwrap().reused;
    spec.features.declared[1].min_count = 3;
    assert!(reused(&spec));
    spec.features.declared[0].timezone = toml::Value::String("+02:00".into()).try_into().unwrap();
    assert!(!reused(&spec));
    spec.features.declared[0].parts.pop();
    assert!(!reused(&spec));
}

#[test]
fn masking_leaves_parts_of_times_alone() {
    let mut csv = String::from("id,when,click,buy\n");
    for i in 0..500 {
        csv += &format!("u{},2024-01-0{}T0{}:00,{},0\n", i % 5, i % 7 + 1, i % 10, i % 2);
    }
    let features = vec![feature("id", "kind = 'id'"), feature("when", "kind = 'time'")];
    let (_keep, dataset, _) = open(&spec(features), &memory(vec![text(&csv)]));
    let plan = BatchPlan { oov_rate: 0.5, ..BatchPlan::sequential(NonZeroUsize::new(1000).unwrap()) };
    let batch = dataset.batches(Part::Train, plan).next().unwrap().unwrap().0;
    let zeros = |field: usize| batch.groups[0].singles.iter().skip(field).step_by(3).filter(|row| **row == 0).count();
    assert!((150..350).contains(&zeros(0)), "{}", zeros(0));
    assert_eq!((zeros(1), zeros(2)), (0, 0));
}

#[test]
fn only_training_rows_shape_the_preprocessor() {
    let mut spec = spec(features());
    spec.split = Split::Files { valid: vec![], test: vec!["log0.csv".into()] };
    spec.entities = vec![Entity { name: "user".into(), key: "item".into() }];
    spec.features.declared[0].of = Some("user".into());
    let train = text(CSV);
    let mut saved = Vec::new();
    for test in
        ["item,shops,shops_w,price,age,click,buy\nnew,1,1,99,7,1,0", "item,shops,shops_w,price,age,click,buy\na,9,1,,NA,0,0\n42,,,1,1,0,0"]
    {
        let (_keep, dataset, _) = open(&spec, &memory(vec![text(test), train.clone()]));
        let dir = tempfile::tempdir().unwrap();
        dataset.preprocessor().save(dir.path()).unwrap();
        saved.push((
            std::fs::read_to_string(dir.path().join("features.json")).unwrap(),
            (0..2).map(|t| format!("{:?}", dataset.preprocessor().vocabulary(t))).collect::<Vec<_>>(),
        ));
        assert_eq!(dataset.rows(Part::Train), 4);
    }
    assert_eq!(saved[0], saved[1]);
}

#[test]
fn constant_columns_become_zero_and_raw_ones_stay() {
    let table = text("c,r,click,buy\n5,-2,1,1\n5,,0,0\n5,4,1,0");
    let spec = spec(vec![feature("c", "kind = 'number'"), feature("r", "kind = 'number'\ntransform = 'none'")]);
    let (_keep, dataset, _) = open(&spec, &memory(vec![table]));
    assert_eq!(first_batch(&dataset).groups[0].numbers, [0.0, -2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 4.0, 0.0]);
    assert!(matches!(dataset.preprocessor().numbers(0)[0], NumberFit::Scale { std: 0.0, indicator: false, .. }));
}

#[test]
fn globs_skip_labels_keys_weights_and_bag_weights() {
    let table = text("c_id,c_w,c_bag,c_bag_w,c_key,click,buy,c_label\n1,1,2,1,k,1,1,1\n2,1,3,1,l,0,0,0\n2,1,3,1,l,1,0,0");
    let mut spec = spec(vec![
        feature("all", "kind = 'id'\ncolumns = ['c_i*', 'c_k*', 'c_l*', 'c_w*', 'c_?d']"),
        feature("c_bag", "kind = 'bag'\nweights = 'c_bag_w'"),
    ]);
    spec.data.keys = vec!["c_key".into()];
    let source = memory(vec![table.clone()]);
    assert_eq!(messages(&spec, &source), ["feature `all`: no column matches `c_k*`"]);
    spec.features.declared[0].columns = vec!["c_*".into()];
    spec.features.declared.remove(1);
    spec.data.weight = Some("c_w".into());
    spec.stages[1].label = "c_label".into();
    let (_keep, dataset, _) = open(&spec, &source);
    let columns: Vec<&str> = dataset.fields().groups[0].singles.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(columns, ["c_id", "c_bag", "c_bag_w"]);
    assert_eq!(first_batch(&dataset).weights, [1.0, 1.0, 1.0]);
}

#[test]
fn inference_looks_at_all_inputs_but_those_held_out() {
    // `a` looks like few whole numbers in the first file, and `b` is empty there.
    let table = |from: usize, b: &str| {
        let mut csv = String::from("a,b,click,buy\n");
        for i in from..from + 90 {
            csv += &format!("{},{b},{},{}\n", if from == 0 { i % 3 } else { i * 37 }, u8::from(i % 2 == 0), u8::from(i % 4 == 0));
        }
        text(&csv)
    };
    let typed = RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let typed = RecordBatch::try_from_iter(["a", "b", "click", "buy"].map(|name| (name, Arc::clone(typed.column(0))))).unwrap();
    let source = memory(vec![table(0, ""), table(0, "").slice(0, 0), table(90, "x"), typed, table(180, "7.5")]);
    let mut spec = spec(vec![]);
    spec.features.infer = true;
    spec.split = Split::Files { valid: vec![], test: vec!["log4.csv".into()] };
    let decide = |spec: &Spec| {
        let dir = tempfile::tempdir().unwrap();
        prepare_in(dir.path(), spec, &source).unwrap().inferred.iter().take(2).map(|i| i.reason.clone()).collect::<Vec<_>>()
    };
    assert_eq!(decide(&spec), ["whole numbers with 93 different values and no name like an id", "text with 1 different values"]);
    spec.split = Split::Files { valid: vec![], test: vec!["log[1-4].csv".into()] };
    assert_eq!(decide(&spec), ["whole numbers with 3 different values", "empty in all rows looked at"]);
    // Nothing but what is held out has rows.
    spec.split = Split::Files { valid: vec![], test: vec!["log[02-4].csv".into()] };
    assert_eq!(decide(&spec)[0], "whole numbers with 3 different values");
}

#[test]
fn inferred_features_say_why() {
    use crate::data::Decision::{LeaveOut, Take};
    let mut csv = String::from("user_id,price,age,level,tags,when,copy,sample,click,buy\n");
    for i in 0..400_u64 {
        let click = u8::from(i % 3 == 0);
        let buy = u8::from(i % 9 == 0);
        let na = if i == 7 { "NA".into() } else { format!("{}.5", i * 37 % 100) };
        let age = i * 13 % 97;
        csv += &format!("u{},{na},{age},{},t{}|t{},2024-05-{:02},{buy},s{i},{click},{buy}\n", i % 50, i % 4, i % 5, i % 3, i % 28 + 1);
    }
    let mut spec = spec(vec![]);
    spec.features.infer = true;
    spec.entities = vec![Entity { name: "user".into(), key: "user_id".into() }];
    let dir = tempfile::tempdir().unwrap();
    let prepared = prepare_in(dir.path(), &spec, &memory(vec![text(&csv)])).unwrap();
    let decided: Vec<_> = prepared.inferred.iter().map(|i| (i.column.as_str(), i.decision)).collect();
    assert_eq!(
        decided,
        [
            ("user_id", Take(FeatureKind::Id)),
            ("price", Take(FeatureKind::Number)),
            ("age", Take(FeatureKind::Number)),
            ("level", Take(FeatureKind::Id)),
            ("tags", Take(FeatureKind::Bag)),
            ("when", LeaveOut),
            ("copy", LeaveOut),
            ("sample", LeaveOut),
            ("click", LeaveOut),
            ("buy", LeaveOut),
        ]
    );
    assert!(prepared.inferred[6].reason.contains("alone it explains `buy`"), "{}", prepared.inferred[6].reason);
    assert_eq!(prepared.layout.groups[1].ids[0].column, "user_id");
    assert_eq!(prepared.layout.groups[0].numbers[0].missing, ["NA"]);
}
