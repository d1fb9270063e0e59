//! Damaged specs: whatever a text holds, loading ends in a spec or in findings with places inside their texts.

use super::good::{ESM2, FULL};
use super::{FUNNEL, loaded};
use crate::diagnostic::render;
use proptest::prelude::*;

/// Replaces a stretch of lines or characters by something else.
fn damage(text: &str, from: usize, len: usize, with: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let from = from % (chars.len() + 1);
    let to = (from + len).min(chars.len());
    chars[..from].iter().chain(&with.chars().collect::<Vec<_>>()).chain(&chars[to..]).collect()
}

#[track_caller]
fn sane(text: &str, sets: &[&str]) {
    match loaded(text, sets) {
        Ok(fine) => {
            let again = super::load_text("again.toml", &fine.spec.resolved(), std::path::Path::new("/"), &[]);
            match again {
                Ok(again) => assert_eq!(again.spec, fine.spec, "{text}"),
                Err(e) => panic!("{e}\n{}", fine.spec.resolved()),
            }
        }
        Err(e) => {
            assert!(e.has_errors(), "{text}");
            for place in e.0.iter().flat_map(|d| &d.annotations).map(|a| &a.place) {
                assert!(place.span.start <= place.span.end && place.span.end <= place.source.text.len(), "{place:?}");
            }
            let _ = (render::text(&e.0, true), render::json(&e.0));
            assert!(!e.to_string().contains("the spec is incomplete"), "{text}");
        }
    }
}

const PIECES: [&str; 24] = [
    "",
    " ",
    "\n",
    "=",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "1",
    "é",
    "x = 1\n",
    "[x]\n",
    "kind = \"mlp\"\n",
    "false",
    "3",
    "\"click\"",
    "[]",
    "{}",
    "nan",
    "2024-01-01",
    "[stage]\nclick = false\n",
    "[[stage]]\n",
    "-> click ->",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn characters(which in 0usize..3, from in 0usize..2000, len in 0usize..12, with in prop::sample::select(&PIECES[..])) {
        sane(&damage([FULL, ESM2, FUNNEL][which], from, len, with), &[]);
    }
    #[test]
    fn values(which in 0usize..3, line in 0usize..70, with in prop::sample::select(&PIECES[..])) {
        let text = [FULL, ESM2, FUNNEL][which];
        let lines: Vec<String> = text.lines().enumerate().map(|(i, l)| match l.split_once('=') {
            Some((key, _)) if i == line % text.lines().count() => format!("{key}= {with}"),
            _ => l.to_owned(),
        }).collect();
        sane(&lines.join("\n"), &[]);
    }
    #[test]
    fn lines_left_out(which in 0usize..3, line in 0usize..70, count in 1usize..4) {
        let text = [FULL, ESM2, FUNNEL][which];
        let at = line % text.lines().count();
        let kept: Vec<&str> = text.lines().enumerate().filter(|(i, _)| !(at..at + count).contains(i)).map(|(_, l)| l).collect();
        sane(&kept.join("\n"), &[]);
    }
    #[test]
    fn options(which in 0usize..3, key in prop::sample::select(vec!["stage.click", "stage.click.tower", "stage", "feature.user", "train.optimizer", "split", "data.source",
        "features", "funnel.chain", "outcome.purchase", "defaults.tower", "entity.user.key", "extends", "", "a..b", "objective", "train.monitor"]),
        with in prop::sample::select(&PIECES[..])) {
        sane([FULL, ESM2, FUNNEL][which], &[&format!("{key}={with}")]);
    }
}
