//! Every key of the spec with where its value came from.

use crate::report::facts::{Facts, Setting};
use crate::report::page::{folded, table};
use maud::{Markup, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let rows = |of: &dyn Fn(&Setting) -> bool| -> Vec<Vec<String>> {
        let shown = |s: &Setting| if s.value.is_empty() { "(not set)".to_owned() } else { s.value.clone() };
        facts.settings.iter().filter(|s| of(s)).map(|s| vec![s.key.clone(), shown(s), s.origin.clone()]).collect()
    };
    let header = ["key", "value", "from"];
    let defaults = rows(&|s| s.origin == "default");
    html! {
        (table(&header, &rows(&|s| s.origin != "default")))
        (folded(&format!("{} defaults", defaults.len()), &table(&header, &defaults)))
    }
}
