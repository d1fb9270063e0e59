//! `man`: manual pages of all commands, from the same words as `--help`.

use crate::cli::Cli;
use crate::ui::{Exit, Ui, plural, stdout};
use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use clap_mangen::Man;
use serde_json::json;
use std::fs;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the page of every command into this folder, which is made if need be [default: the main page, to stdout].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

pub fn run(args: &Args, ui: &Ui) -> Result<Exit> {
    let mut program = Cli::command();
    // Fills in what subcommands inherit.
    program.build();
    let Some(dir) = &args.out else {
        stdout(&page(program)?)?;
        return Ok(Exit::Done);
    };
    if dir.is_file() {
        bail!("`{}` is a file; `--out` names a folder for the pages", dir.display());
    }
    fs::create_dir_all(dir).with_context(|| format!("making the folder `{}`", dir.display()))?;
    let mut written = Vec::new();
    pages(program, &mut |name, text| {
        let path = dir.join(format!("{name}.1"));
        fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
        written.push(path);
        Ok(())
    })?;
    let first = dir.join("esmm-funnel.1");
    let text = format!("wrote {} into {}; read with `man -l {}`", plural(written.len() as u64, "page"), dir.display(), first.display());
    ui.answer(&text, &json!({ "pages": written }))?;
    Ok(Exit::Done)
}

/// A command's page, then those of its subcommands.
fn pages(command: clap::Command, write: &mut dyn FnMut(&str, &str) -> Result<()>) -> Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let below: Vec<clap::Command> = command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set()).cloned().collect();
    write(&name, &page(command)?)?;
    below.into_iter().try_for_each(|command| pages(command, write))
}

fn page(command: clap::Command) -> Result<String> {
    let mut text = Vec::new();
    Man::new(command).manual("esmm-funnel").render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
