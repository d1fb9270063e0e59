//! Cells of a chunk → codes and numbers. The store and scoring share it, so that both see the same values.

use super::cells::{BadType, BagCells, Cells, Role};
use super::faults::{At, Faults};
use super::id::{IdRef, Missing};
use super::layout::{BagColumn, GroupLayout, IdColumn};
use super::time::{BrokenTimes, Times};
use crate::diagnostic::suggest::nearest;
use crate::diagnostic::{Diagnostic, Diagnostics};
use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use xxhash_rust::xxh3::xxh3_128;

/// Stands between the values of a cross.
const CROSS_SEPARATOR: &str = "\u{1f}";

/// The feature cells of one group in a chunk.
#[derive(Debug)]
pub(crate) struct GroupCells {
    ids: Vec<(Cells, Missing)>,
    bags: Vec<(BagCells, Missing, Option<BagCells>)>,
    numbers: Vec<(Cells, Missing)>,
    times: Vec<BrokenTimes>,
}

/// Encoded bags of one column.
#[derive(Debug, Default)]
pub(crate) struct BagValues {
    /// Values of each bag; `[N]`.
    pub lengths: Vec<u32>,
    /// Codes, bag after bag.
    pub codes: Vec<u32>,
    /// Weights as long as the codes; empty without weights.
    pub weights: Vec<f32>,
}

/// Encoded members of one group.
#[derive(Debug, Default)]
pub(crate) struct GroupValues {
    /// `[N, F]`.
    pub ids: Vec<u32>,
    /// `[N, K]`; NaN is missing.
    pub numbers: Vec<f32>,
    pub bags: Vec<BagValues>,
}

/// The column of this name, or an error that suggests another.
pub(crate) fn column<'a>(records: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Diagnostics> {
    records.column_by_name(name).ok_or_else(|| {
        let schema = records.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let mut fault = Diagnostic::error("unknown-column", format!("column `{name}` is missing"));
        if let Some(near) = nearest(name, names.iter().copied()) {
            fault = fault.help(format!("did you mean `{near}`?"));
        }
        fault.help(format!("columns given: {}", names.join(", "))).into()
    })
}

fn typed<T>(column: &str, cells: Result<T, BadType>, expected: &str) -> Result<T, Diagnostics> {
    cells.map_err(|t| Diagnostic::error("column-type", format!("column {column}: expected {expected}, found {t}")).into())
}

/// A column as cells.
pub(crate) fn cells(records: &RecordBatch, name: &str, role: Role) -> Result<Cells, Diagnostics> {
    let expected = if role == Role::Number { "numbers" } else { "plain values" };
    typed(name, Cells::of(column(records, name)?, role), expected)
}

fn no_floats(column: &str, is_float: bool) -> Result<(), Diagnostics> {
    if !is_float {
        return Ok(());
    }
    let message = format!("column {column}: expected ids, found floating-point numbers");
    let help = "set `kind = \"number\"`, or write the column as integers or text";
    Err(Diagnostic::error("column-type", message).help(help).into())
}

