//! Which split: by a time column, else by the entity's key, else row by row. One is only proposed after it was tried on the sample.

use super::super::id::{mix, unit};
use super::super::split::Part;
use super::columns::Columns;
use super::scan::Scan;
use crate::spec::{Scalar, Split};
use std::cmp::Ordering;

/// Shares of valid and test.
const VALID: f64 = 0.1;
const TEST: f64 = 0.2;
/// Distinct times that a split needs at least.
pub(super) const LEAST_TIMES: usize = 5;
/// Entities that a split by entity needs at least.
const LEAST_GROUPS: usize = 100;
/// Seeds that are tried until no part is empty.
const SEEDS: u64 = 50;

/// A split, and why.
pub(super) struct Parts {
    pub split: Split,
    pub reason: String,
}

/// The first of the splits that leaves no part empty, and train with both values of every label of the chain.
pub(super) fn split(scan: &Scan, columns: &Columns<'_>, chain: &[usize]) -> Option<Parts> {
    let times = columns.times.iter().filter_map(|time| by_time(scan, columns, time, chain));
    times.chain(by_entity(scan, columns, chain)).chain(by_row(scan, columns, chain)).next()
}

/// A column that may order the rows.
pub(super) struct Time {
    /// Its place among the columns.
    pub column: usize,
    /// Per row of the sample: the value, `None` if missing.
    pub values: Vec<Option<String>>,
    /// Values are numbers.
    pub numeric: bool,
}

fn by_time(scan: &Scan, columns: &Columns<'_>, time: &Time, chain: &[usize]) -> Option<Parts> {
    let mut order: Vec<&str> = time.values.iter().flatten().map(String::as_str).collect();
    let rows = order.len();
    order.sort_by(|a, b| compare(a, b, time.numeric));
    let groups: Vec<(&str, usize)> = order.chunk_by(|a, b| compare(a, b, time.numeric).is_eq()).map(|g| (g[0], g.len())).collect();
    if groups.len() < LEAST_TIMES {
        return None;
    }
    let (train, valid) = bounds(&groups.iter().map(|g| g.1).collect::<Vec<_>>());
    let part = |value: &Option<String>| {
        let value = value.as_deref()?;
        let within = |bound: usize| compare(value, groups[bound].0, time.numeric) != Ordering::Greater;
        Some(if within(train) {
            Part::Train
        } else if within(valid) {
            Part::Valid
        } else {
            Part::Test
        })
    };
    let parts: Vec<Option<Part>> = time.values.iter().map(part).collect();
    if !is_sound(columns, chain, &parts) {
        return None;
    }
    let scalar = |at: usize| {
        let text = groups[at].0;
        if !time.numeric {
            return Scalar::Text(text.to_owned());
        }
        text.parse().map(Scalar::Integer).or_else(|_| text.parse().map(Scalar::Float)).unwrap_or_else(|_| Scalar::Text(text.to_owned()))
    };
    let name = columns.names[time.column];
    let share = |part: Part| format!("{:.0} %", 100.0 * parts.iter().filter(|p| **p == Some(part)).count() as f64 / rows as f64);
    let split = Split::Column { column: name.to_owned(), train_through: scalar(train), valid_through: scalar(valid), test_from: None };
    let shares = Part::ALL.map(share);
    let mut reason = format!(
        "`{name}` orders the rows, {} to {}: train on the past, test on the future ({}, {}, {} of the rows)",
        groups[0].0,
        groups[groups.len() - 1].0,
        shares[0],
        shares[1],
        shares[2]
    );
    if rows < scan.places.len() {
        reason += &format!("; rows without it ({} of {}) are left out", scan.places.len() - rows, scan.places.len());
    }
    Some(Parts { split, reason })
}

/// Places of the last value of train and of valid among values with so many rows each: near the wanted shares, and no part empty.
fn bounds(counts: &[usize]) -> (usize, usize) {
    let total: usize = counts.iter().sum();
    let reaches = |share: f64| {
        let mut behind = 0;
        let at = counts.iter().position(|n| {
            behind += n;
            behind as f64 >= share * total as f64
        });
        at.unwrap_or(counts.len() - 1)
    };
    let train = reaches(1.0 - VALID - TEST).min(counts.len() - 3);
    let valid = reaches(1.0 - TEST).clamp(train + 1, counts.len() - 2);
    (train, valid)
}

/// Times as the split compares them.
fn compare(a: &str, b: &str, numeric: bool) -> Ordering {
    if numeric {
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
        return number(a).total_cmp(&number(b));
    }
    a.cmp(b)
}

fn by_entity(scan: &Scan, columns: &Columns<'_>, chain: &[usize]) -> Option<Parts> {
    let entity = columns.entity.as_ref().filter(|e| e.distinct >= LEAST_GROUPS)?;
    let key = &entity.proposed.key;
    let seed = drawn(columns, chain, scan, |row| entity.hashes[row])?;
    let split = Split::Group { column: key.clone(), valid: VALID, test: TEST, seed };
    let reason = format!("no column orders the rows in time; a value of `{key}` is in one part only, so that no part knows another's");
    Some(Parts { split, reason })
}

fn by_row(scan: &Scan, columns: &Columns<'_>, chain: &[usize]) -> Option<Parts> {
    let seed = drawn(columns, chain, scan, |row| scan.places[row])?;
    let reason = "no column orders the rows in time, and no key groups them".to_owned();
    Some(Parts { split: Split::Random { valid: VALID, test: TEST, seed }, reason })
}

/// The first seed whose draw is sound.
fn drawn(columns: &Columns<'_>, chain: &[usize], scan: &Scan, word: impl Fn(usize) -> u64) -> Option<u64> {
    (1..=SEEDS).find(|&seed| {
        let part = |row: usize| match unit(mix(word(row), seed)) {
            at if at < TEST => Part::Test,
            at if at < TEST + VALID => Part::Valid,
            _ => Part::Train,
        };
        is_sound(columns, chain, &(0..scan.places.len()).map(|row| Some(part(row))).collect::<Vec<_>>())
    })
}

/// Whether every part has rows, and train both values of every stage among the rows that reach its parent.
fn is_sound(columns: &Columns<'_>, chain: &[usize], parts: &[Option<Part>]) -> bool {
    let mut rows = [0_usize; 3];
    let mut seen = vec![[false; 2]; chain.len()];
    for (row, part) in parts.iter().enumerate().filter_map(|(row, part)| Some((row, (*part)?))) {
        rows[part as usize] += 1;
        if part == Part::Train {
            for (stage, &flag) in chain.iter().enumerate() {
                let one = columns.flags[flag][row];
                seen[stage][usize::from(one)] = true;
                if !one {
                    break;
                }
            }
        }
    }
    rows.iter().all(|n| *n > 0) && seen.iter().all(|s| s[0] && s[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_rows_and_leave_no_part_empty() {
        assert_eq!(bounds(&[1; 10]), (6, 7));
        assert_eq!(bounds(&[1600; 45]), (31, 35));
        assert_eq!(bounds(&[1000, 1, 1, 1, 1]), (0, 1));
        assert_eq!(bounds(&[1, 1, 1, 1, 1000]), (2, 3));
        assert_eq!(bounds(&[1, 1, 1]), (0, 1));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert_eq!(compare("9", "10", true), Ordering::Less);
        assert_eq!(compare("2024-05-31", "2024-06-01", false), Ordering::Less);
    }
}
