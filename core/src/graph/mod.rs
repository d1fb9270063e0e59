//! Stages, paths, labels, and composition in log space.
//!
//! A stage's *path* is the list of signed decisions that lead to it: its parent's path, for a complement branch the sibling *not* reached,
//! then the stage itself. Everything else follows from paths: the equation, the row space, log P and log(1 − P) as sums over *disjoint*
//! leaf events ([`Event`]), never as the complement of a rounded number.

pub mod compose;
pub mod draw;
pub mod words;

use crate::calibration::Correction;
pub use crate::spec::Composition;
use crate::spec::{After, Spec};

/// One decision on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Index of the stage.
    pub stage: usize,
    /// Reached, or not.
    pub reached: bool,
}

/// A conjunction of decisions; disjoint events sum.
pub type Event = Vec<Step>;

/// A stage of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its label column.
    pub label: String,
    /// Parent stage; `None` for the row.
    pub parent: Option<usize>,
    /// Sibling that must not have been reached. It has no `unless` itself: "not reached" would be more than one event.
    pub unless: Option<usize>,
}

/// What has a full-space probability: each stage, then each outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name of the stage or outcome.
    pub name: String,
    /// The stages whose paths it sums over: itself, or an outcome's `any_of`.
    pub stages: Vec<usize>,
    /// Disjoint events in which it is reached.
    pub yes: Vec<Event>,
    /// Disjoint events in which it is not.
    pub no: Vec<Event>,
}

/// What labels say of N rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFlags {
    /// Per stage `[N]`: whether the row is in its conditional space (parent reached, `unless` not).
    pub in_space: Vec<Vec<bool>>,
    /// Per target `[N]`: 1 where it was reached.
    pub reached: Vec<Vec<u8>>,
}

/// The stages of a funnel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// What a row is.
    pub row: String,
    /// Stages, parents (and `unless` siblings) before children.
    pub nodes: Vec<Node>,
    /// Stages, then outcomes.
    pub targets: Vec<Target>,
    /// What a stage's logit stands for.
    pub composition: Composition,
    /// Per stage: whether another one has the same label column.
    shared: Vec<bool>,
    /// One a stage; empty: logits count as the towers give them.
    corrections: Vec<Option<Correction>>,
}

