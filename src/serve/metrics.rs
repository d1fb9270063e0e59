//! Counters of the server, as Prometheus reads them.

use super::batching::Load;
use axum::http::StatusCode;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SECONDS: [f64; 14] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0];
const ROWS: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0, 8192.0, 65536.0];

/// How often values fell below each bound.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    counts: [AtomicU64; N],
    over: AtomicU64,
    /// In millionths, so that it can be added to without a lock.
    sum: AtomicU64,
}
impl<const N: usize> Histogram<N> {
    const fn new(bounds: &'static [f64; N]) -> Self {
        Self { bounds, counts: [const { AtomicU64::new(0) }; N], over: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
    /// Counts a value.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn observe(&self, value: f64) {
        let at = self.bounds.partition_point(|b| *b < value);
        self.counts.get(at).unwrap_or(&self.over).fetch_add(1, Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Relaxed);
    }
    fn write(&self, name: &str, help: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            below += count.load(Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        below += self.over.load(Relaxed);
        let sum = self.sum.load(Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {below}\n{name}_sum {sum}\n{name}_count {below}");
    }
}

/// What happened so far.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    /// Requests to score that were answered with rows.
    pub answered: AtomicU64,
    /// Rows in those answers' requests.
    pub rows: AtomicU64,
    /// Cells of columns that the model does not know.
    pub unknown_columns: AtomicU64,
    /// From the head of a request to its answer.
    pub seconds: Histogram<14>,
    /// Rows scored together.
    pub batch_rows: Histogram<12>,
    /// By status and code, those that occurred.
    errors: Mutex<Vec<((u16, &'static str), u64)>>,
    /// Loaded, refused, failed.
    pub reloads: [AtomicU64; 3],
    /// Rows handed to the log, and dropped since its queue was full or a file could not be written.
    pub logged: [AtomicU64; 2],
    /// Connections there are.
    pub connections: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            answered: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            unknown_columns: AtomicU64::new(0),
            seconds: Histogram::new(&SECONDS),
            batch_rows: Histogram::new(&ROWS),
            errors: Mutex::default(),
            reloads: Default::default(),
            logged: Default::default(),
            connections: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// An answer with rows.
    pub fn answer(&self, rows: usize, took: Duration) {
        self.answered.fetch_add(1, Relaxed);
        self.rows.fetch_add(rows as u64, Relaxed);
        self.seconds.observe(took.as_secs_f64());
    }
    /// A refusal.
    pub fn error(&self, status: StatusCode, code: &'static str) {
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (status.as_u16(), code);
        match errors.iter_mut().find(|(k, _)| *k == key) {
            Some((_, n)) => *n += 1,
            None => errors.push((key, 1)),
        }
    }

    /// The text of `/metrics`.
    pub fn text(&self, load: Load, version: &str, run: &str) -> String {
        let mut out = String::with_capacity(4096);
        let mut one = |name: &str, kind: &str, help: &str, values: &[(&str, u64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        one("esmm_funnel_requests_total", "counter", "Requests to score that were answered.", &[("", get(&self.answered))]);
        one("esmm_funnel_rows_total", "counter", "Rows scored and answered.", &[("", get(&self.rows))]);
        one(
            "esmm_funnel_unknown_cells_total",
            "counter",
            "Cells of columns that the model does not know.",
            &[("", get(&self.unknown_columns))],
        );
        let reloads = ["{result=\"loaded\"}", "{result=\"refused\"}", "{result=\"failed\"}"];
        let reloads: Vec<_> = reloads.into_iter().zip(self.reloads.iter().map(get)).collect();
        one("esmm_funnel_reloads_total", "counter", "Models that took the place of another, or did not.", &reloads);
        one("esmm_funnel_logged_rows_total", "counter", "Rows handed to the log.", &[("", get(&self.logged[0]))]);
        one("esmm_funnel_log_dropped_rows_total", "counter", "Rows that the log lost.", &[("", get(&self.logged[1]))]);
        one("esmm_funnel_queue_requests", "gauge", "Requests that wait to be scored.", &[("", load.requests as u64)]);
        one("esmm_funnel_queue_rows", "gauge", "Rows that wait to be scored.", &[("", load.rows as u64)]);
        one("esmm_funnel_scoring_threads_busy", "gauge", "Threads that score.", &[("", load.busy as u64)]);
        one("esmm_funnel_connections", "gauge", "Open connections.", &[("", get(&self.connections))]);
        one("esmm_funnel_uptime_seconds", "gauge", "Since the start.", &[("", self.started.elapsed().as_secs())]);
        let model = format!("{{version=\"{version}\",run=\"{}\"}}", run.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
        one("esmm_funnel_model_info", "gauge", "The model that answers.", &[(&model, 1)]);
        let mut errors = self.errors.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        errors.sort_unstable();
        let errors: Vec<_> = errors.iter().map(|((status, code), n)| (format!("{{status=\"{status}\",code=\"{code}\"}}"), *n)).collect();
        let errors: Vec<_> = errors.iter().map(|(labels, n)| (labels.as_str(), *n)).collect();
        one("esmm_funnel_errors_total", "counter", "Requests that were refused.", &errors);
        self.seconds.write("esmm_funnel_request_seconds", "From the head of a request to its answer, of answered ones.", &mut out);
        self.batch_rows.write("esmm_funnel_batch_rows", "Rows scored together.", &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_at_most_their_bound() {
        let h = Histogram::new(&[1.0, 2.0]);
        for v in [0.5, 1.0, 1.5, 3.0] {
            h.observe(v);
        }
        let mut text = String::new();
        h.write("h", "help", &mut text);
        assert!(text.contains("h_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 3\nh_bucket{le=\"+Inf\"} 4\nh_sum 6\nh_count 4"), "{text}");
    }
}
