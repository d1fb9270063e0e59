use super::*;
use crate::data::RawEncoder;
use arrow::array::{BooleanArray, Date32Array, Float64Array, Int64Array, ListArray};
use arrow::datatypes::Int64Type;

#[test]
fn broken_cells_are_counted_and_placed() {
    let mut csv = String::from("item,price,w,click,buy\n");
    for i in 0..20 {
        let click = if i % 3 == 1 { "yes" } else { "1" };
        let price = if i == 4 { "cheap" } else { "2" };
        csv += &format!("a,{price},{},{click},{}\n", if i == 9 { "-1" } else { "1" }, if i == 2 { "" } else { "0" });
    }
    let mut spec = spec(vec![feature("item", "kind = 'id'"), feature("price", "kind = 'number'")]);
    spec.data.weight = Some("w".into());
    let found = messages(&spec, &memory(vec![text(&csv)]));
    assert_eq!(
        found,
        [
            "log0.csv:3: column click: expected 0 or 1, found \"yes\"; 7 such cells, the first at log0.csv:3, log0.csv:6, log0.csv:9, log0.csv:12, log0.csv:15",
            "log0.csv:4: column buy: expected 0 or 1, found an empty cell",
            "log0.csv:6: column price: expected a number, found text of 5 characters",
            "log0.csv:11: column w: expected a finite weight of 0 or more, found text of 2 characters",
        ]
    );
}

#[test]
fn features_that_do_not_fit_the_columns() {
    let number: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let one = || Arc::new(StringArray::from(vec!["1"])) as ArrayRef;
    let columns = ["user_id", "item_id", "click", "buy"].map(|n| (n, one()));
    let table = RecordBatch::try_from_iter(columns.into_iter().chain([("price", number)])).unwrap();
    let source = memory(vec![table]);
    let check = |features| messages(&spec(features), &source);
    assert_eq!(check(vec![feature("usr_id", "kind = 'id'")]), ["feature `usr_id`: no column `usr_id` in the data"]);
    assert_eq!(
        check(vec![feature("x", "kind = 'id'\ncolumns = ['user_id', 'click']")]),
        ["feature `x`: column `click` is a label, so it cannot be a feature"]
    );
    assert_eq!(
        check(vec![feature("a", "kind = 'id'\ncolumns = ['*_id']"), feature("user_id", "kind = 'id'")]),
        ["column `user_id` is claimed by the features `a` and `user_id`"]
    );
    assert_eq!(
        check(vec![feature("price", "kind = 'id'")]),
        ["feature `price`: column `price` holds floating-point numbers, which make no ids"]
    );
    assert_eq!(check(vec![feature("user_id", "kind = 'id'\nof = 'usr'")]), ["feature `user_id`: no entity `usr`"]);
    assert_eq!(
        check(vec![feature("user_id", "kind = 'id'\nshare_with = 'item'")]),
        ["feature `user_id`: `share_with` names `item`, which is no id or bag column"]
    );
    assert_eq!(
        check(vec![feature("user_id", "kind = 'id'\nvocabulary = 'hashed'")]),
        ["feature `user_id`: a hashed vocabulary needs `hash_rows`"]
    );
    assert_eq!(check(vec![]), ["the spec names no features"]);
    let mut labels = spec(vec![feature("user_id", "kind = 'id'")]);
    labels.stages[1].label = "by".into();
    labels.data.keys = vec!["nope".into()];
    let both = messages(&labels, &source);
    assert_eq!(both, ["stage `buy`: no column `by` in the data", "`data.keys`: no column `nope` in the data"]);
}

