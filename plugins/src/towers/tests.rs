//! Towers and encoders against plain `PyTorch`: the same weights and input, so the same output and the same gradient of its sum by the input.
//! The script that made the numbers is `tests/golden/towers_torch.py`.

use burn::prelude::*;
use esmm_funnel_core::device::{Bk, Device, Grads, cpu};
use esmm_funnel_core::plugin::input::{Noise, Part};
use esmm_funnel_core::plugin::module::Named;
use esmm_funnel_core::plugin::registry::find;
use esmm_funnel_core::plugin::tower::DynTower;
use esmm_funnel_core::plugin::{Build, EncoderShape, Kind, Needs, PartShape, Sequence, SequenceShape, StageInput, StageShape};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| usize::try_from(v.as_u64().unwrap()).unwrap()).collect()
}
#[allow(clippy::cast_possible_truncation)]
fn data(value: &Value) -> TensorData {
    let values: Vec<f32> = value["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    TensorData::new(values, numbers(&value["shape"]))
}
fn named(value: &Value) -> Named {
    value.as_object().unwrap().iter().map(|(name, v)| (name.clone(), data(v))).collect()
}
fn shapes(value: &Value) -> Vec<PartShape> {
    let number = |v: &Value, key: &str| usize::try_from(v[key].as_u64().unwrap()).unwrap();
    let part = |v| PartShape { fields: number(v, "fields"), dim: number(v, "dim"), numbers: number(v, "numbers") };
    value.as_array().unwrap().iter().map(part).collect()
}
fn input(value: &Value, device: &Device) -> StageInput {
    let index = |v: &Value| {
        let index: Vec<i32> = numbers(&v["index"]).into_iter().map(|i| i32::try_from(i).unwrap()).collect();
        Tensor::from_data(index.as_slice(), device)
    };
    let part = |v: &Value| Part {
        values: Tensor::<Bk, 2>::from_data(data(v), device).require_grad(),
        index: (!v["index"].is_null()).then(|| index(v)),
    };
    StageInput::new(value.as_array().unwrap().iter().map(part).collect())
}
fn close(name: &str, found: &TensorData, expected: &Value) {
    let expected = data(expected);
    assert_eq!(found.shape, expected.shape, "{name}");
    let off = found.iter::<f32>().zip(expected.iter::<f32>()).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max);
    assert!(off < 1e-4, "{name} is off by {off}");
}
fn sequence(value: &Value, device: &Device) -> Sequence {
    let integers = |v: &Value| {
        let values: Vec<i32> = numbers(v).into_iter().map(|i| i32::try_from(i).unwrap()).collect();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), device)
    };
    Sequence {
        values: Tensor::<Bk, 2>::from_data(data(value), device).require_grad(),
        value: (!value["value"].is_null()).then(|| integers(&value["value"])),
        row: integers(&value["row"]),
    }
}
/// The batch of a step, cut to what the tower asked for.
fn batch(value: &Value, needs: Needs, device: &Device) -> StageInput {
    let upstream = || Tensor::<Bk, 2>::from_data(data(&value["upstream"]), device).require_grad();
    StageInput {
        own: if needs.own_dim > 0 { input(&value["own"], device).parts } else { vec![] },
        sequences: if needs.sequences { vec![sequence(&value["sequence"], device)] } else { vec![] },
        upstream: needs.upstream.then(upstream),
        ..input(&value["parts"], device)
    }
}
fn batch_shape(parts: Vec<PartShape>, needs: Needs) -> StageShape {
    StageShape {
        own: if needs.own_dim > 0 { parts.iter().map(|p| PartShape { dim: needs.own_dim, numbers: 0, ..*p }).collect() } else { vec![] },
        sequences: if needs.sequences { vec![SequenceShape { pooled: 2, target: 0, dim: 4 }] } else { vec![] },
        upstream: needs.upstream.then_some(3),
        ..StageShape::new("click", parts)
    }
}
/// By the parts, what is the tower's own, upstream and the sequence, in this order; what is `null` must not be there, or be 0.
fn leaf_gradients_are_close(name: &str, input: &StageInput, grads: &Grads, expected: &Value) {
    let own = |i: usize| input.own.get(i).map(|p| p.values.clone());
    let leaves = [
        Some(input.parts[0].values.clone()),
        Some(input.parts[1].values.clone()),
        own(0),
        own(1),
        input.upstream.clone(),
        input.sequences.first().map(|s| s.values.clone()),
    ];
    for (i, leaf) in leaves.into_iter().enumerate() {
        let name = format!("{name}: gradient of leaf {i}");
        match leaf.and_then(|leaf| leaf.grad(grads)) {
            Some(found) if expected[i].is_null() => assert!(found.into_data().iter::<f32>().all(|g| g == 0.0), "{name}"),
            Some(found) => close(&name, &found.into_data(), &expected[i]),
            None => assert!(expected[i].is_null(), "{name} is missing"),
        }
    }
}
fn gradients_are_close(name: &str, total: &Tensor<Bk, 1>, inputs: &[StageInput], expected: &Value) {
    let grads = total.backward();
    for (stage, input) in inputs.iter().enumerate() {
        for (part, p) in input.parts.iter().enumerate() {
            let name = format!("{name}: gradient of part {part} of input {stage}");
            close(&name, &p.values.grad(&grads).unwrap().into_data(), &expected[stage][part]);
        }
    }
}

