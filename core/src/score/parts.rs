//! Which rows one machine scores, and in which files they go: a pure function of the inputs, so that any machine, and a second try on the
//! same one, comes to the same files.

use super::SCORE_ROWS;
use anyhow::Result;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// One of `n` machines' share of the work: `2/4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: u64,
    count: u64,
}
impl Shard {
    /// All of the work.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Which one, from 1.
    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }
    /// Of how many.
    #[must_use]
    pub fn count(self) -> u64 {
        self.count
    }
    /// All shards of the same work.
    pub fn all(self) -> impl Iterator<Item = Self> {
        (1..=self.count).map(move |index| Self { index, ..self })
    }
}
impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}
impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|n| *n > 0);
        let parsed = text.split_once('/').and_then(|(index, count)| Some((number(index)?, number(count)?)));
        let (index, count) = parsed.ok_or("expected i/n, two whole numbers from 1, such as 1/4")?;
        if index > count {
            return Err(format!("there is no shard {index} of {count}; shards of {count} are 1/{count} to {count}/{count}"));
        }
        Ok(Self { index, count })
    }
}

/// How predictions are cut into files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Partition {
    /// Most rows of a file; `None`: an input's rows stand in one file.
    pub rows: Option<NonZeroU64>,
    /// This machine's share.
    pub shard: Shard,
}

/// Rows of one input that this machine scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub input: usize,
    pub from: u64,
    /// `None`: to the input's end.
    pub to: Option<u64>,
}
/// What this machine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub stretches: Vec<Stretch>,
    /// Parts are called by their first row too: an input may have several.
    by_row: bool,
}

impl Partition {
    /// Whole inputs go to shards in equal numbers. Where there are fewer inputs than shards, rows do: `count` gives those of an input.
    pub(super) fn plan(&self, inputs: usize, count: impl FnMut(usize) -> Result<u64>) -> Result<Plan> {
        let Shard { index, count: shards } = self.shard;
        let at = |shard: u64, all: u64| u64::try_from(u128::from(all) * u128::from(shard) / u128::from(shards)).unwrap_or(all);
        if inputs as u64 >= shards {
            let mine = at(index - 1, inputs as u64)..at(index, inputs as u64);
            let whole = |input| Some(Stretch { input: usize::try_from(input).ok()?, from: 0, to: None });
            return Ok(Plan { stretches: mine.filter_map(whole).collect(), by_row: self.rows.is_some() });
        }
        let rows = (0..inputs).map(count).collect::<Result<Vec<u64>>>()?;
        let all: u64 = rows.iter().sum();
        let (from, to) = (at(index - 1, all), at(index, all));
        let (mut stretches, mut before) = (Vec::new(), 0);
        for (input, &n) in rows.iter().enumerate() {
            let inside = |row: u64| aligned(row.saturating_sub(before).min(n), n, all / shards);
            let (from, to) = (inside(from), inside(to));
            if from < to {
                stretches.push(Stretch { input, from, to: Some(to) });
            }
            before += n;
        }
        Ok(Plan { stretches, by_row: true })
    }
}

/// A row where a batch starts, unless shares are smaller than batches.
fn aligned(row: u64, rows: u64, share: u64) -> u64 {
    let grid = SCORE_ROWS.get() as u64;
    if share < grid || row == rows { row } else { row / grid * grid }
}

impl Plan {
    /// The file of the part that starts at a row of an input. In order of names, parts stand in order of rows.
    pub(super) fn file(&self, input: usize, first_row: u64) -> String {
        if self.by_row { format!("part-{input:05}-{first_row:012}.parquet") } else { format!("part-{input:05}.parquet") }
    }
}

/// Whether a file is called as parts are.
pub(super) fn is_part(name: &str) -> bool {
    let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
    let stem = name.strip_prefix("part-").and_then(|n| n.strip_suffix(".parquet"));
    stem.is_some_and(|s| s.split_once('-').map_or(digits(s, 5), |(input, row)| digits(input, 5) && digits(row, 12)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shards_are_read_or_refused_in_words() {
        let shard: Shard = "2/4".parse().unwrap();
        assert_eq!((shard.index(), shard.count(), shard.to_string().as_str()), (2, 4, "2/4"));
        assert_eq!("3/2".parse::<Shard>().unwrap_err(), "there is no shard 3 of 2; shards of 2 are 1/2 to 2/2");
        for bad in ["", "1", "0/2", "1/0", "a/b", "1/2/3", "-1/2", "1.5/2"] {
            assert!(bad.parse::<Shard>().unwrap_err().starts_with("expected i/n"), "{bad}");
        }
    }

    #[test]
    fn names_sort_as_rows_do_and_are_known_again() {
        let plan = Plan { stretches: vec![], by_row: true };
        let names = [(0, 0), (0, 9_999), (0, 10_000), (1, 0), (10, 5)].map(|(i, r)| plan.file(i, r));
        assert!(names.is_sorted() && names.iter().all(|n| is_part(n)));
        assert!(is_part("part-00012.parquet"));
        for other in ["part-1.parquet", "part-00001.csv", "part-00001-1.parquet", "data.parquet", "part-0000a.parquet"] {
            assert!(!is_part(other), "{other}");
        }
    }

    proptest! {
        /// All rows, each once, in order; and by whole inputs where there are enough of them.
        #[test]
        fn shards_share_all_rows(rows in proptest::collection::vec(0u64..60_000, 1..6), count in 1u64..9) {
            let shards = Shard { index: 1, count }.all();
            let mut all = Vec::new();
            for shard in shards {
                let plan = Partition { rows: None, shard }.plan(rows.len(), |i| Ok(rows[i])).unwrap();
                prop_assert_eq!(&plan, &Partition { rows: None, shard }.plan(rows.len(), |i| Ok(rows[i])).unwrap());
                all.extend(plan.stretches);
            }
            let mut at = (0, 0);
            for s in all {
                while at.0 < s.input && at.1 == rows[at.0] {
                    at = (at.0 + 1, 0);
                }
                prop_assert_eq!(at, (s.input, s.from));
                at.1 = s.to.unwrap_or(rows[s.input]);
                prop_assert!(at.1 <= rows[s.input]);
                prop_assert!(rows.len() as u64 >= count || s.from < at.1);
            }
            while at.0 < rows.len() && at.1 == rows[at.0] {
                at = (at.0 + 1, 0);
            }
            prop_assert_eq!(at.0, rows.len());
        }
    }
}
