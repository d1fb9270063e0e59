//! Against a naive evaluation, row by row, of a tree that is printed with all its parentheses or none.

use super::*;
use crate::diagnostic::Diagnostic;
use proptest::prelude::*;

const NAMES: [&str; 6] = ["p_click", "p_purchase", "price", "unit price", "a}b", "p_add-to-cart"];

fn value(text: &str) -> Option<f64> {
    let e = Expression::parse(text, &NAMES).unwrap_or_else(|e| panic!("{text}: {e}"));
    let of = |name: &String| [0.5, 0.25, 8.0, 3.0, 7.0, 2.0][NAMES.iter().position(|n| n == name).unwrap()];
    e.eval(&e.variables().iter().map(of).collect::<Vec<_>>())
}
fn fault(text: &str) -> Diagnostic {
    Expression::parse(text, &NAMES).expect_err(text).0.remove(0)
}

#[test]
fn means_what_mathematics_means() {
    for (text, expected) in [
        ("p_purchase * price", 2.0),
        ("-price^2", -64.0),
        ("price^2^0.5", 8f64.powf(2f64.powf(0.5))),
        ("2^-3^2 * price", 2f64.powi(-9) * 8.0),
        ("price - 1 - 2", 5.0),
        ("price / 2 / 2", 2.0),
        ("1 + 2 * price", 17.0),
        ("- - price", 8.0),
        ("+price", 8.0),
        ("price*-2", -16.0),
        ("1e-3*price", 0.008),
        ("1.5E+1 + .5 + 2. + price", 25.5),
        ("{unit price} + {a}}b}", 10.0),
        ("{price}", 8.0),
        ("{p_add-to-cart}", 2.0),
        ("min(price, 3) + max(1, price, 20, 2)", 23.0),
        ("if(price > 5, p_click, p_purchase)", 0.5),
        ("if(price < 5, p_click, p_purchase)", 0.25),
        ("(price >= 8) + (price <= 8) + (price == 8) + (price != 8)", 3.0),
        ("price > 2 + 3 * 1", 1.0),
        ("log(exp(price)) + sqrt(price * 2) + abs(-price) + log1p(price - 8)", 20.0),
    ] {
        assert_eq!(value(text), Some(expected), "{text}");
    }
}

#[test]
fn what_is_not_finite_has_no_value() {
    let e = Expression::parse("p_click / price", &NAMES).unwrap();
    let out = e.eval_rows(&[&[1.0, 0.0, 1.0, f64::NAN, f64::MAX], &[0.0, 0.0, 4.0, 1.0, 1e-300]]);
    assert!(out[0].is_nan() && out[1].is_nan() && out[3].is_nan() && out[4].is_nan());
    assert_eq!(out[2], 0.25);
    for text in
        ["min(price, 1)", "max(price, 1)", "price < 1", "price != price", "price ^ 0", "1 ^ price", "if(price, 1, 2)", "if(1, price, 2)"]
    {
        assert_eq!(Expression::parse(text, &NAMES).unwrap().eval(&[f64::NAN]), None, "{text}");
    }
    // The branch that is not taken does not matter.
    let e = Expression::parse("if(price > 0, p_click / price, 0)", &NAMES).unwrap();
    assert_eq!((e.eval(&[0.0, 1.0]), e.eval(&[2.0, 1.0]), e.eval(&[2.0, f64::NAN])), (Some(0.0), Some(0.5), None));
}

