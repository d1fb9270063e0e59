//! Computes a graph by the definition of each operator, slowly: the check that what was written is what the model computes.
//!
//! Values are computed in double precision and rounded to the type that the graph gives them.

use super::build::{Data, Onnx};
use super::proto::{Model, Node, Type};
use anyhow::{Context, Result, bail, ensure};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated<'a> {
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its type.
    pub element: Type,
    data: Values<'a>,
}
#[derive(Debug, Clone, PartialEq)]
enum Values<'a> {
    /// A weight as it is, which may be large.
    Weight(Cow<'a, [f32]>),
    Own(Vec<f64>),
}
/// Tensors by name.
pub type Named<'a> = BTreeMap<String, Evaluated<'a>>;

impl<'a> Evaluated<'a> {
    /// Numbers, row-major.
    #[must_use]
    pub fn floats(dims: Vec<usize>, values: Vec<f32>) -> Self {
        Self { dims, element: Type::Float, data: Values::Weight(values.into()) }
    }
    /// Whole numbers, row-major; below 2⁵³.
    #[must_use]
    pub fn wholes(dims: Vec<usize>, values: &[i64]) -> Self {
        Self { dims, element: Type::Int64, data: Values::Own(values.iter().map(|v| *v as f64).collect()) }
    }
    /// All values.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.at(i)).collect()
    }
    fn new(dims: Vec<usize>, element: Type, mut values: Vec<f64>) -> Self {
        if element == Type::Float {
            #[allow(clippy::cast_possible_truncation)]
            values.iter_mut().for_each(|v| *v = f64::from(*v as f32));
        }
        Self { dims, element, data: Values::Own(values) }
    }
    fn of_data(dims: &[usize], data: &Data<'a>) -> Self {
        let dims = dims.to_vec();
        match data {
            Data::Float(values) => Self { dims, element: Type::Float, data: Values::Weight(values.clone()) },
            Data::Double(values) => Self::new(dims, Type::Double, values.clone()),
            Data::Int(values) => Self::wholes(dims, values),
        }
    }
    fn of_proto(tensor: &super::proto::Tensor) -> Result<Self> {
        let dims = tensor.dims.iter().map(|d| usize::try_from(*d)).collect::<Result<Vec<_>, _>>()?;
        let raw = tensor.raw_data.as_deref().unwrap_or_default();
        let tensor = match Type::of_code(tensor.data_type) {
            Some(Type::Float) => Self::floats(dims, bytemuck::pod_collect_to_vec(raw)),
            Some(Type::Double) => Self::new(dims, Type::Double, bytemuck::pod_collect_to_vec(raw)),
            Some(Type::Int64) => Self::wholes(dims, &bytemuck::pod_collect_to_vec::<u8, i64>(raw)),
            _ => bail!("weight `{}` is of type {}", tensor.name, tensor.data_type),
        };
        Ok(tensor)
    }
    fn len(&self) -> usize {
        self.dims.iter().product()
    }
    fn at(&self, i: usize) -> f64 {
        match &self.data {
            Values::Weight(values) => f64::from(values[i]),
            Values::Own(values) => values[i],
        }
    }
    /// A dimension counted from the front or, below 0, from the end.
    fn axis(&self, axis: i64) -> Result<usize> {
        axis_of(axis, self.dims.len())
    }
    /// Sizes before, of and behind a dimension.
    fn around(&self, axis: usize) -> [usize; 3] {
        [self.dims[..axis].iter().product(), self.dims[axis], self.dims[axis + 1..].iter().product()]
    }
    #[allow(clippy::cast_possible_truncation)]
    fn integers(&self) -> Vec<i64> {
        self.values().into_iter().map(|v| v as i64).collect()
    }
}

fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let at = if axis < 0 { axis + i64::try_from(rank)? } else { axis };
    usize::try_from(at).ok().filter(|a| *a < rank).with_context(|| format!("dimension {axis} of {rank}"))
}

/// Computes the outputs of a graph under construction.
///
/// # Errors
/// An operator that is not known, or shapes that do not fit; the message names the node.
pub fn evaluate<'a>(graph: &Onnx<'a>, inputs: Named<'a>) -> Result<Named<'a>> {
    let mut values = inputs;
    values.extend(graph.initializers.iter().map(|i| (i.name.clone(), Evaluated::of_data(&i.dims, &i.data))));
    nodes(&graph.nodes, &mut values)?;
    Ok(values)
}

