//! Ids in canonical form: `"42"` in a text file and `42` in a typed one are the same id, `"042"` is another.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// An id as dictionaries keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdValue {
    /// A whole number.
    Integer(i64),
    /// Any other text.
    Text(Box<str>),
}

/// A borrowed id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdRef<'a> {
    /// A whole number.
    Integer(i64),
    /// Any other text.
    Text(&'a str),
}

impl IdValue {
    /// Of text, made canonical.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        IdRef::of_text(text).to_owned()
    }
    /// Borrows it.
    #[must_use]
    pub fn borrow(&self) -> IdRef<'_> {
        match self {
            Self::Integer(i) => IdRef::Integer(*i),
            Self::Text(t) => IdRef::Text(t),
        }
    }
}
impl std::fmt::Display for IdValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.borrow().fmt(f)
    }
}
impl std::fmt::Display for IdRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(i) => i.fmt(f),
            Self::Text(t) => t.fmt(f),
        }
    }
}

impl<'a> IdRef<'a> {
    /// Of text: a whole number written the shortest way becomes one.
    #[must_use]
    pub fn of_text(text: &'a str) -> Self {
        canonical_integer(text.as_bytes()).map_or(Self::Text(text), Self::Integer)
    }
    /// Owns it.
    #[must_use]
    pub fn to_owned(self) -> IdValue {
        match self {
            Self::Integer(i) => IdValue::Integer(i),
            Self::Text(t) => IdValue::Text(t.into()),
        }
    }
    /// Hash for tables in memory.
    pub(crate) fn quick_hash(self) -> u64 {
        match self {
            Self::Integer(i) => mix(i.cast_unsigned(), 0),
            Self::Text(t) => xxh3_64(t.as_bytes()),
        }
    }
    /// Hash of the canonical text; the same on every machine and for every source.
    #[must_use]
    pub fn stable_hash(self, seed: u64) -> u64 {
        match self {
            Self::Integer(i) => {
                let mut buffer = [0; 20];
                xxh3_64_with_seed(decimal(i, &mut buffer), seed)
            }
            Self::Text(t) => xxh3_64_with_seed(t.as_bytes(), seed),
        }
    }
}
impl PartialEq<IdValue> for IdRef<'_> {
    fn eq(&self, other: &IdValue) -> bool {
        *self == other.borrow()
    }
}

/// The number that this text is the shortest way to write.
fn canonical_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 || (digits[0] == b'0' && (digits.len() > 1 || negative)) {
        return None;
    }
    let mut value: i64 = 0;
    for &d in digits {
        if !d.is_ascii_digit() {
            return None;
        }
        let d = i64::from(d - b'0');
        value = value.checked_mul(10)?;
        value = if negative { value.checked_sub(d)? } else { value.checked_add(d)? };
    }
    Some(value)
}

/// The decimal digits of `value`, written at the end of `buffer`.
fn decimal(value: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    &buffer[at..]
}

/// Mixes two words into one whose bits all depend on all bits of both (the finaliser of `SplitMix64`, Steele et al. 2014).
#[must_use]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A word as a number in `[0, 1)`.
#[must_use]
pub(crate) fn unit(word: u64) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let top = (word >> 11) as f64;
    top / 9_007_199_254_740_992.0
}

/// What a feature reads as missing, besides the empty cell and null.
#[derive(Debug, Clone, Default)]
pub(crate) struct Missing {
    ids: Vec<IdValue>,
    texts: Vec<String>,
    numbers: Vec<f64>,
}
impl Missing {
    pub(crate) fn of(markers: &[String]) -> Self {
        Self {
            ids: markers.iter().map(|m| IdValue::of_text(m)).collect(),
            texts: markers.to_vec(),
            numbers: markers.iter().filter_map(|m| m.trim().parse().ok()).collect(),
        }
    }
    pub(crate) fn has_id(&self, id: IdRef<'_>) -> bool {
        self.ids.iter().any(|m| id == *m)
    }
    pub(crate) fn has_text(&self, text: &str) -> bool {
        self.texts.iter().any(|m| m == text)
    }
    pub(crate) fn has_number(&self, number: f64) -> bool {
        self.numbers.contains(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_integers_and_nothing_else_become_numbers() {
        assert_eq!(IdRef::of_text("42"), IdRef::Integer(42));
        assert_eq!(IdRef::of_text("-7"), IdRef::Integer(-7));
        assert_eq!(IdRef::of_text("0"), IdRef::Integer(0));
        assert_eq!(IdRef::of_text("-9223372036854775808"), IdRef::Integer(i64::MIN));
        for text in ["042", "-0", "+1", "", "-", "1.0", "9223372036854775808", "1 ", "١"] {
            assert_eq!(IdRef::of_text(text), IdRef::Text(text), "{text}");
        }
    }

    #[test]
    fn a_number_hashes_as_its_text() {
        for i in [0, 1, -1, 42, i64::MAX, i64::MIN] {
            assert_eq!(IdRef::Integer(i).stable_hash(3), xxh3_64_with_seed(i.to_string().as_bytes(), 3));
        }
    }
}
