use super::*;
use crate::data::{Batch, BatchPlan, ByEntity, OUT_OF_VOCABULARY, Order, Part, Position, RawEncoder};
use std::num::NonZeroUsize;

fn rows(n: u32) -> RecordBatch {
    let mut csv = String::from("item,user,age,w,channel,click,buy\n");
    for i in 0..n {
        let user = i % 11;
        csv += &format!("i{i},u{user},{},{},c{},{},{}\n", user * 2, i % 5, i % 3, u8::from(i % 3 == 0), u8::from(i % 6 == 0));
    }
    text(&csv)
}
fn funnel() -> Spec {
    let mut spec = spec(vec![
        feature("item", "kind = 'id'"),
        feature("user", "kind = 'id'\nof = 'user'"),
        feature("age", "kind = 'number'\nof = 'user'\ntransform = 'none'"),
    ]);
    spec.entities = vec![Entity { name: "user".into(), key: "user".into() }];
    spec.split = Split::Random { valid: 0.1, test: 0.2, seed: 1 };
    spec.data.weight = Some("w".into());
    spec.metrics.slices = vec!["channel".into()];
    spec
}
fn plan(batch_rows: usize, order: Order, start: Position) -> BatchPlan {
    BatchPlan { batch_rows: NonZeroUsize::new(batch_rows).unwrap(), order, start, oov_rate: 0.3 }
}
fn all(dataset: &Dataset, plan: BatchPlan) -> Vec<(Batch, Position)> {
    dataset.batches(Part::Train, plan).collect::<anyhow::Result<_>>().unwrap()
}

#[test]
fn a_resumed_pass_gives_the_same_remaining_batches() {
    let (_keep, dataset, _) = open(&funnel(), &memory(vec![rows(1000)]));
    for order in [Order::Sequential, Order::Shuffled { seed: 9, epoch: 2, by: None }, by_user(2, 7)] {
        let whole = all(&dataset, plan(64, order, 0));
        assert_eq!(whole.iter().map(|(b, _)| b.size as u64).sum::<u64>(), dataset.rows(Part::Train));
        for stop in [1, 5, whole.len()] {
            let rest = all(&dataset, plan(64, order, whole[stop - 1].1));
            assert_eq!(rest, whole[stop..]);
        }
    }
    let epochs: Vec<_> = (0..2).map(|epoch| all(&dataset, plan(64, Order::Shuffled { seed: 9, epoch, by: None }, 0))).collect();
    assert_ne!(epochs[0], epochs[1]);
}

fn by_user(epoch: u64, rows: usize) -> Order {
    Order::Shuffled { seed: 9, epoch, by: Some(ByEntity { group: 1, rows: NonZeroUsize::new(rows).unwrap() }) }
}

#[test]
fn shuffled_by_entity_every_row_comes_once_in_pieces() {
    let (_keep, dataset, _) = open(&funnel(), &memory(vec![rows(1000)]));
    let of = |epoch, rows, batch| all(&dataset, BatchPlan { oov_rate: 0.0, ..plan(batch, by_user(epoch, rows), 0) });
    let items = |batches: &[(Batch, Position)]| batches.iter().flat_map(|(b, _)| b.groups[0].singles.clone()).collect::<Vec<_>>();
    let plain = all(&dataset, BatchPlan { oov_rate: 0.0, ..plan(64, Order::Sequential, 0) });
    let sorted = |mut items: Vec<u32>| {
        items.sort_unstable();
        items
    };
    for pieces in [1, 7, 1000] {
        assert_eq!(sorted(items(&of(0, pieces, 64))), sorted(items(&plain)), "{pieces}");
    }
    assert_ne!(items(&of(0, 7, 64)), items(&of(1, 7, 64)), "anew each epoch");
    // Whole users: about 64 of them a batch, so one or two meet in it, where all eleven do otherwise.
    let users = |batches: &[(Batch, Position)]| batches.iter().map(|(b, _)| b.groups[1].size).max().unwrap();
    assert!(users(&of(0, 1000, 64)) <= 3, "{}", users(&of(0, 1000, 64)));
    assert_eq!(users(&all(&dataset, plan(64, Order::Shuffled { seed: 9, epoch: 0, by: None }, 0))), 11);
    assert!(of(0, 1000, 64).windows(2).any(|w| w[0].0.groups[1] != w[1].0.groups[1]));
}

