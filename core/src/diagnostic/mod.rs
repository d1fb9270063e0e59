//! Errors as data. A [`Diagnostic`] says what is wrong, where, and what to type next; how it looks (text with carets, or JSON) is decided
//! in [`render`]. Everything a user can get wrong arrives here, collected, so that all faults are shown at once.

pub mod render;
pub mod suggest;

use serde::Serialize;
use std::ops::Range;
use std::sync::Arc;

/// How bad a finding is. A warning fails a command only under `--deny-warnings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Note,
    /// Probably not what was meant.
    Warning,
    /// The command cannot go on.
    Error,
}

/// One text that spans point into: a spec file, or the text of a `--set` option.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Shown before the line number: a path as the user typed it, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A stretch of a [`SourceText`], in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<SourceText>,
    /// Byte range in it.
    pub span: Range<usize>,
}

impl Place {
    /// Line and column of the start, both counted from 1.
    #[must_use]
    pub fn line_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.source.text.floor_char_boundary(self.span.start)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        (line, column)
    }
}

/// A place with a few words under the carets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where.
    pub place: Place,
    /// What to say there; may be empty.
    pub text: String,
}

/// One finding: message, places, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name of the kind of finding, `kebab-case`, for JSON and tests.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Lower case, no final full stop, names in backticks.
    pub message: String,
    /// Where it is; the first is marked with carets, the others as context. Empty when no text is at fault.
    pub annotations: Vec<Annotation>,
    /// What is allowed, and what to type next.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// An error without a place.
    pub fn error(id: &'static str, message: impl Into<String>) -> Self {
        Self { id, severity: Severity::Error, message: message.into(), annotations: Vec::new(), help: Vec::new() }
    }
    /// A warning without a place.
    pub fn warning(id: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(id, message) }
    }
    /// Adds a place; the first one added gets the carets. `None` adds nothing.
    #[must_use]
    pub fn at(mut self, place: Option<Place>, text: impl Into<String>) -> Self {
        self.annotations.extend(place.map(|place| Annotation { place, text: text.into() }));
        self
    }
    /// Adds a line of help.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// Several findings, as one error value. `Display` is the plain text rendering.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// True if at least one is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }
}
impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Self {
        Self(vec![d])
    }
}
impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&render::text(&self.0, false))
    }
}
impl std::error::Error for Diagnostics {}
