//! The generated world behind `synth aliccp`: users, items, and what would come of each impression. Nothing is stored: every property follows from
//! the seed and an id, so memory does not grow with rows or vocabularies.

use super::fields::{COUNT, FIELDS};
use super::generate::Synth;

/// Hidden factors in which a user and an item match.
const DIM: usize = 6;
/// Kinds of users.
const CLUSTERS: u64 = 24;
/// Ids of a field that a kind of user likes.
const TASTE: u64 = 40;
/// Impressions that the rates are fitted on.
const SAMPLE: u64 = 40_000;

/// Ids of each field, in the order of [`FIELDS`]: those of the real data that occur at least 12 times, where known.
const VOCABULARY: [u64; COUNT] = [
    467_298, 6_929, 263_942, 40_000, 106_399, 4, 5_888, 104_830, 51_878, 37_148, 238_635, 6_929, 263_942, 106_399, 40_000, 98, 14, 3, 8, 4,
    4, 3, 5,
];
/// Standard deviation of an id's effect on the logits.
const EFFECT: [f64; COUNT] =
    [0.45, 0.45, 0.28, 0.14, 0.28, 0.28, 0.18, 0.14, 0.14, 0.14, 0.4, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.1, 0.08, 0.08, 0.08, 0.08];
/// Mean number of values of the user's bags, in the order of [`FIELDS`] from `109_14` on.
const HISTORY: [f64; 4] = [69.0, 250.0, 154.0, 136.0];
/// Share of users without field 126.
const NO_126: f64 = 0.56;

/// Positions in [`FIELDS`].
pub(super) mod at {
    pub const ITEM: usize = 0;
    pub const CATEGORY: usize = 1;
    pub const SHOP: usize = 2;
    pub const INTENT: usize = 3;
    pub const BRAND: usize = 4;
    pub const POSITION: usize = 5;
    pub const CROSSES: [(usize, usize); 3] = [(6, CATEGORY), (7, SHOP), (8, BRAND)];
    pub const INTENT_CROSS: usize = 9;
    pub const USER: usize = 10;
    pub const HISTORY: std::ops::Range<usize> = 11..15;
    pub const PROFILE: std::ops::Range<usize> = 15..23;
}

/// Numbers that follow from a key, one after the other (the finaliser of `SplitMix64`, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn of(key: &[u64]) -> Self {
        Self(key.iter().fold(0x5DEE_CE66, |state, word| mix(state ^ mix(*word))))
    }
    pub(super) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }
    /// In `[0, 1)`.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / 9_007_199_254_740_992.0
    }
    /// About normal: the sum of four uniform numbers, of one word.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn normal(&mut self) -> f64 {
        let word = self.word();
        let sum: u64 = (0..4).map(|i| (word >> (16 * i)) & 0xFFFF).sum();
        (sum as f64 / 65_535.0 - 2.0) * 3.0_f64.sqrt()
    }
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
    /// One plus a number whose mean is `more`, at most `most`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn count(&mut self, more: f64, most: u64) -> u64 {
        // The mean of a geometric number, by the exponential one that it rounds down.
        let mean = if more > 0.0 { 1.0 / (1.0 + 1.0 / more).ln() } else { 0.0 };
        (1 + self.exponential(mean) as u64).min(most)
    }
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(super) fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// What a value's key is about.
#[derive(Debug, Clone, Copy)]
enum About {
    Effect,
    Own,
    Factor,
    Item,
    User,
    Cluster,
    Weight,
    Taste,
}

/// A user.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub id: u64,
    cluster: u64,
    factors: [f64; DIM],
    /// Ids of 121 to 129; `None`: missing.
    pub profile: [Option<u64>; 8],
    /// Sum of its effects on the two logits.
    logits: [f64; 2],
}

