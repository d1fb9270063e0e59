//! Values ↔ codes, in order of first appearance. Code 0 is reserved for missing.

use super::id::{IdRef, IdValue};
use hashbrown::HashTable;

/// The values of one table or column over all rows.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    values: Vec<IdValue>,
    /// Whole numbers stand beside their codes: a look-up touches memory once.
    integers: HashTable<(i64, u32)>,
    texts: HashTable<u32>,
}

impl Dictionary {
    /// Of values that are all different, in order of their codes.
    #[must_use]
    pub fn of_values(values: Vec<IdValue>) -> Self {
        let mut this = Self { values: Vec::with_capacity(values.len()), ..Self::default() };
        for value in values {
            let hash = value.borrow().quick_hash();
            this.insert(hash, value);
        }
        this
    }

    fn insert(&mut self, hash: u64, value: IdValue) -> u32 {
        self.values.push(value);
        // More than 2³² values would need over 64 GiB of memory before this saturates.
        let code = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let values = &self.values;
        if let IdValue::Integer(i) = values[values.len() - 1] {
            self.integers.insert_unique(hash, (i, code), |&(i, _)| IdRef::Integer(i).quick_hash());
        } else {
            self.texts.insert_unique(hash, code, |&c| values[c as usize - 1].borrow().quick_hash());
        }
        code
    }

    /// The code of a value; a new value gets the next one.
    pub fn intern(&mut self, value: IdRef<'_>) -> u32 {
        let hash = value.quick_hash();
        self.find_hashed(hash, value).unwrap_or_else(|| self.insert(hash, value.to_owned()))
    }

    /// Like [`Self::intern`]; tells whether the value is new.
    pub(crate) fn absorb(&mut self, value: IdValue) -> (u32, bool) {
        let hash = value.borrow().quick_hash();
        match self.find_hashed(hash, value.borrow()) {
            Some(code) => (code, false),
            None => (self.insert(hash, value), true),
        }
    }

    /// The code of a known value.
    #[must_use]
    pub fn find(&self, value: IdRef<'_>) -> Option<u32> {
        self.find_hashed(value.quick_hash(), value)
    }

    fn find_hashed(&self, hash: u64, value: IdRef<'_>) -> Option<u32> {
        match value {
            IdRef::Integer(i) => self.integers.find(hash, |&(known, _)| known == i).map(|&(_, code)| code),
            IdRef::Text(_) => self.texts.find(hash, |&c| value == self.values[c as usize - 1]).copied(),
        }
    }

    /// The values; code `c` is at `c - 1`.
    #[must_use]
    pub fn values(&self) -> &[IdValue] {
        &self.values
    }

    /// The value behind a code; `None` for missing.
    #[must_use]
    pub fn value(&self, code: u32) -> Option<&IdValue> {
        self.values.get((code as usize).checked_sub(1)?)
    }

    /// Number of codes, the one for missing included.
    #[must_use]
    pub fn codes(&self) -> usize {
        self.values.len() + 1
    }
}

/// Codes of a chunk's values, found while the dictionary stands still, so that many chunks can be looked up at once. Values that it lacks get
/// codes behind its own, in order of first appearance; [`Self::fresh`] names them, and when the dictionary has taken them in, their codes are
/// replaced by the ones they have got.
#[derive(Debug)]
pub(crate) struct Lookup<'a> {
    known: &'a Dictionary,
    fresh: Dictionary,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(known: &'a Dictionary) -> Self {
        Self { known, fresh: Dictionary::default() }
    }

    #[inline]
    pub(crate) fn code(&mut self, value: IdRef<'_>) -> u32 {
        let hash = value.quick_hash();
        self.known.find_hashed(hash, value).unwrap_or_else(|| self.new_code(hash, value))
    }

    #[cold]
    fn new_code(&mut self, hash: u64, value: IdRef<'_>) -> u32 {
        let fresh = self.fresh.find_hashed(hash, value).unwrap_or_else(|| self.fresh.insert(hash, value.to_owned()));
        last_code(self.known).saturating_add(fresh)
    }

    /// The last code of the dictionary as it was, and the values behind it.
    pub(crate) fn fresh(self) -> (u32, Vec<IdValue>) {
        (last_code(self.known), self.fresh.values)
    }
}

fn last_code(dictionary: &Dictionary) -> u32 {
    u32::try_from(dictionary.values.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_in_order_of_first_appearance() {
        let mut d = Dictionary::default();
        let codes: Vec<u32> = ["b", "42", "a", "b", "42"].iter().map(|t| d.intern(IdRef::of_text(t))).collect();
        assert_eq!(codes, [1, 2, 3, 1, 2]);
        assert_eq!(d.intern(IdRef::Integer(42)), 2);
        assert_eq!(d.value(2), Some(&IdValue::Integer(42)));
        assert_eq!(d.value(0), None);
        assert_eq!(d.find(IdRef::Text("z")), None);
        let again = Dictionary::of_values(d.values().to_vec());
        assert_eq!(again.find(IdRef::Text("a")), Some(3));
    }

    #[test]
    fn values_looked_up_at_once_get_the_codes_that_they_would_get_in_turn() {
        let chunks = [["b", "42", "a"], ["c", "b", "7"], ["7", "c", "42"]];
        let mut in_turn = Dictionary::default();
        in_turn.intern(IdRef::of_text("42"));
        let mut at_once = in_turn.clone();
        let expected: Vec<u32> = chunks.concat().iter().map(|t| in_turn.intern(IdRef::of_text(t))).collect();
        let looked_up = chunks.map(|chunk| {
            let mut lookup = Lookup::new(&at_once);
            let codes = chunk.map(|t| lookup.code(IdRef::of_text(t)));
            (codes, lookup.fresh())
        });
        let mut found = Vec::new();
        for (codes, (last, fresh)) in looked_up {
            let now: Vec<u32> = fresh.into_iter().map(|v| at_once.absorb(v).0).collect();
            found.extend(codes.map(|c| c.checked_sub(last + 1).map_or(c, |at| now[at as usize])));
        }
        assert_eq!(found, expected);
        assert_eq!(at_once.values(), in_turn.values());
    }
}
