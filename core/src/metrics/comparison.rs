//! Which differences between models are real: their metrics on the same rows, with intervals, and words' worth of evidence.
//!
//! Two kinds of noise stand between a number and a claim. *Row noise*: other test rows would give other metrics; the bootstrap over rows measures it,
//! for the very models that were trained. *Training noise*: another seed would give another model; only several seeds show it, by a paired t test. Each
//! test alone takes the other's noise for signal, so where there are seeds the larger of the two p values counts (Berger, Technometrics 1982).

use super::bootstrap::{MEASURES, Resampled, Values};
use super::delong::{Delong, delong, two_sided};
use super::paired::{Paired, paired};
use serde::Serialize;

/// Share of the resamples inside an interval; one minus it is the rate of false claims that is put up with.
pub const LEVEL: f64 = 0.95;

/// What an interval and a p are of, in words.
pub const SPREAD_WORDS: &str = "95 % of the resamples, shifted so that their mean is the value on the rows as they are";

/// Share of the resamples that may lack a metric before its interval is not to be trusted.
const MAY_LACK: f64 = 0.05;
/// Resamples beyond 0 from which a p counts; with fewer it is read off a normal curve.
const ENOUGH_BEYOND: usize = 10;

/// One run of a contestant.
#[derive(Debug, Clone)]
pub struct Member {
    /// Seed of its training.
    pub seed: u64,
    /// Its spaces.
    pub spaces: Vec<Resampled>,
}

/// One side of a comparison: a run, or runs that differ in their seed alone, whose metrics are averaged.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// What it is called.
    pub name: String,
    /// Its runs.
    pub members: Vec<Member>,
    /// Per space: mean placements of its runs, for [`delong`]; `None` where they mean nothing (weights, clusters, one class).
    pub placements: Vec<Option<Vec<f64>>>,
}

impl Contestant {
    fn space(&self, at: usize) -> impl Iterator<Item = &Resampled> {
        self.members.iter().map(move |m| &m.spaces[at])
    }
    /// The mean over its runs of one measure, on the rows as they are and on each resample.
    fn measure(&self, space: usize, measure: usize) -> (f64, Vec<f64>) {
        let n = self.members.len() as f64;
        let mean = |of: &dyn Fn(&Resampled) -> &Values| self.space(space).map(|s| of(s)[measure]).sum::<f64>() / n;
        let replicates = self.members[0].spaces[space].replicates.len();
        (mean(&|s| &s.estimate), (0..replicates).map(|b| mean(&move |s| &s.replicates[b])).collect())
    }
}

/// A metric, with its interval where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// On the rows as they are; `None`: undefined.
    pub value: Option<f64>,
    /// Lower end; `None` where too many resamples lack the metric.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// What is to be said of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Real, and for the better.
    Better,
    /// Real, and for the worse.
    Worse,
    /// It may be chance.
    Unclear,
    /// One of the two has no such metric here.
    Undefined,
}

/// How a contestant differs from the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Contestant minus first; of PCOC, of its distance from 1 ([`distance`]).
    pub value: Option<f64>,
    /// Lower end of the interval over rows.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Standard error over rows.
    pub se: Option<f64>,
    /// Over rows.
    pub p_rows: Option<f64>,
    /// Over seeds, where both have several; `None` too where there is no spread at all.
    pub seeds: Option<Paired>,
    /// The larger of the two.
    pub p: Option<f64>,
    /// After Holm, over the family of the metric.
    pub p_holm: Option<f64>,
    /// What is to be said.
    pub verdict: Verdict,
    /// The same of AUC by another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delong: Option<Delong>,
}

/// One stage or outcome in one space.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpaceComparison {
    /// Stage or outcome.
    pub target: String,
    /// Space.
    pub space: String,
    /// Rows.
    pub rows: u64,
    /// Those with label 1.
    pub positives: u64,
    /// `[contestant][measure]`, in the order of [`MEASURES`].
    pub measured: Vec<Vec<Measured>>,
    /// `[contestant − 1][measure]`: against the first.
    pub differences: Vec<Vec<Difference>>,
}

/// The scale on which a measure's values are compared: PCOC by how far it is from 1, as a ratio (`|ln PCOC|`), the others as they are.
#[must_use]
pub fn distance(measure: &str, value: f64) -> f64 {
    if measure == "pcoc" { value.ln().abs() } else { value }
}

/// Compares contestants, the first with each other one. All must have the same spaces, on the same resamples. `labels` are those of a space's rows.
#[must_use]
pub fn compare(contestants: &[Contestant], labels: &[Vec<u8>]) -> Vec<SpaceComparison> {
    let Some(first) = contestants.first() else { return Vec::new() };
    let mut all: Vec<SpaceComparison> = (0..labels.len())
        .map(|s| {
            let known = &first.members[0].spaces[s];
            let measured = contestants.iter().map(|c| (0..MEASURES.len()).map(|m| measured(c, s, m)).collect());
            let differences =
                contestants[1..].iter().map(|c| (0..MEASURES.len()).map(|m| difference(first, c, s, m, &labels[s])).collect());
            SpaceComparison {
                target: known.target.clone(),
                space: known.space.clone(),
                rows: known.rows,
                positives: known.positives,
                measured: measured.collect(),
                differences: differences.collect(),
            }
        })
        .collect();
    for m in 0..MEASURES.len() {
        judge(&mut all, m);
    }
    all
}

