//! What there is to tell of a run: what its folder holds, and what its scored rows say.

use super::charts::MOST_POINTS;
use anyhow::{Context, Result};
use esmm_funnel_core::data::{Dataset, FieldFacts, Fields, Part};
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::graph::draw::Counts;
use esmm_funnel_core::metrics::curves::{self, Bin, Distributions};
use esmm_funnel_core::metrics::{Evaluation, Scores, SpaceColumns, Summary, Undefined, each_space};
use esmm_funnel_core::run::{Line, Manifest, RunFolder, names};
use esmm_funnel_core::score::importance::Importance;
use esmm_funnel_core::spec::Spec;
use serde_json::Value;

/// Rows in which fields are looked at.
const FIELD_ROWS: usize = 200_000;
/// Bins of a score distribution.
const SCORE_BINS: usize = 40;

/// The rows that a report is about.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// `test`, `valid`, or `data` for rows of other files.
    pub part: &'a str,
    /// The files, if they are others than the run's.
    pub files: &'a [String],
    /// The rows' place in `data`.
    pub of: Part,
    /// The rows with their logits.
    pub scores: &'a Scores,
    /// Their metrics.
    pub evaluation: &'a Evaluation,
    /// The data that they are of.
    pub data: &'a Dataset,
}

/// All that a report tells.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The run.
    pub folder: &'a RunFolder,
    /// `run.json`.
    pub manifest: Manifest,
    /// `metrics.jsonl`.
    pub journal: Vec<Line>,
    /// `lint.json`.
    pub lint: Vec<Value>,
    /// `resolved.toml`.
    pub settings: Vec<Setting>,
    /// `importance.json`, if there is one.
    pub importance: Option<Importance>,
    /// The spec.
    pub spec: &'a Spec,
    /// The funnel.
    pub graph: &'a Graph,
    /// The rows.
    pub scored: Scored<'a>,
    /// Each space of each stage and outcome.
    pub spaces: Vec<SpaceFacts>,
    /// Rows in and out of each stage.
    pub counts: Counts,
    /// Rows that the model expects to reach each target.
    pub predicted: Vec<f64>,
    /// What the rows hold of each field.
    pub fields: Vec<FieldFacts>,
    /// Tables of the model.
    pub shape: Fields,
}

/// A key of the resolved spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Dotted key.
    pub key: String,
    /// As TOML writes it; empty: not set.
    pub value: String,
    /// Where it is from.
    pub origin: String,
}

/// Curves of one space.
#[derive(Debug)]
pub struct SpaceFacts {
    /// Index into the graph's targets.
    pub target: usize,
    /// `conditional`, `full` or `entire`; of a stage right after the row the three are one, `full`.
    pub space: &'static str,
    /// The metrics.
    pub summary: Summary,
    /// ROC, thinned.
    pub roc: Result<Vec<(f64, f64)>, Undefined>,
    /// Precision over recall, thinned, and average precision.
    pub precision: Result<(Vec<(f64, f64)>, f64), Undefined>,
    /// Reliability bins.
    pub bins: Result<Vec<Bin>, Undefined>,
    /// Scores of positives and negatives.
    pub distributions: Result<Distributions, Undefined>,
}

impl<'a> Facts<'a> {
    /// Reads the folder and looks at the scored rows.
    ///
    /// # Errors
    /// A file of the folder is missing or damaged.
    pub fn gather(folder: &'a RunFolder, spec: &'a Spec, graph: &'a Graph, scored: Scored<'a>) -> Result<Self> {
        let manifest = Manifest::load(folder)?;
        let journal = journal(folder)?;
        let lint = serde_json::from_str(&read(folder, names::LINT)?).with_context(|| damaged(folder, names::LINT))?;
        let settings = settings(&read(folder, names::RESOLVED)?);
        let importance = load_importance(folder)?;
        let mut this = Self {
            folder,
            manifest,
            journal,
            lint,
            settings,
            importance,
            spec,
            graph,
            spaces: Vec::new(),
            counts: Counts { rows: scored.scores.len() as u64, space: vec![0; graph.len()], reached: vec![0; graph.len()] },
            predicted: vec![0.0; graph.targets.len()],
            fields: scored.data.field_facts(scored.of, FIELD_ROWS),
            shape: scored.data.fields().clone(),
            scored,
        };
        each_space(graph, scored.scores, &mut |columns| this.take(&columns));
        Ok(this)
    }

