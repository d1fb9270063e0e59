//! The runs of a comparison: found, held against each other, and measured one by one on the same rows.

use super::Args;
use super::resamples::{Draw, Progress, measure_run};
use crate::cli::Global;
use crate::commands::{RUNS, encoding, preparing};
use crate::progress::RowProgress;
use crate::ui::{Ui, count, plural};
use anyhow::{Context, Result, bail};
use esmm_funnel_core::data::{Dataset, Part};
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::diagnostic::suggest::did_you_mean;
use esmm_funnel_core::metrics::{Contestant, Resampled, Scores, SpaceColumns, columns, placements};
use esmm_funnel_core::run::{Manifest, RunFolder, find_run, names};
use esmm_funnel_core::score::Scorer;
use esmm_funnel_core::spec::{self, OrphanLabels, Spec, diff};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A run.
pub struct Run {
    pub folder: RunFolder,
    pub seed: u64,
    pub manifest: Manifest,
    pub spec: Spec,
}

/// One side of a comparison: a run, or runs of several seeds.
pub struct Side {
    pub name: String,
    pub runs: Vec<Run>,
    /// Per space `stage.space`: mean prediction and rate of bins of equal number, of its first run.
    pub reliability: BTreeMap<String, Vec<[f64; 2]>>,
}

/// The rows that all were scored on.
pub struct Rows {
    pub count: u64,
    pub by: Option<String>,
    /// What was drawn: rows, or values of `by`.
    pub units: usize,
    /// What is not compared, and why.
    pub notes: Vec<String>,
    /// Files, where they are not the test part.
    pub files: Vec<PathBuf>,
}

/// All sides, measured.
pub struct MeasuredSides {
    pub contestants: Vec<Contestant>,
    /// Per space: the labels of its rows.
    pub labels: Vec<Vec<u8>>,
    pub rows: Rows,
}

/// Finds the runs.
pub fn open(texts: &[String]) -> Result<Vec<Side>> {
    let mut found: Vec<(PathBuf, Vec<Run>)> = Vec::new();
    for text in texts {
        let folders = folders(text)?;
        let runs = folders.into_iter().map(open_run).collect::<Result<Vec<_>>>()?;
        let path = if text == "@last" { runs[0].folder.path.clone() } else { Path::new(text).components().collect() };
        if found.iter().any(|(other, _)| *other == path) {
            bail!("`{}` is given twice; a run does not differ from itself", path.display());
        }
        found.push((path, runs));
    }
    let names = short_names(&found.iter().map(|(path, _)| path.as_path()).collect::<Vec<_>>());
    Ok(found.into_iter().zip(names).map(|((_, runs), name)| Side { name, runs, reliability: BTreeMap::new() }).collect())
}

/// The run of this name, or those in its folders `seed-<n>`.
fn folders(text: &str) -> Result<Vec<RunFolder>> {
    let path = Path::new(text);
    if text == "@last" || !path.is_dir() || path.join(names::MANIFEST).is_file() {
        return Ok(vec![find_run(text, Path::new(RUNS))?]);
    }
    let mut seeds: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("reading `{text}`"))? {
        let entry = entry.with_context(|| format!("reading `{text}`"))?.path();
        let seed = entry.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("seed-")?.parse().ok());
        seeds.extend(seed.filter(|_| entry.join(names::MANIFEST).is_file()).map(|seed| (seed, entry)));
    }
    if seeds.is_empty() {
        bail!("`{text}` holds no run: there is no `{}` in it, and no folder `seed-<n>` with one", names::MANIFEST);
    }
    seeds.sort();
    seeds.iter().map(|(_, path)| RunFolder::open(path)).collect()
}

fn open_run(folder: RunFolder) -> Result<Run> {
    let manifest = Manifest::load(&folder)?;
    let spec = spec::load(&folder.file(names::RESOLVED), &[])?.spec;
    Ok(Run { seed: spec.train.seed, folder, manifest, spec })
}

/// Paths without what all begin with.
fn short_names(paths: &[&Path]) -> Vec<String> {
    let parts: Vec<Vec<Component<'_>>> = paths.iter().map(|p| p.components().collect()).collect();
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(1);
    let same = (0..shortest.saturating_sub(1)).take_while(|&i| parts.iter().all(|p| p[i] == parts[0][i])).count();
    parts.iter().map(|p| p[same..].iter().collect::<PathBuf>().display().to_string()).collect()
}

