//! What a sweep will do, checked before any work.

use super::axis::Axis;
use super::rows::Bootstrap;
use super::same_stages;
use super::search::Search;
use crate::cli::SweepArgs;
use crate::commands::{RUNS, load_spec};
use crate::ui::Ui;
use anyhow::{Result, bail};
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use esmm_funnel_core::metrics::Summary;
use esmm_funnel_core::spec::{self, Spec};
use std::path::{Path, PathBuf};

/// One of the specs that are compared.
#[derive(Clone)]
pub struct Method {
    /// The stem of its file's name.
    pub name: String,
    pub path: PathBuf,
    /// With the first seed, and nothing searched.
    pub spec: Spec,
    pub search: Option<Search>,
}

pub struct Plan {
    pub methods: Vec<Method>,
    pub sets: Vec<String>,
    pub first_seed: u64,
    pub repeat: u32,
    pub out: PathBuf,
    /// The metric that settles searches, on valid.
    pub search_by: String,
    /// A setting whose values are all tried and shown.
    pub axis: Option<Axis>,
    /// Resamples of the test rows, where they are asked for.
    pub bootstrap: Option<Bootstrap>,
}

/// Spaces that a search can be settled in.
const SPACES: [&str; 3] = ["conditional", "full", "entire"];

impl Plan {
    pub fn of(args: &SweepArgs, ui: &Ui) -> Result<Self> {
        if args.repeat == 0 {
            bail!("`--repeat 0` trains nothing; give 1 or more");
        }
        let mut methods: Vec<Method> = Vec::new();
        for path in &args.specs {
            let (spec, _) = load_spec(path, &args.set, args.seed, ui)?;
            let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
            if let Some(other) = methods.iter().find(|m| m.name == name) {
                let (a, b) = (other.path.display(), path.display());
                bail!("`{a}` and `{b}` are both called `{name}` in the table; rename one of the files");
            }
            let method = Method { name, path: path.clone(), spec, search: None };
            if let Some(first) = methods.first() {
                same_stages(first, &method)?;
            }
            methods.push(method);
        }
        searches(&args.search, &mut methods)?;
        let Some(first) = methods.first().map(|m| &m.spec) else { bail!("a sweep needs a spec") };
        let last = first.stages.last().map_or("", |s| s.name.as_str());
        let search_by = args.search_by.clone().unwrap_or_else(|| format!("{last}.conditional.auc"));
        let out = args.out.clone().unwrap_or_else(|| Path::new(RUNS).join(&first.funnel.name).join("sweep"));
        let axis = args.axis.as_deref().map(Axis::parse).transpose()?;
        if let Some(few) = args.bootstrap.filter(|n| *n < 100) {
            bail!("`--bootstrap {few}`: too few resamples for an interval; give 100 or more, better 1000");
        }
        let bootstrap = args.bootstrap.map(|replicates| Bootstrap { replicates, by: args.bootstrap_by.clone() });
        let (first_seed, sets) = (first.train.seed, args.set.set.clone());
        let plan = Self { first_seed, repeat: args.repeat, sets, search_by, out, methods, axis, bootstrap };
        plan.check_searches()?;
        plan.check_axis()?;
        Ok(plan)
    }

    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.first_seed..self.first_seed + u64::from(self.repeat)
    }

    /// A method's spec with a seed and, where it is searched, with a value, at a point of the axis.
    pub fn spec(&self, method: &Method, value: Option<&str>, point: Option<&str>, seed: u64) -> Result<Spec> {
        let mut sets = self.sets.clone();
        if let (Some(axis), Some(point)) = (&self.axis, point) {
            sets.extend(axis.sets(point, seed));
        }
        if let (Some(search), Some(value)) = (&method.search, value) {
            sets.push(format!("{}={value}", search.key));
        }
        sets.push(format!("train.seed={seed}"));
        Ok(spec::load(&method.path, &sets)?.spec)
    }

    /// Every value of every search makes a spec.
    fn check_searches(&self) -> Result<()> {
        for method in &self.methods {
            for value in method.search.iter().flat_map(|s| &s.values) {
                self.spec(method, Some(value), None, self.first_seed)?;
            }
        }
        if self.methods.iter().any(|m| m.search.is_some()) { self.check_search_by() } else { Ok(()) }
    }

    /// Every value of the axis makes a spec of every method, and none sets what another option does.
    fn check_axis(&self) -> Result<()> {
        let Some(axis) = &self.axis else { return Ok(()) };
        for method in &self.methods {
            if method.search.as_ref().is_some_and(|s| s.key == axis.key) {
                bail!("`--axis {}`: `{}` has a search of the same key", axis.key, method.name);
            }
            for point in &axis.values {
                same_stages(&self.methods[0], &Method { spec: self.spec(method, None, Some(point), self.first_seed)?, ..method.clone() })?;
            }
        }
        Ok(())
    }

    fn check_search_by(&self) -> Result<()> {
        let (parts, targets) = (self.search_by.split('.').collect::<Vec<_>>(), targets(&self.methods[0].spec));
        let known: [&[&str]; 3] = [&targets, &SPACES, &Summary::METRICS];
        if let Some((part, known)) = parts.iter().zip(known).find(|(part, known)| !known.contains(part)) {
            let hint = did_you_mean(part, known).map(|h| format!("; {h}")).unwrap_or_default();
            bail!("`--search-by {}`: no `{part}` among {}{hint}", self.search_by, known.join(", "));
        }
        if parts.len() != 3 {
            bail!("`--search-by {}`: expected `<stage>.<space>.<metric>`, as in `{}.conditional.auc`", self.search_by, targets.join("|"));
        }
        Ok(())
    }
}

fn targets(spec: &Spec) -> Vec<&str> {
    spec.stages.iter().map(|s| s.name.as_str()).chain(spec.outcomes.iter().map(|o| o.name.as_str())).collect()
}

/// Gives each search to its method.
fn searches(texts: &[String], methods: &mut [Method]) -> Result<()> {
    for text in texts {
        let (name, search) = Search::parse(text)?;
        let names: Vec<String> = methods.iter().map(|m| m.name.clone()).collect();
        let Some(method) = methods.iter_mut().find(|m| m.name == name) else {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let hint = did_you_mean(&name, &names).map(|h| format!("; {h}")).unwrap_or_default();
            bail!("`--search {text}`: no spec is called `{name}`{hint}; there are: {}", names.join(", "));
        };
        if method.search.is_some() {
            bail!("`--search {text}`: `{name}` has a search already; one setting is searched at a time");
        }
        method.search = Some(search);
    }
    Ok(())
}
