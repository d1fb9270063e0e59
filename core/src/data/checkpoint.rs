//! Where an interrupted [`super::prepare()`] goes on.
//!
//! A checkpoint says which inputs and how many chunks of the next one are encoded, and how far each file was written then. Files are brought to the
//! disk before it, and it takes the place of the one before in one step: a process may end at any moment, and there is a whole checkpoint, whose files
//! hold at least what it says. What is behind that in them is cut off.

use super::layout::Layout;
use super::left_out::LeftOut;
use super::source::Input;
use super::store::{StoredInput, WriterState};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};

const FILE: &str = "checkpoint.json";
const ASIDE: &str = "checkpoint.json.new";
/// Changes whenever it, or what it points to, means something else.
const FORMAT: u32 = 1;

/// The data that a store is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Version of the program: another may cut its inputs into other chunks.
    version: String,
    /// The store's name.
    pub fingerprint: String,
    /// What is read, and as what.
    form: String,
    inputs: Vec<SeenInput>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SeenInput {
    name: String,
    path: Option<PathBuf>,
    fingerprint: String,
    bytes: u64,
}

/// What an interrupted process has left, beside what is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kinship {
    /// The same work.
    Same,
    /// The same work on inputs of which this one has changed since.
    Changed(String),
    /// Other work.
    Other,
}

impl Identity {
    pub(super) fn of(inputs: &[Input], layout: &Layout, fingerprint: &str) -> Self {
        let one = |input: &Input| SeenInput {
            name: input.name.clone(),
            path: input.path.as_ref().map(|p| p.canonicalize().unwrap_or_else(|_| p.clone())),
            fingerprint: input.fingerprint.clone(),
            bytes: input.bytes,
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fingerprint: fingerprint.to_owned(),
            form: layout.encoded_form(),
            inputs: inputs.iter().map(one).collect(),
        }
    }

    /// What work of another process is to this one.
    pub(super) fn kinship(&self, left: &Self) -> Kinship {
        if self.fingerprint == left.fingerprint && self.version == left.version {
            return Kinship::Same;
        }
        let same_paths = self.inputs.iter().map(|i| &i.path).eq(left.inputs.iter().map(|i| &i.path));
        if self.form != left.form || !same_paths || self.inputs.iter().any(|i| i.path.is_none()) {
            return Kinship::Other;
        }
        let mut pairs = self.inputs.iter().zip(&left.inputs);
        let changed = pairs.find(|(now, then)| (&now.fingerprint, now.bytes) != (&then.fingerprint, then.bytes));
        changed.map_or(Kinship::Other, |(now, _)| Kinship::Changed(now.name.clone()))
    }
}

/// How far the inputs are encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// Inputs that are done.
    pub done: Vec<StoredInput>,
    /// Chunks of the next one that are done too.
    pub chunks: usize,
    /// Rows, of all inputs.
    pub rows: u64,
    /// Bytes, of all inputs, about.
    pub bytes: u64,
}

/// `checkpoint.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    format: u32,
    pub identity: Identity,
    pub reached: Reached,
    pub left_out: LeftOut,
    /// `None` until its files are on the disk.
    pub writer: Option<WriterState>,
}

impl Checkpoint {
    pub(super) fn new(identity: &Identity, reached: &Reached, left_out: &LeftOut) -> Self {
        Self { format: FORMAT, identity: identity.clone(), reached: reached.clone(), left_out: left_out.clone(), writer: None }
    }

    /// The checkpoint of a folder, if it has one that can be read.
    pub(super) fn read(dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(dir.join(FILE)).ok()?;
        serde_json::from_str(&text).ok().filter(|c: &Self| c.format == FORMAT && c.writer.is_some())
    }

    /// Takes the place of the checkpoint before.
    ///
    /// # Errors
    /// The folder cannot be written; then the one before is still there.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let (path, aside) = (dir.join(FILE), dir.join(ASIDE));
        let text = serde_json::to_string(self)?;
        let replace = || {
            std::fs::write(&aside, text)?;
            File::open(&aside)?.sync_all()?;
            std::fs::rename(&aside, &path)?;
            sync_folder(dir)
        };
        replace().with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// The store is whole, and there is nothing to go on with.
    pub(super) fn remove(dir: &Path) -> anyhow::Result<()> {
        for path in [dir.join(ASIDE), dir.join(FILE)] {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot remove `{}`", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Names of files are on the disk when their folder is. Elsewhere folders cannot be opened.
fn sync_folder(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}