impl Graph {
    /// Of a validated spec (its loader has refused cycles, unknown parents and overlapping outcomes).
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let at = |name: &str| spec.stages.iter().position(|s| s.name == name);
        let nodes = spec
            .stages
            .iter()
            .map(|s| {
                let (parent, unless) = match &s.after {
                    After::Stage(p) => (at(p), None),
                    After::Complement { stage, unless } => (at(stage), at(unless)),
                };
                Node { name: s.name.clone(), label: s.label.clone(), parent, unless }
            })
            .collect();
        let outcomes = spec.outcomes.iter().map(|o| (o.name.clone(), o.any_of.iter().filter_map(|s| at(s)).collect())).collect();
        Self::new(spec.funnel.row.clone(), nodes, outcomes).composed_by(spec.funnel.composition)
    }

    /// The same stages and outcomes, composed in another way.
    #[must_use]
    pub fn composed_by(&self, composition: Composition) -> Self {
        let outcomes = self.targets[self.len()..].iter().map(|t| (t.name.clone(), t.stages.clone())).collect();
        let mut graph = Self::new(self.row.clone(), self.nodes.clone(), outcomes);
        if composition == Composition::Quotient {
            for (stage, target) in graph.targets[..self.nodes.len()].iter_mut().enumerate() {
                (target.yes, target.no) = (vec![vec![Step { stage, reached: true }]], vec![vec![Step { stage, reached: false }]]);
            }
            graph.composition = composition;
        }
        graph
    }

    /// The same funnel, composed from corrected logits: what a calibrated run scores with. `corrections` has an entry a stage, or none at all.
    #[must_use]
    pub fn calibrated_by(mut self, corrections: Vec<Option<Correction>>) -> Self {
        self.corrections = corrections;
        self
    }
    /// The correction of a stage's logit.
    #[must_use]
    pub fn correction(&self, stage: usize) -> Option<&Correction> {
        self.corrections.get(stage)?.as_ref()
    }
    /// Whether any stage's logit is corrected.
    #[must_use]
    pub fn is_calibrated(&self) -> bool {
        self.corrections.iter().any(Option::is_some)
    }

    /// Of nodes in topological order, and outcomes as name and stages; composed by product.
    #[must_use]
    pub fn new(row: String, nodes: Vec<Node>, outcomes: Vec<(String, Vec<usize>)>) -> Self {
        let singles = nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), vec![i])).collect::<Vec<_>>();
        let shared = nodes.iter().map(|n| nodes.iter().filter(|m| m.label == n.label).count() > 1).collect();
        let mut graph = Self { row, nodes, targets: Vec::new(), composition: Composition::Product, shared, corrections: Vec::new() };
        graph.targets = singles
            .into_iter()
            .chain(outcomes)
            .map(|(name, stages)| {
                let paths: Vec<Event> = stages.iter().map(|&s| graph.path(s)).collect();
                let (mut yes, mut no) = (Vec::new(), Vec::new());
                leaves(&paths, &mut Vec::new(), &mut yes, &mut no);
                Target { name, stages, yes, no }
            })
            .collect();
        graph
    }

    /// Number of stages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
    /// True without stages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The rate that each stage's tower predicts on average, from the stages' conditional rates.
    #[must_use]
    pub fn tower_rates(&self, conditional: &[f64]) -> Vec<f64> {
        let full = |stage: usize| self.path(stage).iter().map(|s| conditional[s.stage]).product();
        match self.composition {
            Composition::Product => conditional.to_vec(),
            Composition::Quotient => (0..self.len()).map(full).collect(),
        }
    }

    /// The decisions that lead to a stage, the stage's own included.
    #[must_use]
    pub fn path(&self, stage: usize) -> Event {
        let node = &self.nodes[stage];
        let mut path = node.parent.map_or_else(Vec::new, |p| self.path(p));
        path.extend(node.unless.map(|stage| Step { stage, reached: false }));
        path.push(Step { stage, reached: true });
        path
    }

    /// Whether each stage was reached, from the label columns (0/1, one a stage): label 1, parent reached, `unless` not.
    pub fn reached(&self, labels: &[u8], out: &mut [u8]) {
        for i in 0..self.len() {
            out[i] = u8::from(labels[i] != 0 && self.in_space(i, out));
        }
    }
    /// Reads labels, one column a stage, after the orphan policy, as training and metrics do. A label counts as it stands (so that
    /// `orphan_labels = "keep"` trains on it), unless several stages share its column: then it is the label of the one whose space the row
    /// is in.
    #[must_use]
    pub fn flags(&self, labels: &[Vec<u8>]) -> LabelFlags {
        let rows = labels.first().map_or(0, Vec::len);
        let mut flags = LabelFlags { in_space: vec![vec![false; rows]; self.len()], reached: vec![vec![0; rows]; self.targets.len()] };
        let mut own = vec![0; self.len()];
        for row in 0..rows {
            for stage in 0..self.len() {
                let inside = self.in_space(stage, &own);
                flags.in_space[stage][row] = inside;
                own[stage] = if inside || !self.shared[stage] { labels[stage][row] } else { 0 };
            }
            for (target, reached) in self.targets.iter().zip(&mut flags.reached) {
                reached[row] = u8::from(target.stages.iter().any(|s| own[*s] != 0));
            }
        }
        flags
    }
    /// Whether a row is in the stage's conditional space: parent reached, `unless` not. `reached` holds the flags of the stages before it.
    #[must_use]
    pub fn in_space(&self, stage: usize, reached: &[u8]) -> bool {
        let node = &self.nodes[stage];
        node.parent.is_none_or(|p| reached[p] != 0) && node.unless.is_none_or(|u| reached[u] == 0)
    }

    /// Name of the conditional probability's condition: `click`, `click_unless_cart`, or the row's name.
    #[must_use]
    pub fn given(&self, stage: usize) -> String {
        let node = &self.nodes[stage];
        let parent = node.parent.map_or(self.row.as_str(), |p| &self.nodes[p].name);
        node.unless.map_or_else(|| parent.to_owned(), |u| format!("{parent}_unless_{}", self.nodes[u].name))
    }
}

/// Splits the space into disjoint leaf events, those inside the union of `paths` and those outside, deciding stages in path order.
fn leaves(paths: &[Event], decided: &mut Event, yes: &mut Vec<Event>, no: &mut Vec<Event>) {
    if paths.iter().any(Vec::is_empty) {
        yes.push(decided.clone());
        return;
    }
    let Some(stage) = paths.first().map(|p| p[0].stage) else {
        no.push(decided.clone());
        return;
    };
    for reached in [true, false] {
        let rest: Vec<Event> = paths
            .iter()
            .filter(|p| p.iter().all(|s| s.stage != stage || s.reached == reached))
            .map(|p| p.iter().copied().filter(|s| s.stage != stage).collect())
            .collect();
        decided.push(Step { stage, reached });
        leaves(&rest, decided, yes, no);
        decided.pop();
    }
}
