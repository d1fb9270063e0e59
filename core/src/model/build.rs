//! A spec and its data → a model.

use super::inputs::{part_shapes, sequence_shapes};
use super::{Mask, Model, Owner, StageTower, TableSet};
use crate::data::Fields;
use crate::device::Device;
use crate::embedding::{Columns, Tables};
use crate::graph::{Composition, Graph};
use crate::kernel::Pool;
use crate::plugin::module::seeded;
use crate::plugin::registry::{self, Kind};
use crate::plugin::tower::DynTower;
use crate::plugin::{Build, EncoderShape, LossWords, Needs, Objective, PartShape, StageShape, Start, TowerBuild};
use crate::spec::{Component, InitBias, Spec};
use anyhow::{Context, Result, bail};

/// What a model is made of, before it is made: enough to say what it will cost.
#[derive(Debug, Clone)]
pub struct ModelPlan {
    /// Rows of all tables.
    pub table_rows: usize,
    /// Bytes of the tables' weights.
    pub table_bytes: usize,
    /// Bytes of the tables' optimiser state.
    pub state_bytes: usize,
    /// Columns that a tower sees.
    pub width: usize,
}
impl ModelPlan {
    /// Of a spec and its fields.
    ///
    /// # Errors
    /// A plugin that is not there.
    pub fn of(spec: &Spec, fields: &Fields) -> Result<Self> {
        let copies = if spec.embedding.per_stage { spec.stages.len() } else { 1 };
        let dim = spec.embedding.dim.get();
        let rows = fields.tables.iter().map(|t| t.rows).sum::<usize>();
        let graph = Graph::of(spec);
        let parts = towers(spec, &graph, &*objective(spec, &graph)?)?;
        let own: Vec<usize> = parts.iter().map(|t| t.needs.own_dim).filter(|d| *d > 0).collect();
        let table_bytes = rows * (copies * dim + own.iter().sum::<usize>()) * size_of::<f32>();
        let state_of = |dim: usize| crate::optim::state_len(&spec.embedding.optimizer, dim);
        let state = copies * state_of(dim) + own.iter().map(|d| state_of(*d)).sum::<usize>();
        Ok(Self {
            table_rows: rows * (copies + own.len()),
            table_bytes,
            state_bytes: state * rows * size_of::<f32>(),
            width: part_shapes(fields, Columns { dim, numbers: true }).iter().map(PartShape::width).sum(),
        })
    }

    /// A rough upper estimate of the memory that training needs at its peak: tables with state and the batch's stamps, activations of the
    /// towers (taken as a few times the input's width), and what is kept of each row (its part).
    #[must_use]
    pub fn peak_bytes(&self, spec: &Spec, rows: usize) -> u64 {
        let batch = spec.train.batch_rows.get().max(crate::score::SCORE_ROWS.get());
        let activations = batch * self.width * size_of::<f32>() * (2 + 3 * spec.stages.len());
        let fixed = 150 << 20;
        (self.table_bytes + self.state_bytes + self.table_rows * 8 + activations + rows + fixed) as u64
    }
}

impl Model {
    /// What the loss terms of a spec are, for `check`.
    ///
    /// # Errors
    /// An objective that cannot work on this funnel.
    pub fn losses(spec: &Spec, graph: &Graph) -> Result<Vec<LossWords>> {
        let mut words = objective(spec, graph)?.describe(graph);
        for stage in &spec.stages {
            let Some(weight) = &stage.loss_weight else { continue };
            for loss in words.iter_mut().filter(|l| l.target == stage.name) {
                *loss = loss.clone().weighed(weight);
            }
        }
        Ok(words)
    }