/// Computes all values of a model that was read.
///
/// # Errors
/// As [`evaluate`].
pub fn run<'a>(model: &Model, inputs: Named<'a>) -> Result<Named<'a>> {
    let graph = model.graph.as_ref().context("there is no graph")?;
    let mut values = inputs;
    for tensor in &graph.initializer {
        values.insert(tensor.name.clone(), Evaluated::of_proto(tensor)?);
    }
    nodes(&graph.node, &mut values)?;
    Ok(values)
}

fn nodes<'a>(nodes: &[Node], values: &mut Named<'a>) -> Result<()> {
    for node in nodes {
        let inputs = node.input.iter().map(|name| values.get(name).with_context(|| format!("there is no `{name}`")));
        let result = inputs.collect::<Result<Vec<_>>>().and_then(|inputs| compute(node, &inputs));
        let result = result.with_context(|| format!("node `{}`", node.name))?;
        let [name] = node.output.as_slice() else { bail!("node `{}` has {} outputs", node.name, node.output.len()) };
        values.insert(name.clone(), result);
    }
    Ok(())
}

fn int(node: &Node, name: &str) -> Result<i64> {
    node.attribute.iter().find(|a| a.name == name).and_then(|a| a.i).with_context(|| format!("no attribute `{name}`"))
}

fn compute<'a>(node: &Node, inputs: &[&Evaluated<'a>]) -> Result<Evaluated<'a>> {
    let first = *inputs.first().context("no input")?;
    let input = |i: usize| inputs.get(i).copied().with_context(|| format!("no input {i}"));
    let each = |f: fn(f64) -> f64| Evaluated::new(first.dims.clone(), first.element, (0..first.len()).map(|i| f(first.at(i))).collect());
    let pairs = |f: fn(f64, f64) -> f64| broadcast(inputs, first.element, |v| f(v[0], v[1]));
    let truth = |holds: bool| f64::from(u8::from(holds));
    Ok(match node.op_type.as_str() {
        "Identity" => first.clone(),
        "Add" => pairs(|a, b| a + b)?,
        "Sub" => pairs(|a, b| a - b)?,
        "Mul" => pairs(|a, b| a * b)?,
        "Div" => pairs(|a, b| a / b)?,
        "Min" => pairs(f64::min)?,
        "Max" => pairs(f64::max)?,
        "PRelu" => pairs(|x, slope| if x < 0.0 { x * slope } else { x })?,
        "Equal" => broadcast(inputs, Type::Bool, |v| truth(v[0] == v[1]))?,
        "GreaterOrEqual" => broadcast(inputs, Type::Bool, |v| truth(v[0] >= v[1]))?,
        "Where" => broadcast(inputs, input(1)?.element, |v| if v[0] == 0.0 { v[2] } else { v[1] })?,
        "Neg" => each(|x| -x),
        "Abs" => each(f64::abs),
        "Sign" => each(|x| if x == 0.0 { 0.0 } else { x.signum() }),
        "Exp" => each(f64::exp),
        "Log" => each(f64::ln),
        "Erf" => each(erf),
        "Sigmoid" => each(|x| 1.0 / (1.0 + (-x).exp())),
        "Relu" => each(|x| x.max(0.0)),
        "IsNaN" => Evaluated::new(first.dims.clone(), Type::Bool, first.values().into_iter().map(|x| truth(x.is_nan())).collect()),
        "Cast" => cast(first, int(node, "to")?)?,
        "MatMul" => matmul(first, input(1)?)?,
        "Gather" => gather(first, input(1)?)?,
        "Concat" => concat(inputs, int(node, "axis")?)?,
        "Slice" => slice(first, input(1)?, input(2)?, input(3)?)?,
        "Reshape" => reshape(first, &input(1)?.integers())?,
        "Unsqueeze" => {
            let mut dims = first.dims.clone();
            dims.insert(axis_of(input(1)?.integers()[0], dims.len() + 1)?, 1);
            Evaluated { dims, ..first.clone() }
        }
        "Squeeze" => {
            let (mut dims, axis) = (first.dims.clone(), first.axis(input(1)?.integers()[0])?);
            ensure!(dims.remove(axis) == 1, "dimension {axis} of {:?} is not 1", first.dims);
            Evaluated { dims, ..first.clone() }
        }
        "Transpose" => {
            let order = node.attribute.iter().find(|a| a.name == "perm").map(|a| a.ints.clone()).unwrap_or_default();
            transpose(first, &order)?
        }
        "ReduceSum" => reduce_sum(first, &input(1)?.integers(), int(node, "keepdims")? != 0)?,
        "Softmax" => softmax(first, int(node, "axis")?)?,
        "LayerNormalization" => {
            let epsilon = node.attribute.iter().find(|a| a.name == "epsilon").and_then(|a| a.f).context("no attribute `epsilon`")?;
            layer_norm(first, input(1)?, inputs.get(2).copied(), f64::from(epsilon))
        }
        other => bail!("operator `{other}` is not known"),
    })
}

