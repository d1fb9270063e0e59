//! In which order the rows of a part come: as in the inputs, shuffled row by row, or shuffled by the entities that they belong to.
//!
//! Where many rows share a user, a batch of rows that were drawn one by one holds about as many users as rows, and what a user's rows share is
//! computed for each of them. Shuffled in pieces of one user's rows, a batch holds few users, and each of them is computed once.

use super::dataset::{Order, Position};
use super::shuffle::Shuffle;
use super::split::Part;
use super::store::Store;

/// The rows of a part, cut into pieces of one entity's rows.
#[derive(Debug)]
pub(crate) struct Pieces {
    /// The part's rows, entity by entity, those of one entity as in the inputs.
    rows: Vec<u32>,
    /// `[pieces + 1]`: where each piece starts.
    starts: Vec<u32>,
}

impl Pieces {
    /// Of the rows of `part` by the entities of `group`, at most `limit` rows each. Takes 4 bytes a row.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn of(store: &Store, parts: &[u8], part: Part, group: usize, limit: usize) -> Self {
        let entity = |row: usize| store.entities(row)[group - 1] as usize;
        let wanted = || parts.iter().enumerate().filter(|(_, p)| **p == part.code()).map(|(row, _)| row);
        let mut next = vec![0u32; store.groups[group].size + 1];
        wanted().for_each(|row| next[entity(row) + 1] += 1);
        for i in 1..next.len() {
            next[i] += next[i - 1];
        }
        let mut starts = vec![0u32];
        for bounds in next.windows(2) {
            let (mut from, to) = (bounds[0], bounds[1]);
            while from < to {
                from += (to - from).min(limit as u32);
                starts.push(from);
            }
        }
        let mut rows = vec![0u32; starts.last().copied().unwrap_or(0) as usize];
        for row in wanted() {
            let at = &mut next[entity(row)];
            rows[*at as usize] = row as u32;
            *at += 1;
        }
        Self { rows, starts }
    }

    fn len(&self) -> u64 {
        self.starts.len() as u64 - 1
    }
    #[allow(clippy::cast_possible_truncation)]
    fn get(&self, piece: u64) -> &[u32] {
        let piece = piece as usize;
        &self.rows[self.starts[piece] as usize..self.starts[piece + 1] as usize]
    }
}

/// The rows of a part in order, from `start` on, each with the position after it.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn rows<'a>(
    parts: &'a [u8],
    part: Part,
    order: Order,
    pieces: Option<&'a Pieces>,
    start: Position,
) -> Box<dyn Iterator<Item = (u32, Position)> + 'a> {
    let total = parts.len() as u64;
    let of_part = move |row: &(u64, Position)| parts[row.0 as usize] == part.code();
    let numbered = |(row, position): (u64, Position)| (row as u32, position);
    match (order, pieces) {
        (Order::Sequential, _) => Box::new((start..total).map(|at| (at, at + 1)).filter(of_part).map(numbered)),
        (Order::Shuffled { seed, epoch, .. }, None) => {
            let shuffle = Shuffle::new(total, seed, epoch);
            Box::new((start..total).map(move |at| (shuffle.get(at), at + 1)).filter(of_part).map(numbered))
        }
        (Order::Shuffled { seed, epoch, .. }, Some(pieces)) => {
            let shuffle = Shuffle::new(pieces.len(), seed, epoch);
            let all = (0..pieces.len()).flat_map(move |at| pieces.get(shuffle.get(at)));
            let skipped = (start as usize).min(pieces.rows.len());
            Box::new(all.skip(skipped).zip(start + 1..).map(|(row, position)| (*row, position)))
        }
    }
}
