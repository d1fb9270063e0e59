//! A spec and its data → a model.

use super::{Model, group_width};
use crate::data::Fields;
use crate::device::{Bk, Device};
use crate::embedding::Tables;
use crate::graph::Graph;
use crate::plugin::module::seeded;
use crate::plugin::registry::{self, Kind};
use crate::plugin::{Build, EncoderShape, LossWords, Objective, PartShape, StageShape};
use crate::spec::{Component, InitBias, Spec};
use anyhow::{Context, Result, bail};
use burn::prelude::*;

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
    #[must_use]
    pub fn of(spec: &Spec, fields: &Fields) -> Self {
        let copies = if spec.embedding.per_stage { spec.stages.len() } else { 1 };
        let dim = spec.embedding.dim.get();
        let table_rows = fields.tables.iter().map(|t| t.rows).sum::<usize>() * copies;
        let table_bytes = table_rows * dim * size_of::<f32>();
        Self {
            table_rows,
            table_bytes,
            state_bytes: table_bytes * crate::optim::moments(&spec.embedding.optimizer),
            width: (0..fields.groups.len()).map(|g| group_width(fields, g, dim)).sum(),
        }
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
        Ok(objective(spec, graph)?.describe(graph))
    }

    /// Builds the model; all that is drawn depends on `train.seed` alone. `base_rates` are the stages' conditional rates on the training
    /// rows (see [`InitBias`]); `device` is without autodiff; `autodiff` says whether parameters will be trained.
    ///
    /// # Errors
    /// A plugin that cannot work on these fields, named with its stage.
    pub fn build(spec: &Spec, graph: Graph, fields: Fields, base_rates: &[f64], device: &Device, autodiff: bool) -> Result<Self> {
        let dim = spec.embedding.dim.get();
        let parts: Vec<PartShape> =
            fields.groups.iter().map(|g| PartShape { fields: g.singles.len() + g.bags.len(), dim, numbers: g.numbers.len() }).collect();
        if parts.iter().all(|p| p.width() == 0) {
            bail!("the model has no input: no feature has a column");
        }
        let copies = if spec.embedding.per_stage { spec.stages.len() } else { 1 };
        let embeddings = (0..copies as u64)
            .map(|i| Tables::new(&fields.tables, dim, spec.embedding.init_std, spec.train.seed.wrapping_add(i << 32)))
            .collect();

        let on = if autodiff { Device::autodiff(device.clone()) } else { device.clone() };
        let drawing = seeded(&on, spec.train.seed);
        let stages: Vec<String> = spec.stages.iter().map(|s| s.name.clone()).collect();
        let (encoder, parts) = match plugin(Kind::Encoder, &spec.encoder)?.build {
            Build::Encoder(e) => (e.build)(&spec.encoder.settings, &EncoderShape { stages, parts }, &on),
            _ => bail!("`{}` is not an encoder", spec.encoder.kind),
        }
        .with_context(|| format!("encoder `{}`", spec.encoder.kind))?;
        let mut towers = Vec::with_capacity(spec.stages.len());
        for stage in &spec.stages {
            let shape = StageShape { stage: stage.name.clone(), parts: parts.clone() };
            let Build::Tower(tower) = plugin(Kind::Tower, &stage.tower)?.build else { bail!("`{}` is not a tower", stage.tower.kind) };
            let built = (tower.build)(&stage.tower.settings, &shape, &on);
            towers.push(built.with_context(|| format!("stage `{}`: tower `{}`", stage.name, stage.tower.kind))?);
        }
        drop(drawing);

        let objective = objective(spec, &graph)?;
        let masks = masks(spec, &fields, dim, device, encoder.is_identity())?;
        Ok(Self {
            embeddings,
            encoder,
            towers,
            biases: spec.stages.iter().zip(base_rates).map(|(s, rate)| initial_bias(&s.init_bias, *rate)).collect(),
            target_weights: spec.stages.iter().map(|s| s.weight).chain(spec.outcomes.iter().map(|o| o.weight)).collect(),
            objective,
            masks,
            device: device.clone(),
            graph,
            fields,
        })
    }
}

fn objective(spec: &Spec, graph: &Graph) -> Result<Box<dyn Objective>> {
    let Build::Objective(objective) = plugin(Kind::Objective, &spec.objective)?.build else {
        bail!("`{}` is not an objective", spec.objective.kind)
    };
    (objective.build)(&spec.objective.settings, graph).with_context(|| format!("objective `{}`", spec.objective.kind))
}

fn plugin(kind: Kind, component: &Component) -> Result<&'static registry::Plugin> {
    registry::find(kind, &component.kind)
        .with_context(|| format!("no {kind} named `{}` in this build; there are: {}", component.kind, registry::names(kind).join(", ")))
}

#[allow(clippy::cast_possible_truncation)]
fn initial_bias(bias: &InitBias, rate: f64) -> f32 {
    match bias {
        InitBias::Value(z) => *z as f32,
        InitBias::Named(_) => {
            let rate = rate.clamp(1e-6, 1.0 - 1e-6);
            (rate / (1.0 - rate)).ln() as f32
        }
    }
}

type StageMasks = Option<Vec<Tensor<Bk, 2>>>;

/// Masks for the stages that do without some feature or column.
fn masks(spec: &Spec, fields: &Fields, dim: usize, device: &Device, identity: bool) -> Result<Vec<StageMasks>> {
    spec.stages
        .iter()
        .map(|stage| {
            let without = &stage.features.without;
            if without.is_empty() {
                return Ok(None);
            }
            if !identity {
                bail!("stage `{}`: `features.without` needs an encoder that keeps fields apart, such as `concat`", stage.name);
            }
            let seen = |feature: &str, column: &str| f32::from(u8::from(!without.iter().any(|w| w == feature || w == column)));
            Ok(Some(
                fields
                    .groups
                    .iter()
                    .map(|g| {
                        let fields = g.singles.iter().chain(g.bags.iter().map(|b| &b.field));
                        let mut mask: Vec<f32> = fields.flat_map(|f| std::iter::repeat_n(seen(&f.feature, &f.name), dim)).collect();
                        mask.extend(g.numbers.iter().map(|n| seen(&n.feature, &n.name)));
                        let width = mask.len();
                        Tensor::from_data(TensorData::new(mask, [1, width]), device)
                    })
                    .collect(),
            ))
        })
        .collect()
}
