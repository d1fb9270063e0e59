//! The proposal as commented TOML.

use super::Proposal;
use super::columns::{ProposedColumn, Role};
use super::features::ProposedFeature;
use super::funnel::ProposedStage;
use crate::spec::{FeatureKind, Scalar, Split};

/// Steps that a starter spec trains for, about.
const STEPS: u64 = 400;
/// Steps of an epoch, about.
const EPOCH: u64 = 100;

/// Training rows from which one pass is enough.
const MANY_ROWS: u64 = 200_000;

/// Where the rows are, as the spec states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// The source plugin.
    pub kind: String,
    /// Paths or globs, relative to the folder of the spec.
    pub files: Vec<String>,
    /// What stands between two cells, if the source cannot know.
    pub delimiter: Option<char>,
}

impl Proposal {
    /// The spec: TOML that `check` passes and `run` trains, with the reasons as comments. `name` names the funnel, `spec` is what the comments
    /// call the file.
    #[must_use]
    pub fn toml(&self, name: &str, spec: &str, source: &SourceTable) -> String {
        let sections = [
            self.head(spec, source),
            self.funnel(name),
            defaults(),
            self.data(source),
            self.split(),
            self.entity(),
            self.features(),
            self.left_out(),
            self.training(),
            self.metrics(),
        ];
        let mut text = sections.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join("\n");
        text.truncate(text.trim_end().len());
        text + "\n"
    }

    fn head(&self, spec: &str, source: &SourceTable) -> String {
        let files = source.files.iter().map(|f| plain(f)).collect::<Vec<_>>().join(", ");
        let judged = if self.sampled < self.rows {
            format!("{} rows; columns are judged by {} of them, labels are counted on all", count(self.rows), count(self.sampled))
        } else {
            format!("{} rows", count(self.rows))
        };
        let line = |command: String, what: &str| format!("#   esmm-funnel {command:width$}  {what}\n", width = spec.len().max(5) + 6);
        format!("# A first spec for {files} ({judged}), to be read and changed.\n")
            + &line(format!("check {spec}"), "what it means and costs, and what is wrong with it")
            + &line(format!("run {spec}"), "train and evaluate it")
            + &line("explain KEY".to_owned(), "what a key means, as in `explain train.epochs`")
    }

    fn funnel(&self, name: &str) -> String {
        let mut out = String::from("[funnel]  # from the row to the last stage: the 1s of a stage lie within those of its parent\n");
        out += &format!("name  = {}\n", string(name));
        let chain: Vec<&str> = std::iter::once(self.row.as_str()).chain(self.stages.iter().map(|s| s.name.as_str())).collect();
        out += &format!("chain = {}\n", string(&chain.join(" -> ")));
        for (at, stage) in self.stages.iter().enumerate() {
            out += &self.rate(stage, at.checked_sub(1).map(|p| &self.stages[p]));
        }
        for stage in self.stages.iter().filter(|s| s.name != s.column) {
            out += &format!("\n[stage.{}]\nlabel = {}\n", stage.name, string(&stage.column));
        }
        out
    }

    fn rate(&self, stage: &ProposedStage, parent: Option<&ProposedStage>) -> String {
        let percent = |part: u64, of: u64| format!("{:.2} %", 100.0 * part as f64 / of.max(1) as f64);
        let of_all = percent(stage.reached, self.rows);
        let (name, reached, space) = (&stage.name, count(stage.reached), count(stage.space));
        match parent {
            None => format!("#   {name}: {reached} of {space} rows, {of_all}\n"),
            Some(p) => {
                format!(
                    "#   {name}: {reached} of the {space} with {}, {}; {of_all} of all rows\n",
                    p.name,
                    percent(stage.reached, stage.space)
                )
            }
        }
    }

    fn data(&self, source: &SourceTable) -> String {
        let delimiter = source.delimiter.map(|d| format!(", delimiter = {}", string(&d.to_string()))).unwrap_or_default();
        let mut out = format!("[data]\nsource = {{ kind = {}, files = {}{delimiter} }}\n", string(&source.kind), strings(&source.files));
        if !self.keys.is_empty() {
            out += &format!("keys   = {}  # carried into predictions\n", strings(&self.keys));
        }
        out + &self.orphans()
    }