    /// Builds the model; all that is drawn depends on `train.seed` alone. `base_rates` are the stages' conditional rates on the training
    /// rows (see [`InitBias`]); `device` is without autodiff; `autodiff` says whether parameters will be trained.
    ///
    /// # Errors
    /// A plugin that cannot work on these fields, named with its stage.
    pub fn build(spec: &Spec, graph: Graph, fields: Fields, base_rates: &[f64], device: &Device, autodiff: bool) -> Result<Self> {
        let dim = spec.embedding.dim.get();
        let parts = part_shapes(&fields, Columns { dim, numbers: true });
        if parts.is_empty() {
            bail!("the model has no input: no feature has a column");
        }
        let objective = objective(spec, &graph)?;
        let planned = towers(spec, &graph, &*objective)?;
        let embeddings = table_sets(spec, &fields, &planned);

        let on = if autodiff { Device::autodiff(device.clone()) } else { device.clone() };
        let drawing = seeded(&on, spec.train.seed);
        let stages: Vec<String> = spec.stages.iter().map(|s| s.name.clone()).collect();
        let (encoder, parts) = match plugin(Kind::Encoder, &spec.encoder)?.build {
            Build::Encoder(e) => (e.build)(&spec.encoder.settings, &EncoderShape { stages, parts }, &on),
            _ => bail!("`{}` is not an encoder", spec.encoder.kind),
        }
        .with_context(|| format!("encoder `{}`", spec.encoder.kind))?;
        let mut towers = Vec::with_capacity(planned.len());
        for (t, Planned { stage, needs, prefix, build, .. }) in planned.iter().enumerate() {
            let stated = &spec.stages[*stage];
            let shape = StageShape {
                stage: stated.name.clone(),
                parts: parts.clone(),
                own: if needs.own_dim > 0 { part_shapes(&fields, Columns { dim: needs.own_dim, numbers: false }) } else { Vec::new() },
                sequences: if needs.sequences && encoder.is_identity() { sequence_shapes(&fields, dim) } else { Vec::new() },
                upstream: if needs.upstream { graph.nodes[*stage].parent.map(|p| planned[p].needs.hidden) } else { None },
            };
            let network = build(&stated.tower.settings, &shape, &on);
            let network = network.with_context(|| format!("stage `{}`: tower `{}`", stated.name, stated.tower.kind))?;
            let shared = if spec.embedding.per_stage { *stage } else { 0 };
            let own = embeddings.iter().position(|set| set.owner == Owner::Tower(t));
            let mask = mask(spec, *stage, &fields, needs.own_dim, device, encoder.is_identity())?;
            towers.push(StageTower { network, stage: *stage, needs: *needs, prefix: prefix.clone(), tables: (shared, own), mask });
        }
        drop(drawing);

        let rates = graph.tower_rates(base_rates);
        let biases = planned.iter().map(|p| match p.start {
            None => initial_bias(&spec.stages[p.stage].init_bias, rates[p.stage]),
            Some(start) => initial_extra_bias(start, rates[p.stage]),
        });
        Ok(Self {
            plain: super::plain::is_plain(&*encoder, &towers, device),
            workspaces: Pool::default(),
            biases: biases.collect(),
            levels: levels(&graph, &towers),
            objective_parameters: objective.parameters(&graph).into_iter().map(|(_, start)| start).collect(),
            embeddings,
            encoder,
            towers,
            target_weights: spec.stages.iter().map(|s| s.weight).chain(spec.outcomes.iter().map(|o| o.weight)).collect(),
            objective,
            device: device.clone(),
            graph,
            fields,
        })
    }
}

/// A tower before it is built.
struct Planned {
    stage: usize,
    needs: Needs,
    prefix: String,
    build: fn(&toml::Table, &StageShape, &Device) -> Result<Box<dyn DynTower>>,
    /// Of an extra head: where its bias starts.
    start: Option<Start>,
}

/// The towers of the stages, then the objective's extra heads.
fn towers(spec: &Spec, graph: &Graph, objective: &dyn Objective) -> Result<Vec<Planned>> {
    let of = |stage: usize, prefix: String, start: Option<Start>| -> Result<Planned> {
        let tower = &spec.stages[stage].tower;
        let Build::Tower(TowerBuild { build, needs }) = plugin(Kind::Tower, tower)?.build else { bail!("`{}` is not a tower", tower.kind) };
        let needs = needs(&tower.settings).with_context(|| format!("stage `{}`: tower `{}`", spec.stages[stage].name, tower.kind))?;
        Ok(Planned { stage, needs, prefix, build, start })
    };
    let stages = spec.stages.iter().enumerate().map(|(i, stage)| of(i, format!("tower.{}.", stage.name), None));
    let extra = objective.extra_heads(graph);
    let extra = extra.into_iter().map(|h| of(h.stage, format!("head.{}.{}.", spec.stages[h.stage].name, h.name), Some(h.start)));
    let planned = stages.chain(extra).collect::<Result<Vec<_>>>()?;
    for p in planned.iter().filter(|p| p.needs.upstream) {
        let (name, kind) = (&spec.stages[p.stage].name, &spec.stages[p.stage].tower.kind);
        let Some(parent) = graph.nodes[p.stage].parent else {
            bail!("stage `{name}`: tower `{kind}` reads the hidden layer of the stage before, and there is none before the first");
        };
        if planned[parent].needs.hidden == 0 {
            let Component { kind: other, .. } = &spec.stages[parent].tower;
            bail!(
                "stage `{name}`: tower `{kind}` reads the hidden layer of `{}`, whose tower `{other}` has none",
                graph.nodes[parent].name
            );
        }
    }
    Ok(planned)
}