#[test]
fn mistakes_are_shown_at_their_place() {
    for (text, message, span) in [
        ("p_purchse * price", "unknown name `p_purchse` in the expression", 0..9),
        ("p_add-to-cart * 2", "unknown name `p_add` in the expression", 0..5),
        ("2 * mx(price, 1)", "unknown function `mx`", 4..6),
        ("price *", "expected a number, a name or `(`, found the end", 7..7),
        ("", "expected a number, a name or `(`, found the end", 0..0),
        ("(price", "expected an operator or `)`, found the end", 6..6),
        ("price)", "expected an operator or the end, found `)`", 5..6),
        ("price price", "expected an operator or the end, found `p`", 6..7),
        ("price ** 2", "expected a number, a name or `(`, found `*`", 7..8),
        ("price % 2", "expected an operator or the end, found `%`", 6..7),
        ("{price", "this brace is never closed", 0..1),
        ("2nd", "`2nd` is not a number", 0..3),
        ("1e999 * price", "`1e999` is not a number", 0..5),
        ("1..2 * price", "`1..2` is not a number", 0..4),
        ("1 < price < 3", "comparisons do not chain", 10..11),
        ("sqrt(price, 2)", "`sqrt` takes one value, found 2", 0..14),
        ("if(price, 2)", "`if` takes a condition and two values, `if(price > 0, a, b)`, found 2", 0..12),
        ("min(price)", "`min` takes two values or more, found 1", 0..10),
        ("1 + 2", "the expression names no probability and no column", 0..5),
        ("é + price", "unknown name `é` in the expression", 0..2),
        ("price × 2", "expected an operator or the end, found `×`", 6..8),
    ] {
        let found = fault(text);
        assert_eq!(found.message, message, "{text}");
        assert_eq!(found.annotations[0].place.span, span, "{text}");
    }
    assert_eq!(fault("p_purchse").help[0], "did you mean `p_purchase`?");
    assert_eq!(fault("p_add-to-cart").help[0], "did you mean `{p_add-to-cart}`?");
    assert_eq!(fault("x").help, ["names there are: p_click, p_purchase, price, {unit price}, {a}}b}, {p_add-to-cart}"]);
    assert_eq!(fault("mx(price)").help[0], "did you mean `max`?");
    let shown = Expression::parse_from("--value", "2 * p_purchse", &NAMES).unwrap_err().to_string();
    assert!(shown.contains(" --> --value:1:5\n") && shown.contains("  |     ^^^^^^^^^ no probability"), "{shown}");
}

#[test]
fn no_text_exhausts_the_stack() {
    for deep in ["(".repeat(5000), "-".repeat(5000), "2^".repeat(4000), "abs(".repeat(2000)] {
        assert_eq!(fault(&deep).message, "the expression is nested more than 64 deep");
    }
    assert_eq!(fault(&"(".repeat(100_000)).message, "the expression has more than 10000 bytes");
    assert_eq!(value(&format!("{}price{}", "(".repeat(60), ")".repeat(60))), Some(8.0));
    assert_eq!(value(&format!("price{}", "+1".repeat(2000))), Some(2008.0));
}

