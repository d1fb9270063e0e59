//! What each column is: label, key, time, feature of which kind, or left out.

use super::super::cells::{Cells, Role as CellRole};
use super::super::infer::{Decision, FEW_VALUES, Look, Verdict, judge, looks_like_code, suspect};
use super::features::{ProposedFeature, features, separator};
use super::funnel::{ProposedStage, name, nested, sounds_like_row, words};
use super::scan::Scan;
use super::split::Time;
use crate::spec::{FeatureKind, Split};
use arrow::array::{Array, ArrayRef};
use hashbrown::{HashMap, HashSet};
use serde::Serialize;

/// Rows from which a column of different values is taken for a key.
const KEY_ROWS: usize = 20;
/// Letters of a key, on average, at most: more is free text.
const KEY_LETTERS: usize = 60;
/// Share of a time column's cells that may be missing.
const TIMELESS: f64 = 0.05;

/// Words of those who come again.
const WHO: [&str; 24] = [
    "user",
    "uid",
    "customer",
    "client",
    "member",
    "visitor",
    "household",
    "account",
    "buyer",
    "shopper",
    "subscriber",
    "person",
    "people",
    "guest",
    "player",
    "reader",
    "viewer",
    "consumer",
    "cookie",
    "device",
    "session",
    "patient",
    "hh",
    "cust",
];
/// Words of times.
const TIMES: [&str; 13] = ["time", "timestamp", "ts", "date", "datetime", "day", "week", "month", "year", "epoch", "dt", "ymd", "at"];
/// Words that make a quantity, or an attribute, of a time.
const NO_TIMES: [&str; 37] = [
    "since",
    "of",
    "last",
    "ago",
    "per",
    "until",
    "to",
    "count",
    "num",
    "number",
    "n",
    "avg",
    "mean",
    "median",
    "total",
    "sum",
    "spent",
    "duration",
    "elapsed",
    "delta",
    "diff",
    "gap",
    "between",
    "birth",
    "dob",
    "born",
    "age",
    "lifetime",
    "zone",
    "site",
    "page",
    "left",
    "remaining",
    "first",
    "max",
    "min",
    "signup",
];

/// What a column is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The label of a stage.
    Label,
    /// Carried into predictions.
    Key,
    /// Orders the rows for the split.
    Time,
    /// A feature of this kind.
    Feature(FeatureKind),
    /// Nothing.
    LeftOut,
}

/// A column with its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposedColumn {
    /// The column.
    pub column: String,
    /// What it is used as.
    pub role: Role,
    /// Why, in words.
    pub reason: String,
}

/// What many rows share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposedEntity {
    /// Its name.
    pub name: String,
    /// Column that tells them apart.
    pub key: String,
}

/// An entity, with what the split needs of it.
pub(super) struct Entity {
    pub proposed: ProposedEntity,
    pub column: usize,
    /// Entities in the sample.
    pub distinct: usize,
    /// Per row of the sample: the hash that the split draws by.
    pub hashes: Vec<u64>,
    /// Places of the columns that are the same in all rows of an entity.
    pub constant: HashSet<usize>,
}

/// What is known of the columns before the split is.
pub(super) struct Columns<'a> {
    pub scan: &'a Scan,
    pub names: &'a [&'a str],
    /// Per column: its cells as text, and what they look like; `None` for lists and the like.
    pub looks: Vec<Option<(Cells, Look)>>,
    /// Per flag, per row of the sample: whether it is 1.
    pub flags: Vec<Vec<bool>>,
    /// Columns that may order the rows, best first.
    pub times: Vec<Time>,
    /// What many rows share, if anything.
    pub entity: Option<Entity>,
    /// Columns without a repeated value.
    keys: HashSet<usize>,
}

