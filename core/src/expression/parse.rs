//! Text → postfix program. A Pratt parser: one loop over operators by binding power, with a bound on depth, so that no text of a request
//! can exhaust the stack.

use super::{Binary, Op, Unary};
use crate::diagnostic::suggest::{did_you_mean, nearest};
use crate::diagnostic::{Diagnostic, Diagnostics, Place, SourceText};
use std::ops::Range;
use std::sync::Arc;

/// Longest text, in bytes.
const LONGEST: usize = 10_000;
/// Deepest nesting of parentheses, signs and powers.
const DEEPEST: usize = 64;

const FUNCTIONS: [&str; 8] = ["abs", "exp", "if", "log", "log1p", "max", "min", "sqrt"];
const OPERATORS: [(&str, Binary, u8); 11] = [
    ("<=", Binary::LessOrEqual, 1),
    (">=", Binary::GreaterOrEqual, 1),
    ("==", Binary::Equal, 1),
    ("!=", Binary::NotEqual, 1),
    ("<", Binary::Less, 1),
    (">", Binary::Greater, 1),
    ("+", Binary::Add, 2),
    ("-", Binary::Subtract, 2),
    ("*", Binary::Multiply, 3),
    ("/", Binary::Divide, 3),
    ("^", Binary::Power, POWER),
];
/// A sign binds looser than a power, tighter than a product.
const SIGN: u8 = 4;
const POWER: u8 = 5;

/// `names`: those there are; `None`: any.
pub(super) fn parse(source: &str, text: &str, names: Option<&[&str]>) -> Result<(Vec<String>, Vec<Op>), Diagnostics> {
    let mut parser = Parser { text, names, at: 0, depth: 0, variables: Vec::new(), program: Vec::new() };
    parser.whole().map_err(|fault| {
        let source = Arc::new(SourceText { name: source.to_owned(), text: text.to_owned() });
        let found = Diagnostic::error(fault.id, fault.message).at(Some(Place { source, span: fault.span }), fault.label);
        Diagnostics::from(fault.help.into_iter().fold(found, Diagnostic::help))
    })?;
    Ok((parser.variables, parser.program))
}

/// A mistake, before it gets its text.
struct Fault {
    id: &'static str,
    message: String,
    span: Range<usize>,
    label: String,
    help: Vec<String>,
}

