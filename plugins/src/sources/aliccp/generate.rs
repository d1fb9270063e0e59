//! `synth aliccp`: files in the raw form of Ali-CCP, of its shape, with the truth that the real ones do not have.

use super::fields::FIELDS;
use super::world::{Draw, Impression, User, World, at, sigmoid};
use anyhow::{Context, ensure};
use arrow::array::{ArrayRef, Float32Array, Int64Array, UInt8Array};
use arrow::record_batch::RecordBatch;
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Groups that are made at once.
const GROUPS: usize = 256;
/// Mean number of rows that share their common features.
const GROUP_ROWS: f64 = 58.0;
/// Rows of the largest group.
const MOST_ROWS: u64 = 1000;

/// What to generate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Synth {
    /// Rows of train.
    pub rows: u64,
    /// Rows of test.
    pub test_rows: u64,
    /// Everything follows from the settings and this.
    pub seed: u64,
    /// Scale of the vocabularies.
    pub vocab_scale: f64,
    /// Clicks per impression.
    pub click_rate: f64,
    /// Purchases per click.
    pub buy_rate: f64,
    /// Share of the purchases that stand on rows without a click, as some do in the real data.
    pub orphans: f64,
    /// Scale of the number of values of the user's bags.
    pub history_scale: f64,
    /// How alike the effects on buying are to those on clicking: their correlation, -1 to 1. At 0 clicks say nothing about purchases.
    pub bias: f64,
    /// Scale of a hidden factor that raises both, and that no field shows.
    pub confounding: f64,
    /// Compress the text files.
    pub gzip: bool,
}

impl Default for Synth {
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            test_rows: 250_000,
            seed: 2018,
            vocab_scale: 0.1,
            click_rate: 0.0389,
            buy_rate: 0.0055,
            orphans: 0.025,
            history_scale: 1.0,
            bias: 0.85,
            confounding: 0.0,
            gzip: false,
        }
    }
}

/// What was generated of one part.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PartSummary {
    /// `train` or `test`.
    pub part: String,
    /// Rows.
    pub rows: u64,
    /// Lines of common features.
    pub groups: u64,
    /// Rows with a click.
    pub clicks: u64,
    /// Rows with a purchase.
    pub buys: u64,
    /// Those of them without a click.
    pub orphans: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// True rate of purchases after a click, over all rows.
    pub true_buy_rate: f64,
    /// The same over the rows with a click: selection makes it another.
    pub true_buy_rate_clicked: f64,
}

/// The truth of a row.
#[derive(Debug, Clone, Copy)]
struct Truth {
    probabilities: [f64; 2],
    /// What came of it, or would have.
    outcomes: [bool; 2],
    buy: bool,
}

/// The lines of some rows with one user.
struct Group {
    common: Vec<u8>,
    skeleton: Vec<u8>,
    truths: Vec<Truth>,
}