impl GroupCells {
    pub(crate) fn of(group: &GroupLayout, records: &RecordBatch) -> Result<Self, Diagnostics> {
        let mut faults = Vec::new();
        let mut keep = |result: Result<(), Diagnostics>| {
            if let Err(e) = result {
                // Several fields may be made of one column.
                for fault in e.0 {
                    if !faults.contains(&fault) {
                        faults.push(fault);
                    }
                }
            }
        };
        let (mut ids, mut bags, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
        let mut times = Times::default();
        for c in &group.ids {
            keep(Self::id(c, records, &mut times).map(|found| ids.push((found, Missing::of(&c.missing)))));
        }
        for b in &group.bags {
            keep(Self::bag(b, records).map(|(values, weights)| bags.push((values, Missing::of(&b.id.missing), weights))));
        }
        for n in &group.numbers {
            keep(cells(records, &n.column, Role::Number).map(|found| numbers.push((found, Missing::of(&n.missing)))));
        }
        if faults.is_empty() { Ok(Self { ids, bags, numbers, times: times.broken }) } else { Err(Diagnostics(faults)) }
    }

    fn id(c: &IdColumn, records: &RecordBatch, times: &mut Times) -> Result<Cells, Diagnostics> {
        if let Some(time) = &c.time {
            let found = times.part(column(records, &time.column)?, time, &c.missing);
            return typed(&time.column, found, "times");
        }
        let one = |name: &str| {
            let found = cells(records, name, Role::Text)?;
            no_floats(name, found.is_float())?;
            Ok::<_, Diagnostics>(found)
        };
        if c.cross.is_empty() {
            return one(&c.column);
        }
        let parts = c.cross.iter().map(|name| one(name)).collect::<Result<Vec<_>, _>>()?;
        let missing = Missing::of(&c.missing);
        let row = |row: usize| parts.iter().map(|p| p.id(row, &missing, |id| id.map(|id| id.to_string()))).collect::<Option<Vec<_>>>();
        // The unit separator keeps ("a", "bc") and ("ab", "c") apart; a combination with a missing part is missing.
        Ok(Cells::Text((0..records.num_rows()).map(|r| row(r).map(|values| values.join(CROSS_SEPARATOR))).collect()))
    }

    fn bag(b: &BagColumn, records: &RecordBatch) -> Result<(BagCells, Option<BagCells>), Diagnostics> {
        let of = |name: &str, role| typed(name, BagCells::of(column(records, name)?, &b.separator, role), "lists or text");
        let values = of(&b.id.column, Role::Text)?;
        no_floats(&b.id.column, values.is_float())?;
        Ok((values, b.weights.as_deref().map(|w| of(w, Role::Number)).transpose()?))
    }

    /// Hash of all cells of a row: equal rows have equal hashes; different ones differ but for a chance of about 2⁻¹²⁸.
    pub(crate) fn hash(&self, row: usize, key: &Cells, buffer: &mut Vec<u8>) -> u128 {
        buffer.clear();
        key.bytes(row, buffer);
        self.ids.iter().for_each(|(c, _)| c.bytes(row, buffer));
        for (values, _, weights) in &self.bags {
            values.bytes(row, buffer);
            if let Some(weights) = weights {
                weights.bytes(row, buffer);
            }
        }
        self.numbers.iter().for_each(|(c, _)| c.bytes(row, buffer));
        xxh3_128(buffer)
    }

    /// Encodes the rows at `rows`. `code` gives the code of an id, or of a missing one.
    pub(crate) fn encode(
        &self,
        group: &GroupLayout,
        rows: &[u32],
        at: At<'_>,
        faults: &mut Faults,
        mut code: impl FnMut(&IdColumn, Option<IdRef<'_>>) -> u32,
    ) -> GroupValues {
        self.times.iter().for_each(|broken| broken.report(at, faults));
        let (f, k) = (self.ids.len(), self.numbers.len());
        let mut out = GroupValues { ids: vec![0; rows.len() * f], numbers: vec![f32::NAN; rows.len() * k], bags: Vec::new() };
        for (i, ((cells, missing), column)) in self.ids.iter().zip(&group.ids).enumerate() {
            for (n, &row) in rows.iter().enumerate() {
                out.ids[n * f + i] = cells.id(row as usize, missing, |id| code(column, id));
            }
        }
        for (i, ((cells, missing), column)) in self.numbers.iter().zip(&group.numbers).enumerate() {
            for (n, &row) in rows.iter().enumerate() {
                let row = row as usize;
                match cells.number(row, missing) {
                    #[allow(clippy::cast_possible_truncation)]
                    Ok(Some(number)) => out.numbers[n * k + i] = number as f32,
                    Ok(None) => {}
                    Err(()) => {
                        let kind = ("number-cell", "a number", "if the value means missing, list it in the feature's `missing`");
                        faults.add(kind, &column.column, || at.place(row), || at.describe(&cells.display(row)));
                    }
                }
            }
        }
        for ((values, missing, weights), column) in self.bags.iter().zip(&group.bags) {
            let mut bag = BagValues::default();
            for &row in rows {
                encode_bag(values, weights.as_ref(), missing, column, row as usize, at, faults, &mut bag, &mut code);
            }
            out.bags.push(bag);
        }
        out
    }
}

#[allow(clippy::too_many_arguments)]
fn encode_bag(
    values: &BagCells,
    weights: Option<&BagCells>,
    missing: &Missing,
    column: &BagColumn,
    row: usize,
    at: At<'_>,
    faults: &mut Faults,
    bag: &mut BagValues,
    code: &mut impl FnMut(&IdColumn, Option<IdRef<'_>>) -> u32,
) {
    let mut weights_here: Vec<f32> = Vec::new();
    let name = column.weights.as_deref().unwrap_or_default();
    if let Some(weights) = weights {
        let mut broken = false;
        weights.numbers(row, |w| {
            broken |= w.is_err();
            #[allow(clippy::cast_possible_truncation)]
            weights_here.push(w.unwrap_or(0.0) as f32);
        });
        if broken {
            let kind = ("bag-weight", "numbers between the separators", "");
            faults.add(kind, name, || at.place(row), || "something else".into());
        }
    }
    let start = bag.codes.len();
    let mut places = 0;
    values.ids(row, missing, |id| {
        if let Some(id) = id {
            bag.codes.push(code(&column.id, Some(id)));
            if weights.is_some() {
                bag.weights.push(weights_here.get(places).copied().unwrap_or(0.0));
            }
        }
        places += 1;
    });
    if weights.is_some() && places != weights_here.len() {
        let kind = ("bag-weights", "as many weights as values", "");
        let found = || format!("{places} values in column {} and {} weights", column.id.column, weights_here.len());
        faults.add(kind, name, || at.place(row), found);
    }
    bag.lengths.push(u32::try_from(bag.codes.len() - start).unwrap_or(u32::MAX));
}
