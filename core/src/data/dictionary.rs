//! Values ↔ codes, in order of first appearance. Code 0 is reserved for missing.

use super::id::{IdRef, IdValue};
use hashbrown::HashTable;

/// The values of one table or column over all rows.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    values: Vec<IdValue>,
    index: HashTable<u32>,
}

impl Dictionary {
    /// Of values that are all different, in order of their codes.
    #[must_use]
    pub fn of_values(values: Vec<IdValue>) -> Self {
        let mut this = Self { values: Vec::with_capacity(values.len()), index: HashTable::with_capacity(values.len()) };
        for value in values {
            this.insert(value);
        }
        this
    }

    fn insert(&mut self, value: IdValue) -> u32 {
        self.values.push(value);
        // More than 2³² values would need over 64 GiB of memory before this saturates.
        let code = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let hash = self.values[self.values.len() - 1].borrow().quick_hash();
        let values = &self.values;
        self.index.insert_unique(hash, code, |&c| values[c as usize - 1].borrow().quick_hash());
        code
    }

    /// The code of a value; a new value gets the next one.
    pub fn intern(&mut self, value: IdRef<'_>) -> u32 {
        self.find(value).unwrap_or_else(|| self.insert(value.to_owned()))
    }

    /// The code of a known value.
    #[must_use]
    pub fn find(&self, value: IdRef<'_>) -> Option<u32> {
        self.index.find(value.quick_hash(), |&c| value == self.values[c as usize - 1]).copied()
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
}
