use super::*;
use crate::data::RawEncoder;
use arrow::array::Float64Array;

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
fn scoring_without_a_column_says_which() {
    let table = text("user_id,price,click,buy\na,1,1,1\nb,2,0,0\nb,2,1,0");
    let (_keep, dataset, _) =
        open(&spec(vec![feature("user_id", "kind = 'id'"), feature("price", "kind = 'number'")]), &memory(vec![table.clone()]));
    let mut encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    let input = memory(vec![table]).inputs().unwrap().remove(0);
    let mut fail = |csv: &str, show: bool| {
        encoder.show_values = show;
        let chunk = Chunk { records: text(csv), input: 0, numbers: RowNumbers::From(2) };
        encoder.encode(&chunk, &input).unwrap_err().downcast_ref::<Diagnostics>().unwrap().0.clone()
    };
    let missing = fail("usr_id,price\na,1", false);
    assert_eq!(missing[0].message, "column `user_id` is missing");
    assert_eq!(missing[0].help[0], "did you mean `usr_id`?");
    assert_eq!(fail("user_id,price\na,1\nb,x", false)[0].message, "log0.csv:3: column price: expected a number, found text of 1 character");
    assert_eq!(fail("user_id,price\na,1\nb,x", true)[0].message, "log0.csv:3: column price: expected a number, found \"x\"");
}