/// The shape that shapes broadcast to.
fn common(inputs: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = inputs.iter().map(|d| d.len()).max().unwrap_or(0);
    let mut dims = vec![1; rank];
    for of in inputs {
        for (dim, own) in dims[rank - of.len()..].iter_mut().zip(*of) {
            ensure!(*dim == 1 || *own == 1 || dim == own, "shapes {inputs:?} do not fit");
            *dim = if *dim == 1 { *own } else { *dim };
        }
    }
    Ok(dims)
}
/// Where the `i`-th place of `dims` stands in a tensor that is broadcast to it.
fn place(mut i: usize, dims: &[usize], own: &[usize]) -> usize {
    let (mut at, mut step) = (0, 1);
    let skip = dims.len() - own.len();
    for (d, size) in dims.iter().enumerate().rev() {
        let here = i % size;
        i /= size;
        if d >= skip {
            at += if own[d - skip] == 1 { 0 } else { here * step };
            step *= own[d - skip];
        }
    }
    at
}
fn broadcast<'a>(inputs: &[&Evaluated<'a>], element: Type, f: impl Fn(&[f64]) -> f64) -> Result<Evaluated<'a>> {
    let dims = common(&inputs.iter().map(|t| t.dims.as_slice()).collect::<Vec<_>>())?;
    let mut row = vec![0.0; inputs.len()];
    let value = |i| {
        for (v, t) in row.iter_mut().zip(inputs) {
            *v = t.at(place(i, &dims, &t.dims));
        }
        f(&row)
    };
    let values = (0..dims.iter().product()).map(value).collect();
    Ok(Evaluated::new(dims, element, values))
}

fn cast<'a>(x: &Evaluated<'a>, to: i64) -> Result<Evaluated<'a>> {
    let to = i32::try_from(to).ok().and_then(Type::of_code).with_context(|| format!("type {to} is not known"))?;
    let value = |v: f64| match to {
        Type::Int64 => v.trunc(),
        Type::Bool => f64::from(u8::from(v != 0.0)),
        Type::Float | Type::Double => v,
    };
    Ok(Evaluated::new(x.dims.clone(), to, x.values().into_iter().map(value).collect()))
}

fn matmul<'a>(a: &Evaluated<'a>, b: &Evaluated<'a>) -> Result<Evaluated<'a>> {
    let (Some((&[m, k], before_a)), Some((&[inner, n], before_b))) = (a.dims.split_last_chunk().map(|(x, y)| (y, x)), b.dims.split_last_chunk().map(|(x, y)| (y, x)))
    else {
        bail!("a product of {:?} and {:?}", a.dims, b.dims)
    };
    ensure!(k == inner, "a product of {:?} and {:?}", a.dims, b.dims);
    let before = common(&[before_a, before_b])?;
    let count: usize = before.iter().product();
    let mut out = Vec::with_capacity(count * m * n);
    for i in 0..count {
        let (at_a, at_b) = (place(i, &before, before_a) * m * k, place(i, &before, before_b) * k * n);
        for row in 0..m {
            let mut sums = vec![0.0; n];
            for c in 0..k {
                let x = a.at(at_a + row * k + c);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum += x * b.at(at_b + c * n + j);
                }
            }
            out.extend(sums);
        }
    }
    Ok(Evaluated::new([before, vec![m, n]].concat(), a.element, out))
}

fn gather<'a>(table: &Evaluated<'a>, rows: &Evaluated<'a>) -> Result<Evaluated<'a>> {
    let [_, count, width] = table.around(0);
    let mut out = Vec::with_capacity(rows.len() * width);
    for row in rows.integers() {
        let row = usize::try_from(row).ok().filter(|r| *r < count).with_context(|| format!("row {row} of {count}"))?;
        out.extend((0..width).map(|w| table.at(row * width + w)));
    }
    Ok(Evaluated::new([rows.dims.as_slice(), &table.dims[1..]].concat(), table.element, out))
}