fn targets(spec: &Spec) -> Vec<&str> {
    spec.stages.iter().map(|s| s.name.as_str()).chain(spec.outcomes.iter().map(|o| o.name.as_str())).collect()
}

impl Side {
    fn spec(&self) -> &Spec {
        &self.runs[0].spec
    }
    /// Names of its stages and outcomes.
    pub fn targets(&self) -> Vec<&str> {
        targets(self.spec())
    }
}

/// Before any work: all have a stage in common and, without other files, the same test rows.
pub fn agree(sides: &[Side], own_test: bool) -> Result<()> {
    let first = &sides[0];
    for side in &sides[1..] {
        if !side.targets().iter().any(|t| first.targets().contains(t)) {
            let (a, b) = (first.targets().join(", "), side.targets().join(", "));
            bail!("`{}` has the stages {a}, and `{}` has {b}: there is none in common to compare", first.name, side.name);
        }
    }
    if !own_test {
        return Ok(());
    }
    let known = &first.runs[0];
    for run in sides.iter().flat_map(|s| &s.runs).skip(1) {
        if let Some(why) = other_rows(known, run) {
            let (a, b) = (known.folder.path.display(), run.folder.path.display());
            bail!("`{a}` and `{b}` were tested on different rows: {why}; name files with `--data` that both are to score");
        }
    }
    Ok(())
}

/// Why two runs' test parts are not the same rows in the same order.
fn other_rows(a: &Run, b: &Run) -> Option<String> {
    let content = |run: &Run| run.manifest.data.inputs.iter().map(|i| i.fingerprint.clone()).collect::<Vec<_>>();
    let listed = |run: &Run| {
        let names: Vec<&str> = run.manifest.data.inputs.iter().map(|i| i.name.as_str()).collect();
        if names.len() > 3 { format!("{} and {} more", names[..3].join(", "), names.len() - 3) } else { names.join(", ") }
    };
    if content(a) != content(b) {
        let (x, y) = (listed(a), listed(b));
        return Some(if x == y {
            format!("{x} had other content for one than for the other")
        } else {
            format!("one read {x}, the other {y}")
        });
    }
    let drops = |spec: &Spec| spec.data.orphan_labels == OrphanLabels::DropRow;
    let matters = |key: &str| key.starts_with("split") || (key == "data.orphan_labels" && drops(&a.spec) != drops(&b.spec));
    let show = |v: Option<toml::Value>| v.map_or_else(|| "nothing".into(), |v| format!("`{v}`"));
    let (key, old, new) = diff(&a.spec, &b.spec).into_iter().find(|(key, _, _)| matters(key))?;
    Some(format!("`{key}` is {} for one and {} for the other", show(old), show(new)))
}

/// What all sides are held against: the first run's rows.
struct Reference {
    spaces: Vec<SpaceColumns>,
    weights: Vec<f32>,
    rows: usize,
    draw: Draw,
}

/// Scores and resamples every run, one after the other. `None`: interrupted.
pub fn measure(sides: &mut [Side], args: &Args, store: &Path, global: &Global, ui: &Ui) -> Result<Option<MeasuredSides>> {
    let mut reference: Option<Reference> = None;
    let mut notes = Vec::new();
    let mut contestants: Vec<Contestant> = Vec::new();
    let runs: usize = sides.iter().map(|s| s.runs.len()).sum();
    let mut done = 0;
    for side in sides.iter_mut() {
        let mut contestant = Contestant { name: side.name.clone(), members: Vec::new(), placements: Vec::new() };
        for run in &side.runs {
            ui.story(&format!("scoring with {}", run.folder.path.display()));
            let (dataset, scores, scorer) = score(run, args, store, global, ui)?;
            let spaces = distinct(columns(&scorer.graph, &scores));
            let known = match &mut reference {
                Some(known) => known,
                None => reference.insert(Reference::of(&dataset, &scores, &spaces, &scorer.spec, args)?),
            };
            known.same_rows(run, &scores, args)?;
            known.keep_common(&side.name, &spaces, &mut notes)?;
            drop((dataset, scores));
            let spaces: Vec<SpaceColumns> = spaces.into_iter().filter(|s| known.spaces.iter().any(|k| same_place(s, k))).collect();
            if contestant.members.first().is_some_and(|m| m.spaces.len() != spaces.len()) {
                bail!("`{}` holds runs that differ in more than their seed: {}", side.name, notes.join("; "));
            }
            if contestant.members.is_empty() {
                side.reliability = spaces.iter().map(|s| (place(s), reliability(s))).collect();
                contestant.placements = vec![None; spaces.len()];
            }
            let progress = RowProgress::new(ui, "resampling");
            let shown = Progress { line: &progress, done, runs };
            let Some(member) = measure_run(run.seed, &spaces, known.weights(), &known.draw, &shown) else { return Ok(None) };
            contestant.members.push(member);
            if known.weights().is_none() && known.draw.clusters.is_none() {
                let n = side.runs.len() as f64;
                spaces.iter().zip(&mut contestant.placements).for_each(|(s, mean)| add_placements(s, mean, n));
            }
            done += 1;
        }
        contestants.push(contestant);
    }
    let Some(Reference { spaces, rows, draw, .. }) = reference else { bail!("there is no run") };
    notes.extend(only_in(sides));
    for contestant in &mut contestants {
        keep_spaces(contestant, &spaces);
    }
    let labels = spaces.into_iter().map(|s| s.labels).collect();
    let rows = Rows { count: rows as u64, by: args.by.clone(), units: draw.units(), notes, files: args.data.clone() };
    Ok(Some(MeasuredSides { contestants, labels, rows }))
}

