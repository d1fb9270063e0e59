//! Raw files as they come, torn ones among them; and a second, naive reader.

use super::generate::Synth;
use super::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Int64Type, UInt8Type};
use arrow::record_batch::RecordBatch;
use esmm_funnel_core::data::source::BrokenRow;
use esmm_funnel_core::diagnostic::Diagnostics;
use esmm_funnel_core::graph::Node;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

/// The text of a line in which `^A`, `^B` and `^C` stand for the separators.
fn raw(text: &str) -> String {
    text.replace("^A", "\u{1}").replace("^B", "\u{2}").replace("^C", "\u{3}")
}
const SKELETON: &str = "1,0,0,u1,4,205^B7^C1.0^A210^B8^C0.5^A210^B9^C1.5^A301^B4^C1.0
2,1,1,u2,2,205^B6^C1.0^A508^B3^C1.09861
3,0,1,u1,1,206^B5^C1
";
const COMMON: &str = "u1,4,109_14^B11^C2.5^A101^B90^C1.0^A109_14^B12^C0.5^A121^B3^C1
u2,1,101^B91^C1.0
";

struct Folder(tempfile::TempDir);
impl Folder {
    fn new(skeleton: &str, common: &str) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.write("sample_skeleton_train.csv", raw(skeleton).as_bytes());
        this.write("common_features_train.csv", raw(common).as_bytes());
        this
    }
    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }
    fn dir(&self) -> String {
        self.0.path().display().to_string()
    }
    fn open(&self, variant: Variant) -> SharedSource {
        Aliccp { dir: Some(self.dir()), variant, ..Aliccp::default() }.open(None, &Graph::default()).unwrap()
    }
}
/// All columns of an input that it has, in one batch, and its broken rows.
fn read(source: &SharedSource, input: usize, columns: &[&str]) -> (RecordBatch, Vec<u64>, Vec<BrokenRow>) {
    let columns: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    let (mut records, mut numbers, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in source.read(input, &columns).unwrap() {
        let chunk = chunk.unwrap();
        numbers.extend((0..chunk.records.num_rows()).map(|r| chunk.numbers.get(r)));
        broken.extend(chunk.broken);
        records.push(chunk.records);
    }
    (arrow::compute::concat_batches(&records[0].schema(), &records).unwrap(), numbers, broken)
}
fn ids(records: &RecordBatch, column: &str) -> Vec<Option<i64>> {
    records.column_by_name(column).unwrap().as_primitive::<Int64Type>().iter().collect()
}
fn bag(records: &RecordBatch, column: &str, row: usize) -> Vec<i64> {
    records.column_by_name(column).unwrap().as_list::<i32>().value(row).as_primitive::<Int64Type>().values().to_vec()
}
fn weights(records: &RecordBatch, column: &str, row: usize) -> Vec<f32> {
    records.column_by_name(column).unwrap().as_list::<i32>().value(row).as_primitive::<Float32Type>().values().to_vec()
}

#[test]
fn rows_and_members_keep_all_values_and_weights() {
    let folder = Folder::new(SKELETON, COMMON);
    let source = folder.open(Variant::Paper);
    let inputs = source.inputs().unwrap();
    assert!(inputs[0].name.ends_with("common_features_train.csv") && inputs[1].name.ends_with("sample_skeleton_train.csv"));
    assert_eq!(inputs[0].entities.as_ref().unwrap().key, "common_feature_index");
    assert!(inputs[1].entities.is_none() && inputs[1].fingerprint.contains("variant paper"));
    let columns = ["sample_id", "click", "buy", "205", "210", "210_w", "508_w", "301", "common_feature_index"];
    let (rows, numbers, broken) = read(&source, 1, &columns);
    assert_eq!((numbers, broken), (vec![1, 2, 3], vec![]));
    assert_eq!(ids(&rows, "sample_id"), [Some(1), Some(2), Some(3)]);
    assert_eq!(ids(&rows, "205"), [Some(7), Some(6), None]);
    assert_eq!(ids(&rows, "301"), [Some(4), None, None]);
    assert_eq!((bag(&rows, "210", 0), bag(&rows, "210", 1), weights(&rows, "210_w", 0)), (vec![8, 9], vec![], vec![0.5, 1.5]));
    let crosses = rows.column_by_name("508_w").unwrap().as_primitive::<Float32Type>();
    assert_eq!((crosses.is_null(0), crosses.value(1)), (true, 1.09861));
    let labels = |name: &str| rows.column_by_name(name).unwrap().as_primitive::<UInt8Type>().values().to_vec();
    assert_eq!((labels("click"), labels("buy")), (vec![0, 1, 0], vec![0, 1, 1]));
    assert_eq!(rows.column_by_name("common_feature_index").unwrap().as_string::<i32>().value(1), "u2");
    let (members, ..) = read(&source, 0, &["common_feature_index", "109_14", "109_14_w", "101", "121"]);
    assert_eq!((bag(&members, "109_14", 0), weights(&members, "109_14_w", 0)), (vec![11, 12], vec![2.5, 0.5]));
    assert_eq!((ids(&members, "101"), ids(&members, "121")), (vec![Some(90), Some(91)], vec![Some(3), None]));
}

#[test]
fn variants_drop_rows_and_values() {
    let folder = Folder::new(SKELETON, COMMON);
    for variant in [Variant::Aitm, Variant::Rechub] {
        let source = folder.open(variant);
        let (rows, numbers, broken) = read(&source, 1, &["sample_id", "205", "508_w"]);
        assert_eq!((ids(&rows, "sample_id"), numbers, broken), (vec![Some(1), Some(2)], vec![1, 2], vec![]));
    }
    let source = folder.open(Variant::Rechub);
    assert_eq!(ids(&read(&source, 1, &["210"]).0, "210"), [Some(9), None]);
    assert_eq!(ids(&read(&source, 0, &["109_14"]).0, "109_14"), [Some(12), None]);
    assert!(folder.open(Variant::Aitm).schema().unwrap().index_of("210").is_err());
    assert_eq!(read(&folder.open(Variant::Xdl), 1, &["buy"]).0.num_rows(), 3);
}

#[test]
fn every_torn_line_is_told_and_the_others_are_kept() {
    let good = "9,0,0,u1,1,205^B7^C1.0";
    let torn = [
        "",
        "1,0,0,u1",
        "1\t0\t0\tu1\t1\t205^B7^C1.0",
        "x,0,0,u1,1,205^B7^C1.0",
        "1,2,0,u1,1,205^B7^C1.0",
        "1,0,,u1,1,205^B7^C1.0",
        "1,0,0,,1,205^B7^C1.0",
        "1,0,0,u1,x,205^B7^C1.0",
        "1,0,0,u1,2,205^B7^C1.0",
        "1,0,0,u1,1,205^B7^C1.0^A301^B1^C1",
        "1,0,0,u1,1,205:7:1.0",
        "1,0,0,u1,1,205^C7^B1.0",
        "1,0,0,u1,1,205^B7^C",
        "1,0,0,u1,1,205^B^C1.0",
        "1,0,0,u1,1,205^B7^C1.0^A",
        "1,0,0,u1,1,205^B7^Cnan",
        "1,0,0,u1,1,205^B-7^C1.0",
        "1,0,0,u1,1,999^B7^C1.0",
        "1,0,0,u1,1,101^B7^C1.0",
        "1,0,0,u1,2,205^B7^C1.0^A205^B8^C1.0",
        "1,0,0,u1,3,210^B7^C1.0^A210^B8^C1.0;205^B8^C1.0",
        "1,0,0,u1,2,210^B7^C1.0^A205^B8",
    ];
    let mut text = String::new();
    for line in torn {
        text += &format!("{good}\r\n{line}\n");
    }
    text += "10,0,0,u1,1,205^B7^C1";
    let folder = Folder::new(&text, COMMON);
    let (rows, numbers, broken) = read(&folder.open(Variant::Paper), 1, &["sample_id", "205", "210"]);
    assert_eq!(ids(&rows, "sample_id"), vec![Some(9); torn.len()]);
    assert_eq!(ids(&rows, "205"), vec![Some(7); torn.len()]);
    assert!((0..torn.len()).all(|row| bag(&rows, "210", row).is_empty()));
    assert_eq!(numbers, (0..torn.len() as u64).map(|i| 2 * i + 1).collect::<Vec<_>>());
    let lines: Vec<u64> = (1..=torn.len() as u64).map(|i| 2 * i).chain([2 * torn.len() as u64 + 1]).collect();
    assert_eq!(broken.iter().map(|b| b.number).collect::<Vec<_>>(), lines);
    let said: Vec<String> = broken.iter().map(|b| format!("expected {}, found {}", b.expected, b.found)).collect();
    assert_eq!(said[0], "expected sample_id,click,buy,common_feature_index,feature_num,feature_list, found an empty line");
    assert!(said[1].ends_with("found 4 of 6 fields between commas") && said[2].ends_with("found 1 of 6 fields between commas"));
    assert_eq!(said[4], "expected 0 or 1 as click, found \"2\"");
    assert_eq!(said[8], "expected as many features as feature_num says, found 1 where it says 2");
    assert!(said[10].ends_with("feature 1 without a field and 0x02") && said[12].ends_with("feature 1 without a number and 0x01"));
    assert!(said[17].ends_with("found another, in feature 1") && said[18].ends_with("found field 101 of the common features"));
    assert!(said[19].ends_with("found several of 205") && said[20].ends_with("feature 2 without a number and 0x01"));
    assert!(said[21].ends_with("feature 2 without an id of digits and 0x03"), "{}", said[21]);
    // What is left of a line that is cut short may look whole.
    assert_eq!(said[22], "expected a line end after every line, found the end of the file");
}

#[test]
fn files_find_each_other() {
    let folder = Folder::new(SKELETON, COMMON);
    folder.write("sample_skeleton_test.csv", raw(SKELETON).as_bytes());
    let fails = |settings: &Aliccp, given: Option<&[PathBuf]>| {
        settings.open(given, &Graph::default()).err().unwrap().downcast::<Diagnostics>().unwrap().0.remove(0).message
    };
    let all = Aliccp { dir: Some(folder.dir()), ..Aliccp::default() };
    assert!(fails(&all, None).contains("sample_skeleton_test.csv` has no common features"));
    folder.write("common_features_test.csv", raw(COMMON).as_bytes());
    folder.write("sample_skeleton_train.csv.gz", b"the same, compressed");
    let names = |source: &SharedSource| -> Vec<String> {
        source.inputs().unwrap().iter().map(|i| i.name.rsplit('/').next().unwrap().to_owned()).collect()
    };
    let open = |settings: &Aliccp, given: Option<&[PathBuf]>| names(&settings.open(given, &Graph::default()).unwrap());
    let expected = ["common_features_train.csv", "sample_skeleton_train.csv", "common_features_test.csv", "sample_skeleton_test.csv"];
    assert_eq!(open(&all, None), expected);
    let (parts, ..) = read(&all.open(None, &Graph::default()).unwrap(), 3, &["part"]);
    assert_eq!(ids(&parts, "part"), vec![Some(2); 3]);
    let test = folder.0.path().join("sample_skeleton_test.csv");
    assert_eq!(open(&all, Some(&[test])), expected[2..]);
    folder.write("rows.txt", raw(SKELETON).as_bytes());
    folder.write("users.txt", raw(COMMON).as_bytes());
    let path = |name: &str| folder.0.path().join(name).display().to_string();
    let stated = Aliccp { skeleton: vec![path("rows.txt")], common: vec![path("users.txt")], ..Aliccp::default() };
    assert_eq!(open(&stated, None), ["users.txt", "rows.txt"]);
    assert!(fails(&Aliccp::default(), None).contains("needs `dir` or `skeleton`"));
    assert!(fails(&Aliccp { valid: 1.5, ..all }, None).contains("must be from 0 to 1"));
}

#[test]
fn the_truth_stands_beside_its_row() {
    let dir = tempfile::tempdir().unwrap();
    let settings =
        Synth { rows: 20_000, test_rows: 3_000, history_scale: 0.01, buy_rate: 0.1, click_rate: 0.2, gzip: true, ..Synth::default() };
    settings.write(dir.path(), &|_| {}, &AtomicBool::new(false)).unwrap();
    let stage = |name: &str, parent| Node { name: name.into(), label: name.into(), parent, unless: None };
    let graph = Graph::new("impression".into(), vec![stage("click", None), stage("purchase", Some(0))], Vec::new());
    let open = || Aliccp { dir: Some(dir.path().display().to_string()), truth: true, ..Aliccp::default() }.open(None, &graph).unwrap();
    let truth = open().truth();
    assert_eq!(
        (truth[1].stage.as_str(), truth[1].probability.as_str(), truth[1].outcome.as_str()),
        ("purchase", "truth.p.purchase", "truth.cf.purchase")
    );
    let columns = ["truth.cf.click", "click", "truth.p.purchase", "buy", "truth.cf.purchase"];
    let (rows, ..) = read(&open(), 1, &columns);
    assert_eq!(rows.num_rows(), 20_000);
    let byte = |c: usize| rows.column(c).as_primitive::<UInt8Type>().values();
    assert_eq!(byte(0), byte(1));
    assert!(byte(1).iter().zip(byte(3)).zip(byte(4)).all(|((click, buy), outcome)| *click == 0 || buy == outcome));
    let p = rows.column(2).as_primitive::<Float32Type>().values();
    let (mean, rate) = (p.iter().sum::<f32>() / 20_000.0, byte(4).iter().map(|y| f32::from(*y)).sum::<f32>() / 20_000.0);
    assert!((mean / rate - 1.0).abs() < 0.2, "{mean} {rate}");
    // Rows may be left out; others may not take their truth.
    let text = |name: &str| {
        let mut text = String::new();
        let file = std::fs::File::open(dir.path().join(name)).unwrap();
        std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut text).unwrap();
        text
    };
    let (skeleton, test) = (text("sample_skeleton_train.csv.gz"), text("sample_skeleton_test.csv.gz"));
    let some = skeleton.lines().step_by(3).fold(String::new(), |text, line| text + line + "\n");
    std::fs::write(dir.path().join("sample_skeleton_train.csv"), some).unwrap();
    let (fewer, ..) = read(&open(), 1, &columns);
    let every_third = arrow::array::UInt32Array::from_iter_values((0..20_000).step_by(3));
    assert_eq!(fewer, arrow::compute::take_record_batch(&rows, &every_third).unwrap());
    std::fs::write(dir.path().join("sample_skeleton_train.csv"), test).unwrap();
    let wrong = open().read(1, &["truth.p.click".to_owned()]).unwrap().next().unwrap().unwrap_err();
    assert!(wrong.downcast::<Diagnostics>().unwrap().0[0].message.contains("for sample_id 20001"));
}