fn concat<'a>(inputs: &[&Evaluated<'a>], axis: i64) -> Result<Evaluated<'a>> {
    let first = inputs[0];
    let axis = first.axis(axis)?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    for input in inputs {
        let fits = input.dims.len() == dims.len() && (0..dims.len()).all(|d| d == axis || input.dims[d] == dims[d]);
        ensure!(fits, "{:?} beside {:?}", input.dims, first.dims);
        dims[axis] += input.dims[axis];
    }
    let [before, ..] = first.around(axis);
    let mut out = Vec::with_capacity(dims.iter().product());
    for i in 0..before {
        for input in inputs {
            let [_, size, behind] = input.around(axis);
            out.extend((0..size * behind).map(|j| input.at(i * size * behind + j)));
        }
    }
    Ok(Evaluated::new(dims, first.element, out))
}

fn slice<'a>(x: &Evaluated<'a>, from: &Evaluated<'a>, to: &Evaluated<'a>, axis: &Evaluated<'a>) -> Result<Evaluated<'a>> {
    let axis = x.axis(axis.integers()[0])?;
    let [before, size, behind] = x.around(axis);
    let (from, to) = (usize::try_from(from.integers()[0])?.min(size), usize::try_from(to.integers()[0])?.min(size));
    let mut dims = x.dims.clone();
    dims[axis] = to.saturating_sub(from);
    let values = (0..before).flat_map(|i| (from * behind..to * behind).map(move |j| i * size * behind + j)).map(|at| x.at(at)).collect();
    Ok(Evaluated::new(dims, x.element, values))
}

fn reshape<'a>(x: &Evaluated<'a>, shape: &[i64]) -> Result<Evaluated<'a>> {
    let mut dims = Vec::with_capacity(shape.len());
    for (d, &size) in shape.iter().enumerate() {
        dims.push(match size {
            0 => *x.dims.get(d).with_context(|| format!("{:?} has no dimension {d}", x.dims))?,
            -1 => 0,
            size => usize::try_from(size)?,
        });
    }
    if let Some(rest) = shape.iter().position(|s| *s == -1) {
        let known: usize = dims.iter().enumerate().filter(|(d, _)| *d != rest).map(|(_, n)| n).product();
        dims[rest] = x.len().checked_div(known).unwrap_or(0);
    }
    ensure!(dims.iter().product::<usize>() == x.len(), "{:?} as {shape:?}", x.dims);
    Ok(Evaluated { dims, ..x.clone() })
}

fn transpose<'a>(x: &Evaluated<'a>, order: &[i64]) -> Result<Evaluated<'a>> {
    let order = order.iter().map(|a| x.axis(*a)).collect::<Result<Vec<_>>>()?;
    ensure!(order.len() == x.dims.len(), "{order:?} of {:?}", x.dims);
    let steps: Vec<usize> = (0..x.dims.len()).map(|d| x.dims[d + 1..].iter().product()).collect();
    let dims: Vec<usize> = order.iter().map(|d| x.dims[*d]).collect();
    let value = |mut i: usize| {
        let mut at = 0;
        for (d, size) in dims.iter().enumerate().rev() {
            at += i % size * steps[order[d]];
            i /= size;
        }
        x.at(at)
    };
    let values = (0..x.len()).map(value).collect();
    Ok(Evaluated::new(dims, x.element, values))
}

fn reduce_sum<'a>(x: &Evaluated<'a>, axes: &[i64], keep: bool) -> Result<Evaluated<'a>> {
    let axes = axes.iter().map(|a| x.axis(*a)).collect::<Result<Vec<_>>>()?;
    let kept: Vec<usize> = x.dims.iter().enumerate().map(|(d, n)| if axes.contains(&d) { 1 } else { *n }).collect();
    let mut sums = vec![0.0; kept.iter().product()];
    for i in 0..x.len() {
        sums[place(i, &x.dims, &kept)] += x.at(i);
    }
    let dims = if keep { kept } else { (0..kept.len()).filter(|d| !axes.contains(d)).map(|d| kept[d]).collect() };
    Ok(Evaluated::new(dims, x.element, sums))
}

