//! The world that generated rows are drawn from: who the users are, what the items are, and what each stage's logit is made of.
//!
//! Everything that belongs to a user or an item is summed here, once, so that a row costs a few draws, a short dot product and one
//! sigmoid a stage. Every row has a random stream of its own, made from the seed and its number: rows do not depend on how they are read.

// Sizes are bounded by the settings' checks (at most 50 million ids), so that no cast here loses more than rounding.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use super::Synthetic;
use esmm_funnel_core::graph::Graph;

pub(super) const AGES: [&str; 7] = ["18-24", "25-34", "35-44", "45-54", "55-64", "65+", "unknown"];
pub(super) const CHANNELS: [&str; 4] = ["app", "web", "email", "partner"];
const CHANNEL_SHARES: [f64; 4] = [0.5, 0.3, 0.12, 0.08];
const CITIES: usize = 50;
const SEGMENTS: usize = 12;
const CATEGORIES: usize = 30;
const POSITIONS: usize = 10;
const HOURS: usize = 24;
/// Most values in a behaviour bag.
const RECENT: usize = 6;
/// Rows on which the intercepts are found.
const PILOT: u64 = 100_000;

/// Standard deviations of the parts of a logit, at `signal = 1`.
mod scale {
    pub(super) const AGE: f64 = 0.25;
    pub(super) const CITY: f64 = 0.25;
    pub(super) const SEGMENT: f64 = 0.45;
    pub(super) const USER: f64 = 0.25;
    pub(super) const CATEGORY: f64 = 0.55;
    pub(super) const SHOP: f64 = 0.25;
    pub(super) const BRAND: f64 = 0.25;
    pub(super) const PRICE: f64 = 0.25;
    pub(super) const ITEM: f64 = 0.25;
    pub(super) const POSITION: f64 = 0.40;
    pub(super) const CHANNEL: f64 = 0.35;
    pub(super) const HOUR: f64 = 0.15;
    pub(super) const INTERACTION: f64 = 0.50;
}

/// What a random stream is for. Streams of different purposes never meet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Effects = 1,
    Users,
    Items,
    Pilot,
    Rows,
}

/// `SplitMix64` (Steele, Lea & Flood 2014): a counter and a mixer, so that starting a stream costs nothing.
#[derive(Debug, Clone)]
pub(super) struct Stream(u64);

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Stream {
    pub(super) fn new(seed: u64, purpose: Purpose, counter: u64) -> Self {
        let key = mix(seed.wrapping_add(GOLDEN)) ^ mix((purpose as u64).wrapping_mul(GOLDEN));
        Self(mix(key ^ mix(counter.wrapping_add(GOLDEN))))
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }
    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
    fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n - 1)
    }
    /// Standard normal (Box–Muller, the cosine half).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Cumulative shares of `0..n`.
#[derive(Debug)]
struct Shares(Vec<f64>);

impl Shares {
    fn of(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut sum = 0.0;
        let mut cumulated: Vec<f64> = weights
            .into_iter()
            .map(|w| {
                sum += w;
                sum
            })
            .collect();
        for c in &mut cumulated {
            *c /= sum;
        }
        Self(cumulated)
    }
    /// Zipf–Mandelbrot, the ranks scattered over the ids.
    fn zipf(n: usize, exponent: f64, rng: &mut Stream) -> Self {
        let mut ranks: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            ranks.swap(i, rng.below(i + 1));
        }
        Self::of(ranks.into_iter().map(|r| (f64::from(r) + 5.0).powf(-exponent)))
    }
    fn draw(&self, unit: f64) -> usize {
        self.0.partition_point(|&c| c <= unit).min(self.0.len() - 1)
    }
}

/// Effects of the values of a field on each stage's logit: `[values, stages]`, centred, of equal spread in every stage.
#[derive(Debug)]
struct Effects {
    stages: usize,
    values: Vec<f64>,
}

