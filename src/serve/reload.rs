//! Which run answers, and how another takes its place: requests under way keep the model they started with.

use super::metrics::Metrics;
use super::model::Served;
use crate::ui::Ui;
use anyhow::{Context, Result};
use esmm_funnel_core::run::{Manifest, RunFolder, Status, find_run, names};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

/// Where runs are looked for by `@last`.
const RUNS: &str = "runs";

/// The run that a name means now: a run folder, a link to one, `@last`, or a folder of runs, of which the newest finished one counts.
///
/// # Errors
/// There is none.
pub fn find(target: &str) -> Result<PathBuf> {
    let path = Path::new(target);
    let found = if target == "@last" {
        find_run(target, Path::new(RUNS))?.path
    } else if path.is_dir() && !path.join(names::MANIFEST).is_file() {
        newest(path).with_context(|| format!("`{target}` is no run, and there is no finished run in it"))?
    } else {
        RunFolder::open(path)?.path
    };
    found.canonicalize().with_context(|| format!("`{}`", found.display()))
}

/// The finished run that was started last, two folders down at most.
fn newest(folder: &Path) -> Option<PathBuf> {
    let mut best: Option<(String, PathBuf)> = None;
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // What is hidden is being written.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if let Ok(manifest) = RunFolder::open(&path).and_then(|f| Manifest::load(&f)) {
                let candidate = (manifest.created, path);
                if manifest.status == Status::Finished && best.as_ref().is_none_or(|b| candidate > *b) {
                    best = Some(candidate);
                }
            } else if depth == 0 && path.is_dir() {
                folders.push((path, 1));
            }
        }
    }
    best.map(|(_, path)| path)
}

/// Changes when the run that a name means does, or its files do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(PathBuf, Vec<Option<SystemTime>>);
impl Stamp {
    fn of(target: &str) -> Option<Self> {
        let path = find(target).ok()?;
        let time = |path: PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
        let times = vec![time(path.clone()), time(path.join(names::MANIFEST)), time(path.join(names::CHECKPOINTS).join("index.json"))];
        Some(Self(path, times))
    }
}

/// The model that answers.
pub struct Models {
    target: String,
    current: RwLock<Arc<Served>>,
    seen: Mutex<Option<Stamp>>,
    metrics: Arc<Metrics>,
    ui: Ui,
}

impl Models {
    /// Loads the run that a name means.
    ///
    /// # Errors
    /// There is none, or it is not finished, or its files are damaged.
    pub fn open(target: &str, metrics: Arc<Metrics>, ui: Ui) -> Result<Self> {
        let seen = Stamp::of(target);
        let served = Served::open(find(target)?)?;
        Ok(Self { target: target.to_owned(), current: RwLock::new(Arc::new(served)), seen: Mutex::new(seen), metrics, ui })
    }

    /// The model for a new request.
    pub fn current(&self) -> Arc<Served> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reloads if the run changed since it was looked at last.
    pub fn look(&self) {
        let now = Stamp::of(&self.target);
        let changed = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = now.is_some() && *seen != now;
            if changed {
                seen.clone_from(&now);
            }
            changed
        };
        if changed {
            self.reload();
        }
    }

    /// Loads the run that the name means now. If it cannot take the place of the one that answers, that one stays, and the story says why.
    pub fn reload(&self) {
        let before = self.current();
        let stays = |at: usize, why: &str| {
            self.metrics.reloads[at].fetch_add(1, Relaxed);
            self.ui.story(&format!("warning: not reloaded, model {} goes on: {why}", before.online.version()));
        };
        let loaded = find(&self.target).and_then(|path| Ok((Served::open(path.clone())?, path)));
        match loaded {
            Err(error) => stays(2, &crate::ui::chain(&error)),
            Ok((served, path)) => match before.fits(&served) {
                Err(why) => stays(1, &format!("`{}`: {why}; start a server of its own for it", path.display())),
                Ok(()) if served.online.version() == before.online.version() && served.run == before.run => {
                    self.ui.story(&format!("model {} is unchanged", served.online.version()));
                }
                Ok(()) => {
                    let version = served.online.version().to_owned();
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
                    self.metrics.reloads[0].fetch_add(1, Relaxed);
                    self.ui.story(&format!("model {version} of `{}` answers now", path.display()));
                }
            },
        }
    }
}
