//! `synthetic`: generated rows of a funnel whose truth is known.
//!
//! Users and items have hidden factors and visible attributes; each stage's logit is a sum of their effects and of how well the two match.
//! Later stages' effects resemble the first's without being equal, so the rows that reach a stage are a biased sample of all rows: what
//! a model learnt on them alone gets wrong on the rest can be measured, against truth columns that no real log has.

mod world;

use anyhow::{bail, ensure};
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, StringArray, UInt8Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use esmm_funnel_core::data::source::{Chunk, ChunkStream, Input, RowNumbers, SharedSource, Source, TruthColumns};
use esmm_funnel_core::graph::{Event, Graph};
use esmm_funnel_core::plugin::SourceSettings;
use esmm_funnel_core::register_source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use world::{AGES, CHANNELS, Purpose, Row, World};

/// Goes up when the same settings give other rows.
const VERSION: u32 = 1;
const CHUNK_ROWS: u64 = 16_384;
const DAYS: u64 = 30;
const MOST_IDS: usize = 50_000_000;

/// Generated rows of a funnel whose truth is known.
///
/// The rows go through the spec's own stages: chains, branches, stages that share a label. Columns: `sample_id`, `day` (0 to 29, rising), `user_id`, `user_age`, `user_city`,
/// `user_segment`, `user_recent` (a bag of category ids) with its weights `user_recent_w`, `item_id`, `item_category`, `item_shop`,
/// `item_brand`, `price`, `position`, `channel`, `hour`, and a 0/1 label named like each stage. The effect of `position` changes sign after
/// the first stage. Two more columns a stage hold the truth, never to be learnt from: `truth.p.<stage>`, its probability given that its
/// parent was reached (and its `unless` was not), and `truth.cf.<stage>`, what would have come of it in that case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// Number of rows.
    rows: u64,
    /// Everything follows from the settings and this: the same seed gives the same rows, however they are read.
    seed: u64,
    /// Number of users. Some are far more active than others (Zipf).
    users: usize,
    /// Number of items. Some are shown far more often than others (Zipf).
    items: usize,
    /// Number of hidden factors in which a user and an item match.
    latent_dim: usize,
    /// Rate of each stage, parents first, among the rows of its space: those that reached the stage it follows, and not its `unless`. Missing ones get a
    /// default: 0.04 and 0.05 for one or two stages, else 0.06, 0.3, 0.3, and 0.5 for all further stages.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    rates: Vec<f64>,
    /// How alike the effects on later stages are to those on the first: their correlation, from -1 to 1.
    #[schemars(range(min = -1.0, max = 1.0))]
    similarity: f64,
    /// Scale of all effects. 0: nothing can be learnt. 1: the true probabilities have an AUC of about 0.8.
    #[schemars(range(min = 0.0, max = 10.0))]
    signal: f64,
    /// Scale of a hidden factor of the row that raises all its stages alike and that no column shows. The true probabilities include it.
    #[schemars(range(min = 0.0, max = 10.0))]
    confounding: f64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            rows: 400_000,
            seed: 7,
            users: 5_000,
            items: 2_000,
            latent_dim: 6,
            rates: Vec::new(),
            similarity: 0.85,
            signal: 1.0,
            confounding: 0.0,
        }
    }
}

impl SourceSettings for Synthetic {
    fn open(&self, files: Option<&[PathBuf]>, graph: &Graph) -> anyhow::Result<SharedSource> {
        ensure!(files.is_none(), "a synthetic source has no files");
        ensure!(!graph.is_empty(), "a synthetic source needs at least one stage");
        ensure!(self.rows > 0, "`rows` must be at least 1");
        for (name, n) in [("users", self.users), ("items", self.items)] {
            ensure!((1..=MOST_IDS).contains(&n), "`{name}` must be from 1 to {MOST_IDS}, not {n}");
        }
        ensure!((1..=256).contains(&self.latent_dim), "`latent_dim` must be from 1 to 256, not {}", self.latent_dim);
        ensure!((-1.0..=1.0).contains(&self.similarity), "`similarity` must be from -1 to 1, not {}", self.similarity);
        for (name, scale) in [("signal", self.signal), ("confounding", self.confounding)] {
            ensure!((0.0..=10.0).contains(&scale), "`{name}` must be from 0 to 10, not {scale}");
        }
        let rates = self.rates_of(graph)?;
        labels_tell_apart(graph)?;
        let columns = Column::all(graph);
        for (i, (name, _)) in columns.iter().enumerate() {
            ensure!(!columns[..i].iter().any(|(n, _)| n == name), "stage `{name}` has the name of another column of the synthetic source");
        }
        Ok(Arc::new(SyntheticSource { settings: self.clone(), graph: Arc::new(graph.clone()), rates, columns, world: Arc::default() }))
    }
}

