//! Sources: where rows come from.

pub mod csv;
pub mod parquet;

use anyhow::Context;
use esmm_funnel_core::data::source::Input;
use esmm_funnel_core::diagnostic::{Diagnostic, Diagnostics};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A finding as an error.
pub(crate) fn fault(id: &'static str, message: impl Into<String>, help: &str) -> anyhow::Error {
    let finding = Diagnostic::error(id, message);
    Diagnostics::from(if help.is_empty() { finding } else { finding.help(help) }).into()
}

/// The files that paths and globs name, each once: globs in the order given, the files of one sorted.
pub(crate) fn expand(files: &[String], kind: &str, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    if files.is_empty() {
        return Err(fault("no-files", format!("the `{kind}` source needs `files`"), &format!("for example `files = [\"log.{ending}\"]`")));
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for pattern in files {
        let path = Path::new(pattern);
        if path.is_dir() {
            let help = format!("name its files, for example `{}/*.{ending}`", pattern.trim_end_matches('/'));
            return Err(fault("folder-as-file", format!("`{pattern}` is a folder"), &help));
        }
        if path.exists() {
            if !found.iter().any(|f| f == path) {
                found.push(path.to_owned());
            }
            continue;
        }
        let is_glob = pattern.contains(['*', '?', '[']);
        let paths = glob::glob(pattern).map_err(|e| fault("bad-glob", format!("`{pattern}` is no pattern: {}", e.msg), ""))?;
        let mut matched = paths.collect::<Result<Vec<_>, _>>().with_context(|| format!("cannot list `{pattern}`"))?;
        matched.retain(|p| p.is_file());
        if matched.is_empty() {
            let message = if is_glob { format!("no file matches `{pattern}`") } else { format!("no file `{pattern}`") };
            return Err(fault("no-files", message, "relative paths count from the folder of the file that states them"));
        }
        matched.sort();
        matched.retain(|p| !found.contains(p));
        found.append(&mut matched);
    }
    Ok(found)
}

/// A file as an input: its fingerprint is its size and modification time.
pub(crate) fn file_input(path: &Path, unit: &'static str) -> anyhow::Result<Input> {
    let name = path.display().to_string();
    let meta = std::fs::metadata(path).with_context(|| format!("cannot read `{name}`"))?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
    let fingerprint = format!("{} bytes, modified {changed}", meta.len());
    Ok(Input { name, path: Some(path.to_owned()), fingerprint, unit, bytes: meta.len() })
}

/// Refuses a file whose columns are not those of the first one; their order may differ.
pub(crate) fn same_columns(first: (&Path, &[String]), other: (&Path, &[String])) -> anyhow::Result<()> {
    let lacks = |of: &[String], names: &[String]| names.iter().filter(|n| !of.contains(n)).map(|n| format!("`{n}`")).collect::<Vec<_>>();
    let (missing, extra) = (lacks(other.1, first.1), lacks(first.1, other.1));
    let mut differences = Vec::new();
    if !missing.is_empty() {
        differences.push(format!("lacks {}", missing.join(", ")));
    }
    if !extra.is_empty() {
        differences.push(format!("also has {}", extra.join(", ")));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!("`{}` has other columns than `{}`: it {}", other.0.display(), first.0.display(), differences.join(", and "));
    Err(fault("different-columns", message, "files of one source have the same columns"))
}

/// Where each wanted column stands among those of a file.
pub(crate) fn positions(path: &Path, names: &[String], wanted: &[String]) -> anyhow::Result<Vec<usize>> {
    let at = |column: &String| {
        let message = || format!("`{}`: no column `{column}`", path.display());
        names.iter().position(|n| n == column).ok_or_else(|| fault("unknown-column", message(), &format!("columns: {}", names.join(", "))))
    };
    wanted.iter().map(at).collect()
}
