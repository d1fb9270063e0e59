//! `conditional`: each stage on the rows of its own space, counted as its settings say.

use super::propensity::{Clip, MAX_WEIGHT, MIN_PROPENSITY};
use super::range::{MaxWeight, Propensity, Share, Times};
use super::sum::{Recipe, Sum, Summand, Weighting, Words, complement, conditional_stages, is_entry, probability_words, space_words};
use anyhow::bail;
use burn::prelude::*;
use esmm_funnel_core::device::Bk;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::{Head, ObjectiveSettings, Reading};
use esmm_funnel_core::register_objective;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Each stage on the rows whose parent was reached: the competitor BASE of the ESMM paper (Ma et al., SIGIR 2018, section 3), for any
/// graph. Simple and sharp where the stage is asked about such rows only; biased, and starved of data, over all rows. An outcome has no
/// term: its stages' terms train it.
///
/// `Σ_s w_s · Σ_rows c_s·e_s / Σ_rows c_s` over the stages s, with `e_s = −[ r_s·ln σ(z_s) + (1 − r_s)·ln σ(−z_s) ]` and a count `c_s` that
/// is 1 on the rows of s's space and 0 elsewhere; 0 where a batch has no such row. The settings change the counts of stages that are no
/// child of the row, which makes three more of the paper's competitors: AMAN (`outside_rate`), OVERSAMPLING (`positive_copies`) and
/// UNBIAS (`inverse_propensity`). In the paper each stage has a network of its own: `embedding.per_stage = true` with the encoder `concat`.
///
/// Readings, with `inverse_propensity`: `<stage>.ips.effective_sample_size`, the share `(Σw)²/(n·Σw²)` of the n rows in the space, and
/// `<stage>.ips.clipped`, the share of them whose weight was clipped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Conditional {
    /// Share of the rows outside of a stage's space that count as its negatives: 0 to 1. AMAN (all missing as negative, after Pan et al.,
    /// ICDM 2008); the paper searches 0.1, 0.2, 0.5 and 1. They are drawn anew at each step, by the run's seed, the step and the row.
    outside_rate: Share,
    /// How many times a row that reached the stage counts: 1 or more. OVERSAMPLING (after Weiss, SIGKDD Explorations 2004); the paper
    /// searches 2, 3, 5 and 10. A count stands for that many copies: the gradient of a batch that holds them all.
    positive_copies: Times,
    /// Whether a row of the space counts `1/ô` times, `ô` = P(parent reached and `unless` not), full space and a constant to the gradient.
    /// UNBIAS (after Zhang et al., ICML 2016), which keeps rows with a probability in proportion to `1/ô`: in expectation the same, without
    /// rows thrown away. With `embedding.per_stage = true` the propensity is that of networks of their own.
    inverse_propensity: bool,
    /// With `inverse_propensity`, no row counts more than this: 1 or more.
    max_weight: MaxWeight,
    /// With `inverse_propensity`, no propensity counts as less than this: more than 0, at most 1.
    min_propensity: Propensity,
    /// How the terms are weighed against each other.
    weighting: Weighting,
}
impl Default for Conditional {
    fn default() -> Self {
        Self {
            outside_rate: Share(0.0),
            positive_copies: Times(1.0),
            inverse_propensity: false,
            max_weight: MAX_WEIGHT,
            min_propensity: MIN_PROPENSITY,
            weighting: Weighting::default(),
        }
    }
}

