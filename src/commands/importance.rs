//! `importance`: what each field is worth, by permuting it.

use super::RUNS;
use super::report::rows_of;
use crate::STOP;
use crate::cli::Global;
use crate::progress::RowProgress;
use crate::ui::{Exit, Ui, plural, table};
use anyhow::{Result, bail};
use esmm_funnel_core::data::Part;
use esmm_funnel_core::device::cpu;
use esmm_funnel_core::run::{find_run, names, replace_file};
use esmm_funnel_core::score::Scorer;
use esmm_funnel_core::score::importance::{FieldImportance, Importance, ImportanceOptions, Spread, Worth, importance};
use serde_json::json;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder, or `@last`.
    pub run: String,
    /// Measure on all rows of these files instead of a part.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "part")]
    pub data: Vec<PathBuf>,
    /// Which rows of the run. What decides which fields a model shall have must not look at test.
    #[arg(long, value_enum, default_value_t = Rows::Valid)]
    pub part: Rows,
    /// Permutations of each field.
    #[arg(long, default_value_t = NonZeroU32::new(3).unwrap_or(NonZeroU32::MIN), value_name = "N")]
    pub repeats: NonZeroU32,
    /// Every permutation follows from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// A part to measure on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rows {
    /// The valid part.
    Valid,
    /// The test part.
    Test,
}

pub fn run(args: &Args, global: &Global, ui: &Ui) -> Result<Exit> {
    let folder = find_run(&args.run, Path::new(RUNS))?;
    let scorer = Scorer::open(&folder, &cpu())?;
    let data = rows_of(&scorer, &args.data, global, ui)?;
    let part = if args.data.is_empty() && args.part == Rows::Valid { Part::Valid } else { Part::Test };
    if data.rows(part) == 0 {
        let other = if part == Part::Valid { "`--part test`, or " } else { "" };
        bail!("there are no rows to measure on: the run's {} part is empty; take {other}files named with `--data`", part.name());
    }
    let bar = RowProgress::new(ui, "scoring");
    #[allow(clippy::cast_precision_loss)]
    let mut progress = |done: u64, total: u64| bar.show(done, &format!("  {:.0}%", 100.0 * done as f64 / total.max(1) as f64));
    let options = ImportanceOptions { part, repeats: args.repeats, seed: args.seed, stop: &STOP };
    let mut found = importance(&scorer.model, &data, &options, &mut progress)?;
    bar.done();
    if !args.data.is_empty() {
        found.part = "data".into();
    }
    let path = folder.file(names::IMPORTANCE);
    replace_file(&path, |file| Ok(serde_json::to_writer_pretty(file, &found)?))?;
    let shown = folder.path.display();
    let text = format!("{}in {}; `esmm-funnel report {shown}` shows it", text(&found), path.display());
    ui.answer(&text, &json!({ "run": folder.path, "importance": found }))?;
    Ok(Exit::Done)
}

/// A table for each stage and space, the fields that matter most on top.
fn text(found: &Importance) -> String {
    let rows = plural(found.rows, "row");
    let mut text = format!("{rows} of {}, {} of each field\n", found.part, plural(found.repeats.into(), "permutation"));
    for base in &found.base {
        let number = |v: Option<f64>| v.map_or_else(|| "—".into(), |v| format!("{v:.4}"));
        text += &format!("\n{}, {}: auc {}, log loss {}\n", base.stage, base.space, number(base.auc), number(base.logloss));
        let mut fields: Vec<(&FieldImportance, &Worth)> = found
            .fields
            .iter()
            .filter_map(|f| Some((f, f.stages.iter().find(|w| w.stage == base.stage && w.space == base.space)?)))
            .collect();
        let drop = |w: &Worth| w.auc_drop.map_or(f64::NEG_INFINITY, |s| s.mean);
        fields.sort_by(|a, b| drop(b.1).total_cmp(&drop(a.1)));
        let rows: Vec<Vec<String>> =
            fields.iter().map(|(f, w)| vec![f.field.clone(), f.of.clone(), spread(w.auc_drop), spread(w.logloss_rise)]).collect();
        text += &table(&["field", "of", "auc drop", "log loss rise"], &rows);
    }
    text + "\n"
}

fn spread(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { mean, std: Some(std) }) => format!("{mean:+.5} ± {std:.5}"),
        Some(Spread { mean, std: None }) => format!("{mean:+.5}"),
        None => "—".into(),
    }
}
