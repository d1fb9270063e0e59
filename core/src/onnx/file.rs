//! Models as files: small weights inside, large ones in one file beside it.

use super::build::{Initializer, Onnx};
use super::proto::{Entry, Graph, Model, OperatorSet, Tensor};
use super::{IR, OPSET};
use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where a weight in the file beside the model may start: so that every system can map it into memory.
const ALIGNMENT: u64 = 1 << 16;
/// Smaller weights stay in the model whatever the whole.
const SMALL: usize = 1 << 12;
/// Where protobuf ends.
const PROTOBUF_LIMIT: usize = (1 << 31) - 1;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the model.
    pub model: u64,
    /// Bytes of the file beside it; `None` if all weights are in the model.
    pub external: Option<u64>,
}

/// Writes `graph` to `path`. If its weights have more than `inline_bytes`, those of 4 KiB or more go to a file of the same name with `.data`
/// behind it, which the model names; the two must stay side by side.
///
/// # Errors
/// The file system, or a model above protobuf's 2 GiB.
pub fn write(graph: Onnx<'_>, path: &Path, name: &str, facts: Vec<Entry>, inline_bytes: u64) -> Result<Written> {
    let total: u64 = graph.initializers.iter().map(|i| i.data.bytes().len() as u64).sum();
    let beside = path.file_name().map(|n| n.to_string_lossy().into_owned() + ".data").context("a model needs a file name")?;
    let mut external = if total > inline_bytes { Some(External::create(&path.with_file_name(&beside))?) } else { None };
    let mut initializer = Vec::with_capacity(graph.initializers.len());
    for weight in graph.initializers {
        let bare = Tensor {
            dims: weight.dims.iter().map(|d| i64::try_from(*d)).collect::<Result<_, _>>()?,
            data_type: weight.data.element().code(),
            name: weight.name.clone(),
            ..Tensor::default()
        };
        initializer.push(match &mut external {
            Some(external) if weight.data.bytes().len() >= SMALL => external.put(&weight, bare, &beside)?,
            _ => Tensor { raw_data: Some(weight.data.bytes().to_vec()), ..bare },
        });
    }
    let external = external.map(External::finish).transpose()?;
    let model = Model {
        ir_version: IR,
        producer_name: "esmm-funnel".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: String::new(),
        graph: Some(Graph { node: graph.nodes, name: name.into(), initializer, input: graph.inputs, output: graph.outputs }),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
        metadata_props: facts,
    };
    let length = model.encoded_len();
    if length > PROTOBUF_LIMIT {
        bail!("the model has {length} bytes without the weights beside it, and an ONNX file ends at 2 GiB");
    }
    let mut file = File::create(path).with_context(|| format!("writing `{}`", path.display()))?;
    file.write_all(&model.encode_to_vec()).and_then(|()| file.sync_all()).with_context(|| format!("writing `{}`", path.display()))?;
    Ok(Written { model: length as u64, external })
}

/// The file beside the model.
struct External {
    out: BufWriter<File>,
    at: u64,
    shown: String,
}
impl External {
    fn create(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        Ok(Self { out: BufWriter::new(File::create(path).with_context(|| format!("writing `{shown}`"))?), at: 0, shown })
    }
    fn put(&mut self, weight: &Initializer<'_>, bare: Tensor, location: &str) -> Result<Tensor> {
        let start = self.at.next_multiple_of(ALIGNMENT);
        let bytes = weight.data.bytes();
        let padding = vec![0; usize::try_from(start - self.at)?];
        self.out.write_all(&padding).and_then(|()| self.out.write_all(bytes)).with_context(|| format!("writing `{}`", self.shown))?;
        self.at = start + bytes.len() as u64;
        let external_data =
            vec![Entry::new("location", location), Entry::new("offset", start.to_string()), Entry::new("length", bytes.len().to_string())];
        Ok(Tensor { external_data, data_location: Some(1), ..bare })
    }
    fn finish(self) -> Result<u64> {
        let Self { mut out, at, shown } = self;
        out.flush().and_then(|()| out.get_ref().sync_all()).with_context(|| format!("writing `{shown}`"))?;
        Ok(at)
    }
}

/// Reads a model, with the weights that stand beside it.
///
/// # Errors
/// A file that is missing, cut short, or no ONNX model.
pub fn read(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("reading `{}`", path.display()))?;
    let mut model = Model::decode(bytes.as_slice()).with_context(|| format!("`{}` is no ONNX model", path.display()))?;
    let graph = model.graph.as_mut().with_context(|| format!("`{}` holds no graph", path.display()))?;
    for tensor in graph.initializer.iter_mut().filter(|t| t.data_location == Some(1)) {
        let fact = |key: &str| {
            let entry = tensor.external_data.iter().find(|e| e.key == key);
            entry.map(|e| e.value.clone()).with_context(|| format!("weight `{}` lacks its `{key}`", tensor.name))
        };
        let (location, offset, length) = (fact("location")?, fact("offset")?.parse::<u64>()?, fact("length")?.parse::<u64>()?);
        let beside = path.with_file_name(&location);
        tensor.raw_data = Some(range(&beside, offset, length).with_context(|| format!("reading `{}`", beside.display()))?);
        tensor.data_location = None;
        tensor.external_data.clear();
    }
    Ok(model)
}

fn range(path: &Path, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let there = file.metadata()?.len();
    ensure!(offset.checked_add(length).is_some_and(|end| end <= there), "it is cut short: {there} bytes");
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; usize::try_from(length)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::proto::Type;
    use super::super::{Evaluated, evaluate};
    use super::*;
    use std::collections::BTreeMap;

    /// `x · W` for a weight of 4 KiB, and a small one that is added.
    fn graph() -> Onnx<'static> {
        let mut graph = Onnx::new();
        let x = graph.input("x", Type::Float, &["batch", "width"], "");
        let large = graph.weight("large", &[32, 64], (0..2048u16).map(|i| f32::from(i) / 1024.0).collect::<Vec<_>>());
        let small = graph.weight("small", &[64], vec![0.5; 64]);
        let product = graph.matmul(&x, &large);
        let sum = graph.add(&product, &small);
        graph.output("y", &sum, Type::Float, &["batch", "out"], "");
        graph
    }
    fn run(model: &Model) -> Vec<f64> {
        let x = Evaluated::floats(vec![1, 32], vec![1.0; 32]);
        let inputs = BTreeMap::from([("x".to_owned(), x)]);
        evaluate::run(model, inputs).unwrap()["y"].values()
    }

    #[test]
    fn weights_stand_inside_or_beside_and_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.onnx"), dir.path().join("two.onnx"));
        assert_eq!(write(graph(), &one, "g", vec![], 1 << 20).unwrap().external, None);
        let written = write(graph(), &two, "g", vec![], 0).unwrap();
        assert_eq!(written.external, Some(2048 * 4), "the small weight stays inside");
        assert!(written.model < 2048 * 4 && !dir.path().join("one.onnx.data").exists() && dir.path().join("two.onnx.data").exists());
        let (one, whole) = (run(&read(&one).unwrap()), read(&two).unwrap());
        assert_eq!(one, run(&whole));
        let expected: f64 = (0..32).map(|k| f64::from(k * 64) / 1024.0).sum::<f64>() + 0.5;
        assert!((one[0] - expected).abs() < 1e-4);
        std::fs::write(dir.path().join("two.onnx.data"), [0; 100]).unwrap();
        let error = format!("{:#}", read(&two).unwrap_err());
        assert!(error.contains("two.onnx.data") && error.contains("cut short"), "{error}");
    }
}
