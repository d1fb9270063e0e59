//! Checkpoints: weights and optimiser state as safetensors, and where in the data training stands.
//!
//! `checkpoints/step-00000100/{model,optimizer}.safetensors, state.json`, and `checkpoints/index.json`, which says which one is the latest,
//! the best and the final one. A checkpoint is written aside as a folder, synced, and renamed; `state.json` holds the size and hash of the
//! other files, so that one which was cut short is told from a whole one.

use super::files::{replace_file, write_aside};
use anyhow::{Context, Result, bail};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const INDEX: &str = "index.json";

/// Named tensors to be written: shape and values.
pub type Tensors<'a> = Vec<(String, Vec<usize>, std::borrow::Cow<'a, [f32]>)>;

/// Tensors read from a file: shape and values, by name.
pub type Loaded = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Which checkpoints there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointIndex {
    /// Where training goes on.
    pub latest: Option<String>,
    /// Best `monitor` so far.
    pub best: Option<String>,
    /// What a finished run scores with.
    #[serde(rename = "final")]
    pub last: Option<String>,
}
impl CheckpointIndex {
    /// Reads it; empty if there is none yet.
    ///
    /// # Errors
    /// It is there and not readable.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(INDEX);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("`{}` is damaged", path.display()))
    }
    /// Writes it, and removes checkpoints that it does not name.
    ///
    /// # Errors
    /// The file system.
    pub fn save(&self, folder: &Path) -> Result<()> {
        replace_file(&folder.join(INDEX), |w| Ok(serde_json::to_writer_pretty(w, self)?))?;
        for entry in fs::read_dir(folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let named = [&self.latest, &self.best, &self.last].into_iter().flatten().any(|n| *n == name);
            if entry.path().is_dir() && !named {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Size and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    bytes: u64,
    xxh3: String,
}

/// Where training stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointState {
    format: u32,
    /// Steps done.
    pub step: u64,
    /// Epoch under way, from 0.
    pub epoch: u64,
    /// Where in the epoch's order of rows the next batch starts.
    pub position: u64,
    /// Best value of `monitor` so far, and its step.
    pub best: Option<(f64, u64)>,
    /// Evaluations since then.
    pub evals_without_gain: usize,
    /// Seconds of training so far.
    pub train_seconds: f64,
    /// Fingerprint of the data.
    pub data: String,
    files: BTreeMap<String, Stamp>,
}
impl CheckpointState {
    /// At the start of training on this data.
    #[must_use]
    pub fn start(data: String) -> Self {
        Self {
            format: FORMAT,
            step: 0,
            epoch: 0,
            position: 0,
            best: None,
            evals_without_gain: 0,
            train_seconds: 0.0,
            data,
            files: BTreeMap::new(),
        }
    }
}

/// A checkpoint's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    path: PathBuf,
}
impl Checkpoint {
    /// Its folder name.
    #[must_use]
    pub fn name_of(step: u64) -> String {
        format!("step-{step:08}")
    }
    /// The one of this name under `folder`.
    #[must_use]
    pub fn at(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name) }
    }

    /// Writes a checkpoint; gives its name.
    ///
    /// # Errors
    /// The file system; what was there before is untouched.
    pub fn write(folder: &Path, state: &CheckpointState, model: &Tensors<'_>, optimizer: &Tensors<'_>) -> Result<String> {
        let name = Self::name_of(state.step);
        let path = folder.join(&name);
        let written = write_aside(&path, |aside| {
            fs::create_dir_all(aside)?;
            let mut state = state.clone();
            for (file, tensors) in [(MODEL, model), (OPTIMIZER, optimizer)] {
                let path = aside.join(file);
                write_tensors(&path, tensors)?;
                state.files.insert(file.into(), stamp(&path)?);
            }
            replace_file(&aside.join(STATE), |w| Ok(serde_json::to_writer_pretty(w, &state)?))
        });
        if let Err(error) = written {
            bail!(
                "the checkpoint `{}` could not be written: {}; the one before is untouched: free some space, then `esmm-funnel resume` goes on",
                path.display(),
                error.root_cause()
            );
        }
        Ok(name)
    }

    /// Reads where training stood, and checks that the files are whole.
    ///
    /// # Errors
    /// A file that is missing, cut short or changed: the message names it.
    pub fn state(&self) -> Result<CheckpointState> {
        let path = self.path.join(STATE);
        let text = fs::read_to_string(&path).with_context(|| format!("reading the checkpoint's `{}`", path.display()))?;
        let state: CheckpointState =
            serde_json::from_str(&text).with_context(|| format!("the checkpoint's `{}` is damaged", path.display()))?;
        if state.format != FORMAT {
            bail!("`{}` has format {}, this version reads {FORMAT}", path.display(), state.format);
        }
        for (file, expected) in &state.files {
            let path = self.path.join(file);
            let bytes = fs::metadata(&path).with_context(|| format!("the checkpoint lacks `{}`", path.display()))?.len();
            if bytes != expected.bytes {
                bail!(
                    "the checkpoint file `{}` is damaged: it has {bytes} bytes, {} were written; restore it from a copy, or train again",
                    path.display(),
                    expected.bytes
                );
            }
            if stamp(&path)?.xxh3 != expected.xxh3 {
                bail!(
                    "the checkpoint file `{}` is damaged: its content is not what was written; restore it from a copy, or train again",
                    path.display()
                );
            }
        }
        Ok(state)
    }
    /// Reads the weights.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn model(&self) -> Result<Loaded> {
        read_tensors(&self.path.join(MODEL))
    }
    /// Reads the optimiser's state.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn optimizer(&self) -> Result<Loaded> {
        read_tensors(&self.path.join(OPTIMIZER))
    }
}

