//! TOML → [`Spec`]: `extends`, `--set`, spans, defaults. No tensors.
//!
//! Three steps, and each reports all that it finds. `read` follows `extends`, and merges texts into one table whose values still know
//! where they were written. `decode` turns the table into sections, asking plugins about their settings. `check` holds the sections
//! against each other: the graph, columns with two roles, ranges. What comes out can be written again as one file without `extends`, in
//! which every key says where it came from ([`Spec::resolved`]).

mod check;
mod decode;
pub mod explain;
pub mod manual;
mod origins;
mod read;
pub mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod types;

pub use origins::{Change, Origin, Origins, Setting, diff};
pub use types::*;

use crate::diagnostic::{Diagnostic, Diagnostics, Place, Severity};
use crate::plugin::registry::{self, Plugin};
use std::path::Path;

/// A funnel, from its data to its metrics: the decoded, validated spec.
///
/// Two specs are equal if all their keys are; where keys were written does not count.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// `[funnel]`.
    pub funnel: Funnel,
    /// Stages, parents before children.
    pub stages: Vec<Stage>,
    /// Outcomes.
    pub outcomes: Vec<Outcome>,
    /// How stages become one loss.
    pub objective: Component,
    /// How the embedded fields become what the towers see.
    pub encoder: Component,
    /// `[data]`.
    pub data: Data,
    /// `[split]`.
    pub split: Split,
    /// `[entity.NAME]` tables.
    pub entities: Vec<Entity>,
    /// `features` and `[feature.NAME]` tables.
    pub features: Features,
    /// `[embedding]`.
    pub embedding: Embedding,
    /// `[train]`.
    pub train: Train,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// Where every stated key was written (set by the loader).
    pub origins: Origins,
}

/// A spec, and what is worth knowing about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The spec.
    pub spec: Spec,
    /// Warnings and notes.
    pub warnings: Vec<Diagnostic>,
}

/// Loads a spec file, what it extends, and `key=value` options over it. Relative paths start at the folder of the file that states them, in
/// `sets` at the working directory.
///
/// # Errors
/// Everything that is wrong with the spec, each with its place.
pub fn load(path: &Path, sets: &[String]) -> Result<Loaded, Diagnostics> {
    let mut texts = read::Texts::default();
    texts.file(path, None);
    texts.sets(sets);
    finish(&texts, &read::stem(&path.to_string_lossy()))
}

/// Loads a spec from a text. `name` is what messages call it, and its stem the funnel's default name; relative paths start at `base_dir`.
///
/// # Errors
/// Everything that is wrong with the spec, each with its place.
pub fn load_text(name: &str, text: &str, base_dir: &Path, sets: &[String]) -> Result<Loaded, Diagnostics> {
    let mut texts = read::Texts::default();
    texts.text(name, text, base_dir);
    texts.sets(sets);
    finish(&texts, &read::stem(name))
}

fn finish(texts: &read::Texts, default_name: &str) -> Result<Loaded, Diagnostics> {
    let mut found = twice_registered(&registry::duplicates());
    found.extend(texts.found.iter().cloned());
    let unread = !texts.found.is_empty();
    let mut removed = read::Removed::new();
    let table = read::merged(&texts.sources, &mut removed, &mut found);
    if unread {
        // Half a spec would give errors about the other half.
        return Err(Diagnostics(found));
    }
    let mut cx = decode::Cx { sources: &texts.sources, removed: &removed, found, stated: std::collections::BTreeMap::new() };
    let draft = decode::draft(&mut cx, &table, default_name);
    check::check(&mut cx, &draft);
    let mut found = in_reading_order(cx.found, &texts.sources);
    if found.iter().any(|d| d.severity == Severity::Error) {
        return Err(Diagnostics(found));
    }
    let places = cx.stated.iter().filter_map(|(k, at)| Some((k.clone(), texts.sources.place(&at.value)?))).collect();
    if let Some(spec) = complete(draft, Origins::new(places)) {
        return Ok(Loaded { spec, warnings: found });
    }
    // Every part that is missing has been reported; this line is for a mistake in this module.
    found.push(Diagnostic::error("incomplete", "the spec is incomplete"));
    Err(Diagnostics(found))
}

/// Findings in the order of the texts they point into; those without a place first.
fn in_reading_order(mut found: Vec<Diagnostic>, sources: &sources::Sources) -> Vec<Diagnostic> {
    let at = |d: &Diagnostic| {
        let place: &Place = &d.annotations.first()?.place;
        let text = sources.iter().position(|(s, ..)| std::sync::Arc::ptr_eq(s, &place.source))?;
        Some((text, place.span.start))
    };
    found.sort_by_key(at);
    found
}

fn complete(draft: decode::Draft, origins: Origins) -> Option<Spec> {
    let order = check::topological(&draft);
    let mut drafts: Vec<Option<decode::StageDraft>> = draft.stages.into_iter().map(Some).collect();
    let mut stages = Vec::with_capacity(order.len());
    for i in order {
        let s = drafts[i].take()?;
        stages.push(Stage {
            name: s.name,
            after: s.after?,
            label: s.label,
            tower: s.tower?,
            features: s.features,
            weight: s.weight,
            loss_weight: s.loss_weight,
            init_bias: s.init_bias,
        });
    }
    Some(Spec {
        funnel: draft.funnel,
        stages,
        outcomes: draft.outcomes,
        objective: draft.objective?,
        encoder: draft.encoder?,
        data: draft.data?,
        split: draft.split?,
        entities: draft.entities,
        features: draft.features,
        embedding: draft.embedding?,
        train: draft.train?,
        metrics: draft.metrics?,
        origins,
    })
}

/// An error for each name that two plugins of one kind have.
fn twice_registered(pairs: &[(&Plugin, &Plugin)]) -> Vec<Diagnostic> {
    let place = |p: &Plugin| format!("{}:{} in crate `{}`", p.file, p.line, p.crate_name);
    pairs
        .iter()
        .map(|(a, b)| {
            Diagnostic::error("duplicate-plugin", format!("two plugins are registered as {} `{}`", a.kind(), a.name))
                .help(format!("one at {}", place(a)))
                .help(format!("one at {}", place(b)))
                .help("rename one of them")
        })
        .collect()
}

impl Spec {
    /// Where the value of a key such as `stage.click.label` was written, if a file or `--set` states it. Items of arrays are `key[0]`.
    #[must_use]
    pub fn place(&self, key: &str) -> Option<Place> {
        self.origins.place(key)
    }
    /// As [`Spec::place`], or the place of the closest table around the key that is stated.
    #[must_use]
    pub fn place_near(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.origins.place(key) {
                return Some(place);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}
