//! A model's weights by name: `tower.<stage>.…`, `head.<stage>.<name>.…` for an objective's extra heads, `encoder.…`, `bias`, `objective`,
//! `table.<column>` (`table.<stage>.<column>` where every stage has its own), and `own.<tower's name>.<column>` for tables of a tower's own.

use super::{Model, Owner};
use crate::plugin::module::{DynModule, Named};
use crate::run::{Loaded, Tensors};
use anyhow::{Context, Result, bail};
use burn::prelude::TensorData;
use std::borrow::Cow;

impl Model {
    /// Prefix of the names of the `set`-th tables.
    pub(crate) fn table_prefix(&self, set: usize) -> String {
        match self.embeddings[set].owner {
            Owner::Funnel => "table.".into(),
            Owner::Stage(stage) => format!("table.{}.", self.graph.nodes[stage].name),
            Owner::Tower(tower) => format!("own.{}", self.tower_prefix(tower)),
        }
    }
    /// Prefix of the names of a tower's parameters.
    pub(crate) fn tower_prefix(&self, tower: usize) -> &str {
        &self.towers[tower].prefix
    }

    /// All weights.
    ///
    /// # Errors
    /// A parameter that is not `f32`.
    pub fn tensors(&self) -> Result<Tensors<'_>> {
        let mut all: Tensors<'_> = vec![("bias".into(), vec![self.biases.len()], Cow::Borrowed(&self.biases))];
        let mut add = |prefix: &str, named: Named| -> Result<()> {
            for (name, data) in named {
                let shape = data.shape.to_vec();
                let values = data.into_vec::<f32>().map_err(|e| anyhow::anyhow!("parameter `{prefix}{name}`: {e:?}"))?;
                all.push((format!("{prefix}{name}"), shape, Cow::Owned(values)));
            }
            Ok(())
        };
        add("encoder.", self.encoder.tensors())?;
        for tower in &self.towers {
            add(&tower.prefix, tower.network.tensors())?;
        }
        if !self.objective_parameters.is_empty() {
            all.push(("objective".into(), vec![self.objective_parameters.len()], Cow::Borrowed(&self.objective_parameters)));
        }
        for (s, set) in self.embeddings.iter().enumerate() {
            let (prefix, dim) = (self.table_prefix(s), set.tables.dim());
            let named = set.tables.named_weights();
            all.extend(named.map(|(name, w)| (format!("{prefix}{name}"), vec![w.len() / dim, dim], Cow::Borrowed(w))));
        }
        Ok(all)
    }

    /// Replaces all weights.
    ///
    /// # Errors
    /// A name that is missing or left over, or a shape that differs: the weights are of another model.
    pub fn load(&mut self, mut tensors: Loaded) -> Result<()> {
        let mut vector = |name: &str, values: &mut Vec<f32>| -> Result<()> {
            let (_, loaded) = tensors.remove(name).with_context(|| format!("`{name}` is missing"))?;
            if loaded.len() != values.len() {
                bail!("`{name}` has {} values, the model needs {}", loaded.len(), values.len());
            }
            *values = loaded;
            Ok(())
        };
        vector("bias", &mut self.biases)?;
        if !self.objective_parameters.is_empty() {
            vector("objective", &mut self.objective_parameters)?;
        }
        for set in 0..self.embeddings.len() {
            let prefix = self.table_prefix(set);
            for (name, weights) in self.embeddings[set].tables.named_weights_mut() {
                let name = format!("{prefix}{name}");
                let (shape, values) = tensors.remove(&name).with_context(|| format!("`{name}` is missing"))?;
                if values.len() != weights.len() {
                    bail!("`{name}` has shape {shape:?}, the model needs {} values", weights.len());
                }
                weights.copy_from_slice(&values);
            }
        }
        let mut take = |prefix: &str, module: &mut dyn DynModule| -> Result<()> {
            let names: Vec<String> = tensors.keys().filter(|n| n.starts_with(prefix)).cloned().collect();
            let named = names
                .into_iter()
                .filter_map(|n| tensors.remove(&n).map(|(shape, values)| (n[prefix.len()..].to_owned(), TensorData::new(values, shape))))
                .collect();
            module.load(named).with_context(|| format!("loading `{}`", prefix.trim_end_matches('.')))
        };
        take("encoder.", &mut *self.encoder)?;
        for tower in &mut self.towers {
            take(&tower.prefix, &mut *tower.network)?;
        }
        if let Some(name) = tensors.keys().next() {
            bail!("`{name}` is not a weight of this model");
        }
        Ok(())
    }
}
