//! `new tower`: what it writes is the shipped example under another name.

#![allow(clippy::unwrap_used)]

mod common;

use common::Sandbox;
use std::path::{Path, PathBuf};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/custom_tower")
}
/// Files below `dir`, by their path in it, sorted; what a build leaves is left out.
fn files(dir: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().replace('\\', "/");
            if path.is_dir() && !["target", "runs", ".esmm-store"].contains(&name.as_str()) {
                open.push(path);
            } else if path.is_file() {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_new_crate_is_the_example_up_to_names() {
    let (sandbox, root) = (Sandbox::new(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let done = sandbox.ok(&format!("new tower my_wide --source {} --format json", root.display())).json();
    assert_eq!((done["tower"].as_str(), done["path"].as_str()), (Some("my_wide"), Some("my_wide")));
    assert_eq!(files(&sandbox.path("my_wide")), files(&example()));
    for file in files(&example()) {
        let text = String::from_utf8(sandbox.bytes(&format!("my_wide/{file}"))).unwrap();
        assert!(!text.contains("gated") && !text.contains("Gated") && !text.contains("custom_tower"), "{file}:\n{text}");
        let expected = std::fs::read_to_string(example().join(&file)).unwrap();
        if file != "Cargo.toml" {
            let back = text.replace("MyWide", "Gated");
            let (found, wanted): (Vec<_>, Vec<_>) = (back.lines().collect(), expected.lines().collect());
            assert_eq!(found.len(), wanted.len(), "{file}");
            for (found, wanted) in found.iter().zip(wanted) {
                assert!(found.replace("my_wide", "gated") == wanted.replace("custom_tower", "gated"), "{file}: {found} | {wanted}");
            }
            continue;
        }
        let manifest: toml::Table = text.parse().unwrap();
        let core = manifest["dependencies"]["esmm-funnel-core"]["path"].as_str().unwrap();
        assert_eq!(Path::new(core), root.canonicalize().unwrap().join("core"));
        let rest = |t: &str| -> toml::Table {
            let mut t: toml::Table = t.parse().unwrap();
            t["package"].as_table_mut().unwrap().remove("name");
            let dependencies = t["dependencies"].as_table_mut().unwrap();
            dependencies.retain(|name, _| !name.starts_with("esmm-funnel"));
            t
        };
        assert_eq!(rest(&text), rest(&expected));
    }
}

#[test]
fn without_a_checkout_it_depends_on_the_version() {
    let sandbox = Sandbox::new();
    let done = sandbox.ok("new tower wide --path crates/w");
    assert!(done.stderr.contains("--source"), "{}", done.stderr);
    let manifest: toml::Table = String::from_utf8(sandbox.bytes("crates/w/Cargo.toml")).unwrap().parse().unwrap();
    assert_eq!(manifest["package"]["name"].as_str(), Some("wide"));
    for name in ["esmm-funnel", "esmm-funnel-core"] {
        assert_eq!(manifest["dependencies"][name].as_str(), Some(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn bad_names_and_places_are_refused() {
    let sandbox = Sandbox::new();
    for (args, what) in [
        ("new tower my-tower", "cannot name a tower"),
        ("new tower type", "cannot name a tower"),
        ("new tower mlp", "already"),
        ("new tower wide --source .", "is not a checkout"),
    ] {
        let error = sandbox.fails(args);
        assert!(error.contains(what), "{args}: {error}");
    }
    assert!(files(&sandbox.path("")).is_empty(), "nothing is written");
    sandbox.write("wide/notes.txt", "mine");
    assert!(sandbox.fails("new tower wide").contains("exists already"));
    assert_eq!(sandbox.bytes("wide/notes.txt"), b"mine");
}