#[test]
fn the_text_form_has_the_user_in_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "1,0,0,210:1,210:2,205:6,101:12,150_14:18,150_14:19\n2,1,1\n3,0,1,205:7\n4,0,0,205:x\n5,0,0,999:1\n6,0,0,205:1,205:2\n7,0,0,\n8";
    std::fs::write(dir.path().join("rows.txt"), text).unwrap();
    let settings = Aliccp { form: Form::Text, skeleton: vec![dir.path().join("rows.txt").display().to_string()], ..Aliccp::default() };
    let source = settings.open(None, &Graph::default()).unwrap();
    assert!(source.schema().unwrap().fields().iter().all(|f| !f.name().ends_with("_w") && f.name() != "common_feature_index"));
    assert!(source.inputs().unwrap()[0].entities.is_none());
    let (rows, numbers, broken) = read(&source, 0, &["sample_id", "buy", "101", "205", "210", "150_14", "part"]);
    assert_eq!((numbers, broken.iter().map(|b| b.number).collect::<Vec<_>>()), (vec![1, 2, 3], vec![4, 5, 6, 7, 8]));
    assert_eq!((ids(&rows, "205"), ids(&rows, "101")), (vec![Some(6), None, Some(7)], vec![Some(12), None, None]));
    assert_eq!((bag(&rows, "210", 0), bag(&rows, "150_14", 0), bag(&rows, "150_14", 1)), (vec![1, 2], vec![18, 19], vec![]));
    let aitm = Aliccp { variant: Variant::Aitm, ..settings }.open(None, &Graph::default()).unwrap();
    assert_eq!(ids(&read(&aitm, 0, &["sample_id", "853"]).0, "sample_id"), [Some(1), Some(2), Some(6)]);
}