/// An impression: ids within their fields.
#[derive(Debug, Clone)]
pub(super) struct Impression {
    pub item: u64,
    pub attributes: [u64; 3],
    pub position: u64,
    pub intents: Vec<u64>,
    pub crosses: [Option<u64>; 3],
    pub intent_crosses: Vec<u64>,
    pub logits: [f64; 2],
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct World {
    seed: u64,
    bias: f64,
    confounding: f64,
    history_scale: f64,
    /// Ids of each field, and where they start.
    pub vocabulary: [u64; COUNT],
    pub first: [u64; COUNT],
    weights: [[f64; DIM]; 2],
    intercepts: [f64; 2],
    /// Share of the rows that would be bought if clicked, among those that are not clicked.
    unclicked_buys: f64,
}

impl World {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub(super) fn new(settings: &Synth) -> Self {
        let scaled = |v: u64| if v > 100 { ((v as f64 * settings.vocab_scale).round() as u64).max(20) } else { v };
        let vocabulary = VOCABULARY.map(scaled);
        let mut first = [1; COUNT];
        for f in 1..COUNT {
            first[f] = first[f - 1] + vocabulary[f - 1];
        }
        let mut world = Self {
            seed: settings.seed,
            bias: settings.bias,
            confounding: settings.confounding,
            history_scale: settings.history_scale,
            vocabulary,
            first,
            weights: [[0.0; DIM]; 2],
            intercepts: [0.0; 2],
            unclicked_buys: 0.0,
        };
        let own = (1.0 - world.bias * world.bias).max(0.0).sqrt();
        for d in 0..DIM {
            let weight = |s: u64| world.draw(About::Weight, s, d as u64).unit() + 0.5;
            let (click, buy) = (weight(0), weight(1));
            world.weights[0][d] = 0.7 * click;
            world.weights[1][d] = 0.7 * (world.bias * click + own * buy);
        }
        world.fit(settings);
        world
    }

    /// Sets the intercepts so that the rates come out.
    fn fit(&mut self, settings: &Synth) {
        let mut draw = Draw::of(&[self.seed, 77]);
        let mut user = self.user(&mut draw);
        let rows: Vec<[f64; 2]> = (0..SAMPLE)
            .map(|i| {
                if i % 8 == 0 {
                    user = self.user(&mut draw);
                }
                self.impression(&user, &mut draw).logits
            })
            .collect();
        let mut weights = vec![1.0; rows.len()];
        for (stage, rate) in [settings.click_rate, settings.buy_rate].into_iter().enumerate() {
            let (mut low, mut high) = (-30.0, 20.0);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                let total: f64 = weights.iter().sum();
                let hits: f64 = rows.iter().zip(&weights).map(|(z, w)| w * sigmoid(z[stage] + middle)).sum();
                if hits < rate * total { low = middle } else { high = middle }
            }
            self.intercepts[stage] = low;
            weights.iter_mut().zip(&rows).for_each(|(w, z)| *w *= sigmoid(z[stage] + low));
        }
        let unclicked = rows.iter().map(|z| 1.0 - sigmoid(z[0] + self.intercepts[0]));
        let bought = rows.iter().zip(unclicked.clone()).map(|(z, w)| w * sigmoid(z[1] + self.intercepts[1]));
        self.unclicked_buys = bought.sum::<f64>() / unclicked.sum::<f64>();
    }

    /// The share of the rows that are not clicked and would be bought that bear a purchase all the same, for the purchases to have this share of
    /// such orphans.
    pub(super) fn orphan_rate(&self, settings: &Synth) -> f64 {
        let clicked = settings.click_rate * settings.buy_rate;
        let unclicked = (1.0 - settings.click_rate) * self.unclicked_buys;
        (settings.orphans / (1.0 - settings.orphans) * clicked / unclicked).min(1.0)
    }

    fn draw(&self, about: About, a: u64, b: u64) -> Draw {
        Draw::of(&[self.seed, about as u64 + 1, a, b])
    }

    /// Adds the effects of an id. The ones on buying resemble those on clicking as much as `bias` says; a position's are turned around.
    fn effect(&self, field: usize, id: u64, logits: &mut [f64; 2]) {
        let shared = self.draw(About::Effect, field as u64, id).normal();
        let own = self.draw(About::Own, field as u64, id).normal();
        let sign = if field == at::POSITION { -1.0 } else { 1.0 };
        logits[0] += EFFECT[field] * shared;
        logits[1] += EFFECT[field] * (sign * self.bias * shared + (1.0 - self.bias * self.bias).max(0.0).sqrt() * own);
    }

    fn factors(&self, about: About, kind: usize, id: u64) -> [f64; DIM] {
        let mut draw = self.draw(about, kind as u64, id);
        std::array::from_fn(|_| draw.normal())
    }

