//! The model card: what a finished run is, in Markdown, for whoever is to use it or to answer for it.
//!
//! It is written from the files of the run folder alone, so that it can be written again whenever one of them changes, and it holds nothing
//! that is not in them. A number that does not exist is a dash with its reason below the table.

mod metrics;

use super::{CheckpointIndex, Manifest, RunFolder, names, replace_file};
use crate::calibration::Calibration;
use crate::data::Layout;
use crate::data::layout::{GroupLayout, TableLayout};
use crate::graph::Graph;
use crate::graph::words;
use crate::spec::{self, Scalar, Spec, Split, Vocabulary};
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::Write;

/// How rows are counted where negatives are sampled.
const KEPT: &str =
    "Of some stages the log holds a share of the negatives, see below; in these metrics each of them counts for all that it stands for";
/// A stage with fewer positives than this is named among the limits.
const FEW_POSITIVES: u64 = 100;

/// Writes the card of a finished run, in place of the one that was there.
///
/// # Errors
/// A file of the run that is missing or damaged, or the file system.
pub fn write(folder: &RunFolder) -> Result<()> {
    let text = Card::read(folder)?.text();
    replace_file(&folder.file(names::CARD), |w| Ok(w.write_all(text.as_bytes())?)).context("writing the model card")
}

struct Card {
    spec: Spec,
    graph: Graph,
    resolved: String,
    manifest: Manifest,
    layout: Layout,
    metrics: Value,
    lint: Value,
    calibration: Option<Calibration>,
    checkpoint: String,
}

