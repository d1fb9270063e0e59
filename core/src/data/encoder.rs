//! Chunks → the rows of a store, some chunks at once.
//!
//! What can be said of a chunk by itself is found on all cores ([`Draft`]). What depends on the chunks before it is decided in their order, by
//! looking at hashes alone: which entities are new, which rows are left out, which codes new values get. So the store is the same however many
//! cores there are, and however many chunks are taken at once.

use super::dictionary::Dictionary;
use super::draft::{Draft, Values, Way};
use super::faults::Faults;
use super::given::Reading;
use super::id::IdValue;
use super::known::{Known, value_record};
use super::layout::Layout;
use super::left_out::LeftOut;
use super::source::{Chunk, Input};
use super::store::{EncodedRows, StoredEntities};
use crate::diagnostic::Diagnostics;
use rayon::prelude::*;

/// Encodes chunks; what it gives is to be written in that order.
pub(super) struct Encoder<'a> {
    layout: &'a Layout,
    show_values: bool,
    known: Known,
    left_out: LeftOut,
    faults: Faults,
}

/// Chunks, encoded.
pub(super) struct Batch {
    pub chunks: Vec<EncodedRows>,
    /// What has been learnt from them, as records.
    pub learnt: Vec<u8>,
}

impl<'a> Encoder<'a> {
    /// That goes on from what is known.
    pub(super) fn new(layout: &'a Layout, known: Known, left_out: LeftOut, show_values: bool) -> Self {
        Self { layout, show_values, known, left_out, faults: Faults::default() }
    }

    /// Makes ready for an input.
    pub(super) fn begin(&mut self, reading: &Reading) {
        match reading {
            Reading::Members { group, .. } => self.known.begin_members(group - 1),
            Reading::Rows(_) => self.known.begin_rows(),
            Reading::Nothing => {}
        }
    }

    /// Encodes the next chunks of an input.
    ///
    /// # Errors
    /// A column of a type that cannot be read; more broken rows than may be left out.
    pub(super) fn take(&mut self, chunks: Vec<Chunk>, input: &Input, reading: &Reading) -> anyhow::Result<Batch> {
        let way = Way { layout: self.layout, input, reading, show_values: self.show_values };
        let given = &self.known.given;
        let drafts: Vec<anyhow::Result<Draft>> = chunks.into_par_iter().map(|chunk| Draft::of(chunk, way, given)).collect();
        let mut settled = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let mut draft = draft?;
            self.settle(&mut draft, way)?;
            self.left_out.check()?;
            settled.push(draft);
        }
        let dictionaries = &self.known.dictionaries;
        let values: Vec<anyhow::Result<Values>> = settled.into_par_iter().map(|draft| draft.encode(way, dictionaries)).collect();
        let mut values = values.into_iter().collect::<anyhow::Result<Vec<Values>>>()?;
        for chunk in &mut values {
            self.faults.absorb(std::mem::take(&mut chunk.faults));
        }
        self.give_codes(&mut values);
        Ok(Batch { chunks: values.into_iter().map(|v| v.rows).collect(), learnt: self.known.learnt() })
    }

    /// Decides what depends on the chunks before: which rows are left out, and which entities the rows are of.
    fn settle(&mut self, draft: &mut Draft, way: Way<'_>) -> anyhow::Result<()> {
        for row in &draft.broken {
            self.left_out.note(way.input, row.number, row.expected, || row.found.clone());
        }
        for &number in &draft.unknown {
            self.left_out.note(way.input, number, "a key that an entity input holds", || "another".into());
        }
        if let Reading::Members { group, .. } = way.reading {
            let (kind, numbers, left_out) = (group - 1, &draft.chunk.numbers, &mut self.left_out);
            for members in &mut draft.groups {
                let given = self.known.given[kind].get_or_insert_default();
                let fresh = given.fresh_of(members.keys.iter().copied(), |row, expected, found| {
                    left_out.note(way.input, numbers.get(row), expected, || found.into());
                })?;
                let (of, new) = self.known.assign(kind, &members.hashes, &fresh)?;
                self.known.know(kind, &of);
                members.rows = new;
            }
            return Ok(());
        }
        for entities in draft.groups.iter_mut().filter(|g| g.group > 0) {
            let (of, new) = self.known.assign(entities.group - 1, &entities.hashes, &entities.rows)?;
            draft.of[entities.group - 1] = Some(of);
            entities.rows = new;
        }
        Ok(())
    }

    /// Takes new values into the dictionaries, in the order of the chunks, and puts their codes in place of the provisional ones. Dictionaries
    /// know nothing of each other, so each is filled on a core of its own.
    fn give_codes(&mut self, values: &mut [Values]) {
        let count = self.known.dictionaries.len();
        let mut fresh: Vec<Vec<Vec<IdValue>>> = (0..count).map(|_| Vec::with_capacity(values.len())).collect();
        for chunk in values.iter_mut() {
            for (all, (_, values)) in fresh.iter_mut().zip(&mut chunk.fresh) {
                all.push(std::mem::take(values));
            }
        }
        let filled: Vec<(Vec<Vec<u32>>, Vec<u8>)> = self
            .known
            .dictionaries
            .par_iter_mut()
            .zip(fresh)
            .enumerate()
            .map(|(at, (dictionary, fresh))| fill(at, dictionary, fresh))
            .collect();
        for (_, records) in &filled {
            self.known.note(records);
        }
        let layout = self.layout;
        values.par_iter_mut().enumerate().for_each(|(n, chunk)| {
            let codes = |dictionary: usize| (chunk.fresh[dictionary].0, filled[dictionary].0[n].as_slice());
            replace(&mut chunk.rows, layout, &codes);
        });
    }

    /// Whether no cell was broken so far.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// What was left out so far.
    pub(super) fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// What has been learnt in the end.
    ///
    /// # Errors
    /// Cells that could not be read, all of them at once.
    #[allow(clippy::type_complexity)]
    pub(super) fn finish(self) -> Result<(Vec<StoredEntities>, Vec<String>, Vec<Dictionary>), Diagnostics> {
        self.faults.check()?;
        let entities = self.layout.groups[1..].iter().zip(&self.known.entities).map(|(group, e)| {
            let (entities, keys, keys_with_several) = e.counts();
            StoredEntities { name: group.name.clone(), entities, keys, keys_with_several }
        });
        Ok((entities.collect(), self.left_out.messages(), self.known.dictionaries))
    }
}

