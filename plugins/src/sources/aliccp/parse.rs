//! Lines → columns. Bytes are looked at once, and nothing is allocated per feature.

use super::Form;
use super::fields::{COUNT, FIELDS, Variant, weights_column};
use arrow::array::{ArrayRef, Float32Array, Int64Array, ListArray, StringArray, UInt8Array, new_empty_array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use esmm_funnel_core::data::source::BrokenRow;
use memchr::memchr;
use std::sync::Arc;

/// Between two features.
const NEXT: u8 = 1;
/// Between a field and its id.
const ID: u8 = 2;
/// Between an id and its value.
const VALUE: u8 = 3;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// `sample_id,click,buy,common_feature_index,feature_num,feature_list`
    Skeleton,
    /// `common_feature_index,feature_num,feature_list`
    Common,
    /// `sample_id,click,buy,field:id,…`
    Text,
}

/// Columns that are no field.
pub(super) const PLAIN: [(&str, DataType); 5] = [
    ("sample_id", DataType::Int64),
    ("click", DataType::UInt8),
    ("buy", DataType::UInt8),
    (KEY, DataType::Utf8),
    ("part", DataType::Int64),
];
/// What a row and its common features share.
pub(super) const KEY: &str = "common_feature_index";

/// All columns, those of the user last.
pub(super) fn schema(variant: Variant, form: Form) -> SchemaRef {
    let plain = PLAIN.into_iter().filter(|(name, _)| form == Form::Raw || *name != KEY);
    let mut fields: Vec<Field> = plain.map(|(name, data_type)| Field::new(name, data_type, false)).collect();
    for field in FIELDS.iter().filter(|f| variant.takes(f)) {
        let list = |of: DataType| DataType::List(Arc::new(Field::new("item", of, false)));
        let types = [DataType::Int64, DataType::Float32];
        let [ids, weights] = if variant.is_bag(field) { types.map(list) } else { types };
        fields.push(Field::new(field.name, ids, true));
        if form == Form::Raw {
            fields.push(Field::new(weights_column(field), weights, true));
        }
    }
    Arc::new(Schema::new(fields))
}

/// How to read the lines of a file.
#[derive(Debug, Clone)]
pub(super) struct Parser {
    pub holds: Holds,
    pub variant: Variant,
    /// The columns asked for.
    pub schema: SchemaRef,
    /// Per field: its values are asked for.
    keep: [bool; COUNT],
    /// Part of a row, by its sample id.
    pub part: fn(i64, f64) -> i64,
    /// Share of valid; negative: all rows are in test.
    pub valid: f64,
}

/// Why a line cannot be used.
#[derive(Debug)]
struct Flaw {
    expected: &'static str,
    found: String,
}
fn flaw<T>(expected: &'static str, found: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw { expected, found: found.into() })
}

const FEATURE: &str = "features as field 0x02 id 0x03 value, with 0x01 between them";
const FLAT: &str = "sample_id,click,buy,field:id,...";
const FLAT_FEATURE: &str = "features as field:id, with commas between them";
const SIX: &str = "sample_id,click,buy,common_feature_index,feature_num,feature_list";
const THREE: &str = "common_feature_index,feature_num,feature_list";

/// The values of one field.
#[derive(Debug, Default)]
struct Values {
    ids: Vec<i64>,
    weights: Vec<f32>,
    /// Of a bag: where each row's values end, after a 0.
    ends: Vec<i32>,
    /// Of a single id: whether the row has it.
    valid: Vec<bool>,
}

/// The rows of a block so far.
struct Rows<'a> {
    parser: &'a Parser,
    sample_ids: Vec<i64>,
    clicks: Vec<u8>,
    buys: Vec<u8>,
    keys: Vec<u8>,
    key_ends: Vec<i32>,
    values: Vec<Values>,
    /// Of the line at hand: the last id and value of each field, and which fields have one.
    last: [(i64, f32); COUNT],
    seen: u32,
}

/// What became of a block.
pub(super) struct Parsed {
    pub records: RecordBatch,
    /// Line of each row.
    pub lines: Vec<u64>,
    pub broken: Vec<BrokenRow>,
}