#[test]
fn cells_that_are_no_time() {
    let table = text("when,day,u,click,buy\n1717171717,2024-05-31,a,1,1\n2024-05-31,soon,a,1,0\n1717171718,,a,0,0");
    let features = |unit: &str| {
        let when = feature("when", &format!("kind = 'time'\nparts = ['hour', 'weekday', 'month']{unit}"));
        vec![when, feature("day", "kind = 'time'\nof = 'user'")]
    };
    let mut spec = spec(features(""));
    spec.entities = vec![Entity { name: "user".into(), key: "u".into() }];
    let source = memory(vec![table.clone()]);
    let expected = "expected a time like 2024-05-31T17:40:00Z, found text of";
    let (when, day) = (
        format!("log0.csv:2: column when: {expected} 10 characters; 2 such cells, the first at log0.csv:2, log0.csv:4"),
        format!("log0.csv:3: column day: {expected} 4 characters"),
    );
    assert_eq!(messages(&spec, &source), [when.as_str(), day.as_str()], "once a column, not once a part");
    let dir = tempfile::tempdir().unwrap();
    let error = prepare_in(dir.path(), &spec, &source).unwrap_err();
    assert!(error.downcast_ref::<Diagnostics>().unwrap().0[0].help[0].contains("`unit` says what it counts since 1970"));
    spec.features.declared = features("\nunit = 'seconds'");
    assert_eq!(messages(&spec, &source), [day.as_str()]);
    // Scoring says the same.
    let good = text("when,day,u,click,buy\n1717171717,2024-05-31,a,1,1\n2024-05-31,,a,1,0");
    let (_keep, dataset, _) = open(&spec, &memory(vec![good]));
    let mut encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    let chunk = Chunk { records: table, input: 0, numbers: RowNumbers::From(2), broken: Vec::new() };
    let input = source.inputs().unwrap().remove(0);
    let fail =
        |encoder: &RawEncoder| encoder.encode(&chunk, &input).unwrap_err().downcast_ref::<Diagnostics>().unwrap().0[0].message.clone();
    assert_eq!(fail(&encoder), day);
    encoder.show_values = true;
    assert!(fail(&encoder).ends_with("found \"soon\""));
    let chunk = Chunk { records: text("u,day\na,2024-05-31"), input: 0, numbers: RowNumbers::From(2), broken: Vec::new() };
    let missing = encoder.encode(&chunk, &input).unwrap_err().downcast_ref::<Diagnostics>().unwrap().clone();
    assert_eq!(missing.0.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), ["column `when` is missing"]);
}

#[test]
fn columns_that_hold_no_times() {
    let one = || Arc::new(StringArray::from(vec!["1"])) as ArrayRef;
    let columns: [(&str, ArrayRef); 7] = [
        ("count", Arc::new(Int64Array::from(vec![1]))),
        ("real", Arc::new(Float64Array::from(vec![1.0]))),
        ("date", Arc::new(Date32Array::from(vec![1]))),
        ("flag", Arc::new(BooleanArray::from(vec![true]))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]))),
        ("click", one()),
        ("buy", one()),
    ];
    let source = memory(vec![RecordBatch::try_from_iter(columns).unwrap()]);
    let check = |name: &str| messages(&spec(vec![feature(name, "kind = 'time'")]), &source);
    assert_eq!(check("count"), ["feature `count`: column `count` holds numbers, and the feature does not say what they count"]);
    assert_eq!(check("real"), ["feature `real`: column `real` holds numbers, and the feature does not say what they count"]);
    assert_eq!(check("date"), ["feature `date`: column `date` holds dates, which have no hour"]);
    assert_eq!(check("flag"), ["feature `flag`: column `flag` holds Boolean, so it is no time"]);
    assert_eq!(check("list"), ["feature `list`: column `list` holds lists, so it is no time"]);
    let table = text("when,when:hour,click,buy\n2024-05-31,1,1,1");
    let both = spec(vec![feature("when", "kind = 'time'"), feature("when:hour", "kind = 'id'")]);
    assert_eq!(
        messages(&both, &memory(vec![table.clone()])),
        ["feature `when`: part `hour` of column `when` has the name of a column of feature `when:hour`"]
    );
    let shared = spec(vec![feature("when", "kind = 'time'"), feature("id", "kind = 'id'\ncolumns = ['when:hour']\nshare_with = 'when'")]);
    assert_eq!(messages(&shared, &memory(vec![table]))[0], "feature `id`: `share_with` names `when`, which is no id or bag column");
}