/// Leaves a contestant the spaces that all have; a later run may have had fewer than it.
fn keep_spaces(contestant: &mut Contestant, spaces: &[SpaceColumns]) {
    let kept = |s: &Resampled| spaces.iter().any(|k| k.target == s.target && k.space == s.space);
    let mut own = contestant.members[0].spaces.iter().map(kept);
    contestant.placements.retain(|_| own.next().unwrap_or(false));
    contestant.members.iter_mut().for_each(|m| m.spaces.retain(kept));
}

/// Without what would stand there twice: of a stage right after the row, the entire space is all rows with the same outcome.
fn distinct(mut spaces: Vec<SpaceColumns>) -> Vec<SpaceColumns> {
    let full: Vec<SpaceColumns> = spaces.iter().filter(|s| s.space == "full").cloned().collect();
    let twin = |s: &SpaceColumns| full.iter().any(|f| f.target == s.target && f.labels == s.labels && f.log_p == s.log_p);
    spaces.retain(|s| s.space != "entire" || !twin(s));
    spaces
}

/// `stage.space`.
fn place(space: &SpaceColumns) -> String {
    format!("{}.{}", space.target, space.space)
}

/// Adds a run's placements to their mean over `n` runs.
fn add_placements(space: &SpaceColumns, mean: &mut Option<Vec<f64>>, n: f64) {
    let Some(placed) = placements(&space.log_p, &space.labels) else { return };
    let mean = mean.get_or_insert_with(|| vec![0.0; placed.len()]);
    mean.iter_mut().zip(placed).for_each(|(m, p)| *m += p / n);
}

fn score(run: &Run, args: &Args, store: &Path, global: &Global, ui: &Ui) -> Result<(Dataset, Scores, Scorer)> {
    let scorer = Scorer::open(&run.folder, &cpu())?;
    let encoding = encoding(ui);
    let progress = |p| encoding.prepare(p);
    let options = preparing(store, global, &progress);
    let files = (!args.data.is_empty()).then_some(args.data.as_slice());
    let (dataset, scores) = scorer.score(files, &options).with_context(|| format!("scoring with `{}`", run.folder.path.display()))?;
    Ok((dataset, scores, scorer))
}

impl Reference {
    fn of(dataset: &Dataset, scores: &Scores, spaces: &[SpaceColumns], spec: &Spec, args: &Args) -> Result<Self> {
        let clusters = args.by.as_ref().map(|by| clusters(dataset, by, "--by")).transpose()?;
        let bare = |s: &SpaceColumns| SpaceColumns { log_p: Vec::new(), log_not_p: Vec::new(), ..s.clone() };
        let draw =
            Draw { clusters, rows: scores.len(), replicates: args.replicates, seed: args.seed, ece_bins: spec.metrics.ece_bins.get() };
        Ok(Self { spaces: spaces.iter().map(bare).collect(), weights: scores.weights.clone(), rows: scores.len(), draw })
    }