impl Synth {
    /// # Errors
    /// A setting out of its range.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.rows > 0, "`--rows` must be at least 1");
        for (name, rate) in [("click-rate", self.click_rate), ("buy-rate", self.buy_rate)] {
            ensure!(rate > 0.0 && rate < 1.0, "`--{name}` must be between 0 and 1, not {rate}");
        }
        ensure!((0.0..1.0).contains(&self.orphans), "`--orphans` must be from 0 to less than 1, not {}", self.orphans);
        ensure!((-1.0..=1.0).contains(&self.bias), "`--bias` must be from -1 to 1, not {}", self.bias);
        for (name, scale, most) in
            [("vocab-scale", self.vocab_scale, 100.0), ("history-scale", self.history_scale, 10.0), ("confounding", self.confounding, 10.0)]
        {
            ensure!((0.0..=most).contains(&scale), "`--{name}` must be from 0 to {most}, not {scale}");
        }
        Ok(())
    }

    /// Writes `sample_skeleton_*.csv`, `common_features_*.csv` and `truth_*.parquet`, for train and test, into a folder. `progress` is told the
    /// rows so far.
    ///
    /// # Errors
    /// A setting out of its range, a file that is there already, the file system, or `stop` was set.
    pub fn write(&self, dir: &Path, progress: &dyn Fn(u64), stop: &AtomicBool) -> anyhow::Result<Vec<PartSummary>> {
        self.check()?;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder `{}`", dir.display()))?;
        let world = World::new(self);
        let mut all = Vec::new();
        let mut first = 1;
        for (part, rows) in [("train", self.rows), ("test", self.test_rows)] {
            if rows > 0 {
                all.push(self.part(&world, dir, part, first..first + rows, progress, stop)?);
            }
            first += rows;
        }
        Ok(all)
    }

    fn part(
        &self,
        world: &World,
        dir: &Path,
        part: &str,
        ids: std::ops::Range<u64>,
        progress: &dyn Fn(u64),
        stop: &AtomicBool,
    ) -> anyhow::Result<PartSummary> {
        let mut files = Files::create(dir, part, self.gzip)?;
        let mut summary = PartSummary { part: part.to_owned(), ..PartSummary::default() };
        let mut next = ids.start;
        while next < ids.end {
            ensure!(!stop.load(Ordering::Relaxed), "interrupted; what is in `{}` is not whole", dir.display());
            let mut starts = Vec::new();
            while next < ids.end && starts.len() < GROUPS {
                let key = [self.seed, u64::from(part == "test") + 1, summary.groups + starts.len() as u64];
                let rows = Draw::of(&[key[0], key[1], key[2], 0]).count(GROUP_ROWS - 1.0, MOST_ROWS).min(ids.end - next);
                starts.push((key, next..next + rows));
                next += rows;
            }
            let groups: Vec<Group> = starts.par_iter().map(|(key, ids)| self.group(world, *key, ids.clone())).collect();
            files.push(&groups, starts[0].1.start)?;
            summary.groups += groups.len() as u64;
            for group in &groups {
                summary.add(group);
            }
            progress(next - 1);
        }
        summary.true_buy_rate /= summary.rows as f64;
        summary.true_buy_rate_clicked /= summary.clicks.max(1) as f64;
        files.finish()?;
        Ok(summary)
    }

    fn group(&self, world: &World, key: [u64; 3], ids: std::ops::Range<u64>) -> Group {
        let mut draw = Draw::of(&[key[0], key[1], key[2], 1]);
        let user = world.user(&mut draw);
        let index = format!("{:016x}", Draw::of(&[key[0], key[1], key[2], 2]).word());
        let mut group = Group { common: Vec::new(), skeleton: Vec::new(), truths: Vec::new() };
        common_line(world, &user, &mut draw, &index, &mut group.common);
        let orphans = world.orphan_rate(self);
        for id in ids {
            let impression = world.impression(&user, &mut draw);
            let probabilities = impression.logits.map(sigmoid);
            let outcomes = probabilities.map(|p| draw.unit() < p);
            let orphan = !outcomes[0] && outcomes[1] && draw.unit() < orphans;
            let truth = Truth { probabilities, outcomes, buy: outcomes[0] && outcomes[1] || orphan };
            skeleton_line(world, &impression, &truth, id, &index, &mut group.skeleton);
            group.truths.push(truth);
        }
        group
    }
}

impl PartSummary {
    fn add(&mut self, group: &Group) {
        self.bytes += (group.common.len() + group.skeleton.len()) as u64;
        for t in &group.truths {
            self.rows += 1;
            self.true_buy_rate += t.probabilities[1];
            self.buys += u64::from(t.buy);
            if t.outcomes[0] {
                self.clicks += 1;
                self.true_buy_rate_clicked += t.probabilities[1];
            } else {
                self.orphans += u64::from(t.buy);
            }
        }
    }
}

/// The features of a line as they are made.
struct Features {
    text: Vec<u8>,
    count: u64,
}
impl Features {
    fn push(&mut self, world: &World, field: usize, id: u64, value: &str) {
        if self.count > 0 {
            self.text.push(1);
        }
        self.count += 1;
        self.text.extend_from_slice(FIELDS[field].name.as_bytes());
        self.text.push(2);
        number(world.first[field] + id, &mut self.text);
        self.text.push(3);
        self.text.extend_from_slice(value.as_bytes());
    }
    /// After what stands before them.
    fn end(self, line: &mut Vec<u8>) {
        number(self.count, line);
        line.push(b',');
        line.extend(self.text);
        line.push(b'\n');
    }
}

fn number(n: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut rest) = ([0_u8; 20], 20, n);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// `ln(1 + n)` with five decimals: how the data weigh a count.
fn weight(n: u64) -> &'static str {
    static TEXTS: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    #[allow(clippy::cast_precision_loss)]
    let texts = TEXTS.get_or_init(|| (0..=40_u64).map(|n| format!("{:.5}", (n as f64).ln_1p())).collect());
    usize::try_from(n).ok().and_then(|n| texts.get(n)).map_or("1.0", String::as_str)
}

