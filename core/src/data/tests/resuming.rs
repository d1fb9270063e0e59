//! What was interrupted goes on, and becomes the store that it would have become.

use super::*;
use crate::data::prepare::prepare_every;
use crate::data::source::{BrokenRow, EntityColumns, Tolerance};
use crate::data::{PrepareNote, PrepareProgress, Stopped};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Members, rows, members, rows: with texts, numbers, bags, keys, broken rows, and every kind of column that a store can have.
struct Log {
    inner: Memory,
    /// Chunks given so far, and how many until the source fails.
    given: Arc<AtomicUsize>,
    fails_after: usize,
}

fn users(from: usize) -> RecordBatch {
    let lines = (from..from + 40).map(|u| format!("u{u},{},t{}|{}", u % 7, u % 5, u % 11));
    text(&format!("u,age,tags\n{}", lines.collect::<Vec<_>>().join("\n")))
}
fn rows(from: usize) -> RecordBatch {
    let line = |r: usize| {
        let user = (r * 7) % 43;
        format!(
            "u{user},i{},{},k{r},{}.5,d{},{},{}",
            r % 17,
            r % 3,
            r % 9,
            r % 4,
            u8::from(r.is_multiple_of(3)),
            u8::from(r.is_multiple_of(6))
        )
    };
    text(&format!("u,item,shop,k,price,day,click,buy\n{}", (from..from + 120).map(line).collect::<Vec<_>>().join("\n")))
}

impl Source for Log {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        let fields = self.inner.tables[..2].iter().flat_map(|t| t.schema().fields().to_vec()).collect::<Vec<_>>();
        let mut distinct: Vec<arrow::datatypes::FieldRef> = Vec::new();
        for field in fields {
            if !distinct.contains(&field) {
                distinct.push(field);
            }
        }
        Ok(Arc::new(arrow::datatypes::Schema::new(distinct)))
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let mut inputs = self.inner.inputs()?;
        for input in inputs.iter_mut().step_by(2) {
            input.entities = Some(EntityColumns { key: "u".into(), columns: vec!["age".into(), "tags".into()] });
        }
        Ok(inputs)
    }
    fn tolerance(&self) -> Tolerance {
        Tolerance { rows: 1000, help: "" }
    }
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        let (given, most) = (Arc::clone(&self.given), self.fails_after);
        Ok(Box::new(self.inner.read(input, columns)?.enumerate().map(move |(n, chunk)| {
            anyhow::ensure!(given.fetch_add(1, Ordering::Relaxed) < most, "the disk is gone");
            let mut chunk = chunk?;
            if n % 2 == 1 {
                chunk.broken.push(BrokenRow { number: 7, expected: "a whole line", found: "half a one".into() });
            }
            Ok(chunk)
        })))
    }
}

fn log(version: u32, fails_after: usize) -> (SharedSource, Arc<AtomicUsize>) {
    let given = Arc::new(AtomicUsize::new(0));
    let inner = Memory { tables: vec![users(0), rows(0), users(20), rows(100)], version };
    (Arc::new(Log { inner, given: Arc::clone(&given), fails_after }), given)
}

fn log_spec() -> Spec {
    let mut spec = spec(vec![
        feature("user", "kind = 'id'\ncolumns = ['age']\nof = 'user'"),
        feature("tags", "kind = 'bag'\nseparator = '|'\nof = 'user'"),
        feature("things", "kind = 'id'\ncolumns = ['item', 'shop']"),
        feature("price", "kind = 'number'"),
    ]);
    spec.entities = vec![Entity { name: "user".into(), key: "u".into() }];
    spec.data.keys = vec!["k".into(), "u".into()];
    spec.metrics.slices = vec!["shop".into()];
    let day = |text: &str| Scalar::Text(text.into());
    spec.split = Split::Column { column: "day".into(), train_through: day("d1"), valid_through: day("d2"), test_from: Some(day("d3")) };
    spec
}

type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let all = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    all.map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&p).unwrap())).collect()
}

/// The folder aside, if there is one.
fn partial(cache: &Path) -> Option<PathBuf> {
    let hidden = |p: &PathBuf| p.is_dir() && p.file_name().unwrap().to_string_lossy().starts_with('.');
    std::fs::read_dir(cache).unwrap().map(|f| f.unwrap().path()).find(hidden)
}