/// A file of the shared data, or a message that the test is skipped.
#[allow(clippy::print_stderr)]
fn fixture(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/aliccp_fixtures").join(name);
    if !path.is_file() {
        eprintln!("skipped: `{}` is not there", path.display());
        return None;
    }
    Some(path.display().to_string())
}

#[test]
fn public_layouts_are_read() {
    let Some(text) = fixture("paddlerec_esmm/train_small.txt") else { return };
    let source = Aliccp { form: Form::Text, skeleton: vec![text.clone()], ..Aliccp::default() }.open(None, &Graph::default()).unwrap();
    let columns: Vec<&str> = FIELDS.iter().map(|f| f.name).collect();
    let (rows, _, broken) = read(&source, 0, &columns);
    assert_eq!((rows.num_rows(), broken), (10, vec![]));
    for (row, line) in std::fs::read_to_string(text).unwrap().lines().enumerate() {
        let mut expected: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for feature in line.split(',').skip(3) {
            let (field, id) = feature.split_once(':').unwrap();
            expected.entry(field).or_default().push(id.parse().unwrap());
        }
        for field in &FIELDS {
            let found =
                if field.many { bag(&rows, field.name, row) } else { ids(&rows.slice(row, 1), field.name).into_iter().flatten().collect() };
            assert_eq!(found, expected.remove(field.name).unwrap_or_default(), "{}", field.name);
        }
        assert!(expected.is_empty());
    }
    // The others are ordinary CSV, one of them without its header.
    let csv = |name: &str, columns: Option<Vec<String>>| {
        let source = crate::sources::csv::Csv { files: vec![fixture(name).unwrap()], columns, ..Default::default() }
            .open(None, &Graph::default())
            .unwrap();
        let names: Vec<String> = source.schema().unwrap().fields().iter().map(|f| f.name().clone()).collect();
        let rows = source.read(0, &names).unwrap().map(|c| c.unwrap().records.num_rows()).sum::<usize>();
        (names, rows)
    };
    let (aitm, rows) = csv("paddlerec_aitm/train.csv", None);
    assert_eq!((aitm.len(), rows), (20, 48));
    assert_eq!(csv("paddlerec_aitm/test.csv", Some(aitm)).1, 50);
    for (name, rows) in [("train", 100), ("val", 50), ("test", 50)] {
        let (columns, found) = csv(&format!("torch_rechub/ali_ccp_{name}_sample.csv"), None);
        assert_eq!((columns.len(), found), (33, rows), "{name}");
    }
}