impl Card {
    fn read(folder: &RunFolder) -> Result<Self> {
        let json = |name: &str| -> Result<Value> {
            let path = folder.file(name);
            let text = std::fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))?;
            serde_json::from_str(&text).with_context(|| format!("`{}` is damaged", path.display()))
        };
        let resolved = folder.file(names::RESOLVED);
        let spec = spec::load(&resolved, &[])?.spec;
        let graph = Graph::of(&spec);
        let checkpoint = CheckpointIndex::load(&folder.checkpoints())?.last.unwrap_or_default();
        Ok(Self {
            resolved: std::fs::read_to_string(&resolved).with_context(|| format!("reading `{}`", resolved.display()))?,
            manifest: Manifest::load(folder)?,
            layout: Layout::load(&folder.file(names::FEATURES))?,
            metrics: json(names::METRICS)?,
            lint: json(names::LINT)?,
            calibration: Calibration::load(folder, &graph, &checkpoint)?,
            spec,
            graph,
            checkpoint,
        })
    }

    fn text(&self) -> String {
        let sections = [
            self.predicts(),
            self.data(),
            self.features(),
            self.results(),
            self.calibration(),
            self.settings(),
            self.limits(),
            self.reproduce(),
        ];
        format!("# Model card: {}\n\n{}", self.manifest.funnel, sections.join("\n"))
    }

    fn predicts(&self) -> String {
        let mut text = String::from("## What it predicts\n\n");
        for target in words::describe(&self.graph) {
            let kind = if target.is_outcome { "outcome" } else { "stage" };
            text += &format!(
                "- {kind} **{}**: reached when {}; conditional on: {}. `{}`. Columns: {}.\n",
                target.name,
                target.label,
                target.space,
                target.equation,
                list(target.columns.iter().map(String::as_str))
            );
        }
        text + "\nσ is the logistic function, z a tower's logit; with a calibration, the corrected one.\n"
    }

    fn data(&self) -> String {
        let data = &self.manifest.data;
        let mut text = format!("## Data\n\n{} rows, fingerprint `{}`.\n\n", count(data.rows), data.fingerprint);
        let inputs = data.inputs.iter().map(|i| [cell(&i.name), if i.bytes > 0 { count(i.bytes) } else { "—".into() }].to_vec());
        text += &table(&["input", "bytes"], inputs);
        text += &format!("\nSplit: {}.\n\n", split(&self.spec.split));
        let header: Vec<&str> = ["part", "rows"].into_iter().chain(self.graph.nodes.iter().map(|n| n.name.as_str())).collect();
        let parts = data.parts.iter().map(|(part, of)| {
            let number = |v: &Value| v.as_u64().map_or_else(|| "—".into(), count);
            let reached = self.graph.nodes.iter().map(|n| number(&of["reached"][n.name.as_str()]));
            [part.clone(), number(&of["rows"])].into_iter().chain(reached).collect()
        });
        text + &table(&header, parts)
    }

    fn features(&self) -> String {
        let rows = self.layout.groups.iter().flat_map(|group| self.group(group));
        format!("## Features\n\n{}", table(&["column", "kind", "of", "ids that own a table row"], rows))
    }
    fn group(&self, group: &GroupLayout) -> Vec<Vec<String>> {
        let tables = &self.layout.tables;
        let row = |column: &str, kind: &str, ids: String| vec![cell(column), kind.to_owned(), cell(&group.name), ids];
        let ids = group.ids.iter().map(|c| row(&c.column, if c.cross.is_empty() { "id" } else { "cross" }, vocabulary(&tables[c.table])));
        let bags = group.bags.iter().map(|c| {
            let kind = if c.sequence.is_some() { "sequence" } else { "bag" };
            row(&c.id.column, kind, vocabulary(&tables[c.id.table]))
        });
        let numbers = group.numbers.iter().map(|c| row(&c.column, "number", "—".into()));
        ids.chain(bags).chain(numbers).collect()
    }

    fn results(&self) -> String {
        let mut text = String::from("## Results on test\n\n");
        let checked = self.calibration.as_ref().and_then(|c| c.checked.as_ref()).filter(|c| c.on == "test");
        match (checked, self.metrics["test"].is_null()) {
            (None, true) => text += "The test part is empty; there are no results.\n",
            (None, false) => text += &metrics::table(&self.metrics["test"]),
            (Some(checked), _) => {
                text += &format!("With the calibration:\n\n{}", metrics::table(&checked.after));
                text += &format!("\nAs trained:\n\n{}", metrics::table(&checked.before));
                if self.calibration.iter().flat_map(|c| c.stages.values()).any(|s| s.keep_rate.is_some()) {
                    text += &format!("\n{KEPT}.\n");
                }
            }
        }
        text
    }

    fn calibration(&self) -> String {
        let Some(calibration) = &self.calibration else {
            return "## Calibration\n\nNone: probabilities are those of the towers as trained.\n".into();
        };
        let rows = self.graph.nodes.iter().map(|node| {
            let Some(stage) = calibration.stages.get(&node.name) else {
                return vec![cell(&node.name), "as trained".into(), "—".into(), "—".into(), "—".into(), "—".into()];
            };
            let on = stage.fitted_on.as_ref();
            let number = |of: fn(&crate::calibration::FittedOn) -> u64| on.map_or_else(|| "—".into(), |on| count(of(on)));
            vec![
                cell(&node.name),
                format!("{}: {}", stage.map.method().name(), stage.map),
                stage.keep_rate.map_or_else(|| "—".into(), |r| r.to_string()),
                on.map_or_else(|| "—".into(), |on| cell(&on.data.join(", "))),
                number(|on| on.rows),
                number(|on| on.positives),
            ]
        });
        let header = ["stage", "corrected logit", "negatives kept", "fitted on", "rows", "positives"];
        format!("## Calibration\n\nFitted {}.\n\n{}", calibration.created, table(&header, rows))
    }

    /// The keys that somebody stated; what features and files are, stands above.
    fn settings(&self) -> String {
        let mut rows = Vec::new();
        let mut header = String::new();
        for line in self.resolved.lines() {
            if let Some(section) = line.strip_prefix('[') {
                section.trim_end_matches(']').clone_into(&mut header);
            } else if let Some((setting, origin)) = line.rsplit_once("  # ")
                && let Some((key, value)) = setting.split_once(" = ")
                && origin != "default"
                && !["feature.", "entity.", "data.source"].iter().any(|p| header.starts_with(p))
            {
                let key = if header.is_empty() { key.to_owned() } else { format!("{header}.{key}") };
                rows.push(vec![cell(&key), cell(value), cell(origin)]);
            }
        }
        format!(
            "## Settings\n\nStated; all others have their defaults, see `{}`.\n\n{}",
            names::RESOLVED,
            table(&["key", "value", "from"], rows)
        )
    }

    fn limits(&self) -> String {
        let mut limits: Vec<String> = self.manifest.alarms.iter().map(|alarm| format!("Alarm in training: {alarm}.")).collect();
        for node in &self.graph.nodes {
            for part in ["train", "test"] {
                let positives = self.manifest.data.parts[part]["reached"][node.name.as_str()].as_u64();
                let rows = self.manifest.data.parts[part]["rows"].as_u64().unwrap_or(0);
                if let Some(n) = positives.filter(|n| rows > 0 && *n < FEW_POSITIVES) {
                    let why = if part == "train" { "little to learn from" } else { "its metrics on test are uncertain" };
                    limits.push(format!("Only {n} {part} rows reach `{}`: {why}.", node.name));
                }
            }
        }
        for finding in self.lint.as_array().into_iter().flatten() {
            if let (Some(severity), Some(message)) = (finding["severity"].as_str(), finding["message"].as_str()) {
                limits.push(format!("Data, {severity}: {message}."));
            }
        }
        if let Split::Random { .. } = self.spec.split {
            limits.push(
                "The split is random by row: test has the users and the period of train, and says nothing of later or other ones.".into(),
            );
        }
        limits.push("An id that owns no table row is read as out of vocabulary; `predict` counts them.".into());
        let lines: Vec<String> = limits.iter().map(|l| format!("- {}", cell(l))).collect();
        format!("## Limits\n\n{}\n", lines.join("\n"))
    }

    fn reproduce(&self) -> String {
        let Manifest { version, argv, created, device, threads, seed, steps, resumed, dense_params, table_rows, .. } = &self.manifest;
        let arguments = argv.iter().skip(1).map(|a| shell_word(a)).collect::<Vec<_>>().join(" ");
        let resumed = if *resumed > 0 { format!(", resumed {resumed} times") } else { String::new() };
        format!(
            "## How to reproduce\n\n```sh\nesmm-funnel {arguments}\n```\n\nVersion {version}, seed {seed}, device {device}, {threads} threads; begun \
             {created}, {} steps{resumed}. {} weights of encoder and towers, {} table rows, checkpoint `{}`. `{}` holds the spec as given.\n",
            count(*steps),
            count(*dense_params as u64),
            count(*table_rows as u64),
            self.checkpoint,
            names::SPEC
        )
    }
}

