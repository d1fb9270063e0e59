use super::*;
use crate::data::{BatchPlan, Part};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

/// Rows of a part by their line, through the keys.
fn lines(dataset: &Dataset, part: Part) -> Vec<String> {
    let mut all = Vec::new();
    for keys in dataset.keys(part).unwrap().unwrap() {
        let keys = keys.unwrap();
        let column = keys.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        all.extend(column.iter().map(|v| v.unwrap_or_default().to_owned()));
    }
    all
}
fn days() -> RecordBatch {
    let mut csv = String::from("day,n,user,key,click,buy\n");
    for i in 0..300 {
        csv += &format!(
            "2024-01-{:02}T10:00:00,{},u{},k{i},{},{}\n",
            i / 10 + 1,
            i / 10 + 1,
            i % 23,
            u8::from(i % 2 == 0),
            u8::from(i % 4 == 0)
        );
    }
    text(&csv)
}
fn split(split: Split) -> Spec {
    let mut spec = spec(vec![feature("n", "kind = 'number'")]);
    spec.data.keys = vec!["key".into()];
    spec.split = split;
    spec
}

#[test]
fn random_shares_are_kept_and_parts_do_not_overlap() {
    let (_keep, dataset, report) = open(&split(Split::Random { valid: 0.2, test: 0.3, seed: 4 }), &memory(vec![days()]));
    let rows = Part::ALL.map(|p| dataset.rows(p));
    assert_eq!(rows.iter().sum::<u64>(), 300);
    assert!((40..80).contains(&rows[1]) && (65..115).contains(&rows[2]), "{rows:?}");
    let all: BTreeSet<String> = Part::ALL.iter().flat_map(|p| lines(&dataset, *p)).collect();
    assert_eq!(all.len(), 300);
    assert_eq!(report.parts.iter().map(|p| p.labels[0]).sum::<u64>(), 150);
    assert!(report.check().is_ok());
}

#[test]
fn a_group_is_in_one_part_only() {
    let split = split(Split::Group { column: "user".into(), valid: 0.3, test: 0.3, seed: 1 });
    let (_keep, dataset, _) = open(&split, &memory(vec![days()]));
    let users = |part| lines(&dataset, part).iter().map(|k| k[1..].parse::<u32>().unwrap() % 23).collect::<BTreeSet<_>>();
    let parts = Part::ALL.map(users);
    assert!(parts.iter().all(|p| !p.is_empty()));
    assert_eq!(parts.iter().map(BTreeSet::len).sum::<usize>(), 23);
}

#[test]
fn columns_are_ordered_as_numbers_or_as_dates() {
    // As text, day 9 would come after day 10.
    let by_number = Split::Column {
        column: "n".into(),
        train_through: Scalar::Integer(9),
        valid_through: Scalar::Integer(15),
        test_from: Some(Scalar::Integer(20)),
    };
    let (_keep, dataset, report) = open(&split(by_number), &memory(vec![days()]));
    assert_eq!(Part::ALL.map(|p| dataset.rows(p)), [90, 60, 110]);
    assert_eq!(report.left_out, 40);
    // A date covers its whole day.
    let date = |d: &str| Scalar::Datetime(d.parse().unwrap());
    let by_date =
        Split::Column { column: "day".into(), train_through: date("2024-01-09"), valid_through: date("2024-01-15"), test_from: None };
    let (_keep, dataset, _) = open(&split(by_date), &memory(vec![days()]));
    assert_eq!(Part::ALL.map(|p| dataset.rows(p)), [90, 60, 150]);
}

#[test]
fn bounds_that_do_not_fit_are_refused() {
    let bad = |column: &str, train: Scalar, valid: Scalar| {
        let spec = split(Split::Column { column: column.into(), train_through: train, valid_through: valid, test_from: None });
        let dir = tempfile::tempdir().unwrap();
        let prepared = prepare_in(dir.path(), &spec, &memory(vec![days()])).unwrap();
        let error = Dataset::open(&spec, &Graph::of(&spec), &prepared).unwrap_err();
        error.downcast_ref::<Diagnostics>().unwrap().0[0].message.clone()
    };
    let text = |t: &str| Scalar::Text(t.into());
    assert_eq!(bad("n", text("soon"), Scalar::Integer(3)), "split by column `n`: its values are numbers, and the bound `soon` is not");
    assert_eq!(
        bad("day", Scalar::Integer(1), Scalar::Integer(3)),
        "log0.csv:2: column day: the split's bounds are numbers, and this value is not"
    );
    assert_eq!(
        bad("n", Scalar::Integer(5), Scalar::Integer(3)),
        "split by column `n`: the bounds do not ascend, so the parts would overlap"
    );
}

#[test]
fn files_go_to_their_part_and_empty_parts_are_errors() {
    let files = |test: &str| Split::Files { valid: vec!["log1.csv".into()], test: vec![test.into()] };
    let source = memory(vec![days(), days().slice(0, 50), days().slice(0, 20)]);
    let (_keep, dataset, _) = open(&split(files("log[2-9].csv")), &source);
    assert_eq!(Part::ALL.map(|p| dataset.rows(p)), [300, 50, 20]);
    let refused = |test: &str| {
        let (dir, spec) = (tempfile::tempdir().unwrap(), split(files(test)));
        let prepared = prepare_in(dir.path(), &spec, &source).unwrap();
        let error = Dataset::open(&spec, &Graph::of(&spec), &prepared).unwrap_err();
        error.downcast_ref::<Diagnostics>().unwrap().0[0].message.clone()
    };
    assert_eq!(refused("log9.csv"), "split by file: `log9.csv` names no file of the source");
    assert_eq!(refused("log1*"), "split by file: `log1.csv` is in valid and in test");
    let late = Scalar::Integer(1000);
    let never = Split::Column { column: "n".into(), train_through: late.clone(), valid_through: late, test_from: None };
    let (_keep, dataset, report) = open(&split(never), &memory(vec![days()]));
    assert_eq!(report.check().unwrap_err().0[0].message, "the split puts no row into test");
    let plan = BatchPlan::sequential(NonZeroUsize::new(8).unwrap());
    assert_eq!(dataset.batches(Part::Test, plan).count(), 0);
}

#[test]
fn a_share_of_the_training_rows_is_a_part_of_a_larger_share() {
    let of = |share, share_seed| {
        let mut spec = split(Split::Random { valid: 0.2, test: 0.3, seed: 4 });
        (spec.train.share_of_rows, spec.train.share_seed) = (share, share_seed);
        let (_keep, dataset, report) = open(&spec, &memory(vec![days()]));
        (Part::ALL.map(|p| lines(&dataset, p).into_iter().collect::<BTreeSet<_>>()), report)
    };
    let ((all, _), (half, report), (tenth, _)) = (of(1.0, 1), of(0.5, 1), of(0.1, 1));
    assert!(tenth[0].is_subset(&half[0]) && half[0].is_subset(&all[0]));
    assert!((55..95).contains(&half[0].len()) && (5..30).contains(&tenth[0].len()), "{} {}", half[0].len(), tenth[0].len());
    assert_eq!((&half[1..], &tenth[1..]), (&all[1..], &all[1..]), "valid and test are the same rows");
    assert_eq!(report.left_out, (all[0].len() - half[0].len()) as u64);
    assert_ne!(of(0.5, 2).0[0], half[0]);
}