/// `ALICCP_BENCH=FOLDER cargo test --release -p esmm-funnel-plugins --lib -- --ignored --nocapture how_fast` prints it.
#[test]
#[ignore = "measures"]
#[allow(clippy::print_stdout)]
fn how_fast_one_core_parses() {
    let dir = std::env::var("ALICCP_BENCH").unwrap();
    let source = Aliccp { dir: Some(dir), ..Aliccp::default() }.open(None, &Graph::default()).unwrap();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (i, input) in source.inputs().unwrap().iter().enumerate() {
        let user = source.inputs().unwrap()[0].entities.clone().unwrap().columns;
        let all = source.schema().unwrap();
        let names = all.fields().iter().map(|f| f.name().clone());
        let columns: Vec<String> = if input.entities.is_some() {
            names.filter(|n| user.contains(n)).collect()
        } else {
            names.filter(|n| !user.contains(n)).collect()
        };
        let mut rates: Vec<f64> = (0..5)
            .map(|_| {
                let started = std::time::Instant::now();
                one.install(|| source.read(i, &columns).unwrap().for_each(|c| drop(std::hint::black_box(c.unwrap()))));
                input.bytes as f64 / 1e6 / started.elapsed().as_secs_f64()
            })
            .collect();
        rates.sort_by(f64::total_cmp);
        println!("{}: {:.0} MB/s, median of 5 ({:.0} to {:.0})", input.name, rates[2], rates[0], rates[4]);
    }
}

