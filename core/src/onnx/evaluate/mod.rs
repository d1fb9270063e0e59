//! Computes a graph by the definition of each operator, slowly: the check that what was written is what the model computes.
//!
//! Values are computed in double precision and rounded to the type that the graph gives them.

mod arithmetic;
mod moving;

use super::build::{Data, Onnx};
use super::proto::{Model, Node, Type};
use anyhow::{Context, Result, bail, ensure};
use arithmetic::{broadcast, cast, erf, layer_norm, matmul, reduce_sum, softmax};
use moving::{concat, gather, reshape, slice, transpose};
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
            for v in &mut values {
                *v = f64::from(*v as f32);
            }
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

fn nodes(nodes: &[Node], values: &mut Named<'_>) -> Result<()> {
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
