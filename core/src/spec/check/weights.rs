//! Loss weights: expressions, whose columns are only known with the data.

use super::super::decode::{Cx, Draft};
use crate::diagnostic::Diagnostic;
use crate::expression::Expression;

/// Reports loss weights that are no expression, each at its mistake.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    for stage in &draft.stages {
        let Some(text) = &stage.loss_weight else { continue };
        let key = format!("stage.{}.loss_weight", stage.name);
        let Err(found) = Expression::parse_open(&key, text) else { continue };
        for fault in found.0 {
            let (span, label) = fault.annotations.first().map_or((0..0, String::new()), |a| (a.place.span.clone(), a.text.clone()));
            let d = Diagnostic::error(fault.id, format!("{key}: {}", fault.message)).at(cx.part(&key, text, span), label);
            let d = fault.help.into_iter().fold(d, Diagnostic::help);
            cx.report(d.help("a factor that is the same for all rows is the stage's `weight`"));
        }
    }
}
