//! Which files are read, and which common features belong to which skeleton.

use super::parse::Holds;
use super::{Aliccp, Form};
use crate::sources::{expand, fault};
use anyhow::Context;
use std::path::{Path, PathBuf};

const SKELETON: &str = "sample_skeleton";
const COMMON: &str = "common_features";

/// A file and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawFile {
    pub path: PathBuf,
    pub holds: Holds,
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a file is named like one of the raw files.
pub(super) fn is_raw(path: &Path) -> bool {
    let name = name_of(path);
    name.contains(SKELETON) || name.contains(COMMON)
}

/// Whether rows of a file are test rows.
pub(super) fn is_test(path: &Path) -> bool {
    name_of(path).contains("test")
}

/// The files, in reading order: common features before the skeletons they belong to.
pub(super) fn files(settings: &Aliccp, given: Option<&[PathBuf]>) -> anyhow::Result<Vec<RawFile>> {
    let stated = if settings.common.is_empty() { Vec::new() } else { expand(None, &settings.common, "aliccp", "csv")? };
    let named = match (given, &settings.dir) {
        (Some(given), _) => expand(Some(given), &[], "aliccp", "csv")?,
        (None, _) if !settings.skeleton.is_empty() => expand(None, &settings.skeleton, "aliccp", "csv")?,
        (None, Some(dir)) => in_folder(Path::new(dir))?,
        (None, None) => {
            let help = "`dir = \"FOLDER\"` with sample_skeleton_*.csv and common_features_*.csv, or `skeleton` and `common`";
            return Err(fault("no-files", "the `aliccp` source needs `dir` or `skeleton`", help));
        }
    };
    if settings.form == Form::Text {
        return Ok(named.into_iter().map(|path| RawFile { path, holds: Holds::Text }).collect());
    }
    let (mut common, skeletons): (Vec<PathBuf>, Vec<PathBuf>) =
        named.into_iter().partition(|p| name_of(p).contains(COMMON) || stated.contains(p));
    for path in stated {
        if !common.contains(&path) {
            common.push(path);
        }
    }
    let mut all: Vec<RawFile> = Vec::new();
    let mut serving: Vec<PathBuf> = Vec::new();
    for path in skeletons {
        let needed = serve(&path, &common)?;
        if needed != serving {
            all.extend(needed.iter().map(|path| RawFile { path: path.clone(), holds: Holds::Common }));
            serving = needed;
        }
        all.push(RawFile { path, holds: Holds::Skeleton });
    }
    if all.is_empty() {
        let help = "name a file of rows, as in `sample_skeleton_test.csv`; its common features are found beside it";
        return Err(fault("no-files", "no skeleton among the files", help));
    }
    Ok(all)
}

/// The common features of a skeleton: the file of the same name, else all that are stated.
fn serve(skeleton: &Path, common: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let name = name_of(skeleton);
    let twin = name.contains(SKELETON).then(|| skeleton.with_file_name(name.replace(SKELETON, COMMON)));
    let spellings = twin.iter().flat_map(|twin| {
        let text = twin.display().to_string();
        let other = text.strip_suffix(".gz").map_or_else(|| format!("{text}.gz"), str::to_owned);
        [twin.clone(), PathBuf::from(other)]
    });
    if let Some(found) = spellings.into_iter().find(|p| common.contains(p) || p.is_file()) {
        return Ok(vec![found]);
    }
    if common.is_empty() {
        let wanted = twin.map_or_else(|| "a file of common features".to_owned(), |t| format!("`{}`", t.display()));
        let message = format!("`{}` has no common features: there is no {wanted}", skeleton.display());
        return Err(fault("no-files", message, "name it: `common = [\"common_features_train.csv\"]`"));
    }
    Ok(common.to_vec())
}

/// The skeletons of a folder, those of test last; of a file that is there plain and compressed, the plain one.
fn in_folder(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(dir).with_context(|| format!("cannot list the folder `{}`", dir.display()))?;
    let mut found = Vec::new();
    for entry in listed {
        let path = entry.with_context(|| format!("cannot list the folder `{}`", dir.display()))?.path();
        let name = name_of(&path);
        if name.starts_with(SKELETON) && [".csv", ".txt", ".gz"].iter().any(|e| name.ends_with(e)) {
            found.push(path);
        }
    }
    found.sort_by_key(|p| (is_test(p), name_of(p)));
    found.dedup_by(|later, earlier| name_of(later).strip_suffix(".gz") == Some(&name_of(earlier)));
    if found.is_empty() {
        let message = format!("no skeleton in the folder `{}`", dir.display());
        return Err(fault("no-files", message, "it should hold sample_skeleton_train.csv or sample_skeleton_train.csv.gz, and so on"));
    }
    Ok(found)
}
