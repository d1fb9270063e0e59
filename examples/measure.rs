//! Measures, for `bench/run.py`, what no command prints: the arithmetic limit of a training step, and scoring with the rows ready in memory.
//!
//! `measure gemm BATCH…` prints how many rows a second a step would take that consisted of its matrix products alone (forward, by the input and by the
//! weight of every layer of two towers 414-360-200-80, `gemm` crate, all cores). `measure score RUN` prints rows a second in batches of 8192,
//! and the time of a single row. One JSON object a line.

use anyhow::{Context, Result, bail};
use esmm_funnel_core::data::{self, Batch, BatchPlan, Dataset, Part, PrepareOptions, Preprocessor, open_source};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::run::{RunFolder, names};
use esmm_funnel_core::score::{SCORE_ROWS, Scorer};
use esmm_funnel_plugins as _;
use gemm::Parallelism;
use rayon::prelude::*;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Widths of the input and of the hidden layers.
const WIDTHS: [usize; 4] = [414, 360, 200, 80];
const TOWERS: usize = 2;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.split_first().map(|(command, rest)| (command.as_str(), rest)) {
        Some(("gemm", batches)) => batches.iter().try_for_each(|batch| limit(batch.parse()?)),
        Some(("score", [run])) => score(run),
        _ => bail!("usage: measure gemm BATCH… | measure score RUN"),
    }
}

