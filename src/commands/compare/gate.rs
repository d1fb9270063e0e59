//! `--fail-if-worse`: a difference that fails a pipeline.

use super::Compared;
use super::sides::Side;
use super::words::number;
use anyhow::{Result, bail};
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use esmm_funnel_core::metrics::MEASURES;

/// `<stage>.<space>.<metric>[:<margin>]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    target: String,
    space: String,
    measure: usize,
    margin: f64,
    text: String,
}

const SPACES: [&str; 3] = ["conditional", "full", "entire"];

impl Gate {
    pub fn parse(text: &str) -> Result<Self> {
        let (path, margin) = text.split_once(':').map_or((text, None), |(path, margin)| (path, Some(margin)));
        let margin = match margin {
            None => 0.0,
            Some(given) => match given.trim().parse::<f64>().ok().filter(|m| m.is_finite() && *m >= 0.0) {
                Some(margin) => margin,
                None => bail!("`--fail-if-worse {text}`: the margin `{given}` is not a number of at least 0"),
            },
        };
        let parts: Vec<&str> = path.trim().split('.').collect();
        let [target, space, measure] = parts[..] else {
            bail!(
                "`--fail-if-worse {text}`: expected `<stage>.<space>.<metric>` or `<stage>.<space>.<metric>:<margin>`, as in `purchase.full.auc:0.002`"
            );
        };
        if !SPACES.contains(&space) {
            let hint = did_you_mean(space, &SPACES).map(|h| format!("; {h}")).unwrap_or_default();
            bail!("`--fail-if-worse {text}`: no space `{space}`{hint}; there are: {}", SPACES.join(", "));
        }
        let Some(at) = MEASURES.iter().position(|m| *m == measure) else {
            let hint = did_you_mean(measure, &MEASURES).map(|h| format!("; {h}")).unwrap_or_default();
            bail!("`--fail-if-worse {text}`: no metric `{measure}` here{hint}; there are: {}", MEASURES.join(", "));
        };
        Ok(Self { target: target.into(), space: space.into(), measure: at, margin, text: text.into() })
    }

    /// Before any work: all sides have the stage.
    pub fn check(&self, sides: &[Side]) -> Result<()> {
        for side in sides {
            let known = side.targets();
            if !known.contains(&self.target.as_str()) {
                let hint = did_you_mean(&self.target, &known).map(|h| format!("; {h}")).unwrap_or_default();
                bail!(
                    "`--fail-if-worse {}`: `{}` has no stage or outcome `{}`{hint}; there are: {}",
                    self.text,
                    side.name,
                    self.target,
                    known.join(", ")
                );
            }
        }
        Ok(())
    }

    /// Per run that is compared with the first: what is to be said of it, and whether the gate fails.
    pub fn judge(&self, compared: &Compared) -> Result<Vec<(String, bool)>> {
        let spaces = &compared.spaces;
        // Of a stage right after the row, `conditional` is `full`.
        let find = |space: &str| spaces.iter().find(|s| s.target == self.target && s.space == space);
        let Some(space) = find(&self.space).or_else(|| find("full").filter(|_| self.space == "conditional")) else {
            let known: Vec<String> = spaces.iter().map(|s| format!("{}.{}", s.target, s.space)).collect();
            bail!(
                "`--fail-if-worse {}`: `{}.{}` is not compared here; there are: {}",
                self.text,
                self.target,
                self.space,
                known.join(", ")
            );
        };
        let sides = &compared.sides[1..];
        space
            .differences
            .iter()
            .zip(sides)
            .map(|(differences, side)| {
                let d = &differences[self.measure];
                let (Some(value), Some(low), Some(high)) = (d.value, d.low, d.high) else {
                    bail!(
                        "`--fail-if-worse {}`: the metric has no interval for `{}`: too few positives, or undefined",
                        self.text,
                        side.name
                    )
                };
                // Lower is worse for AUC, higher for the others.
                let (best, failed) = if MEASURES[self.measure] == "auc" { (high, high < -self.margin) } else { (low, low > self.margin) };
                let far = if failed { "worse" } else { "not shown to be worse" };
                let by = if self.margin > 0.0 { format!(" by more than {}", self.margin) } else { String::new() };
                let text = format!(
                    "{}.{}.{}: `{}` is {far} than `{}`{by}: {} (at best {}, 95 %)",
                    self.target,
                    self.space,
                    MEASURES[self.measure],
                    side.name,
                    compared.sides[0].name,
                    number(value, true),
                    number(best, true)
                );
                Ok((text, failed))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_read_as_they_are_written() {
        let gate = Gate::parse("purchase.full.auc:0.002").unwrap();
        assert_eq!((gate.target.as_str(), gate.space.as_str(), gate.measure, gate.margin), ("purchase", "full", 0, 0.002));
        assert_eq!(Gate::parse("purchase.conditional.logloss").unwrap().margin, 0.0);
        for bad in
            ["auc", "purchase.full", "purchase.ful.auc", "purchase.full.acu", "purchase.full.auc:", "purchase.full.auc:-1", "a.b.c.auc"]
        {
            assert!(Gate::parse(bad).is_err(), "{bad}");
        }
    }
}
