//! What a tower asks of the stage before.

use super::super::decode::{Cx, Draft, StageDraft};
use super::super::{After, Component};
use crate::diagnostic::Diagnostic;
use crate::plugin::registry::{self, Kind};
use crate::plugin::{Build, Needs};

/// Reports towers that read a hidden layer which is not there.
pub fn check(cx: &mut Cx<'_>, draft: &Draft) {
    for stage in &draft.stages {
        let Some(tower) = &stage.tower else { continue };
        if !needs(tower).is_some_and(|n| n.upstream) {
            continue;
        }
        let (name, kind) = (&stage.name, &tower.kind);
        let Some(parent) = parent(draft, stage) else {
            let message =
                format!("stage `{name}`: tower `{kind}` reads the hidden layer of the stage before, but `{name}` is a first stage");
            let d = Diagnostic::error("no-upstream", message).at(place(cx, name), "there is no stage before this one");
            cx.report(d.help(format!("give `{name}` a tower that stands alone, such as `mlp`; `{kind}` is for the stages after it")));
            continue;
        };
        let Some(other) = &parent.tower else { continue };
        if needs(other).is_some_and(|n| n.hidden == 0) {
            let message = format!(
                "stage `{name}`: tower `{kind}` reads the hidden layer of `{}`, whose tower `{}` has none",
                parent.name, other.kind
            );
            let d = Diagnostic::error("no-upstream", message)
                .at(place(cx, name), "reads a hidden layer")
                .at(place(cx, &parent.name), "has none");
            cx.report(
                d.help(format!("give `{}` a tower with a hidden layer, such as `mlp` with at least one width in `hidden`", parent.name)),
            );
        }
    }
}

fn needs(tower: &Component) -> Option<Needs> {
    match registry::find(Kind::Tower, &tower.kind)?.build {
        Build::Tower(build) => (build.needs)(&tower.settings).ok(),
        _ => None,
    }
}
/// The stage before; `None` for a child of the row.
fn parent<'a>(draft: &'a Draft, stage: &StageDraft) -> Option<&'a StageDraft> {
    let (After::Stage(parent) | After::Complement { stage: parent, .. }) = stage.after.as_ref()?;
    draft.stages.iter().find(|s| s.name == *parent)
}
fn place(cx: &Cx<'_>, stage: &str) -> Option<crate::diagnostic::Place> {
    let keys = [format!("stage.{stage}.tower.kind"), format!("stage.{stage}.tower"), "defaults.tower.kind".into(), "defaults.tower".into()];
    keys.iter().find_map(|key| cx.value(key))
}