impl Synthetic {
    fn rates_of(&self, graph: &Graph) -> anyhow::Result<Vec<f64>> {
        let (given, n) = (self.rates.len(), graph.len());
        let stages: Vec<&str> = graph.nodes.iter().map(|n| n.name.as_str()).collect();
        ensure!(given <= n, "`rates` has {given} values for {n} stage{}: {}", if n == 1 { "" } else { "s" }, stages.join(", "));
        for (rate, stage) in self.rates.iter().zip(&stages) {
            ensure!(*rate > 0.0 && *rate < 1.0, "`rates`: the rate of stage `{stage}` must be between 0 and 1, not {rate}");
        }
        let defaults: &[f64] = if n <= 2 { &[0.04, 0.05] } else { &[0.06, 0.3, 0.3] };
        Ok((0..n).map(|s| self.rates.get(s).or(defaults.get(s)).copied().unwrap_or(0.5)).collect())
    }
}

register_source!("synthetic", Synthetic);

/// Refuses stages that share a label although one row can reach both: the label would not say which.
fn labels_tell_apart(graph: &Graph) -> anyhow::Result<()> {
    for b in 0..graph.len() {
        for a in 0..b {
            let (one, other) = (&graph.nodes[a], &graph.nodes[b]);
            ensure!(
                one.label != other.label || one.name == other.name || (is_apart(graph, a, b) && is_apart(graph, b, a)),
                "stages `{}` and `{}` share the label `{}`, but one row can reach both or pass from one's path into the other's",
                one.name,
                other.name,
                one.label
            );
        }
    }
    Ok(())
}

/// Whether no row is in the space of `a` and reaches `b`.
fn is_apart(graph: &Graph, a: usize, b: usize) -> bool {
    let (mut space, path): (Event, Event) = (graph.path(a), graph.path(b));
    space.pop();
    space.iter().any(|s| path.iter().any(|p| p.stage == s.stage && p.reached != s.reached))
}

/// What a column shows.
#[derive(Debug, Clone, Copy)]
enum Column {
    SampleId,
    Day,
    UserId,
    UserAge,
    UserCity,
    UserSegment,
    UserRecent,
    UserRecentWeight,
    ItemId,
    ItemCategory,
    ItemShop,
    ItemBrand,
    Price,
    Position,
    Channel,
    Hour,
    /// The label column of this stage, and of all that share it.
    Label(usize),
    TrueProbability(usize),
    TrueOutcome(usize),
}

impl Column {
    const FEATURES: [(&str, Self); 16] = [
        ("sample_id", Self::SampleId),
        ("day", Self::Day),
        ("user_id", Self::UserId),
        ("user_age", Self::UserAge),
        ("user_city", Self::UserCity),
        ("user_segment", Self::UserSegment),
        ("user_recent", Self::UserRecent),
        ("user_recent_w", Self::UserRecentWeight),
        ("item_id", Self::ItemId),
        ("item_category", Self::ItemCategory),
        ("item_shop", Self::ItemShop),
        ("item_brand", Self::ItemBrand),
        ("price", Self::Price),
        ("position", Self::Position),
        ("channel", Self::Channel),
        ("hour", Self::Hour),
    ];

    /// Every column with its name, in the order of the schema.
    fn all(graph: &Graph) -> Vec<(String, Self)> {
        let features = Self::FEATURES.into_iter().map(|(name, column)| (name.to_owned(), column));
        let stages = || graph.nodes.iter().enumerate();
        let is_first = |s: usize| graph.nodes[..s].iter().all(|n| n.label != graph.nodes[s].label || n.name == graph.nodes[s].name);
        let labels = stages().filter(|(s, _)| is_first(*s)).map(|(s, node)| (node.label.clone(), Self::Label(s)));
        let probabilities = stages().map(|(s, node)| (probability_column(&node.name), Self::TrueProbability(s)));
        let outcomes = stages().map(|(s, node)| (outcome_column(&node.name), Self::TrueOutcome(s)));
        features.chain(labels).chain(probabilities).chain(outcomes).collect()
    }
    fn data_type(self) -> DataType {
        match self {
            Self::UserAge | Self::Channel => DataType::Utf8,
            Self::UserRecent => DataType::List(item_field(DataType::Int64)),
            Self::UserRecentWeight => DataType::List(item_field(DataType::Float32)),
            Self::Price => DataType::Float64,
            Self::Label(_) | Self::TrueOutcome(_) => DataType::UInt8,
            Self::TrueProbability(_) => DataType::Float32,
            _ => DataType::Int64,
        }
    }
    /// Whether it takes the stages' logits to make.
    fn of_stage(self) -> bool {
        matches!(self, Self::Label(_) | Self::TrueProbability(_) | Self::TrueOutcome(_))
    }
}

