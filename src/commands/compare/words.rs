//! A comparison as text, Markdown and JSON.

use super::Compared;
use super::sides::Side;
use crate::ui::{count, plural, table};
use esmm_funnel_core::metrics::{Difference, MEASURES, Measured, SpaceComparison, Verdict};
use serde_json::{Map, Value, json};

/// How a measure is called, and how many digits it is shown with.
const SHOWN: [(&str, usize); 4] = [("AUC × 100", 2), ("log loss", 5), ("PCOC", 3), ("ECE", 5)];

/// Text or Markdown: they differ in their tables alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Markdown,
}
impl Form {
    fn table(self, header: &[&str], rows: &[Vec<String>]) -> String {
        match self {
            Self::Text => table(header, rows),
            Self::Markdown => markdown_table(header, rows),
        }
    }
    fn list(self, lines: &[String]) -> String {
        let item = |line: &String| if self == Self::Text { format!("{line}\n") } else { format!("- {line}\n") };
        lines.iter().map(item).collect()
    }
    fn heading(self, text: &str) -> String {
        if self == Self::Text { format!("{text}:\n") } else { format!("## {text}\n\n") }
    }
}

/// A table in Markdown, numbers to the right.
pub fn markdown_table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        format!("| {} |\n", cells.map(|c| c.replace('*', "\\*").replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let rule = format!("|---{}|\n", "|---:".repeat(header.len() - 1));
    format!(
        "{}{rule}{}",
        line(&mut header.iter().copied()),
        rows.iter().map(|r| line(&mut r.iter().map(String::as_str))).collect::<String>()
    )
}

pub fn text(compared: &Compared, judged: &[(String, bool)]) -> String {
    render(compared, judged, Form::Text)
}
pub fn markdown(compared: &Compared, judged: &[(String, bool)]) -> String {
    format!("# Comparison with `{}`\n\n{}", compared.sides[0].name, render(compared, judged, Form::Markdown))
}

fn render(compared: &Compared, judged: &[(String, bool)], form: Form) -> String {
    let mut out = format!("{}\n\n", lead(compared));
    let (header, rows) = metrics_table(compared);
    out += &form.heading("Metrics with their 95 % intervals");
    out += &form.table(&header, &rows);
    let (header, rows) = differences_table(compared);
    out += &format!("\n{}", form.heading(&format!("Minus `{}`", compared.sides[0].name)));
    out += &form.table(&header, &rows);
    out += &format!("\n{}", form.heading("In words"));
    out += &form.list(&sentences(compared));
    if !judged.is_empty() {
        out += &format!("\n{}", form.heading("Gates"));
        out += &form
            .list(&judged.iter().map(|(what, failed)| format!("{} {what}", if *failed { "FAILED" } else { "passed" })).collect::<Vec<_>>());
    }
    out += &format!("\n{}", form.heading("How to read it"));
    out + &form.list(&notes(compared))
}

/// What was compared on what.
pub fn lead(compared: &Compared) -> String {
    let Compared { sides, rows, replicates, seed, .. } = compared;
    let others: Vec<String> = sides[1..].iter().map(|s| format!("`{}`{}", s.name, seeds(s))).collect();
    let of = if rows.files.is_empty() {
        "of the test part".to_owned()
    } else {
        format!("of {}", rows.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", "))
    };
    let drawn = match &rows.by {
        None => "drawn row by row".to_owned(),
        Some(by) => format!("drawn by `{by}` ({} values)", count(rows.units as u64)),
    };
    format!(
        "{} against `{}`{} on {} {of}; {} resamples {drawn}, seed {seed}.",
        others.join(", "),
        sides[0].name,
        seeds(&sides[0]),
        plural(rows.count, "row"),
        count(u64::from(*replicates))
    )
}

fn seeds(side: &Side) -> String {
    if side.runs.len() > 1 { format!(" ({} seeds)", side.runs.len()) } else { String::new() }
}