#[test]
fn networks_give_what_pytorch_gives() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/towers_torch.json")).unwrap();
    let device = Device::autodiff(cpu());
    let parts = shapes(&golden["parts"]);
    let inputs: Vec<StageInput> = golden["inputs"].as_array().unwrap().iter().map(|v| input(v, &device)).collect();
    for case in golden["cases"].as_array().unwrap() {
        let settings: toml::Table = case["settings"].as_str().unwrap().parse().unwrap();
        let (kind, name) = (case["plugin"].as_str().unwrap(), case["name"].as_str().unwrap());
        if case["of"] == "tower" {
            let Build::Tower(tower) = find(Kind::Tower, kind).unwrap().build else { panic!("{kind}") };
            let shape = StageShape::new("click", parts.clone());
            let mut tower = (tower.build)(&settings, &shape, &device).unwrap();
            tower.load(named(&case["weights"])).unwrap_or_else(|e| panic!("{name}: {e}"));
            let logit = tower.forward(&inputs[0]).logit;
            close(name, &logit.clone().into_data(), &case["outputs"][0]);
            gradients_are_close(name, &logit.sum(), &inputs[..1], &case["gradients"]);
            let scoring = tower.inner().forward(&input(&golden["inputs"][0], &cpu())).logit;
            close(name, &scoring.into_data(), &case["outputs"][0]);
        } else {
            let Build::Encoder(encoder) = find(Kind::Encoder, kind).unwrap().build else { panic!("{kind}") };
            let stages = inputs.iter().enumerate().map(|(i, _)| format!("stage_{i}")).collect();
            let (mut encoder, out) = (encoder.build)(&settings, &EncoderShape { stages, parts: parts.clone() }, &device).unwrap();
            encoder.load(named(&case["weights"])).unwrap_or_else(|e| panic!("{name}: {e}"));
            let encoded = encoder.forward(&inputs);
            assert_eq!(encoded.len(), inputs.len());
            for (stage, input) in encoded.iter().enumerate() {
                assert_eq!(input.dense().dims()[1], out.iter().map(PartShape::width).sum::<usize>(), "{name}");
                close(name, &input.dense().into_data(), &case["outputs"][stage]);
            }
            let total = encoded.iter().map(|e| e.dense().sum()).reduce(|a, b| a + b).unwrap();
            gradients_are_close(name, &total, &inputs, &case["gradients"]);
        }
    }
}

#[test]
fn towers_that_ask_for_more_give_what_pytorch_gives() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/towers_torch.json")).unwrap();
    let device = Device::autodiff(cpu());
    let weights = Tensor::<Bk, 1>::from_data([1.0, -2.0, 0.5, 3.0, -1.0], &device);
    for case in golden["more"].as_array().unwrap() {
        let settings: toml::Table = case["settings"].as_str().unwrap().parse().unwrap();
        let (kind, name) = (case["plugin"].as_str().unwrap(), case["name"].as_str().unwrap());
        let Build::Tower(plugin) = find(Kind::Tower, kind).unwrap().build else { panic!("{kind}") };
        let needs = (plugin.needs)(&settings).unwrap();
        let shape = batch_shape(shapes(&golden["parts"]), needs);
        let mut tower = (plugin.build)(&settings, &shape, &device).unwrap();
        tower.load(named(&case["weights"])).unwrap_or_else(|e| panic!("{name}: {e}"));
        let steps = case["steps"].as_array().unwrap();
        for (i, step) in steps.iter().enumerate() {
            let name = format!("{name}, batch {i}");
            let noise = (case["training"] == true).then_some(Noise(1));
            let input = StageInput { noise, ..batch(&step["batch"], needs, &device) };
            let output = tower.forward(&input);
            close(&name, &output.logit.clone().into_data(), &step["logits"]);
            assert_eq!(output.hidden.is_some(), !step["hidden"].is_null(), "{name}");
            if let Some(hidden) = output.hidden {
                close(&format!("{name}: hidden layer"), &hidden.into_data(), &step["hidden"]);
            }
            leaf_gradients_are_close(&name, &input, &(output.logit * weights.clone()).sum().backward(), &step["gradients"]);
        }
        let after = tower.tensors();
        for (running, value) in case["after"].as_object().unwrap() {
            close(&format!("{name}: {running}"), &after[running], value);
            assert!(!tower.trained().contains(running), "{name}: `{running}` is not for the optimiser");
        }
        let scored = tower.inner().forward(&batch(&steps[0]["batch"], needs, &cpu())).logit;
        close(&format!("{name}: scored"), &scored.into_data(), &case["scored"]);
    }
}

