//! What is shipped works: every spec trains, the schema file and the README's table are what the program prints.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use common::{PROJECT, SMALL, Sandbox};
use std::fs;
use std::path::{Path, PathBuf};

/// All specs of a folder.
fn specs(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(Path::new(PROJECT).join(folder))
        .into_iter()
        .flatten()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_funnel_passes_check_and_trains() {
    let t = Sandbox::new();
    let funnels = specs("funnels");
    let names: Vec<_> = funnels.iter().filter_map(|f| f.file_stem()?.to_str()).collect();
    assert_eq!(names, ["ctr_cvr", "din", "esm2", "four_stage", "grocery", "nested", "seven_stage"]);
    for spec in funnels {
        let text = fs::read_to_string(&spec).unwrap();
        assert!(text.starts_with('#'), "{} opens with a comment of intent", spec.display());
        let (spec, name) = (spec.display(), spec.file_stem().unwrap().to_string_lossy().into_owned());
        let small = if text.contains("kind = \"csv\"") { "" } else { SMALL };
        t.ok(&format!("check {spec} {small} --deny-warnings"));
        t.ok(&format!("run {spec} {small} --out {name} -q"));
        let run = t.json(&format!("{name}/run.json"));
        assert!(run["steps"].as_u64() > Some(3), "{name}: {}", run["steps"]);
        let test = &t.json(&format!("{name}/metrics.json"))["test"];
        for (stage, spaces) in test.as_object().unwrap().iter().filter(|s| s.0 != "slices") {
            assert!(spaces["full"]["logloss"].as_f64().is_some_and(f64::is_finite), "{name}.{stage}");
        }
    }
}

/// The file as shipped is the text; `UPDATE=1` makes it so.
fn shipped(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, text).unwrap();
    }
    let there = fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == text,
        "`{}` is not what the program prints; `UPDATE=1 cargo test --release --test shipped` rewrites it",
        path.display()
    );
}

#[test]
fn the_schema_file_is_what_the_program_prints() {
    let schema = Sandbox::new().ok("schema");
    assert!(schema.json()["properties"]["stage"].is_object());
    shipped(&Path::new(PROJECT).join("funnels/schema.json"), &schema.stdout);
}

#[test]
fn the_readme_lists_the_plugins_of_this_build() {
    let path = Path::new(PROJECT).join("README.md");
    let Ok(readme) = fs::read_to_string(&path) else { return };
    let (start, end) = ("<!-- plugins -->\n", "<!-- /plugins -->");
    let Some((before, rest)) = readme.split_once(start) else { panic!("no `{start}` in the README") };
    let (_, after) = rest.split_once(end).unwrap();
    let table = Sandbox::new().ok("list --markdown").stdout;
    shipped(&path, &format!("{before}{start}{table}{end}{after}"));
}

/// The second screen: everything but the server, which does not end.
#[test]
fn the_readme_puts_a_run_to_work_as_it_says() {
    let Ok(readme) = fs::read_to_string(Path::new(PROJECT).join("README.md")) else { return };
    let Some((_, section)) = readme.split_once("## Put it to work") else { panic!("no such section in the README") };
    let commands =
        section.split("```").nth(1).unwrap().lines().filter(|l| l.starts_with("esmm-funnel") && !l.contains("esmm-funnel serve"));
    let script: Vec<String> = commands
        .map(|l| l.replace("funnels/", &format!("{PROJECT}/funnels/")).replace("examples/", &format!("{PROJECT}/examples/")))
        .collect();
    assert_eq!(script.len(), 6);
    let t = Sandbox::new();
    let script = script.join("\n").replace("esmm-funnel ", "\"$esmm\" ");
    t.shell(&format!("set -e\n{script}")).exits(0);
    for file in ["report.html", "model-card.md", "importance.json", "calibration.json"] {
        assert!(t.path("grocery").join(file).is_file(), "{file}");
    }
    assert!(t.path("grocery-export/model.onnx").is_file() && t.path("scores/predict.json").is_file());
}

#[test]
fn the_page_of_plugins_is_what_the_program_prints() {
    shipped(&Path::new(PROJECT).join("docs/plugins.md"), &Sandbox::new().ok("list --markdown --settings").stdout);
}
