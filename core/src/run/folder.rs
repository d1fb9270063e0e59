//! Where runs are.

use super::{Manifest, Status, names};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    /// Its path.
    pub path: PathBuf,
}
impl RunFolder {
    /// Makes a new folder.
    ///
    /// # Errors
    /// The folder exists and is not empty: a run is never overwritten.
    pub fn create(path: &Path) -> Result<Self> {
        if path.is_file() {
            bail!("`{}` is a file; `--out` names a folder for the run", path.display());
        }
        if path.is_dir() && fs::read_dir(path).with_context(|| format!("reading `{}`", path.display()))?.next().is_some() {
            let shown = path.display();
            match Self::open(path).and_then(|folder| Manifest::load(&folder)).map(|m| m.status) {
                Ok(Status::Finished) => bail!("`{shown}` holds a run, and a run is never overwritten; name another folder with `--out`"),
                Ok(_) => bail!(
                    "`{shown}` holds a run that is not finished, and a run is never overwritten; name another folder with `--out`, or go on \
                     with `esmm-funnel resume {shown}`"
                ),
                Err(_) => bail!("`{shown}` is not empty, and a run has a folder of its own; name another one with `--out`"),
            }
        }
        fs::create_dir_all(path.join(names::CHECKPOINTS)).with_context(|| format!("making the run folder `{}`", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }
    /// Opens a folder that holds a run.
    ///
    /// # Errors
    /// There is none.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            bail!("there is no run folder `{}`", path.display());
        }
        if !path.join(names::MANIFEST).is_file() {
            bail!("`{}` holds no run: there is no `{}` in it", path.display(), names::MANIFEST);
        }
        Ok(Self { path: path.to_owned() })
    }
    /// A file of the run, by its name.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
    /// The folder of checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join(names::CHECKPOINTS)
    }
}

/// A run by path, or `@last`: the newest run under `runs`.
///
/// # Errors
/// No such run.
pub fn find_run(name: &str, runs: &Path) -> Result<RunFolder> {
    if name != "@last" {
        return RunFolder::open(Path::new(name));
    }
    let mut newest: Option<(std::time::SystemTime, PathBuf)> = None;
    let mut folders = vec![runs.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let manifest = path.join(names::MANIFEST);
            if let Ok(made) = fs::metadata(&manifest).and_then(|m| m.modified()) {
                if newest.as_ref().is_none_or(|(t, p)| (made, &path) > (*t, p)) {
                    newest = Some((made, path));
                }
            } else if path.is_dir() && folder.components().count() < runs.components().count() + 3 {
                folders.push(path);
            }
        }
    }
    match newest {
        Some((_, path)) => RunFolder::open(&path),
        None => bail!("there is no run under `{}` yet", runs.display()),
    }
}
