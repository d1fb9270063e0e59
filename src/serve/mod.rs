//! `serve`: a trained funnel behind HTTP.
//!
//! ```text
//! http      connections, graceful end
//! routes    endpoints, limits, tokens (`auth`), refusals (`error`)
//! rows      JSON → columns in one pass (`table`, `cells`), or `ipc` for Arrow streams
//! candidates  columns → encoded rows, what is in common once; the answer; `value` is the score expression
//! batching  what waits is scored together
//! model     what is served and what is said of it (`openapi`); `reload` puts another in its place
//! log       every scored row as Parquet; `replay` scores it again
//! ```

mod auth;
mod batching;
mod candidates;
mod cells;
mod error;
mod http;
mod ipc;
mod log;
mod metrics;
mod model;
mod openapi;
mod reload;
pub mod replay;
mod routes;
mod rows;
mod table;
mod value;

pub use candidates::Missing;
pub use http::Holding;
pub use log::LogOptions;
pub use reload::find;
pub use routes::Limits;

use crate::ui::Ui;
use anyhow::{Context, Result, bail};
use auth::Token;
use batching::{Batcher, work_alone};
use log::Log;
use metrics::Metrics;
use reload::Models;
use routes::{App, router};
use serde_json::json;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// What to serve: see [`find`].
    pub run: String,
    /// Where to listen.
    pub addr: String,
    /// Holds the token.
    pub token_file: Option<PathBuf>,
    /// What requests are held to.
    pub limits: Limits,
    /// How connections are held.
    pub holding: Holding,
    /// Rows that are scored together.
    pub batch_rows: usize,
    /// Rows that may wait.
    pub queue_rows: usize,
    /// Threads.
    pub threads: usize,
    /// What becomes of missing columns.
    pub missing: Missing,
    /// Look for another run this often.
    pub watch: Option<Duration>,
    /// Where to log.
    pub log: Option<LogOptions>,
}

/// Serves until a signal to stop. The address is the answer on stdout.
///
/// # Errors
/// A run that cannot be loaded, an address that cannot be had, a token or log folder that cannot be used.
pub fn serve(options: &Options, ui: &Ui) -> Result<()> {
    let (token, warning) = Token::load(options.token_file.as_deref())?;
    if let Some(warning) = warning {
        ui.story(&format!("warning: {warning}"));
    }
    let listener = listen(&options.addr)?;
    let local = listener.local_addr()?;
    if !is_loopback(&local) && !token.is_set() {
        let remedy = "give a token (`--token-file`), or listen on 127.0.0.1";
        ui.story(&format!("warning: {local} can be reached from other machines, and no token is asked for; {remedy}"));
    }
    let metrics = Arc::new(Metrics::default());
    let models = Arc::new(Models::open(&options.run, Arc::clone(&metrics), ui.clone())?);
    let log = match &options.log {
        Some(to) => {
            log::schema(&models.current())?;
            Some(Log::start(to.clone(), &metrics, ui.clone())?)
        }
        None => None,
    };
    let sender = log.as_ref().map(Log::sender);
    let batcher = Batcher::new(options.threads, options.batch_rows, options.queue_rows, Arc::clone(&metrics), sender)?;
    let app = Arc::new(App {
        models: Arc::clone(&models),
        batcher: Arc::new(batcher),
        limits: options.limits,
        token,
        metrics: Arc::clone(&metrics),
        missing: options.missing,
        permits: Semaphore::new(options.limits.requests),
        ready: AtomicBool::new(true),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .thread_name("serve")
        // Threads that take over from ones that compute stay: they are few, and soon needed again.
        .thread_keep_alive(Duration::from_hours(1))
        .on_thread_start(work_alone)
        .enable_all()
        .build()?;
    let served = models.current();
    let (funnel, version) = (served.online.scorer().spec.funnel.name.clone(), served.online.version().to_owned());
    drop(served);
    let done = runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let signals = Signals::new()?;
        ui.story(&format!("serving `{funnel}`, model {version}; Ctrl-C ends"));
        ui.answer(&format!("http://{local}"), &json!({ "url": format!("http://{local}"), "funnel": funnel, "model": version }))?;
        watch(options.watch, &models);
        let stop = signals.wait(Arc::clone(&models), Arc::clone(&app), ui.clone());
        Ok::<_, anyhow::Error>(http::serve(listener, router(Arc::clone(&app)), options.holding, metrics, stop).await)
    });
    // Whatever still runs has had its time.
    runtime.shutdown_timeout(Duration::from_millis(100));
    if let Some(log) = log {
        log.stop();
    }
    if done? {
        ui.story("all requests have ended");
    } else {
        ui.story("warning: some requests did not end in time and were broken off (`--drain-seconds`)");
    }
    Ok(())
}

fn listen(addr: &str) -> Result<TcpListener> {
    TcpListener::bind(addr).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("`--addr {addr}`: another program listens there; end it, or name another port (0 takes any that is free)")
        }
        std::io::ErrorKind::PermissionDenied => anyhow::anyhow!("`--addr {addr}`: not allowed ({error}); ports below 1024 need privileges"),
        _ => anyhow::anyhow!("`--addr {addr}`: {error}; expected an address and a port, such as 127.0.0.1:8080"),
    })
}

fn is_loopback(addr: &SocketAddr) -> bool {
    match addr.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

/// Looks for another run from time to time.
fn watch(every: Option<Duration>, models: &Arc<Models>) {
    let Some(every) = every else { return };
    let models = Arc::clone(models);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            let models = Arc::clone(&models);
            let _ = tokio::task::spawn_blocking(move || models.look()).await;
        }
    });
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}
#[cfg(unix)]
impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        // From here on the process itself no longer ends by them.
        crate::SERVES.store(true, Relaxed);
        let of = |kind| signal(kind).context("listening for signals");
        Ok(Self { interrupt: of(SignalKind::interrupt())?, terminate: of(SignalKind::terminate())?, hangup: of(SignalKind::hangup())? })
    }
    /// Ends with the first signal to stop. The second one ends the process.
    async fn wait(mut self, models: Arc<Models>, app: Arc<App>, ui: Ui) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => break,
                _ = self.terminate.recv() => break,
                _ = self.hangup.recv() => {
                    let models = Arc::clone(&models);
                    tokio::task::spawn_blocking(move || models.reload());
                }
            }
        }
        app.ready.store(false, Relaxed);
        ui.story("ending: requests under way are answered first");
        tokio::spawn(async move {
            tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
            #[allow(clippy::exit)]
            std::process::exit(130);
        });
    }
}
#[cfg(not(unix))]
struct Signals;
#[cfg(not(unix))]
impl Signals {
    fn new() -> Result<Self> {
        crate::SERVES.store(true, Relaxed);
        Ok(Self)
    }
    async fn wait(self, _: Arc<Models>, app: Arc<App>, ui: Ui) {
        let _ = tokio::signal::ctrl_c().await;
        app.ready.store(false, Relaxed);
        ui.story("ending: requests under way are answered first");
    }
}

/// Refuses settings that would refuse everything.
///
/// # Errors
/// A limit of 0.
pub fn check(options: &Options) -> Result<()> {
    let limits = [
        ("--max-rows", options.limits.rows),
        ("--max-body-bytes", options.limits.body_bytes),
        ("--max-requests", options.limits.requests),
        ("--max-connections", options.holding.connections),
        ("--batch-rows", options.batch_rows),
        ("--threads", options.threads),
    ];
    match limits.iter().find(|(_, n)| *n == 0) {
        Some((name, _)) => bail!("`{name} 0`: at least 1"),
        None => Ok(()),
    }
}