/// The oracle: a tree, evaluated by the book.
#[derive(Debug, Clone)]
enum Tree {
    Number(u8),
    Name(usize),
    Negate(Box<Tree>),
    Call(&'static str, Vec<Tree>),
    Binary(char, Box<Tree>, Box<Tree>),
}
impl Tree {
    fn of(&self, row: &[f64; 3]) -> f64 {
        match self {
            Self::Number(n) => f64::from(*n) / 4.0,
            Self::Name(at) => row[*at],
            Self::Negate(x) => -x.of(row),
            Self::Call(name, x) => {
                let x: Vec<f64> = x.iter().map(|x| x.of(row)).collect();
                match *name {
                    "abs" => x[0].abs(),
                    "sqrt" => x[0].sqrt(),
                    "if" if x[0].is_nan() => f64::NAN,
                    "if" => x[if x[0] == 0.0 { 2 } else { 1 }],
                    _ if x.iter().any(|x| x.is_nan()) => f64::NAN,
                    "max" => x.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    _ => x.iter().copied().fold(f64::INFINITY, f64::min),
                }
            }
            Self::Binary(op, x, y) => {
                let (x, y) = (x.of(row), y.of(row));
                match op {
                    _ if x.is_nan() || y.is_nan() => f64::NAN,
                    '+' => x + y,
                    '-' => x - y,
                    '*' => x * y,
                    '/' => x / y,
                    '^' => x.powf(y),
                    _ => f64::from(u8::from(x < y)),
                }
            }
        }
    }
    /// Binding power, as the module's grammar has it.
    fn power(&self) -> u8 {
        match self {
            Self::Binary('<', ..) => 1,
            Self::Binary('+' | '-', ..) => 2,
            Self::Binary('*' | '/', ..) => 3,
            Self::Negate(_) => 4,
            Self::Binary(..) => 5,
            _ => 6,
        }
    }
    /// With no more parentheses than it needs.
    fn text(&self) -> String {
        let at_least = |x: &Tree, least: u8| if x.power() < least { format!("({})", x.text()) } else { x.text() };
        match self {
            Self::Number(n) => format!("{}", f64::from(*n) / 4.0),
            Self::Name(at) => ["a", "{b c}", "d.e"][*at].to_owned(),
            Self::Negate(x) => format!("-{}", at_least(x, 4)),
            Self::Call(name, x) => format!("{name}({})", x.iter().map(Self::text).collect::<Vec<_>>().join(" ,")),
            Self::Binary(op, x, y) => {
                let (left, right) = match op {
                    '^' => (6, 4),
                    '<' => (2, 2),
                    _ => (self.power(), self.power() + 1),
                };
                format!("{} {op} {}", at_least(x, left), at_least(y, right))
            }
        }
    }
}
fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![(0u8..20).prop_map(Tree::Number), (0usize..3).prop_map(Tree::Name)];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|x| Tree::Negate(Box::new(x))),
            (prop_oneof![Just("abs"), Just("sqrt")], inner.clone()).prop_map(|(f, x)| Tree::Call(f, vec![x])),
            (prop_oneof![Just("min"), Just("max")], proptest::collection::vec(inner.clone(), 2..4)).prop_map(|(f, x)| Tree::Call(f, x)),
            proptest::collection::vec(inner.clone(), 3).prop_map(|x| Tree::Call("if", x)),
            (proptest::sample::select(vec!['+', '-', '*', '/', '^', '<']), inner.clone(), inner).prop_map(|(op, x, y)| Tree::Binary(
                op,
                Box::new(x),
                Box::new(y)
            )),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn equals_a_naive_evaluation(tree in tree(), rows in proptest::collection::vec([-3i8..4, -3i8..4, -3i8..4], 1..5)) {
        let text = format!("{} + 0 * (a + {{b c}} + d.e)", match tree.power() { 1 => format!("({})", tree.text()), _ => tree.text() });
        let e = Expression::parse(&text, &["a", "b c", "d.e"]).unwrap();
        // -3 stands for a missing cell; many blocks of rows.
        let cell = |v: i8| if v == -3 { f64::NAN } else { f64::from(v) / 2.0 };
        let many: Vec<[f64; 3]> = rows.iter().cycle().take(rows.len() * 600).map(|r| r.map(cell)).collect();
        let columns: Vec<Vec<f64>> = e.variables().iter().map(|v| {
            let at = ["a", "b c", "d.e"].iter().position(|n| n == v).unwrap();
            many.iter().map(|r| r[at]).collect()
        }).collect();
        let out = e.eval_rows(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>());
        prop_assert_eq!(out.len(), many.len());
        for (row, got) in many.iter().zip(out) {
            let expected = tree.of(row) + 0.0 * (row[0] + row[1] + row[2]);
            prop_assert!(if expected.is_finite() { got == expected } else { got.is_nan() }, "{text} of {row:?}: {got}, not {expected}");
        }
    }
    #[test]
    fn no_text_makes_it_panic(text in "[a-c0-9.e{}()+*/^<>=!, -]{0,40}|\\PC{0,12}") {
        drop(Expression::parse(&text, &["a", "b c"]));
    }
}
