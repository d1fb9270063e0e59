//! Entities in inputs of their own: the same store as with their columns in every row, and every fault told.

use super::*;
use crate::data::source::{BrokenRow, EntityColumns, Tolerance};
use crate::data::{BatchPlan, Part, RawEncoder, joined};
use arrow::datatypes::Schema;
use std::num::NonZeroUsize;

/// Tables of members and of rows, in reading order.
struct Parted {
    inner: Memory,
    members: Vec<bool>,
    allowed: u64,
}
impl Source for Parted {
    fn schema(&self) -> anyhow::Result<SchemaRef> {
        let mut fields: Vec<_> = Vec::new();
        for field in self.inner.tables.iter().flat_map(|t| t.schema().fields().to_vec()) {
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }
    fn inputs(&self) -> anyhow::Result<Vec<Input>> {
        let mut inputs = self.inner.inputs()?;
        for ((input, table), members) in inputs.iter_mut().zip(&self.inner.tables).zip(&self.members) {
            let columns = table.schema().fields().iter().skip(1).map(|f| f.name().clone()).collect();
            input.entities = members.then(|| EntityColumns { key: "u".into(), columns });
        }
        Ok(inputs)
    }
    fn read(&self, input: usize, columns: &[String]) -> anyhow::Result<ChunkStream> {
        self.inner.read(input, columns)
    }
    fn tolerance(&self) -> Tolerance {
        Tolerance { rows: self.allowed, help: "say `skip`" }
    }
}

const USERS: &str = "u,age,tags\na,20,x|y\nb,30,\nc,20,y";
const ROWS: &str = "u,item,click,buy\nb,i1,1,1\na,i2,0,0\na,i1,1,0\nc,i3,0,0\nb,i2,1,0";
const FLAT: &str = "u,age,tags,item,click,buy\nb,30,,i1,1,1\na,20,x|y,i2,0,0\na,20,x|y,i1,1,0\nc,20,y,i3,0,0\nb,30,,i2,1,0";

fn parted(tables: &[(&str, bool)], allowed: u64) -> SharedSource {
    let inner = Memory { tables: tables.iter().map(|(t, _)| text(t)).collect(), version: 1 };
    Arc::new(Parted { inner, members: tables.iter().map(|(_, m)| *m).collect(), allowed })
}
fn user_spec() -> Spec {
    let user = feature("user", "kind = 'id'\ncolumns = ['u', 'age']\nof = 'user'");
    let tags = feature("tags", "kind = 'bag'\nseparator = '|'\nof = 'user'");
    let mut spec = spec(vec![user, tags, feature("item", "kind = 'id'")]);
    spec.entities = vec![Entity { name: "user".into(), key: "u".into() }];
    spec
}
/// Per row, what it says: names of ids and tags, and labels.
fn rows(prepared: &Prepared) -> Vec<Vec<String>> {
    let store = &prepared.store;
    let layout = store.layout();
    let name = |table: usize, code: u32| (code as usize).checked_sub(1).map_or("-".into(), |at| store.table_values(table)[at].to_string());
    let row = |row: usize| {
        let user = store.entities(row)[0] as usize;
        let mut all: Vec<String> =
            store.groups[1].codes(user).iter().zip(&layout.groups[1].ids).map(|(code, c)| name(c.table, *code)).collect();
        all.push(store.groups[1].bags[0].get(user).0.iter().map(|code| name(layout.groups[1].bags[0].id.table, *code)).collect());
        all.push(name(layout.groups[0].ids[0].table, store.groups[0].codes(row)[0]));
        all.push(format!("{:?} {}", store.labels(row), store.number(row)));
        all
    };
    (0..store.rows()).map(row).collect()
}

#[test]
fn a_row_has_what_its_member_has() {
    let dir = tempfile::tempdir().unwrap();
    let spec = user_spec();
    let flat = prepare_in(dir.path(), &spec, &memory(vec![text(FLAT)])).unwrap();
    let given = prepare_in(dir.path(), &spec, &parted(&[(USERS, true), (ROWS, false)], 0)).unwrap();
    assert_eq!(rows(&given), rows(&flat));
    let entities = &given.store.meta().entities[0];
    assert_eq!((entities.entities, entities.keys, entities.keys_with_several), (3, 3, 0));
    assert_eq!(given.store.place(4), "log1.csv:6");
}

#[test]
fn each_part_may_have_members_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let parts = [(USERS, true), (ROWS, false), ("u,age,tags\na,99,\nc,20,y", true), ("u,item,click,buy\na,i1,1,0\nc,i9,0,0", false)];
    let prepared = prepare_in(dir.path(), &user_spec(), &parted(&parts, 0)).unwrap();
    let all = rows(&prepared);
    assert_eq!((all[2][1].as_str(), all[5][1].as_str(), all[6][1].as_str()), ("20", "99", "20"));
    let entities = &prepared.store.meta().entities[0];
    assert_eq!((entities.entities, entities.keys, entities.keys_with_several), (4, 3, 1));
    // Of the part before, none is left.
    let dir = tempfile::tempdir().unwrap();
    let parts = [(USERS, true), (ROWS, false), ("u,age,tags\na,99,", true), ("u,item,click,buy\nb,i1,1,0", false)];
    let error = prepare_in(dir.path(), &user_spec(), &parted(&parts, 0)).unwrap_err();
    assert!(error.to_string().contains("log3.csv:2: expected a key that an entity input holds"), "{error}");
}