impl Parser {
    pub(super) fn new(holds: Holds, variant: Variant, schema: SchemaRef, part: fn(i64, f64) -> i64, valid: f64) -> Self {
        let asked = |name: &str| schema.index_of(name).is_ok();
        let keep = std::array::from_fn(|f| asked(FIELDS[f].name) || asked(&weights_column(&FIELDS[f])));
        Self { holds, variant, schema, keep, part, valid }
    }

    /// Parses whole lines, of which the first has this number. `ends_file`: the last line ends with the file.
    pub(super) fn block(&self, block: &[u8], first_line: u64, ends_file: bool) -> anyhow::Result<Parsed> {
        let mut rows = Rows::new(self);
        let (mut lines, mut broken) = (Vec::new(), Vec::new());
        let (mut at, mut number) = (0, first_line);
        while at < block.len() {
            let end = memchr(b'\n', &block[at..]).map_or(block.len(), |n| at + n);
            let line = block[at..end].strip_suffix(b"\r").unwrap_or(&block[at..end]);
            // Of a line that is cut short, what is left may look whole.
            let cut = ends_file && end == block.len();
            match if cut { flaw("a line end after every line", "the end of the file") } else { rows.line(line) } {
                Ok(true) => lines.push(number),
                Ok(false) => {}
                Err(Flaw { expected, found }) => broken.push(BrokenRow { number, expected, found }),
            }
            (at, number) = (end + 1, number + 1);
        }
        Ok(Parsed { records: rows.finish()?, lines, broken })
    }
}

impl<'a> Rows<'a> {
    fn new(parser: &'a Parser) -> Self {
        let values = (0..COUNT).map(|_| Values { ends: vec![0], ..Values::default() }).collect();
        Self {
            parser,
            sample_ids: Vec::new(),
            clicks: Vec::new(),
            buys: Vec::new(),
            keys: Vec::new(),
            key_ends: vec![0],
            values,
            last: [(0, 0.0); COUNT],
            seen: 0,
        }
    }

    /// Takes a line; false: the variant drops it.
    fn line(&mut self, line: &[u8]) -> Result<bool, Flaw> {
        self.seen = 0;
        let taken = match self.parser.holds {
            Holds::Skeleton => self.skeleton(line),
            Holds::Common => self.common(line),
            Holds::Text => self.text(line),
        };
        if !matches!(taken, Ok(true)) {
            self.undo();
        }
        taken
    }

    fn skeleton(&mut self, line: &[u8]) -> Result<bool, Flaw> {
        let ([id, click, buy, key, count], list) = split(line, SIX)?;
        let Some(id) = whole(id) else { return flaw("a whole number as sample_id", "something else") };
        let (click, buy) = (label(click, "0 or 1 as click")?, label(buy, "0 or 1 as buy")?);
        if self.parser.variant.drops_orphans() && click < buy {
            return Ok(false);
        }
        let key = check_key(key)?;
        self.features(list, count)?;
        self.row(id, click, buy, key);
        Ok(true)
    }

    fn common(&mut self, line: &[u8]) -> Result<bool, Flaw> {
        let ([key, count], list) = split(line, THREE)?;
        let key = check_key(key)?;
        self.features(list, count)?;
        self.end(key);
        Ok(true)
    }

    /// A row with its user in it.
    fn text(&mut self, line: &[u8]) -> Result<bool, Flaw> {
        // A row may have no features, and then no comma after its labels.
        let list = line.iter().enumerate().filter(|(_, b)| **b == b',').nth(2).map_or(line.len(), |(at, _)| at);
        let ([id, click], buy) = split(&line[..list], FLAT)?;
        let Some(id) = whole(id) else { return flaw("a whole number as sample_id", "something else") };
        let (click, buy) = (label(click, "0 or 1 as click")?, label(buy, "0 or 1 as buy")?);
        if self.parser.variant.drops_orphans() && click < buy {
            return Ok(false);
        }
        let mut before = 0;
        for (i, feature) in line[list..].split(|b| *b == b',').skip(1).enumerate() {
            before = self.text_feature(feature, i + 1, before)?;
        }
        self.row(id, click, buy, b"");
        Ok(true)
    }