impl<'a> Columns<'a> {
    /// Looks at every column of the sample.
    pub fn look(scan: &'a Scan, names: &'a [&'a str], chain: &[usize]) -> Self {
        let look = |array: &ArrayRef| {
            let cells = if array.data_type().is_nested() { None } else { Cells::of(array, CellRole::Text).ok() };
            cells.map(|cells| {
                let look = Look::at(&cells);
                (cells, look)
            })
        };
        let looks = scan.sample.columns().iter().map(look).collect::<Vec<_>>();
        let ones = |column: usize| {
            let cells = looks[column].as_ref().map(|l| &l.0);
            (0..scan.places.len()).map(|row| cells.and_then(|c| c.label(row)) == Some(1)).collect()
        };
        let flags = scan.flags.iter().map(|f| ones(f.column)).collect();
        let mut this = Self { scan, names, looks, flags, times: Vec::new(), entity: None, keys: HashSet::new() };
        let labels: HashSet<usize> = chain.iter().map(|&f| scan.flags[f].column).collect();
        let times: Vec<Time> = (0..names.len()).filter(|c| !labels.contains(c)).filter_map(|c| this.time(c)).collect();
        let is_time = |c: &usize| times.iter().any(|t| t.column == *c);
        this.keys = (0..names.len()).filter(|c| !labels.contains(c) && !is_time(c)).filter(|&c| this.is_key(c)).collect();
        this.entity = this.find_entity(&labels);
        this.times = this.ranked(times);
        this
    }

    /// A column of whole numbers or text, each cell another one.
    fn is_key(&self, column: usize) -> bool {
        let Some((cells, look)) = &self.looks[column] else { return false };
        let rows = cells.len();
        let short = look.characters <= KEY_LETTERS * rows;
        let different = look.rows == rows && look.distinct == rows && rows >= KEY_ROWS && short && !look.decimals;
        different && (looks_like_code(self.names[column]) || !look.numeric || counts_up(cells))
    }

    /// The column that tells apart those who come again, by its name; of several the one that most columns hang on.
    fn find_entity(&self, labels: &HashSet<usize>) -> Option<Entity> {
        let candidates = (0..self.names.len()).filter(|c| !labels.contains(c) && !self.keys.contains(c)).filter(|&c| {
            let Some((_, look)) = &self.looks[c] else { return false };
            let who = words(self.names[c]).iter().any(|w| WHO.contains(&w.as_str()));
            let telling =
                look.distinct > FEW_VALUES && (looks_like_code(self.names[c]) || !look.numeric || words(self.names[c]).len() == 1);
            who && telling && !look.decimals && look.rows >= 2 * look.distinct
        });
        let entities = candidates.map(|column| self.entity_by(column, labels));
        let best = entities.max_by_key(|e| (e.constant.len(), std::cmp::Reverse(e.column)))?;
        Some(best)
    }

    fn entity_by(&self, column: usize, labels: &HashSet<usize>) -> Entity {
        let rows = self.scan.places.len();
        let key = self.looks[column].as_ref().map(|l| &l.0);
        let hashes: Vec<u64> = (0..rows).map(|row| key.map_or(0, |k| k.value(row, |v| v.map_or(0, |v| v.stable_hash(0))))).collect();
        let mut first: HashMap<u64, usize> = HashMap::new();
        let firsts: Vec<usize> = hashes.iter().enumerate().map(|(row, hash)| *first.entry(*hash).or_insert(row)).collect();
        let is_constant = |c: &usize| {
            let Some((cells, look)) = &self.looks[*c] else { return false };
            let same = |row: usize| cells.display(row) == cells.display(firsts[row]);
            *c != column && !labels.contains(c) && look.distinct > 1 && (0..rows).all(same)
        };
        let constant = (0..self.names.len()).filter(is_constant).collect();
        let key = self.names[column];
        let stem = key.trim_end_matches("_id").trim_end_matches("Id").trim_end_matches("ID");
        let proposed = ProposedEntity { name: name(stem, &[]), key: key.to_owned() };
        Entity { proposed, column, distinct: first.len(), hashes, constant }
    }

    /// A column that holds times: by its type, by cells like `2024-05-31`, or as whole numbers by its name.
    fn time(&self, column: usize) -> Option<Time> {
        let (cells, look) = self.looks[column].as_ref()?;
        if look.rows == 0 || (cells.len() - look.rows) as f64 > TIMELESS * cells.len() as f64 || !look.markers.is_empty() {
            return None;
        }
        let words = words(self.names[column]);
        if words.iter().any(|w| NO_TIMES.contains(&w.as_str())) {
            return None;
        }
        let text = |row: usize| Some(cells.display(row).trim().to_owned()).filter(|t| !t.is_empty());
        let mut values: Vec<Option<String>> = (0..cells.len()).map(text).collect();
        if look.dates == look.rows {
            shorten_to_days(&mut values);
            return Some(Time { column, values, numeric: false });
        }
        let says = words.iter().any(|w| TIMES.contains(&w.as_str()));
        if !look.numeric || look.decimals || !says {
            return None;
        }
        let numbers: Vec<f64> = values.iter().flatten().filter_map(|v| v.parse().ok()).collect();
        // Of a circle (months, days of a month) only what the rows follow is a time.
        let circle = numbers.iter().all(|n| (0.0..=31.0).contains(n)) && words.iter().any(|w| w == "day" || w == "month" || w == "time");
        if numbers.len() != look.rows || (circle && !ascends(&numbers)) {
            return None;
        }
        Some(Time { column, values, numeric: true })
    }

    /// The rows' own time before what is the same for all rows of an entity, what the rows follow before what they do not.
    fn ranked(&self, mut times: Vec<Time>) -> Vec<Time> {
        times.retain(|t| self.entity.as_ref().is_none_or(|e| !e.constant.contains(&t.column)));
        times.sort_by_key(|t| {
            let ordered = t.values.iter().flatten();
            let ordered = if t.numeric {
                ascends(&ordered.filter_map(|v| v.parse().ok()).collect::<Vec<f64>>())
            } else {
                ascends(&ordered.collect::<Vec<_>>())
            };
            (!ordered, t.column)
        });
        times
    }

    /// What a row is called: after its key, or a column that is 1 in every row.
    pub fn row(&self, stages: &[ProposedStage]) -> String {
        let keys = (0..self.names.len()).filter(|c| self.keys.contains(c)).map(|c| self.names[c]);
        let key = keys.filter_map(|k| k.strip_suffix("_id").or_else(|| k.strip_suffix("Id")));
        let always = (0..self.names.len()).filter(|&c| sounds_like_row(self.names[c]) && self.is_always_one(c)).map(|c| self.names[c]);
        let row = always.chain(key).map(|text| name(text, &[])).chain(["impression".to_owned()]);
        let mut free = row.filter(|row| !stages.iter().any(|s| &s.name == row));
        free.next().unwrap_or_else(|| "row".into())
    }

    fn is_always_one(&self, column: usize) -> bool {
        self.looks[column]
            .as_ref()
            .is_some_and(|(cells, look)| look.distinct == 1 && (0..cells.len()).all(|row| cells.label(row) == Some(1)))
    }

    /// Every column with its use; the features; the keys.
    pub fn judge(&self, chain: &[usize], split: &Split) -> (Vec<ProposedColumn>, Vec<ProposedFeature>, Vec<String>) {
        let spaces = self.spaces(chain);
        let judged: Vec<(Role, Verdict)> = (0..self.names.len()).map(|c| self.judge_column(c, chain, split, &spaces)).collect();
        let mut keys: Vec<String> = self.named(&judged, Role::Key);
        // Without a key of its own a row is told apart by who and when.
        if keys.is_empty() {
            keys.extend(self.entity.iter().map(|e| e.proposed.key.clone()));
            keys.extend(self.named(&judged, Role::Time));
        }
        let features = features(self, &judged);
        let columns = self.names.iter().zip(judged);
        let columns = columns.map(|(name, (role, verdict))| ProposedColumn { column: (*name).to_owned(), role, reason: verdict.reason });
        (columns.collect(), features, keys)
    }

    fn named(&self, judged: &[(Role, Verdict)], role: Role) -> Vec<String> {
        self.names.iter().zip(judged).filter(|(_, (r, _))| *r == role).map(|(name, _)| (*name).to_owned()).collect()
    }

    fn judge_column(&self, column: usize, chain: &[usize], split: &Split, spaces: &[Space]) -> (Role, Verdict) {
        let name = self.names[column];
        if let Some(at) = chain.iter().position(|&f| self.scan.flags[f].column == column) {
            return (Role::Label, Verdict::leave_out(format!("label of stage {} of {}", at + 1, chain.len())));
        }
        let splits = matches!(split, Split::Column { column: c, .. } if c == name);
        if splits {
            return (Role::Time, Verdict::leave_out("orders the split: later parts hold values never seen in training"));
        }
        if self.keys.contains(&column) {
            return (Role::Key, Verdict::leave_out("every value is different"));
        }
        if let Some(reason) = self.reason_to_skip(column, chain, split) {
            return (Role::LeftOut, Verdict::leave_out(reason));
        }
        let array = self.scan.sample.column(column);
        let is_key = self.entity.as_ref().is_some_and(|e| e.column == column);
        let mut verdict = judge(name, array, is_key);
        if let Some(separator) = separator(self, column).filter(|s| *s != '|') {
            verdict = Verdict::take(FeatureKind::Bag, format!("values joined by `{separator}`"));
        }
        let mut verdict = suspect(verdict, array, spaces);
        if let Some((_, missing)) = self.scan.gappy.iter().find(|(c, _)| *c == column) {
            verdict.reason += &format!("; 0, 1 and empty cells ({missing}): with 0 in their place it could be a stage");
        }
        match verdict.decision {
            Decision::Take(kind) => (Role::Feature(kind), verdict),
            Decision::LeaveOut => (Role::LeftOut, verdict),
        }
    }

    fn reason_to_skip(&self, column: usize, chain: &[usize], split: &Split) -> Option<String> {
        if self.names[column].is_empty() {
            return Some("a column without a name".into());
        }
        if let Some((_, look)) = &self.looks[column]
            && look.distinct == 1
            && look.rows == self.scan.places.len()
        {
            return Some("the same value in all rows".into());
        }
        if matches!(split, Split::Group { column: c, .. } if c == self.names[column]) {
            return Some("groups the split: valid and test hold values never seen in training".into());
        }
        if self.times.iter().any(|t| t.column == column) {
            return Some("a time: later rows hold values never seen in training".into());
        }
        let flag = self.scan.flags.iter().position(|f| f.column == column)?;
        let parent = chain.iter().rev().find(|&&stage| nested(self.scan, flag, stage))?;
        let parent = self.names[self.scan.flags[*parent].column];
        Some(format!(
            "looks like another outcome: it is 1 in rows with `{parent}` = 1 only; give it a `[stage]` of its own, or leave it out"
        ))
    }

    /// Per stage: its name, the rows of the sample that reach its parent, and their labels.
    fn spaces(&self, chain: &[usize]) -> Vec<Space> {
        let mut spaces = Vec::new();
        let mut rows: Vec<usize> = (0..self.scan.places.len()).collect();
        for &flag in chain {
            let ones = &self.flags[flag];
            let labels = rows.iter().map(|&row| u8::from(ones[row])).collect();
            spaces.push((self.names[self.scan.flags[flag].column].to_owned(), rows.clone(), labels));
            rows.retain(|&row| ones[row]);
        }
        spaces
    }
}

/// A stage's name, the rows that reach its parent, and their labels.
type Space = (String, Vec<usize>, Vec<u8>);

/// Whole numbers, each above the one before.
fn counts_up(cells: &Cells) -> bool {
    let numbers: Vec<Option<i64>> = (0..cells.len()).map(|row| cells.display(row).trim().parse().ok()).collect();
    numbers.windows(2).all(|w| matches!(w, [Some(a), Some(b)] if a < b))
}

/// Whether hardly a value is less than the one before.
fn ascends<T: PartialOrd>(values: &[T]) -> bool {
    let falls = values.windows(2).filter(|w| w[1] < w[0]).count();
    values.len() > 1 && falls * 100 < values.len()
}

/// Times with a clock become their day, if there are days enough to split by.
fn shorten_to_days(values: &mut [Option<String>]) {
    let days = values.iter().flatten().filter_map(|v| v.get(..10)).collect::<HashSet<&str>>().len();
    if days >= super::split::LEAST_TIMES {
        values.iter_mut().flatten().for_each(|v| v.truncate(10));
    }
}