/// A value in the form it is shown in: AUC in points of a hundred.
fn shown(m: usize, value: f64, signed: bool) -> String {
    let value = if m == 0 { 100.0 * value } else { value };
    let digits = SHOWN[m].1;
    if signed { format!("{value:+.digits$}") } else { format!("{value:.digits$}") }
}
fn interval(m: usize, value: Option<f64>, low: Option<f64>, high: Option<f64>, signed: bool) -> String {
    match (value, low, high) {
        (Some(v), Some(l), Some(h)) => format!("{} [{}, {}]", shown(m, v, signed), shown(m, l, signed), shown(m, h, signed)),
        (Some(v), _, _) => shown(m, v, signed),
        _ => "—".into(),
    }
}
/// A number with as many digits as it needs.
pub fn number(value: f64, signed: bool) -> String {
    let digits = if value.abs() >= 0.1 { 4 } else { 6 };
    if signed { format!("{value:+.digits$}") } else { format!("{value:.digits$}") }
}
pub fn p_value(p: f64) -> String {
    if p < 0.001 { "< 0.001".into() } else { format!("{p:.3}") }
}

pub type Cells = (Vec<&'static str>, Vec<Vec<String>>);

/// One row for each space and run.
pub fn metrics_table(compared: &Compared) -> Cells {
    let mut rows = Vec::new();
    for s in &compared.spaces {
        for (side, measured) in compared.sides.iter().zip(&s.measured) {
            let mut row = vec![format!("{} {}", s.target, s.space), side.name.clone(), count(s.rows), count(s.positives)];
            row.extend(measured.iter().enumerate().map(|(m, v)| measured_cell(m, v)));
            rows.push(row);
        }
    }
    (["stage and space", "run", "rows", "positives"].into_iter().chain(SHOWN.map(|s| s.0)).collect(), rows)
}
fn measured_cell(m: usize, v: &Measured) -> String {
    interval(m, v.value, v.low, v.high, false)
}

/// One row for each space, run and metric.
pub fn differences_table(compared: &Compared) -> Cells {
    let mut rows = Vec::new();
    for s in &compared.spaces {
        for (side, differences) in compared.sides[1..].iter().zip(&s.differences) {
            for (m, d) in differences.iter().enumerate().filter(|(_, d)| d.value.is_some()) {
                let p = |p: Option<f64>| p.map_or_else(|| "—".into(), p_value);
                rows.push(vec![
                    format!("{} {}", s.target, s.space),
                    side.name.clone(),
                    scale(m).to_owned(),
                    interval(m, d.value, d.low, d.high, true),
                    p(d.p_rows),
                    p(d.seeds.map(|t| t.p)),
                    p(d.p_holm),
                    verdict(d.verdict).to_owned(),
                ]);
            }
        }
    }
    (vec!["stage and space", "run", "metric", "difference [95 %]", "p rows", "p seeds", "p of Holm", "is"], rows)
}
fn scale(m: usize) -> &'static str {
    if m == 2 { "|ln PCOC|" } else { SHOWN[m].0 }
}
pub fn verdict(v: Verdict) -> &'static str {
    match v {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Unclear => "not told from chance",
        Verdict::Undefined => "undefined",
    }
}

/// AUC of every space and run in words, and of the other metrics what is real.
pub fn sentences(compared: &Compared) -> Vec<String> {
    let mut all = Vec::new();
    for (i, side) in compared.sides[1..].iter().enumerate() {
        for s in &compared.spaces {
            for (m, d) in s.differences[i].iter().enumerate() {
                let real = matches!(d.verdict, Verdict::Better | Verdict::Worse);
                if m == 0 || real {
                    all.push(format!("`{}`, {} {}: {}", side.name, s.target, s.space, sentence(m, d, s)));
                }
            }
        }
    }
    all
}