/// Tables shared by all stages or of each, and those of towers that asked for their own.
fn table_sets(spec: &Spec, fields: &Fields, towers: &[Planned]) -> Vec<TableSet> {
    let (dim, std, seed) = (spec.embedding.dim.get(), spec.embedding.init_std, spec.train.seed);
    let set = |owner, dim, stream: u64| TableSet { owner, tables: Tables::new(&fields.tables, dim, std, seed.wrapping_add(stream << 32)) };
    let stages = 0..spec.stages.len();
    let shared: Vec<TableSet> = if spec.embedding.per_stage {
        stages.map(|s| set(Owner::Stage(s), dim, s as u64)).collect()
    } else {
        vec![set(Owner::Funnel, dim, 0)]
    };
    let own = towers.iter().enumerate().filter(|(_, t)| t.needs.own_dim > 0);
    let own = own.map(|(t, planned)| set(Owner::Tower(t), planned.needs.own_dim, (1 << 16) + t as u64));
    shared.into_iter().chain(own).collect()
}

/// Towers that can run side by side: a tower that reads another comes after it.
fn levels(graph: &Graph, towers: &[StageTower]) -> Vec<Vec<usize>> {
    let mut level = vec![0; towers.len()];
    for t in 0..towers.len() {
        if let (true, Some(parent)) = (towers[t].needs.upstream, graph.nodes[towers[t].stage].parent) {
            level[t] = level[parent] + 1;
        }
    }
    (0..=level.iter().copied().max().unwrap_or(0)).map(|l| (0..towers.len()).filter(|t| level[*t] == l).collect()).collect()
}

fn objective(spec: &Spec, graph: &Graph) -> Result<Box<dyn Objective>> {
    let Build::Objective(objective) = plugin(Kind::Objective, &spec.objective)?.build else {
        bail!("`{}` is not an objective", spec.objective.kind)
    };
    let kind = &spec.objective.kind;
    let built = (objective.build)(&spec.objective.settings, graph).with_context(|| format!("objective `{kind}`"))?;
    if graph.composition == Composition::Quotient && !built.is_full_space() {
        bail!(
            "objective `{kind}` trains conditional probabilities, and with `funnel.composition = \"quotient\"` a tower's logit is of the \
             full-space probability; take `objective.kind = \"entire_space\"`"
        );
    }
    let weighed = spec.stages.iter().enumerate().find(|(at, s)| s.loss_weight.is_some() && !built.weighs(graph, *at));
    if let Some((_, stage)) = weighed {
        bail!(
            "objective `{kind}` weighs no loss term of stage `{0}`, so `stage.{0}.loss_weight` would do nothing; take `objective.kind = \
             \"conditional\"`, or \"entire_space\" for a stage that is in no outcome, or leave `loss_weight` out",
            stage.name
        );
    }
    Ok(built)
}

fn plugin(kind: Kind, component: &Component) -> Result<&'static registry::Plugin> {
    registry::find(kind, &component.kind)
        .with_context(|| format!("no {kind} named `{}` in this build; there are: {}", component.kind, registry::names(kind).join(", ")))
}

/// A rate that has a logit.
fn inside(rate: f64) -> f64 {
    rate.clamp(1e-6, 1.0 - 1e-6)
}

#[allow(clippy::cast_possible_truncation)]
fn initial_bias(bias: &InitBias, rate: f64) -> f32 {
    match bias {
        InitBias::Value(z) => *z as f32,
        InitBias::Named(_) => {
            let rate = inside(rate);
            (rate / (1.0 - rate)).ln() as f32
        }
    }
}

/// Where an extra head's bias starts.
#[allow(clippy::cast_possible_truncation)]
fn initial_extra_bias(start: Start, rate: f64) -> f32 {
    match start {
        Start::Value(z) => z as f32,
        Start::OfRate(of) => of(inside(rate)) as f32,
    }
}

/// The mask of a stage that does without some feature or column.
fn mask(spec: &Spec, stage: usize, fields: &Fields, own_dim: usize, device: &Device, identity: bool) -> Result<Option<Mask>> {
    let stage = &spec.stages[stage];
    let without = &stage.features.without;
    if without.is_empty() {
        return Ok(None);
    }
    if !identity {
        bail!("stage `{}`: `features.without` needs an encoder that keeps fields apart, such as `concat`", stage.name);
    }
    Ok(Some(Mask::new(without, fields, spec.embedding.dim.get(), own_dim, device)))
}