    /// Takes `field:id`; gives the field.
    fn text_feature(&mut self, feature: &[u8], number: usize, before: usize) -> Result<usize, Flaw> {
        let colon = memchr(b':', feature).filter(|at| *at <= 8);
        let parts = colon.and_then(|at| Some((&feature[..at], whole(&feature[at + 1..])?)));
        let Some((name, id)) = parts else {
            return flaw(FLAT_FEATURE, format!("feature {number} without a field, a colon and an id of digits"));
        };
        let is = |f: &usize| FIELDS[*f].name.as_bytes() == name;
        let Some(field) = Some(before).filter(is).or_else(|| (0..COUNT).find(is)) else {
            return flaw("the fields of Ali-CCP", format!("another, in feature {number}"));
        };
        self.take(field, id, 1.0)?;
        Ok(field)
    }

    fn row(&mut self, id: i64, click: u8, buy: u8, key: &[u8]) {
        self.sample_ids.push(id);
        self.clicks.push(click);
        self.buys.push(buy);
        self.end(key);
    }

    fn features(&mut self, list: &[u8], count: &[u8]) -> Result<(), Flaw> {
        let Some(announced) = whole(count) else { return flaw("a whole number as feature_num", "something else") };
        let (mut rest, mut found) = (list, 0);
        let mut before = 0;
        while !rest.is_empty() {
            found += 1;
            before = self.feature(&mut rest, found, before)?;
        }
        if found != announced {
            return flaw("as many features as feature_num says", format!("{found} where it says {announced}"));
        }
        Ok(())
    }

    /// Takes one feature off the list, with the separator after it; gives its field. `before` is the field of the one before.
    fn feature(&mut self, rest: &mut &[u8], number: i64, before: usize) -> Result<usize, Flaw> {
        let Some((code, after)) = name(rest) else { return flaw(FEATURE, format!("feature {number} without a field and 0x02")) };
        let field = if FIELDS[before].code == code {
            before
        } else if let Some(field) = FIELDS.iter().position(|f| f.code == code) {
            field
        } else {
            return flaw("the fields of Ali-CCP", format!("another, in feature {number}"));
        };
        let user = self.parser.holds == Holds::Common;
        if FIELDS[field].user != user {
            let stands = if user { "field {} of the skeleton" } else { "field {} of the common features" };
            let expected = if user { "fields of the user among the common features" } else { "fields of item and context in the skeleton" };
            return flaw(expected, stands.replace("{}", FIELDS[field].name));
        }
        let Some((id, after)) = digits(after) else { return flaw(FEATURE, format!("feature {number} without an id of digits and 0x03")) };
        let Some((value, after)) = value(after) else { return flaw(FEATURE, format!("feature {number} without a number and 0x01")) };
        *rest = after;
        self.take(field, id, value)?;
        Ok(field)
    }

    /// Takes a value of a field of the line at hand.
    #[inline]
    fn take(&mut self, field: usize, id: i64, value: f32) -> Result<(), Flaw> {
        let bit = 1 << field;
        if self.parser.variant.is_bag(&FIELDS[field]) {
            if self.parser.keep[field] {
                let values = &mut self.values[field];
                values.ids.push(id);
                values.weights.push(value);
            }
        } else if self.seen & bit != 0 && !self.parser.variant.one_id() {
            return flaw(
                "one id of each field but 109_14, 110_14, 127_14, 150_14, 210 and 853",
                format!("several of {}", FIELDS[field].name),
            );
        } else {
            self.last[field] = (id, value);
        }
        self.seen |= bit;
        Ok(())
    }

    /// Ends a line that is taken.
    fn end(&mut self, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.key_ends.push(length(self.keys.len()));
        for (f, field) in FIELDS.iter().enumerate().filter(|(f, _)| self.parser.keep[*f]) {
            let values = &mut self.values[f];
            if self.parser.variant.is_bag(field) {
                values.ends.push(length(values.ids.len()));
            } else {
                let has = self.seen & (1 << f) != 0;
                let (id, value) = if has { self.last[f] } else { (0, 0.0) };
                values.ids.push(id);
                values.weights.push(value);
                values.valid.push(has);
            }
        }
    }

