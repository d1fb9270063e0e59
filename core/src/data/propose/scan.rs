//! One pass over all rows: a sample that is spread over the whole file, and exact counts of the 0/1 columns.

use super::super::cells::{Cells, Role};
use super::super::id::mix;
use super::super::prepare::{PrepareProgress, Stopped, no_rows};
use super::super::source::Source;
use super::ProposeOptions;
use arrow::array::{Array, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::record_batch::RecordBatch;
use std::sync::atomic::Ordering;

/// What the pass gives.
pub(super) struct Scan {
    /// Rows of the data.
    pub rows: u64,
    /// The rows looked at closely, in order: all of them, or some from every part of the data.
    pub sample: RecordBatch,
    /// For each row of the sample, its place among all rows, from 0.
    pub places: Vec<u64>,
    /// The columns that hold 0 and 1 only, and both of them.
    pub flags: Vec<Flag>,
    /// Columns of 0, 1 and empty cells: their place and the empty cells.
    pub gappy: Vec<(usize, u64)>,
    /// `[F, F]` for the F flags: rows in which both are 1.
    both: Vec<u64>,
}

/// A column of 0 and 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flag {
    /// Its place among the columns.
    pub column: usize,
    /// Rows with a 1.
    pub ones: u64,
}

impl Scan {
    /// Rows in which these flags are both 1.
    pub fn both(&self, a: usize, b: usize) -> u64 {
        self.both[a * self.flags.len() + b]
    }
}

/// Reads every row of the source once.
pub(super) fn scan(source: &dyn Source, options: &ProposeOptions<'_>) -> anyhow::Result<Scan> {
    let schema = source.schema()?;
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let inputs = source.inputs()?;
    let total_bytes = inputs.iter().map(|i| i.bytes).sum();
    let (mut sample, mut counts, mut rows, mut behind) = (Sample::new(options.sample_rows), Counts::new(columns.len()), 0, 0);
    for (at, input) in inputs.iter().enumerate() {
        for chunk in source.read(at, &columns)? {
            if options.stop.load(Ordering::Relaxed) {
                return Err(Stopped.into());
            }
            let records = chunk?.records;
            counts.add(&records);
            sample.add(&records, rows)?;
            rows += records.num_rows() as u64;
            (options.progress)(PrepareProgress { rows, bytes: behind + source.bytes_read(), total_bytes, ..PrepareProgress::default() });
        }
        behind += input.bytes;
    }
    let Some(first) = sample.records.first().filter(|_| rows > 0) else { return Err(no_rows(inputs.iter().map(|i| i.name.as_str()))) };
    let records = concat_batches(&first.schema(), &sample.records)?;
    let (flags, both, gappy) = counts.finish(rows);
    Ok(Scan { rows, sample: records, places: sample.places.concat(), flags, gappy, both })
}

/// Rows drawn by the hash of their place, so that no period of the data shows; half of them go whenever there are too many.
struct Sample {
    limit: usize,
    /// Rows are kept if the hash of their place has this many zeros at its end.
    zeros: u32,
    records: Vec<RecordBatch>,
    places: Vec<Vec<u64>>,
}
impl Sample {
    fn new(limit: usize) -> Self {
        Self { limit, zeros: 0, records: Vec::new(), places: Vec::new() }
    }
    fn keeps(&self, place: u64) -> bool {
        mix(place, 0).trailing_zeros() >= self.zeros
    }
    fn add(&mut self, records: &RecordBatch, first: u64) -> anyhow::Result<()> {
        let places = (first..).take(records.num_rows()).collect();
        let (records, places) = self.thinned(records, places)?;
        self.records.push(records);
        self.places.push(places);
        while self.places.iter().map(Vec::len).sum::<usize>() > self.limit {
            self.zeros += 1;
            for at in 0..self.records.len() {
                let places = std::mem::take(&mut self.places[at]);
                (self.records[at], self.places[at]) = self.thinned(&self.records[at], places)?;
            }
        }
        Ok(())
    }
    fn thinned(&self, records: &RecordBatch, places: Vec<u64>) -> anyhow::Result<(RecordBatch, Vec<u64>)> {
        if self.zeros == 0 {
            return Ok((records.clone(), places));
        }
        let kept: Vec<u32> = (0..).zip(&places).filter(|(_, place)| self.keeps(**place)).map(|(row, _)| row).collect();
        let places = places.into_iter().filter(|place| self.keeps(*place)).collect();
        Ok((take_record_batch(records, &UInt32Array::from(kept))?, places))
    }
}

