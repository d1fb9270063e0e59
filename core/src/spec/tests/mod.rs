//! Specs that load, specs that do not, and what they say.

mod bad;
mod fuzz;
pub mod good;
mod merging;
mod plugins;

use super::{Loaded, Spec, load_text};
use crate::diagnostic::{Diagnostics, render};
use crate::plugin::registry::{Kind, names};
use std::path::Path;

/// Two stages on a file.
const FUNNEL: &str = r#"[funnel]
chain = "impression -> click -> purchase"
[data]
source = { kind = "csv", files = ["log.csv"] }
"#;

fn loaded(text: &str, sets: &[&str]) -> Result<Loaded, Diagnostics> {
    let sets: Vec<String> = sets.iter().map(|&s| s.into()).collect();
    load_text("funnels/ctr_cvr.toml", text, Path::new("/base/funnels"), &sets)
}
#[track_caller]
fn good(text: &str) -> Spec {
    good_with(text, &[])
}
#[track_caller]
fn good_with(text: &str, sets: &[&str]) -> Spec {
    match loaded(text, sets) {
        Ok(loaded) => {
            assert_eq!(render::text(&loaded.warnings, false), "");
            loaded.spec
        }
        Err(e) => panic!("{e}"),
    }
}
#[track_caller]
fn bad(text: &str) -> String {
    bad_with(text, &[])
}
#[track_caller]
fn bad_with(text: &str, sets: &[&str]) -> String {
    match loaded(text, sets) {
        Ok(_) => panic!("this loads"),
        Err(e) => e.to_string(),
    }
}
/// The rendering contains all of these, in this order. `{towers}` and so on stand for the names in this build: other tests may register more.
#[track_caller]
fn says(rendered: &str, parts: &[&str]) {
    let mut rest = rendered;
    for part in parts {
        let part =
            Kind::ALL.into_iter().fold((*part).to_owned(), |part, kind| part.replace(&format!("{{{kind}s}}"), &names(kind).join(", ")));
        match rest.find(&part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => panic!("no {part:?} in order in:\n{rendered}"),
        }
    }
}
/// Number of findings.
fn count(rendered: &str) -> usize {
    rendered.lines().filter(|l| l.starts_with("error: ") || l.starts_with("warning: ")).count()
}
