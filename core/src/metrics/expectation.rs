//! Gates: `purchase.full.auc<0.70`.

use super::evaluation::Evaluation;
use super::summary::Summary;
use std::fmt;

/// A comparison of a metric with a number.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    path: String,
    comparison: Comparison,
    number: f64,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}
const COMPARISONS: [(&str, Comparison); 4] =
    [("<=", Comparison::LessOrEqual), (">=", Comparison::GreaterOrEqual), ("<", Comparison::Less), (">", Comparison::Greater)];

impl Expectation {
    /// Parses `<stage>.<space>.<metric> < | <= | > | >= number`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found = COMPARISONS.iter().filter_map(|(sign, c)| Some((text.find(sign)?, *sign, *c))).min_by_key(|f| f.0);
        let (at, sign, comparison) = found.ok_or("expected `<stage>.<space>.<metric>`, then `<`, `<=`, `>` or `>=`, then a number")?;
        let (path, number) = (text[..at].trim(), text[at + sign.len()..].trim());
        let number = number.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(|| format!("`{number}` is not a number"))?;
        let mut parts = path.rsplitn(3, '.');
        let (metric, space, stage) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if stage.is_empty() || !["conditional", "full", "entire"].contains(&space) {
            return Err(format!("`{path}` is not `<stage>.<conditional|full|entire>.<metric>`"));
        }
        if !Summary::METRICS.contains(&metric) {
            return Err(format!("unknown metric `{metric}`, expected one of: {}", Summary::METRICS.join(", ")));
        }
        Ok(Self { path: path.to_owned(), comparison, number })
    }

    /// The stage or outcome it is about.
    #[must_use]
    pub fn target(&self) -> &str {
        self.path.rsplitn(3, '.').last().unwrap_or_default()
    }

    /// Whether it is so.
    ///
    /// # Errors
    /// The evaluation has no such stage and space, or the metric is undefined there.
    pub fn holds(&self, evaluation: &Evaluation) -> anyhow::Result<bool> {
        let Some(value) = evaluation.get(&self.path) else {
            let paths: Vec<String> = evaluation.summaries().map(|(stage, space, _)| format!("{stage}.{space}")).collect();
            anyhow::bail!("`{}` has no value here; there are: {}", self.path, paths.join(", "));
        };
        Ok(match self.comparison {
            Comparison::Less => value < self.number,
            Comparison::LessOrEqual => value <= self.number,
            Comparison::Greater => value > self.number,
            Comparison::GreaterOrEqual => value >= self.number,
        })
    }
}
impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS.iter().find(|c| c.1 == self.comparison).map_or("", |c| c.0);
        write!(f, "{} {sign} {}", self.path, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_compares() {
        let e = Evaluation {
            targets: vec![("a.b".into(), vec![("full", Summary { auc: Some(0.7), ..Summary::default() })])],
            ..Evaluation::default()
        };
        for (text, expected) in
            [("a.b.full.auc<0.7", false), ("a.b.full.auc <= 0.7", true), ("a.b.full.auc>0.69", true), ("a.b.full.auc >=0.71", false)]
        {
            assert_eq!(Expectation::parse(text).unwrap().holds(&e).unwrap(), expected, "{text}");
        }
        assert_eq!(Expectation::parse("a.full.auc<=.5").unwrap().to_string(), "a.full.auc <= 0.5");
        for (bad, why) in
            [("a.full.auc=1", "expected"), ("auc<1", "is not"), ("a.full.acu<1", "unknown metric"), ("a.full.auc<x", "not a number")]
        {
            assert!(Expectation::parse(bad).unwrap_err().contains(why), "{bad}");
        }
        assert!(Expectation::parse("x.full.auc<1").unwrap().holds(&e).is_err());
    }
}