#[test]
fn data_without_rows_or_with_odd_bags() {
    let spec = spec(vec![feature("b", "kind = 'bag'\nweights = 'w'")]);
    let table = text("b,w,click,buy\n1|2,1,1,1\n,,0,0\n1|2|3,1|x|2,0,0");
    assert_eq!(messages(&spec, &memory(vec![table.slice(0, 0)])), ["no rows in `log0.csv`"]);
    assert_eq!(
        messages(&spec, &memory(vec![table])),
        [
            "log0.csv:2: column w: expected as many weights as values, found 2 values in column b and 1 weights",
            "log0.csv:4: column w: expected numbers between the separators, found something else",
        ]
    );
}

#[test]
fn stages_of_one_class_and_leaks_are_named() {
    let mut csv = String::from("item,copy,click,buy\n");
    for i in 0..100 {
        csv += &format!("i{},{},{},0\n", i % 7, i % 2, i % 2);
    }
    let (_keep, _, report) = open(&spec(vec![feature("all", "kind = 'id'\ncolumns = ['item', 'copy']")]), &memory(vec![text(&csv)]));
    let error = report.check().unwrap_err().0.remove(0);
    assert_eq!(error.message, "stage `buy`: none of the 50 training rows that reach `click` has label `buy` = 1");
    assert_eq!(report.leakage.iter().map(|l| (l.column.as_str(), l.stage.as_str(), l.auc)).collect::<Vec<_>>(), [("copy", "click", 1.0)]);
    assert!(report.diagnostics.iter().any(|d| d.id == "leakage" && d.message.starts_with("column `copy` alone explains stage `click`")));
}

#[test]
fn bags_that_give_a_label_away_are_named_and_not_inferred() {
    let mut csv = String::from("tags,events,click,buy\n");
    for i in 0..600_u64 {
        let click = i % 3 == 0;
        let tags = format!("t{}|t{}", i * 7 % 31, i * 11 % 29);
        csv += &format!("{tags},e{}|{},{},{}\n", i * 5 % 23, if click { "clicked" } else { "e1" }, u8::from(click), u8::from(i % 6 == 0));
    }
    let source = memory(vec![text(&csv)]);
    let (_keep, _, report) = open(&spec(vec![feature("all", "kind = 'bag'\ncolumns = ['tags', 'events']")]), &source);
    assert_eq!(report.leakage.iter().map(|l| (l.column.as_str(), l.stage.as_str())).collect::<Vec<_>>(), [("events", "click")]);
    let mut inferring = spec(vec![]);
    inferring.features.infer = true;
    let dir = tempfile::tempdir().unwrap();
    let inferred = prepare_in(dir.path(), &inferring, &source).unwrap().inferred;
    assert_eq!(inferred[0].decision, crate::data::Decision::Take(FeatureKind::Bag));
    assert!(inferred[1].reason.starts_with("leakage suspect: alone it explains `click`"), "{}", inferred[1].reason);
}

#[test]
fn scoring_without_a_column_says_which() {
    let table = text("user_id,price,click,buy\na,1,1,1\nb,2,0,0\nb,2,1,0");
    let (_keep, dataset, _) =
        open(&spec(vec![feature("user_id", "kind = 'id'"), feature("price", "kind = 'number'")]), &memory(vec![table.clone()]));
    let mut encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    let input = memory(vec![table]).inputs().unwrap().remove(0);
    let mut fail = |csv: &str, show: bool| {
        encoder.show_values = show;
        let chunk = Chunk { records: text(csv), input: 0, numbers: RowNumbers::From(2), broken: Vec::new() };
        encoder.encode(&chunk, &input).unwrap_err().downcast_ref::<Diagnostics>().unwrap().0.clone()
    };
    let missing = fail("usr_id,price\na,1", false);
    assert_eq!(missing[0].message, "column `user_id` is missing");
    assert_eq!(missing[0].help[0], "did you mean `usr_id`?");
    assert_eq!(fail("user_id,price\na,1\nb,x", false)[0].message, "log0.csv:3: column price: expected a number, found text of 1 character");
    assert_eq!(fail("user_id,price\na,1\nb,x", true)[0].message, "log0.csv:3: column price: expected a number, found \"x\"");
}