    /// The policy for 1s whose parent is 0, if there are such.
    fn orphans(&self) -> String {
        let mut out = String::new();
        for pair in self.stages.windows(2).filter(|pair| pair[1].orphans() > 0) {
            let (parent, child) = (&pair[0].name, &pair[1].name);
            let (orphans, ones) = (count(pair[1].orphans()), count(pair[1].ones));
            out += &format!("# {orphans} of the {ones} rows with {child} = 1 have {parent} = 0.\n");
        }
        if !out.is_empty() {
            out += "# Read as 0: the full-space probability counts what happened through the parent (the paper's y & z). Others: drop_row,\n\
                    # set_parent where the parent's 1 was lost, keep.\n\
                    orphan_labels = \"clear_child\"\n";
        }
        out
    }

    fn split(&self) -> String {
        let mut out = format!("[split]  # test is evaluated once, at the end\n# {}.\n", plain(&self.split_reason));
        match &self.split {
            Split::Column { column, train_through, valid_through, .. } => {
                let (column, train, valid) = (string(column), scalar(train_through), scalar(valid_through));
                out += &format!(
                    "kind = \"column\"\ncolumn = {column}\ntrain_through = {train}\nvalid_through = {valid}  # what follows is test\n"
                );
            }
            Split::Group { column, valid, test, seed } => {
                out += &format!("kind = \"group\"\ncolumn = {}\nvalid = {valid}\ntest = {test}\nseed = {seed}\n", string(column));
            }
            Split::Random { valid, test, seed } => out += &format!("kind = \"random\"\nvalid = {valid}\ntest = {test}\nseed = {seed}\n"),
            Split::Files { valid, test } => out += &format!("kind = \"files\"\nvalid = {}\ntest = {}\n", strings(valid), strings(test)),
        }
        out
    }

    fn entity(&self) -> String {
        let Some(entity) = &self.entity else { return String::new() };
        let shared: usize = self.features.iter().filter(|f| f.of_entity).map(|f| f.columns.len()).sum();
        if shared == 0 {
            return String::new();
        }
        let (name, key) = (&entity.name, string(&entity.key));
        let columns = if shared == 1 { "1 feature column is".to_owned() } else { format!("{shared} feature columns are") };
        let why = format!("# {columns} the same in all rows of one {}: stored, embedded and multiplied once.", plain(&entity.key));
        format!("{why}\n[entity.{name}]\nkey = {key}\n")
    }

    fn features(&self) -> String {
        self.features.iter().map(|f| self.feature(f)).collect::<Vec<_>>().join("\n")
    }

    fn feature(&self, feature: &ProposedFeature) -> String {
        let kind = match feature.kind {
            FeatureKind::Number => "number",
            FeatureKind::Bag => "bag",
            FeatureKind::Sequence => "sequence",
            _ => "id",
        };
        let reasons = feature.columns.iter().filter_map(|c| self.columns.iter().find(|p| &p.column == c)).map(reason);
        let mut out: String = reasons.collect();
        out += &format!("[feature.{}]\nkind = \"{kind}\"\n", feature.name);
        if feature.columns != [feature.name.clone()] {
            out += &format!("columns = {}\n", strings(&feature.columns));
        }
        if let Some(entity) = self.entity.as_ref().filter(|_| feature.of_entity) {
            out += &format!("of = {}\n", string(&entity.name));
        }
        if let Some(separator) = feature.separator {
            out += &format!("separator = {}\n", string(&separator.to_string()));
        }
        if let Some(column) = &feature.attend_to {
            let why = "its values are ids of this column; the tower `din` compares them with the row's own, others see them pooled";
            out += &format!("attend_to = {}  # {why}\n", string(column));
        }
        if feature.long_tail {
            out += "transform = \"log1p\"  # a long tail\n";
        }
        if !feature.missing.is_empty() {
            out += &format!("missing = {}\n", strings(&feature.missing));
        }
        out
    }

