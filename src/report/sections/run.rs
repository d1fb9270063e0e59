//! What ran, on what, and for how long.

use crate::report::facts::Facts;
use crate::report::page::facts as list_of;
use crate::ui::count;
use maud::{Markup, html};

/// The section.
pub fn body(facts: &Facts<'_>) -> Markup {
    let m = &facts.manifest;
    let d = &m.durations;
    let seconds = |s: f64| html! { (format!("{s:.1} s")) };
    let plain = |text: String| html! { (text) };
    let mut all = vec![
        ("version".to_owned(), plain(format!("esmm-funnel {}", m.version))),
        ("made".into(), plain(m.created.clone())),
        ("folder".into(), html! { code { (facts.folder.path.display()) } }),
        ("device".into(), plain(format!("{}, {} threads", m.device, m.threads))),
        ("seed".into(), plain(m.seed.to_string())),
        ("steps".into(), plain(format!("{} of {}", count(m.steps), count(m.total_steps)))),
        ("weights of encoder and towers".into(), plain(count(m.dense_params as u64))),
        ("rows of all tables".into(), plain(count(m.table_rows as u64))),
        ("reading and encoding".into(), seconds(d.prepare_seconds)),
        ("training".into(), seconds(d.train_seconds)),
        ("evaluation on valid".into(), seconds(d.valid_seconds)),
        ("evaluation on test".into(), seconds(d.test_seconds)),
    ];
    if m.resumed > 0 {
        all.push(("resumed".into(), plain(format!("{} times", m.resumed))));
    }
    let argv = m.argv.join(" ");
    html! {
        (list_of(&all))
        h3 { "Command line" }
        div.scroll tabindex="0" { pre { (argv) } }
    }
}