struct Told {
    result: anyhow::Result<Prepared>,
    notes: Vec<(PrepareNote, u64)>,
    /// Rows at the end.
    rows: u64,
}

/// Prepares, with a checkpoint after every few chunks; stops when `stop` says so.
fn go(cache: &Path, source: &SharedSource, stop: impl Fn(&PrepareProgress) -> bool) -> Told {
    let (spec, flag, told) = (log_spec(), AtomicBool::new(false), RefCell::new((Vec::new(), 0)));
    let progress = |p: PrepareProgress| {
        told.borrow_mut().1 = p.rows;
        if let Some(note) = &p.note {
            told.borrow_mut().0.push((note.clone(), p.rows));
        }
        flag.fetch_or(stop(&p), Ordering::Relaxed);
    };
    let options = PrepareOptions { cache_dir: cache, show_values: false, verify: false, layout: None, progress: &progress, stop: &flag };
    let result = prepare_every(Duration::ZERO, &spec, source, &Graph::of(&spec), &options);
    let (notes, rows) = told.into_inner();
    Told { result, notes, rows }
}

/// Rows whose user stands in the input before them.
fn known_users() -> usize {
    let known = |rows: std::ops::Range<usize>, users: std::ops::Range<usize>| rows.filter(|r| users.contains(&((r * 7) % 43))).count();
    known(0..120, 0..40) + known(100..220, 20..60)
}

fn whole() -> Files {
    let cache = tempfile::tempdir().unwrap();
    let prepared = go(cache.path(), &log(1, usize::MAX).0, |_| false).result.unwrap();
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    let meta = prepared.store.meta();
    assert!(meta.rows == known_users() as u64 && meta.left_out.len() == 2, "{meta:?}");
    prepared.store.verify().unwrap();
    files(prepared.store.dir())
}