impl Effects {
    /// Later stages' effects are the first's, mixed with ones of their own so that they correlate by `similarity`.
    fn draw(n: usize, scale: f64, settings: &Synthetic, stages: usize, rng: &mut Stream) -> Self {
        let own = (1.0 - settings.similarity * settings.similarity).max(0.0).sqrt();
        let mut values = Vec::with_capacity(n * stages);
        for _ in 0..n {
            let base = rng.normal();
            values.push(base);
            values.extend((1..stages).map(|_| settings.similarity * base + own * rng.normal()));
        }
        Self { stages, values }.rescaled(scale * settings.signal)
    }
    /// One curve for all stages, times each stage's sign.
    fn curve(curve: &[f64], signs: impl Fn(usize) -> f64, scale: f64, stages: usize) -> Self {
        let values = curve.iter().flat_map(|c| (0..stages).map(|s| signs(s) * c).collect::<Vec<_>>()).collect();
        Self { stages, values }.rescaled(scale)
    }
    fn rescaled(mut self, scale: f64) -> Self {
        let n = (self.values.len() / self.stages) as f64;
        for stage in 0..self.stages {
            let column = || self.values.iter().skip(stage).step_by(self.stages);
            let mean = column().sum::<f64>() / n;
            let deviation = (column().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            let factor = if deviation > 1e-9 { scale / deviation } else { 0.0 };
            self.values.iter_mut().skip(stage).step_by(self.stages).for_each(|v| *v = (*v - mean) * factor);
        }
        self
    }
    fn of(&self, value: usize) -> &[f64] {
        &self.values[value * self.stages..][..self.stages]
    }
}

/// What is known of the users, by index (`user_id` − 1).
#[derive(Debug, Default)]
pub(super) struct Users {
    pub(super) age: Vec<u8>,
    pub(super) city: Vec<u8>,
    pub(super) segment: Vec<u8>,
    /// Bags: where each user's begins, one more than there are users.
    pub(super) recent_start: Vec<u32>,
    pub(super) recent: Vec<u8>,
    pub(super) recent_weight: Vec<f32>,
}

/// What is known of the items, by index (`item_id` − 1).
#[derive(Debug, Default)]
pub(super) struct Items {
    pub(super) category: Vec<u8>,
    pub(super) shop: Vec<u32>,
    pub(super) brand: Vec<u32>,
    pub(super) price: Vec<f64>,
}

/// One side of the interaction: factors, and the sum of its effects on each stage.
#[derive(Debug, Default)]
struct Side {
    /// `[ids, dim]`.
    latent: Vec<f32>,
    /// `[ids, stages]`.
    effect: Vec<f32>,
}

/// What was drawn for a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub(super) user: usize,
    pub(super) item: usize,
    pub(super) position: usize,
    pub(super) channel: usize,
    pub(super) hour: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    settings: Synthetic,
    stages: usize,
    pub(super) users: Users,
    pub(super) items: Items,
    user_side: Side,
    item_side: Side,
    user_shares: Shares,
    item_shares: Shares,
    channel_shares: Shares,
    hour_shares: Shares,
    position: Effects,
    channel: Effects,
    hour: Effects,
    /// Weight of each factor in each stage's interaction: `[stages, dim]`.
    interaction: Vec<f32>,
    intercepts: Vec<f64>,
}

impl World {
    /// Of checked settings, with one rate a stage.
    pub(super) fn new(settings: &Synthetic, graph: &Graph, rates: &[f64]) -> Self {
        let stages = rates.len();
        let rng = &mut Stream::new(settings.seed, Purpose::Effects, 0);
        let dim = settings.latent_dim;
        let centres = |n: usize, rng: &mut Stream| (0..n * dim).map(|_| rng.normal()).collect::<Vec<f64>>();
        let (segment_centres, category_centres) = (centres(SEGMENTS, rng), centres(CATEGORIES, rng));
        let (users, user_side) = make_users(settings, stages, &segment_centres, &category_centres, rng);
        let (items, item_side) = make_items(settings, stages, &category_centres, rng);
        let hours: Vec<f64> = (0..HOURS).map(|h| ((h as f64 - 20.0) / 24.0 * std::f64::consts::TAU).cos()).collect();
        // Further down the list fewer look, and those who still click mean it.
        let looks: Vec<f64> = (0..POSITIONS).map(|p| -(1.0 + p as f64).ln()).collect();
        let sign = |stage: usize| if stage == 0 { 1.0 } else { -1.0 };
        let mut world = Self {
            settings: settings.clone(),
            stages,
            users,
            items,
            user_side,
            item_side,
            user_shares: Shares::zipf(settings.users, 0.7, rng),
            item_shares: Shares::zipf(settings.items, 0.9, rng),
            channel_shares: Shares::of(CHANNEL_SHARES),
            hour_shares: Shares::of(hours.iter().map(|h| 1.2 + h)),
            position: Effects::curve(&looks, sign, scale::POSITION * settings.signal, stages),
            channel: Effects::draw(CHANNELS.len(), scale::CHANNEL, settings, stages, rng),
            hour: Effects::draw(HOURS, scale::HOUR, settings, stages, rng),
            interaction: interaction(settings, stages, rng),
            intercepts: vec![0.0; stages],
        };
        world.calibrate(graph, rates);
        world
    }