#[test]
fn entities_stand_once_in_the_store_and_in_a_batch() {
    let (_keep, dataset, report) = open(&funnel(), &memory(vec![rows(1000)]));
    assert_eq!((report.entities[0].entities, report.entities[0].keys, report.entities[0].keys_with_several), (11, 11, 0));
    for (batch, _) in all(&dataset, BatchPlan { oov_rate: 0.0, ..plan(64, Order::Shuffled { seed: 1, epoch: 0, by: None }, 0) }) {
        let users = &batch.groups[1];
        assert!(users.size <= 11 && users.index.len() == batch.size && users.singles.len() == users.size);
        for (row, &at) in users.index.iter().enumerate() {
            // Item i7 is user u7's, whose age is 14.
            let (ids, _) = dataset.preprocessor().vocabulary(0);
            let item: u32 = ids[batch.groups[0].singles[row] as usize - 2].to_string()[1..].parse().unwrap();
            assert_eq!(users.numbers[at as usize], (item % 11 * 2) as f32);
        }
    }
    // One row of a user that differs makes that user two entities.
    let mut csv = String::from("item,user,age,w,channel,click,buy\n");
    for (i, age) in [1, 1, 2, 1, 5].into_iter().enumerate() {
        csv += &format!("i{i},u{},{age},1,c,1,{}\n", i / 4, i % 2);
    }
    let mut spec = funnel();
    spec.split = Split::Random { valid: 0.0, test: 0.0, seed: 1 };
    let (_keep, _, report) = open(&spec, &memory(vec![text(&csv)]));
    assert_eq!((report.entities[0].entities, report.entities[0].keys, report.entities[0].keys_with_several), (3, 2, 1));
}

#[test]
fn scoring_sees_what_training_sees() {
    let table = rows(200);
    let mut spec = funnel();
    spec.split = Split::Random { valid: 0.0, test: 0.0, seed: 1 };
    let (_keep, dataset, _) = open(&spec, &memory(vec![table.clone()]));
    let stored = all(&dataset, BatchPlan { oov_rate: 0.0, ..plan(200, Order::Sequential, 0) }).remove(0).0;
    let encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    assert_eq!(encoder.columns(), ["item", "user", "age"]);
    let chunk = Chunk { records: table, input: 0, numbers: RowNumbers::From(2), broken: Vec::new() };
    let encoded = encoder.encode(&chunk, &memory(vec![rows(1)]).inputs().unwrap()[0]).unwrap();
    assert_eq!(encoded.batch.groups, stored.groups);
    assert_eq!(encoded.unknown_ids, []);
}

#[test]
fn a_share_of_known_ids_is_masked_the_same_way_each_time() {
    let (_keep, dataset, _) = open(&funnel(), &memory(vec![rows(3000)]));
    let masked = |rate: f32, epoch| {
        let plan = BatchPlan { oov_rate: rate, ..plan(5000, Order::Shuffled { seed: 3, epoch, by: None }, 0) };
        all(&dataset, plan).remove(0).0.groups[0].singles.iter().filter(|r| **r == OUT_OF_VOCABULARY).count()
    };
    assert_eq!(masked(0.0, 0), 0);
    let known = usize::try_from(dataset.rows(Part::Train)).unwrap();
    assert_eq!(masked(1.0, 0), known);
    let some = masked(0.1, 0);
    assert!((known / 14..known / 7).contains(&some), "{some} of {known}");
    assert_eq!(some, masked(0.1, 0));
}

