//! TOML → [`Spec`]: `extends`, `--set`, spans, defaults. No tensors.

mod types;

pub use types::*;

/// A funnel, from its data to its metrics: the decoded, validated spec.
#[derive(Debug, Clone)]
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
    /// Every key of the resolved spec with its value and where it came from (set by the loader).
    pub origins: Origins,
}

/// Stand-in until the loader lands.
#[derive(Debug, Clone, Default)]
pub struct Origins;

impl Spec {
    /// Where a key such as `stage.click.label` was written, if a file or `--set` states it.
    #[must_use]
    pub fn place(&self, _key: &str) -> Option<crate::diagnostic::Place> {
        None
    }
}