/// Field → values, of a line's feature list.
type Features = BTreeMap<String, Vec<(i64, f32)>>;

fn naively(list: &str) -> Features {
    let mut all = Features::new();
    for feature in list.split('\u{1}') {
        let (field, rest) = feature.split_once('\u{2}').unwrap();
        let (id, value) = rest.split_once('\u{3}').unwrap();
        #[allow(clippy::cast_possible_truncation)]
        let value = value.parse::<f64>().unwrap() as f32;
        all.entry(field.to_owned()).or_default().push((id.parse().unwrap(), value));
    }
    all
}
/// The same of a row of a batch.
fn of_batch(records: &RecordBatch, row: usize) -> Features {
    let mut all = Features::new();
    for field in FIELDS.iter().filter(|f| records.column_by_name(f.name).is_some()) {
        let weights_of = weights_column(field);
        let values: Vec<(i64, f32)> = if field.many {
            bag(records, field.name, row).into_iter().zip(weights(records, &weights_of, row)).collect()
        } else {
            let value = |w: &str| records.column_by_name(w).unwrap().as_primitive::<Float32Type>().value(row);
            ids(&records.slice(row, 1), field.name)[0].map(|id| (id, value(&weights_of))).into_iter().collect()
        };
        if !values.is_empty() {
            all.insert(field.name.to_owned(), values);
        }
    }
    all
}

