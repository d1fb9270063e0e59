//! The files of one group: its members' codes, numbers and bags.

use super::checksum::Checksums;
use super::file::{Column, Folder};
use crate::data::encode::GroupValues;
use crate::data::layout::GroupLayout;

struct BagWriter {
    offsets: Column,
    codes: Column,
    weights: Option<Column>,
    values: u64,
}

/// The files of one group.
pub(super) struct GroupWriter {
    codes: Column,
    numbers: Column,
    bags: Vec<BagWriter>,
}
impl GroupWriter {
    pub(super) fn open(folder: &Folder<'_>, at: usize, group: &GroupLayout, bag_values: Option<&Vec<u64>>) -> anyhow::Result<Self> {
        let prefix = format!("group{at}");
        let mut bags = Vec::new();
        for (i, bag) in group.bags.iter().enumerate() {
            let offsets = starting_with_zero(folder.column(&format!("{prefix}.bag{i}.offsets.u64"))?)?;
            let codes = folder.column(&format!("{prefix}.bag{i}.codes.u32"))?;
            let weights = bag.weights.is_some().then(|| folder.column(&format!("{prefix}.bag{i}.weights.f32"))).transpose()?;
            let values = bag_values.and_then(|v| v.get(i)).copied().unwrap_or(0);
            bags.push(BagWriter { offsets, codes, weights, values });
        }
        let codes = folder.column(&format!("{prefix}.codes.u32"))?;
        Ok(Self { codes, numbers: folder.column(&format!("{prefix}.numbers.f32"))?, bags })
    }

    pub(super) fn push(&mut self, values: &GroupValues) -> anyhow::Result<()> {
        self.codes.push(&values.ids)?;
        self.numbers.push(&values.numbers)?;
        let mut ends: Vec<u64> = Vec::new();
        for (writer, bag) in self.bags.iter_mut().zip(&values.bags) {
            ends.clear();
            for &length in &bag.lengths {
                writer.values += u64::from(length);
                ends.push(writer.values);
            }
            writer.offsets.push(&ends)?;
            writer.codes.push(&bag.codes)?;
            if let Some(weights) = &mut writer.weights {
                weights.push(&bag.weights)?;
            }
        }
        Ok(())
    }

    pub(super) fn columns(&mut self) -> impl Iterator<Item = &mut Column> {
        let bags = self.bags.iter_mut().flat_map(|b| [&mut b.offsets, &mut b.codes].into_iter().chain(&mut b.weights));
        [&mut self.codes, &mut self.numbers].into_iter().chain(bags)
    }

    /// Values of each bag.
    pub(super) fn bag_values(&self) -> Vec<u64> {
        self.bags.iter().map(|b| b.values).collect()
    }

    pub(super) fn close(self, checksums: &mut Checksums) -> anyhow::Result<Vec<u64>> {
        self.codes.close(checksums)?;
        self.numbers.close(checksums)?;
        let mut values = Vec::new();
        for bag in self.bags {
            bag.offsets.close(checksums)?;
            bag.codes.close(checksums)?;
            bag.weights.map(|w| w.close(checksums)).transpose()?;
            values.push(bag.values);
        }
        Ok(values)
    }
}

/// Offsets open with a 0.
pub(super) fn starting_with_zero(mut offsets: Column) -> anyhow::Result<Column> {
    if offsets.bytes() == 0 {
        offsets.push(&[0_u64])?;
    }
    Ok(offsets)
}
