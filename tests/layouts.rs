//! The layouts in which Ali-CCP goes round, each read by a shipped config. The samples' labels are edited by hand: they show the form alone.

#![allow(clippy::unwrap_used)]

mod common;

use common::{PROJECT, Sandbox};
use std::path::PathBuf;

const AITM: &str =
    r#"["click","purchase","101","121","122","124","125","126","127","128","129","205","206","207","216","508","509","702","853","301"]"#;

/// A file of the shared data, or a message that the test is skipped.
#[allow(clippy::print_stderr)]
fn fixture(name: &str) -> Option<String> {
    let path = PathBuf::from(PROJECT).join("../shared/data/aliccp_fixtures").join(name);
    if !path.is_file() {
        eprintln!("skipped: `{}` is not there", path.display());
        return None;
    }
    Some(path.display().to_string())
}

/// Rows that a config reads. All of them are in train: the samples have too few labels to be split.
fn rows(config: &str, sets: &[(&str, String)]) -> u64 {
    let sets: Vec<String> = sets.iter().map(|(key, value)| format!("--set {key}={value}")).collect();
    let t = Sandbox::new();
    t.ok(&format!("prepare {PROJECT}/configs/{config} {} --format json", sets.join(" "))).json()["rows"].as_u64().unwrap()
}

#[test]
fn text_with_all_values() {
    let (Some(train), Some(test)) = (fixture("paddlerec_esmm/train_small.txt"), fixture("paddlerec_esmm/test_small.txt")) else { return };
    assert_eq!(rows("aliccp_text.toml", &[("data.source.skeleton", format!("[\"{train}\",\"{test}\"]"))]), 20);
}

#[test]
fn files_of_torch_rechub() {
    let path = |part: &str| fixture(&format!("torch_rechub/ali_ccp_{part}_sample.csv")).map(|p| format!("[\"{p}\"]"));
    let (Some(train), Some(valid), Some(test)) = (path("train"), path("val"), path("test")) else { return };
    let sets = [("data.source.files", train), ("split.valid", valid), ("split.test", test)];
    assert_eq!(rows("aliccp_rechub_csv.toml", &sets), 200);
}

#[test]
fn files_of_aitm_with_and_without_a_header() {
    let (Some(headed), Some(bare)) = (fixture("paddlerec_aitm/train.csv"), fixture("paddlerec_aitm/test.csv")) else { return };
    let whole =
        |path: &str| vec![("data.source.files", format!("[\"{path}\"]")), ("split.valid", "0.0".into()), ("split.test", "0.0".into())];
    assert_eq!(rows("aliccp_aitm_csv.toml", &whole(&headed)), 48);
    let mut sets = whole(&bare);
    // No one in it has bought what they clicked.
    sets.extend([("data.source.columns", AITM.into()), ("data.orphan_labels", "set_parent".into())]);
    assert_eq!(rows("aliccp_aitm_csv.toml", &sets), 50);
}