#[test]
fn one_row_is_normalised_as_in_scoring() {
    let Build::Tower(plugin) = find(Kind::Tower, "mlp").unwrap().build else { panic!() };
    let shape = StageShape::new("click", vec![PartShape { fields: 1, dim: 2, numbers: 1 }]);
    let device = Device::autodiff(cpu());
    let settings = "hidden = [4]\nactivation = \"dice\"\nnorm = \"batch\"".parse().unwrap();
    let tower = (plugin.build)(&settings, &shape, &device).unwrap();
    let before = tower.tensors();
    let mut input = StageInput::new(vec![Part { values: Tensor::<Bk, 2>::ones([1, 3], &device), index: None }]);
    let scored = tower.forward(&input).logit.into_data();
    input.noise = Some(Noise(1));
    assert_eq!(tower.forward(&input).logit.into_data(), scored);
    assert_eq!(tower.tensors(), before);
}

#[test]
fn a_scoring_copy_stays_as_it_was() {
    let Build::Tower(plugin) = find(Kind::Tower, "mlp").unwrap().build else { panic!() };
    let shape = StageShape::new("click", vec![PartShape { fields: 1, dim: 2, numbers: 0 }]);
    let device = Device::autodiff(cpu());
    let tower = (plugin.build)(&"hidden = [4]\nnorm = \"batch\"".parse().unwrap(), &shape, &device).unwrap();
    let rows = |device: &Device| {
        let values = Tensor::<Bk, 2>::from_data([[1.0, 2.0], [0.5, -3.0], [2.0, 0.0]], device);
        StageInput::new(vec![Part { values, index: None }])
    };
    let scored = |copy: &dyn DynTower| copy.forward(&rows(&cpu())).logit.into_data();
    let copy = tower.inner();
    let before = scored(&*copy);
    let _ = tower.forward(&StageInput { noise: Some(Noise(1)), ..rows(&device) });
    assert_eq!(scored(&*copy), before);
    assert_ne!(scored(&*tower.inner()), before);
}

#[test]
fn settings_out_of_range_are_refused() {
    let widths = [
        ("mlp", "hidden"),
        ("wide_deep", "hidden"),
        ("deepfm", "hidden"),
        ("dcn_v2", "hidden"),
        ("autoint", "hidden"),
        ("final_mlp", "first"),
        ("din", "hidden"),
        ("din", "attention_hidden"),
        ("aitm", "hidden"),
    ];
    for (kind, key) in widths {
        let Build::Tower(plugin) = find(Kind::Tower, kind).unwrap().build else { panic!("{kind}") };
        let fault = |settings: String| (plugin.needs)(&settings.parse().unwrap()).err().map(|e| e.to_string());
        assert_eq!(fault(format!("{key} = [4]")), None, "{kind}");
        assert!(fault(format!("{key} = [4, 0]")).unwrap().contains("nonzero"), "{kind}");
        assert!(fault("dropout = 1.5".into()).unwrap().contains("1.5 is out of range"), "{kind}");
        assert!(fault("norm = \"group\"".into()).unwrap().contains("`none`, `layer`, `batch`"), "{kind}");
    }
    let Build::Tower(aitm) = find(Kind::Tower, "aitm").unwrap().build else { panic!() };
    assert!((aitm.needs)(&"hidden = []".parse().unwrap()).unwrap_err().to_string().contains("at least one width"));
}

#[test]
fn attention_to_a_sequence_needs_one() {
    let Build::Tower(din) = find(Kind::Tower, "din").unwrap().build else { panic!() };
    let fault = |shape: &StageShape| (din.build)(&toml::Table::new(), shape, &cpu()).err().unwrap().to_string();
    let part = |fields| vec![PartShape { fields, dim: 4, numbers: 2 }];
    assert!(fault(&StageShape::new("click", part(0))).contains("keeps fields apart"));
    assert!(fault(&StageShape::new("click", part(2))).contains("needs a sequence"));
}

