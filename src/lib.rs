//! The command line of `esmm-funnel`, as a library: a crate with towers of its own links them and calls [`main`].
//!
//! ```no_run
//! use esmm_funnel_plugins as _; // and the crate with your towers
//! fn main() -> std::process::ExitCode {
//!     esmm_funnel::main()
//! }
//! ```

mod cli;
mod commands;
mod progress;
mod report;
mod serve;
mod ui;

use clap::Parser;
use esmm_funnel_core::data::Stopped;
use esmm_funnel_plugins as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Set by the first Ctrl-C; the second one ends the program at once.
static STOP: AtomicBool = AtomicBool::new(false);

/// A server runs, which takes signals itself.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Parses the command line, runs the command, and gives the exit code: 0 done, 1 a gate failed, 2 failure, 130 interrupted.
#[must_use]
pub fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let ui = ui::Ui::new(&cli.global);
    start_log(&cli.global);
    // Without a handler Ctrl-C just ends the program, which loses no checkpoint.
    let _ = ctrlc::set_handler(|| {
        if SERVES.load(Ordering::Relaxed) {
            return;
        }
        if STOP.swap(true, Ordering::Relaxed) {
            #[allow(clippy::exit)]
            std::process::exit(130);
        }
    });
    let result = catch_fault(|| commands::dispatch(cli, &ui));
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.downcast_ref::<Stopped>().is_some() => {
            ui.story(&ui::chain(&error));
            ui::Exit::Interrupted.into()
        }
        Err(error) => {
            ui.failure(&error);
            ExitCode::from(2)
        }
    }
}

/// Runs a command; a panic, which is a defect of the program and never of its input, becomes an error that says so.
fn catch_fault(command: impl FnOnce() -> anyhow::Result<ui::Exit>) -> anyhow::Result<ui::Exit> {
    std::panic::set_hook(Box::new(|info| tracing::debug!("{info}\n{}", std::backtrace::Backtrace::force_capture())));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(command)).unwrap_or_else(|fault| {
        let what = fault.downcast_ref::<String>().map(String::as_str).or_else(|| fault.downcast_ref::<&str>().copied());
        let what = what.unwrap_or("no message");
        anyhow::bail!("internal fault: {what}; this is a defect of esmm-funnel, please report it with the spec and what `-vv` prints")
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

fn start_log(global: &cli::Global) {
    let default = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "esmm_funnel=info,esmm_funnel_core=info,esmm_funnel_plugins=info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("ESMM_FUNNEL_LOG").unwrap_or_else(|_| default.into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().try_init();
}
