//! Columns of times → their parts. The store and scoring share it, so that both see the same numbers.

use super::cells::{BadType, Cells, Role, cast};
use super::faults::{At, Faults};
use super::layout::TimeColumn;
use crate::spec::TimePart;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit as Resolution};
use jiff::SignedDuration;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::Pieces;
use jiff::tz::Offset;

/// The parts of a chunk's times. A column is read once for all of its parts, which follow each other.
#[derive(Debug, Default)]
pub(crate) struct Times {
    last: Option<(String, Vec<Option<DateTime>>)>,
    /// Per column with any: the cells that are no time.
    pub broken: Vec<BrokenTimes>,
}

/// The cells of a column that are no time.
#[derive(Debug)]
pub(crate) struct BrokenTimes {
    column: String,
    has_unit: bool,
    /// Row, and the cell as text.
    cells: Vec<(usize, String)>,
}
impl BrokenTimes {
    /// Notes them. Of entities too, all rows are told, whether or not they brought a new one.
    pub(crate) fn report(&self, at: At<'_>, faults: &mut Faults) {
        let help = if self.has_unit {
            "if the value means missing, list it in the feature's `missing`"
        } else {
            "if the value means missing, list it in the feature's `missing`; if it is a number, `unit` says what it counts since 1970"
        };
        for (row, cell) in &self.cells {
            faults.add(("time-cell", "a time like 2024-05-31T17:40:00Z", help), &self.column, || at.place(*row), || at.describe(cell));
        }
    }
}

impl Times {
    /// A part of a column's times as whole numbers; null where the cell is missing, or no time, which [`Self::broken`] then holds.
    pub(crate) fn part(&mut self, array: &ArrayRef, by: &TimeColumn, missing: &[String]) -> Result<Cells, BadType> {
        if self.last.as_ref().is_none_or(|(column, _)| *column != by.column) {
            let (times, cells) = read(array, by, missing)?;
            self.last = Some((by.column.clone(), times));
            if !cells.is_empty() {
                self.broken.push(BrokenTimes { column: by.column.clone(), has_unit: by.unit.is_some(), cells });
            }
        }
        let times = self.last.iter().flat_map(|(_, times)| times);
        Ok(Cells::Integer(times.map(|time| time.map(|t| part_of(by.part, t))).collect()))
    }
}

/// The part of a time, as the clock there shows it.
fn part_of(part: TimePart, time: DateTime) -> i64 {
    let weekday = i64::from(time.weekday().to_monday_zero_offset());
    match part {
        TimePart::Minute => i64::from(time.minute()),
        TimePart::Hour => i64::from(time.hour()),
        TimePart::Weekday => weekday + 1,
        TimePart::HourOfWeek => weekday * 24 + i64::from(time.hour()),
        TimePart::Weekend => i64::from(weekday >= 5),
        TimePart::Day => i64::from(time.day()),
        TimePart::Week => i64::from(time.date().iso_week_date().week()),
        TimePart::Month => i64::from(time.month()),
        TimePart::Quarter => (i64::from(time.month()) + 2) / 3,
    }
}

/// The times of a column; `None` where the cell is missing or no time. And the cells that are no time: row and text.
type Read = (Vec<Option<DateTime>>, Vec<(usize, String)>);

