//! Requests that wait are scored as one batch. Nobody waits for others: where a thread is free, a request is scored at once, together with
//! whatever else has arrived by then; batches grow by themselves while all threads are busy.
//!
//! A request's task puts its rows into the queue and, if fewer than all threads score, starts a *leader*. The leader first lets other tasks that
//! are ready put in theirs, then scores what there is until nothing is left. So at low load a request is scored without any hand-over
//! between threads.

use super::log::{LogSender, Logged, Record};
use super::metrics::Metrics;
use super::model::Served;
use super::value::Value;
use esmm_funnel_core::data::Batch;
use esmm_funnel_core::score::online::join;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A batch of so many rows is spread over threads, if the others are idle.
const WIDE: usize = 256;
/// While a batch of so many rows is scored, the thread's other tasks move to another one.
const LONG: usize = 64;

/// Rows to be scored.
pub struct Job {
    /// With which model.
    pub served: Arc<Served>,
    /// The encoded rows.
    pub batch: Batch,
    /// The score expression.
    pub value: Option<Value>,
    /// For the log.
    pub record: Option<Record>,
    /// Where the result goes.
    pub reply: oneshot::Sender<Result<Scored, String>>,
}

/// Scored rows.
#[derive(Debug, Default)]
pub struct Scored {
    /// `[P][N]`.
    pub probabilities: Vec<Vec<f64>>,
    /// `[N]`: the score expression.
    pub values: Option<Vec<f64>>,
}

/// How busy it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Load {
    /// Waiting requests.
    pub requests: usize,
    /// Waiting rows.
    pub rows: usize,
    /// Leaders.
    pub busy: usize,
}

/// The queue.
pub struct Batcher {
    state: Mutex<State>,
    threads: usize,
    /// Rows of a batch; a request with more is a batch by itself.
    batch_rows: usize,
    queue_rows: usize,
    metrics: Arc<Metrics>,
    log: Option<LogSender>,
    /// Threads for what is worth spreading.
    wide: Option<rayon::ThreadPool>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    rows: usize,
    busy: usize,
}

impl Batcher {
    /// With `threads` leaders at most.
    ///
    /// # Errors
    /// Threads that cannot be started.
    pub fn new(
        threads: usize,
        batch_rows: usize,
        queue_rows: usize,
        metrics: Arc<Metrics>,
        log: Option<LogSender>,
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let name = |i| format!("wide-{i}");
        let wide = (threads > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build()).transpose()?;
        Ok(Self { state: Mutex::default(), threads, batch_rows, queue_rows, metrics, log, wide })
    }

    /// Takes rows in; `false` if too many wait already.
    pub fn submit(self: &Arc<Self>, job: Job) -> bool {
        let mut state = self.state();
        if state.rows > 0 && state.rows + job.batch.size > self.queue_rows {
            return false;
        }
        state.rows += job.batch.size;
        state.queue.push_back(job);
        if state.busy < self.threads {
            state.busy += 1;
            drop(state);
            tokio::spawn(Arc::clone(self).lead());
        }
        true
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        let state = self.state();
        Load { requests: state.queue.len(), rows: state.rows, busy: state.busy }
    }

    /// Whether there is a log to write records for.
    pub fn logs(&self) -> bool {
        self.log.is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lead(self: Arc<Self>) {
        loop {
            tokio::task::yield_now().await;
            let (jobs, alone) = self.take();
            if jobs.is_empty() {
                return;
            }
            let rows: usize = jobs.iter().map(|j| j.batch.size).sum();
            match &self.wide {
                Some(wide) if alone && rows >= WIDE => tokio::task::block_in_place(|| wide.install(|| self.run(jobs))),
                _ if rows >= LONG => tokio::task::block_in_place(|| self.run(jobs)),
                _ => self.run(jobs),
            }
        }
    }

    /// The next batch, all of one model; and whether no other thread scores. Nothing: this leader is none any more.
    fn take(&self) -> (Vec<Job>, bool) {
        let mut state = self.state();
        let (mut jobs, mut rows): (Vec<Job>, usize) = (Vec::new(), 0);
        while let Some(next) = state.queue.front() {
            let fits =
                jobs.first().is_none_or(|first| Arc::ptr_eq(&first.served, &next.served) && rows + next.batch.size <= self.batch_rows);
            if !fits {
                break;
            }
            let Some(job) = state.queue.pop_front() else { break };
            state.rows -= job.batch.size;
            // Whoever asked may have gone.
            if !job.reply.is_closed() {
                rows += job.batch.size;
                jobs.push(job);
            }
        }
        if jobs.is_empty() {
            state.busy -= 1;
        }
        (jobs, state.busy == 1)
    }

    fn run(&self, mut jobs: Vec<Job>) {
        let Some(first) = jobs.first() else { return };
        let served = Arc::clone(&first.served);
        let batches: Vec<Batch> = jobs.iter_mut().map(|j| std::mem::take(&mut j.batch)).collect();
        let sizes: Vec<usize> = batches.iter().map(|b| b.size).collect();
        self.metrics.batch_rows.observe(sizes.iter().sum::<usize>() as f64);
        let score = || if let [one] = &batches[..] { served.online.score(one) } else { served.online.score(&join(&batches)) };
        let scored = match catch_unwind(AssertUnwindSafe(score)) {
            Ok(Ok(scored)) => scored,
            Ok(Err(error)) => return fail(jobs, &format!("{error:#}")),
            Err(_) => return fail(jobs, "scoring failed; this is a defect, please report it"),
        };
        let (mut at, mut records, mut values) = (0, Vec::new(), Vec::new());
        for (job, rows) in jobs.into_iter().zip(sizes) {
            let of = |p: &Vec<f64>| p[at..at + rows].to_vec();
            let probabilities: Vec<Vec<f64>> = scored.iter().map(of).collect();
            at += rows;
            let value = job.value.map(|v| v.eval(&probabilities));
            if let Some(record) = job.record {
                values.extend(value.clone().unwrap_or_else(|| vec![f64::NAN; rows]));
                records.push(record);
            }
            // Nobody may be there any more.
            let _ = job.reply.send(Ok(Scored { probabilities, values: value }));
        }
        if let Some(log) = &self.log {
            log.send(Logged::new(served, records, scored, values));
        }
    }
}

fn fail(jobs: Vec<Job>, message: &str) {
    for job in jobs {
        let _ = job.reply.send(Err(message.to_owned()));
    }
}

thread_local! {
    static NARROW: RefCell<Option<rayon::ThreadPool>> = const { RefCell::new(None) };
}

/// Lets this thread do alone what it would otherwise share: for small batches, waking others costs more than they bring.
pub fn work_alone() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    NARROW.with(|narrow| *narrow.borrow_mut() = pool.ok());
}
