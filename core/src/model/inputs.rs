//! What the networks see of a batch: shapes at build time, tensors at each step; and the towers' forward pass, which training and scoring
//! share.

use super::{Mask, Model, Owner, StageTower, TableSet};
use crate::data::{BagBatch, Batch, Fields, GroupBatch, GroupFields};
use crate::device::{Bk, Device};
use crate::embedding::{Columns, gather, gather_values};
use crate::plugin::input::{Part, PartShape, Sequence, SequenceShape, StageInput, StageOutput};
use crate::plugin::tower::DynTower;
use anyhow::{Context, Result};
use burn::prelude::*;
use rayon::prelude::*;

/// The bags that a tower may attend to, each with its group and its place there.
pub(super) fn sequences(fields: &Fields) -> impl Iterator<Item = (usize, usize)> + '_ {
    let of_group = |(g, group): (usize, &GroupFields)| {
        group.bags.iter().enumerate().filter(|(_, b)| b.attend_to.is_some()).map(move |(b, _)| (g, b)).collect::<Vec<_>>()
    };
    fields.groups.iter().enumerate().flat_map(of_group)
}

/// The parts of an embedded input: groups without columns are none.
pub(super) fn part_shapes(fields: &Fields, columns: Columns) -> Vec<PartShape> {
    let shape = |g: &GroupFields| PartShape {
        fields: g.singles.len() + g.bags.len(),
        dim: columns.dim,
        numbers: if columns.numbers { g.numbers.len() } else { 0 },
    };
    fields.groups.iter().map(shape).filter(|s| s.width() > 0).collect()
}

/// Where the fields of the sequences stand among all fields.
pub(super) fn sequence_shapes(fields: &Fields, dim: usize) -> Vec<SequenceShape> {
    let first = |group: usize| fields.groups[..group].iter().map(|g| g.singles.len() + g.bags.len()).sum::<usize>();
    let shape = |(g, b): (usize, usize)| {
        let group = &fields.groups[g];
        let target = group.bags[b].attend_to?;
        Some(SequenceShape { pooled: first(g) + group.singles.len() + b, target: first(target.group) + target.single, dim })
    };
    sequences(fields).filter_map(shape).collect()
}

impl Mask {
    /// Of what a stage does `without`; columns as they are laid out in its input and in tables of its own.
    pub(super) fn new(without: &[String], fields: &Fields, dim: usize, own_dim: usize, device: &Device) -> Self {
        let seen = |feature: &str, column: &str| f32::from(u8::from(!without.iter().any(|w| w == feature || w == column)));
        let parts = |columns: Columns| {
            let group = |g: &GroupFields| {
                let fields = g.singles.iter().chain(g.bags.iter().map(|b| &b.field));
                let mut mask: Vec<f32> = fields.flat_map(|f| std::iter::repeat_n(seen(&f.feature, &f.name), columns.dim)).collect();
                if columns.numbers {
                    mask.extend(g.numbers.iter().map(|n| seen(&n.feature, &n.name)));
                }
                let width = mask.len();
                (width > 0).then(|| Tensor::from_data(TensorData::new(mask, [1, width]), device))
            };
            fields.groups.iter().filter_map(group).collect()
        };
        let sequence = |(g, b): (usize, usize)| {
            let field = &fields.groups[g].bags[b].field;
            seen(&field.feature, &field.name)
        };
        Self {
            parts: parts(Columns { dim, numbers: true }),
            own: if own_dim > 0 { parts(Columns { dim: own_dim, numbers: false }) } else { Vec::new() },
            sequences: sequences(fields).map(sequence).collect(),
        }
    }

    /// The input without what is hidden; `wrap` puts a constant on the input's backend.
    fn hide(&self, input: &mut StageInput, wrap: &impl Fn(Tensor<Bk, 2>) -> Tensor<Bk, 2>) {
        for (part, mask) in input.parts.iter_mut().zip(&self.parts).chain(input.own.iter_mut().zip(&self.own)) {
            part.values = part.values.clone() * wrap(mask.clone());
        }
        for (sequence, seen) in input.sequences.iter_mut().zip(&self.sequences) {
            sequence.values = sequence.values.clone().mul_scalar(*seen);
        }
    }
}

impl TableSet {
    /// What is laid out from its rows.
    pub(crate) fn columns(&self) -> Columns {
        Columns { dim: self.tables.dim(), numbers: !matches!(self.owner, Owner::Tower(_)) }
    }
}

impl StageTower {
    /// What a tower sees: the encoder's output for its stage, with what goes past the encoder.
    pub(super) fn input(&self, encoded: &StageInput, embedded: &[StageInput]) -> StageInput {
        let (shared, own) = self.tables;
        StageInput {
            parts: encoded.parts.clone(),
            own: own.map_or_else(Vec::new, |set| embedded[set].parts.clone()),
            sequences: if self.needs.sequences { embedded[shared].sequences.clone() } else { Vec::new() },
            ..StageInput::default()
        }
    }
}

impl Model {
    /// Whether some tower attends to sequences, so that their values are needed one by one.
    fn attends(&self) -> bool {
        self.towers.iter().any(|t| t.needs.sequences)
    }

    /// The bags whose values some tower sees one by one, each with its group and its place there.
    pub(crate) fn attended(&self) -> Vec<(usize, usize)> {
        if self.attends() { sequences(&self.fields).collect() } else { Vec::new() }
    }

