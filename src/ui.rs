//! The only place that prints. stdout is the answer, stderr is the story.

use crate::cli::{Color, Format, Global};
use esmm_funnel_core::diagnostic::{Diagnostic, Diagnostics, Severity, render};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde_json::{Value, json};
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done,
    /// It ran, but a gate failed.
    GateFailed,
    /// Stopped on request; a checkpoint is written.
    Interrupted,
}
impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::GateFailed => 1,
            Exit::Interrupted => 130,
        })
    }
}

/// How to print.
#[derive(Debug, Clone)]
pub struct Ui {
    /// What stdout holds.
    pub format: Format,
    /// Nothing but the answer and errors.
    pub quiet: bool,
    /// Colours on stderr.
    pub color: bool,
    /// stderr is a terminal.
    pub live: bool,
    /// Bars, drawn below whatever else goes to stderr.
    pub bars: MultiProgress,
}

impl Ui {
    /// From the options and the environment (`NO_COLOR`).
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let color = |terminal: bool| match global.color {
            Color::Auto => terminal && !no_color,
            Color::Always => true,
            Color::Never => false,
        };
        let live = io::stderr().is_terminal();
        let bars = MultiProgress::with_draw_target(if live && !global.quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        Self { format: global.format, quiet: global.quiet, color: color(live), live, bars }
    }

    /// Writes the answer: `text` for people, or the JSON value.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn answer(&self, text: &str, value: &Value) -> io::Result<()> {
        match self.format {
            Format::Text => stdout(text),
            Format::Json => stdout(&format!("{value:#}")),
        }
    }
    /// Tells what is going on, on stderr, above any bar.
    pub fn story(&self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }
    fn stderr(&self, text: &str) {
        self.bars.suspend(|| {
            // Nothing can be done about a closed stderr.
            let _ = writeln!(io::stderr(), "{text}");
        });
    }
    /// Shows findings on stderr.
    pub fn findings(&self, findings: &[Diagnostic]) {
        let shown: Vec<Diagnostic> = findings.iter().filter(|d| !self.quiet || d.severity == Severity::Error).cloned().collect();
        if !shown.is_empty() {
            self.stderr(render::text(&shown, self.color).trim_end_matches('\n'));
        }
    }
    /// Shows an error: findings with their carets, anything else as its chain of causes. In JSON mode stdout holds it too.
    pub fn failure(&self, error: &anyhow::Error) {
        let findings = error.chain().find_map(|e| e.downcast_ref::<Diagnostics>());
        if let Some(Diagnostics(found)) = findings {
            self.findings(found);
            let errors = found.iter().filter(|d| d.severity == Severity::Error).count();
            if errors > 1 {
                self.stderr(&format!("error: {errors} errors"));
            }
        } else {
            let (bold, plain) = if self.color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            self.stderr(&format!("{bold}error{plain}: {}", chain(error)));
        }
        if self.format == Format::Json {
            let value = json!({ "error": chain(error), "diagnostics": findings.map(|f| render::json(&f.0)) });
            let _ = stdout(&format!("{value:#}"));
        }
    }
}

/// Writes text to stdout as it is, with one line end.
///
/// # Errors
/// stdout is closed.
pub fn stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// An error and its causes on one line, without saying anything twice.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = cause.trim_end();
        if !text.contains(cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(cause);
        }
    }
    text
}

/// A table with aligned columns: the first to the left, the others to the right.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|v| v.chars().count()).chain([header[c].chars().count()]).max().unwrap_or(0))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| -> String {
        let mut out = String::new();
        for (c, cell) in cells.enumerate() {
            let pad = " ".repeat(widths[c].saturating_sub(cell.chars().count()));
            out.push_str(&if c == 0 { format!("{cell}{pad}") } else { format!("  {pad}{cell}") });
        }
        format!("{}\n", out.trim_end())
    };
    let mut out = line(&mut header.iter().copied());
    for row in rows {
        out.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    out
}

/// `1234567` → `1,234,567`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}
/// `1 step`, `1,234 steps`.
#[must_use]
pub fn plural(n: u64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}
/// Bytes with a unit.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([count(7), count(1234), count(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([bytes(12), bytes(2048), bytes(5 << 30)], ["12 B", "2.0 KiB", "5.0 GiB"]);
        assert_eq!(table(&["a", "bb"], &[vec!["xyz".into(), "1".into()]]), "a    bb\nxyz   1\n");
    }
}
