//! `serve`: a finished run behind HTTP.

use crate::serve::{self, Holding, Limits, LogOptions, Missing, Options};
use crate::ui::{Exit, Ui};
use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

/// See `esmm-funnel serve --help`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, a link to one, `@last`, or a folder of runs (its newest finished one).
    pub run: String,
    /// Where to listen; port 0 takes any that is free, and stdout says which.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    pub addr: String,
    /// Ask for the bearer token in this file [default: the variable `ESMM_FUNNEL_TOKEN`, if set].
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Look every so many seconds whether RUN is another run or has changed, and reload; SIGHUP reloads at once.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,
    /// Write every scored row into Parquet files in this folder; `replay` scores them again.
    #[arg(long, value_name = "DIR")]
    pub log: Option<PathBuf>,
    /// A file of the log is whole after so many rows.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub log_rows: usize,
    /// A file of the log is whole after so many seconds.
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub log_seconds: u64,
    /// Batches that may wait for the log; more are dropped and counted.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub log_queue: usize,
    /// What becomes of a column that rows do not have.
    #[arg(long, value_enum, default_value_t = Missing::Error)]
    pub missing: Missing,
    /// Threads [default: all cores].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Rows of waiting requests that are scored together.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub batch_rows: usize,
    /// Rows that may wait to be scored; beyond, 503.
    #[arg(long, default_value_t = 200_000, value_name = "N")]
    pub max_queue_rows: usize,
    /// Rows of a request; beyond, 413.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub max_rows: usize,
    /// Bytes of a request's body; beyond, 413.
    #[arg(long, default_value_t = 32 << 20, value_name = "N")]
    pub max_body_bytes: usize,
    /// Requests under way; beyond, 429.
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub max_requests: usize,
    /// Connections; further ones wait.
    #[arg(long, default_value_t = 1024, value_name = "N")]
    pub max_connections: usize,
    /// From a request's head to its answer; beyond, 503 (408 if its body has not arrived).
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    pub timeout_ms: u64,
    /// How long requests under way may take when the server ends.
    #[arg(long, default_value_t = 30, value_name = "N")]
    pub drain_seconds: u64,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let log = args.log.as_ref().map(|folder| LogOptions {
        folder: folder.clone(),
        queue: args.log_queue,
        file_rows: args.log_rows,
        file_age: Duration::from_secs(args.log_seconds),
    });
    let options = Options {
        run: args.run.clone(),
        addr: args.addr.clone(),
        token_file: args.token_file.clone(),
        limits: Limits {
            body_bytes: args.max_body_bytes,
            rows: args.max_rows,
            time: Duration::from_millis(args.timeout_ms),
            requests: args.max_requests,
        },
        holding: Holding {
            connections: args.max_connections,
            head: Duration::from_secs(30),
            drain: Duration::from_secs(args.drain_seconds),
        },
        batch_rows: args.batch_rows,
        queue_rows: args.max_queue_rows,
        threads: args.threads.unwrap_or_else(cores),
        missing: args.missing,
        watch: args.watch.map(Duration::from_secs),
        log,
    };
    serve::check(&options)?;
    serve::serve(&options, ui)?;
    Ok(Exit::Done)
}