    /// Draws row `number`: its fields, each stage's probability given that the row is in its space, and each stage's outcome in that case.
    pub(super) fn row(&self, purpose: Purpose, number: u64, p: &mut [f64], outcome: &mut [bool]) -> Row {
        let rng = &mut Stream::new(self.settings.seed, purpose, number);
        let row = self.fields(rng);
        self.logits(&row, rng.confounder(self.settings.confounding), p);
        for (p, outcome) in p.iter_mut().zip(outcome) {
            *p = sigmoid(*p);
            *outcome = rng.unit() < *p;
        }
        row
    }
    /// As [`World::row`], the fields alone.
    pub(super) fn fields_of(&self, purpose: Purpose, number: u64) -> Row {
        self.fields(&mut Stream::new(self.settings.seed, purpose, number))
    }
    fn fields(&self, rng: &mut Stream) -> Row {
        Row {
            user: self.user_shares.draw(rng.unit()),
            item: self.item_shares.draw(rng.unit()),
            position: rng.below(POSITIONS),
            channel: self.channel_shares.draw(rng.unit()),
            hour: self.hour_shares.draw(rng.unit()),
        }
    }

    fn logits(&self, row: &Row, hidden: f64, out: &mut [f64]) {
        let (stages, dim) = (self.stages, self.settings.latent_dim);
        let (user, item) = (&self.user_side, &self.item_side);
        let (u, v) = (&user.latent[row.user * dim..][..dim], &item.latent[row.item * dim..][..dim]);
        let (user, item) = (&user.effect[row.user * stages..][..stages], &item.effect[row.item * stages..][..stages]);
        let (position, channel, hour) = (self.position.of(row.position), self.channel.of(row.channel), self.hour.of(row.hour));
        for (s, out) in out.iter_mut().enumerate() {
            let weights = &self.interaction[s * dim..][..dim];
            let match_: f32 = u.iter().zip(v).zip(weights).map(|((u, v), w)| u * v * w).sum();
            *out = self.intercepts[s] + f64::from(user[s] + item[s] + match_) + position[s] + channel[s] + hour[s] + hidden;
        }
    }

    /// Finds each stage's intercept such that its rate, among the rows of its space, is the one asked for.
    fn calibrate(&mut self, graph: &Graph, rates: &[f64]) {
        let n = PILOT as usize;
        let mut logits = vec![0.0; n * self.stages];
        for (number, out) in logits.chunks_exact_mut(self.stages).enumerate() {
            let rng = &mut Stream::new(self.settings.seed, Purpose::Pilot, number as u64);
            let row = self.fields(rng);
            self.logits(&row, rng.confounder(self.settings.confounding), out);
        }
        // Per stage: each row's probability of reaching it; and of reaching it once in its space.
        let (mut reached, mut passed): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
        for (stage, &rate) in rates.iter().enumerate() {
            let node = &graph.nodes[stage];
            let mut space = node.parent.map_or_else(|| vec![1.0; n], |parent| reached[parent].clone());
            if let Some(unless) = node.unless {
                space.iter_mut().zip(&passed[unless]).for_each(|(weight, p)| *weight *= 1.0 - p);
            }
            let column = || logits.iter().skip(stage).step_by(self.stages);
            let total: f64 = space.iter().sum();
            let (mut low, mut high) = (-100.0, 100.0);
            for _ in 0..40 {
                let middle = f64::midpoint(low, high);
                let got = column().zip(&space).map(|(z, weight)| weight * sigmoid(z + middle)).sum::<f64>() / total;
                *(if got < rate { &mut low } else { &mut high }) = middle;
            }
            self.intercepts[stage] = f64::midpoint(low, high);
            let p: Vec<f64> = column().map(|z| sigmoid(z + self.intercepts[stage])).collect();
            reached.push(space.iter().zip(&p).map(|(weight, p)| weight * p).collect());
            passed.push(p);
        }
    }
}

impl Stream {
    /// The hidden factor of a row. It has a stream of its own, so that turning it off changes nothing else.
    fn confounder(&self, scale: f64) -> f64 {
        if scale > 0.0 { scale * Self(mix(!self.0)).normal() } else { 0.0 }
    }
}

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// `[stages, dim]`, of unit length in each stage times the interaction's scale, correlated between stages as effects are.
fn interaction(settings: &Synthetic, stages: usize, rng: &mut Stream) -> Vec<f32> {
    let own = (1.0 - settings.similarity * settings.similarity).max(0.0).sqrt();
    let mut all = Vec::with_capacity(stages * settings.latent_dim);
    for stage in 0..stages {
        let weights: Vec<f64> =
            (0..settings.latent_dim).map(|_| if stage == 0 { 1.0 } else { settings.similarity + own * rng.normal() }).collect();
        let length = weights.iter().map(|w| w * w).sum::<f64>().sqrt().max(1e-9);
        all.extend(weights.iter().map(|w| (w / length * scale::INTERACTION * settings.signal) as f32));
    }
    all
}