#[test]
fn a_naive_reader_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Synth { rows: 20_000, test_rows: 0, ..Synth::default() };
    settings.write(dir.path(), &|_| {}, &AtomicBool::new(false)).unwrap();
    let open = |dir: &Path| Aliccp { dir: Some(dir.display().to_string()), ..Aliccp::default() }.open(None, &Graph::default()).unwrap();
    let source = open(dir.path());
    let schema = source.schema().unwrap();
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let user = source.inputs().unwrap()[0].entities.clone().unwrap().columns;
    let (own, beside): (Vec<&str>, Vec<&str>) = columns.iter().partition(|c| !user.iter().any(|u| u == *c));
    let members: Vec<&str> = std::iter::once("common_feature_index").chain(beside).collect();
    for (input, name, commas, columns) in [(0, "common_features_train.csv", 3, members), (1, "sample_skeleton_train.csv", 6, own)] {
        let text = std::fs::read_to_string(dir.path().join(name)).unwrap();
        let (records, numbers, broken) = read(&source, input, &columns);
        assert!(broken.is_empty() && text.len() > 3 << 20, "more than one block");
        assert_eq!(numbers.len(), text.lines().count());
        for (row, line) in text.lines().enumerate().step_by(7) {
            let cells: Vec<&str> = line.splitn(commas, ',').collect();
            let features = naively(cells[commas - 1]);
            assert_eq!(of_batch(&records, row), features);
            assert_eq!(cells[commas - 2].parse::<usize>().unwrap(), features.values().map(Vec::len).sum::<usize>());
            assert_eq!(records.column_by_name("common_feature_index").unwrap().as_string::<i32>().value(row), cells[commas - 3]);
            if commas == 6 {
                assert_eq!(ids(&records.slice(row, 1), "sample_id")[0], cells[0].parse().ok());
            }
        }
        // Compressed, the lines are the same.
        let other = tempfile::tempdir().unwrap();
        let mut file = flate2::write::GzEncoder::new(
            std::fs::File::create(other.path().join(format!("{name}.gz"))).unwrap(),
            flate2::Compression::fast(),
        );
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
        for of in ["common_features_train.csv", "sample_skeleton_train.csv"] {
            if of != name {
                std::fs::copy(dir.path().join(of), other.path().join(of)).unwrap();
            }
        }
        assert_eq!(read(&open(other.path()), input, &columns).0, records);
    }
}