    fn left_out(&self) -> String {
        let left: Vec<&ProposedColumn> = self.columns.iter().filter(|c| c.role == Role::LeftOut).collect();
        if left.is_empty() {
            return String::new();
        }
        "# Left out:\n".to_owned() + &left.into_iter().map(reason).collect::<String>()
    }

    fn training(&self) -> String {
        let (batch, epochs) = steps(self.rows * 7 / 10);
        format!(
            "[embedding]\ndim = 16\noptimizer = {{ kind = \"adam\", lr = 1e-3 }}\n\n\
             [train]  # about {STEPS} steps or one epoch: a first look, not the best that can be had\n\
             batch_rows = {batch}\nepochs = {epochs}\ndecay = \"linear\"\n"
        )
    }

    fn metrics(&self) -> String {
        let Some(entity) = &self.entity else { return String::new() };
        format!("[metrics]\ngauc_by = {}  # AUC among the rows of one, averaged, too\n", string(&entity.key))
    }
}

/// Rows of a step and passes over so many training rows. Many rows are seen once: ids that few of them share are learnt by heart in a
/// second pass.
fn steps(rows: u64) -> (u64, u64) {
    if rows >= MANY_ROWS {
        return (((rows / STEPS).next_power_of_two() / 2).clamp(32, 4096), 1);
    }
    let batch = (rows / EPOCH).next_power_of_two().clamp(32, 4096);
    (batch, STEPS.div_ceil(rows.div_ceil(batch).max(1)).clamp(1, 100))
}

fn defaults() -> String {
    "[defaults]  # the network of every stage; `esmm-funnel list tower` names others\n\
     tower = { kind = \"mlp\", hidden = [64, 32] }\n"
        .to_owned()
}

/// `#   column: why`.
fn reason(column: &ProposedColumn) -> String {
    let name = if column.column.is_empty() { "\"\"".into() } else { plain(&column.column) };
    format!("#   {name}: {}\n", plain(&column.reason))
}

/// Text that stays within its comment.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn string(text: &str) -> String {
    let escaped = text.chars().any(|c| c.is_control() || c == '"' || c == '\\');
    if escaped { toml::Value::String(text.to_owned()).to_string() } else { format!("\"{text}\"") }
}

fn strings(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|t| string(t)).collect::<Vec<_>>().join(", "))
}

fn scalar(bound: &Scalar) -> String {
    match bound {
        Scalar::Integer(i) => i.to_string(),
        Scalar::Float(f) => toml::Value::Float(*f).to_string(),
        Scalar::Text(t) => string(t),
        Scalar::Datetime(d) => d.to_string(),
    }
}

/// `1234567` → `1,234,567`.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let groups = digits.as_bytes()[first..].chunks(3).map(|g| String::from_utf8_lossy(g).into_owned());
    std::iter::once(digits[..first].to_owned()).filter(|g| !g.is_empty()).chain(groups).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_is_long_enough_and_many_rows_are_seen_once() {
        for (rows, expected) in [(1, (32, 100)), (700, (32, 19)), (44_800, (512, 5)), (420_000, (1024, 1)), (40_000_000, (4096, 1))] {
            assert_eq!(steps(rows), expected, "{rows}");
        }
    }

    #[test]
    fn texts_are_toml_whatever_they_hold() {
        assert_eq!([count(7), count(123), count(1234), count(1_234_567)], ["7", "123", "1,234", "1,234,567"]);
        for text in ["a", "a\"b", "a\\b", "line\nend", "tab\t", "'", "\u{7f}", "é", ""] {
            let parsed: toml::Table = format!("x = {}\ny = {}", string(text), strings(&[text.to_owned()])).parse().unwrap();
            assert_eq!((parsed["x"].as_str(), parsed["y"][0].as_str()), (Some(text), Some(text)), "{text:?}");
        }
        assert_eq!(plain("a\nb = 1"), "a b = 1");
    }
}