fn make_users(settings: &Synthetic, stages: usize, segments: &[f64], categories: &[f64], rng: &mut Stream) -> (Users, Side) {
    let dim = settings.latent_dim;
    let mut draw = |n, scale| Effects::draw(n, scale, settings, stages, rng);
    let age = draw(AGES.len(), scale::AGE);
    let city = draw(CITIES, scale::CITY);
    let segment = draw(SEGMENTS, scale::SEGMENT);
    let own = draw(settings.users, scale::USER);
    let cities = Shares::zipf(CITIES, 0.8, rng);
    let (mut users, mut side) = (Users::default(), Side::default());
    users.recent_start.push(0);
    for id in 0..settings.users {
        let rng = &mut Stream::new(settings.seed, Purpose::Users, id as u64);
        let (a, c, s) = (rng.below(AGES.len()), cities.draw(rng.unit()), rng.below(SEGMENTS));
        users.age.push(a as u8);
        users.city.push(c as u8);
        users.segment.push(s as u8);
        side.effect.extend((0..stages).map(|t| (age.of(a)[t] + city.of(c)[t] + segment.of(s)[t] + own.of(id)[t]) as f32));
        let latent: Vec<f64> =
            segments[s * dim..][..dim].iter().map(|centre| 0.6_f64.sqrt() * centre + 0.4_f64.sqrt() * rng.normal()).collect();
        // The bag: the categories that the user likes best, more for some users than for others, none for a few.
        let mut liked: Vec<(f64, usize)> = categories
            .chunks_exact(dim)
            .enumerate()
            .map(|(category, centre)| (centre.iter().zip(&latent).map(|(c, u)| c * u).sum::<f64>() / (dim as f64).sqrt(), category))
            .collect();
        liked.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (affinity, category) in liked.into_iter().take(rng.below(RECENT + 1)) {
            users.recent.push(category as u8);
            users.recent_weight.push((0.5 * affinity).exp().min(10.0) as f32);
        }
        users.recent_start.push(users.recent.len() as u32);
        side.latent.extend(latent.iter().map(|&u| u as f32));
    }
    (users, side)
}

fn make_items(settings: &Synthetic, stages: usize, categories: &[f64], rng: &mut Stream) -> (Items, Side) {
    let dim = settings.latent_dim;
    let (shop_count, brand_count) = ((settings.items / 20).clamp(1, 50_000), (settings.items / 40).clamp(1, 20_000));
    let mut draw = |n, scale| Effects::draw(n, scale, settings, stages, rng);
    let category = draw(CATEGORIES, scale::CATEGORY);
    let shop = draw(shop_count, scale::SHOP);
    let brand = draw(brand_count, scale::BRAND);
    let own = draw(settings.items, scale::ITEM);
    let level: Vec<f64> = (0..CATEGORIES).map(|_| 0.7 * rng.normal()).collect();
    // Dear items are clicked less and, once clicked, bought less; how much differs.
    let slopes: Vec<f64> = (0..stages).map(|s| if s == 0 { -1.0 } else { -settings.similarity } * scale::PRICE * settings.signal).collect();
    let (category_shares, shop_shares) = (Shares::zipf(CATEGORIES, 0.6, rng), Shares::zipf(shop_count, 0.7, rng));
    let (mut items, mut side) = (Items::default(), Side::default());
    for id in 0..settings.items {
        let rng = &mut Stream::new(settings.seed, Purpose::Items, id as u64);
        let (c, s, b) = (category_shares.draw(rng.unit()), shop_shares.draw(rng.unit()), rng.below(brand_count));
        let dear = level[c] + 0.7 * rng.normal();
        items.category.push(c as u8);
        items.shop.push(s as u32);
        items.brand.push(b as u32);
        items.price.push(((3.0 + dear).exp() * 100.0).round().max(1.0) / 100.0);
        side.effect
            .extend((0..stages).map(|t| (category.of(c)[t] + shop.of(s)[t] + brand.of(b)[t] + own.of(id)[t] + slopes[t] * dear) as f32));
        side.latent
            .extend(categories[c * dim..][..dim].iter().map(|centre| (0.7_f64.sqrt() * centre + 0.3_f64.sqrt() * rng.normal()) as f32));
    }
    (items, side)
}