/// Writes tensors as a safetensors file.
pub(crate) fn write_tensors(path: &Path, tensors: &Tensors<'_>) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, shape, values)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?)))
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(views, None, path)?;
    File::open(path)?.sync_all()?;
    Ok(())
}

fn read_tensors(path: &Path) -> Result<Loaded> {
    let read = || -> Result<_> {
        let bytes = fs::read(path)?;
        let file = safetensors::SafeTensors::deserialize(&bytes)?;
        file.tensors()
            .into_iter()
            .map(|(name, view)| {
                if view.dtype() != Dtype::F32 {
                    bail!("tensor `{name}` is {:?}, expected F32", view.dtype());
                }
                Ok((name, (view.shape().to_vec(), bytemuck::pod_collect_to_vec(view.data()))))
            })
            .collect()
    };
    read().with_context(|| format!("reading `{}`", path.display()))
}

fn stamp(path: &Path) -> Result<Stamp> {
    let mut file = File::open(path)?;
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    let (mut buffer, mut bytes) = (vec![0u8; 1 << 20], 0u64);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
    Ok(Stamp { bytes, xxh3: format!("{:016x}", hash.digest()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, step: u64, value: f32) -> String {
        let state = CheckpointState { step, ..CheckpointState::start("d".into()) };
        let tensors: Tensors<'_> = vec![("a.weight".into(), vec![2, 3], vec![value; 6].into())];
        Checkpoint::write(folder, &state, &tensors, &vec![]).unwrap()
    }

    #[test]
    fn round_trip_and_housekeeping() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<_> = (1..4).map(|s| write(dir.path(), s, s as f32)).collect();
        let index = CheckpointIndex { latest: Some(names[2].clone()), best: Some(names[0].clone()), last: None };
        index.save(dir.path()).unwrap();
        assert_eq!(CheckpointIndex::load(dir.path()).unwrap(), index);
        let there = |i: usize| dir.path().join(&names[i]).is_dir();
        assert!(there(0) && !there(1) && there(2));
        let checkpoint = Checkpoint::at(dir.path(), &names[2]);
        assert_eq!(checkpoint.state().unwrap().step, 3);
        assert_eq!(checkpoint.model().unwrap()["a.weight"], (vec![2, 3], vec![3.0; 6]));
    }

    #[test]
    fn a_file_cut_in_half_or_changed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let name = write(dir.path(), 1, 1.0);
        let file = dir.path().join(&name).join(MODEL);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let error = Checkpoint::at(dir.path(), &name).state().unwrap_err().to_string();
        assert!(error.contains("model.safetensors") && error.contains("damaged"), "{error}");
        let mut changed = bytes;
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&file, &changed).unwrap();
        assert!(Checkpoint::at(dir.path(), &name).state().unwrap_err().to_string().contains("not what was written"));
    }
}