#[test]
fn broken_members_and_rows_are_told_with_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    let users = format!("{USERS}\nb,31,");
    let log = format!("{ROWS}\nz,i1,0,0\nb,i1,0,0\ny,i1,1,0");
    let open = |allowed| prepare_in(dir.path(), &user_spec(), &parted(&[(&users, true), (&log, false)], allowed));
    let error = open(0).unwrap_err();
    let message = error.downcast_ref::<Diagnostics>().unwrap().0[0].message.clone();
    assert_eq!(message, "log0.csv:5: expected each key once, found one that stands further up; the first counts");
    let error = open(2).unwrap_err().downcast::<Diagnostics>().unwrap().0;
    assert!(error[1].message.starts_with("log1.csv:7: expected a key that an entity input holds"), "{error:?}");
    assert_eq!(error[1].help, ["say `skip`", "3 broken so far, and 2 may be left out"]);
    let prepared = open(3).unwrap();
    let flat = prepare_in(dir.path(), &user_spec(), &memory(vec![text(&format!("{FLAT}\nb,30,,i1,0,0"))])).unwrap();
    let (mut all, mut expected) = (rows(&prepared), rows(&flat));
    assert_eq!(all[5].pop().unwrap(), "[0, 0] 8");
    expected[5].pop();
    assert_eq!(all, expected);
    let (_, report) = Dataset::open(&user_spec(), &Graph::of(&user_spec()), &prepared).unwrap();
    let told: Vec<&str> = report.diagnostics.iter().filter(|d| d.id == "left-out-rows").map(|d| d.message.as_str()).collect();
    assert_eq!(told.len(), 2);
    assert!(told[1].contains("2 such lines, the first at log1.csv:7, log1.csv:9; left out"), "{told:?}");
}

#[test]
fn columns_in_the_wrong_place_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let source = parted(&[(USERS, true), (ROWS, false)], 0);
    let said = |spec: &Spec| prepare_in(dir.path(), spec, &source).unwrap_err().downcast::<Diagnostics>().unwrap().0.remove(0);
    let mut wrong = user_spec();
    wrong.features.declared[1].of = None;
    let fault = said(&wrong);
    assert_eq!(fault.message, "column `tags` stands in no row, but beside the key `u`");
    assert_eq!(fault.help, ["add `of = \"user\"` to its feature"]);
    let mut wrong = user_spec();
    wrong.features.declared[2].of = Some("user".into());
    assert_eq!(said(&wrong).message, "column `item` is no column of entity `user`: it stands in the rows");
    let mut wrong = user_spec();
    wrong.metrics.gauc_by = Some("age".into());
    assert!(said(&wrong).message.ends_with("it can be a feature, and nothing else"));
    let mut inferred = user_spec();
    inferred.features = Features { infer: true, declared: Vec::new() };
    assert!(said(&inferred).message.contains("entities stand in inputs of their own"));
    // Without features of the entity, its inputs are not read.
    let items = spec(vec![feature("item", "kind = 'id'")]);
    assert_eq!(prepare_in(dir.path(), &items, &source).unwrap().store.rows(), 5);
}

#[test]
fn raw_rows_are_joined_for_scoring() {
    let dir = tempfile::tempdir().unwrap();
    let spec = user_spec();
    let log = format!("{ROWS}\nz,i1,0,0");
    let source = parted(&[(USERS, true), (&log, false)], 1);
    let prepared = prepare_in(dir.path(), &spec, &source).unwrap();
    let (dataset, _) = Dataset::open(&spec, &Graph::of(&spec), &prepared).unwrap();
    let raw = joined(&source).unwrap();
    let inputs = raw.inputs().unwrap();
    assert_eq!(inputs.len(), 1);
    let encoder = RawEncoder::new(Arc::new(dataset.preprocessor().clone()));
    let chunks: Vec<Chunk> = raw.read(0, &encoder.columns()).unwrap().map(Result::unwrap).collect();
    let expected = BrokenRow { number: 7, expected: "a key that an entity input holds", found: "another".into() };
    assert_eq!(chunks[0].broken, [expected]);
    let batch = encoder.encode(&chunks[0], &inputs[0]).unwrap().batch;
    let plan = BatchPlan::sequential(NonZeroUsize::new(100).unwrap());
    let trained = dataset.batches(Part::Train, plan).next().unwrap().unwrap().0;
    assert_eq!(batch.groups[0].singles, trained.groups[0].singles);
    let of = |batch: &crate::data::Batch, row: usize| {
        let user = &batch.groups[1];
        let at = user.index[row] as usize;
        let bag = &user.bags[0];
        (user.singles[at * 2..at * 2 + 2].to_vec(), bag.rows[bag.offsets[at] as usize..bag.offsets[at + 1] as usize].to_vec())
    };
    for row in 0..5 {
        assert_eq!(of(&batch, row), of(&trained, row), "row {row}");
    }
}
