//! Where texts are kept. Each text owns a stretch of one number line, so that a value keeps its place through any merging: a span of the
//! merged spec says which text it is from, and where in it.

use crate::diagnostic::{Place, SourceText};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A span on the number line of [`Sources`].
pub type Span = Range<usize>;

#[derive(Debug)]
struct Stretch {
    start: usize,
    source: Arc<SourceText>,
    dir: PathBuf,
    is_set: bool,
}

/// All texts of a spec: bases first, then the files that extend them, then `--set` texts.
#[derive(Debug, Default)]
pub struct Sources(Vec<Stretch>);

impl Sources {
    /// Adds a text whose relative paths start at `dir`.
    pub fn add(&mut self, source: Arc<SourceText>, dir: PathBuf, is_set: bool) {
        let start = self.0.last().map_or(0, |s| s.start + s.source.text.len() + 1);
        self.0.push(Stretch { start, source, dir, is_set });
    }
    /// The texts, each with where its stretch starts, and whether it is a `--set` option.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<SourceText>, usize, bool)> {
        self.0.iter().map(|s| (&s.source, s.start, s.is_set))
    }
    fn of(&self, span: &Span) -> Option<&Stretch> {
        self.0.iter().rev().find(|s| s.start <= span.start)
    }
    /// Whether this is in a `--set` option.
    pub fn is_set(&self, span: &Span) -> bool {
        self.of(span).is_some_and(|s| s.is_set)
    }
    /// The text and the span in it.
    pub fn place(&self, span: &Span) -> Option<Place> {
        let s = self.of(span)?;
        Some(Place { source: Arc::clone(&s.source), span: span.start - s.start..span.end.max(span.start) - s.start })
    }
    /// A path written at `span`, relative paths starting where its text is.
    pub fn resolve(&self, span: &Span, path: &str) -> String {
        self.of(span).map_or_else(|| path.to_owned(), |s| resolve(&s.dir, path))
    }
}

/// `path` as seen from `dir`, without `.` and inner `..`. Purely by its letters: nothing needs to exist, and globs pass through.
pub fn resolve(dir: &Path, path: &str) -> String {
    if path.contains("://") { path.to_owned() } else { normalise(&dir.join(path)).to_string_lossy().into_owned() }
}

/// Without `.` and inner `..`, by its letters.
pub fn normalise(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match (part, out.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                out.pop();
            }
            (part, _) => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_by_their_letters() {
        for (dir, path, expected) in [
            ("", "a/../b", "b"),
            ("funnels", "../configs/base.toml", "configs/base.toml"),
            ("", "../x", "../x"),
            ("..", "../x", "../../x"),
            ("/a", "../../x", "/x"),
            ("/a", "./logs/*.csv.gz", "/a/logs/*.csv.gz"),
            ("a", "/b", "/b"),
            ("a", "..", "."),
            ("a", "s3://bucket/../x", "s3://bucket/../x"),
        ] {
            assert_eq!(resolve(Path::new(dir), path), expected, "{dir} {path}");
        }
    }

    #[test]
    fn spans_find_their_text() {
        let mut sources = Sources::default();
        for (name, text) in [("a", "xyz"), ("b", ""), ("c", "pq")] {
            sources.add(Arc::new(SourceText { name: name.into(), text: text.into() }), PathBuf::from(name), false);
        }
        let name = |at: usize| sources.place(&(at..at + 1)).map(|p| (p.source.name.clone(), p.span));
        assert_eq!(name(0), Some(("a".into(), 0..1)));
        assert_eq!(name(3), Some(("a".into(), 3..4)), "the end of a text belongs to it");
        assert_eq!(name(5), Some(("c".into(), 0..1)));
        assert_eq!(sources.resolve(&(6..7), "f"), "c/f");
    }
}