/// `Err` with the type's name if a column of it holds no times.
fn read(array: &ArrayRef, by: &TimeColumn, missing: &[String]) -> Result<Read, BadType> {
    let clock = by.timezone.offset();
    // A marker of missing means the same in columns of any type.
    let markers: Vec<DateTime> = missing.iter().filter_map(|m| of_text(m, by)).collect();
    let counted = |counts: &ArrayRef, per_second: i64, clock: Offset| {
        let counts = cast(counts, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        let time = |row| counts.is_valid(row).then(|| of_count(counts.value(row), per_second, clock).ok_or(())).transpose();
        Ok(collect(counts.len(), &markers, time, |row| counts.value(row).to_string()))
    };
    match array.data_type() {
        DataType::Dictionary(_, inner) => read(&cast(array, inner)?, by, missing),
        DataType::Date32 => counted(&cast(array, &DataType::Date64)?, 1_000, Offset::UTC),
        DataType::Date64 => counted(array, 1_000, Offset::UTC),
        // With a time zone it is a moment, whatever the zone; without one it is what some clock showed.
        DataType::Timestamp(resolution, zone) => counted(array, per_second(*resolution), if zone.is_some() { clock } else { Offset::UTC }),
        other if other.is_temporal() || other.is_decimal() || *other == DataType::Boolean => Err(other.to_string()),
        _ => {
            let cells = Cells::of(array, Role::Text)?;
            Ok(collect(cells.len(), &markers, |row| of_cell(&cells, row, by, missing), |row| cells.display(row)))
        }
    }
}

/// `time` gives `Ok(None)` for a missing cell and `Err` for one that is no time.
fn collect(
    rows: usize,
    markers: &[DateTime],
    time: impl Fn(usize) -> Result<Option<DateTime>, ()>,
    display: impl Fn(usize) -> String,
) -> Read {
    let (mut times, mut broken) = (Vec::with_capacity(rows), Vec::new());
    for row in 0..rows {
        let found = time(row);
        if found.is_err() {
            broken.push((row, display(row)));
        }
        times.push(found.ok().flatten().filter(|t| !markers.contains(t)));
    }
    (times, broken)
}

fn per_second(resolution: Resolution) -> i64 {
    match resolution {
        Resolution::Second => 1,
        Resolution::Millisecond => 1_000,
        Resolution::Microsecond => 1_000_000,
        Resolution::Nanosecond => 1_000_000_000,
    }
}

fn of_cell(cells: &Cells, row: usize, by: &TimeColumn, missing: &[String]) -> Result<Option<DateTime>, ()> {
    let count = |count: i64| by.unit.and_then(|unit| of_count(count, unit.per_second(), by.timezone.offset()));
    let time = match cells {
        Cells::Text(a) if a.is_valid(row) => {
            let text = a.value(row).trim();
            if text.is_empty() || missing.iter().any(|m| m == text) {
                return Ok(None);
            }
            of_text(text, by)
        }
        Cells::Integer(a) if a.is_valid(row) => count(a.value(row)),
        Cells::Unsigned(a) if a.is_valid(row) => i64::try_from(a.value(row)).ok().and_then(count),
        Cells::Float(a) if a.is_valid(row) && !a.value(row).is_nan() => count(whole(a.value(row))),
        _ => return Ok(None),
    };
    time.map(Some).ok_or(())
}

/// The whole number below; what no `i64` holds is far outside of any calendar.
#[allow(clippy::cast_possible_truncation)]
fn whole(number: f64) -> i64 {
    number.floor() as i64
}

/// What the clock shows at a count since the start of 1970 in UTC.
fn of_count(count: i64, per_second: i64, clock: Offset) -> Option<DateTime> {
    shifted(DateTime::constant(1970, 1, 1, 0, 0, 0, 0), count.div_euclid(per_second), clock.seconds())
}

/// So many seconds later; `None` beyond the year 9999. Kept in the calendar rather than in moments, which end a day before it does: the last
/// day of 9999 often means missing.
fn shifted(time: DateTime, seconds: i64, clock: i32) -> Option<DateTime> {
    time.checked_add(SignedDuration::from_secs(seconds.checked_add(i64::from(clock))?)).ok()
}

fn of_text(text: &str, by: &TimeColumn) -> Option<DateTime> {
    let text = text.trim();
    let number = text.parse::<i64>().ok().or_else(|| text.parse().ok().filter(|x: &f64| x.is_finite()).map(whole));
    if let Some(number) = number {
        // `20240531` might be a date, and might be seconds: only a unit can tell.
        return of_count(number, by.unit?.per_second(), by.timezone.offset());
    }
    let (text, is_utc) = text.strip_suffix(" UTC").map_or((text, false), |text| (text, true));
    let pieces = Pieces::parse(text).ok()?;
    let written = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    match pieces.to_numeric_offset().or(is_utc.then_some(Offset::UTC)) {
        Some(offset) => shifted(written, -i64::from(offset.seconds()), by.timezone.offset().seconds()),
        // What a place's clock showed is another moment in summer than in winter: a name without an offset does not say which.
        None => pieces.time_zone_annotation().is_none().then_some(written),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::TimeUnit;
    use TimePart as P;
    use arrow::array::{
        BooleanArray, Date32Array, Date64Array, DictionaryArray, Float64Array, Int32Array, Int64Array, LargeStringArray, StringArray,
        Time32SecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
        UInt64Array,
    };
    use arrow::datatypes::Int8Type;
    use serde_json::Value;
    use std::sync::Arc;

    const PARTS: [P; 9] = [P::Minute, P::Hour, P::Weekday, P::HourOfWeek, P::Weekend, P::Day, P::Week, P::Month, P::Quarter];

    fn by(part: P, unit: Option<TimeUnit>, timezone: &str) -> TimeColumn {
        TimeColumn { column: "t".into(), part, unit, timezone: serde_json::from_value(timezone.into()).unwrap() }
    }
    /// A part of every cell; `None` is missing. Panics at cells that are no time.
    fn part(array: impl Array + 'static, by: &TimeColumn) -> Vec<Option<i64>> {
        let (found, broken) = part_and_broken(array, by, &[]);
        assert_eq!(broken, [0; 0]);
        found
    }
    fn part_and_broken(array: impl Array + 'static, by: &TimeColumn, missing: &[&str]) -> (Vec<Option<i64>>, Vec<usize>) {
        let mut times = Times::default();
        let missing: Vec<String> = missing.iter().map(|m| (*m).to_owned()).collect();
        let Cells::Integer(found) = times.part(&(Arc::new(array) as ArrayRef), by, &missing).unwrap() else { panic!("integers") };
        (found.iter().collect(), times.broken.iter().flat_map(|b| b.cells.iter().map(|(row, _)| *row)).collect())
    }

    /// The parts that Python's `datetime` has; the script that made them is `tests/golden/times_python.py`.
    #[test]
    fn python_has_the_same_parts() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../../tests/golden/times_python.json")).unwrap();
        assert!(cases.len() > 600);
        for case in cases {
            let (cell, timezone) = (case["cell"].as_str().unwrap(), case["timezone"].as_str().unwrap());
            for p in PARTS {
                let wanted = [case["parts"][p.name()].as_i64()];
                let (first, last) = p.range();
                assert!(wanted[0].is_some_and(|v| (first..=last).contains(&v)), "{} of {cell}", p.name());
                let by = |unit| by(p, unit, timezone);
                assert_eq!(part(StringArray::from(vec![cell]), &by(None)), wanted, "{} of {cell} at {timezone}", p.name());
                let Some(micros) = case["moment"].as_i64() else { continue };
                let millis = micros.div_euclid(1_000);
                let same = |found: Vec<Option<i64>>| assert_eq!(found, wanted, "{} of {micros} at {timezone}", p.name());
                same(part(StringArray::from(vec![micros.to_string()]), &by(Some(TimeUnit::Microseconds))));
                same(part(Int64Array::from(vec![millis]), &by(Some(TimeUnit::Milliseconds))));
                same(part(Int64Array::from(vec![millis.div_euclid(1_000)]), &by(Some(TimeUnit::Seconds))));
                same(part(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"), &by(None)));
                // Whatever zone the file names, it is the same moment.
                same(part(TimestampMillisecondArray::from(vec![millis]).with_timezone("+09:00"), &by(None)));
            }
        }
    }

    #[test]
    fn every_part_has_a_row_for_each_of_its_numbers() {
        for p in PARTS {
            let (first, last) = p.range();
            // Two hours short of an hour's steps, so that minutes differ too; over more than two leap cycles.
            let seconds: Vec<i64> = (0..80_000).map(|i| i * 3_541 + 1_700_000_000).collect();
            let mut seen: Vec<i64> =
                part(Int64Array::from(seconds), &by(p, Some(TimeUnit::Seconds), "UTC")).into_iter().flatten().collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, (first..=last).collect::<Vec<_>>(), "{}", p.name());
        }
    }

    #[test]
    fn columns_of_parquet() {
        let hour = |unit, zone| by(P::Hour, unit, zone);
        // 1969-12-31 23:59:59, as a clock showed it.
        assert_eq!(part(TimestampSecondArray::from(vec![-1]), &hour(None, "+02:00")), [Some(23)]);
        assert_eq!(part(TimestampNanosecondArray::from(vec![Some(-1), None]), &hour(None, "+02:00")), [Some(23), None]);
        assert_eq!(part(TimestampSecondArray::from(vec![-1]).with_timezone("UTC"), &hour(None, "+02:00")), [Some(1)]);
        let day = by(P::Day, None, "-05:00");
        assert_eq!(part(Date32Array::from(vec![Some(-1), Some(0), None]), &day), [Some(31), Some(1), None]);
        assert_eq!(part(Date64Array::from(vec![-86_400_000, 0]), &day), [Some(31), Some(1)]);
        let texts: DictionaryArray<Int8Type> = vec![Some("2024-02-29"), None, Some("2024-02-29")].into_iter().collect();
        assert_eq!(part(texts, &day), [Some(29), None, Some(29)]);
        assert_eq!(part(LargeStringArray::from(vec!["2024-02-29"]), &day), [Some(29)]);
        let seconds = Some(TimeUnit::Seconds);
        assert_eq!(part(Int32Array::from(vec![7_200]), &hour(seconds, "UTC")), [Some(2)]);
        assert_eq!(part(UInt64Array::from(vec![7_199]), &hour(seconds, "UTC")), [Some(1)]);
        // As a table with missing values comes out of pandas.
        assert_eq!(part(Float64Array::from(vec![Some(-0.5), Some(f64::NAN), None]), &hour(seconds, "UTC")), [Some(23), None, None]);
        for array in [Arc::new(BooleanArray::from(vec![true])) as ArrayRef, Arc::new(Time32SecondArray::from(vec![1]))] {
            assert!(Times::default().part(&array, &day, &[]).is_err());
        }
    }

    #[test]
    fn cells_that_are_no_time() {
        let texts = [
            "2023-02-29",
            "2024-13-01",
            "24:00",
            "noon",
            "20240531",
            "2024-05-31T25:00",
            "31.05.2024",
            "2024-05-31T10:00[Europe/Berlin]",
            "inf",
            "2024-05-31 10:00 CET",
            "1717171717",
        ];
        let all: Vec<usize> = (0..texts.len()).collect();
        assert_eq!(part_and_broken(StringArray::from(texts.to_vec()), &by(P::Hour, None, "UTC"), &[]).1, all);
        // Milliseconds taken for seconds are beyond the calendar.
        let seconds = by(P::Hour, Some(TimeUnit::Seconds), "UTC");
        assert_eq!(part_and_broken(Int64Array::from(vec![1_717_171_717_000, i64::MAX, i64::MIN, 0]), &seconds, &[]).1, [0, 1, 2]);
        assert_eq!(part_and_broken(Float64Array::from(vec![f64::INFINITY, 1e300, 0.0]), &seconds, &[]).1, [0, 1]);
        assert_eq!(part_and_broken(UInt64Array::from(vec![u64::MAX]), &seconds, &[]).1, [0]);
        assert_eq!(part_and_broken(TimestampSecondArray::from(vec![i64::MAX]), &seconds, &[]).1, [0]);
        assert_eq!(part_and_broken(Date32Array::from(vec![i32::MAX]), &by(P::Day, None, "UTC"), &[]).1, [0]);
        // With a unit, texts are times as ever.
        assert_eq!(part(StringArray::from(vec!["3600", " 1970-01-01T02:00 ", "7200.5", ""]), &seconds), [Some(1), Some(2), Some(2), None]);
    }

    #[test]
    fn markers_of_missing_mean_the_same_in_all_types() {
        let seconds = by(P::Hour, Some(TimeUnit::Seconds), "UTC");
        let missing = ["NA", "0", "9999-12-31"];
        let texts = StringArray::from(vec!["NA", "0", "1970-01-01", "3600", "9999-12-31T00:00:00Z"]);
        assert_eq!(part_and_broken(texts, &seconds, &missing), (vec![None, None, None, Some(1), None], vec![]));
        assert_eq!(part_and_broken(Int64Array::from(vec![0, 3600]), &seconds, &missing), (vec![None, Some(1)], vec![]));
        assert_eq!(part_and_broken(TimestampSecondArray::from(vec![0, 3600]), &seconds, &missing), (vec![None, Some(1)], vec![]));
    }
}