/// Counts of the columns that have held nothing but 0, 1 and empty cells so far.
struct Counts {
    columns: usize,
    /// Place of each column still in the running.
    running: Vec<usize>,
    /// Per column: empty cells.
    missing: Vec<u64>,
    /// `[C, C]`: rows in which both are 1.
    both: Vec<u64>,
}
impl Counts {
    fn new(columns: usize) -> Self {
        // Wide tables leave the running in the first chunk, so the square is only made then.
        Self { columns, running: (0..columns).collect(), missing: vec![0; columns], both: Vec::new() }
    }
    fn add(&mut self, records: &RecordBatch) {
        let mut ones: Vec<(usize, Vec<u64>)> = Vec::new();
        for &column in &self.running {
            if let Some((bits, missing)) = bits(records, column) {
                self.missing[column] += missing;
                ones.push((column, bits));
            }
        }
        self.keep(ones.iter().map(|(column, _)| *column).collect());
        let width = ones.len();
        for (a, (_, left)) in ones.iter().enumerate() {
            for (b, (_, right)) in ones.iter().enumerate().skip(a) {
                let both: u64 = left.iter().zip(right).map(|(l, r)| u64::from((l & r).count_ones())).sum();
                self.both[a * width + b] += both;
                if a != b {
                    self.both[b * width + a] += both;
                }
            }
        }
    }
    /// Drops the counts of the columns that are out.
    fn keep(&mut self, running: Vec<usize>) {
        let before = self.running.len();
        let places: Vec<usize> = running.iter().filter_map(|c| self.running.iter().position(|r| r == c)).collect();
        let old = std::mem::take(&mut self.both);
        let count = |a: usize, b: usize| old.get(a * before + b).copied().unwrap_or(0);
        self.both = places.iter().flat_map(|&a| places.iter().map(move |&b| (a, b))).map(|(a, b)| count(a, b)).collect();
        self.running = running;
    }
    /// Flags, `[F, F]` joint counts, and columns with gaps.
    fn finish(mut self, rows: u64) -> (Vec<Flag>, Vec<u64>, Vec<(usize, u64)>) {
        let missing = std::mem::take(&mut self.missing);
        let gaps = self.running.iter().filter(|&&c| missing[c] > 0 && missing[c] < rows).map(|&c| (c, missing[c])).collect();
        let width = self.running.len();
        let both_values = |at: usize| (1..rows).contains(&self.both[at * width + at]);
        let kept = (0..width).filter(|&at| missing[self.running[at]] == 0 && both_values(at)).map(|at| self.running[at]).collect();
        debug_assert!(self.columns >= width);
        self.keep(kept);
        let width = self.running.len();
        let flags = self.running.iter().enumerate().map(|(at, &column)| Flag { column, ones: self.both[at * width + at] }).collect();
        (flags, self.both, gaps)
    }
}

/// The 1s of a column as bits, and its empty cells; `None` if it holds anything else.
fn bits(records: &RecordBatch, column: usize) -> Option<(Vec<u64>, u64)> {
    let array = records.column(column);
    if array.data_type().is_nested() {
        return None;
    }
    let cells = Cells::of(array, Role::Text).ok()?;
    let (mut bits, mut missing) = (vec![0_u64; array.len().div_ceil(64)], 0);
    for row in 0..cells.len() {
        match cells.label(row) {
            Some(one) => bits[row / 64] |= u64::from(one) << (row % 64),
            None if cells.value(row, |v| v.is_none()) => missing += 1,
            None => return None,
        }
    }
    Some((bits, missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    fn numbers(from: i64, rows: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(from..from + rows)) as ArrayRef)]).unwrap()
    }

    #[test]
    fn a_sample_comes_from_all_over_the_data_and_stays_small() {
        let mut sample = Sample::new(1000);
        for chunk in 0..40_i64 {
            sample.add(&numbers(chunk * 500, 500), u64::try_from(chunk * 500).unwrap()).unwrap();
        }
        let places: Vec<u64> = sample.places.concat();
        assert!((300..=1000).contains(&places.len()), "{}", places.len());
        assert!(places.is_sorted());
        let first_half = places.iter().filter(|p| **p < 10_000).count();
        assert!((places.len() / 3..places.len() * 2 / 3).contains(&first_half), "{first_half} of {}", places.len());
        let values = concat_batches(&sample.records[0].schema(), &sample.records).unwrap();
        let cells = Cells::of(values.column(0), Role::Text).unwrap();
        assert!(places.iter().enumerate().all(|(row, place)| cells.display(row) == place.to_string()), "rows keep their places");
        // No period shows: every remainder of 8 is there about as often.
        for remainder in 0..8 {
            let n = places.iter().filter(|p| **p % 8 == remainder).count();
            assert!(n * 16 > places.len(), "{n} of {}", places.len());
        }
    }

    #[test]
    fn joint_counts_are_those_of_all_rows() {
        let text = |cells: [&str; 6]| Arc::new(StringArray::from(cells.to_vec())) as ArrayRef;
        let chunk = |a, b, c, d, e| {
            RecordBatch::try_from_iter([("a", text(a)), ("b", text(b)), ("c", text(c)), ("d", text(d)), ("e", text(e))]).unwrap()
        };
        let ones = ["1"; 6];
        let mut counts = Counts::new(5);
        counts.add(&chunk(["1", "1", "0", "0", "1", "0"], ["1", "0", "0", "0", "1", "0"], ones, ["1", "", "0", "0", "0", "0"], ones));
        counts.add(&chunk(["0", "0", "0", "0", "0", "1"], ["0", "0", "0", "0", "1", "1"], ["0", "1", "2", "1", "1", "1"], ["1"; 6], ones));
        let (flags, both, gappy) = counts.finish(12);
        assert_eq!(flags, [Flag { column: 0, ones: 4 }, Flag { column: 1, ones: 4 }]);
        assert_eq!(both, [4, 3, 3, 4]);
        assert_eq!(gappy, [(3, 1)]);
    }
}