struct Parser<'a> {
    text: &'a str,
    names: Option<&'a [&'a str]>,
    at: usize,
    depth: usize,
    variables: Vec<String>,
    program: Vec<Op>,
}

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Result<(), Fault> {
        if self.text.len() > LONGEST {
            return Err(fault(format!("the expression has more than {LONGEST} bytes"), 0..0, ""));
        }
        self.expression(0)?;
        self.space();
        if self.at < self.text.len() {
            return Err(self.unexpected("an operator or the end"));
        }
        if self.variables.is_empty() {
            let help = self.names.map(there_are).into_iter().collect();
            return Err(Fault { help, ..fault("the expression names no probability and no column".into(), 0..self.text.len(), "") });
        }
        Ok(())
    }

    /// An operand and what follows it, as long as operators bind at least as tightly as `least`.
    fn expression(&mut self, least: u8) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(fault(format!("the expression is nested more than {DEEPEST} deep"), self.here(), "here"));
        }
        self.operand()?;
        while let Some((sign, op, power)) = self.operator().filter(|(_, _, power)| *power >= least) {
            self.at += sign.len();
            // Powers group to the right and may have a sign: 2^-3^2.
            self.expression(if op == Binary::Power { SIGN } else { power + 1 })?;
            self.program.push(Op::Binary(op));
            if power == 1 && self.operator().is_some_and(|(_, _, next)| next == 1) {
                let message = "comparisons do not chain".to_owned();
                let help = vec!["write `(a < b) * (b < c)`".to_owned()];
                return Err(Fault { help, ..fault(message, self.here(), "a second comparison") });
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn operand(&mut self) -> Result<(), Fault> {
        self.space();
        let rest = self.rest();
        match rest.chars().next() {
            Some(sign @ ('-' | '+')) => {
                self.at += 1;
                self.expression(SIGN)?;
                if sign == '-' {
                    self.program.push(Op::Unary(Unary::Negate));
                }
                Ok(())
            }
            Some('(') => {
                self.at += 1;
                self.expression(0)?;
                self.expect(')')
            }
            Some('{') => self.braced(),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if starts_name(c) => {
                let length = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
                let span = self.at..self.at + length;
                self.at = span.end;
                self.space();
                if self.rest().starts_with('(') {
                    self.function(&self.text[span.clone()], span)
                } else {
                    self.variable(&self.text[span.clone()], span)
                }
            }
            _ => Err(self.unexpected("a number, a name or `(`")),
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        let bytes = self.rest().as_bytes();
        let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let signed = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(signed);
            if exponent > signed {
                end = exponent;
            }
        }
        let span = self.at..self.at + end;
        let found = &self.text[span.clone()];
        let glued = self.text[span.end..].starts_with(in_name);
        let Some(number) = found.parse::<f64>().ok().filter(|n| n.is_finite() && !glued) else {
            let whole = self.text[self.at..].find(|c| !in_name(c)).map_or(self.text.len(), |n| self.at + n).max(span.end);
            let message = format!("`{}` is not a number", &self.text[self.at..whole]);
            let help = vec!["a name that starts with a digit stands in braces, `{2nd price}`".to_owned()];
            return Err(Fault { help, ..fault(message, self.at..whole, "") });
        };
        self.at = span.end;
        self.program.push(Op::Number(number));
        Ok(())
    }

    /// `{any name}`, a closing brace in it doubled.
    fn braced(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let (mut name, mut rest) = (String::new(), self.text[start + 1..].char_indices().peekable());
        while let Some((at, c)) = rest.next() {
            if c == '}' && rest.next_if(|(_, next)| *next == '}').is_none() {
                self.at = start + 1 + at + 1;
                return self.variable(&name, start..self.at);
            }
            name.push(c);
        }
        Err(fault("this brace is never closed".into(), start..start + 1, "expected `}` after the name"))
    }

    fn variable(&mut self, name: &str, span: Range<usize>) -> Result<(), Fault> {
        if let Some(names) = self.names.filter(|names| !names.contains(&name)) {
            return Err(self.unknown(names, name, span));
        }
        let at = self.variables.iter().position(|v| v == name).unwrap_or_else(|| {
            self.variables.push(name.to_owned());
            self.variables.len() - 1
        });
        self.program.push(Op::Variable(at));
        Ok(())
    }

    fn unknown(&self, names: &[&str], name: &str, span: Range<usize>) -> Fault {
        // `p_add-to-cart` is read as `p_add` minus …: perhaps a name that needs braces starts here.
        let longer = names.iter().filter(|n| !is_bare(n) && self.text[span.start..].starts_with(**n)).max_by_key(|n| n.len());
        let near = longer.copied().or_else(|| nearest(name, names));
        let mut help: Vec<String> = near.map(|near| format!("did you mean `{}`?", quoted(near))).into_iter().collect();
        help.push(there_are(names));
        Fault {
            help,
            ..fault_of("unknown-name", format!("unknown name `{name}` in the expression"), span, "no probability or column of this name")
        }
    }

    /// The name has been read, `(` is next.
    fn function(&mut self, name: &str, span: Range<usize>) -> Result<(), Fault> {
        if !FUNCTIONS.contains(&name) {
            let mut help: Vec<String> = did_you_mean(name, FUNCTIONS).into_iter().collect();
            help.push(format!("functions there are: {}", FUNCTIONS.join(", ")));
            return Err(Fault {
                help,
                ..fault_of("unknown-function", format!("unknown function `{name}`"), span, "no function of this name")
            });
        }
        self.at += 1;
        let fold = match name {
            "min" => Some(Binary::Min),
            "max" => Some(Binary::Max),
            _ => None,
        };
        let mut arguments = 0;
        loop {
            self.expression(0)?;
            arguments += 1;
            if let Some(op) = fold.filter(|_| arguments > 1) {
                self.program.push(Op::Binary(op));
            }
            self.space();
            if !self.rest().starts_with(',') {
                break;
            }
            self.at += 1;
        }
        self.expect(')')?;
        let (fits, wanted) = match name {
            "min" | "max" => (arguments >= 2, "two values or more"),
            "if" => (arguments == 3, "a condition and two values, `if(price > 0, a, b)`"),
            _ => (arguments == 1, "one value"),
        };
        if !fits {
            return Err(fault(format!("`{name}` takes {wanted}, found {arguments}"), span.start..self.at, ""));
        }
        self.program.extend(match name {
            "abs" => Some(Op::Unary(Unary::Abs)),
            "exp" => Some(Op::Unary(Unary::Exp)),
            "log" => Some(Op::Unary(Unary::Log)),
            "log1p" => Some(Op::Unary(Unary::Log1p)),
            "sqrt" => Some(Op::Unary(Unary::Sqrt)),
            "if" => Some(Op::If),
            _ => None,
        });
        Ok(())
    }

    fn operator(&mut self) -> Option<(&'static str, Binary, u8)> {
        self.space();
        OPERATORS.into_iter().find(|(sign, ..)| self.rest().starts_with(sign))
    }
    fn expect(&mut self, c: char) -> Result<(), Fault> {
        self.space();
        if !self.rest().starts_with(c) {
            return Err(self.unexpected(&format!("an operator or `{c}`")));
        }
        self.at += c.len_utf8();
        Ok(())
    }
    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    /// The next character, or the end.
    fn here(&self) -> Range<usize> {
        self.at..self.at + self.rest().chars().next().map_or(0, char::len_utf8)
    }
    fn unexpected(&self, expected: &str) -> Fault {
        let found = self.rest().chars().next().map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
        fault(format!("expected {expected}, found {found}"), self.here(), "")
    }
}

fn there_are(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|n| quoted(n)).collect();
    format!("names there are: {}", names.join(", "))
}
fn fault(message: String, span: Range<usize>, label: &str) -> Fault {
    fault_of("expression", message, span, label)
}
fn fault_of(id: &'static str, message: String, span: Range<usize>, label: &str) -> Fault {
    Fault { id, message, span, label: label.to_owned(), help: Vec::new() }
}

fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}
fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}
fn is_bare(name: &str) -> bool {
    name.starts_with(starts_name) && name.chars().all(in_name)
}
/// As it is written in an expression.
fn quoted(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { format!("{{{}}}", name.replace('}', "}}")) }
}