/// Which ids of a table have a row of their own.
fn vocabulary(table: &TableLayout) -> String {
    match (table.range, table.vocabulary) {
        (Some((first, last)), _) => format!("{first} to {last}"),
        (None, Vocabulary::Hashed) => format!("hashed into {}", count(table.hash_rows as u64)),
        (None, Vocabulary::Learned) if table.min_count <= 1 => "every id of train".into(),
        (None, Vocabulary::Learned) => format!("those on {} train rows or more", table.min_count),
    }
}

fn split(split: &Split) -> String {
    let scalar = |s: &Scalar| match s {
        Scalar::Integer(i) => i.to_string(),
        Scalar::Float(f) => f.to_string(),
        Scalar::Text(t) => t.clone(),
        Scalar::Datetime(d) => d.to_string(),
    };
    match split {
        Split::Random { valid, test, seed } => format!("at random by row, {valid} to valid and {test} to test, seed {seed}"),
        Split::Group { column, valid, test, seed } => {
            format!("at random by the value of `{column}`, {valid} to valid and {test} to test, seed {seed}")
        }
        Split::Column { column, train_through, valid_through, test_from } => format!(
            "by `{column}`: train through {}, valid through {}, test {}",
            scalar(train_through),
            scalar(valid_through),
            test_from.as_ref().map_or_else(|| "after that".into(), |s| format!("from {}", scalar(s)))
        ),
        Split::Files { valid, test } => {
            format!("by file, valid {} and test {}", list(valid.iter().map(String::as_str)), list(test.iter().map(String::as_str)))
        }
    }
}

/// A Markdown table.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut text = format!("| {} |\n|{}\n", header.join(" | "), "---|".repeat(header.len()));
    for row in rows {
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}
/// Text that stays inside its cell, or its line.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
/// `1234567` → `1,234,567`.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_where_they_belong() {
        assert_eq!([shell_word("run"), shell_word("a b"), shell_word("it's"), shell_word("")], ["run", "'a b'", r"'it'\''s'", "''"]);
        assert_eq!(cell("a|b\nc"), "a\\|b c");
        assert_eq!(table(&["a", "b"], [vec!["1".into(), "2".into()]]), "| a | b |\n|---|---|\n| 1 | 2 |\n");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn splits_in_words() {
        let by_week = Split::Column {
            column: "week".into(),
            train_through: Scalar::Integer(40),
            valid_through: Scalar::Text("46".into()),
            test_from: Some(Scalar::Integer(48)),
        };
        assert_eq!(split(&by_week), "by `week`: train through 40, valid through 46, test from 48");
        assert_eq!(split(&Split::default()), "at random by row, 0.1 to valid and 0.2 to test, seed 1");
    }
}