impl Conditional {
    fn clip(&self) -> Clip {
        Clip::new(self.max_weight, self.min_propensity)
    }
    /// `[B]`: how often each row counts for a stage.
    fn counts(&self, head: &Head<'_>, stage: usize) -> Tensor<Bk, 1> {
        let inside = head.in_space[stage].clone();
        if is_entry(head.graph, stage) {
            return inside;
        }
        let mut counts = if self.inverse_propensity { self.clip().inside(head, stage).weights } else { inside.clone() };
        if self.positive_copies.0 > 1.0 {
            counts = counts * head.reached[stage].clone().mul_scalar(self.positive_copies.0 - 1.0).add_scalar(1.0);
        }
        if self.outside_rate.0 > 0.0 {
            counts = counts + complement(inside) * head.draw(stage, self.outside_rate.0);
        }
        counts
    }
    /// What the counts of a stage are, in words and letter by letter; `None` where they are those of its space.
    fn counts_words(&self, graph: &Graph, stage: usize) -> Option<(String, Vec<String>)> {
        let (name, space) = (&graph.nodes[stage].name, space_words(graph, stage));
        let (mut words, mut count) = (String::new(), if self.inverse_propensity { "1/ô" } else { "1" }.to_owned());
        if self.inverse_propensity {
            words += ", each weighted by inverse propensity";
        }
        if self.positive_copies.0 > 1.0 {
            words += &format!(", each that reached {name} counted {} times", self.positive_copies.0);
            count += &format!("·({} where {name} = 1)", self.positive_copies.0);
        }
        let mut letters = vec![format!("c = {count} on {space}")];
        if self.outside_rate.0 > 0.0 {
            let percent = 100.0 * self.outside_rate.0;
            words += &format!(", and over {percent} % of the other rows, drawn at each step, as negatives");
            letters[0] += &format!(", 1 on {percent} % of the other rows, where {name} counts as 0");
        }
        if self.inverse_propensity {
            letters.push(self.clip().letter(graph, stage, true));
        }
        (!words.is_empty() && !is_entry(graph, stage)).then_some((words, letters))
    }
}
impl Recipe for Conditional {
    type Part = ();
    fn weighting(&self) -> Weighting {
        self.weighting
    }
    fn summands(&self, graph: &Graph) -> Vec<Summand<()>> {
        (0..graph.len()).map(|s| Summand::new(graph, s, "", ())).collect()
    }
    fn value(&self, head: &Head<'_>, stage: usize, (): ()) -> Tensor<Bk, 1> {
        // What counts from outside of the space is a negative there, whatever its label says.
        let label = head.reached[stage].clone() * head.in_space[stage].clone();
        let error = Head::cross_entropy(head.logits[stage].clone(), label);
        head.mean_of_counted(head.weighed(stage, error), self.counts(head, stage))
    }
    fn present(&self, head: &Head<'_>, stage: usize, (): ()) -> Option<Tensor<Bk, 1>> {
        Some(self.counts(head, stage).sum().clamp_max(1.0))
    }
    fn weighs(&self, _graph: &Graph, _stage: usize) -> bool {
        true
    }
    fn readings(&self, head: &Head<'_>) -> Vec<Reading> {
        let stages = if self.inverse_propensity { conditional_stages(head.graph) } else { Vec::new() };
        let of_stage = |s: usize| self.clip().inside(head, s).readings(&format!("{}.ips", head.graph.nodes[s].name));
        stages.into_iter().flat_map(of_stage).collect()
    }
    fn words(&self, graph: &Graph, stage: usize, (): ()) -> Words {
        let (name, space) = (&graph.nodes[stage].name, space_words(graph, stage));
        let words = format!("binary cross-entropy of {} over {space}", probability_words(graph, stage));
        let error = format!("[ {name}·ln σ(z_{name}) + (1 − {name})·ln σ(−z_{name}) ]");
        match self.counts_words(graph, stage) {
            None => Words { words, formula: format!("−mean{error} over {space}"), letters: Vec::new() },
            Some((more, letters)) => Words { words: words + &more, formula: format!("−Σ c·{error} / Σ c"), letters },
        }
    }
}
impl ObjectiveSettings for Conditional {
    type Objective = Sum<Self>;
    fn build(&self, graph: &Graph) -> anyhow::Result<Sum<Self>> {
        if self.inverse_propensity && self.outside_rate.0 > 0.0 {
            bail!("`inverse_propensity` lets the rows of a space stand for those outside, and `outside_rate` takes these too; choose one");
        }
        Ok(Sum::of(self, graph))
    }
}
register_objective!("conditional", Conditional);