#[test]
fn dropout_is_a_rate() {
    for plugin in ["mlp", "dcn_v2", "final_mlp", "autoint", "wide_deep", "deepfm"] {
        let Build::Tower(tower) = find(Kind::Tower, plugin).unwrap().build else { panic!("{plugin}") };
        let shape = StageShape::new("click", vec![PartShape { fields: 2, dim: 2, numbers: 1 }]);
        for (rate, fits) in [("0", true), ("0.5", true), ("1.0", false), ("-0.1", false), ("nan", false)] {
            let settings: toml::Table = format!("dropout = {rate}").parse().unwrap();
            assert_eq!((tower.build)(&settings, &shape, &cpu()).is_ok(), fits, "{plugin}: {rate}");
        }
    }
}

#[test]
fn dropout_changes_training_but_not_scoring() {
    let Build::Tower(tower) = find(Kind::Tower, "mlp").unwrap().build else { panic!() };
    let shape = StageShape::new("click", vec![PartShape { fields: 2, dim: 2, numbers: 1 }]);
    let device = Device::autodiff(cpu());
    let tower = (tower.build)(&"hidden = [64, 32]\ndropout = 0.4".parse().unwrap(), &shape, &device).unwrap();
    let mut input = StageInput::new(vec![Part { values: Tensor::<Bk, 2>::ones([3, 5], &device), index: None }]);
    let logits = |input: &StageInput| tower.forward(input).logit.into_data().to_vec::<f32>().unwrap();
    let plain = logits(&input);
    assert!(plain.iter().all(|z| *z == plain[0]), "nothing is drawn without noise");
    input.noise = Some(Noise(3));
    let noisy = logits(&input);
    assert_eq!(noisy, logits(&input));
    assert!(noisy[0] != plain[0] && noisy[0] != noisy[1]);
}

#[test]
fn heads_divide_the_last_widths() {
    let Build::Tower(tower) = find(Kind::Tower, "final_mlp").unwrap().build else { panic!() };
    let shape = StageShape::new("click", vec![PartShape { fields: 2, dim: 2, numbers: 1 }]);
    let fault = (tower.build)(&"heads = 3".parse().unwrap(), &shape, &cpu()).err().unwrap();
    assert_eq!(fault.to_string(), "`heads` is 3, which must divide the last width of both perceptrons, 80 and 80");
}

#[test]
fn attention_needs_fields_of_one_width() {
    let Build::Tower(tower) = find(Kind::Tower, "autoint").unwrap().build else { panic!() };
    let part = |fields, dim| PartShape { fields, dim, numbers: 3 };
    let fault = |parts| {
        let shape = StageShape::new("click", parts);
        (tower.build)(&toml::Table::new(), &shape, &cpu()).err().map(|e| e.to_string())
    };
    assert_eq!(fault(vec![part(0, 8), part(2, 4)]), None);
    assert!(fault(vec![part(0, 0)]).unwrap().contains("needs embedded fields"));
    assert!(fault(vec![part(1, 8), part(2, 4)]).unwrap().contains("8 wide and others 4"));
}

#[test]
fn experts_keep_no_statistics() {
    for plugin in ["mmoe", "ple"] {
        let Build::Encoder(encoder) = find(Kind::Encoder, plugin).unwrap().build else { panic!("{plugin}") };
        let shape = EncoderShape { stages: vec!["click".into()], parts: vec![PartShape { fields: 2, dim: 2, numbers: 1 }] };
        for setting in ["activation = \"dice\"", "norm = \"batch\""] {
            let fault = (encoder.build)(&setting.parse().unwrap(), &shape, &cpu()).err().unwrap().to_string();
            assert!(fault.contains(setting) && fault.contains("only towers"), "{fault}");
        }
    }
}

#[test]
fn experts_need_a_layer() {
    for plugin in ["mmoe", "ple"] {
        let Build::Encoder(encoder) = find(Kind::Encoder, plugin).unwrap().build else { panic!("{plugin}") };
        let shape = EncoderShape { stages: vec!["click".into()], parts: vec![PartShape { fields: 2, dim: 2, numbers: 1 }] };
        let fault = (encoder.build)(&"hidden = []".parse().unwrap(), &shape, &cpu()).err().unwrap();
        assert!(fault.to_string().contains("at least one layer"), "{fault}");
    }
}