/// Settles the verdicts on one measure: its differences in all spaces, of all contestants, are one family.
fn judge(all: &mut [SpaceComparison], m: usize) {
    let mut family: Vec<&mut Difference> = all.iter_mut().flat_map(|s| s.differences.iter_mut().map(|d| &mut d[m])).collect();
    let adjusted = holm(&family.iter().map(|d| d.p).collect::<Vec<_>>());
    for (difference, p) in family.iter_mut().zip(adjusted) {
        difference.p_holm = p;
        let gain = difference.value.map_or(0.0, |v| if MEASURES[m] == "auc" { v } else { -v });
        difference.verdict = match p {
            None => Verdict::Undefined,
            Some(p) if p < 1.0 - LEVEL => {
                if gain > 0.0 {
                    Verdict::Better
                } else {
                    Verdict::Worse
                }
            }
            Some(_) => Verdict::Unclear,
        };
    }
}

fn measured(contestant: &Contestant, space: usize, m: usize) -> Measured {
    let (value, replicates) = contestant.measure(space, m);
    let spread = Spread::of(value, replicates);
    Measured { value: value.is_finite().then_some(value), low: spread.as_ref().map(|s| s.low), high: spread.map(|s| s.high) }
}

fn difference(first: &Contestant, other: &Contestant, space: usize, m: usize, labels: &[u8]) -> Difference {
    let measure = MEASURES[m];
    let ((a, of_a), (b, of_b)) = (first.measure(space, m), other.measure(space, m));
    let between = |a: f64, b: f64| distance(measure, b) - distance(measure, a);
    let value = between(a, b);
    let spread = Spread::of(value, of_a.iter().zip(&of_b).map(|(a, b)| between(*a, *b)).collect());
    let value_of = |member: &Member| distance(measure, member.spaces[space].estimate[m]);
    let pairs = first.members.iter().filter_map(|a| Some((a, other.members.iter().find(|b| b.seed == a.seed)?)));
    let pairs: Vec<f64> = pairs.map(|(a, b)| value_of(b) - value_of(a)).collect();
    let seeds = if pairs.iter().all(|d| d.is_finite()) { paired(&pairs) } else { None };
    let placed = (first.placements[space].as_ref(), other.placements[space].as_ref());
    let p_rows = spread.as_ref().map(|s| s.p);
    Difference {
        value: value.is_finite().then_some(value),
        low: spread.as_ref().map(|s| s.low),
        high: spread.as_ref().map(|s| s.high),
        se: spread.as_ref().map(|s| s.se),
        p_rows,
        p: p_rows.map(|p| seeds.map_or(p, |s| p.max(s.p))),
        seeds,
        p_holm: None,
        verdict: Verdict::Undefined,
        delong: if let (0, (Some(a), Some(b))) = (m, placed) { Some(delong(a, b, labels)) } else { None },
    }
}

/// How replicates lie around a value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    low: f64,
    high: f64,
    se: f64,
    p: f64,
}
impl Spread {
    /// Of the replicates, shifted so that their mean is the value: resampling adds noise to every bin of a calibration error, whose replicates
    /// are all too high. `None` where too many are undefined.
    fn of(value: f64, mut replicates: Vec<f64>) -> Option<Self> {
        let asked = replicates.len();
        replicates.retain(|r| r.is_finite());
        if !value.is_finite() || asked < 2 || (replicates.len() as f64) < (1.0 - MAY_LACK) * asked as f64 {
            return None;
        }
        let n = replicates.len() as f64;
        let mean = replicates.iter().sum::<f64>() / n;
        let se = (replicates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        for replicate in &mut replicates {
            *replicate += value - mean;
        }
        replicates.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - LEVEL) / 2.0;
        Some(Self { low: quantile(&replicates, tail), high: quantile(&replicates, 1.0 - tail), se, p: p_value(value, &replicates, se) })
    }
}

/// Twice the share of the replicates beyond 0; where these are too few to count, what a normal curve says, but no more than the count does.
fn p_value(value: f64, replicates: &[f64], se: f64) -> f64 {
    let beyond = replicates.iter().filter(|r| if value > 0.0 { **r <= 0.0 } else { **r >= 0.0 }).count();
    let counted = (2.0 * (beyond + 1) as f64 / (replicates.len() + 1) as f64).min(1.0);
    if value == 0.0 {
        1.0
    } else if beyond >= ENOUGH_BEYOND {
        counted
    } else {
        counted.min(two_sided(value, se))
    }
}

/// Between the two nearest of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (at - at.floor()) * (sorted[above] - sorted[below])
}

/// Holm's step-down adjustment (Scandinavian Journal of Statistics 1979): with these, the chance of any false claim in the family stays below the level
/// that each is held against. What has no p is no part of the family.
#[must_use]
pub fn holm(p: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut order: Vec<(usize, f64)> = p.iter().enumerate().filter_map(|(i, p)| Some((i, (*p)?))).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (mut adjusted, mut largest, family) = (vec![None; p.len()], 0.0f64, order.len());
    for (rank, (i, p)) in order.into_iter().enumerate() {
        largest = largest.max(p * (family - rank) as f64).min(1.0);
        adjusted[i] = Some(largest);
    }
    adjusted
}

#[cfg(test)]
mod tests;