fn sentence(m: usize, d: &Difference, s: &SpaceComparison) -> String {
    let what = ["AUC", "log loss", "distance of PCOC from 1 (|ln PCOC|)", "ECE"][m];
    let unit = if m == 0 { " points" } else { "" };
    let (Some(value), Some(low), Some(high)) = (d.value, d.low, d.high) else {
        let why = if d.value.is_none() { "is undefined for one of the two" } else { "is undefined on too many resamples" };
        return format!("{what} {why}; {} of {} rows have label 1", count(s.positives), count(s.rows));
    };
    let spread = format!("{}{unit} [{}, {}]", shown(m, value, true), shown(m, low, true), shown(m, high, true));
    let p = d.p_holm.map_or_else(String::new, |p| format!(" (p {} by Holm)", p_value(p)));
    match d.verdict {
        Verdict::Better | Verdict::Worse => format!("{what} {spread}, real: {}{p}", verdict(d.verdict)),
        _ => {
            let by_seeds = d.seeds.filter(|t| d.p_rows.is_some_and(|p| p < 0.05 && p < t.p));
            let why = if let Some(t) = by_seeds {
                format!("other rows would show it, other seeds might not (p {} over {} seeds, before Holm)", p_value(t.p), t.n)
            } else {
                // Seen in 4 of 5 data sets of this size: 1.96 + 0.84 standard errors.
                let least = d.se.map_or_else(String::new, |se| shown(m, 2.8 * se, false));
                format!("with {} of {} rows positive, less than {least}{unit} would mostly go unseen", count(s.positives), count(s.rows))
            };
            format!("no difference in {what} can be told: {spread}{p}; {why}")
        }
    }
}

/// What each number measures, and what it does not.
pub fn notes(compared: &Compared) -> Vec<String> {
    let several = compared.sides.iter().all(|s| s.runs.len() > 1);
    let mut notes = vec![
        "Intervals and p rows: row noise. They say how far other rows of the same kind would have moved the numbers of these very models: 95 % of the \
         resamples, all runs on the same ones, shifted so that their mean is the number itself."
            .to_owned(),
        if several {
            "p seeds: training noise, by a paired t test over the seeds that both have. Metrics are means over the seeds; a difference is real only if it \
             is told from both kinds of noise, so the larger p counts."
                .to_owned()
        } else {
            "Training noise is not measured: another seed would have given another model. Give folders of several seeds on all sides (`run --repeat N`) to \
             have it in."
                .to_owned()
        },
        format!(
            "p of Holm: adjusted for all {} differences of its metric that stand here. Real is what is below 0.05 then; the intervals are not adjusted.",
            compared.spaces.len() * (compared.sides.len() - 1)
        ),
        "PCOC is compared by its distance from 1, as a ratio: |ln PCOC|. Lower is better for all but AUC.".to_owned(),
        "conditional: rows whose parent was reached, the tower alone. full: all rows. entire: all rows, the tower alone, against the outcome each would have \
         had; only where the truth is known."
            .to_owned(),
    ];
    if compared.rows.by.is_none() {
        notes.push(
            "Rows are drawn each for itself. Where rows of one user are alike, `--by` their column: the intervals get wider, and right."
                .to_owned(),
        );
    }
    notes.extend(compared.rows.notes.iter().cloned());
    notes
}

pub fn space_json(s: &SpaceComparison, sides: &[Side]) -> Value {
    let by_measure = |values: Vec<Value>| MEASURES.iter().map(|m| (*m).to_owned()).zip(values).collect::<Map<_, _>>();
    let runs =
        sides.iter().zip(&s.measured).map(|(side, of)| (side.name.clone(), by_measure(of.iter().map(|v| json!(v)).collect()).into()));
    let against = sides[1..].iter().zip(&s.differences);
    let against = against.map(|(side, of)| (side.name.clone(), by_measure(of.iter().map(|v| json!(v)).collect()).into()));
    json!({
        "stage": s.target, "space": s.space, "rows": s.rows, "positives": s.positives,
        "runs": runs.collect::<Map<String, Value>>(), "against_first": against.collect::<Map<String, Value>>(),
    })
}
