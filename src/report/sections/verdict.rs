//! The first lines: what came of the run, in words.

use crate::report::facts::Facts;
use crate::ui::{count, plural};
use esmm_funnel_core::metrics::Summary;
use maud::{Markup, html};

/// Under the title.
pub fn lead(facts: &Facts<'_>) -> Markup {
    let m = &facts.manifest;
    let made =
        format!("{} · {} · seed {} · {}", m.created.replace('T', " ").replace('Z', " UTC"), m.device, m.seed, facts.folder.path.display());
    html! {
        p.verdict { (verdict(facts)) }
        @if facts.scored.part == "valid" {
            p.warn { "There is no test part: everything below is measured on valid, which training may have chosen its weights by." }
        }
        @for alarm in &m.alarms { p.bad { "Alarm: " (alarm) } }
        p.note { (made) }
    }
}

/// What is said of the last stage or outcome: the end of the funnel.
fn verdict(facts: &Facts<'_>) -> String {
    let found = facts.spaces.iter().rev().find(|s| s.space == "full");
    let Some((space, target)) = found.and_then(|s| Some((s, facts.graph.targets.get(s.target)?))) else {
        return "Nothing was scored.".into();
    };
    let part = match facts.scored.part {
        "data" => format!("on {}", facts.scored.files.join(", ")),
        part => format!("on {part}"),
    };
    let (name, s) = (&target.name, &space.summary);
    let rows = format!("{part}: {}, {} of them with {name}", plural(s.rows, "row"), count(s.positives));
    let Some(auc) = s.auc else {
        return format!("AUC of {name} is undefined ({}), {rows}.", s.auc_reason.as_deref().unwrap_or("no value"));
    };
    format!("{name}: AUC {auc:.4}{}{} ({rows}).", against_base_rate(s), calibration(s))
}

fn against_base_rate(s: &Summary) -> String {
    match s.ne {
        Some(ne) if ne < 1.0 => format!(", log loss {:.1}\u{a0}% below that of the base rate", 100.0 * (1.0 - ne)),
        Some(ne) => format!(", log loss {:.1}\u{a0}% above that of the base rate: it predicts worse than a constant", 100.0 * (ne - 1.0)),
        None => String::new(),
    }
}

fn calibration(s: &Summary) -> String {
    match s.pcoc {
        Some(p) if (p - 1.0).abs() < 0.005 => ", as many predicted as observed".into(),
        Some(p) if p > 1.0 => format!(", {:.0}\u{a0}% more predicted than observed", 100.0 * (p - 1.0)),
        Some(p) => format!(", {:.0}\u{a0}% fewer predicted than observed", 100.0 * (1.0 - p)),
        None => String::new(),
    }
}
