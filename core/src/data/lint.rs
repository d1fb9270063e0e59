//! Looks at the rows before training: labels per part, orphans, stages of one class, columns that explain a label.

use super::faults::PLACES;
use super::leakage::{SUSPECT_AUC, explained_auc, explained_auc_of_bags, range_codes};
use super::orphan::Labels;
use super::split::{NO_PART, Part};
use super::store::{Store, StoredEntities};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::spec::{OrphanLabels, Spec, Split};
use serde::Serialize;

/// Training rows in which columns are tried as explanations of a label.
const LEAKAGE_ROWS: usize = 200_000;

/// Rows and labels of one part, after the orphan policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PartCounts {
    /// Rows.
    pub rows: u64,
    /// Per stage: rows whose label is 1.
    pub labels: Vec<u64>,
    /// Per stage: rows of its conditional space (parent reached, `unless` not).
    pub space_rows: Vec<u64>,
    /// Per stage: rows of its conditional space whose label is 1.
    pub space_positives: Vec<u64>,
    /// Per kind of entity: how many the rows touch.
    pub entities: Vec<u64>,
}
impl PartCounts {
    /// A stage's conditional rate; `None` without rows.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn rate(&self, stage: usize) -> Option<f64> {
        (self.space_rows[stage] > 0).then(|| self.space_positives[stage] as f64 / self.space_rows[stage] as f64)
    }
}

/// The orphans of one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrphanCount {
    /// The (first) stage with this label.
    pub stage: String,
    /// The label column.
    pub label: String,
    /// Rows.
    pub rows: u64,
    /// Where the first ones stand.
    pub first: Vec<String>,
}

/// A column that alone explains a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leak {
    /// The column.
    pub column: String,
    /// The stage.
    pub stage: String,
    /// AUC of the stage's rate per value of the column, on training rows of the stage's conditional space.
    pub auc: f64,
}

/// What the lint found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LintReport {
    /// Findings; with an error among them, training must not start: see [`LintReport::check`].
    #[serde(skip)]
    pub diagnostics: Vec<Diagnostic>,
    /// Train, valid, test.
    pub parts: [PartCounts; 3],
    /// Rows that the split left out.
    pub left_out: u64,
    /// Rows dropped for an orphan label.
    pub dropped: u64,
    /// Per label with orphans.
    pub orphans: Vec<OrphanCount>,
    /// Columns that alone explain a label.
    pub leakage: Vec<Leak>,
    /// Entities of each kind over all rows.
    pub entities: Vec<StoredEntities>,
}
impl LintReport {
    /// The errors among the findings.
    ///
    /// # Errors
    /// There is one.
    pub fn check(&self) -> Result<(), Diagnostics> {
        let errors: Vec<Diagnostic> = self.diagnostics.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
        if errors.is_empty() { Ok(()) } else { Err(Diagnostics(errors)) }
    }
}

