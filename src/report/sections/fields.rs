//! What the model sees: what the data hold of each field, what its table costs, and what it is worth.

use super::{colour_of, percent};
use crate::report::charts::{Axis, BarSeries, Bars};
use crate::report::facts::Facts;
use crate::report::page::{grid, note, table};
use crate::ui::{bytes, count, plural};
use esmm_funnel_core::data::FieldFacts;
use esmm_funnel_core::score::importance::{FieldImportance, Importance, Spread};
use maud::{Markup, html};

/// Fields in a chart.
const MOST_FIELDS: usize = 30;

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let looked = facts.fields.first().map_or(0, |f| f.rows);
    let part = facts.scored.part;
    html! {
        (numbers(facts))
        (note(&format!(
            "Coverage and out of vocabulary: {} of {part}. Distinct values: of all rows; columns that share a table are counted together. Bytes: \
             weights of the table, without optimiser state.",
            plural(looked, "row")
        )))
        @match &facts.importance {
            None => (note(&format!(
                "What each field is worth is measured by `esmm-funnel importance {}`, which then stands here.", facts.folder.path.display()
            ))),
            Some(found) => { (worth(facts, found)) }
        }
    }
}

fn numbers(facts: &Facts<'_>) -> Markup {
    let mut header: Vec<String> =
        ["field", "feature", "kind", "of", "distinct", "coverage", "table", "table rows", "bytes", "out of vocabulary"]
            .map(String::from)
            .to_vec();
    let columns: Vec<(String, String)> = facts.importance.as_ref().map(worth_columns).unwrap_or_default();
    header.extend(columns.iter().map(|(stage, space)| format!("AUC drop {stage} {space}")));
    let rows: Vec<Vec<String>> = facts
        .fields
        .iter()
        .map(|f| {
            let mut row = field_row(facts, f);
            let found =
                facts.importance.as_ref().and_then(|i| i.fields.iter().find(|w| w.field == f.field.name && w.feature == f.field.feature));
            row.extend(columns.iter().map(|(stage, space)| found.and_then(|w| drop_of(w, stage, space)).map_or_else(|| "—".into(), show)));
            row
        })
        .collect();
    table(&header, &rows)
}

fn field_row(facts: &Facts<'_>, f: &FieldFacts) -> Vec<String> {
    let dash = || "—".to_owned();
    let share = |n: u64, of: u64| if of > 0 { percent(n as f64 / of as f64) } else { "—".into() };
    let rows: usize = f.tables.iter().map(|t| facts.shape.tables[*t].rows).sum();
    let width = facts.spec.embedding.dim.get() * if facts.spec.embedding.per_stage { facts.graph.len() } else { 1 };
    let embedded = !f.tables.is_empty();
    let mut names: Vec<&str> = f.tables.iter().map(|t| facts.shape.tables[*t].name.as_str()).collect();
    names.dedup();
    vec![
        f.field.name.clone(),
        f.field.feature.clone(),
        f.field.kind.to_owned(),
        f.field.of.clone(),
        f.distinct.map_or_else(dash, count),
        share(f.present, f.rows),
        if embedded { names.join(", ") } else { dash() },
        if embedded { count(rows as u64) } else { dash() },
        if embedded { bytes((rows * width * 4) as u64) } else { dash() },
        if embedded { share(f.unknown, f.values) } else { dash() },
    ]
}

/// Stages and spaces for the table: of each stage or outcome the full space, and the conditional one where it is another.
fn worth_columns(found: &Importance) -> Vec<(String, String)> {
    found.base.iter().filter(|b| b.space != "entire").map(|b| (b.stage.clone(), b.space.clone())).collect()
}

fn drop_of(field: &FieldImportance, stage: &str, space: &str) -> Option<Spread> {
    field.stages.iter().find(|w| w.stage == stage && w.space == space)?.auc_drop
}

fn show(spread: Spread) -> String {
    match spread.std {
        Some(std) => format!("{:+.4} ± {std:.4}", spread.mean),
        None => format!("{:+.4}", spread.mean),
    }
}

fn worth(facts: &Facts<'_>, found: &Importance) -> Markup {
    let figures: Vec<Markup> = facts.graph.targets.iter().map(|target| bars(found, &target.name)).collect();
    html! {
        h3 { "AUC lost when a field is permuted" }
        (note(&format!(
            "{} of {}, {} of each field, seed {}. A field of an entity is permuted across the entities, any other across the rows; a cross moves by \
             itself. Bars: mean; lines: one standard deviation over the permutations.",
            plural(found.rows, "row"), found.part, plural(found.repeats.into(), "permutation"), found.seed
        )))
        (grid(&figures))
    }
}

/// The fields that matter most to a stage, from the top.
fn bars(found: &Importance, stage: &str) -> Markup {
    let spaces: Vec<&str> = found.base.iter().filter(|b| b.stage == stage && b.space != "entire").map(|b| b.space.as_str()).collect();
    let most = |f: &FieldImportance| spaces.iter().filter_map(|s| drop_of(f, stage, s)).map(|s| s.mean).fold(f64::NEG_INFINITY, f64::max);
    let mut fields: Vec<&FieldImportance> = found.fields.iter().collect();
    fields.sort_by(|a, b| most(b).total_cmp(&most(a)));
    let left = fields.len().saturating_sub(MOST_FIELDS);
    fields.truncate(MOST_FIELDS);
    let series = spaces.iter().map(|space| {
        let drops: Vec<Option<Spread>> = fields.iter().map(|f| drop_of(f, stage, space)).collect();
        BarSeries {
            name: (*space).to_owned(),
            colour: colour_of(space),
            values: drops.iter().map(|d| d.map(|d| d.mean)).collect(),
            spread: drops.iter().map(|d| d.and_then(|d| Some((d.mean - d.std?, d.mean + d.std?)))).collect(),
        }
    });
    Bars {
        title: format!("{stage}: what fields are worth"),
        of: "field".into(),
        categories: fields.iter().map(|f| f.field.clone()).collect(),
        x: Axis::linear("AUC drop"),
        series: series.collect(),
        note: (left > 0).then(|| format!("{} with less are in the table above", plural(left as u64, "field"))),
    }
    .markup()
}