fn probability_column(stage: &str) -> String {
    format!("truth.p.{stage}")
}
fn outcome_column(stage: &str) -> String {
    format!("truth.cf.{stage}")
}
fn item_field(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", of, false))
}
fn schema_of(columns: &[(String, Column)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, column)| Field::new(name, column.data_type(), false)).collect::<Vec<_>>()))
}

/// The opened source. Its world is made when the first rows are read.
#[derive(Debug)]
struct SyntheticSource {
    settings: Synthetic,
    graph: Arc<Graph>,
    rates: Vec<f64>,
    columns: Vec<(String, Column)>,
    world: Arc<OnceLock<World>>,
}

impl Source for SyntheticSource {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        Ok(schema_of(&self.columns))
    }

    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let stages = &self.graph.nodes;
        let fingerprint = format!("version {VERSION}, stages {stages:?}, rates {:?}, {:?}", self.rates, self.settings);
        Ok(vec![Input { name: "synthetic".into(), path: None, fingerprint, unit: "row", bytes: 0, entities: None }])
    }

    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        ensure!(input == 0, "a synthetic source has one input, not {}", input + 1);
        Ok(Box::new(self.chunks(columns, CHUNK_ROWS)?))
    }

    fn truth(&self) -> Vec<TruthColumns> {
        let of =
            |stage: &str| TruthColumns { stage: stage.to_owned(), probability: probability_column(stage), outcome: outcome_column(stage) };
        self.graph.nodes.iter().map(|n| of(&n.name)).collect()
    }
}

impl SyntheticSource {
    fn chunks(&self, names: &[String], chunk_rows: u64) -> anyhow::Result<Chunks> {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let Some(found) = self.columns.iter().find(|(n, _)| n == name) else {
                let all: Vec<_> = self.columns.iter().map(|(n, _)| n.as_str()).collect();
                bail!("the synthetic source has no column `{name}`; it has {}", all.join(", "));
            };
            columns.push(found.clone());
        }
        Ok(Chunks {
            schema: schema_of(&columns),
            columns: columns.into_iter().map(|(_, column)| column).collect(),
            settings: self.settings.clone(),
            graph: Arc::clone(&self.graph),
            rates: self.rates.clone(),
            world: Arc::clone(&self.world),
            next: 0,
            chunk_rows,
        })
    }
}

/// Makes chunk after chunk.
struct Chunks {
    schema: SchemaRef,
    columns: Vec<Column>,
    settings: Synthetic,
    graph: Arc<Graph>,
    rates: Vec<f64>,
    world: Arc<OnceLock<World>>,
    next: u64,
    chunk_rows: u64,
}

impl Iterator for Chunks {
    type Item = anyhow::Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next;
        if first >= self.settings.rows {
            return None;
        }
        self.next = self.settings.rows.min(first.saturating_add(self.chunk_rows));
        let world = self.world.get_or_init(|| World::new(&self.settings, &self.graph, &self.rates));
        let draws = Draws::new(world, first..self.next, self.rates.len(), self.columns.iter().any(|c| c.of_stage()));
        Some(self.chunk(world, &draws))
    }
}

impl Chunks {
    fn chunk(&self, world: &World, draws: &Draws) -> anyhow::Result<Chunk> {
        let arrays = self.columns.iter().map(|&column| draws.column(world, &self.graph, column, self.settings.rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(draws.rows.len()));
        let records = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        Ok(Chunk { records, input: 0, numbers: RowNumbers::From(draws.numbers.start + 1), broken: Vec::new() })
    }
}

/// What was drawn for the rows of a chunk. Per stage: `[rows, stages]`, empty if no column asks.
struct Draws {
    numbers: Range<u64>,
    stages: usize,
    rows: Vec<Row>,
    p: Vec<f64>,
    outcome: Vec<bool>,
}

impl Draws {
    fn new(world: &World, numbers: Range<u64>, stages: usize, with_stages: bool) -> Self {
        if !with_stages {
            let rows = numbers.clone().map(|number| world.fields_of(Purpose::Rows, number)).collect();
            return Self { numbers, stages, rows, p: Vec::new(), outcome: Vec::new() };
        }
        let n = numbers.clone().count();
        let (mut p, mut outcome) = (vec![0.0; n * stages], vec![false; n * stages]);
        let rows = numbers
            .clone()
            .zip(p.chunks_exact_mut(stages).zip(outcome.chunks_exact_mut(stages)))
            .map(|(number, (p, outcome))| world.row(Purpose::Rows, number, p, outcome))
            .collect();
        Self { numbers, stages, rows, p, outcome }
    }

