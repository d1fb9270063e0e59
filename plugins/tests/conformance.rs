//! Every registered tower has what the core relies on; towers that lack it are told so, property by property.

use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::prelude::*;
use burn::tensor::Distribution;
use esmm_funnel_core::device::{Bk, Device};
use esmm_funnel_core::onnx::{Onnx, OnnxInput, OnnxOutput};
use esmm_funnel_core::plugin::registry::{Kind, names};
use esmm_funnel_core::plugin::{StageInput, StageOutput, StageShape, Tower, TowerSettings, conformance};
use esmm_funnel_core::register_tower;
use esmm_funnel_plugins as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[test]
fn every_tower_conforms() {
    let towers: Vec<_> = names(Kind::Tower).into_iter().filter(|name| *name != "broken").collect();
    assert!(towers.len() >= 2, "{towers:?}");
    for name in towers {
        conformance::assert_tower(name, "");
    }
}

#[test]
fn towers_conform_off_their_defaults() {
    for hidden in ["hidden = []", "hidden = [5]", "hidden = [6, 5, 4]"] {
        conformance::assert_tower("mlp", hidden);
    }
    for (name, settings) in [
        ("mlp", "hidden = [6, 4]\nactivation = 'dice'"),
        ("mlp", "hidden = [6, 4]\nnorm = 'batch'\ndropout = 0.3"),
        ("mlp", "hidden = [6]\nactivation = 'prelu'\nnorm = 'layer'"),
        ("wide_deep", "hidden = []"),
        ("wide_deep", "hidden = [6, 4]\nactivation = 'gelu'\ndropout = 0.2"),
        ("deepfm", "hidden = []"),
        ("deepfm", "hidden = [6]\nactivation = 'dice'\nnorm = 'batch'"),
        ("dcn_v2", "hidden = [6]\nstructure = 'stacked'\nrank = 2\nnorm = 'batch'"),
        ("dcn_v2", "hidden = []"),
        ("final_mlp", "first = []\nsecond = [6]\nheads = 1"),
        ("final_mlp", "first = [4]\nsecond = [6]\nactivation = 'dice'"),
        ("autoint", "hidden = [6]\nlayers = 1"),
        ("din", "attention_hidden = []\nhidden = []"),
        (
            "din",
            "attention_hidden = [5, 3]\nattention_activation = 'prelu'\nsoftmax = true\nhidden = [6]\nactivation = 'relu'\nnorm = 'layer'",
        ),
        ("din", "hidden = [6]\nnorm = 'batch'\ndropout = 0.2"),
        ("aitm", "hidden = [6]"),
        ("aitm", "hidden = [6, 4]\nactivation = 'dice'\nnorm = 'batch'\ndropout = 0.2"),
    ] {
        conformance::assert_tower(name, settings);
    }
}

#[test]
fn towers_that_read_the_stage_before_are_refused_where_there_is_none() {
    use esmm_funnel_core::spec::load_text;
    let text = "[funnel]\nchain = \"impression -> click -> purchase\"\n[data]\nsource = { kind = \"synthetic\", rows = 100 }\n\
                [stage.click]\ntower = { kind = \"aitm\" }\n[stage.purchase]\ntower = { kind = \"aitm\", hidden = [] }\n";
    let shown = |text: &str| load_text("funnel.toml", text, std::path::Path::new("."), &[]).err().unwrap().to_string();
    let first = shown(text);
    assert!(first.contains("tower `aitm` reads the hidden layer of the stage before, but `click` is a first stage"), "{first}");
    assert!(first.contains("funnel.toml:6:") && first.contains("^ there is no stage before this one"), "{first}");
    assert!(first.contains("at least one width is needed") && first.contains("funnel.toml:8:"), "{first}");
    let without = text.replace("\"aitm\" }", "\"linear\" }").replace(", hidden = []", "");
    let without = shown(&without);
    assert!(without.contains("reads the hidden layer of `click`, whose tower `linear` has none"), "{without}");
}

/// A tower with one fault, by setting.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Broken {
    fault: Fault,
}
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Fault {
    #[default]
    None,
    OneLogit,
    Dropout,
    BatchMean,
    FirstPartAlone,
    CutGradient,
    Unused,
    Unsaved,
    Unseeded,
    NotFinite,
    Panics,
    /// Writes other nodes than its `forward` computes.
    Onnx,
}

