//! Expressions: arithmetic over names, of stage probabilities and columns, such as `p_purchase * price` or `min(1 / p_click, 100)`.
//!
//! Expressions decide about money, so they mean what mathematics means by them: `-x^2` is `-(x^2)`, `2^3^2` is `2^9`, `1e-3` is a number,
//! and every mistake is shown at its place. (Expression crates at hand differ in one of these, hence a parser of our own.)
//!
//! ```text
//! comparison   sum [< <= > >= == !=  sum]          1 where it holds, else 0
//! sum          product [+ - product]…
//! product      sign [* / sign]…
//! sign         [- +] power
//! power        value [^ sign]                      groups to the right
//! value        12  0.5  1e-3  name  {any name}  (comparison)  function(comparison, …)
//! functions    abs exp log log1p sqrt, min max of two or more, if(condition, then, else)
//! ```
//!
//! A name of letters, digits, `_` and `.` stands as it is; any other stands in braces, `{unit price}`, a closing brace in it doubled.
//! `log` is the natural logarithm.
//!
//! **Undefined values.** Arithmetic is that of IEEE 754 in f64, and a missing cell is NaN: it makes every result that depends on it NaN, in
//! `min`, `max` and comparisons too; `if` depends on its condition and the branch taken. A row whose result is not finite (a missing cell,
//! a division by zero, an overflow) has no value: [`Expression::eval_rows`] gives NaN there, which predictions write as null and count.

mod parse;

use crate::diagnostic::Diagnostics;

/// Rows computed at a time: few enough that the operands stay in the nearest cache.
const ROWS: usize = 1024;

/// An expression that has been checked against the names there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    variables: Vec<String>,
    /// In postfix order: evaluation needs no recursion.
    program: Vec<Op>,
}

/// A step of evaluation, on a stack of columns.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    Number(f64),
    Variable(usize),
    Unary(Unary),
    Binary(Binary),
    /// Takes condition, then, else.
    If,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unary {
    Negate,
    Abs,
    Exp,
    Log,
    Log1p,
    Sqrt,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
    Min,
    Max,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Expression {
    /// Parses `text`, whose names must be among `names`.
    ///
    /// # Errors
    /// The first mistake, with its place: what was expected there, or the nearest name and all there are.
    pub fn parse(text: &str, names: &[&str]) -> Result<Self, Diagnostics> {
        Self::parse_from("expression", text, names)
    }

    /// Parses `text`, called `source` in errors, such as `--value`.
    ///
    /// # Errors
    /// As [`Expression::parse`].
    pub fn parse_from(source: &str, text: &str, names: &[&str]) -> Result<Self, Diagnostics> {
        Ok(Self::of(text, parse::parse(source, text, Some(names))?))
    }

    /// Parses `text` before it is known which names there are.
    ///
    /// # Errors
    /// As [`Expression::parse`], but for unknown names.
    pub fn parse_open(source: &str, text: &str) -> Result<Self, Diagnostics> {
        Ok(Self::of(text, parse::parse(source, text, None)?))
    }

    fn of(text: &str, (variables, program): (Vec<String>, Vec<Op>)) -> Self {
        Self { text: text.trim().to_owned(), variables, program }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names it uses, in order of first appearance; at least one.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Its value for each row, NaN where that is not finite.
    ///
    /// # Shapes
    /// `columns`: one slice `[N]` per name, in the order of [`Expression::variables`]. Gives `[N]`; of slices of different lengths, the
    /// shortest decides.
    #[must_use]
    pub fn eval_rows(&self, columns: &[&[f64]]) -> Vec<f64> {
        debug_assert_eq!(columns.len(), self.variables.len());
        let rows = columns.iter().map(|c| c.len()).min().unwrap_or(0);
        let mut out = Vec::with_capacity(rows);
        let mut machine = Machine::default();
        for from in (0..rows).step_by(ROWS) {
            let to = rows.min(from + ROWS);
            machine.run(&self.program, columns, from, to);
            out.extend(machine.stack[0].iter().map(|v| if v.is_finite() { *v } else { f64::NAN }));
        }
        out
    }

    /// Its value for one row, `None` where that is not finite.
    ///
    /// # Shapes
    /// `values`: one per name, in the order of [`Expression::variables`].
    #[must_use]
    pub fn eval(&self, values: &[f64]) -> Option<f64> {
        let columns: Vec<&[f64]> = values.iter().map(std::slice::from_ref).collect();
        self.eval_rows(&columns).first().copied().filter(|v| v.is_finite())
    }
}

/// A stack of columns, whose memory is used again.
#[derive(Default)]
struct Machine {
    stack: Vec<Vec<f64>>,
}
impl Machine {
    /// Leaves the result as the lowest column.
    fn run(&mut self, program: &[Op], columns: &[&[f64]], from: usize, to: usize) {
        let mut top = 0;
        for op in program {
            match *op {
                Op::Number(n) => self.push(&mut top, std::iter::repeat_n(n, to - from)),
                Op::Variable(at) => self.push(&mut top, columns[at][from..to].iter().copied()),
                Op::Unary(op) => self.stack[top - 1].iter_mut().for_each(|x| *x = op.of(*x)),
                Op::Binary(op) => {
                    top -= 1;
                    let (below, right) = self.stack.split_at_mut(top);
                    below[top - 1].iter_mut().zip(&right[0]).for_each(|(x, y)| *x = op.of(*x, *y));
                }
                Op::If => {
                    top -= 2;
                    let (below, rest) = self.stack.split_at_mut(top);
                    let branches = rest[0].iter().zip(&rest[1]);
                    below[top - 1].iter_mut().zip(branches).for_each(|(x, (yes, no))| {
                        *x = match *x {
                            c if c.is_nan() => f64::NAN,
                            0.0 => *no,
                            _ => *yes,
                        }
                    });
                }
            }
        }
    }
    fn push(&mut self, top: &mut usize, values: impl Iterator<Item = f64>) {
        if *top == self.stack.len() {
            self.stack.push(Vec::with_capacity(ROWS));
        }
        self.stack[*top].clear();
        self.stack[*top].extend(values);
        *top += 1;
    }
}

impl Unary {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Negate => -x,
            Self::Abs => x.abs(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Log1p => x.ln_1p(),
            Self::Sqrt => x.sqrt(),
        }
    }
}
impl Binary {
    fn of(self, x: f64, y: f64) -> f64 {
        // What is missing stays missing; the library's `min`, `max`, `powf` and comparisons would drop it.
        if x.is_nan() || y.is_nan() {
            return f64::NAN;
        }
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            Self::Add => x + y,
            Self::Subtract => x - y,
            Self::Multiply => x * y,
            Self::Divide => x / y,
            Self::Power => x.powf(y),
            Self::Min => x.min(y),
            Self::Max => x.max(y),
            Self::Less => truth(x < y),
            Self::LessOrEqual => truth(x <= y),
            Self::Greater => truth(x > y),
            Self::GreaterOrEqual => truth(x >= y),
            Self::Equal => truth(x == y),
            Self::NotEqual => truth(x != y),
        }
    }
}

#[cfg(test)]
mod tests;
