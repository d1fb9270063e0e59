//! `new tower`: a crate with a tower of one's own. It is the shipped example under another name, so the two cannot drift apart.

use crate::cli::NewTowerArgs;
use crate::ui::{Exit, Ui};
use anyhow::{Context, Result, bail, ensure};
use esmm_funnel_core::plugin::Kind;
use esmm_funnel_core::plugin::registry;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The example's files, and their places in the new crate.
const FILES: [(&str, &str); 7] = [
    (".gitignore", include_str!("../../examples/custom_tower/.gitignore")),
    ("Cargo.toml", include_str!("../../examples/custom_tower/Cargo.toml")),
    ("README.md", include_str!("../../examples/custom_tower/README.md")),
    ("funnel.toml", include_str!("../../examples/custom_tower/funnel.toml")),
    ("src/lib.rs", include_str!("../../examples/custom_tower/src/lib.rs")),
    ("src/main.rs", include_str!("../../examples/custom_tower/src/main.rs")),
    ("tests/conformance.rs", include_str!("../../examples/custom_tower/tests/conformance.rs")),
];
/// The versions that this program is built with.
const LOCK: &str = include_str!("../../examples/custom_tower/Cargo.lock");

/// How the example depends on the two crates.
const PATHS: &str = "# With a released version: esmm-funnel = \"0.1\", esmm-funnel-core = \"0.1\".
esmm-funnel = { path = \"../..\" }
esmm-funnel-core = { path = \"../../core\" }
";

/// Names that would stand for something else in the new crate.
const TAKEN: [&str; 9] = ["anyhow", "burn", "core", "esmm_funnel", "esmm_funnel_core", "schemars", "serde", "std", "test"];
const KEYWORDS: [&str; 39] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum", "extern",
    "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "pub", "ref",
    "return", "self", "static", "struct", "super", "true", "type",
];

pub fn tower(args: &NewTowerArgs, ui: &Ui) -> Result<Exit> {
    check_name(&args.name)?;
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    ensure!(!folder.exists(), "`{}` exists already; give another place with `--path`", folder.display());
    let dependencies = dependencies(args.source.as_deref())?;
    for (file, text) in FILES.into_iter().chain([("Cargo.lock", LOCK)]) {
        let text = renamed(&text.replace(PATHS, &dependencies), &args.name);
        // Registry entries for the two crates are not in the example's lock: cargo makes one itself.
        if file == "Cargo.lock" && args.source.is_none() {
            continue;
        }
        let path = folder.join(file);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            std::fs::write(&path, text)
        };
        write().with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if args.source.is_none() {
        ui.story(
            "esmm-funnel is taken from the crate registry; to build on a checkout of it, give `--source CHECKOUT`, or edit Cargo.toml",
        );
    }
    let shown = folder.display();
    let text = format!("wrote {shown}: the tower is {shown}/src/lib.rs; `cargo test --release` there checks it");
    ui.answer(&text, &json!({ "tower": args.name, "path": folder }))?;
    Ok(Exit::Done)
}

/// Of letters that a plugin, a crate and a type can share.
fn check_name(name: &str) -> Result<()> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let good = letters && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('_') && !name.contains("__");
    ensure!(good, "`{name}` cannot name a tower: lower-case letters, digits and single `_` between them, starting with a letter");
    ensure!(!TAKEN.contains(&name) && !KEYWORDS.contains(&name), "`{name}` cannot name a tower: Rust or a dependency uses the word");
    if let Some(plugin) = registry::find(Kind::Tower, name) {
        bail!("there is a tower `{name}` already, in crate {} ({}:{})", plugin.crate_name, plugin.file, plugin.line);
    }
    Ok(())
}

/// How the new crate depends on the two crates: on a checkout, or by version.
fn dependencies(source: Option<&Path>) -> Result<String> {
    let Some(source) = source else {
        let version = env!("CARGO_PKG_VERSION");
        return Ok(format!(
            "# With a checkout: esmm-funnel = {{ path = \"CHECKOUT\" }}, esmm-funnel-core = {{ path = \"CHECKOUT/core\" }}.
esmm-funnel = \"{version}\"
esmm-funnel-core = \"{version}\"
"
        ));
    };
    ensure!(
        source.join("core/Cargo.toml").is_file() && source.join("src/commands/new.rs").is_file(),
        "`{}` is not a checkout of esmm-funnel",
        source.display()
    );
    let source = source.canonicalize().with_context(|| format!("cannot read `{}`", source.display()))?;
    let path = |p: PathBuf| p.to_str().map(|p| toml::Value::from(p).to_string()).context("the checkout's path is not UTF-8");
    Ok(format!("esmm-funnel = {{ path = {} }}\nesmm-funnel-core = {{ path = {} }}\n", path(source.clone())?, path(source.join("core"))?))
}

/// The example's names replaced: the crate's, the tower's and the types'.
fn renamed(text: &str, name: &str) -> String {
    let camel: String = name.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
    text.replace("custom_tower", name).replace("gated", name).replace("Gated", &camel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["wide", "two_towers", "v2", "x_1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Wide", "a-b", "2x", "_x", "x_", "a__b", "type", "burn", "../x", "ü"] {
            assert!(check_name(bad).unwrap_err().to_string().contains("cannot name a tower"), "{bad}");
        }
        assert!(check_name("mlp").unwrap_err().to_string().contains("already"));
    }

    #[test]
    fn types_are_in_camel_case() {
        assert_eq!(renamed("custom_tower gated GatedTower", "two_towers"), "two_towers two_towers TwoTowersTower");
    }

    #[test]
    fn the_example_states_its_dependencies_as_expected() {
        assert!(FILES.iter().any(|(file, text)| *file == "Cargo.toml" && text.contains(PATHS)));
    }
}
