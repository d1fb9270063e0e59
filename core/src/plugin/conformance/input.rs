//! Made-up input of a tower, as host values, so that it can be moved, cut into rows and written out.

use super::super::PartShape;
use super::super::input::{Part, Sequence, SequenceShape, StageInput, StageShape};
use super::super::tower::Needs;
use crate::device::{Bk, Device, cpu};
use crate::onnx::evaluate::Named;
use crate::onnx::proto::Type;
use crate::onnx::{Evaluated, Onnx, OnnxInput, OnnxSequence, Value};
use crate::random::mix;
use burn::prelude::*;

/// Distinct entities of the shared part.
const ENTITIES: usize = 3;
/// Width of the upstream tower's hidden layer.
const UPSTREAM: usize = 5;

/// The inputs that a tower must cope with: fields and numbers in one part, and in two of which the second is shared; and what it asked for.
pub(super) fn shapes(needs: Needs) -> [StageShape; 2] {
    let part = |fields, numbers| PartShape { fields, dim: 4, numbers };
    [vec![part(3, 2)], vec![part(2, 1), part(2, 2)]].map(|parts| StageShape {
        own: if needs.own_dim > 0 { parts.iter().map(|p| PartShape { dim: needs.own_dim, numbers: 0, ..*p }).collect() } else { vec![] },
        sequences: if needs.sequences {
            vec![SequenceShape { pooled: parts.iter().map(|p| p.fields).sum::<usize>() - 1, target: 0, dim: 4 }]
        } else {
            vec![]
        },
        upstream: needs.upstream.then_some(UPSTREAM),
        ..StageShape::new("stage", parts)
    })
}

/// A number in -1..1, the same for the same key.
#[allow(clippy::cast_possible_truncation)]
fn number(stream: u64, i: usize) -> f32 {
    (mix(mix(stream) ^ i as u64) >> 11) as f32 / (1u64 << 52) as f32 - 1.0
}
/// A stream of them.
pub(super) fn numbers(stream: u64, n: usize) -> Vec<f32> {
    (0..n).map(|i| number(stream, i)).collect()
}
/// The sign of a direction at one of the input's values.
pub(super) fn sign(direction: u64, part: usize, i: usize) -> f32 {
    if number(1000 + direction * 16 + part as u64, i) < 0.0 { -1.0 } else { 1.0 }
}

/// Values of the members of a part, `[N, width]`, and which member each row takes.
#[derive(Clone)]
struct HostPart {
    values: Vec<f32>,
    width: usize,
    index: Option<Vec<usize>>,
}
impl HostPart {
    /// Made up; shared by the rows if it is not the first.
    fn new(stream: u64, width: usize, rows: usize, shared: bool) -> Self {
        let entities = ENTITIES.min(rows);
        let values = numbers(stream, width * if shared { entities } else { rows });
        Self { values, width, index: shared.then(|| (0..rows).map(|row| entity(row, entities)).collect()) }
    }
    fn of_rows(&self, rows: impl Iterator<Item = usize>) -> Self {
        let member = |row: usize| self.index.as_ref().map_or(row, |index| index[row]);
        let values = rows.flat_map(|row| &self.values[member(row) * self.width..][..self.width]).copied().collect();
        Self { values, width: self.width, index: None }
    }
    fn tensor(&self, device: &Device) -> Part {
        Part {
            values: values(&self.values, self.width, device),
            index: self.index.as_ref().map(|index| integers(index.iter().copied(), device)),
        }
    }
}
/// The entity of a row.
fn entity(row: usize, entities: usize) -> usize {
    (row * 2 + 1) % entities
}

/// A sequence: of each member, how many values it has.
#[derive(Clone)]
struct HostSequence {
    values: Vec<f32>,
    width: usize,
    lengths: Vec<usize>,
    /// Which member each row has.
    member: Vec<usize>,
    shared: bool,
}
impl HostSequence {
    fn new(width: usize, rows: usize, shared: bool) -> Self {
        let members = if shared { ENTITIES.min(rows) } else { rows };
        let lengths: Vec<usize> = (0..members).map(|m| [2, 0, 3][m % 3]).collect();
        let member = (0..rows).map(|row| if shared { entity(row, members) } else { row }).collect();
        Self { values: numbers(77, width * lengths.iter().sum::<usize>()), width, lengths, member, shared }
    }
    /// Where the values of a row stand.
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        let member = self.member[row];
        let first: usize = self.lengths[..member].iter().sum();
        first..first + self.lengths[member]
    }
    fn of_rows(&self, rows: &[usize]) -> Self {
        let values = rows.iter().flat_map(|row| {
            let range = self.range(*row);
            self.values[range.start * self.width..range.end * self.width].to_vec()
        });
        Self {
            values: values.collect(),
            width: self.width,
            lengths: rows.iter().map(|row| self.range(*row).len()).collect(),
            member: (0..rows.len()).collect(),
            shared: false,
        }
    }
    fn tensor(&self, device: &Device) -> Sequence {
        let rows = 0..self.member.len();
        Sequence {
            values: values(&self.values, self.width, device),
            value: self.shared.then(|| integers(rows.clone().flat_map(|row| self.range(row)), device)),
            row: integers(rows.flat_map(|row| self.range(row).map(move |_| row)), device),
        }
    }
}

