//! `init`: a first spec for data that nobody has described yet.

use crate::STOP;
use crate::cli::InitArgs;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, count};
use anyhow::{Context, Result, bail, ensure};
use esmm_funnel_core::data::propose::{Proposal, ProposeOptions, SAMPLE_ROWS, SourceTable, propose};
use esmm_funnel_core::data::source::SharedSource;
use esmm_funnel_core::graph::Graph;
use esmm_funnel_core::plugin::registry::{self, Kind};
use esmm_funnel_core::plugin::source::kind_of_file;
use esmm_funnel_core::plugin::{Build, SourceBuild};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

/// Delimiters that are tried where a header has no comma.
const DELIMITERS: [char; 3] = [';', '\t', '|'];

pub fn run(args: &InitArgs, ui: &Ui) -> Result<Exit> {
    if let Some(out) = &args.out {
        check_out(out)?;
    }
    let kind = kind_of(&args.data)?;
    let (source, delimiter) = open(kind, &args.data)?;
    let reading = RowProgress::new(ui, "reading");
    let options = ProposeOptions { sample_rows: SAMPLE_ROWS, progress: &|p| reading.prepare(p), stop: &STOP };
    let proposal = propose(source.as_ref(), &options)?;
    drop(reading);
    let folder = args.out.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let table = SourceTable { kind: kind.to_owned(), files: vec![seen_from(folder, &args.data)], delimiter };
    let shown = args.out.as_ref().map_or_else(|| "SPEC".to_owned(), |p| p.display().to_string());
    let text = proposal.toml(&name_of(&args.data), &shown, &table);
    let value = json!({ "out": args.out, "spec": text, "proposal": proposal });
    let Some(out) = &args.out else {
        ui.answer(&text, &value)?;
        return Ok(Exit::Done);
    };
    let mut file = File::create_new(out).with_context(|| format!("cannot write `{shown}`"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write `{shown}`"))?;
    ui.answer(
        &format!("wrote {shown}: {}\nnext: `esmm-funnel check {shown}`, then `esmm-funnel run {shown}`", summary(&proposal)),
        &value,
    )?;
    Ok(Exit::Done)
}

/// Before any work: the spec can be written there.
fn check_out(out: &Path) -> Result<()> {
    ensure!(!out.exists(), "`{}` exists already, and `init` never overwrites; give another `--out`", out.display());
    let folder = out.parent().filter(|f| !f.as_os_str().is_empty());
    if let Some(folder) = folder {
        ensure!(folder.is_dir(), "cannot write `{}`: there is no folder `{}`", out.display(), folder.display());
    }
    Ok(())
}

/// The source that reads the data: by the first bytes, else by the name.
fn kind_of(data: &Path) -> Result<&'static str> {
    if !data.is_file() {
        // A glob, a folder, or nothing: the source says which.
        return kind_of_file(data).map_or_else(|| if data.is_dir() || !data.exists() { Ok("csv") } else { unknown(data) }, Ok);
    }
    let mut start = Vec::new();
    let file = File::open(data).with_context(|| format!("cannot read `{}`", data.display()))?;
    file.take(4096).read_to_end(&mut start).with_context(|| format!("cannot read `{}`", data.display()))?;
    if start.starts_with(b"PAR1") {
        return Ok("parquet");
    }
    let kind = kind_of_file(data).map_or_else(|| unknown(data), Ok)?;
    let gzip = start.starts_with(&[0x1f, 0x8b]);
    ensure!(
        kind != "csv" || gzip || !start.contains(&0),
        "`{}` is not a CSV: it holds bytes that no text has; `init` reads CSV, TSV (or .gz of these) and Parquet",
        data.display()
    );
    Ok(kind)
}

fn unknown(data: &Path) -> Result<&'static str> {
    bail!("`{}`: `init` reads .csv, .tsv (or .gz of these) and .parquet files; rename it if it is one of them", data.display())
}

/// The open source; for a CSV also the delimiter, if it is not the one that its name says.
fn open(kind: &str, data: &Path) -> Result<(SharedSource, Option<char>)> {
    let plugin = registry::find(Kind::Source, kind).with_context(|| format!("this build has no source `{kind}`"))?;
    let Build::Source(SourceBuild { open, .. }) = plugin.build else { bail!("`{kind}` is no source") };
    let with = |delimiter: Option<char>| {
        let settings = delimiter.map(|d| ("delimiter".to_owned(), toml::Value::String(d.to_string())));
        open(&settings.into_iter().collect(), Some(&[data.to_owned()]), &Graph::default())
    };
    let source = with(None)?;
    if kind == "csv" {
        let schema = source.schema()?;
        if let [only] = schema.fields().as_ref()
            && let Some(delimiter) = DELIMITERS.into_iter().find(|d| only.name().contains(*d))
        {
            return Ok((with(Some(delimiter))?, Some(delimiter)));
        }
    }
    Ok((source, None))
}

/// The funnel's name: the file's, without its endings.
fn name_of(data: &Path) -> String {
    let file = data.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = file.split('.').find(|s| !s.is_empty()).unwrap_or("funnel");
    let letters: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
    let letters = letters.trim_matches('_');
    if letters.is_empty() { "funnel".to_owned() } else { letters.to_owned() }
}

/// The data's path as seen from the spec's folder; an absolute path stays.
fn seen_from(folder: &Path, data: &Path) -> String {
    if data.is_absolute() || folder.as_os_str().is_empty() {
        return data.display().to_string();
    }
    let (Some(folder), Some(data)) = (whole(folder), whole_file(data)) else { return data.display().to_string() };
    if folder.components().next() != data.components().next() {
        return data.display().to_string();
    }
    let shared = folder.components().zip(data.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(data.components().skip(shared)).collect::<PathBuf>().display().to_string()
}

/// A folder's path from the root, links followed.
fn whole(folder: &Path) -> Option<PathBuf> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::canonicalize(folder).or_else(|_| std::path::absolute(folder)).ok()
}
/// A file's path from the root; its name may be a pattern.
fn whole_file(file: &Path) -> Option<PathBuf> {
    Some(whole(file.parent()?)?.join(file.file_name()?))
}

/// What was found, on one line.
fn summary(proposal: &Proposal) -> String {
    let chain: Vec<&str> = std::iter::once(proposal.row.as_str()).chain(proposal.stages.iter().map(|s| s.name.as_str())).collect();
    let features: usize = proposal.features.iter().map(|f| f.columns.len()).sum();
    format!("{}; {} rows, {features} feature columns of {}", chain.join(" -> "), count(proposal.rows), proposal.columns.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn funnels_are_named_after_their_file() {
        for (file, name) in [("a/log.csv.gz", "log"), ("my data (1).csv", "my_data__1"), ("logs/*.csv", "funnel"), (".csv", "csv")] {
            assert_eq!(name_of(Path::new(file)), name, "{file}");
        }
    }

    #[test]
    fn paths_are_seen_from_the_spec() {
        let up = |folder: &str, data: &str| seen_from(Path::new(folder), Path::new(data));
        assert_eq!(up("", "data/log.csv"), "data/log.csv");
        assert_eq!(up("src", "data/log.csv"), "../data/log.csv");
        assert_eq!(up("src/commands", "src/log.csv"), "../log.csv");
        assert_eq!(up("src", "src/commands/*.csv"), "commands/*.csv");
        assert_eq!(up("src", "/data/log.csv"), "/data/log.csv");
    }
}
