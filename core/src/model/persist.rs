//! A model's weights by name: `tower.<stage>.…`, `encoder.…`, `bias`, `table.<column>` (`table.<stage>.<column>` where every stage has its own).

use super::Model;
use crate::plugin::module::{DynModule, Named};
use crate::run::{Loaded, Tensors};
use anyhow::{Context, Result, bail};
use burn::prelude::TensorData;
use std::borrow::Cow;

impl Model {
    /// Prefix of the names of the `set`-th tables.
    pub(crate) fn table_prefix(&self, set: usize) -> String {
        if self.embeddings.len() > 1 { format!("table.{}.", self.graph.nodes[set].name) } else { "table.".into() }
    }
    /// Prefix of the names of a tower's parameters.
    pub(crate) fn tower_prefix(&self, stage: usize) -> String {
        format!("tower.{}.", self.graph.nodes[stage].name)
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
        for (s, tower) in self.towers.iter().enumerate() {
            add(&self.tower_prefix(s), tower.tensors())?;
        }
        for (set, tables) in self.embeddings.iter().enumerate() {
            let prefix = self.table_prefix(set);
            all.extend(
                tables
                    .named_weights()
                    .map(|(name, w)| (format!("{prefix}{name}"), vec![w.len() / tables.dim(), tables.dim()], Cow::Borrowed(w))),
            );
        }
        Ok(all)
    }

    /// Replaces all weights.
    ///
    /// # Errors
    /// A name that is missing or left over, or a shape that differs: the weights are of another model.
    pub fn load(&mut self, mut tensors: Loaded) -> Result<()> {
        let (_, biases) = tensors.remove("bias").context("`bias` is missing")?;
        if biases.len() != self.biases.len() {
            bail!("`bias` has {} values, the funnel has {} stages", biases.len(), self.biases.len());
        }
        self.biases = biases;
        for set in 0..self.embeddings.len() {
            let prefix = self.table_prefix(set);
            for (name, weights) in self.embeddings[set].named_weights_mut() {
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
        for s in 0..self.towers.len() {
            let prefix = format!("tower.{}.", self.graph.nodes[s].name);
            take(&prefix, &mut *self.towers[s])?;
        }
        if let Some(name) = tensors.keys().next() {
            bail!("`{name}` is not a weight of this model");
        }
        Ok(())
    }
}