/// An input as host values.
#[derive(Clone)]
pub(super) struct Input {
    parts: Vec<HostPart>,
    own: Vec<HostPart>,
    sequences: Vec<HostSequence>,
    upstream: Option<HostPart>,
    pub(super) rows: usize,
}
impl Input {
    pub(super) fn new(shape: &StageShape, rows: usize) -> Self {
        let part = |(p, part): (usize, &PartShape)| HostPart::new(p as u64, part.width(), rows, p > 0);
        let own = |(p, part): (usize, &PartShape)| HostPart::new(40 + p as u64, part.width(), rows, p > 0);
        Self {
            parts: shape.parts.iter().enumerate().map(part).collect(),
            own: shape.own.iter().enumerate().map(own).collect(),
            sequences: shape.sequences.iter().map(|s| HostSequence::new(s.dim, rows, shape.parts.len() > 1)).collect(),
            upstream: shape.upstream.map(|width| HostPart::new(60, width, rows, false)),
            rows,
        }
    }
    /// These rows, with nothing shared.
    fn of_rows(&self, rows: &[usize]) -> Self {
        let part = |p: &HostPart| p.of_rows(rows.iter().copied());
        Self {
            parts: self.parts.iter().map(part).collect(),
            own: self.own.iter().map(part).collect(),
            sequences: self.sequences.iter().map(|s| s.of_rows(rows)).collect(),
            upstream: self.upstream.as_ref().map(part),
            rows: rows.len(),
        }
    }
    /// This row alone.
    pub(super) fn row(&self, row: usize) -> Self {
        self.of_rows(&[row])
    }
    /// The same rows, with nothing shared.
    pub(super) fn written_out(&self) -> Self {
        self.of_rows(&(0..self.rows).collect::<Vec<_>>())
    }
    /// Moved by `by` along a direction of signs.
    pub(super) fn moved(&self, direction: u64, by: f32) -> Self {
        let mut moved = self.clone();
        let parts = moved.parts.iter_mut().chain(&mut moved.own).chain(&mut moved.upstream).map(|p| &mut p.values);
        for (p, values) in parts.chain(moved.sequences.iter_mut().map(|s| &mut s.values)).enumerate() {
            values.iter_mut().enumerate().for_each(|(i, value)| *value += by * sign(direction, p, i));
        }
        moved
    }
    /// The parts as host values: `[N, W]`, W, and the member of each row.
    #[allow(clippy::type_complexity)]
    pub(super) fn host_parts(&self) -> Vec<(&[f32], usize, Option<Vec<u32>>)> {
        let index = |p: &HostPart| p.index.as_ref().map(|index| index.iter().filter_map(|m| u32::try_from(*m).ok()).collect());
        self.parts.iter().map(|p| (p.values.as_slice(), p.width, index(p))).collect()
    }
    /// As a tower gets it, on autodiff or not.
    pub(super) fn tensors(&self, autodiff: bool) -> StageInput {
        let device = if autodiff { Device::autodiff(cpu()) } else { cpu() };
        StageInput {
            parts: self.parts.iter().map(|p| p.tensor(&device)).collect(),
            own: self.own.iter().map(|p| p.tensor(&device)).collect(),
            sequences: self.sequences.iter().map(|s| s.tensor(&device)).collect(),
            upstream: self.upstream.as_ref().map(|u| u.tensor(&device).values),
            noise: None,
        }
    }
}

/// The same rows for a graph: its inputs, and their values by name. Nothing may be shared.
impl Input {
    pub(super) fn onnx(&self, graph: &mut Onnx<'_>) -> (OnnxInput, Named<'static>) {
        let mut values = Named::new();
        let mut put = |graph: &mut Onnx<'_>, name: String, dims: Vec<usize>, data: Vec<f32>| -> Value {
            let value = graph.input(&name, Type::Float, &["batch", "values", "width"][..dims.len()], "");
            values.insert(value.name().to_owned(), Evaluated::floats(dims, data));
            value
        };
        let mut flat =
            |graph: &mut Onnx<'_>, name: String, part: &HostPart| put(graph, name, vec![self.rows, part.width], part.values.clone());
        let mut input = OnnxInput::default();
        for (i, part) in self.parts.iter().enumerate() {
            input.parts.push(flat(graph, format!("part_{i}"), part));
        }
        for (i, part) in self.own.iter().enumerate() {
            input.own.push(flat(graph, format!("own_{i}"), part));
        }
        input.upstream = self.upstream.as_ref().map(|part| flat(graph, "upstream".into(), part));
        for (i, sequence) in self.sequences.iter().enumerate() {
            let longest = sequence.lengths.iter().copied().max().unwrap_or(0).max(1);
            let (mut data, mut mask) = (Vec::new(), Vec::new());
            for row in 0..self.rows {
                let range = sequence.range(row);
                data.extend_from_slice(&sequence.values[range.start * sequence.width..range.end * sequence.width]);
                // Whatever stands where nothing counts.
                data.extend(std::iter::repeat_n(7.5, (longest - range.len()) * sequence.width));
                mask.extend((0..longest).map(|at| f32::from(u8::from(at < range.len()))));
            }
            input.sequences.push(OnnxSequence {
                values: put(graph, format!("sequence_{i}"), vec![self.rows, longest, sequence.width], data),
                mask: put(graph, format!("mask_{i}"), vec![self.rows, longest, 1], mask),
            });
        }
        (input, values)
    }
}

/// The tensors that a gradient is taken by, in the order in which [`Input::moved`] moves them.
pub(super) fn leaves(input: &StageInput) -> Vec<Tensor<Bk, 2>> {
    let parts = input.parts.iter().chain(&input.own).map(|p| p.values.clone());
    parts.chain(input.upstream.clone()).chain(input.sequences.iter().map(|s| s.values.clone())).collect()
}

fn values(values: &[f32], width: usize, device: &Device) -> Tensor<Bk, 2> {
    let values = Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / width, width]), &cpu());
    if matches!(device, Device::Autodiff(_)) { Tensor::from_inner(values).require_grad() } else { values }
}
#[allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation)]
fn integers(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<Bk, 1, Int> {
    let values: Vec<i32> = values.map(|i| i as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
