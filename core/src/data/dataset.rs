//! Rows in parts, ready to be trained on: counts, base rates, and batches built ahead on another thread.

use super::batch::{Batch, Fields};
use super::build::{Builder, Mask, rows_of};
use super::lint::{self, LintReport, PartCounts};
use super::order::{self, Pieces};
use super::orphan::Labels;
use super::prepare::Prepared;
use super::preprocess::Preprocessor;
use super::split::{self, Part};
use super::store::Store;
use crate::graph::Graph;
use crate::spec::Spec;
use anyhow::Context;
use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Batches built ahead of the one in use.
const AHEAD: usize = 3;

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in the inputs.
    Sequential,
    /// Shuffled over all rows, anew each epoch.
    Shuffled {
        /// Seed of the run.
        seed: u64,
        /// Epoch, from 0.
        epoch: u64,
        /// In pieces of one entity's rows; `None`: row by row.
        by: Option<ByEntity>,
    },
}

/// How rows are shuffled by the entities they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByEntity {
    /// The entities' group, at least 1.
    pub group: usize,
    /// Rows of a piece, at most.
    pub rows: NonZeroUsize,
}

/// Where the rows of one pass go on: how many places of the order are behind. Valid for the same data, split, seed and epoch.
pub type Position = u64;

/// What batches to build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchPlan {
    /// Rows of a batch; the last one may have fewer.
    pub batch_rows: NonZeroUsize,
    /// Order of rows.
    pub order: Order,
    /// 0, or the [`Position`] that came with the last batch used.
    pub start: Position,
    /// Share of known ids read as out of vocabulary; for training only.
    pub oov_rate: f32,
}
impl BatchPlan {
    /// All rows in order, nothing masked.
    #[must_use]
    pub fn sequential(batch_rows: NonZeroUsize) -> Self {
        Self { batch_rows, order: Order::Sequential, start: 0, oov_rate: 0.0 }
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Arc<Store>,
    pub(super) preprocessor: Preprocessor,
    pub(super) rows_of: Vec<Vec<u32>>,
    pub(super) parts: Vec<u8>,
    pub(super) labels: Labels,
    counts: [PartCounts; 3],
    /// Those of the last pass that was shuffled by an entity: all passes of a run are cut alike.
    pieces: Mutex<Option<(Part, ByEntity, Arc<Pieces>)>>,
}

/// Rows in parts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(super) inner: Arc<Inner>,
}

impl Dataset {
    /// Splits, lints, and fits the preprocessor on training rows. Callers that train must ask [`LintReport::check`] first.
    ///
    /// # Errors
    /// The split cannot be made, or there are more than 2³² rows.
    pub fn open(spec: &Spec, graph: &Graph, prepared: &Prepared) -> anyhow::Result<(Self, LintReport)> {
        let parts = split::assign(spec, &prepared.store)?;
        Self::assemble(spec, graph, prepared, parts, None)
    }

