use super::*;
use crate::data::{BatchPlan, Part, Stopped, Store};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

const CSV: &str = "item,k,n,click,buy\na,k1,1,1,1\nb,k2,2,0,0\nc,k3,3,1,0";

#[test]
fn a_store_is_reused_until_data_or_columns_change() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(vec![feature("item", "kind = 'id'")]);
    let source = memory(vec![text(CSV)]);
    let reused = |spec: &Spec, source: &SharedSource| prepare_in(dir.path(), spec, source).unwrap().reused;
    assert!(!reused(&spec, &source));
    assert!(reused(&spec, &source));
    // How codes are used does not change how they are stored.
    spec.features.declared[0].min_count = 5;
    spec.split = Split::Random { valid: 0.5, test: 0.0, seed: 3 };
    spec.data.orphan_labels = OrphanLabels::Keep;
    assert!(reused(&spec, &source));
    let changed: SharedSource = Arc::new(Memory { tables: vec![text(CSV)], version: 2 });
    assert!(!reused(&spec, &changed));
    spec.features.declared[0].missing = vec!["a".into()];
    assert!(!reused(&spec, &changed));
    spec.data.keys = vec!["k".into()];
    assert!(!reused(&spec, &changed));
    assert!(reused(&spec, &changed));
}

#[test]
fn a_damaged_store_is_built_anew() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(vec![feature("item", "kind = 'id'"), feature("n", "kind = 'number'")]);
    let source = memory(vec![text(CSV)]);
    let build = || prepare_in(dir.path(), &spec, &source).unwrap();
    let first = build();
    let folder = first.store.dir().to_owned();
    drop(first);
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    names.sort();
    for path in names {
        let bytes = std::fs::read(&path).unwrap();
        if bytes.is_empty() {
            continue;
        }
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(Store::open(&folder).is_err(), "{}", path.display());
        assert!(!build().reused);
        if !path.ends_with("meta.json") {
            let mut turned = bytes.clone();
            turned[bytes.len() / 2] ^= 4;
            std::fs::write(&path, turned).unwrap();
            let again = build();
            assert!(
                !again.reused && again.damage.unwrap().ends_with("is not what was written: its checksum differs"),
                "{}",
                path.display()
            );
        }
        std::fs::remove_file(&path).unwrap();
        assert!(!build().reused);
        assert!(build().reused);
    }
    // Nothing is left aside.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn stopping_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(vec![feature("item", "kind = 'id'")]);
    let stop = AtomicBool::new(true);
    let options = PrepareOptions { cache_dir: dir.path(), show_values: false, verify: false, layout: None, progress: &|_| {}, stop: &stop };
    let error = crate::data::prepare(&spec, &memory(vec![text(CSV)]), &Graph::of(&spec), &options).unwrap_err();
    assert!(error.is::<Stopped>());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn inputs_and_places_are_known() {
    let spec = spec(vec![feature("item", "kind = 'id'")]);
    let empty = text(CSV).slice(0, 0);
    let (_keep, dataset, _) = open(&spec, &memory(vec![empty.clone(), text(CSV), empty, text(CSV)]));
    let store = dataset.store();
    assert_eq!(store.meta().inputs.iter().map(|i| i.rows).collect::<Vec<_>>(), [0, 3, 0, 3]);
    assert_eq!((store.place(0), store.place(2), store.place(3)), ("log1.csv:2".into(), "log1.csv:4".into(), "log3.csv:2".into()));
    assert_eq!(dataset.rows(Part::Train), 6);
}

/// Truth columns, as a generator gives them.
struct Known(Memory);
impl Source for Known {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        self.0.schema()
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        self.0.inputs()
    }
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        self.0.read(input, columns)
    }
    fn truth(&self) -> Vec<crate::data::source::TruthColumns> {
        vec![crate::data::source::TruthColumns { stage: "buy".into(), probability: "p".into(), outcome: "y".into() }]
    }
}

#[test]
fn truth_travels_with_its_stage() {
    let table = text("item,p,y,click,buy\na,0.25,1,0,0\nb,0.5,0,1,0\nc,0.75,1,1,1");
    let source: SharedSource = Arc::new(Known(Memory { tables: vec![table], version: 1 }));
    let (_keep, dataset, _) = open(&spec(vec![feature("all", "kind = 'id'\ncolumns = ['*']")]), &source);
    assert_eq!(dataset.fields().groups[0].singles.len(), 1);
    let batch = dataset.batches(Part::Train, BatchPlan::sequential(NonZeroUsize::MIN.saturating_add(4))).next().unwrap().unwrap().0;
    assert_eq!(batch.truth, [vec![], vec![0.25, 0.5, 0.75]]);
    assert_eq!(batch.counterfactual, [vec![], vec![1, 0, 1]]);
}

/// A spec that names the truth's columns, children first.
fn with_truth() -> Spec {
    let mut spec = spec(vec![feature("all", "kind = 'id'\ncolumns = ['*']")]);
    for (stage, p, y) in [("buy", "p", "y"), ("click", "q", "x")] {
        spec.data.truth.insert(stage.into(), Truth { probability: p.into(), outcome: y.into() });
    }
    spec
}

#[test]
fn truth_can_be_declared() {
    let table = text("item,p,y,q,x,click,buy\na,0.25,1,0.5,0,0,0\nb,0.5,0,1,1,1,0");
    let (_keep, dataset, _) = open(&with_truth(), &memory(vec![table]));
    assert_eq!(dataset.fields().groups[0].singles.len(), 1, "no feature reads it");
    let batch = dataset.batches(Part::Train, BatchPlan::sequential(NonZeroUsize::MIN.saturating_add(4))).next().unwrap().unwrap().0;
    assert_eq!(batch.truth, [vec![0.5, 1.0], vec![0.25, 0.5]]);
    assert_eq!(batch.counterfactual, [vec![0, 1], vec![1, 0]]);
}

#[test]
fn declared_truth_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let says = |csv: &str, parts: &[&str]| {
        let error = prepare_in(dir.path(), &with_truth(), &memory(vec![text(csv)])).unwrap_err();
        let message: Vec<String> =
            error.downcast::<Diagnostics>().unwrap().0.into_iter().map(|d| format!("{} {}", d.message, d.help.join(" "))).collect();
        let message = message.join("\n");
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    says("item,p,y,q,x,click,buy\na,1.25,1,0.5,0,0,0\nb,,2,1,1,1,0", &["a probability, 0 to 1", "0 or 1", "log0.csv:2"]);
    says("item,p,y,q,click,buy\na,1,1,0.5,0,0", &["`data.truth.click.outcome`: no column `x` in the data"]);
}
