//! `--value NAME=EXPR`: value expressions bound to a funnel's probabilities and to columns of the data.

use super::Expression;
use super::predict::probabilities;
use crate::data::source::SharedSource;
use crate::data::{Dataset, Part, RawEncoder, joined};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::words::prediction_columns;
use crate::graph::{Graph, LabelFlags};
use crate::metrics::{Scores, Stake, ValueRows, ValueSummary, summarise_value};
use anyhow::{Result, bail};
use arrow::datatypes::Schema;
use std::collections::BTreeMap;

/// Named value expressions.
#[derive(Debug, Clone, Default)]
pub struct Values {
    items: Vec<Item>,
    /// The columns that they read.
    columns: Vec<String>,
}
#[derive(Debug, Clone)]
struct Item {
    name: String,
    expression: Expression,
    /// What each of its variables is.
    slots: Vec<Slot>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Index into [`prediction_columns`].
    Probability(usize),
    /// Index into [`Values::columns`].
    Column(usize),
}

impl Values {
    /// Of `NAME=EXPR` texts. Names in expressions are prediction columns and columns of the data; where both are called alike, the former.
    /// No value may be called as one of `taken`.
    ///
    /// # Errors
    /// All faults at once: a text without a name, a name given twice, and what [`Expression::parse`] finds.
    pub fn parse(texts: &[String], graph: &Graph, schema: &Schema, taken: &[String]) -> Result<Self, Diagnostics> {
        let probabilities = prediction_columns(graph);
        let columns = schema.fields().iter().map(|f| f.name()).filter(|n| !probabilities.contains(n));
        let names: Vec<&str> = probabilities.iter().chain(columns).map(String::as_str).collect();
        let (mut this, mut faults) = (Self::default(), Vec::new());
        for text in texts {
            match this.item(text, &names, probabilities.len(), taken) {
                Ok(item) => this.items.push(item),
                Err(found) => faults.extend(found.0),
            }
        }
        if faults.is_empty() { Ok(this) } else { Err(Diagnostics(faults)) }
    }

    fn item(&mut self, text: &str, names: &[&str], probabilities: usize, taken: &[String]) -> Result<Item, Diagnostics> {
        let fault = |message: String, help: &str| Diagnostics::from(Diagnostic::error("value", message).help(help));
        let (name, expression) = text.split_once('=').map_or(("", text), |(name, expression)| (name.trim(), expression));
        if name.is_empty() {
            return Err(fault(format!("`--value {text}` has no name"), "for example `--value 'value=p_purchase * price'`"));
        }
        let shown: Vec<&str> = names[..probabilities].to_vec();
        if shown.contains(&name) || taken.iter().any(|t| t == name) || self.items.iter().any(|i| i.name == name) {
            return Err(fault(format!("`--value {text}`: predictions have a column `{name}` already"), "give the value another name"));
        }
        let expression = Expression::parse_from("--value", expression, names)?;
        let slot = |variable: &String| {
            if let Some(at) = names[..probabilities].iter().position(|n| n == variable) {
                return Slot::Probability(at);
            }
            let at = self.columns.iter().position(|c| c == variable).unwrap_or_else(|| {
                self.columns.push(variable.clone());
                self.columns.len() - 1
            });
            Slot::Column(at)
        };
        let slots = expression.variables().iter().map(slot).collect();
        Ok(Item { name: name.to_owned(), expression, slots })
    }