    /// The embedded input of each set of tables, on the inner device; nothing for the own tables of towers beyond the first `towers`.
    pub(super) fn embed(&self, batch: &Batch, towers: usize) -> Vec<StageInput> {
        let attends = self.attends();
        let embed = |set: &TableSet| match set.owner {
            Owner::Tower(t) if t >= towers => StageInput::default(),
            _ => self.embed_with(set, batch, attends),
        };
        self.embeddings.iter().map(embed).collect()
    }
    fn embed_with(&self, set: &TableSet, batch: &Batch, attends: bool) -> StageInput {
        let columns = set.columns();
        let group = |(g, (fields, members)): (usize, (&GroupFields, &GroupBatch))| {
            let width = columns.width(fields);
            // A group without columns is not an input.
            (width > 0).then(|| Part {
                values: Tensor::from_data(
                    TensorData::new(gather(&set.tables, columns, fields, members), [members.size, width]),
                    &self.device,
                ),
                index: (g > 0).then(|| int_tensor(&members.index, &self.device)),
            })
        };
        let mut input = StageInput::new(self.fields.groups.iter().zip(&batch.groups).enumerate().filter_map(group).collect());
        if attends && !matches!(set.owner, Owner::Tower(_)) {
            input.sequences = sequences(&self.fields).map(|(g, b)| self.sequence(set, batch, g, b)).collect();
        }
        input
    }
    #[allow(clippy::cast_possible_truncation)]
    fn sequence(&self, set: &TableSet, batch: &Batch, group: usize, bag: usize) -> Sequence {
        let (members, table) = (&batch.groups[group], self.fields.groups[group].bags[bag].field.table);
        let BagBatch { offsets, rows, .. } = &members.bags[bag];
        let range = |member: usize| offsets[member]..offsets[member + 1];
        let member = |row: usize| if group == 0 { row } else { members.index[row] as usize };
        let row: Vec<u32> = (0..batch.size).flat_map(|r| range(member(r)).map(move |_| r as u32)).collect();
        let value = (group > 0).then(|| (0..batch.size).flat_map(|r| range(member(r))).collect::<Vec<u32>>());
        let values = gather_values(&set.tables, table, rows);
        Sequence {
            values: Tensor::from_data(TensorData::new(values, [rows.len(), set.tables.dim()]), &self.device),
            value: value.map(|v| int_tensor(&v, &self.device)),
            row: int_tensor(&row, &self.device),
        }
    }

    /// What the encoder takes: the embedded input of each stage.
    pub(super) fn per_stage(&self, embedded: &[StageInput]) -> Vec<StageInput> {
        self.towers[..self.graph.len()].iter().map(|t| StageInput::new(embedded[t.tables.0].parts.clone())).collect()
    }
    /// The forward pass of `networks`, the first of the model's towers, each on its input; those that can run side by side do. What a tower
    /// reads of another is put into its input, through `lift`; `wrap` puts a constant on the networks' backend.
    ///
    /// # Errors
    /// A tower that gives another number of logits than rows, or not the hidden layer it promised.
    pub(super) fn run_towers(
        &self,
        networks: &[&dyn DynTower],
        inputs: &mut [StageInput],
        rows: usize,
        lift: impl Fn(Tensor<Bk, 2>) -> Tensor<Bk, 2>,
        wrap: impl Fn(Tensor<Bk, 2>) -> Tensor<Bk, 2> + Sync,
    ) -> Result<Vec<StageOutput>> {
        let mut outputs: Vec<Option<StageOutput>> = vec![None; networks.len()];
        for level in &self.levels {
            let level: Vec<usize> = level.iter().copied().filter(|t| *t < networks.len()).collect();
            for &t in level.iter().filter(|t| self.towers[**t].needs.upstream) {
                let parent = self.graph.nodes[self.towers[t].stage].parent;
                let hidden = parent.and_then(|p| outputs[p].as_ref()?.hidden.clone());
                inputs[t].upstream =
                    Some(lift(hidden.with_context(|| format!("`{}` finds no hidden layer before it", self.towers[t].prefix))?));
            }
            let run = |&t: &usize| {
                let mut input = inputs[t].clone();
                if let Some(mask) = &self.towers[t].mask {
                    mask.hide(&mut input, &wrap);
                }
                (t, networks[t].forward(&input))
            };
            let done: Vec<(usize, StageOutput)> = level.par_iter().map(run).collect();
            for (t, output) in done {
                let (name, StageTower { needs, .. }) = (&self.graph.nodes[self.towers[t].stage].name, &self.towers[t]);
                let [logits] = output.logit.dims();
                anyhow::ensure!(logits == rows, "stage `{name}`: the tower gave {logits} logits for {rows} rows");
                let width = output.hidden.as_ref().map_or(0, |h| h.dims()[1]);
                let promised = needs.hidden;
                anyhow::ensure!(width == promised, "stage `{name}`: the tower's hidden layer is {width} wide, it promised {promised}");
                outputs[t] = Some(output);
            }
        }
        outputs.into_iter().collect::<Option<Vec<_>>>().context("a tower was not run")
    }
}

#[allow(clippy::cast_possible_wrap)]
fn int_tensor(values: &[u32], device: &Device) -> Tensor<Bk, 1, Int> {
    Tensor::from_data(TensorData::new(values.iter().map(|v| *v as i32).collect::<Vec<i32>>(), [values.len()]), device)
}