fn softmax<'a>(x: &Evaluated<'a>, axis: i64) -> Result<Evaluated<'a>> {
    let axis = x.axis(axis)?;
    let [before, size, behind] = x.around(axis);
    let mut out = x.values();
    for (i, j) in (0..before).flat_map(|i| (0..behind).map(move |j| (i, j))) {
        let at = |k: usize| (i * size + k) * behind + j;
        let largest = (0..size).map(|k| x.at(at(k))).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..size).map(|k| (x.at(at(k)) - largest).exp()).sum();
        (0..size).for_each(|k| out[at(k)] = (x.at(at(k)) - largest).exp() / sum);
    }
    Ok(Evaluated::new(x.dims.clone(), x.element, out))
}

fn layer_norm<'a>(x: &Evaluated<'a>, gamma: &Evaluated<'a>, beta: Option<&Evaluated<'a>>, epsilon: f64) -> Evaluated<'a> {
    let width = gamma.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.values().chunks(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
        let normalised = |(i, v): (usize, &f64)| (v - mean) / (variance + epsilon).sqrt() * gamma.at(i) + beta.map_or(0.0, |b| b.at(i));
        out.extend(row.iter().enumerate().map(normalised));
    }
    Evaluated::new(x.dims.clone(), x.element, out)
}

/// `2/√π · ∫₀ˣ e^(−t²) dt`: its series near 0, further out the continued fraction of its complement.
fn erf(x: f64) -> f64 {
    let size = x.abs();
    let scale = (-size * size).exp() / std::f64::consts::PI.sqrt();
    if size < 2.5 {
        // Σ 2ⁿ·x^(2n+1) / (1·3·…·(2n+1)), times 2·e^(−x²)/√π.
        let (mut term, mut sum) = (size, size);
        for n in 1..80 {
            term *= 2.0 * size * size / f64::from(2 * n + 1);
            sum += term;
        }
        return (2.0 * scale * sum).copysign(x);
    }
    let fraction = (1..60).rev().fold(size, |below, n| size + f64::from(n) / 2.0 / below);
    (1.0 - scale / fraction).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        // Python: [math.erf(x) for x in (…)].
        let table = [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.6, 0.999_763_965_583_470_7),
            (4.0, 0.999_999_984_582_742_1),
        ];
        for (x, expected) in table {
            assert!((erf(x) - expected).abs() < 1e-13 && (erf(-x) + expected).abs() < 1e-13, "{x}: {}", erf(x));
        }
    }

    #[test]
    fn shapes_broadcast_and_products_go_over_batches() {
        let a = Evaluated::floats(vec![2, 1, 2], vec![1., 2., 3., 4.]);
        let b = Evaluated::floats(vec![3, 1], vec![10., 20., 30.]);
        let sum = broadcast(&[&a, &b], Type::Float, |v| v[0] + v[1]).unwrap();
        assert_eq!((sum.dims.clone(), sum.values()), (vec![2, 3, 2], vec![11., 12., 21., 22., 31., 32., 13., 14., 23., 24., 33., 34.]));
        let product = matmul(&a, &Evaluated::floats(vec![2, 1], vec![1., -1.])).unwrap();
        assert_eq!((product.dims.clone(), product.values()), (vec![2, 1, 1], vec![-1., -1.]));
        let turned = transpose(&sum, &[2, 0, 1]).unwrap();
        assert_eq!((turned.dims.clone(), turned.values()[..4].to_vec()), (vec![2, 2, 3], vec![11., 21., 31., 13.]));
        assert_eq!(reduce_sum(&sum, &[0, 2], false).unwrap().values(), [50., 90., 130.]);
        assert!(common(&[&[2], &[3]]).is_err());
    }

    #[test]
    fn slices_joins_and_shapes() {
        let x = Evaluated::floats(vec![2, 3], vec![0., 1., 2., 3., 4., 5.]);
        let at = |v: i64| Evaluated::wholes(vec![1], &[v]);
        let part = slice(&x, &at(1), &at(3), &at(1)).unwrap();
        assert_eq!((part.dims.clone(), part.values()), (vec![2, 2], vec![1., 2., 4., 5.]));
        assert_eq!(concat(&[&x, &part], 1).unwrap().values(), [0., 1., 2., 1., 2., 3., 4., 5., 4., 5.]);
        assert_eq!(reshape(&x, &[0, -1, 1]).unwrap().dims, [2, 3, 1]);
        assert!(gather(&x, &at(2)).is_err());
        let sums: Vec<f64> = softmax(&x, 1).unwrap().values().chunks(3).map(|r| r.iter().sum()).collect();
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6));
    }
}