#[test]
fn generated_data_have_the_shape_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Synth { rows: 60_000, test_rows: 20_000, click_rate: 0.1, buy_rate: 0.1, orphans: 0.1, ..Synth::default() };
    let parts = settings.write(dir.path(), &|_| {}, &AtomicBool::new(false)).unwrap();
    let share = |a: u64, b: u64| a as f64 / b as f64;
    let train = &parts[0];
    assert_eq!((train.rows, parts[1].rows), (60_000, 20_000));
    assert!((0.07..0.13).contains(&share(train.clicks, train.rows)), "{train:?}");
    assert!((0.07..0.14).contains(&share(train.buys, train.clicks)), "{train:?}");
    assert!((0.06..0.14).contains(&share(train.orphans, train.buys)), "{train:?}");
    assert!((40.0..80.0).contains(&share(train.rows, train.groups)), "{train:?}");
    assert!(train.true_buy_rate_clicked > 1.2 * train.true_buy_rate, "clicked rows are a biased sample: {train:?}");
    let source = Aliccp { dir: Some(dir.path().display().to_string()), ..Aliccp::default() }.open(None, &Graph::default()).unwrap();
    let (members, ..) = read(&source, 0, &["109_14", "110_14", "127_14", "150_14"]);
    let mean = |records: &RecordBatch, column: &str| {
        let list = records.column_by_name(column).unwrap().as_list::<i32>();
        list.values().len() as f64 / list.len() as f64
    };
    for (column, expected) in [("109_14", 69.0), ("110_14", 250.0), ("127_14", 154.0), ("150_14", 136.0)] {
        assert!((0.8 * expected..1.2 * expected).contains(&mean(&members, column)), "{column}: {}", mean(&members, column));
    }
    let (rows, ..) = read(&source, 1, &["210", "853", "508", "509", "702", "part"]);
    for (column, low, high) in [("210", 5.3, 6.7), ("853", 1.1, 1.7)] {
        assert!((low..high).contains(&mean(&rows, column)), "{column}: {}", mean(&rows, column));
    }
    for (column, present) in [("508", 0.5), ("509", 0.26), ("702", 0.26)] {
        let found = 1.0 - rows.column_by_name(column).unwrap().null_count() as f64 / rows.num_rows() as f64;
        assert!((present - 0.08..present + 0.08).contains(&found), "{column}: {found}");
    }
    let valid = share(ids(&rows, "part").iter().filter(|p| **p == Some(1)).count() as u64, 60_000);
    assert!((0.09..0.11).contains(&valid), "{valid}");
    // The same again; and never over what is there.
    let other = tempfile::tempdir().unwrap();
    assert_eq!(settings.write(other.path(), &|_| {}, &AtomicBool::new(false)).unwrap(), parts);
    for name in ["sample_skeleton_train.csv", "common_features_test.csv", "truth_train.parquet"] {
        assert!(std::fs::read(dir.path().join(name)).unwrap() == std::fs::read(other.path().join(name)).unwrap(), "{name}");
    }
    assert!(settings.write(dir.path(), &|_| {}, &AtomicBool::new(false)).is_err());
    assert!(Synth { click_rate: 0.0, ..settings }.check().is_err());
}
