//! `features = "infer"`: what each column is, judged by a sample of its rows, with the reason in words.

use super::cells::{BagCells, Cells, Role};
use super::id::Missing;
use super::leakage::{SUSPECT_AUC, explained_auc_of_bags, range_codes};
use super::resolve::{Claimed, loss_weights, reserved};
use super::source::{Source, TruthColumns};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::Graph;
use crate::spec::{Feature, FeatureKind, Pooling, Spec, Split, Transform, UtcOffset, Vocabulary};
use arrow::array::Array;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use serde::Serialize;

/// Rows that are looked at.
const SAMPLE_ROWS: usize = 20_000;
/// Inputs that they are from, at most.
const SAMPLE_INPUTS: usize = 16;
/// What stands between the values of a bag in text.
const SEPARATOR: &str = "|";
/// Distinct whole numbers up to which a column is taken for ids.
pub(super) const FEW_VALUES: usize = 50;
/// Texts that stand for missing in a column of numbers.
const MISSING: [&str; 8] = ["NA", "N/A", "NaN", "nan", "NULL", "null", "None", "\\N"];

/// Why a time is left out. Its parts are not taken unasked: whether a time is known when a row is scored, its column does not say.
const A_TIME: &str = "a time: later rows hold values never seen in training; a feature of `kind = \"time\"` takes its hour, weekday …";

/// What became of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A feature of this kind.
    Take(FeatureKind),
    /// Left out.
    LeaveOut,
}

/// A column that `features = "infer"` judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inferred {
    /// The column.
    pub column: String,
    /// Feature of which kind, or left out.
    pub decision: Decision,
    /// Why, in words.
    pub reason: String,
}

/// Judges every column that nothing else claims; the taken ones come back as features too.
pub(crate) fn infer(
    spec: &Spec,
    graph: &Graph,
    source: &dyn Source,
    schema: &Schema,
    truth: &[TruthColumns],
    claimed: &[Claimed],
) -> anyhow::Result<(Vec<Inferred>, Vec<Claimed>)> {
    let mut taken: HashSet<&str> = claimed.iter().flat_map(|c| c.columns.iter().map(String::as_str)).collect();
    taken.extend(claimed.iter().filter_map(|c| c.feature.weights.as_deref()));
    let (reserved, beside) = (reserved(spec, truth), source.beside());
    let sample = sample(spec, source, schema)?;
    let spaces = labels_in_space(spec, graph, &sample);
    let (mut inferred, mut features) = (Vec::new(), Vec::new());
    for (i, field) in schema.fields().iter().enumerate() {
        let column = field.name();
        if taken.contains(column.as_str()) {
            continue;
        }
        let is_key = spec.entities.iter().any(|e| &e.key == column);
        let verdict = reason_to_skip(spec, &reserved, truth, &beside, column)
            .map_or_else(|| judge(column, sample.column(i), is_key), Verdict::leave_out);
        let verdict = suspect(verdict, sample.column(i), &spaces);
        if let Decision::Take(kind) = verdict.decision {
            let of = spec.entities.iter().find(|e| &e.key == column).map(|e| e.name.clone());
            features.push(Claimed { feature: plain_feature(column, kind, verdict.missing, of), columns: vec![column.clone()] });
        }
        inferred.push(Inferred { column: column.clone(), decision: verdict.decision, reason: verdict.reason });
    }
    Ok((inferred, features))
}

/// What to do with a column.
pub(super) struct Verdict {
    pub decision: Decision,
    /// Why, in words.
    pub reason: String,
    /// Texts that stand for missing.
    pub missing: Vec<String>,
}
impl Verdict {
    pub fn leave_out(reason: impl Into<String>) -> Self {
        Self { decision: Decision::LeaveOut, reason: reason.into(), missing: Vec::new() }
    }
    pub fn take(kind: FeatureKind, reason: impl Into<String>) -> Self {
        Self { decision: Decision::Take(kind), reason: reason.into(), missing: Vec::new() }
    }
}