#[test]
fn a_stopped_one_goes_on_and_becomes_the_same() {
    let whole = whole();
    for after in [1, 20, 60, 111, 112, 113, 150, 170] {
        let cache = tempfile::tempdir().unwrap();
        let (source, _) = log(1, usize::MAX);
        let first = go(cache.path(), &source, |p| p.rows >= after);
        assert!(first.result.unwrap_err().is::<Stopped>());
        assert_eq!(first.notes.last(), Some(&(PrepareNote::Interrupted, first.rows)));
        assert!(partial(cache.path()).is_some());
        let again = go(cache.path(), &source, |_| false);
        let prepared = again.result.unwrap();
        assert_eq!(again.notes, [(PrepareNote::GoesOn, first.rows)], "after {after}");
        assert!(files(prepared.store.dir()) == whole, "after {after}");
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}

#[test]
fn it_can_be_stopped_again_and_again() {
    let (whole, cache, source) = (whole(), tempfile::tempdir().unwrap(), log(1, usize::MAX).0);
    let mut before = 0;
    for times in 0.. {
        // The first call of each is before any work, the next ones after some.
        let calls = std::cell::Cell::new(0);
        let told = go(cache.path(), &source, |_| calls.replace(calls.get() + 1) > 0);
        assert_eq!(told.notes.first().is_some_and(|(note, _)| *note == PrepareNote::GoesOn), times > 0);
        if let Ok(prepared) = told.result {
            assert!(times > 2 && files(prepared.store.dir()) == whole);
            return;
        }
        assert!(told.rows >= before);
        before = told.rows;
    }
}

/// A killed process may have written more than its last checkpoint says, into any file, and half a new checkpoint.
#[test]
fn a_killed_one_goes_on_from_its_last_checkpoint() {
    let whole = whole();
    for fails_after in [3, 9, 22, 31, 40] {
        let cache = tempfile::tempdir().unwrap();
        // No final checkpoint is written when the source fails.
        let failed = go(cache.path(), &log(1, fails_after).0, |_| false);
        assert_eq!(failed.result.unwrap_err().to_string(), "the disk is gone");
        let Some(dir) = partial(cache.path()) else {
            assert!(fails_after < 9);
            continue;
        };
        for name in files(&dir).keys().filter(|n| n.as_str() != "checkpoint.json") {
            let mut bytes = std::fs::read(dir.join(name)).unwrap();
            bytes.extend([7; 41]);
            std::fs::write(dir.join(name), bytes).unwrap();
        }
        // As many chunks as are there are taken at once, so there may be no checkpoint after this one, to replace it.
        std::fs::write(dir.join("checkpoint.json.new"), "{\"format\":1,\"ident").unwrap();
        let again = go(cache.path(), &log(1, usize::MAX).0, |_| false);
        assert_eq!(again.notes[0].0, PrepareNote::GoesOn);
        let prepared = again.result.unwrap();
        assert!(files(prepared.store.dir()) == whole, "after {fails_after} chunks");
    }
}

#[test]
fn what_was_read_is_not_encoded_again() {
    let cache = tempfile::tempdir().unwrap();
    let (source, _) = log(1, usize::MAX);
    go(cache.path(), &source, |p| p.rows >= 150);
    let (source, given) = log(1, usize::MAX);
    go(cache.path(), &source, |_| false).result.unwrap();
    // Inputs that are done are not opened: 6 chunks of users, 18 of rows, 6 and 18.
    assert!(given.load(Ordering::Relaxed) <= 18 + 6, "{given:?}");
}

#[test]
fn what_is_left_of_other_data_or_damaged_is_no_help() {
    let whole = whole();
    let stopped = || {
        let cache = tempfile::tempdir().unwrap();
        go(cache.path(), &log(1, usize::MAX).0, |p| p.rows >= 60);
        cache
    };
    // Changed inputs.
    let cache = stopped();
    let again = go(cache.path(), &log(2, usize::MAX).0, |_| false);
    assert_eq!(again.notes, [(PrepareNote::BeginsAnew("`log0.csv`, or how it is read, has changed since".into()), 0)]);
    assert!(again.result.is_ok());
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 1);
    // Each file damaged, cut short or gone; a broken checkpoint is none.
    let names: Vec<String> = files(&partial(stopped().path()).unwrap()).into_keys().collect();
    assert!(names.len() > 15);
    for name in names {
        for how in 0..3 {
            let cache = stopped();
            let path = partial(cache.path()).unwrap().join(&name);
            let mut bytes = std::fs::read(&path).unwrap();
            if bytes.is_empty() {
                continue;
            }
            match how {
                0 => {
                    bytes[0] ^= 1;
                    std::fs::write(&path, &bytes).unwrap();
                }
                1 => std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
                _ => std::fs::remove_file(&path).unwrap(),
            }
            let again = go(cache.path(), &log(1, usize::MAX).0, |_| false);
            let prepared = again.result.unwrap();
            assert!(files(prepared.store.dir()) == whole, "{name}");
            match again.notes.first() {
                None => assert_eq!(name, "checkpoint.json"),
                Some((PrepareNote::BeginsAnew(why), 0)) => assert!(why.contains(&name), "{why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[test]
fn faulty_data_leave_nothing() {
    let mut spec = log_spec();
    spec.features.declared.push(feature("k", "kind = 'number'"));
    let (cache, flag) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let options =
        PrepareOptions { cache_dir: cache.path(), show_values: false, verify: false, layout: None, progress: &|_| {}, stop: &flag };
    let error = prepare_every(Duration::ZERO, &spec, &log(1, usize::MAX).0, &Graph::of(&spec), &options).unwrap_err();
    assert!(error.is::<Diagnostics>());
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}

/// The same store however many threads there are, and however many chunks are there at once.
#[test]
fn threads_and_timing_change_nothing() {
    /// Chunks come late, now and then.
    struct Slow(SharedSource, u64);
    impl Source for Slow {
        fn schema(&self) -> anyhow::Result<SchemaRef> {
            self.0.schema()
        }
        fn inputs(&self) -> anyhow::Result<Vec<Input>> {
            self.0.inputs()
        }
        fn tolerance(&self) -> Tolerance {
            self.0.tolerance()
        }
        fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
            let seed = self.1;
            Ok(Box::new(self.0.read(input, columns)?.enumerate().map(move |(n, chunk)| {
                std::thread::sleep(Duration::from_micros((n as u64 * seed * 733) % 1500));
                chunk
            })))
        }
    }
    let whole = whole();
    for (threads, seed) in [(1, 0), (1, 3), (2, 1), (4, 0), (4, 2), (7, 5)] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let cache = tempfile::tempdir().unwrap();
        let source: SharedSource = Arc::new(Slow(log(1, usize::MAX).0, seed));
        let dir = pool.install(|| go(cache.path(), &source, |_| false).result.unwrap().store.dir().to_owned());
        assert!(files(&dir) == whole, "{threads} threads, timing {seed}");
    }
}
