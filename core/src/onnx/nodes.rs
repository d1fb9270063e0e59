//! The operators, as methods. Shapes broadcast as in `NumPy`.

use super::build::{Attribute, Onnx, Value};
use super::proto::Type;

macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident($($input:ident),+) = $operator:literal;)*) => {
        impl Onnx<'_> {
            $($(#[$doc])* pub fn $name(&mut self, $($input: &Value),+) -> Value {
                self.node($operator, &[$($input),+], &[])
            })*
        }
    };
}
operators! {
    /// `a + b`.
    add(a, b) = "Add";
    /// `a − b`.
    sub(a, b) = "Sub";
    /// `a · b`, value by value.
    mul(a, b) = "Mul";
    /// `a / b`.
    div(a, b) = "Div";
    /// The smaller.
    min(a, b) = "Min";
    /// The larger.
    max(a, b) = "Max";
    /// `−x`.
    neg(x) = "Neg";
    /// `|x|`.
    abs(x) = "Abs";
    /// −1, 0 or 1.
    sign(x) = "Sign";
    /// `eˣ`.
    exp(x) = "Exp";
    /// `ln x`.
    log(x) = "Log";
    /// The error function.
    erf(x) = "Erf";
    /// `1 / (1 + e⁻ˣ)`.
    sigmoid(x) = "Sigmoid";
    /// `max(x, 0)`.
    relu(x) = "Relu";
    /// `x` where it is positive, else `slope · x`.
    prelu(x, slope) = "PRelu";
    /// Matrix product of the last two dimensions, `[.., M, K] · [.., K, N]`.
    matmul(a, b) = "MatMul";
    /// Whether a value is missing.
    is_nan(x) = "IsNaN";
    /// Whether both are the same.
    equal(a, b) = "Equal";
    /// `a ≥ b`.
    at_least(a, b) = "GreaterOrEqual";
    /// `yes` where it holds, else `no`.
    choose(holds, yes, no) = "Where";
    /// Rows of a table, `[rows, D]` by `[..]` → `[.., D]`.
    gather(table, rows) = "Gather";
}

impl Onnx<'_> {
    /// As another type.
    pub fn cast(&mut self, x: &Value, to: Type) -> Value {
        self.node("Cast", &[x], &[("to", Attribute::Int(i64::from(to.code())))])
    }
    /// Side by side along a dimension; one alone is itself.
    pub fn concat(&mut self, values: &[Value], axis: i64) -> Value {
        match values {
            [one] => one.clone(),
            _ => self.node("Concat", &values.iter().collect::<Vec<_>>(), &[("axis", Attribute::Int(axis))]),
        }
    }
    /// From `from` up to and without `to`, along a dimension.
    pub fn slice(&mut self, x: &Value, axis: i64, from: usize, to: usize) -> Value {
        let end = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (from, to, axis) = (self.wholes(&[end(from)]), self.wholes(&[end(to)]), self.wholes(&[axis]));
        self.node("Slice", &[x, &from, &to, &axis], &[])
    }
    /// The same values in another shape: 0 keeps a dimension, −1 takes what is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.wholes(shape);
        self.node("Reshape", &[x, &shape], &[])
    }
    /// Dimensions in another order.
    pub fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Attribute::Ints(order.to_vec()))])
    }
    /// With a dimension of one more.
    pub fn unsqueeze(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.wholes(&[axis]);
        self.node("Unsqueeze", &[x, &axes], &[])
    }
    /// Without a dimension of one.
    pub fn squeeze(&mut self, x: &Value, axis: i64) -> Value {
        let axes = self.wholes(&[axis]);
        self.node("Squeeze", &[x, &axes], &[])
    }
    /// Sum over dimensions, which go, or stay as one.
    pub fn sum(&mut self, x: &Value, axes: &[i64], keep: bool) -> Value {
        let axes = self.wholes(axes);
        self.node("ReduceSum", &[x, &axes], &[("keepdims", Attribute::Int(i64::from(keep)))])
    }
    /// `eˣ / Σ eˣ` along a dimension.
    pub fn softmax(&mut self, x: &Value, axis: i64) -> Value {
        self.node("Softmax", &[x], &[("axis", Attribute::Int(axis))])
    }
    /// `x · Φ(x)`, Φ being the distribution function of the normal distribution.
    pub fn gelu(&mut self, x: &Value) -> Value {
        let (root, one, half) = (self.number(std::f32::consts::FRAC_1_SQRT_2), self.number(1.0), self.number(0.5));
        let scaled = self.mul(x, &root);
        let erf = self.erf(&scaled);
        let phi = self.add(&erf, &one);
        let product = self.mul(x, &phi);
        self.mul(&product, &half)
    }
    /// All of them, added up; `None` without any.
    pub fn total(&mut self, values: impl IntoIterator<Item = Value>) -> Option<Value> {
        values.into_iter().reduce(|sum, value| self.add(&sum, &value))
    }
}
