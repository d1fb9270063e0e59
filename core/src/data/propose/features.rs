//! The features: columns of one treatment together, with what that treatment needs to know.

use super::super::cells::{BagCells, Cells, Role as CellRole};
use super::super::id::Missing;
use super::super::infer::{FEW_VALUES, Look, Verdict};
use super::columns::{Columns, Role};
use super::funnel::name;
use crate::spec::FeatureKind;
use hashbrown::HashSet;
use serde::Serialize;

/// Separators of bags that are told by their look, besides `|`.
const SEPARATORS: [char; 2] = [';', ','];
/// Different values that a history has at least.
const LEAST_VALUES: usize = 8;

/// Columns of one treatment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposedFeature {
    /// Its name.
    pub name: String,
    /// What the columns hold.
    pub kind: FeatureKind,
    /// The columns.
    pub columns: Vec<String>,
    /// They belong to the entity.
    pub of_entity: bool,
    /// Bags in text: what stands between two values.
    pub separator: Option<char>,
    /// Sequences: the column of ids that their values are of.
    pub attend_to: Option<String>,
    /// Numbers with a long tail: `log1p`.
    pub long_tail: bool,
    /// Texts that stand for missing.
    pub missing: Vec<String>,
}

/// What parts the values of a bag in text, if that is what the column holds.
pub(super) fn separator(this: &Columns<'_>, column: usize) -> Option<char> {
    let (cells, look) = this.looks[column].as_ref()?;
    if look.numeric || look.rows == 0 || look.dates == look.rows {
        return None;
    }
    let holds = |separator: char, cell: &str| cell.contains(separator);
    let counted = |separator: char| (0..cells.len()).filter(|&row| holds(separator, &cells.display(row))).count();
    if counted('|') * 5 >= look.rows {
        return Some('|');
    }
    SEPARATORS.into_iter().find(|&s| look.distinct > FEW_VALUES && counted(s) * 5 >= look.rows && repeats(cells, look, s))
}

/// Whether the parts are few, short and of different number, as in lists of tags and unlike sentences.
fn repeats(cells: &Cells, look: &Look, separator: char) -> bool {
    let (mut parts, mut lengths) = (HashSet::new(), HashSet::new());
    for row in 0..cells.len() {
        let text = cells.display(row);
        lengths.insert(text.split(separator).count());
        for part in text.split(separator) {
            if part.split_whitespace().count() > 3 {
                return false;
            }
            parts.insert(part.to_owned());
        }
    }
    lengths.len() > 2 && parts.len() < look.distinct
}

/// Columns of one treatment together, in the order of their first one.
pub(super) fn features(this: &Columns<'_>, judged: &[(Role, Verdict)]) -> Vec<ProposedFeature> {
    let mut features: Vec<ProposedFeature> = Vec::new();
    for (column, (role, verdict)) in judged.iter().enumerate() {
        let Role::Feature(kind) = *role else { continue };
        let of_entity = this.entity.as_ref().is_some_and(|e| e.column == column || e.constant.contains(&column));
        let separator = if kind == FeatureKind::Bag { separator(this, column) } else { None };
        let long_tail = kind == FeatureKind::Number && has_long_tail(this, column, verdict);
        let missing = match (&this.looks[column], kind) {
            (Some((_, look)), FeatureKind::Number | FeatureKind::Id) => look.markers.clone(),
            _ => Vec::new(),
        };
        let alike = |f: &&mut ProposedFeature| {
            let same = (f.kind, f.of_entity, f.long_tail, &f.missing) == (kind, of_entity, long_tail, &missing);
            same && kind != FeatureKind::Bag
        };
        if let Some(feature) = features.iter_mut().find(alike) {
            feature.columns.push(this.names[column].to_owned());
            continue;
        }
        let columns = vec![this.names[column].to_owned()];
        features.push(ProposedFeature { name: String::new(), kind, columns, of_entity, separator, attend_to: None, long_tail, missing });
    }
    histories(this, &mut features);
    name_all(this, &mut features);
    features
}

/// Bags whose values are ids of another column are histories of it.
fn histories(this: &Columns<'_>, features: &mut [ProposedFeature]) {
    if features.iter().all(|f| f.kind != FeatureKind::Bag) {
        return;
    }
    let ids = features.iter().filter(|f| f.kind == FeatureKind::Id).flat_map(|f| &f.columns);
    let ids: Vec<(String, HashSet<String>)> = ids.map(|c| (c.clone(), values(this, c, ""))).collect();
    for bag in features.iter_mut().filter(|f| f.kind == FeatureKind::Bag) {
        let separator = bag.separator.map(String::from).unwrap_or_default();
        let of_bag = values(this, &bag.columns[0], &separator);
        let shared = |ids: &HashSet<String>| of_bag.intersection(ids).count();
        let Some((column, ids)) = ids.iter().max_by_key(|(_, ids)| shared(ids)) else { continue };
        let shared = shared(ids);
        // A few numbers in common are no sign of anything.
        if of_bag.len() >= LEAST_VALUES && shared * 5 >= of_bag.len() * 4 && shared * 5 >= ids.len() {
            (bag.kind, bag.attend_to) = (FeatureKind::Sequence, Some(column.clone()));
        }
    }
}
/// The different ids that a column's cells hold; none where they are no ids.
fn values(this: &Columns<'_>, column: &str, separator: &str) -> HashSet<String> {
    let array = this.names.iter().position(|n| *n == column).map(|at| this.scan.sample.column(at));
    let Some(Ok(cells)) = array.map(|array| BagCells::of(array, separator, CellRole::Text)) else { return HashSet::new() };
    let (mut found, none) = (HashSet::new(), Missing::default());
    for row in 0..this.scan.sample.num_rows() {
        cells.ids(row, &none, |id| found.extend(id.map(|id| id.to_string())));
    }
    found
}

/// Names each feature: after its only column, or after what its columns are.
fn name_all(this: &Columns<'_>, features: &mut [ProposedFeature]) {
    let mut taken: Vec<String> = Vec::new();
    for feature in features {
        let base = match (feature.kind, feature.columns.as_slice()) {
            (_, [only]) => only.clone(),
            (kind, _) => {
                let of = this.entity.as_ref().filter(|_| feature.of_entity).map_or("row", |e| e.proposed.name.as_str());
                let what = if kind == FeatureKind::Number { "numbers" } else { "ids" };
                format!("{of}_{}{what}", if feature.long_tail { "long_tailed_" } else { "" })
            }
        };
        feature.name = name(&base, &taken.iter().map(String::as_str).collect::<Vec<_>>());
        taken.push(feature.name.clone());
    }
}

/// Numbers of one sign whose largest is far from their middle, like prices and counts.
fn has_long_tail(this: &Columns<'_>, column: usize, verdict: &Verdict) -> bool {
    let Ok(cells) = Cells::of(this.scan.sample.column(column), CellRole::Number) else { return false };
    let missing = Missing::of(&verdict.missing);
    let mut numbers: Vec<f64> = (0..cells.len()).filter_map(|row| cells.number(row, &missing).ok().flatten()).collect();
    numbers.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (numbers.first(), numbers.last()) else { return false };
    *least >= 0.0 && *most > 8.0 * numbers[numbers.len() / 2].max(1e-9)
}
