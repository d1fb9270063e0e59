//! A loaded model with what the server says about it.

use super::openapi;
use super::table::Names;
use anyhow::Result;
use esmm_funnel_core::data::SharedColumns;
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::graph::draw::svg;
use esmm_funnel_core::graph::words::describe;
use esmm_funnel_core::run::RunFolder;
use esmm_funnel_core::score::online::{CellKind, Online, OnlineColumn};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// Sets of shared columns whose taking apart is remembered.
const SPLITS: usize = 16;

/// The model that requests are answered with.
#[derive(Debug)]
pub struct Served {
    /// The model.
    pub online: Online,
    /// The names that mean something in a row.
    pub names: Names,
    /// Prediction columns as the answer writes them: `"p_click":`.
    pub quoted: Vec<String>,
    /// `GET /v1/model`.
    pub about: String,
    /// `GET /openapi.json`.
    pub openapi: String,
    /// The run's folder.
    pub run: PathBuf,
    /// The spec's keys.
    pub keys: Vec<String>,
    splits: Mutex<Vec<(Vec<bool>, Arc<SharedColumns>)>>,
}

impl Served {
    /// Loads a finished run.
    ///
    /// # Errors
    /// It is not finished, or its files are missing or damaged.
    pub fn open(run: PathBuf) -> Result<Self> {
        let folder = RunFolder::open(&run)?;
        let online = Online::open(&folder, &cpu())?;
        let keys = online.scorer().spec.data.keys.clone();
        let about = about(&online);
        Ok(Self {
            names: Names::of(online.columns(), &keys),
            quoted: online.names().iter().map(|n| format!("{}:", Value::from(n.as_str()))).collect(),
            openapi: format!("{:#}", openapi::document(&online)),
            about: format!("{about:#}"),
            online,
            run,
            keys,
            splits: Mutex::default(),
        })
    }

    /// The keys that are no columns of the model, each with its place among the keys.
    pub fn other_keys(&self) -> impl Iterator<Item = (usize, &str)> {
        let columns = self.online.columns();
        self.keys.iter().map(String::as_str).enumerate().filter(|(_, k)| !columns.iter().any(|c| c.name == *k))
    }

    /// How the layout comes apart, for the columns that are in common.
    pub fn split(&self, shared: &[bool]) -> Arc<SharedColumns> {
        let mut splits = self.splits.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, split)) = splits.iter().find(|(key, _)| key == shared) {
            return Arc::clone(split);
        }
        let split = Arc::new(self.online.shared_columns(shared));
        if splits.len() == SPLITS {
            splits.remove(0);
        }
        splits.push((shared.to_vec(), Arc::clone(&split)));
        split
    }

    /// What must not change under a client: input columns, keys and predictions. `Err` says what did.
    ///
    /// # Errors
    /// The other model takes or gives other columns.
    pub fn fits(&self, other: &Self) -> Result<(), String> {
        let columns = |s: &Self| s.online.columns().iter().map(|c| (c.name.clone(), c.kind, c.is_time)).collect::<Vec<_>>();
        let (mut before, mut after) = (columns(self), columns(other));
        before.sort_by(|a, b| a.0.cmp(&b.0));
        after.sort_by(|a, b| a.0.cmp(&b.0));
        if before != after {
            let names = |of: &[(String, CellKind, bool)], not: &[(String, CellKind, bool)]| {
                of.iter().filter(|c| !not.contains(c)).map(|c| format!("`{}`", c.0)).collect::<Vec<_>>().join(", ")
            };
            let (gone, new) = (names(&before, &after), names(&after, &before));
            let or = |names: String| if names.is_empty() { "none".into() } else { names };
            return Err(format!(
                "its input columns differ (no longer or of another type: {}; new or of another type: {})",
                or(gone),
                or(new)
            ));
        }
        let (before, after) = (self.online.names(), other.online.names());
        if before != after {
            return Err(format!("its predictions differ ({} before, {} now)", before.join(", "), after.join(", ")));
        }
        if self.keys != other.keys {
            return Err(format!("its keys differ ({} before, {} now)", self.keys.join(", "), other.keys.join(", ")));
        }
        Ok(())
    }
}

/// A column's type, in the words of the API.
pub fn type_of(column: &OnlineColumn) -> &'static str {
    match (column.kind, column.is_time) {
        (CellKind::Text, true) => "time",
        (CellKind::Text, false) => "id",
        (CellKind::Number, _) => "number",
        (CellKind::Texts, _) => "ids",
        (CellKind::Numbers, _) => "numbers",
    }
}

fn about(online: &Online) -> Value {
    let scorer = online.scorer();
    let (spec, graph) = (&scorer.spec, &scorer.graph);
    let words = describe(graph);
    let (stages, outcomes): (Vec<_>, Vec<_>) = words.iter().partition(|w| !w.is_outcome);
    let target = |w: &&esmm_funnel_core::graph::words::TargetWords| json!({ "name": w.name, "equation": w.equation, "label": w.label, "space": w.space, "columns": w.columns });
    let feature =
        |c: &OnlineColumn| json!({ "column": c.name, "feature": c.feature, "of": c.group, "type": type_of(c), "expects": c.expected() });
    json!({
        "funnel": spec.funnel.name,
        "row": spec.funnel.row,
        "version": online.version(),
        "program": env!("CARGO_PKG_VERSION"),
        "keys": spec.data.keys,
        "features": online.columns().iter().map(feature).collect::<Vec<_>>(),
        "stages": stages.iter().map(target).collect::<Vec<_>>(),
        "outcomes": outcomes.iter().map(target).collect::<Vec<_>>(),
        "predictions": online.names(),
        "svg": svg(graph, None),
    })
}