fn plain_feature(column: &str, kind: FeatureKind, missing: Vec<String>, of: Option<String>) -> Feature {
    Feature {
        name: column.to_owned(),
        kind,
        columns: vec![column.to_owned()],
        of,
        min_count: 1,
        vocabulary: Vocabulary::Learned,
        hash_rows: None,
        share_with: None,
        weights: None,
        separator: SEPARATOR.into(),
        pooling: Pooling::Sum,
        attend_to: None,
        keep_last: None,
        transform: Transform::Standardise,
        parts: Vec::new(),
        unit: None,
        timezone: UtcOffset::default(),
        missing,
    }
}

/// Rows of all over the inputs, in order: the first ones of some inputs that are spread evenly. What a split by file keeps for valid and test
/// is not looked at.
fn sample(spec: &Spec, source: &dyn Source, schema: &Schema) -> anyhow::Result<RecordBatch> {
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let inputs = source.inputs()?;
    if inputs.iter().any(|i| i.entities.is_some()) {
        let message = "`features = \"infer\"` cannot look at a source whose entities stand in inputs of their own";
        return Err(Diagnostics::from(
            Diagnostic::error("infer-entities", message).help("declare the features in `[feature.NAME]` tables"),
        )
        .into());
    }
    let held_out = super::split::held_out(spec, &inputs)?;
    let train: Vec<usize> = (0..inputs.len()).filter(|i| !held_out[*i]).collect();
    let looked_at = train.len().min(SAMPLE_INPUTS);
    let spread = (0..looked_at).map(|i| train[i * train.len() / looked_at]);
    let mut records: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for (behind, input) in spread.chain(0..inputs.len()).enumerate() {
        // The inputs after those are for when all of those are empty.
        if rows > 0 && behind >= looked_at {
            break;
        }
        let share = (SAMPLE_ROWS - rows).div_ceil(looked_at.saturating_sub(behind).max(1));
        rows += first_rows(source, input, &columns, share, &mut records)?;
    }
    let Some(first) = records.first().filter(|_| rows > 0) else {
        return Err(super::prepare::no_rows(inputs.iter().map(|i| i.name.as_str())));
    };
    Ok(concat_batches(&first.schema(), &records)?)
}

/// Appends up to `share` rows of an input, unless its types are others than those of the inputs before.
fn first_rows(
    source: &dyn Source,
    input: usize,
    columns: &[String],
    share: usize,
    records: &mut Vec<RecordBatch>,
) -> anyhow::Result<usize> {
    let mut rows = 0;
    for chunk in source.read(input, columns)? {
        let chunk = chunk?.records;
        if rows == share || records.first().is_some_and(|first| first.schema().fields() != chunk.schema().fields()) {
            break;
        }
        let part = chunk.slice(0, chunk.num_rows().min(share - rows));
        rows += part.num_rows();
        records.push(part);
    }
    Ok(rows)
}

fn reason_to_skip(spec: &Spec, reserved: &HashSet<String>, truth: &[TruthColumns], beside: &[String], column: &str) -> Option<String> {
    if let Some(stage) = spec.stages.iter().find(|s| s.label == column) {
        return Some(format!("label of stage `{}`", stage.name));
    }
    if spec.data.weight.as_deref() == Some(column) {
        return Some("row weight".into());
    }
    if beside.iter().any(|c| c == column) {
        return Some("beside the data; a feature that names it takes it".into());
    }
    if let Some(weight) = loss_weights(spec).into_iter().find(|w| w.columns.iter().any(|c| c == column)) {
        return Some(format!("in the loss weight of stage `{}`; a feature that names it takes it", spec.stages[weight.stage].name));
    }
    if truth.iter().any(|t| t.probability == column || t.outcome == column) {
        return Some("truth of generated data".into());
    }
    if reserved.contains(column) {
        return Some("key, carried into predictions".into());
    }
    match &spec.split {
        Split::Column { column: c, .. } if c == column => Some("orders the split: later parts hold values never seen in training".into()),
        Split::Group { column: c, .. } if c == column => Some("groups the split: valid and test hold values never seen in training".into()),
        _ => None,
    }
}