#[allow(clippy::print_stdout)]
fn say(value: &serde_json::Value) {
    println!("{value}");
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Runs `work` for about two seconds, five times at least; gives the median of its seconds.
fn time(mut work: impl FnMut()) -> f64 {
    work();
    let (began, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < 5 || began.elapsed().as_secs_f64() < 2.0 {
        let started = Instant::now();
        work();
        seconds.push(started.elapsed().as_secs_f64());
    }
    median(seconds)
}

/// A matrix: values, row stride, column stride.
type Matrix<'a> = (&'a [f32], usize, usize);

/// `out [m, n] = a [m, k] · b [k, n]`.
#[allow(unsafe_code, clippy::cast_possible_wrap)]
fn product(out: &mut [f32], (m, n, k): (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>, on: Parallelism) {
    assert!(out.len() >= m * n && a.0.len() >= m * k && b.0.len() >= k * n);
    let (a, a_row, a_col) = (a.0.as_ptr(), a.1 as isize, a.2 as isize);
    let (b, b_row, b_col) = (b.0.as_ptr(), b.1 as isize, b.2 as isize);
    // SAFETY: the slices are as long as the strides reach, which are those of the matrices or of their transposes.
    unsafe {
        gemm::gemm(m, n, k, out.as_mut_ptr(), 1, n as isize, false, a, a_col, a_row, b, b_col, b_row, 0.0, 1.0, false, false, false, on);
    }
}

/// The buffers of one tower's step on some rows.
struct Step {
    rows: usize,
    activations: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    weights: Vec<Vec<f32>>,
    by_weight: Vec<Vec<f32>>,
}
impl Step {
    fn new(rows: usize) -> Self {
        let values = |n: usize| (0..n).map(|i| (i % 13) as f32 * 0.01 - 0.05).collect::<Vec<f32>>();
        let layers = || WIDTHS.windows(2).map(|w| w[0] * w[1]);
        let rows_of = || WIDTHS.iter().map(|w| values(rows * w)).collect();
        Self {
            rows,
            activations: rows_of(),
            gradients: rows_of(),
            weights: layers().map(values).collect(),
            by_weight: layers().map(values).collect(),
        }
    }
    fn run(&mut self, on: Parallelism) {
        for (l, w) in WIDTHS.windows(2).enumerate() {
            let (i, o) = (w[0], w[1]);
            let (before, after) = self.activations.split_at_mut(l + 1);
            product(&mut after[0], (self.rows, o, i), (&before[l], i, 1), (&self.weights[l], o, 1), on);
        }
        for (l, w) in WIDTHS.windows(2).enumerate().rev() {
            let (i, o) = (w[0], w[1]);
            let (before, after) = self.gradients.split_at_mut(l + 1);
            product(&mut self.by_weight[l], (i, o, self.rows), (&self.activations[l], 1, i), (&after[0], o, 1), on);
            product(&mut before[l], (self.rows, i, o), (&after[0], o, 1), (&self.weights[l], 1, o), on);
        }
    }
}

fn limit(batch: usize) -> Result<()> {
    if batch == 0 {
        bail!("a batch has a row at least");
    }
    let flops: usize = WIDTHS.windows(2).map(|w| 6 * batch * w[0] * w[1]).sum::<usize>() * TOWERS;
    // Whole matrices on all cores, and chunks of them side by side: the faster is the limit.
    let mut whole: Vec<Step> = (0..TOWERS).map(|_| Step::new(batch)).collect();
    let on_all = time(|| whole.iter_mut().for_each(|s| s.run(Parallelism::Rayon(0))));
    let chunk = (batch / 8).clamp(256, 1024).min(batch);
    let mut chunks: Vec<Step> = (0..TOWERS * batch / chunk).map(|_| Step::new(chunk)).collect();
    let side_by_side = time(|| chunks.par_iter_mut().for_each(|s| s.run(Parallelism::None)));
    let side_by_side = side_by_side * (TOWERS * batch) as f64 / (chunks.len() * chunk) as f64;
    let best = on_all.min(side_by_side);
    say(&serde_json::json!({
        "result": "gemm-limit", "batch": batch, "rows_per_s": batch as f64 / best, "gflops_per_s": flops as f64 / best / 1e9,
        "whole_rows_per_s": batch as f64 / on_all, "chunked_rows_per_s": batch as f64 / side_by_side,
    }));
    Ok(())
}

fn score(run: &str) -> Result<()> {
    let folder = RunFolder::open(Path::new(run))?;
    let scorer = Scorer::open(&folder, &cpu())?;
    let preprocessor = Preprocessor::load(&folder.file(names::FEATURES))?;
    let options = PrepareOptions {
        cache_dir: Path::new(".esmm-store"),
        show_values: false,
        verify: false,
        layout: Some(preprocessor.layout()),
        progress: &|_| {},
        stop: &AtomicBool::new(false),
    };
    let graph = Graph::of(&scorer.spec);
    let prepared = data::prepare(&scorer.spec, &open_source(&scorer.spec, None)?, &graph, &options)?;
    let (dataset, _) = Dataset::reopen(&scorer.spec, &graph, &prepared, preprocessor.clone())?;
    let batches = |rows: NonZeroUsize, limit: usize| -> Result<Vec<Batch>> {
        let all = dataset.batches(Part::Test, BatchPlan::sequential(rows));
        all.take(limit).map(|next| next.map(|(batch, _)| batch)).collect()
    };
    let model = scorer.model.scorer();
    let ready = batches(SCORE_ROWS, 16)?;
    let rows: usize = ready.iter().map(|b| b.size).sum();
    let seconds = time(|| ready.iter().for_each(|batch| drop(std::hint::black_box(model.logits(batch)))));
    let single = batches(NonZeroUsize::MIN, 2000)?;
    let mut each: Vec<f64> = Vec::new();
    for batch in &single {
        let started = Instant::now();
        drop(std::hint::black_box(model.logits(batch)?));
        each.push(started.elapsed().as_secs_f64() * 1e6);
    }
    each.sort_by(f64::total_cmp);
    let at = |percent: usize| each.get(each.len() * percent / 100).copied().context("the test part is empty");
    say(&serde_json::json!({
        "result": "infer", "impl": "esmm-funnel", "infer_batch": SCORE_ROWS, "infer_samples_per_s": rows as f64 / seconds,
        "single_row_us_p50": at(50)?, "single_row_us_p99": at(99)?,
    }));
    Ok(())
}
