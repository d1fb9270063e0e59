//! Every plugin of this build explains itself: a sentence, a source, settings with types, ranges and defaults, and an example that works.

#![allow(clippy::unwrap_used)]

mod common;

use common::Sandbox;
use esmm_funnel_core::plugin::Kind;
use esmm_funnel_core::plugin::registry;
use esmm_funnel_core::spec;
use esmm_funnel_core::spec::manual::PluginManual;
use esmm_funnel_plugins as _;

/// What no paper is the source of.
const NOT_PUBLISHED: [(&str, &str); 2] = [("tower", "linear"), ("objective", "conditional")];

fn manuals() -> Vec<PluginManual> {
    let found: Vec<PluginManual> = Kind::ALL.into_iter().flat_map(registry::all).map(PluginManual::of).collect();
    assert!(found.len() >= 12, "the built-in plugins are linked");
    found
}

#[test]
fn every_plugin_says_what_it_is_and_where_it_is_from() {
    for m in manuals() {
        let name = format!("{} `{}`", m.kind, m.name);
        assert!(m.summary.len() > 15 && m.summary.ends_with('.'), "{name}: a doc comment that opens with a sentence, not {:?}", m.summary);
        let published = m.kind != "source" && !NOT_PUBLISHED.contains(&(m.kind.as_str(), m.name.as_str()));
        assert!(
            !published || m.paper.is_some(),
            "{name}: the doc comment names the paper and its year in brackets: (Ma et al., SIGIR 2018)"
        );
    }
}

#[test]
fn every_setting_says_what_it_is_and_what_it_may_be() {
    for m in manuals() {
        for s in &m.settings {
            let name = format!("{} `{}`: setting `{}`", m.kind, m.name, s.key);
            assert!(s.text.len() > 10, "{name}: no doc comment");
            assert!(!s.values.is_empty() && s.values != "a value", "{name}: no type");
            assert!(s.default.is_some() || s.text.contains("Default:"), "{name}: no default, and no words about it (`Default: …`)");
            let number = s.values.contains("number");
            let ranged =
                s.values.contains(" or more") || s.values.contains(" to ") || s.values.contains("above") || s.values.contains(" or less");
            assert!(!number || ranged, "{name}: no range; `#[schemars(range(min = 0.0, max = 1.0))]` states one");
        }
    }
}

#[test]
fn examples_decode_and_are_the_defaults() {
    let t = Sandbox::new();
    for m in manuals() {
        let kind = Kind::ALL.into_iter().find(|k| k.to_string() == m.kind).unwrap();
        let plugin = registry::find(kind, &m.name).unwrap();
        let source = if kind == Kind::Source { "" } else { "[data]\nsource = { kind = \"csv\", files = [\"log.csv\"] }\n" };
        let text = format!("features = \"infer\"\n[funnel]\nchain = \"impression -> click -> purchase\"\n{source}{}", m.example);
        t.write("example.toml", &text);
        let loaded = spec::load(&t.path("example.toml"), &[]).unwrap_or_else(|e| panic!("{} `{}`: {e:?}\n{text}", m.kind, m.name));
        let component = match kind {
            Kind::Tower => &loaded.spec.stages[usize::from(m.example.starts_with("[stage.purchase"))].tower,
            Kind::Encoder => &loaded.spec.encoder,
            Kind::Objective => &loaded.spec.objective,
            Kind::Source => &loaded.spec.data.source,
        };
        assert_eq!(component.kind, m.name);
        assert_eq!(component.settings, (plugin.defaults)(), "{} `{}`", m.kind, m.name);
        // What `explain` prints holds all of it.
        let said = t.ok(&format!("explain {} {}", m.kind, m.name)).stdout;
        for line in m.example.lines().chain(m.paper.as_deref()) {
            assert!(said.contains(line), "no {line:?} in:\n{said}");
        }
        let json = t.ok(&format!("explain {} {} --format json", m.kind, m.name)).json();
        assert_eq!(json["plugin"]["example"], m.example.as_str());
    }
}