    /// Forgets what a line has left in the bags.
    #[allow(clippy::cast_sign_loss)]
    fn undo(&mut self) {
        for (f, field) in FIELDS.iter().enumerate() {
            if self.parser.variant.is_bag(field) {
                let values = &mut self.values[f];
                let kept = values.ends[values.ends.len() - 1] as usize;
                values.ids.truncate(kept);
                values.weights.truncate(kept);
            }
        }
    }

    fn finish(self) -> anyhow::Result<RecordBatch> {
        let parser = self.parser;
        let rows = self.key_ends.len() - 1;
        let mut fields: Vec<Option<[ArrayRef; 2]>> = Vec::new();
        for (f, values) in self.values.into_iter().enumerate() {
            fields.push(if parser.keep[f] { Some(values.arrays(parser.variant.is_bag(&FIELDS[f]))?) } else { None });
        }
        let keys = StringArray::try_new(OffsetBuffer::new(self.key_ends.into()), self.keys.into(), None)?;
        let keys: ArrayRef = Arc::new(keys);
        let parts = self.sample_ids.iter().map(|id| (parser.part)(*id, parser.valid));
        let parts: ArrayRef = Arc::new(Int64Array::from_iter_values(parts));
        let sample_ids: ArrayRef = Arc::new(Int64Array::from(self.sample_ids));
        let labels = [self.clicks, self.buys].map(|l| Arc::new(UInt8Array::from(l)) as ArrayRef);
        let column = |field: &Arc<Field>| {
            let name = field.name().as_str();
            let at = |bare: &str| FIELDS.iter().position(|f| f.name == bare).and_then(|f| fields[f].as_ref());
            let found = match name {
                "sample_id" => Some(&sample_ids),
                "click" => Some(&labels[0]),
                "buy" => Some(&labels[1]),
                "part" => Some(&parts),
                KEY => Some(&keys),
                _ => at(name).map(|a| &a[0]).or_else(|| at(name.strip_suffix("_w")?).map(|a| &a[1])),
            };
            found.map_or_else(|| new_empty_array(field.data_type()), Arc::clone)
        };
        let columns: Vec<ArrayRef> = parser.schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&parser.schema), columns, &options)?)
    }
}

impl Values {
    fn arrays(self, bag: bool) -> anyhow::Result<[ArrayRef; 2]> {
        if !bag {
            let valid = NullBuffer::from(self.valid);
            let ids = Int64Array::try_new(self.ids.into(), Some(valid.clone()))?;
            return Ok([Arc::new(ids), Arc::new(Float32Array::try_new(self.weights.into(), Some(valid))?)]);
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let list = |values: ArrayRef| {
            let item = Arc::new(Field::new("item", values.data_type().clone(), false));
            anyhow::Ok(Arc::new(ListArray::try_new(item, offsets.clone(), values, None)?) as ArrayRef)
        };
        Ok([list(Arc::new(Int64Array::from(self.ids)))?, list(Arc::new(Float32Array::from(self.weights)))?])
    }
}

/// A length as an offset: blocks are far smaller than 2³¹ bytes.
fn length(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// The first fields between commas, and the list after them.
fn split<'a, const N: usize>(line: &'a [u8], expected: &'static str) -> Result<([&'a [u8]; N], &'a [u8]), Flaw> {
    let (mut parts, mut rest) = ([&line[..0]; N], line);
    for (i, part) in parts.iter_mut().enumerate() {
        let Some(comma) = rest.iter().position(|b| *b == b',') else {
            let found = if line.is_empty() { "an empty line".to_owned() } else { format!("{} of {} fields between commas", i + 1, N + 1) };
            return flaw(expected, found);
        };
        (*part, rest) = (&rest[..comma], &rest[comma + 1..]);
    }
    Ok((parts, rest))
}

fn check_key(key: &[u8]) -> Result<&[u8], Flaw> {
    if key.is_empty() || !key.iter().all(u8::is_ascii_graphic) {
        return flaw("letters and digits as common_feature_index", "something else");
    }
    Ok(key)
}