fn common_line(world: &World, user: &User, draw: &mut Draw, index: &str, out: &mut Vec<u8>) {
    let mut features = Features { text: Vec::new(), count: 0 };
    for (field, values) in world.history(user, draw) {
        for (id, times) in values {
            features.push(world, field, id, weight(times));
        }
    }
    features.push(world, at::USER, user.id, "1.0");
    for (field, id) in at::PROFILE.zip(user.profile) {
        if let Some(id) = id {
            features.push(world, field, id, "1.0");
        }
    }
    out.extend_from_slice(index.as_bytes());
    out.push(b',');
    features.end(out);
}

fn skeleton_line(world: &World, row: &Impression, truth: &Truth, id: u64, index: &str, out: &mut Vec<u8>) {
    let mut features = Features { text: Vec::new(), count: 0 };
    for intent in &row.intents {
        features.push(world, at::INTENT, *intent, "1.0");
    }
    features.push(world, at::BRAND, row.attributes[2], "1.0");
    features.push(world, at::POSITION, row.position, "1.0");
    features.push(world, at::ITEM, row.item, "1.0");
    features.push(world, at::CATEGORY, row.attributes[0], "1.0");
    features.push(world, at::SHOP, row.attributes[1], "1.0");
    for ((field, _), id) in at::CROSSES.into_iter().zip(row.crosses) {
        if let Some(id) = id {
            features.push(world, field, id, weight(1 + id % 8));
        }
    }
    for id in &row.intent_crosses {
        features.push(world, at::INTENT_CROSS, *id, weight(1 + id % 8));
    }
    number(id, out);
    for label in [truth.outcomes[0], truth.buy] {
        out.extend_from_slice(if label { b",1" } else { b",0" });
    }
    out.push(b',');
    out.extend_from_slice(index.as_bytes());
    out.push(b',');
    features.end(out);
}

enum Text {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
}
impl Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Gzip(file) => file.write_all(bytes),
        }
    }
    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Gzip(file) => file.finish()?.flush(),
        }
    }
}

/// The files of a part.
struct Files {
    skeleton: Text,
    common: Text,
    truth: ArrowWriter<File>,
}

impl Files {
    fn create(dir: &Path, part: &str, gzip: bool) -> anyhow::Result<Self> {
        let new = |name: String| {
            let path = dir.join(name);
            File::create_new(&path).with_context(|| format!("cannot write `{}`", path.display()))
        };
        let text = |name: &str| {
            let file = BufWriter::with_capacity(1 << 18, new(format!("{name}_{part}.csv{}", if gzip { ".gz" } else { "" }))?);
            anyhow::Ok(if gzip { Text::Gzip(Box::new(GzEncoder::new(file, Compression::fast()))) } else { Text::Plain(file) })
        };
        let (skeleton, common) = (text("sample_skeleton")?, text("common_features")?);
        let truth = ArrowWriter::try_new(new(format!("truth_{part}.parquet"))?, truths(&[], 0)?.schema(), None)?;
        Ok(Self { skeleton, common, truth })
    }

    fn push(&mut self, groups: &[Group], first: u64) -> anyhow::Result<()> {
        for group in groups {
            self.common.write(&group.common).and_then(|()| self.skeleton.write(&group.skeleton)).context("cannot write the lines")?;
        }
        self.truth.write(&truths(groups, first)?)?;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        self.skeleton.finish().and_then(|()| self.common.finish()).context("cannot write the lines")?;
        self.truth.close()?;
        Ok(())
    }
}

/// Per row: the true probability of a click and, given one, of a purchase, and what came of it, or would have.
fn truths(groups: &[Group], first: u64) -> anyhow::Result<RecordBatch> {
    let all: Vec<&Truth> = groups.iter().flat_map(|g| &g.truths).collect();
    let ids = (0..all.len() as u64).map(|n| i64::try_from(first + n)).collect::<Result<Vec<_>, _>>()?;
    #[allow(clippy::cast_possible_truncation)]
    let p = |stage: usize| Arc::new(Float32Array::from_iter_values(all.iter().map(|t| t.probabilities[stage] as f32))) as ArrayRef;
    let y = |stage: usize| Arc::new(UInt8Array::from_iter_values(all.iter().map(|t| u8::from(t.outcomes[stage])))) as ArrayRef;
    let columns = [
        ("sample_id", Arc::new(Int64Array::from(ids)) as ArrayRef),
        ("p_click", p(0)),
        ("p_buy", p(1)),
        ("cf_click", y(0)),
        ("cf_buy", y(1)),
    ];
    Ok(RecordBatch::try_from_iter(columns)?)
}
