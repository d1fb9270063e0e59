//! What encoding has learnt so far: values and their codes, entities, members. It is written down as it grows, a record for each thing learnt, so
//! that a process that goes on where another was stopped knows what that one knew.

use super::dictionary::Dictionary;
use super::given::Given;
use super::id::IdValue;
use super::layout::Layout;
use anyhow::Context;
use hashbrown::HashMap;

/// The entities of one kind seen so far.
#[derive(Debug, Default)]
pub(super) struct Entities {
    index: HashMap<u128, u32>,
    /// Per key (by hash): how many entities it owns, 2 meaning several.
    keys: HashMap<u64, u8>,
    keys_with_several: u64,
}

/// Hash of an entity's content, and of its key.
pub(super) type EntityHash = (u128, u64);

impl Entities {
    /// The entity of this content, and whether it is new.
    fn assign(&mut self, (content, key): EntityHash) -> anyhow::Result<(u32, bool)> {
        let next = u32::try_from(self.index.len()).context("more than 2³² entities")?;
        let entity = *self.index.entry(content).or_insert(next);
        if entity == next {
            let owned = self.keys.entry(key).or_default();
            self.keys_with_several += u64::from(*owned == 1);
            *owned = (*owned + 1).min(2);
        }
        Ok((entity, entity == next))
    }

    /// Entities, keys, and keys with several entities.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        (self.index.len() as u64, self.keys.len() as u64, self.keys_with_several)
    }
}

/// Everything learnt.
#[derive(Debug)]
pub(super) struct Known {
    /// Of the tables, then of the metric columns.
    pub dictionaries: Vec<Dictionary>,
    /// Per kind of entity.
    pub entities: Vec<Entities>,
    /// Per kind of entity: the members read from inputs of their own.
    pub given: Vec<Option<Given>>,
    /// What has been learnt since it was taken last, as records.
    learnt: Vec<u8>,
}

const INTEGER: u8 = 0;
const TEXT: u8 = 1;
const ENTITY: u8 = 2;
const MEMBER: u8 = 3;
const BEGIN: u8 = 4;
const CLOSE: u8 = 5;