    /// Columns of the data that they read.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|i| i.name.as_str())
    }
    /// Name and expression of each.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.items.iter().map(|i| (i.name.clone(), i.expression.text().to_owned())).collect()
    }

    /// Each value for each row, NaN where there is none.
    ///
    /// # Shapes
    /// `probabilities`: those of [`prediction_columns`], each `[N]`. `columns`: those of [`Values::columns`], each `[N]`.
    #[must_use]
    pub fn compute(&self, probabilities: &[Vec<f64>], columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
        self.items.iter().map(|item| item.compute(|at| &probabilities[at], columns)).collect()
    }

    /// Metrics of each, on scored rows and their columns, each `[N]`.
    #[must_use]
    pub fn evaluate(&self, graph: &Graph, scores: &Scores, columns: &[Vec<f64>]) -> Vec<(String, ValueSummary)> {
        let logits: Vec<&[f32]> = scores.logits.iter().map(Vec::as_slice).collect();
        let composed = graph.compose(&logits);
        let probabilities = probabilities(graph, &logits);
        let LabelFlags { in_space, reached } = graph.flags(&scores.labels);
        let names = prediction_columns(graph);
        let (rows, stages) = (scores.len(), graph.len());
        // Of a prediction column: its target, and whether it is conditional.
        let place = |at: usize| if at < 2 * stages { (at / 2, at % 2 == 1) } else { (at - stages, false) };
        let happened: Vec<Vec<f64>> = (0..names.len()).map(|at| reached[place(at).0].iter().map(|y| f64::from(*y)).collect()).collect();
        let (ones, zeros) = (vec![1.0; rows], vec![0.0; rows]);
        let weights = (!scores.weights.is_empty()).then_some(scores.weights.as_slice());
        let one = |item: &Item| {
            let predicted = item.compute(|at| &probabilities[at], columns);
            let realised = item.compute(|at| &happened[at], columns);
            let all = item.compute(|_| &ones, columns);
            let used = item.slots.iter().filter_map(|slot| if let Slot::Probability(at) = slot { Some(*at) } else { None });
            let staked: Vec<(usize, Vec<f64>)> = used
                .map(|p| {
                    let without = item.compute(|at| if at == p { &zeros } else { &ones }, columns);
                    (p, all.iter().zip(without).map(|(with, without)| with - without).collect())
                })
                .collect();
            let stakes: Vec<Stake<'_>> = staked
                .iter()
                .map(|(p, stakes)| {
                    let (target, conditional) = place(*p);
                    let pair = if conditional { &composed.conditional[target] } else { &composed.targets[target] };
                    let space = conditional.then(|| in_space[target].as_slice());
                    Stake { name: &names[*p], log_p: &pair.log_p, log_not_p: &pair.log_not_p, labels: &reached[target], stakes, space }
                })
                .collect();
            let rows = ValueRows { predicted: &predicted, realised: &realised, weights };
            (item.name.clone(), summarise_value(item.expression.text(), &rows, &stakes))
        };
        self.items.iter().map(one).collect()
    }

    /// Their columns on the rows of a part, read again from the source that the data were made of.
    ///
    /// # Errors
    /// A cell that is no number, or rows that are not those of the data.
    pub fn read(&self, source: &SharedSource, data: &Dataset, part: Part, encoder: &RawEncoder) -> Result<Vec<Vec<f64>>> {
        let mut out = vec![Vec::new(); self.columns.len()];
        if self.columns.is_empty() {
            return Ok(out);
        }
        let source = joined(source)?;
        let mut inside = data.in_part(part);
        for (i, input) in source.inputs()?.iter().enumerate() {
            for chunk in source.read(i, &self.columns)? {
                let chunk = chunk?;
                let keep: Vec<bool> = inside.by_ref().take(chunk.records.num_rows()).collect();
                if keep.len() < chunk.records.num_rows() {
                    bail!(
                        "`{}` has other rows than the encoded data; `--value` cannot be evaluated on a source that leaves rows out",
                        input.name
                    );
                }
                let kept = chunk.only(&keep)?;
                encoder.encode_numbers(&kept, input, &self.columns)?.into_iter().zip(&mut out).for_each(|(new, all)| all.extend(new));
            }
        }
        if inside.next().is_some() {
            bail!("the source has fewer rows than the encoded data; `--value` cannot be evaluated on it");
        }
        Ok(out)
    }
}

impl Item {
    fn compute<'a>(&self, probability: impl Fn(usize) -> &'a [f64], columns: &[Vec<f64>]) -> Vec<f64> {
        let of = |slot: &Slot| match slot {
            Slot::Probability(at) => probability(*at),
            Slot::Column(at) => columns[*at].as_slice(),
        };
        self.expression.eval_rows(&self.slots.iter().map(of).collect::<Vec<&[f64]>>())
    }
}