    fn take(&mut self, columns: &SpaceColumns) {
        let Some(target) = self.graph.targets.iter().position(|t| t.name == columns.target) else { return };
        let summaries = || self.scored.evaluation.summaries();
        let Some(summary) = summaries().find(|(name, space, _)| *name == columns.target && *space == columns.space).map(|s| s.2) else {
            return;
        };
        let stage = self.graph.nodes.get(target);
        // Every row is in the space of a stage right after the row: its tower alone over every row is the full space once more.
        if columns.space == "entire" && stage.is_some_and(|n| n.parent.is_none() && n.unless.is_none()) {
            return;
        }
        // Where there is no conditional space of its own, the full one is it.
        if columns.space == "conditional" || (columns.space == "full" && stage.is_none_or(|n| n.parent.is_none() && n.unless.is_none())) {
            self.predicted[target] = columns.log_p.iter().map(|l| l.exp()).sum();
            if stage.is_some() {
                (self.counts.space[target], self.counts.reached[target]) = (summary.rows, summary.positives);
            }
        }
        let all = &self.scored.scores.weights;
        let weights: Option<Vec<f32>> = (!all.is_empty()).then(|| match &columns.rows {
            None => all.clone(),
            Some(rows) => rows.iter().map(|r| all[*r as usize]).collect(),
        });
        let (log_p, labels, w) = (columns.log_p.as_slice(), columns.labels.as_slice(), weights.as_deref());
        let thin = |curve: &[(f64, f64)]| curves::thinned(curve, MOST_POINTS);
        self.spaces.push(SpaceFacts {
            target,
            space: columns.space,
            summary: summary.clone(),
            roc: curves::roc(log_p, labels, w).map(|c| thin(&c)),
            precision: curves::precision_recall(log_p, labels, w).map(|c| (thin(&c), curves::average_precision(&c))),
            bins: curves::reliability(log_p, labels, w, self.spec.metrics.ece_bins.get()),
            distributions: curves::distributions(log_p, labels, w, SCORE_BINS),
        });
    }

    /// Stages and outcomes with their spaces.
    pub fn targets(&self) -> impl Iterator<Item = (usize, &str, Vec<&SpaceFacts>)> {
        self.graph
            .targets
            .iter()
            .enumerate()
            .map(|(t, target)| (t, target.name.as_str(), self.spaces.iter().filter(move |s| s.target == t).collect::<Vec<_>>()))
    }

    /// In words: what `space` of a target is.
    pub fn space_name(&self, target: usize, space: &str) -> String {
        let row = &self.graph.row;
        match space {
            "conditional" => format!("given {}", self.graph.given(target).replace("_unless_", " unless ")),
            "entire" => format!("tower alone, every {row}"),
            _ => format!("every {row}"),
        }
    }
}

fn damaged(folder: &RunFolder, name: &str) -> String {
    format!("`{}` is damaged; no report can be made of this run", folder.file(name).display())
}
fn read(folder: &RunFolder, name: &str) -> Result<String> {
    let path = folder.file(name);
    std::fs::read_to_string(&path).with_context(|| format!("reading `{}`, which a report needs", path.display()))
}

fn journal(folder: &RunFolder) -> Result<Vec<Line>> {
    let text = read(folder, names::JOURNAL)?;
    let line = |(i, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("line {}: {}", i + 1, damaged(folder, names::JOURNAL)))
    };
    text.lines().enumerate().map(line).collect()
}

/// `importance.json`, if there is one.
fn load_importance(folder: &RunFolder) -> Result<Option<Importance>> {
    let path = folder.file(names::IMPORTANCE);
    if !path.exists() {
        return Ok(None);
    }
    let text = read(folder, names::IMPORTANCE)?;
    let found = serde_json::from_str(&text);
    Ok(Some(found.with_context(|| format!("`{}` is damaged; remove it, or run `esmm-funnel importance` again", path.display()))?))
}

/// Keys, values and origins, as `resolved.toml` writes them: one a line, the origin behind the last `  # `.
fn settings(resolved: &str) -> Vec<Setting> {
    let (mut table, mut all) = (String::new(), Vec::new());
    for line in resolved.lines() {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            header.clone_into(&mut table);
        }
        let Some((setting, origin)) = line.rsplit_once("  # ") else { continue };
        let (name, value) = match setting.strip_prefix("# ").and_then(|s| s.strip_suffix(" is not set")) {
            Some(name) => (name, ""),
            None => setting.split_once(" = ").unwrap_or((setting, "")),
        };
        let key = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        all.push(Setting { key, value: value.to_owned(), origin: origin.to_owned() });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_back_from_the_resolved_spec() {
        let text =
            "# Every key\n\nfeatures = \"infer\"  # a.toml:1\n\n[data]\nkeys = [\"a  # b\"]  # --set\n# weight is not set  # default\n";
        let found: Vec<[String; 3]> = settings(text).into_iter().map(|s| [s.key, s.value, s.origin]).collect();
        let expected = [["features", "\"infer\"", "a.toml:1"], ["data.keys", "[\"a  # b\"]", "--set"], ["data.weight", "", "default"]];
        assert_eq!(found, expected.map(|row| row.map(String::from)));
    }
}