/// The record of a new value.
pub(super) fn value_record(dictionary: usize, value: &IdValue, out: &mut Vec<u8>) {
    match value {
        IdValue::Integer(i) => {
            head(INTEGER, dictionary, out);
            out.extend(i.to_le_bytes());
        }
        IdValue::Text(text) => {
            head(TEXT, dictionary, out);
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
fn head(kind: u8, of: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend((of as u32).to_le_bytes());
}

impl Known {
    pub(super) fn nothing(layout: &Layout) -> Self {
        let kinds = &layout.groups[1..];
        Self {
            dictionaries: (0..layout.tables.len() + layout.aux.len()).map(|_| Dictionary::default()).collect(),
            entities: kinds.iter().map(|_| Entities::default()).collect(),
            given: kinds.iter().map(|_| None).collect(),
            learnt: Vec::new(),
        }
    }

    /// Entities of the rows, and the rows that brought a new one.
    pub(super) fn assign(&mut self, kind: usize, hashes: &[EntityHash], rows: &[u32]) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
        let (mut of, mut new) = (Vec::with_capacity(rows.len()), Vec::new());
        for &row in rows {
            let hash = hashes[row as usize];
            let (entity, is_new) = self.entities[kind].assign(hash)?;
            if is_new {
                new.push(row);
                head(ENTITY, kind, &mut self.learnt);
                self.learnt.extend(hash.0.to_le_bytes());
                self.learnt.extend(hash.1.to_le_bytes());
            }
            of.push(entity);
        }
        Ok((of, new))
    }

    /// Makes ready for an input of members of this kind.
    pub(super) fn begin_members(&mut self, kind: usize) {
        self.given[kind].get_or_insert_default().begin();
        head(BEGIN, kind, &mut self.learnt);
    }

    /// Makes ready for an input of rows.
    pub(super) fn begin_rows(&mut self) {
        self.given.iter_mut().flatten().for_each(Given::close);
        head(CLOSE, 0, &mut self.learnt);
    }

    /// Tells which entities the members found last are.
    pub(super) fn know(&mut self, kind: usize, entities: &[u32]) {
        let given = self.given[kind].get_or_insert_default();
        for (key, entity) in given.pending().iter().zip(entities) {
            head(MEMBER, kind, &mut self.learnt);
            self.learnt.extend(key.to_le_bytes());
            self.learnt.extend(entity.to_le_bytes());
        }
        given.know(entities);
    }

    /// Adds records of values that the dictionaries have taken in.
    pub(super) fn note(&mut self, records: &[u8]) {
        self.learnt.extend_from_slice(records);
    }

    /// What has been learnt since the last call, as records.
    pub(super) fn learnt(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.learnt)
    }

    /// Learns what these records say.
    ///
    /// # Errors
    /// They are broken.
    pub(super) fn recall(&mut self, records: &[u8]) -> anyhow::Result<()> {
        let mut rest = Records(records);
        while !rest.0.is_empty() {
            rest.recall(self).context("broken records")?;
        }
        Ok(())
    }
}

struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// Takes in one record.
    fn recall(&mut self, known: &mut Known) -> Option<()> {
        let [kind] = self.array()?;
        let of = u32::from_le_bytes(self.array()?) as usize;
        match kind {
            INTEGER => {
                let value = IdValue::Integer(i64::from_le_bytes(self.array()?));
                known.dictionaries.get_mut(of)?.absorb(value);
            }
            TEXT => {
                let length = usize::try_from(u64::from_le_bytes(self.array()?)).ok()?;
                let text = std::str::from_utf8(self.take(length)?).ok()?;
                known.dictionaries.get_mut(of)?.absorb(IdValue::Text(text.into()));
            }
            ENTITY => {
                let hash = (u128::from_le_bytes(self.array()?), u64::from_le_bytes(self.array()?));
                known.entities.get_mut(of)?.assign(hash).ok()?;
            }
            MEMBER => {
                let key = u128::from_le_bytes(self.array()?);
                known.given.get_mut(of)?.get_or_insert_default().restore(key, u32::from_le_bytes(self.array()?));
            }
            BEGIN => {
                known.given.get_mut(of)?.get_or_insert_default().begin();
            }
            CLOSE => known.given.iter_mut().flatten().for_each(Given::close),
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::id::IdRef;
    use super::*;
    use crate::data::layout::{GroupLayout, SplitColumn};

    #[test]
    fn what_was_learnt_is_recalled() {
        let layout = Layout {
            groups: vec![GroupLayout::default(); 2],
            tables: Vec::new(),
            labels: Vec::new(),
            weight: None,
            loss_weights: vec![],
            keys: Vec::new(),
            aux: vec!["a".into(), "b".into()],
            split: SplitColumn::None,
            truth: Vec::new(),
        };
        let mut known = Known::nothing(&layout);
        known.begin_members(0);
        let keys = [Some(5), None, Some(7)];
        let fresh = known.given[0].as_mut().unwrap().fresh_of(keys.into_iter(), |_, _, _| {}).unwrap();
        let (of, new) = known.assign(0, &[(1, 1), (2, 1), (3, 1)], &fresh).unwrap();
        assert_eq!((&of[..], &new[..]), (&[0, 1][..], &[0, 2][..]));
        known.know(0, &of);
        known.begin_rows();
        let mut records = Vec::new();
        for (at, text) in ["x", "-4", ""].iter().enumerate() {
            let value = IdValue::of_text(text);
            value_record(at % 2, &value, &mut records);
            known.dictionaries[at % 2].absorb(value);
        }
        known.note(&records);
        let records = known.learnt();
        assert!(known.learnt().is_empty());
        // The first record is `BEGIN`, of five bytes.
        let half = 5;
        assert!(Known::nothing(&layout).recall(&records[..=half]).is_err());
        let mut again = Known::nothing(&layout);
        again.recall(&records[..half]).unwrap();
        again.recall(&records[half..]).unwrap();
        assert_eq!(again.entities[0].counts(), (2, 1, 1));
        assert_eq!(again.dictionaries[0].find(IdRef::Text("")), Some(2));
        assert_eq!(again.dictionaries[1].find(IdRef::Integer(-4)), Some(1));
        let given = again.given[0].as_mut().unwrap();
        let broken = |keys: Option<u128>, given: &mut Given| given.fresh_of([keys].into_iter(), |_, _, _| {}).unwrap().is_empty();
        assert!(broken(Some(7), given) && !broken(Some(8), given));
        assert!(given.begin(), "rows had begun");
        assert!(again.recall(&[9, 0, 0, 0, 0]).is_err() && again.recall(&[INTEGER, 9, 0, 0, 0]).is_err());
    }
}