    fn weights(&self) -> Option<&[f32]> {
        (!self.weights.is_empty()).then_some(self.weights.as_slice())
    }

    /// Keeps the spaces that a run has too, on the same rows with the same labels, and notes the others.
    fn keep_common(&mut self, name: &str, own: &[SpaceColumns], notes: &mut Vec<String>) -> Result<()> {
        let before = notes.len();
        self.spaces.retain(|space| {
            let here = format!("{} {}", space.target, space.space);
            match own.iter().find(|s| same_place(s, space)) {
                Some(own) if own.rows == space.rows && own.labels == space.labels => return true,
                Some(_) => notes.push(format!("{here}: not compared; `{name}` has other rows or other labels there than the first run")),
                None => notes.push(format!("{here}: not compared; `{name}` has none")),
            }
            false
        });
        if self.spaces.is_empty() {
            bail!("there is nothing to compare: {}; name files with `--data` that all are to score", notes[before..].join("; "));
        }
        Ok(())
    }

    fn same_rows(&self, run: &Run, scores: &Scores, args: &Args) -> Result<()> {
        let path = run.folder.path.display();
        if scores.len() != self.rows {
            let remedy = if args.data.is_empty() {
                "name files with `--data` that all are to score"
            } else {
                "the runs leave out different rows of these files; see `data.orphan_labels` and what the source does with broken rows"
            };
            let (own, first) = (count(scores.len() as u64), plural(self.rows as u64, "row"));
            bail!("`{path}` scored {own} and the first run {first}; {remedy}");
        }
        if scores.weights != self.weights {
            bail!("`{path}` weighs its rows by another column than the first run (`data.weight`), so their metrics cannot be compared");
        }
        Ok(())
    }
}

/// The clusters of the test rows by a column; `option` is what asked for them.
pub fn clusters(dataset: &Dataset, column: &str, option: &str) -> Result<esmm_funnel_core::data::Clusters> {
    if let Some(clusters) = dataset.clusters(Part::Test, column)? {
        if clusters.count < 2 {
            bail!("`{option} {column}`: all rows have one value, so there is nothing to draw");
        }
        return Ok(clusters);
    }
    let known = dataset.cluster_columns();
    let hint = did_you_mean(column, &known).map(|h| format!("; {h}")).unwrap_or_default();
    bail!(
        "`{option} {column}`: the data keep no such column{hint}; they keep: {}; others are kept from training on with `metrics.gauc_by` or \
         `data.keys`",
        known.join(", ")
    )
}

fn same_place(a: &SpaceColumns, b: &SpaceColumns) -> bool {
    a.target == b.target && a.space == b.space
}

/// Which stages the others have and the first has not.
fn only_in(sides: &[Side]) -> Vec<String> {
    let first = sides[0].targets();
    let more = |side: &Side| side.targets().into_iter().filter(|t| !first.contains(t)).map(str::to_owned).collect::<Vec<_>>();
    let others = sides[1..].iter().map(|side| (more(side), &side.name)).filter(|(more, _)| !more.is_empty());
    others.map(|(more, name)| format!("{}: only in `{name}`, not compared", more.join(", "))).collect()
}

/// Mean prediction and rate of 15 bins of equal number, by ascending prediction.
fn reliability(space: &SpaceColumns) -> Vec<[f64; 2]> {
    const BINS: usize = 15;
    let mut order: Vec<usize> = (0..space.labels.len()).collect();
    order.sort_unstable_by(|a, b| space.log_p[*a].total_cmp(&space.log_p[*b]).then(a.cmp(b)));
    let n = order.len();
    let bins = (0..BINS).map(|b| &order[b * n / BINS..(b + 1) * n / BINS]).filter(|rows| !rows.is_empty());
    let mean = |rows: &[usize], of: &dyn Fn(usize) -> f64| rows.iter().map(|r| of(*r)).sum::<f64>() / rows.len() as f64;
    bins.map(|rows| [mean(rows, &|r| space.log_p[r].exp()), mean(rows, &|r| f64::from(space.labels[r]))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_differs() {
        let names = |paths: &[&str]| short_names(&paths.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(names(&["out/base/seed-1", "out/esmm/seed-1"]), ["base/seed-1", "esmm/seed-1"]);
        assert_eq!(names(&["runs/a", "b"]), ["runs/a", "b"]);
        assert_eq!(names(&["a", "a/b"]), ["a", "a/b"]);
    }
}
