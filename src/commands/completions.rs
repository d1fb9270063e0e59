//! `completions`: a completion script for a shell.

use crate::cli::{Cli, CompletionsArgs};
use crate::ui::{Exit, Ui};
use anyhow::Result;
use clap::CommandFactory;

pub fn run(args: &CompletionsArgs, ui: &Ui) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "esmm-funnel", &mut script);
    ui.stdout(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
