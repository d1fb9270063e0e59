//! Text and JSON renderings of the same facts.

use super::Diagnostic;

/// Text with carets, one finding after another.
#[must_use]
pub fn text(_findings: &[Diagnostic], _color: bool) -> String {
    String::new()
}