    /// Like [`Self::open`] with the preprocessor of an earlier run over the same data: to resume, or to evaluate its parts.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn reopen(spec: &Spec, graph: &Graph, prepared: &Prepared, preprocessor: Preprocessor) -> anyhow::Result<(Self, LintReport)> {
        let parts = split::assign(spec, &prepared.store)?;
        Self::assemble(spec, graph, prepared, parts, Some(preprocessor))
    }

    /// Other rows for a trained model: all of them are in test. The rows must have been prepared with
    /// [`super::Layout::for_other_rows`] of the preprocessor's layout.
    ///
    /// # Errors
    /// There are more than 2³² rows.
    pub fn for_evaluation(
        spec: &Spec,
        graph: &Graph,
        prepared: &Prepared,
        preprocessor: Preprocessor,
    ) -> anyhow::Result<(Self, LintReport)> {
        let parts = vec![Part::Test.code(); prepared.store.rows()];
        let (this, mut report) = Self::assemble(spec, graph, prepared, parts, Some(preprocessor))?;
        // That no row is in train or valid is meant so.
        report.diagnostics.retain(|d| d.id != "empty-part");
        Ok((this, report))
    }

    fn assemble(
        spec: &Spec,
        graph: &Graph,
        prepared: &Prepared,
        mut parts: Vec<u8>,
        preprocessor: Option<Preprocessor>,
    ) -> anyhow::Result<(Self, LintReport)> {
        let store = Arc::clone(&prepared.store);
        u32::try_from(store.rows()).context("more than 2³² rows in one store")?;
        let labels = Labels::new(graph.clone(), spec.data.orphan_labels);
        let mut report = LintReport::default();
        lint::count(&store, &labels, &mut parts, &mut report);
        lint::judge(spec, &labels, &mut report);
        lint::left_out(&store, &mut report);
        let preprocessor = if let Some(preprocessor) = preprocessor {
            let same = preprocessor.layout().feature_form() == store.layout().feature_form();
            anyhow::ensure!(same, "the data was prepared for other features than the model's");
            preprocessor
        } else {
            lint::leakage(&store, &labels, &parts, &mut report);
            super::fit::fit(&prepared.layout, &store, &parts)
        };
        let rows_of = rows_of(&store, &preprocessor);
        let counts = report.parts.clone();
        Ok((Self { inner: Arc::new(Inner { store, preprocessor, rows_of, parts, labels, counts, pieces: Mutex::default() }) }, report))
    }

    /// Groups, fields and tables, as a model sees them.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        self.inner.preprocessor.fields()
    }
    /// What is saved with the run.
    #[must_use]
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.inner.preprocessor
    }
    /// The encoded rows; its [`Store::meta`] holds inputs and fingerprints for the run's manifest.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
    /// Rows of a part.
    #[must_use]
    pub fn rows(&self, part: Part) -> u64 {
        self.counts(part).rows
    }
    /// Rows and labels of a part, after the orphan policy.
    #[must_use]
    pub fn counts(&self, part: Part) -> &PartCounts {
        &self.inner.counts[part as usize]
    }
    /// A stage's conditional rate on training rows: where its head's bias starts.
    #[must_use]
    pub fn base_rate(&self, stage: usize) -> Option<f64> {
        self.counts(Part::Train).rate(stage)
    }

    /// Of each row of the inputs, in order, whether it is in a part.
    pub fn in_part(&self, part: Part) -> impl Iterator<Item = bool> + '_ {
        self.inner.parts.iter().map(move |p| *p == part.code())
    }

    /// The rows of a part, in batches that are built ahead on another thread. Each comes with the position after it. Dropping the iterator
    /// ends the thread.
    #[must_use]
    pub fn batches(&self, part: Part, plan: BatchPlan) -> Batches {
        let (send, receive) = sync_channel(AHEAD);
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new().name("batches".into()).spawn(move || inner.send(part, plan, &send));
        match thread {
            Ok(thread) => Batches { receive: Some(receive), thread: Some(thread), failed: None },
            Err(e) => Batches { receive: None, thread: None, failed: Some(e.into()) },
        }
    }

    /// The key columns of a part's rows, in order of the inputs; `None` without keys.
    ///
    /// # Errors
    /// The store's file cannot be read.
    pub fn keys(&self, part: Part) -> anyhow::Result<Option<impl Iterator<Item = anyhow::Result<RecordBatch>> + '_>> {
        let Some(reader) = self.inner.store.keys()? else { return Ok(None) };
        let mut at = 0;
        Ok(Some(reader.map(move |batch| {
            let batch = batch?;
            let parts = &self.inner.parts[at..at + batch.num_rows()];
            at += batch.num_rows();
            let wanted: BooleanArray = parts.iter().map(|p| Some(*p == part.code())).collect();
            Ok(filter_record_batch(&batch, &wanted)?)
        })))
    }
}

impl Inner {
    fn pieces(&self, part: Part, by: ByEntity) -> Arc<Pieces> {
        let mut kept = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((p, b, pieces)) if *p == part && *b == by => Arc::clone(pieces),
            _ => {
                let pieces = Arc::new(Pieces::of(&self.store, &self.parts, part, by.group, by.rows.get()));
                *kept = Some((part, by, Arc::clone(&pieces)));
                pieces
            }
        }
    }

    fn send(&self, part: Part, plan: BatchPlan, to: &SyncSender<(Batch, Position)>) {
        let (seed, epoch) = match plan.order {
            Order::Sequential => (0, 0),
            Order::Shuffled { seed, epoch, .. } => (seed, epoch),
        };
        let builder = Builder {
            store: &self.store,
            preprocessor: &self.preprocessor,
            rows_of: &self.rows_of,
            labels: &self.labels,
            mask: Mask::new(plan.oov_rate, seed, epoch),
        };
        let pieces = match plan.order {
            Order::Shuffled { by: Some(by), .. } => Some(self.pieces(part, by)),
            _ => None,
        };
        let (mut rows, mut position) = (Vec::with_capacity(plan.batch_rows.get()), plan.start);
        for (row, after) in order::rows(&self.parts, part, plan.order, pieces.as_deref(), plan.start) {
            rows.push(row);
            position = after;
            if rows.len() == plan.batch_rows.get() {
                if to.send((builder.build(&rows), position)).is_err() {
                    return;
                }
                rows.clear();
            }
        }
        if !rows.is_empty() {
            // Nobody listening is no fault.
            drop(to.send((builder.build(&rows), position)));
        }
    }
}

/// See [`Dataset::batches`].
#[derive(Debug)]
pub struct Batches {
    receive: Option<Receiver<(Batch, Position)>>,
    thread: Option<JoinHandle<()>>,
    failed: Option<anyhow::Error>,
}
impl Iterator for Batches {
    type Item = anyhow::Result<(Batch, Position)>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        if let Ok(batch) = self.receive.as_ref()?.recv() {
            return Some(Ok(batch));
        }
        self.receive = None;
        let broken = self.thread.take().is_some_and(|t| t.join().is_err());
        broken.then(|| Err(anyhow::anyhow!("the thread that builds batches ended early")))
    }
}