#[test]
fn dropping_the_iterator_early_is_fine() {
    let (_keep, dataset, _) = open(&funnel(), &memory(vec![rows(1000)]));
    for _ in 0..20 {
        let mut batches = dataset.batches(Part::Train, plan(1, Order::Sequential, 0));
        assert_eq!(batches.next().unwrap().unwrap().0.size, 1);
    }
}

#[test]
fn weights_aux_and_base_rates() {
    let mut spec = funnel();
    spec.split = Split::Random { valid: 0.0, test: 0.0, seed: 1 };
    let (_keep, dataset, _) = open(&spec, &memory(vec![rows(60)]));
    let batch = all(&dataset, plan(60, Order::Sequential, 0)).remove(0).0;
    assert_eq!(batch.weights[..6], [0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
    assert_eq!(batch.aux[0][..4], [1, 2, 3, 1]);
    assert_eq!(dataset.store().aux_values(0)[1].to_string(), "c1");
    assert_eq!((dataset.base_rate(0), dataset.base_rate(1)), (Some(1.0 / 3.0), Some(0.5)));
    assert_eq!(dataset.counts(Part::Train).entities, [11]);
}

#[test]
fn orphan_policies() {
    let table = text("item,click,buy\na,1,1\nb,0,1\nc,0,0\nd,1,0\ne,0,1");
    let policy = |policy| {
        let mut spec = spec(vec![feature("item", "kind = 'id'")]);
        spec.data.orphan_labels = policy;
        let (keep, dataset, report) = open(&spec, &memory(vec![table.clone()]));
        let batch = all(&dataset, plan(9, Order::Sequential, 0)).remove(0).0;
        drop(keep);
        (batch.labels, report)
    };
    let (_, report) = policy(OrphanLabels::Error);
    let refused = report.check().unwrap_err().0.remove(0);
    assert_eq!(refused.message, "2 rows have label `buy` = 1 though `click` was not reached; first: log0.csv:3, log0.csv:6");
    assert!(refused.help[0].contains("[data]\norphan_labels = \"clear_child\""));
    assert_eq!(policy(OrphanLabels::ClearChild).0, [[1, 0, 0, 1, 0], [1, 0, 0, 0, 0]]);
    assert_eq!(policy(OrphanLabels::SetParent).0, [[1, 1, 0, 1, 1], [1, 1, 0, 0, 1]]);
    assert_eq!(policy(OrphanLabels::Keep).0, [[1, 0, 0, 1, 0], [1, 1, 0, 0, 1]]);
    let (labels, report) = policy(OrphanLabels::DropRow);
    assert_eq!(labels, [[1, 0, 1], [1, 0, 0]]);
    assert_eq!((report.dropped, report.parts[0].rows), (2, 3));
    assert!(report.check().is_ok());
}

#[test]
fn other_rows_are_evaluated_with_the_model_s_preprocessor() {
    let (_keep, dataset, _) = open(&funnel(), &memory(vec![rows(500)]));
    let spec = funnel();
    let dir = tempfile::tempdir().unwrap();
    let other = memory(vec![text("item,user,age,w,channel,click,buy\ni1,new,4,1,c9,1,0\nzz,u1,2,1,c1,0,0")]);
    let layout = dataset.preprocessor().layout().for_other_rows();
    let prepared = prepare_with(dir.path(), &spec, &other, Some(&layout)).unwrap();
    let (rows, report) = Dataset::for_evaluation(&spec, &Graph::of(&spec), &prepared, dataset.preprocessor().clone()).unwrap();
    assert!(report.check().is_ok());
    assert_eq!((rows.rows(Part::Test), rows.rows(Part::Train)), (2, 0));
    let batch = rows.batches(Part::Test, BatchPlan::sequential(NonZeroUsize::MIN.saturating_add(9))).next().unwrap().unwrap().0;
    assert_eq!((batch.groups[0].singles[1], batch.groups[1].singles[0]), (OUT_OF_VOCABULARY, OUT_OF_VOCABULARY));
    assert_eq!(batch.groups[1].numbers, [4.0, 2.0]);
    assert_eq!(rows.fields(), dataset.fields());
}
