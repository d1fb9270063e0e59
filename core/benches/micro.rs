//! Micro benches of what a step is made of, each with bytes or items a second; `limits` has what the machine's memory gives.
//!
//! `cargo bench -p esmm-funnel-core` (with `auc_50m`, which takes 2 GB: `-- --ignored auc_50m`).

#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use esmm_funnel_core::data::{BagBatch, BagField, Batch, Field, Fields, GroupBatch, GroupFields, TableShape};
use esmm_funnel_core::embedding::{Columns, Plan, Tables, gather};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::metrics::auc;
use esmm_funnel_core::optim::Rule;
use esmm_funnel_core::spec::{Optimizer, Pooling, load};
use std::hint::black_box;

const FIELDS: usize = 23;
const DIM: usize = 18;
const ROWS: usize = 4096;
const TABLE_ROWS: usize = 1_000_000;
const BAG: usize = 600;

fn main() {
    divan::main();
}

/// A stream of numbers below `n`, small ones more often, as ids are.
fn ids(n: usize, count: usize) -> Vec<u32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let u = (state >> 11) as f64 / (1u64 << 53) as f64;
        ((n as f64).powf(u) as u32).min(n as u32 - 1)
    };
    std::iter::repeat_with(next).take(count).collect()
}
fn field(table: usize) -> Field {
    Field { name: format!("f{table}"), feature: "f".into(), table }
}

/// Single-valued fields: 4096 rows of 23.
fn flat() -> (Fields, Batch, Tables) {
    let per_table = TABLE_ROWS / FIELDS;
    let tables: Vec<TableShape> = (0..FIELDS).map(|t| TableShape { name: format!("t{t}"), rows: per_table }).collect();
    let group = GroupFields { name: "row".into(), singles: (0..FIELDS).map(field).collect(), bags: vec![], numbers: vec![] };
    let members = GroupBatch { size: ROWS, singles: ids(per_table, ROWS * FIELDS), ..GroupBatch::default() };
    let weights = Tables::new(&tables, DIM, 0.01, 1);
    (Fields { groups: vec![group], tables, aux: vec![] }, Batch { size: ROWS, groups: vec![members], ..Batch::default() }, weights)
}
/// One bag of 600 values for each of 70 members.
fn bags() -> (Fields, Batch, Tables) {
    let tables = vec![TableShape { name: "t".into(), rows: TABLE_ROWS }];
    let bag = BagField { field: field(0), pooling: Pooling::Mean, attend_to: None };
    let group = GroupFields { name: "row".into(), singles: vec![], bags: vec![bag], numbers: vec![] };
    let offsets = (0..=70u32).map(|i| i * BAG as u32).collect();
    let bag = BagBatch { offsets, rows: ids(TABLE_ROWS, 70 * BAG), weights: vec![0.5; 70 * BAG] };
    let members = GroupBatch { size: 70, bags: vec![bag], ..GroupBatch::default() };
    let weights = Tables::new(&tables, DIM, 0.01, 1);
    (Fields { groups: vec![group], tables, aux: vec![] }, Batch { size: 70, groups: vec![members], ..Batch::default() }, weights)
}
fn columns() -> Columns {
    Columns { dim: DIM, numbers: true }
}

#[divan::bench]
fn limits_copy(bencher: Bencher<'_, '_>) {
    let from = vec![1u8; 64 << 20];
    let mut to = vec![0u8; 64 << 20];
    bencher.counter(BytesCount::new(2 * from.len())).bench_local(|| to.copy_from_slice(black_box(&from)));
}

#[divan::bench]
fn dedupe(bencher: Bencher<'_, '_>) {
    let (fields, batch, tables) = flat();
    let mut plan = Plan::default();
    bencher.counter(ItemsCount::new(ROWS * FIELDS)).bench_local(|| plan.build(&tables, &fields, black_box(&batch), &[]));
}

#[divan::bench]
fn gather_rows(bencher: Bencher<'_, '_>) {
    let (fields, batch, tables) = flat();
    let bytes = 2 * ROWS * FIELDS * DIM * 4;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| gather(&tables, columns(), &fields.groups[0], black_box(&batch.groups[0])));
}

#[divan::bench]
fn pool_bags(bencher: Bencher<'_, '_>) {
    let (fields, batch, tables) = bags();
    let bytes = 70 * BAG * DIM * 4;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| gather(&tables, columns(), &fields.groups[0], black_box(&batch.groups[0])));
}

#[divan::bench]
fn segment_sum(bencher: Bencher<'_, '_>) {
    let (fields, batch, tables) = flat();
    let mut plan = Plan::default();
    plan.build(&tables, &fields, &batch, &[]);
    let dx = vec![0.01f32; ROWS * FIELDS * DIM];
    let mut sums = Vec::new();
    let bytes = (ROWS * FIELDS + plan.unique().len()) * DIM * 4;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| plan.segment_sum(&[black_box(&dx)], &[FIELDS * DIM], DIM, &mut sums));
}

#[divan::bench]
fn row_wise_adam(bencher: Bencher<'_, '_>) {
    let (fields, batch, mut tables) = flat();
    let adam = Optimizer::adam(3e-4);
    tables.prepare(&adam);
    let mut plan = Plan::default();
    plan.build(&tables, &fields, &batch, &[]);
    let gradient = vec![0.01f32; plan.unique().len() * DIM];
    // Weight and two moments are read and written, the gradient is read.
    let bytes = plan.unique().len() * DIM * 4 * 7;
    let mut step = 0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        step += 1;
        tables.update(&plan, black_box(&gradient), &Rule::at(&adam, step, 1.0));
    });
}

#[divan::bench(args = ["ctr_cvr", "seven_stage", "nested"])]
fn composition(bencher: Bencher<'_, '_>, funnel: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../funnels/{funnel}.toml"));
    let Ok(loaded) = load(&path, &[]) else { panic!("{} does not load", path.display()) };
    let graph = Graph::of(&loaded.spec);
    let logits: Vec<Vec<f32>> = (0..graph.len()).map(|s| (0..ROWS).map(|r| ((r * 7 + s) % 13) as f32 - 9.0).collect()).collect();
    let logits: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| graph.compose(black_box(&logits)));
}

fn scored(n: usize) -> (Vec<f64>, Vec<u8>) {
    let scores: Vec<f64> = ids(1 << 30, n).into_iter().map(|i| f64::from(i).ln_1p()).collect();
    let labels = (0..n).map(|i| u8::from(i % 25 == 0)).collect();
    (scores, labels)
}

#[divan::bench]
fn auc_1m(bencher: Bencher<'_, '_>) {
    let (scores, labels) = scored(1_000_000);
    bencher.counter(ItemsCount::new(scores.len())).bench_local(|| auc(black_box(&scores), &labels, None));
}

#[divan::bench(ignore, sample_count = 3)]
fn auc_50m(bencher: Bencher<'_, '_>) {
    let (scores, labels) = scored(50_000_000);
    bencher.counter(ItemsCount::new(scores.len())).bench_local(|| auc(black_box(&scores), &labels, None));
}
