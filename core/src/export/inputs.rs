//! What goes into the graph, and numbers → columns as nodes: [`Preprocessor::push_numbers`](crate::data::Preprocessor) with its constants.

use crate::data::layout::GroupLayout;
use crate::data::{FIRST_ID, MISSING, NumberFit, Preprocessor};
use crate::model::GroupValues;
use crate::onnx::proto::Type;
use crate::onnx::{Onnx, Value};

/// The graph's inputs by name, per group in the layout's order.
#[derive(Debug, Clone, Default)]
pub(super) struct Inputs {
    pub groups: Vec<GroupInputs>,
}
/// Of one group.
#[derive(Debug, Clone, Default)]
pub(super) struct GroupInputs {
    /// A column of ids.
    pub ids: Vec<String>,
    /// A column of bags: rows and weights.
    pub bags: Vec<(String, String)>,
    /// A column of numbers.
    pub numbers: Vec<String>,
}

/// A column's name as ONNX wants names: letters, digits and `_`, no digit first.
fn plain(column: &str) -> String {
    let mut name: String = column.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}

/// Declares the inputs, and gives what the model takes of each group.
pub(super) fn onnx_inputs(graph: &mut Onnx<'_>, preprocessor: &Preprocessor) -> (Inputs, Vec<GroupValues>) {
    let (mut inputs, mut values) = (Inputs::default(), Vec::new());
    for (g, layout) in preprocessor.layout().groups.iter().enumerate() {
        let (of, group) = group_inputs(graph, layout, preprocessor.numbers(g));
        inputs.groups.push(of);
        values.push(group);
    }
    (inputs, values)
}

fn group_inputs(graph: &mut Onnx<'_>, layout: &GroupLayout, fits: &[NumberFit]) -> (GroupInputs, GroupValues) {
    let (mut inputs, mut values) = (GroupInputs::default(), GroupValues::default());
    for id in &layout.ids {
        let rows = graph.input(&plain(&id.column), Type::Int64, &["batch"], "table rows; see the card");
        inputs.ids.push(rows.name().to_owned());
        values.singles.push(rows);
    }
    for bag in &layout.bags {
        let name = plain(&bag.id.column);
        let dims = ["batch".to_owned(), format!("{name}_length")];
        let dims = [dims[0].as_str(), dims[1].as_str()];
        let rows = graph.input(&name, Type::Int64, &dims, "table rows, padded with any row");
        let weights = graph.input(&format!("{name}_weights"), Type::Float, &dims, "weights, 0 for padding; 1 for a value without a weight");
        inputs.bags.push((rows.name().to_owned(), weights.name().to_owned()));
        values.bags.push((rows, weights));
    }
    for (number, fit) in layout.numbers.iter().zip(fits) {
        let raw = graph.input(&plain(&number.column), Type::Float, &["batch"], "as it stands in the data; NaN is missing");
        inputs.numbers.push(raw.name().to_owned());
        transform(graph, &raw, fit, &mut values);
    }
    (inputs, values)
}

/// What a fit makes of a column, `[B]`: a table row, or one or two columns of numbers.
fn transform(graph: &mut Onnx<'_>, raw: &Value, fit: &NumberFit, values: &mut GroupValues) {
    let (missing, zero) = (graph.is_nan(raw), graph.number(0.0));
    let number = match fit {
        NumberFit::Ranges { edges } => {
            values.singles.push(range(graph, raw, &missing, edges));
            return;
        }
        NumberFit::None { .. } => graph.choose(&missing, &zero, raw),
        NumberFit::Scale { std, .. } if *std <= 0.0 => {
            let known = graph.choose(&missing, &zero, raw);
            graph.mul(&known, &zero)
        }
        NumberFit::Scale { log, mean, std, .. } => {
            // In double precision: a mean far from 0 leaves few digits of single precision.
            let mut x = graph.cast(raw, Type::Double);
            if *log {
                let (sign, size, one) = (graph.sign(&x), graph.abs(&x), graph.double(1.0));
                let more = graph.add(&size, &one);
                let log = graph.log(&more);
                x = graph.mul(&sign, &log);
            }
            let (mean, std) = (graph.double(*mean), graph.double(*std));
            let centred = graph.sub(&x, &mean);
            let scaled = graph.div(&centred, &std);
            let single = graph.cast(&scaled, Type::Float);
            graph.choose(&missing, &zero, &single)
        }
    };
    values.numbers.push(graph.unsqueeze(&number, 1));
    if fit.indicator() {
        let indicator = graph.cast(&missing, Type::Float);
        values.numbers.push(graph.unsqueeze(&indicator, 1));
    }
}