/// Counts labels and orphans in one pass; rows that the policy drops leave their part.
pub(crate) fn count(store: &Store, labels: &Labels, parts: &mut [u8], report: &mut LintReport) {
    let graph = labels.graph();
    let stages = graph.len();
    let kinds = store.groups.len() - 1;
    let mut touched: Vec<Vec<u8>> = store.groups[1..].iter().map(|g| vec![0; g.size]).collect();
    for counts in &mut report.parts {
        let zeros = || vec![0; stages];
        *counts = PartCounts { rows: 0, labels: zeros(), space_rows: zeros(), space_positives: zeros(), entities: vec![0; kinds] };
    }
    let mut orphans: Vec<(u64, Vec<String>)> = vec![(0, Vec::new()); stages];
    let (mut row_labels, mut reached) = (vec![0; stages], vec![0; stages]);
    for (row, part) in parts.iter_mut().enumerate() {
        if *part == NO_PART {
            report.left_out += 1;
            continue;
        }
        row_labels.copy_from_slice(store.labels(row));
        graph.reached(&row_labels, &mut reached);
        let mut broken = false;
        if row_labels != reached {
            for stage in (0..stages).filter(|&s| labels.is_first(s) && labels.is_orphan(s, &row_labels, &reached)) {
                let (rows, first) = &mut orphans[stage];
                *rows += 1;
                if first.len() < PLACES {
                    first.push(store.place(row));
                }
                broken = true;
            }
        }
        if broken && labels.policy() == OrphanLabels::DropRow {
            *part = NO_PART;
            report.dropped += 1;
            continue;
        }
        labels.apply(&mut row_labels, &mut reached);
        let counts = &mut report.parts[*part as usize];
        counts.rows += 1;
        for (stage, &label) in row_labels.iter().enumerate() {
            let label = u64::from(label);
            counts.labels[stage] += label;
            if graph.in_space(stage, &reached) {
                counts.space_rows[stage] += 1;
                counts.space_positives[stage] += label;
            }
        }
        for (kind, &entity) in store.entities(row).iter().enumerate() {
            let seen = &mut touched[kind][entity as usize];
            counts.entities[kind] += u64::from(*seen & (1 << *part) == 0);
            *seen |= 1 << *part;
        }
    }
    let of = |((rows, first), node): ((u64, Vec<String>), &crate::graph::Node)| OrphanCount {
        stage: node.name.clone(),
        label: node.label.clone(),
        rows,
        first,
    };
    report.orphans = orphans.into_iter().zip(&graph.nodes).filter(|((rows, _), _)| *rows > 0).map(of).collect();
    report.entities.clone_from(&store.meta().entities);
}

/// Tells which broken rows are not in the store.
pub(crate) fn left_out(store: &Store, report: &mut LintReport) {
    report.diagnostics.extend(store.meta().left_out.iter().map(|message| Diagnostic::warning("left-out-rows", message.clone())));
}

/// Turns the counts into findings.
pub(crate) fn judge(spec: &Spec, labels: &Labels, report: &mut LintReport) {
    empty_parts(spec, report);
    for orphan in &report.orphans {
        let given = labels.graph().nodes.iter().position(|n| n.name == orphan.stage).map(|s| labels.graph().given(s)).unwrap_or_default();
        let rows = if orphan.rows == 1 { "1 row has".to_owned() } else { format!("{} rows have", orphan.rows) };
        let message = format!("{rows} label `{}` = 1 though `{given}` was not reached; first: {}", orphan.label, orphan.first.join(", "));
        let finding = match labels.policy() {
            OrphanLabels::Error => {
                Diagnostic::error("orphan-labels", message).help("say what such a 1 means:\n[data]\norphan_labels = \"clear_child\"").help(
                    "clear_child reads it as 0, set_parent reads the parents as 1, drop_row leaves the row out, keep trains on it as it is",
                )
            }
            OrphanLabels::Keep => Diagnostic::warning("orphan-labels", format!("{message}; kept as they stand")),
            policy => {
                let done = match policy {
                    OrphanLabels::DropRow => "left out",
                    OrphanLabels::ClearChild => "read as 0",
                    _ => "its parents read as 1",
                };
                Diagnostic { severity: Severity::Note, ..Diagnostic::warning("orphan-labels", format!("{message}; {done}")) }
            }
        };
        report.diagnostics.push(finding.at(spec.place("data.orphan_labels"), ""));
    }
    let train = &report.parts[0];
    if train.rows == 0 {
        return;
    }
    for (stage, node) in labels.graph().nodes.iter().enumerate() {
        let (rows, ones) = (train.space_rows[stage], train.space_positives[stage]);
        let given = labels.graph().given(stage);
        let message = if rows == 0 {
            format!("stage `{}`: no training row reaches `{given}`, so nothing can be learned", node.name)
        } else if ones == 0 {
            format!("stage `{}`: none of the {rows} training rows that reach `{given}` has label `{}` = 1", node.name, node.label)
        } else if ones == rows {
            format!("stage `{}`: all {rows} training rows that reach `{given}` have label `{}` = 1", node.name, node.label)
        } else {
            continue;
        };
        let place = spec.place(&format!("stage.{}.label", node.name)).or_else(|| spec.place(&format!("stage.{}", node.name)));
        let finding = Diagnostic::error("single-class", message).at(place, "");
        report.diagnostics.push(finding.help("check the label column and the split, or leave the stage out"));
    }
}

