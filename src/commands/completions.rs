//! `completions`: a completion script for a shell.

use crate::cli::{Cli, CompletionsArgs};
use crate::ui::{Exit, stdout};
use anyhow::Result;
use clap::CommandFactory;

pub fn run(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "esmm-funnel", &mut script);
    stdout(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