/// What a column is, by its type, its name and its cells. `is_key`: it is the key of an entity.
pub(super) fn judge(column: &str, array: &arrow::array::ArrayRef, is_key: bool) -> Verdict {
    match array.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) if !item.data_type().is_floating() => {
            return Verdict::take(FeatureKind::Bag, "holds lists");
        }
        t if t.is_nested() => return Verdict::leave_out(format!("nested type {t}")),
        t if t.is_temporal() => return Verdict::leave_out(A_TIME),
        t if t.is_floating() => return Verdict::take(FeatureKind::Number, "holds floating-point numbers"),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            return Verdict::take(FeatureKind::Number, "holds decimals");
        }
        _ => {}
    }
    let Ok(cells) = Cells::of(array, Role::Text) else { return Verdict::leave_out(format!("type {}", array.data_type())) };
    let look = Look::at(&cells);
    if look.rows == 0 {
        return Verdict::leave_out("empty in all rows looked at");
    }
    let joined = look.bars * 5 >= look.rows;
    if !is_key && !joined && look.rows >= 100 && look.distinct == look.rows && !look.decimals && (looks_like_code(column) || !look.numeric)
    {
        return Verdict::leave_out("every value is different, like a key; `data.keys` carries it into predictions");
    }
    if look.numeric && look.decimals {
        let missing = look.markers;
        let reason = if missing.is_empty() { "numbers with a decimal point" } else { "numbers with a decimal point, and missing ones" };
        return Verdict { missing, ..Verdict::take(FeatureKind::Number, reason) };
    }
    if look.numeric && look.distinct > FEW_VALUES && !is_key && !look.leading_zero && !looks_like_code(column) {
        let reason = format!("whole numbers with {} different values and no name like an id", look.distinct);
        return Verdict { missing: look.markers, ..Verdict::take(FeatureKind::Number, reason) };
    }
    if look.numeric {
        let few = format!("whole numbers with {} different values", look.distinct);
        return Verdict::take(FeatureKind::Id, if look.distinct > FEW_VALUES { "whole numbers that look like ids".into() } else { few });
    }
    if joined {
        return Verdict::take(FeatureKind::Bag, "values joined by `|`");
    }
    if look.dates == look.rows {
        return Verdict::leave_out(A_TIME);
    }
    if look.characters / look.rows > 60 {
        return Verdict::leave_out("free text");
    }
    Verdict::take(FeatureKind::Id, format!("text with {} different values", look.distinct))
}

/// What the cells of a column look like.
pub(super) struct Look {
    /// Cells that hold something.
    pub rows: usize,
    /// Different values among them.
    pub distinct: usize,
    /// All are numbers.
    pub numeric: bool,
    /// Some are not whole.
    pub decimals: bool,
    leading_zero: bool,
    /// Texts that stand for missing.
    pub markers: Vec<String>,
    bars: usize,
    /// Cells that start with a date.
    pub dates: usize,
    /// Letters of all cells.
    pub characters: usize,
}
impl Look {
    pub fn at(cells: &Cells) -> Self {
        let mut look = Self {
            rows: 0,
            distinct: 0,
            numeric: true,
            decimals: false,
            leading_zero: false,
            markers: Vec::new(),
            bars: 0,
            dates: 0,
            characters: 0,
        };
        let mut seen: HashSet<String> = HashSet::new();
        let (none, mut numbers) = (Missing::default(), 0);
        for row in 0..cells.len() {
            let text = cells.display(row);
            if text.is_empty() {
                continue;
            }
            if MISSING.contains(&text.as_str()) {
                if !look.markers.contains(&text) {
                    look.markers.push(text);
                }
                continue;
            }
            look.rows += 1;
            look.characters += text.len();
            look.bars += usize::from(text.contains('|'));
            look.dates += usize::from(is_date(text.as_bytes()));
            if matches!(cells, Cells::Boolean(_)) || !matches!(cells.number(row, &none), Ok(Some(_))) {
                look.numeric = false;
            } else {
                numbers += 1;
                look.decimals |= !text.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit());
                look.leading_zero |= text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
            }
            seen.insert(text);
        }
        look.numeric &= numbers > 0;
        look.distinct = seen.len();
        look
    }
}