fn label(text: &[u8], expected: &'static str) -> Result<u8, Flaw> {
    match text {
        b"0" => Ok(0),
        b"1" => Ok(1),
        other => flaw(expected, format!("{:?}", String::from_utf8_lossy(&other[..other.len().min(20)]))),
    }
}

/// A whole number of at most 18 digits.
fn whole(text: &[u8]) -> Option<i64> {
    let digits = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

/// The code of the field up to its separator, and what follows.
#[inline]
fn name(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut code = 0;
    for (at, &b) in text.iter().take(9).enumerate() {
        if b == ID {
            return Some((code, &text[at + 1..]));
        }
        code |= u64::from(b).checked_shl(8 * u32::try_from(at).ok()?)?;
    }
    None
}

/// The id up to its separator, and what follows.
#[inline]
fn digits(text: &[u8]) -> Option<(i64, &[u8])> {
    let mut id: i64 = 0;
    for (at, &b) in text.iter().take(19).enumerate() {
        if b == VALUE {
            return (at > 0).then(|| (id, &text[at + 1..]));
        }
        if !b.is_ascii_digit() {
            return None;
        }
        id = id * 10 + i64::from(b - b'0');
    }
    None
}

/// `10^n`, exact.
const POWERS: [f64; 16] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The value up to the next feature, and what follows. Digits and a point are read here, exactly as `str::parse` would: both numbers of the
/// division are exact. Anything else is left to it.
#[inline]
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn value(text: &[u8]) -> Option<(f32, &[u8])> {
    let (mut number, mut read, mut decimals, mut point) = (0_u64, 0, 0, false);
    for (at, &b) in text.iter().enumerate() {
        match b {
            b'0'..=b'9' => {
                number = number.wrapping_mul(10).wrapping_add(u64::from(b - b'0'));
                read += 1;
                decimals += usize::from(point);
            }
            b'.' if !point => point = true,
            NEXT if read > 0 && read <= 15 => return more((number as f64 / POWERS[decimals]) as f32, &text[at + 1..]),
            _ => return odd_value(text),
        }
    }
    if read > 0 && read <= 15 { Some(((number as f64 / POWERS[decimals]) as f32, &[])) } else { odd_value(text) }
}

/// A separator announces a feature.
#[inline]
fn more(value: f32, rest: &[u8]) -> Option<(f32, &[u8])> {
    if rest.is_empty() { None } else { Some((value, rest)) }
}

/// A value with a sign, an exponent or many digits.
#[cold]
#[allow(clippy::cast_possible_truncation)]
fn odd_value(text: &[u8]) -> Option<(f32, &[u8])> {
    let end = memchr(NEXT, text);
    let number: f64 = std::str::from_utf8(&text[..end.unwrap_or(text.len())]).ok()?.parse().ok()?;
    let number = (number.abs() <= f64::from(f32::MAX)).then_some(number as f32)?;
    match end {
        Some(end) => more(number, &text[end + 1..]),
        None => Some((number, &[])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::cast_possible_truncation)]
    fn numbers_are_read_as_the_standard_library_reads_them() {
        let texts =
            ["1.0", "0.69315", "2.70805", "12", "0", ".5", "7.", "0.000001", "123456.789012345", "1e-3", "-2.5", "1.23456789012345678"];
        for text in texts {
            let expected = text.parse::<f64>().unwrap() as f32;
            assert_eq!(value(text.as_bytes()), Some((expected, &b""[..])), "{text}");
            let followed = format!("{text}\u{1}301\u{2}1\u{3}1");
            assert_eq!(value(followed.as_bytes()).unwrap().0, expected, "{text}");
        }
        for text in ["", ".", "x", "1.2.3", "nan", "inf", "1e99", "1\u{1}", "1,5", "1\u{2}"] {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
        assert_eq!(whole(b"9223372036854775808"), None);
        assert_eq!(digits(b"12\x031"), Some((12, &b"1"[..])));
        assert_eq!((digits(b"\x031"), digits(b"1a\x03"), digits(b"12")), (None, None, None));
        assert_eq!((name(b"12345678\x02"), name(b"301")), (Some((u64::from_le_bytes(*b"12345678"), &b""[..])), None));
        assert_eq!(name(b"123456789\x02"), None);
    }
}