    fn column(&self, world: &World, graph: &Graph, column: Column, rows: u64) -> ArrayRef {
        let (users, items) = (&world.users, &world.items);
        match column {
            Column::SampleId => integers(self.numbers.clone()),
            Column::Day => integers(self.numbers.clone().map(|n| u128::from(n) * u128::from(DAYS) / u128::from(rows))),
            Column::UserId => self.ids(|r| r.user + 1),
            Column::UserAge => self.strings(|r| AGES[usize::from(users.age[r.user])]),
            Column::UserCity => self.ids(|r| usize::from(users.city[r.user]) + 1),
            Column::UserSegment => self.ids(|r| usize::from(users.segment[r.user]) + 1),
            Column::UserRecent => {
                let bags = self.bags(world).flat_map(|bag| &users.recent[bag]);
                let values: ArrayRef = Arc::new(bags.map(|&id| i64::from(id) + 1).collect::<Int64Array>());
                self.lists(world, DataType::Int64, values)
            }
            Column::UserRecentWeight => {
                let weights = self.bags(world).flat_map(|bag| &users.recent_weight[bag]);
                let values: ArrayRef = Arc::new(weights.copied().collect::<Float32Array>());
                self.lists(world, DataType::Float32, values)
            }
            Column::ItemId => self.ids(|r| r.item + 1),
            Column::ItemCategory => self.ids(|r| usize::from(items.category[r.item]) + 1),
            Column::ItemShop => self.ids(|r| items.shop[r.item] as usize + 1),
            Column::ItemBrand => self.ids(|r| items.brand[r.item] as usize + 1),
            Column::Price => Arc::new(Float64Array::from_iter_values(self.rows.iter().map(|r| items.price[r.item]))),
            Column::Position => self.ids(|r| r.position + 1),
            Column::Channel => self.strings(|r| CHANNELS[r.channel]),
            Column::Hour => self.ids(|r| r.hour),
            Column::Label(stage) => {
                let paths: Vec<Event> =
                    (0..self.stages).filter(|&s| graph.nodes[s].label == graph.nodes[stage].label).map(|s| graph.path(s)).collect();
                let is_reached = |outcome: &[bool]| paths.iter().any(|path| path.iter().all(|step| outcome[step.stage] == step.reached));
                Arc::new(UInt8Array::from_iter_values(self.outcome.chunks_exact(self.stages).map(|o| u8::from(is_reached(o)))))
            }
            #[allow(clippy::cast_possible_truncation)] // a probability
            Column::TrueProbability(stage) => {
                Arc::new(Float32Array::from_iter_values(self.p.iter().skip(stage).step_by(self.stages).map(|&p| p as f32)))
            }
            Column::TrueOutcome(stage) => {
                Arc::new(UInt8Array::from_iter_values(self.outcome.iter().skip(stage).step_by(self.stages).map(|&o| u8::from(o))))
            }
        }
    }
    fn ids(&self, id: impl Fn(&Row) -> usize) -> ArrayRef {
        integers(self.rows.iter().map(|row| id(row) as u64))
    }
    fn strings(&self, text: impl Fn(&Row) -> &'static str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(self.rows.iter().map(text)))
    }
    /// Where each row's bag lies.
    fn bags<'a>(&'a self, world: &'a World) -> impl Iterator<Item = Range<usize>> + 'a {
        let start = &world.users.recent_start;
        self.rows.iter().map(|r| start[r.user] as usize..start[r.user + 1] as usize)
    }
    fn lists(&self, world: &World, of: DataType, values: ArrayRef) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(self.bags(world).map(|bag| bag.len()));
        Arc::new(ListArray::new(item_field(of), offsets, values, None))
    }
}

fn integers<T: TryInto<i64>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|v| v.try_into().unwrap_or(i64::MAX))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
