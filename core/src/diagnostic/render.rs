//! Text and JSON renderings of the same facts.

use super::{Annotation, Diagnostic, Place, Severity};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;

/// Text with carets, one finding after another with an empty line between, in the order given; a final newline if there is any.
#[must_use]
pub fn text(findings: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut blocks: Vec<String> = Vec::with_capacity(findings.len());
    for finding in findings {
        blocks.push(block(finding, &renderer).trim_end().to_owned() + "\n");
    }
    blocks.join("\n")
}

fn block(finding: &Diagnostic, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(finding.message.as_str());
    // One snippet per text, the one with the carets first.
    let mut texts: Vec<Vec<(usize, &Annotation)>> = Vec::new();
    for (i, annotation) in finding.annotations.iter().enumerate() {
        match texts.iter_mut().find(|t| t.first().is_some_and(|(_, a)| Arc::ptr_eq(&a.place.source, &annotation.place.source))) {
            Some(text) => text.push((i, annotation)),
            None => texts.push(vec![(i, annotation)]),
        }
    }
    let snippets = texts.into_iter().filter_map(|annotations| {
        let source = Arc::clone(&annotations.first()?.1.place.source);
        let mut snippet = Snippet::source(source.text.clone()).path(source.name.clone()).line_start(1);
        for (i, annotation) in annotations {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let mut mark = kind.span(clamp(&annotation.place));
            if !annotation.text.is_empty() {
                mark = mark.label(annotation.text.as_str());
            }
            snippet = snippet.annotation(mark);
        }
        Some(snippet)
    });
    let group = title.elements(snippets).elements(finding.help.iter().map(|h| Level::HELP.message(h.as_str())));
    let text = renderer.render(&[group]);
    if !finding.annotations.is_empty() {
        return text;
    }
    // Without a snippet, the bar above the help has nothing to hang on.
    let kept: Vec<String> = text
        .lines()
        .filter(|line| visible(line).trim() != "|")
        .map(|line| if visible(line).starts_with(" = ") { format!(" {line}") } else { line.to_owned() })
        .collect();
    kept.join("\n")
}

/// Without colour codes.
fn visible(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// The span, inside the text and on character boundaries.
fn clamp(place: &Place) -> Range<usize> {
    let text = &place.source.text;
    let start = text.floor_char_boundary(place.span.start);
    start..text.ceil_char_boundary(place.span.end.max(start)).min(text.len())
}

/// An array of `{id, severity, message, places: [{file, line, column, end_line, end_column, text}], help}`, in the order given.
#[must_use]
pub fn json(findings: &[Diagnostic]) -> serde_json::Value {
    findings
        .iter()
        .map(|d| {
            let places: Vec<_> = d
                .annotations
                .iter()
                .map(|a| {
                    let (line, column) = a.place.line_column();
                    let end = clamp(&a.place).end;
                    let (end_line, end_column) = Place { source: Arc::clone(&a.place.source), span: end..end }.line_column();
                    json!({"file": a.place.source.name, "line": line, "column": column,
                           "end_line": end_line, "end_column": end_column, "text": a.text})
                })
                .collect();
            json!({"id": d.id, "severity": d.severity, "message": d.message, "places": places, "help": d.help})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::SourceText;
    use super::*;

    fn source(name: &str, text: &str) -> Arc<SourceText> {
        Arc::new(SourceText { name: name.into(), text: text.into() })
    }
    fn at(source: &Arc<SourceText>, what: &str) -> Option<Place> {
        let start = source.text.find(what)?;
        Some(Place { source: Arc::clone(source), span: start..start + what.len() })
    }

    #[test]
    fn carets_context_in_another_file_and_help() {
        let a = source("ctr_cvr.toml", "# intent\ntower = { kind = \"mpl\", hidden = [256, 128] }\n");
        let b = source("base.toml", "kind = \"mlp\"\n");
        let d = Diagnostic::error("unknown-plugin", "unknown tower `mpl` in stage `click`")
            .at(at(&a, "\"mpl\""), "no plugin registered under this name")
            .at(at(&a, "hidden"), "")
            .at(at(&b, "\"mlp\""), "the base said this")
            .help("did you mean `mlp`?")
            .help("towers in this build: cross, mlp");
        let expected = "\
error: unknown tower `mpl` in stage `click`
 --> ctr_cvr.toml:2:18
  |
2 | tower = { kind = \"mpl\", hidden = [256, 128] }
  |                  ^^^^^  ------
  |                  |
  |                  no plugin registered under this name
  |
 ::: base.toml:1:8
  |
1 | kind = \"mlp\"
  |        ----- the base said this
  |
  = help: did you mean `mlp`?
  = help: towers in this build: cross, mlp
";
        assert_eq!(text(std::slice::from_ref(&d), false), expected);
        assert!(text(std::slice::from_ref(&d), true).contains("\u{1b}["));
        let j = json(&[d]);
        assert_eq!(
            j[0]["places"][0],
            json!({"file": "ctr_cvr.toml", "line": 2, "column": 18, "end_line": 2, "end_column": 23, "text": "no plugin registered under this name"})
        );
        assert_eq!((&j[0]["severity"], &j[0]["help"][0]), (&json!("error"), &json!("did you mean `mlp`?")));
    }

    #[test]
    fn findings_without_a_place_follow_one_another() {
        let found = [Diagnostic::error("a", "no such device").help("use `--device cpu`"), Diagnostic::warning("b", "slow disk")];
        assert_eq!(text(&found, false), "error: no such device\n  = help: use `--device cpu`\n\nwarning: slow disk\n");
        assert_eq!(visible(&text(&found, true)), text(&found, false));
        assert_eq!(text(&[], false), "");
    }

    #[test]
    fn spans_past_the_end_or_inside_a_character_are_safe() {
        let s = source("a.toml", "é = 1");
        let d = Diagnostic::error("x", "y").at(Some(Place { source: s, span: 1..99 }), "here");
        assert!(text(std::slice::from_ref(&d), false).contains("a.toml:1:1"));
        assert_eq!(json(&[d])[0]["places"][0]["end_column"], 6);
    }
}