#[derive(Module, Debug)]
struct BrokenTower<B: Backend> {
    head: Linear<B>,
    unused: Linear<B>,
    unsaved: f32,
    dropout: Dropout,
    fault: u8,
}
impl TowerSettings for Broken {
    type Tower = BrokenTower<Bk>;
    fn build(&self, shape: &StageShape, device: &Device) -> anyhow::Result<Self::Tower> {
        static BUILT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
        let mut head = shape.head(shape.width(), device);
        if self.fault == Fault::Unseeded {
            let built = f32::from(BUILT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
            head.weight = head.weight.map(|w| (w.detach() + built).require_grad());
        }
        let drawn = Tensor::<Bk, 1>::random([1], Distribution::Default, device).into_scalar();
        let mut unused = shape.head(1, device);
        if self.fault != Fault::Unused {
            unused.weight = unused.weight.set_require_grad(false);
        }
        Ok(BrokenTower { head, unused, unsaved: drawn, dropout: DropoutConfig::new(0.5).init(), fault: self.fault as u8 })
    }
}
impl Tower for BrokenTower<Bk> {
    fn forward(&self, input: &StageInput) -> StageOutput {
        let is = |fault: Fault| self.fault == fault as u8;
        let mut x = input.dense();
        if is(Fault::Dropout) {
            x = self.dropout.forward(x);
        }
        if is(Fault::BatchMean) {
            x = x.clone() - x.mean_dim(0);
        }
        if is(Fault::CutGradient) {
            x = x.clone() + x.detach();
        }
        if is(Fault::FirstPartAlone) {
            let n = input.parts[0].values.dims()[0];
            let own = input.parts.iter().map(|p| p.values.clone().mean_dim(0).repeat_dim(0, n)).collect();
            x = x + Tensor::cat(own, 1);
        }
        let mut z = self.head.forward(x);
        if is(Fault::OneLogit) {
            z = z.slice([0..1, 0..1]);
        }
        if is(Fault::Unsaved) {
            z = z * self.unsaved;
        }
        if is(Fault::NotFinite) {
            z = z.mul_scalar(0.0).log();
        }
        assert!(!is(Fault::Panics), "as asked");
        StageOutput::logit(z)
    }
    fn onnx(&self, graph: &mut Onnx<'_>, input: &OnnxInput) -> Option<OnnxOutput> {
        let x = input.dense(graph);
        (self.fault == Fault::Onnx as u8).then(|| {
            let x = graph.relu(&x);
            OnnxOutput::logit(graph.linear("head", &x, &self.head))
        })
    }
}
register_tower!("broken", Broken);

#[test]
fn faults_are_found_and_named() {
    let found = |settings: &str| -> Vec<String> {
        let faults = conformance::tower("broken", settings).unwrap_err();
        faults.iter().map(|f| f.split(':').next().unwrap().to_owned()).collect()
    };
    // Unknown keys are accepted whatever else is at fault.
    assert_eq!(found(""), ["unknown key"]);
    for (fault, property) in [
        ("one_logit", "shape"),
        ("dropout", "scoring"),
        ("batch_mean", "rows"),
        ("first_part_alone", "shared part"),
        ("cut_gradient", "gradient"),
        ("unused", "training"),
        ("unsaved", "save and load"),
        ("unseeded", "same seed"),
        ("not_finite", "shape"),
        ("panics", "shape"),
        ("onnx", "onnx"),
    ] {
        let found = found(&format!("fault = \"{fault}\""));
        assert!(found.iter().any(|f| f == property), "{fault}: {found:?}");
    }
    let unused = conformance::tower("broken", "fault = \"unused\"").unwrap_err();
    assert!(unused.iter().any(|f| f.contains("unused.weight")), "{unused:?}");
    assert_eq!(found("fault = \"no\"")[0], "settings");
    assert!(conformance::tower("broken", "fault = ").unwrap_err()[0].contains("not TOML"));
    assert!(conformance::tower("mpl", "").unwrap_err()[0].contains("mlp"));
}

/// What an export says of a tower that does not say how it is written as ONNX.
#[test]
fn a_tower_without_nodes_is_named_with_its_stage() {
    use esmm_funnel_core::data::{Field, Fields, GroupFields, TableShape};
    use esmm_funnel_core::graph::Graph;
    use esmm_funnel_core::model::{GroupValues, Model};
    use esmm_funnel_core::onnx::proto::Type;
    let text = "[funnel]\nchain = \"impression -> click -> purchase\"\n[data]\nsource = { kind = \"synthetic\", rows = 100 }\n\
                [stage.click]\ntower = { kind = \"linear\" }\n[stage.purchase]\ntower = { kind = \"broken\" }\n";
    let spec = esmm_funnel_core::spec::load_text("funnel.toml", text, std::path::Path::new("."), &[]).unwrap().spec;
    let item = Field { name: "item".into(), feature: "item".into(), table: 0 };
    let fields = Fields {
        groups: vec![GroupFields { name: "impression".into(), singles: vec![item], ..GroupFields::default() }],
        tables: vec![TableShape { name: "item".into(), rows: 9 }],
        aux: vec![],
    };
    let model = Model::build(&spec, Graph::of(&spec), fields, &[0.5, 0.5], &esmm_funnel_core::device::cpu(), false).unwrap();
    let mut graph = Onnx::new();
    let item = graph.input("item", Type::Int64, &["batch"], "");
    let error = model.onnx(&spec, &mut graph, &[GroupValues { singles: vec![item], ..GroupValues::default() }]).unwrap_err().to_string();
    for part in ["stage `purchase`", "tower `broken`", "implement `Tower::onnx`", "docs/write-a-tower.md", "--as safetensors"] {
        assert!(error.contains(part), "{error}");
    }
}