/// Takes the new values of each chunk in; gives their codes, and the records of those that no chunk before had.
fn fill(at: usize, dictionary: &mut Dictionary, fresh: Vec<Vec<IdValue>>) -> (Vec<Vec<u32>>, Vec<u8>) {
    let mut records = Vec::new();
    let mut one = |value: IdValue| {
        let before = records.len();
        value_record(at, &value, &mut records);
        let (code, is_new) = dictionary.absorb(value);
        if !is_new {
            records.truncate(before);
        }
        code
    };
    let codes = fresh.into_iter().map(|values| values.into_iter().map(&mut one).collect()).collect();
    (codes, records)
}

/// Replaces provisional codes. `codes`: of a dictionary, its last code at the look-up, and the codes of what it lacked.
fn replace<'c>(rows: &mut EncodedRows, layout: &Layout, codes: &impl Fn(usize) -> (u32, &'c [u32])) {
    for (group, values) in &mut rows.groups {
        let layout = &layout.groups[*group];
        for (i, column) in layout.ids.iter().enumerate() {
            replace_column(&mut values.ids, i, layout.ids.len(), codes(column.table));
        }
        for (column, bag) in layout.bags.iter().zip(&mut values.bags) {
            replace_column(&mut bag.codes, 0, 1, codes(column.id.table));
        }
    }
    if let Some(values) = &mut rows.values {
        for i in 0..layout.aux.len() {
            replace_column(&mut values.aux, i, layout.aux.len(), codes(layout.tables.len() + i));
        }
    }
}

/// Replaces the codes of every `step`th place from `first`.
fn replace_column(codes: &mut [u32], first: usize, step: usize, (last, given): (u32, &[u32])) {
    if given.is_empty() {
        return;
    }
    for code in codes.iter_mut().skip(first).step_by(step) {
        if *code > last {
            *code = given[(*code - last - 1) as usize];
        }
    }
}
