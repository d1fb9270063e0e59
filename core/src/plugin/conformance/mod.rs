//! The conformance kit: what the core relies on in any plugin's network, as one call in a test.
//!
//! ```no_run
//! esmm_funnel_core::plugin::conformance::assert_tower("mlp", "hidden = [8]");
//! ```
//!
//! The plugin is taken from the registry, as a spec would take it. Everything runs on the CPU, on made-up input.

mod input;

use super::Build;
use super::input::{Noise, StageInput, StageShape};
use super::module::{DenseStep, Named, drawing, seeded};
use super::registry::{self, Kind, Plugin};
use super::tower::{DynTower, Needs, TowerBuild};
use crate::device::{Bk, Device, cpu};
use crate::kernel;
use crate::model::{on_host, registered};
use crate::onnx::{Evaluated, Onnx, Value, evaluate};
use crate::optim::{DenseState, Rule};
use crate::spec::Optimizer;
use anyhow::{Context, Result, bail, ensure};
use burn::prelude::*;
use input::{Input, leaves, numbers, sign};
use std::panic::{AssertUnwindSafe, catch_unwind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Rows of the larger batch.
const ROWS: usize = 7;
/// Rows of a training step: enough for no small layer to be dead on all of them by chance.
const TRAINING_ROWS: usize = 64;
/// Rows that the core's own arithmetic takes in several chunks.
const SEVERAL_CHUNKS: usize = 700;
/// Half the distance of the two points of a central difference.
const STEP: f32 = 1e-3;
/// Directions in which the slope is measured.
const DIRECTIONS: u64 = 12;
/// How far the measured slopes may be off, as a share of their size: a step may cross kinks, and f32 rounds.
const SLOPE_TOLERANCE: f64 = 0.05;
/// What f32 sums in another order may differ by, as a share.
const ROUNDING: f32 = 1e-4;

/// Checks a registered tower with these settings (TOML; empty: its defaults).
///
/// The properties, by the name under which a failure is reported:
/// - `empty settings`: no settings at all build;
/// - `settings`: the settings are accepted, and say the same after having been written as TOML and read again;
/// - `unknown key`: a key that the settings do not have is refused;
/// - `same seed`: building with the same seed gives the same bits, and so does computing twice, noise included;
/// - `shape`: one finite logit a row, for one row and for several, for one part and for two;
/// - `hidden layer`: as wide as its settings promise, or none;
/// - `rows`: a row's logit does not depend on the rows beside it;
/// - `shared part`: what rows share gives the same logits as when it is written out row by row;
/// - `scoring`: the copy without autodiff gives what training without noise gives, to rounding (a fused kernel may sum in another order);
/// - `gradient`: the gradient by the input is finite and agrees with central differences;
/// - `training`: every parameter that is not frozen moves within a few steps; those that do not are named;
/// - `onnx`: the nodes that it writes, if it says how, compute its logits and its hidden layer, for one row and for several;
/// - `perceptron`: what says that it is a plain perceptron is one: the core's own arithmetic on its layers gives its logits, and the gradients by
///   its input and its parameters;
/// - `save and load`: a network that is given the parameters of another gives its bits.
///
/// # Errors
/// Every failed property: its name, then what was found.
pub fn tower(name: &str, settings: &str) -> Result<(), Vec<String>> {
    let kit = match Kit::new(name, settings) {
        Ok(kit) => kit,
        Err(error) => return Err(vec![format!("{error:#}")]),
    };
    let properties: [Property; 14] = [
        ("empty settings", Kit::empty_settings),
        ("settings", Kit::round_trip),
        ("unknown key", Kit::unknown_key),
        ("same seed", Kit::same_seed),
        ("shape", Kit::shape),
        ("hidden layer", Kit::hidden),
        ("rows", Kit::rows),
        ("shared part", Kit::shared_part),
        ("scoring", Kit::scoring),
        ("gradient", Kit::gradient),
        ("training", Kit::training),
        ("onnx", Kit::onnx),
        ("perceptron", Kit::perceptron),
        ("save and load", Kit::save_and_load),
    ];
    let mut faults = Vec::new();
    for (property, check) in properties {
        // A shape that does not fit is a panic in Burn.
        let result = catch_unwind(AssertUnwindSafe(|| check(&kit))).unwrap_or_else(|fault| {
            let what = fault.downcast_ref::<String>().map(String::as_str).or_else(|| fault.downcast_ref::<&str>().copied());
            Err(anyhow::anyhow!("panicked: {}", what.unwrap_or("no message")))
        });
        if let Err(error) = result {
            faults.push(format!("{property}: {error:#}"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// [`tower`], for a test.
///
/// # Panics
/// If a property fails; the message names each.
pub fn assert_tower(name: &str, settings: &str) {
    if let Err(faults) = tower(name, settings) {
        panic!("tower `{name}` with settings `{settings}` does not conform:\n- {}", faults.join("\n- "));
    }
}

/// Its name, and what checks it.
type Property = (&'static str, fn(&Kit) -> Result<()>);

struct Kit {
    plugin: &'static Plugin,
    tower: TowerBuild,
    settings: toml::Table,
    needs: Needs,
}

/// The logits, of the right number and finite.
fn logits(tower: &dyn DynTower, input: &Input, autodiff: bool) -> Result<Vec<f32>> {
    logits_of(tower, &input.tensors(autodiff), input.rows)
}
fn logits_of(tower: &dyn DynTower, input: &StageInput, rows: usize) -> Result<Vec<f32>> {
    let values = host(forward(tower, input))?;
    ensure!(values.len() == rows, "{} logits for {rows} rows", values.len());
    ensure!(values.iter().all(|z| z.is_finite()), "a logit is not finite: {values:?}");
    Ok(values)
}
/// A tower under test may draw from Burn's global generator, which would change what another test builds meanwhile.
fn forward(tower: &dyn DynTower, input: &StageInput) -> Tensor<Bk, 1> {
    let _drawing = drawing();
    tower.forward(input).logit
}
fn host<const D: usize>(t: Tensor<Bk, D>) -> Result<Vec<f32>> {
    t.into_data().into_vec::<f32>().map_err(|e| anyhow::anyhow!("reading values: {e:?}"))
}
#[allow(clippy::cast_possible_truncation)]
fn single(values: &Evaluated<'_>) -> Vec<f32> {
    values.values().into_iter().map(|v| v as f32).collect()
}
fn close(a: &[f32], b: &[f32]) -> Result<()> {
    let size = a.iter().chain(b).fold(1e-2, |size: f32, z| size.max(z.abs()));
    ensure!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= ROUNDING * size), "{a:?} against {b:?}");
    Ok(())
}
/// The first difference between two sets of parameters.
fn same_parameters(a: &Named, b: &Named) -> Result<()> {
    ensure!(a.keys().eq(b.keys()), "parameters {:?} against {:?}", a.keys(), b.keys());
    for (name, value) in a {
        ensure!(*value == b[name], "`{name}` differs");
    }
    Ok(())
}

impl Kit {
    fn new(name: &str, settings: &str) -> Result<Self> {
        let known = || format!("no tower `{name}` is registered; there are: {}", registry::names(Kind::Tower).join(", "));
        let plugin = registry::find(Kind::Tower, name).with_context(known)?;
        let Build::Tower(tower) = plugin.build else { bail!(known()) };
        let settings = settings.parse().context("the settings are not TOML")?;
        // Settings that do not decode are reported as `settings`.
        let needs = (tower.needs)(&settings).unwrap_or_default();
        Ok(Self { plugin, tower, settings, needs })
    }
    fn shapes(&self) -> [StageShape; 2] {
        input::shapes(self.needs)
    }
    fn build_with(&self, settings: &toml::Table, shape: &StageShape, seed: u64) -> Result<Box<dyn DynTower>> {
        let device = Device::autodiff(cpu());
        let _drawing = seeded(&device, seed);
        (self.tower.build)(settings, shape, &device).context("building")
    }
    fn build(&self, shape: &StageShape, seed: u64) -> Result<Box<dyn DynTower>> {
        self.build_with(&self.settings, shape, seed)
    }
    fn validate(&self, settings: &toml::Table) -> Result<()> {
        let text = settings.to_string();
        let table = DeTable::parse(&text)?;
        (self.plugin.validate)(Spanned::new(table.span(), DeValue::Table(table.into_inner())))?;
        Ok(())
    }

    fn empty_settings(&self) -> Result<()> {
        let empty = toml::Table::new();
        for shape in input::shapes((self.tower.needs)(&empty).unwrap_or_default()) {
            self.build_with(&empty, &shape, 1)?;
        }
        self.validate(&toml::Table::new())
    }

    fn round_trip(&self) -> Result<()> {
        self.validate(&self.settings)?;
        // All keys, written as `resolved.toml` writes them.
        let mut all = (self.plugin.defaults)();
        all.extend(self.settings.clone());
        let again: toml::Table = all.to_string().parse()?;
        self.validate(&again).context("the defaults together with the settings, written as TOML")?;
        for shape in self.shapes() {
            same_parameters(&self.build(&shape, 1)?.tensors(), &self.build_with(&again, &shape, 1)?.tensors())?;
        }
        Ok(())
    }

    fn unknown_key(&self) -> Result<()> {
        let mut settings = self.settings.clone();
        settings.insert("no_such_setting".into(), true.into());
        ensure!(self.validate(&settings).is_err(), "`no_such_setting` is accepted; the settings need `#[serde(deny_unknown_fields)]`");
        Ok(())
    }

    fn same_seed(&self) -> Result<()> {
        for shape in self.shapes() {
            let tower = self.build(&shape, 1)?;
            same_parameters(&tower.tensors(), &self.build(&shape, 1)?.tensors())?;
            for noise in [None, Some(Noise(5))] {
                let mut input = Input::new(&shape, ROWS).tensors(true);
                input.noise = noise;
                let (a, b) = (logits_of(&*tower, &input, ROWS)?, logits_of(&*tower, &input, ROWS)?);
                ensure!(a == b, "the same input twice: {a:?}, then {b:?}; draw noise with `StageInput::dropout` alone");
            }
        }
        Ok(())
    }

    fn shape(&self) -> Result<()> {
        for shape in self.shapes() {
            let tower = self.build(&shape, 1)?;
            for rows in [1, ROWS] {
                logits(&*tower, &Input::new(&shape, rows), true)
                    .with_context(|| format!("{} part(s), {rows} row(s)", shape.parts.len()))?;
            }
        }
        Ok(())
    }

    fn hidden(&self) -> Result<()> {
        for shape in self.shapes() {
            let hidden = self.build(&shape, 1)?.forward(&Input::new(&shape, ROWS).tensors(true)).hidden.map(|h| h.dims());
            let promised = (self.needs.hidden > 0).then_some([ROWS, self.needs.hidden]);
            ensure!(hidden == promised, "`needs` promises {promised:?}, `forward` gives {hidden:?}");
        }
        Ok(())
    }

    fn rows(&self) -> Result<()> {
        for shape in self.shapes() {
            let tower = self.build(&shape, 1)?.inner();
            let input = Input::new(&shape, ROWS);
            let together = logits(&*tower, &input, false)?;
            for (row, z) in together.iter().enumerate() {
                close(&[*z], &logits(&*tower, &input.row(row), false)?).with_context(|| format!("row {row} in a batch and alone"))?;
            }
        }
        Ok(())
    }

    fn shared_part(&self) -> Result<()> {
        let [_, shape] = self.shapes();
        let tower = self.build(&shape, 1)?.inner();
        let input = Input::new(&shape, ROWS);
        close(&logits(&*tower, &input, false)?, &logits(&*tower, &input.written_out(), false)?)
    }

    fn scoring(&self) -> Result<()> {
        for shape in self.shapes() {
            let tower = self.build(&shape, 1)?;
            let input = Input::new(&shape, ROWS);
            let (training, scoring) = (logits(&*tower, &input, true)?, logits(&*tower.inner(), &input, false)?);
            close(&training, &scoring).context("training, then scoring")?;
        }
        Ok(())
    }

    fn onnx(&self) -> Result<()> {
        for shape in self.shapes() {
            // Trained a little: what starts at 0 or 1 would hide a mistake.
            let tower = self.train(&shape)?.inner();
            for rows in [1, ROWS] {
                let input = Input::new(&shape, rows).written_out();
                let mut graph = Onnx::new();
                let (values_in, values) = input.onnx(&mut graph);
                let Some(output) = tower.onnx(&mut graph, &values_in) else { return Ok(()) };
                let found = evaluate(&graph, values)?;
                let get = |value: &Value| found.get(value.name()).with_context(|| format!("no node gives `{}`", value.name()));
                let logit = get(&output.logit)?;
                ensure!(logit.dims == [rows, 1], "the logit's shape is {:?}, and must be [{rows}, 1]", logit.dims);
                close(&single(logit), &logits(&*tower, &input, false)?).context("the graph's logits, then those of `forward`")?;
                let hidden = tower.forward(&input.tensors(false)).hidden.map(host).transpose()?;
                let same = match (&hidden, &output.hidden) {
                    (Some(a), Some(b)) => close(&single(get(b)?), a),
                    (None, None) => Ok(()),
                    _ => bail!("`forward` and `onnx` must both give a hidden layer, or neither"),
                };
                same.context("the graph's hidden layer, then that of `forward`")?;
            }
        }
        Ok(())
    }

    fn gradient(&self) -> Result<()> {
        for shape in self.shapes() {
            // Trained a little: at first a layer that starts at zero hides what is before it.
            let (tower, input) = (self.train(&shape)?, Input::new(&shape, ROWS));
            let scorer = tower.inner();
            let weights = numbers(99, ROWS);
            let tensors = input.tensors(true);
            let grads = loss(&*tower, &tensors, &weights).backward();
            let gradient: Vec<Vec<f32>> =
                leaves(&tensors).iter().map(|leaf| leaf.grad(&grads).map_or_else(|| Ok(vec![]), host)).collect::<Result<_>>()?;
            ensure!(gradient.iter().flatten().all(|g| g.is_finite()), "the gradient by the input is not finite");
            let value = |direction, by| -> Result<f64> {
                let z = logits(&*scorer, &input.moved(direction, by), false)?;
                Ok(z.iter().zip(&weights).map(|(z, w)| f64::from(*z) * f64::from(*w)).sum())
            };
            let (mut off, mut size) = (0.0, 0.0);
            for direction in 0..DIRECTIONS {
                let measured = (value(direction, STEP)? - value(direction, -STEP)?) / (2.0 * f64::from(STEP));
                let flat = gradient.iter().enumerate().flat_map(|(p, g)| g.iter().enumerate().map(move |(i, g)| (p, i, g)));
                let given: f64 = flat.map(|(p, i, g)| f64::from(*g) * f64::from(sign(direction, p, i))).sum();
                off += (measured - given).powi(2);
                size += measured.powi(2).max(given.powi(2));
            }
            let (off, size) = (off.sqrt(), size.sqrt());
            ensure!(
                off <= SLOPE_TOLERANCE * size + 2e-3,
                "{} part(s): backward and central differences are {off:.2e} apart, of slopes of {size:.2e}",
                shape.parts.len()
            );
        }
        Ok(())
    }

    /// A tower after a few steps.
    fn train(&self, shape: &StageShape) -> Result<Box<dyn DynTower>> {
        let optimizer = Optimizer::Adam { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, l2: 0.0 };
        let (mut tower, mut state) = (self.build(shape, 1)?, DenseState::default());
        for step in 1..=4 {
            let input = Input::new(shape, TRAINING_ROWS).moved(100 + step, 0.5).tensors(true);
            let mut grads = loss(&*tower, &input, &numbers(99, TRAINING_ROWS)).backward();
            let gradients = tower.gradients(&mut grads);
            ensure!(tower.squared_norm(&gradients).is_finite(), "a parameter's gradient is not finite in step {step}");
            tower.step(gradients, &mut state, DenseStep { optimizer: &optimizer, rule: Rule::at(&optimizer, step, 1.0), scale: 1.0 });
        }
        Ok(tower)
    }

    fn training(&self) -> Result<()> {
        for shape in self.shapes() {
            let (before, tower) = (self.build(&shape, 1)?.tensors(), self.train(&shape)?);
            let after = tower.tensors();
            let stuck: Vec<String> = tower.trained().into_iter().filter(|name| before[name] == after[name]).collect();
            ensure!(stuck.is_empty(), "no gradient reaches: {}; freeze it (`set_require_grad(false)`) or use it", stuck.join(", "));
        }
        Ok(())
    }

    fn perceptron(&self) -> Result<()> {
        let sgd = Optimizer::Sgd { lr: 1.0, l2: 0.0 };
        let step = DenseStep { optimizer: &sgd, rule: Rule::at(&sgd, 1, 1.0), scale: 1.0 };
        for shape in self.shapes() {
            let (mut one, mut other) = (self.train(&shape)?, self.train(&shape)?);
            let Some(plain) = one.perceptron() else { continue };
            let (input, weights) = (Input::new(&shape, SEVERAL_CHUNKS), numbers(99, SEVERAL_CHUNKS));
            let parts = input.host_parts();
            let parts = parts.iter().map(|(values, width, index)| kernel::Part { values, width: *width, index: index.as_deref() });
            let perceptron = on_host(&plain).context("its weights cannot be read")?;
            let rows = kernel::Rows { size: SEVERAL_CHUNKS, inputs: vec![parts.collect()], towers: vec![(&perceptron, 0)] };
            let mut workspace = kernel::Workspace::default();
            let found = kernel::forward(&rows, &mut workspace);
            close(&found[0], &logits(&*one, &input, true)?).context("logits of the layers that it names, and of `forward`")?;
            let mut found = kernel::backward(&rows, std::slice::from_ref(&weights), &mut workspace);
            let gradients = registered(&plain, found.parameters.remove(0), &cpu());

            let tensors = input.tensors(true);
            let mut grads = loss(&*other, &tensors, &weights).backward();
            for (found, leaf) in found.inputs.remove(0).iter().zip(leaves(&tensors)) {
                close(found, &leaf.grad(&grads).map_or_else(|| Ok(vec![]), host)?).context("gradient by the input")?;
            }
            one.step(gradients, &mut DenseState::default(), step);
            let gradients = other.gradients(&mut grads);
            other.step(gradients, &mut DenseState::default(), step);
            let (one, other) = (one.tensors(), other.tensors());
            for (name, moved) in &one {
                let values = |data: &TensorData| data.to_vec::<f32>().map_err(|e| anyhow::anyhow!("reading `{name}`: {e:?}"));
                close(&values(moved)?, &values(&other[name])?).with_context(|| format!("`{name}` after a step"))?;
            }
        }
        Ok(())
    }

    fn save_and_load(&self) -> Result<()> {
        for shape in self.shapes() {
            let (first, mut second) = (self.build(&shape, 1)?, self.build(&shape, 2)?);
            let input = Input::new(&shape, ROWS);
            second.load(first.tensors())?;
            same_parameters(&first.tensors(), &second.tensors())?;
            for autodiff in [true, false] {
                let of = |tower: &dyn DynTower| if autodiff { logits(tower, &input, true) } else { logits(&*tower.inner(), &input, false) };
                let (a, b) = (of(&*first)?, of(&*second)?);
                ensure!(a == b, "{a:?} against {b:?} after loading: something that was drawn is not a parameter");
            }
        }
        Ok(())
    }
}

/// `Σ weight · logit`.
fn loss(tower: &dyn DynTower, input: &StageInput, weights: &[f32]) -> Tensor<Bk, 1> {
    let weights = Tensor::<Bk, 1>::from_data(TensorData::new(weights.to_vec(), [weights.len()]), &cpu());
    (forward(tower, input) * Tensor::from_inner(weights)).sum()
}
