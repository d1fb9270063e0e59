//! The graph under construction: values, nodes, weights, inputs and outputs.

use super::proto::{AttributeValue, Dimension, Node, Shape, TensorType, Type, TypeInfo, ValueInfo};
use hashbrown::{HashMap, HashSet};
use std::borrow::Cow;
use std::sync::Arc;

/// A value of a graph, by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Value(pub(super) Arc<str>);
impl Value {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A setting of a node.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A whole number.
    Int(i64),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
}

/// The values of a weight or constant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data<'a> {
    Float(Cow<'a, [f32]>),
    Double(Vec<f64>),
    Int(Vec<i64>),
}
impl Data<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Float(values) => bytemuck::cast_slice(values),
            Self::Double(values) => bytemuck::cast_slice(values),
            Self::Int(values) => bytemuck::cast_slice(values),
        }
    }
    pub(crate) fn element(&self) -> Type {
        match self {
            Self::Float(_) => Type::Float,
            Self::Double(_) => Type::Double,
            Self::Int(_) => Type::Int64,
        }
    }
}

/// A weight or constant.
#[derive(Debug, Clone)]
pub(crate) struct Initializer<'a> {
    pub name: String,
    pub dims: Vec<usize>,
    pub data: Data<'a>,
}

/// A graph under construction; `'a` is how long the weights live that it borrows.
#[derive(Debug, Default)]
pub struct Onnx<'a> {
    pub(crate) nodes: Vec<Node>,
    pub(crate) initializers: Vec<Initializer<'a>>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
    scope: Vec<String>,
    names: HashSet<String>,
    /// What has been computed already.
    known: HashMap<String, Value>,
    constants: usize,
}

impl<'a> Onnx<'a> {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `f` with names below `scope`: `tower.click`, within it `deep`.
    pub fn scope<R>(&mut self, scope: &str, f: impl FnOnce(&mut Self) -> R) -> R {
        self.scope.push(scope.trim_end_matches('.').to_owned());
        let result = f(self);
        self.scope.pop();
        result
    }
    fn scoped(&self, name: &str) -> String {
        self.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".")
    }
    /// The name, or the first of `name_2`, `name_3` … that is free.
    fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut n = 2;
        while !self.names.insert(free.clone()) {
            free = format!("{name}_{n}");
            n += 1;
        }
        free
    }

    /// A node with one output. The same operator on the same values is computed once.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let inputs: Vec<String> = inputs.iter().map(|v| v.name().to_owned()).collect();
        let key = format!("{operator} {inputs:?} {attributes:?}");
        if let Some(value) = self.known.get(&key) {
            return value.clone();
        }
        let scoped = self.scoped(operator);
        let name = self.free(&scoped);
        let attribute = attributes.iter().map(|(name, value)| attribute(name, value)).collect();
        let value = Value(name.as_str().into());
        self.nodes.push(Node { input: inputs, output: vec![name.clone()], name, op_type: operator.into(), attribute });
        self.known.insert(key, value.clone());
        value
    }

    /// A weight, named below the scope; one that is there already is not written twice.
    ///
    /// # Shapes
    /// `values` are row-major, as many as `dims` say.
    pub fn weight(&mut self, name: &str, dims: &[usize], values: impl Into<Cow<'a, [f32]>>) -> Value {
        let name = self.scoped(name);
        if self.names.insert(name.clone()) {
            self.initializers.push(Initializer { name: name.clone(), dims: dims.to_vec(), data: Data::Float(values.into()) });
        }
        Value(name.into())
    }
    fn constant_of(&mut self, dims: &[usize], data: Data<'a>) -> Value {
        let key = format!("constant {dims:?} {data:?}");
        if let Some(value) = self.known.get(&key) {
            return value.clone();
        }
        self.constants += 1;
        let name = self.free(&format!("constant.{}", self.constants));
        let value = Value(name.as_str().into());
        self.initializers.push(Initializer { name, dims: dims.to_vec(), data });
        self.known.insert(key, value.clone());
        value
    }
    /// One number, without dimensions.
    pub fn number(&mut self, x: f32) -> Value {
        self.constant_of(&[], Data::Float(vec![x].into()))
    }
    /// One number of double precision, without dimensions.
    pub fn double(&mut self, x: f64) -> Value {
        self.constant_of(&[], Data::Double(vec![x]))
    }
    /// Numbers of double precision in a row.
    pub fn doubles(&mut self, x: &[f64]) -> Value {
        self.constant_of(&[x.len()], Data::Double(x.to_vec()))
    }
    /// One whole number, without dimensions.
    pub fn whole(&mut self, x: i64) -> Value {
        self.constant_of(&[], Data::Int(vec![x]))
    }
    /// Whole numbers in a row.
    pub fn wholes(&mut self, x: &[i64]) -> Value {
        self.constant_of(&[x.len()], Data::Int(x.to_vec()))
    }

    /// Something that goes in; its dimensions are named.
    pub fn input(&mut self, name: &str, element: Type, dims: &[&str], what: &str) -> Value {
        let name = self.free(name);
        self.inputs.push(value_info(&name, element, dims, what));
        Value(name.into())
    }
    /// Lets a value go out under a name.
    pub fn output(&mut self, name: &str, value: &Value, element: Type, dims: &[&str], what: &str) {
        self.nodes.push(Node {
            input: vec![value.name().to_owned()],
            output: vec![name.to_owned()],
            name: format!("output.{name}"),
            op_type: "Identity".into(),
            attribute: Vec::new(),
        });
        self.names.insert(name.to_owned());
        self.outputs.push(value_info(name, element, dims, what));
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeValue {
    let bare = AttributeValue { name: name.to_owned(), ..AttributeValue::default() };
    match value {
        Attribute::Float(f) => AttributeValue { f: Some(*f), r#type: 1, ..bare },
        Attribute::Int(i) => AttributeValue { i: Some(*i), r#type: 2, ..bare },
        Attribute::Ints(ints) => AttributeValue { ints: ints.clone(), r#type: 7, ..bare },
    }
}

fn value_info(name: &str, element: Type, dims: &[&str], what: &str) -> ValueInfo {
    let dim = dims.iter().map(|d| Dimension { dim_value: None, dim_param: Some((*d).to_owned()) }).collect();
    let tensor_type = Some(TensorType { elem_type: element.code(), shape: Some(Shape { dim }) });
    ValueInfo { name: name.into(), r#type: Some(TypeInfo { tensor_type }), doc_string: what.into() }
}