/// The table row of a number's range: how many edges are not above it.
fn range(graph: &mut Onnx<'_>, raw: &Value, missing: &Value, edges: &[f64]) -> Value {
    let (first, unknown) = (graph.whole(i64::from(FIRST_ID)), graph.whole(i64::from(MISSING)));
    if edges.is_empty() {
        return graph.choose(missing, &unknown, &first);
    }
    let double = graph.cast(raw, Type::Double);
    let (column, edges) = (graph.unsqueeze(&double, 1), graph.doubles(edges));
    let passed = graph.at_least(&column, &edges);
    let passed = graph.cast(&passed, Type::Int64);
    let count = graph.sum(&passed, &[1], false);
    let row = graph.add(&count, &first);
    graph.choose(missing, &unknown, &row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::layout::{Layout, SplitColumn};
    use crate::onnx::{Evaluated, evaluate};

    #[test]
    fn names_are_plain() {
        assert_eq!(["user_id", "a×b", "time:hour", "2nd", ""].map(plain), ["user_id", "a_b", "time_hour", "_2nd", "_"]);
    }

    #[test]
    fn numbers_become_what_the_preprocessor_makes_of_them() {
        let fits = [
            NumberFit::None { indicator: true },
            NumberFit::Scale { log: false, mean: 1.7e9, std: 3e4, indicator: false },
            NumberFit::Scale { log: true, mean: 2.0, std: 0.5, indicator: true },
            NumberFit::Scale { log: false, mean: 4.0, std: 0.0, indicator: false },
            NumberFit::Ranges { edges: vec![-1.0, 0.5, 1.7e9] },
            NumberFit::Ranges { edges: vec![] },
        ];
        let raw = [f32::NAN, -3.0, -1.0, 0.0, 0.5, 12.25, 1.7e9];
        let mut graph = Onnx::new();
        let input = graph.input("x", Type::Float, &["batch"], "");
        let mut values = GroupValues::default();
        for fit in &fits {
            transform(&mut graph, &input, fit, &mut values);
        }
        let found = evaluate(&graph, [("x".to_owned(), Evaluated::floats(vec![raw.len()], raw.to_vec()))].into()).unwrap();
        let layout = Layout {
            groups: vec![],
            tables: vec![],
            labels: vec![],
            weight: None,
            loss_weights: vec![],
            keys: vec![],
            aux: vec![],
            split: SplitColumn::None,
            truth: vec![],
        };
        let preprocessor = Preprocessor::new(layout, vec![fits.to_vec()], vec![]);
        let get = |values: &[Value], row: usize| values.iter().map(|v| found[v.name()].values()[row]).collect::<Vec<f64>>();
        for (row, x) in raw.into_iter().enumerate() {
            let (mut singles, mut numbers) = (Vec::new(), Vec::new());
            preprocessor.push_numbers(0, &[x; 6], &mut singles, &mut numbers);
            assert_eq!(get(&values.singles, row), singles.into_iter().map(f64::from).collect::<Vec<_>>(), "{x}");
            assert_eq!(get(&values.numbers, row), numbers.into_iter().map(f64::from).collect::<Vec<_>>(), "{x}");
        }
    }
}
