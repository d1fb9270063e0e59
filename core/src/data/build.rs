//! Rows of a store → [`Batch`]: codes are looked up in a dense list per table, nothing is hashed per cell but the out-of-vocabulary draw.

use super::batch::{BagBatch, Batch, GroupBatch};
use super::id::mix;
use super::orphan::Labels;
use super::preprocess::{FIRST_ID, MISSING, OUT_OF_VOCABULARY, Preprocessor};
use super::store::Store;
use hashbrown::HashMap;

/// Reads a share of known ids as out of vocabulary; the same for the same row, field and key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    key: u64,
    /// Draws below are masked.
    below: u64,
}
impl Mask {
    /// Of a rate in `[0, 1]`; `None` for 0.
    pub(crate) fn new(rate: f32, seed: u64, epoch: u64) -> Option<Self> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let below = (f64::from(rate.clamp(0.0, 1.0)) * 18_446_744_073_709_551_616.0) as u64;
        (below > 0).then(|| Self { key: mix(epoch, mix(seed, 0x006f_6f76)), below })
    }
    #[inline]
    fn hides(self, member: u64, place: u64) -> bool {
        mix(place, member) < self.below
    }
    fn member(self, group: usize, at: usize) -> u64 {
        mix(at as u64, self.key ^ ((group as u64) << 56))
    }
}

/// Builds batches from rows of a store.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub store: &'a Store,
    pub preprocessor: &'a Preprocessor,
    /// Per table and code: the table row.
    pub rows_of: &'a [Vec<u32>],
    pub labels: &'a Labels,
    pub mask: Option<Mask>,
}

/// Per table and code of the store's dictionaries: the table row. Scoring's look-up makes it, so both agree.
pub(crate) fn rows_of(store: &Store, preprocessor: &Preprocessor) -> Vec<Vec<u32>> {
    let of_table = |(t, vocabulary): (usize, &super::preprocess::TableVocabulary)| {
        let rows = store.table_values(t).iter().map(|v| vocabulary.row(v.borrow()));
        std::iter::once(MISSING).chain(rows).collect()
    };
    preprocessor.tables.iter().enumerate().map(of_table).collect()
}

impl Builder<'_> {
    /// The batch of these rows, in this order.
    pub(crate) fn build(&self, rows: &[u32]) -> Batch {
        let store = self.store;
        let layout = store.layout();
        let mut batch = Batch { size: rows.len(), ..Batch::default() };
        for group in 0..store.groups.len() {
            batch.groups.push(if group == 0 { self.members(0, rows) } else { self.entities(group, rows) });
        }
        let stages = layout.labels.len();
        batch.labels = vec![Vec::with_capacity(rows.len()); stages];
        batch.aux = vec![Vec::with_capacity(rows.len()); layout.aux.len()];
        if !layout.truth.is_empty() {
            batch.truth = vec![Vec::new(); stages];
            batch.counterfactual = vec![Vec::new(); stages];
        }
        if !layout.loss_weights.is_empty() {
            batch.loss_weights = vec![Vec::new(); stages];
        }
        let (mut labels, mut reached) = (vec![0; stages], vec![0; stages]);
        for &row in rows {
            let row = row as usize;
            labels.copy_from_slice(store.labels(row));
            self.labels.apply(&mut labels, &mut reached);
            batch.labels.iter_mut().zip(&labels).for_each(|(column, &l)| column.push(l));
            batch.weights.extend(store.weight(row));
            for (weight, &value) in layout.loss_weights.iter().zip(store.loss_weights(row)) {
                batch.loss_weights[weight.stage].push(value);
            }
            batch.aux.iter_mut().zip(store.aux(row)).for_each(|(column, &code)| column.push(code));
            let (probabilities, outcomes) = store.truth(row);
            for ((truth, &p), &y) in layout.truth.iter().zip(probabilities).zip(outcomes) {
                batch.truth[truth.stage].push(p);
                batch.counterfactual[truth.stage].push(y);
            }
        }
        batch
    }

    fn entities(&self, group: usize, rows: &[u32]) -> GroupBatch {
        let mut local: HashMap<u32, u32> = HashMap::with_capacity(rows.len());
        let (mut members, mut index) = (Vec::new(), Vec::with_capacity(rows.len()));
        for &row in rows {
            let entity = self.store.entities(row as usize)[group - 1];
            #[allow(clippy::cast_possible_truncation)]
            let next = members.len() as u32;
            let at = *local.entry(entity).or_insert(next);
            if at == next {
                members.push(entity);
            }
            index.push(at);
        }
        GroupBatch { index, ..self.members(group, &members) }
    }

    pub(crate) fn members(&self, group: usize, members: &[u32]) -> GroupBatch {
        let columns = &self.preprocessor.layout.groups[group];
        let fields = &self.preprocessor.fields().groups[group];
        let stored = &self.store.groups[group];
        let tables: Vec<(&[u32], bool)> = columns.ids.iter().map(|c| self.table(c.table)).collect();
        let mut out = GroupBatch {
            size: members.len(),
            index: Vec::new(),
            singles: Vec::with_capacity(members.len() * fields.singles.len()),
            bags: Vec::with_capacity(columns.bags.len()),
            numbers: Vec::with_capacity(members.len() * fields.numbers.len()),
        };
        for &member in members {
            let at = member as usize;
            let codes = stored.codes(at).iter().zip(&tables);
            if let Some(mask) = self.mask {
                let key = mask.member(group, at);
                out.singles.extend(codes.enumerate().map(|(i, (&code, &(rows, masks)))| {
                    let row = rows[code as usize];
                    if masks && row >= FIRST_ID && mask.hides(key, i as u64) { OUT_OF_VOCABULARY } else { row }
                }));
            } else {
                out.singles.extend(codes.map(|(&code, &(rows, _))| rows[code as usize]));
            }
            self.preprocessor.push_numbers(group, stored.numbers(at), &mut out.singles, &mut out.numbers);
        }
        for (b, (bag, column)) in stored.bags.iter().zip(&columns.bags).enumerate() {
            let (rows, masks) = self.table(column.id.table);
            let mut values = BagBatch { offsets: vec![0], ..BagBatch::default() };
            for &member in members {
                let (codes, weights) = bag.get(member as usize);
                let kept = column.kept(codes.len());
                let weights = if weights.is_empty() { weights } else { &weights[kept.clone()] };
                let mask = self.mask.filter(|_| masks).map(|m| (m, m.member(group, member as usize)));
                values.rows.extend(codes.iter().enumerate().skip(kept.start).map(|(i, &code)| {
                    let row = rows[code as usize];
                    let place = ((b as u64 + 1) << 32) + i as u64;
                    if row >= FIRST_ID && mask.is_some_and(|(m, key)| m.hides(key, place)) { OUT_OF_VOCABULARY } else { row }
                }));
                values.weights.extend_from_slice(weights);
                #[allow(clippy::cast_possible_truncation)]
                values.offsets.push(values.rows.len() as u32);
            }
            out.bags.push(values);
        }
        out
    }

    fn table(&self, table: usize) -> (&[u32], bool) {
        (&self.rows_of[table], self.preprocessor.tables[table].masks())
    }
}
