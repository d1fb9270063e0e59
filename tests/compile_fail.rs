//! Misuse of `register_tower!`: what the compiler says of it is told in the words of this project, and stays so.
//!
//! Cases are compiled, without code, against the libraries that this test itself is linked with, so nothing is built again. Only the errors
//! that stand in a case's own lines are compared, without the compiler's notes, which differ between its versions. `UPDATE=1` rewrites.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// What a case may use.
const CRATES: [&str; 2] = ["esmm_funnel_core", "esmm_funnel_plugins"];

/// The folder of this test's libraries.
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Builds of a crate that lie there, the newest first.
fn builds(name: &str) -> Vec<PathBuf> {
    let is_build = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_string_lossy();
        file.starts_with(&format!("lib{name}-")) && file.ends_with(".rlib")
    };
    let mut found: Vec<PathBuf> = fs::read_dir(libraries()).unwrap().map(|e| e.unwrap().path()).filter(is_build).collect();
    let changed = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    found.sort_by_key(|path| std::cmp::Reverse(changed(path)));
    found
}

/// The errors of the compiler, as JSON, and everything it wrote.
fn compile(case: &str, crates: &[PathBuf; 2]) -> (Vec<Value>, String) {
    let dir = tempfile::tempdir().unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.current_dir(PROJECT).env("CARGO_PKG_NAME", "case");
    command.args(["--edition", "2024", "--crate-type", "lib", "--crate-name", "case", "--emit=metadata", "--error-format=json"]);
    command.arg("-o").arg(dir.path().join("libcase.rmeta")).arg("-L").arg(format!("dependency={}", libraries().display()));
    for (name, path) in CRATES.iter().zip(crates) {
        command.arg("--extern").arg(format!("{name}={}", path.display()));
    }
    let output = command.arg(format!("tests/compile_fail/{case}.rs")).output().unwrap_or_else(|e| panic!("cannot run the compiler: {e}"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let errors: Vec<Value> = messages.filter(|m| m["level"] == "error").collect();
    assert_eq!(output.status.success(), errors.is_empty(), "{text}");
    (errors, text)
}

/// The builds that `good` compiles against: those that this test is linked with, should others lie beside them.
fn crates() -> [PathBuf; 2] {
    let [core, plugins] = CRATES.map(builds);
    assert!(!core.is_empty() && !plugins.is_empty(), "no build of {CRATES:?} in `{}`", libraries().display());
    let mut said = String::new();
    for pair in plugins.iter().flat_map(|p| core.iter().map(move |c| [c.clone(), p.clone()])) {
        let (errors, text) = compile("good", &pair);
        if errors.is_empty() {
            return pair;
        }
        said += &text;
    }
    panic!("`good` does not compile: {said}")
}

/// Where an expansion of macros began, in the user's own lines.
fn origin(span: &Value) -> &Value {
    match &span["expansion"] {
        Value::Null => span,
        expansion => origin(&expansion["span"]),
    }
}

/// An error in lines of the case: what it says, and the line it is about.
fn told(error: &Value, file: &str) -> Option<String> {
    let spans = error["spans"].as_array()?;
    let span = spans
        .iter()
        .filter(|s| s["is_primary"] == true)
        .map(origin)
        .find(|s| s["file_name"].as_str().is_some_and(|f| f.ends_with(file)))?;
    let (message, line) = (error["message"].as_str()?, span["line_start"].as_u64()?);
    let text = span["text"].as_array().and_then(|t| t.first()).and_then(|t| t["text"].as_str()).unwrap_or_default();
    Some(format!("error: {message}\n --> {file}:{line}\n  | {}\n", text.trim()))
}

/// All that must fail are compiled like the one that must not.
#[test]
fn misuse_of_the_macro_is_told_in_plain_words() {
    let crates = crates();
    let mut differ = String::new();
    for case in ["not_settings", "no_name", "bad_name"] {
        let (errors, text) = compile(case, &crates);
        assert!(!errors.is_empty(), "`{case}` compiles");
        let mut told: Vec<String> = errors.iter().filter_map(|e| told(e, &format!("{case}.rs"))).collect();
        told.dedup();
        let told = told.join("\n");
        assert!(!told.is_empty(), "no error in the lines of `{case}`: {text}");
        let golden = Path::new(PROJECT).join(format!("tests/compile_fail/{case}.stderr"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if told != expected {
            let _ = write!(differ, "\n{case}: expected\n{expected}\nfound\n{told}");
        }
    }
    assert!(differ.is_empty(), "`UPDATE=1` rewrites what is expected{differ}");
}