fn empty_parts(spec: &Spec, report: &mut LintReport) {
    let expected = match &spec.split {
        Split::Random { valid, test, .. } | Split::Group { valid, test, .. } => [true, *valid > 0.0, *test > 0.0],
        Split::Column { train_through, valid_through, .. } => [true, train_through != valid_through, true],
        Split::Files { valid, test } => [true, !valid.is_empty(), !test.is_empty()],
    };
    for part in Part::ALL {
        if expected[part as usize] && report.parts[part as usize].rows == 0 {
            let message = format!("the split puts no row into {}", part.name());
            let finding = Diagnostic::error("empty-part", message).at(spec.place("split"), "");
            report.diagnostics.push(finding.help("check the bounds, shares or files of `[split]`"));
        }
    }
}

/// Tries every column of ids, numbers and bags as an explanation of every stage, on training rows of its conditional space.
pub(crate) fn leakage(store: &Store, labels: &Labels, parts: &[u8], report: &mut LintReport) {
    let total = usize::try_from(report.parts[0].rows).unwrap_or(usize::MAX);
    let stride = total.div_ceil(LEAKAGE_ROWS).max(1);
    let train = parts.iter().enumerate().filter(|(_, p)| **p == Part::Train.code()).map(|(row, _)| row);
    let rows: Vec<usize> = train.step_by(stride).collect();
    let graph = labels.graph();
    let mut spaces: Vec<(Vec<usize>, Vec<u8>)> = vec![Default::default(); graph.len()];
    let (mut row_labels, mut reached) = (vec![0; graph.len()], vec![0; graph.len()]);
    for (at, &row) in rows.iter().enumerate() {
        row_labels.copy_from_slice(store.labels(row));
        labels.apply(&mut row_labels, &mut reached);
        for (stage, (places, ones)) in spaces.iter_mut().enumerate() {
            if graph.in_space(stage, &reached) {
                places.push(at);
                ones.push(row_labels[stage]);
            }
        }
    }
    for (g, group) in store.layout().groups.iter().enumerate() {
        let member = |row: usize| if g == 0 { row } else { store.entities(row)[g - 1] as usize };
        let stored = &store.groups[g];
        let ids = group.ids.iter().enumerate().map(|(i, c)| {
            let codes: Vec<u32> = rows.iter().map(|&row| stored.codes(member(row))[i]).collect();
            (c.column.as_str(), codes)
        });
        let numbers = group.numbers.iter().enumerate().map(|(k, c)| {
            let values: Vec<f32> = rows.iter().map(|&row| stored.numbers(member(row))[k]).collect();
            (c.column.as_str(), range_codes(&values))
        });
        let mut note = |column: &str, stage: usize, auc: Option<f64>| {
            let Some(auc) = auc.filter(|auc| *auc > SUSPECT_AUC) else { return };
            let stage = &graph.nodes[stage].name;
            let message = format!("column `{column}` alone explains stage `{stage}` (AUC {auc:.4} on training rows)");
            let finding = Diagnostic::warning("leakage", message);
            report.diagnostics.push(finding.help("if it is only known after the outcome, take it out of the features"));
            report.leakage.push(Leak { column: column.to_owned(), stage: stage.clone(), auc });
        };
        for (column, codes) in ids.chain(numbers) {
            for (stage, (places, ones)) in spaces.iter().enumerate() {
                let here: Vec<u32> = places.iter().map(|&at| codes[at]).collect();
                note(column, stage, explained_auc(&here, ones));
            }
        }
        for (bag, column) in stored.bags.iter().zip(&group.bags) {
            for (stage, (places, ones)) in spaces.iter().enumerate() {
                let here: Vec<&[u32]> = places.iter().map(|&at| bag.get(member(rows[at])).0).collect();
                note(&column.id.column, stage, explained_auc_of_bags(&here, ones));
            }
        }
    }
}
