//! Metrics as a table for people.

use crate::ui::{count, table};
use esmm_funnel_core::metrics::Evaluation;

/// One row per stage and space; with truth known, the truth's own AUC beside it.
pub fn metrics_text(evaluation: &Evaluation) -> String {
    let best = evaluation.summaries().any(|(_, _, s)| s.best.is_some());
    let gauc = evaluation.summaries().any(|(_, _, s)| s.gauc.is_some());
    let mut header = vec!["stage", "space", "rows", "positives", "auc"];
    if best {
        header.push("best auc");
    }
    header.extend(["log loss", "ne", "pcoc", "ece"]);
    if gauc {
        header.push("gauc");
    }
    let rows: Vec<Vec<String>> = evaluation
        .summaries()
        .map(|(stage, space, s)| {
            let mut row = vec![stage.to_owned(), space.to_owned(), count(s.rows), count(s.positives), number(s.auc, 4)];
            if best {
                row.push(number(s.best.as_ref().and_then(|b| b.auc), 4));
            }
            row.extend([number(s.logloss, 5), number(s.ne, 4), number(s.pcoc, 3), number(s.ece, 5)]);
            if gauc {
                row.push(number(s.gauc, 4));
            }
            row
        })
        .collect();
    let mut text = table(&header, &rows);
    for (stage, space, s) in evaluation.summaries() {
        if let Some(reason) = &s.auc_reason {
            text += &format!("auc of {stage} ({space}) is undefined: {reason}\n");
        }
        if let Some(batch) = &s.batch_auc {
            text += &match (&batch.reason, batch.mean) {
                (None, Some(mean)) => format!(
                    "batch auc of {stage} ({space}): {mean:.4} (a mean over batches, usually above the auc; {} counted, {} left out)\n",
                    count(batch.batches),
                    count(batch.left_out)
                ),
                (reason, _) => format!("batch auc of {stage} ({space}) is undefined: {}\n", reason.as_deref().unwrap_or_default()),
            };
        }
        if let Some(reason) = &s.logloss_reason {
            text += &format!("log loss of {stage} ({space}) is undefined: {reason}\n");
        }
    }
    text
}

/// The metrics of values, below an empty line; nothing without any.
pub fn values_text(evaluation: &Evaluation) -> String {
    if evaluation.values.is_empty() {
        return String::new();
    }
    let header = ["value", "rows", "without", "predicted", "realised", "ratio", "top 10% holds", "of the best", "lift"];
    let percent = |share: Option<f64>| share.map_or_else(|| "—".into(), |s| format!("{:.1}%", 100.0 * s));
    let rows = evaluation.values.iter().map(|(name, v)| {
        let top = v.top_decile;
        let sums = [number(Some(v.predicted), 2), number(Some(v.realised), 2), number(v.ratio, 3)];
        let top = [percent(top.map(|t| t.capture)), percent(top.map(|t| t.of_best)), number(top.map(|t| t.lift), 2)];
        [name.clone(), count(v.rows), count(v.without_value)].into_iter().chain(sums).chain(top).collect()
    });
    let mut text = format!("\n{}", table(&header, &rows.collect::<Vec<Vec<String>>>()));
    let header = ["weighted by its stake", "rows", "positives", "auc", "log loss"];
    let stakes = evaluation.values.iter().flat_map(|(name, v)| v.weighted.iter().map(move |(p, s)| (name, p, s)));
    let rows = stakes
        .map(|(name, p, s)| vec![format!("{p} in {name}"), count(s.rows), count(s.positives), number(s.auc, 4), number(s.logloss, 5)]);
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        text += &format!("\n{}", table(&header, &rows));
    }
    text
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "—".into(), |v| format!("{v:.digits$}"))
}