    /// An id of a field, the popular ones scattered.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn popular(&self, field: usize, at: f64, exponent: f64, flat: f64) -> u64 {
        let n = self.vocabulary[field];
        let e = 1.0 - exponent;
        let (low, high) = (flat.powf(e), (n as f64 + flat).powf(e));
        let rank = ((low + at * (high - low)).powf(1.0 / e) - flat).max(0.0) as u64;
        (rank.min(n - 1) * 2_654_435_761 + self.seed) % n
    }

    /// A user who comes by; some come often.
    pub(super) fn user(&self, draw: &mut Draw) -> User {
        let id = self.popular(at::USER, draw.unit(), 0.75, 20.0);
        let mut own = self.draw(About::User, id, 0);
        let cluster = own.word() % CLUSTERS;
        let kind = self.factors(About::Cluster, 0, cluster);
        let factors: [f64; DIM] = std::array::from_fn(|d| 0.7 * kind[d] + 0.7 * own.normal());
        let mut logits = [0.0; 2];
        self.effect(at::USER, id, &mut logits);
        let mut profile = [None; 8];
        for (slot, field) in profile.iter_mut().zip(at::PROFILE) {
            let direction = self.factors(About::Factor, field, 0);
            let along: f64 = factors.iter().zip(&direction).map(|(u, w)| u * w).sum::<f64>() / 2.4 + 0.8 * own.normal();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let id = (sigmoid(1.4 * along) * self.vocabulary[field] as f64) as u64;
            let missing = own.unit() < NO_126 && FIELDS[field].name == "126";
            if !missing {
                self.effect(field, id, &mut logits);
                *slot = Some(id);
            }
        }
        User { id, cluster, factors, profile, logits }
    }

    /// An item shown to a user, and its true logits.
    pub(super) fn impression(&self, user: &User, draw: &mut Draw) -> Impression {
        let item = self.popular(at::ITEM, draw.unit(), 0.95, 30.0);
        let mut own = self.draw(About::Item, item, 0);
        let attributes = [at::CATEGORY, at::SHOP, at::BRAND].map(|field| self.popular(field, own.unit(), 1.05, 5.0));
        let intents: Vec<u64> = (0..own.count(5.0, 40)).map(|_| self.popular(at::INTENT, own.unit(), 1.05, 5.0)).collect();
        let (category, shop) =
            (self.factors(About::Factor, at::CATEGORY, attributes[0]), self.factors(About::Factor, at::SHOP, attributes[1]));
        let factors: [f64; DIM] = std::array::from_fn(|d| 0.65 * category[d] + 0.35 * shop[d] + 0.5 * own.normal());
        let mut logits = user.logits;
        let mut affinity = 0.0;
        for ((u, v), (click, buy)) in user.factors.iter().zip(factors).zip(self.weights[0].iter().zip(&self.weights[1])) {
            let product = u * v / 2.4;
            affinity += product;
            logits[0] += click * product;
            logits[1] += buy * product;
        }
        self.effect(at::ITEM, item, &mut logits);
        for (field, id) in [at::CATEGORY, at::SHOP, at::BRAND].into_iter().zip(attributes) {
            self.effect(field, id, &mut logits);
        }
        self.effect(at::INTENT, intents[0], &mut logits);
        let position = draw.word() % self.vocabulary[at::POSITION];
        self.effect(at::POSITION, position, &mut logits);
        // Shares of rows with a cross: about 50, 26 and 26 %; they have it the more, the better the two match.
        let mut crosses = [None; 3];
        for (((field, _), attribute), (cross, threshold)) in
            at::CROSSES.into_iter().zip(attributes).zip(crosses.iter_mut().zip([0.0, 0.68, 0.68]))
        {
            if affinity + 0.6 * draw.normal() > threshold {
                let id = attribute % self.vocabulary[field];
                self.effect(field, id, &mut logits);
                *cross = Some(id);
            }
        }
        let mut intent_crosses = Vec::new();
        if affinity + 0.6 * draw.normal() > -0.27 {
            let most = draw.count(1.5, intents.len() as u64);
            intent_crosses.extend(intents.iter().take(usize::try_from(most).unwrap_or(1)).map(|i| i % self.vocabulary[at::INTENT_CROSS]));
            self.effect(at::INTENT_CROSS, intent_crosses[0], &mut logits);
        }
        let hidden = self.confounding * draw.normal();
        for (logit, intercept) in logits.iter_mut().zip(self.intercepts) {
            *logit += intercept + hidden;
        }
        Impression { item, attributes, position, intents, crosses, intent_crosses, logits }
    }

    /// What a user did of late, field by field: ids and how often.
    pub(super) fn history(&self, user: &User, draw: &mut Draw) -> Vec<(usize, Vec<(u64, u64)>)> {
        // Users who do much do much of everything: most have few values, some have thousands.
        let busy = (draw.exponential(0.5) + draw.exponential(0.5)) * self.history_scale;
        let one = |draw: &mut Draw, field: usize| {
            if draw.unit() < 0.6 {
                let liked = draw.word() % TASTE;
                self.popular(field, self.draw(About::Taste, user.cluster * TASTE + liked, field as u64).unit(), 1.05, 5.0)
            } else {
                self.popular(field, draw.unit(), 1.05, 5.0)
            }
        };
        let fields = at::HISTORY.zip(HISTORY).map(|(field, mean)| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let values = (busy * mean + draw.unit()) as u64;
            (field, (0..values).map(|_| (one(draw, field), draw.count(2.0, 40))).collect())
        });
        fields.collect()
    }
}