/// `2024-05-31`, with or without a time behind it.
fn is_date(text: &[u8]) -> bool {
    text.len() >= 10 && text[..10].iter().enumerate().all(|(i, b)| if i == 4 || i == 7 { *b == b'-' } else { b.is_ascii_digit() })
}

/// Whether a column's name says that its numbers are names, not quantities.
pub(super) fn looks_like_code(column: &str) -> bool {
    const WORDS: [&str; 16] =
        ["id", "ids", "code", "zip", "zipcode", "postcode", "postal", "sku", "uuid", "guid", "hash", "isbn", "ean", "upc", "gtin", "key"];
    let lower = column.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
        || column.ends_with("Id")
        || column.ends_with("ID")
        || lower.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

/// Per stage: its name, the rows of its conditional space in the sample, and their labels.
fn labels_in_space(spec: &Spec, graph: &Graph, sample: &RecordBatch) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let columns: Vec<Option<Cells>> =
        spec.stages.iter().map(|s| sample.column_by_name(&s.label).and_then(|c| Cells::of(c, Role::Text).ok())).collect();
    let mut spaces: Vec<_> = spec.stages.iter().map(|s| (s.name.clone(), Vec::new(), Vec::new())).collect();
    let mut reached = vec![0; graph.len()];
    for row in 0..sample.num_rows() {
        let labels: Vec<u8> = columns.iter().map(|c| c.as_ref().and_then(|c| c.label(row)).unwrap_or(0)).collect();
        graph.reached(&labels, &mut reached);
        for (stage, (_, rows, ones)) in spaces.iter_mut().enumerate() {
            if graph.in_space(stage, &reached) {
                rows.push(row);
                ones.push(labels[stage]);
            }
        }
    }
    spaces
}

/// Leaves out a column that alone explains a label.
pub(super) fn suspect(verdict: Verdict, array: &arrow::array::ArrayRef, spaces: &[(String, Vec<usize>, Vec<u8>)]) -> Verdict {
    let codes: Vec<Vec<u32>> = match verdict.decision {
        Decision::Take(FeatureKind::Id | FeatureKind::Bag) => {
            // An id is a bag of one.
            let separator = if verdict.decision == Decision::Take(FeatureKind::Bag) { SEPARATOR } else { "" };
            let Ok(cells) = BagCells::of(array, separator, Role::Text) else { return verdict };
            let mut dictionary = super::dictionary::Dictionary::default();
            let mut codes = |row| {
                let mut codes = Vec::new();
                cells.ids(row, &Missing::default(), |id| codes.extend(id.map(|id| dictionary.intern(id))));
                codes
            };
            (0..array.len()).map(&mut codes).collect()
        }
        Decision::Take(FeatureKind::Number) => {
            let Ok(cells) = Cells::of(array, Role::Number) else { return verdict };
            let missing = Missing::of(&verdict.missing);
            #[allow(clippy::cast_possible_truncation)]
            let number = |row| cells.number(row, &missing).ok().flatten().map_or(f32::NAN, |n| n as f32);
            range_codes(&(0..cells.len()).map(number).collect::<Vec<_>>()).into_iter().map(|code| vec![code]).collect()
        }
        _ => return verdict,
    };
    for (stage, rows, labels) in spaces {
        let here: Vec<&[u32]> = rows.iter().map(|&row| codes[row].as_slice()).collect();
        if let Some(auc) = explained_auc_of_bags(&here, labels).filter(|auc| *auc > SUSPECT_AUC) {
            return Verdict::leave_out(format!("leakage suspect: alone it explains `{stage}` (AUC {auc:.4})"));
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_id() {
        for name in ["user_id", "id", "zip_code", "itemId", "101", "109_14", "shop id"] {
            assert!(looks_like_code(name), "{name}");
        }
        for name in ["price", "paid", "history", "video", "age"] {
            assert!(!looks_like_code(name), "{name}");
        }
    }
}
