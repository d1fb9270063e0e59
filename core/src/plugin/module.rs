//! What the core needs of any plugin's network, without knowing its type: parameters by path, gradients, steps, save and load.
//!
//! `Module` is not object-safe. A private `Slot` holds the concrete module; [`DynModule`] is what the core sees of it.

use crate::device::{Bk, Device, Grads};
use crate::optim::{DenseState, Rule};
use crate::spec::Optimizer;
use anyhow::{Result, bail};
use burn::module::{AutodiffModule, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parameters by path, e.g. `layers.0.weight`.
pub type Named = BTreeMap<String, TensorData>;

/// Burn's generator of initial values is global to the process: whoever seeds it must draw before anyone else does.
static DRAWING: Mutex<()> = Mutex::new(());

/// While the guard lives, nobody else seeds that generator or draws from it.
pub(crate) fn drawing() -> MutexGuard<'static, ()> {
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}
/// [`drawing`], and what is drawn on `device` follows from `seed`.
pub(crate) fn seeded(device: &Device, seed: u64) -> MutexGuard<'static, ()> {
    let drawing = drawing();
    <Bk as Backend>::seed(device, seed);
    drawing
}

/// A module that is its own inner module: on [`Bk`] the autodiff and the inner backend are one type.
pub trait PlainModule: AutodiffModule<Bk, InnerModule = Self> + Sync + 'static {}
impl<T: AutodiffModule<Bk, InnerModule = T> + Sync + 'static> PlainModule for T {}

/// A step of dense parameters.
#[derive(Debug, Clone, Copy)]
pub struct DenseStep<'a> {
    /// The optimiser's settings.
    pub optimizer: &'a Optimizer,
    /// The rule at this step.
    pub rule: Rule,
    /// Factor of all gradients (clipping).
    pub scale: f32,
}

/// A network, its type erased.
pub trait DynModule: Send + Sync {
    /// Takes this module's gradients out of a backward pass.
    fn gradients(&self, grads: &mut Grads) -> GradientsParams;
    /// Square of the gradients' norm.
    fn squared_norm(&self, gradients: &GradientsParams) -> f64;
    /// Moves every parameter that has a gradient.
    fn step(&mut self, gradients: GradientsParams, state: &mut DenseState, step: DenseStep<'_>);
    /// Copies of all parameters.
    fn tensors(&self) -> Named;
    /// Names of the parameters that training moves: all but those that were built without a gradient. None without autodiff.
    fn trained(&self) -> Vec<String>;
    /// Replaces all parameters.
    ///
    /// # Errors
    /// A name that is missing or left over, or a shape that differs.
    fn load(&mut self, tensors: Named) -> Result<()>;
    /// Number of weights.
    fn num_params(&self) -> usize;
}

/// Holder of a concrete module. `None` only inside [`Self::map`].
#[derive(Debug, Clone)]
pub(super) struct Slot<M> {
    module: Option<M>,
    autodiff: bool,
}
impl<M: PlainModule> Slot<M> {
    /// Holds a `module` that was built on `device`, its lazily drawn parameters drawn now.
    pub(super) fn new(module: M, device: &Device) -> Self {
        module.visit(&mut Names::default());
        Self { module: Some(module), autodiff: matches!(device, Device::Autodiff(_)) }
    }
    /// The module.
    #[allow(clippy::missing_panics_doc, clippy::unreachable)]
    pub(super) fn get(&self) -> &M {
        match &self.module {
            Some(module) => module,
            None => unreachable!("a slot is empty only while its module is being mapped"),
        }
    }
    /// The same module on the inner backend, for scoring.
    pub(super) fn inner(&self) -> Self {
        let module = if self.autodiff { self.get().valid() } else { self.get().clone() };
        Self { module: Some(module), autodiff: false }
    }
    fn map(&mut self, mapper: &mut impl ModuleMapper<Bk>) {
        self.module = self.module.take().map(|m| m.map(mapper));
    }
}
impl<M: PlainModule> DynModule for Slot<M> {
    fn gradients(&self, grads: &mut Grads) -> GradientsParams {
        GradientsParams::from_module(grads, self.get())
    }
    fn squared_norm(&self, gradients: &GradientsParams) -> f64 {
        let mut norm = Norm { gradients, sum: 0.0 };
        self.get().visit(&mut norm);
        norm.sum
    }
    fn step(&mut self, gradients: GradientsParams, state: &mut DenseState, step: DenseStep<'_>) {
        self.map(&mut Move { path: Path::default(), gradients, state, step });
    }
    fn tensors(&self) -> Named {
        let mut names = Names { with_data: true, ..Names::default() };
        self.get().visit(&mut names);
        names.found
    }
    fn trained(&self) -> Vec<String> {
        let mut names = Names::default();
        self.get().visit(&mut names);
        names.trained
    }
    fn load(&mut self, tensors: Named) -> Result<()> {
        let mut load = Load { path: Path::default(), tensors, faults: Vec::new() };
        self.map(&mut load);
        load.faults.extend(load.tensors.keys().map(|name| format!("`{name}` is not a parameter of this network")));
        if !load.faults.is_empty() {
            bail!("{}", load.faults.join("; "));
        }
        Ok(())
    }
    fn num_params(&self) -> usize {
        self.get().num_params()
    }
}

#[derive(Debug, Default)]
struct Path(Vec<String>);
impl Path {
    fn name(&self) -> String {
        self.0.join(".")
    }
}

#[derive(Default)]
struct Names {
    path: Path,
    with_data: bool,
    found: Named,
    trained: Vec<String>,
}
impl ModuleVisitor<Bk> for Names {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.0.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.0.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Bk, D>>) {
        let value = param.val();
        if value.is_require_grad() {
            self.trained.push(self.path.name());
        }
        if self.with_data {
            self.found.insert(self.path.name(), value.into_data());
        }
    }
}

struct Norm<'a> {
    gradients: &'a GradientsParams,
    sum: f64,
}
impl ModuleVisitor<Bk> for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Bk, D>>) {
        if let Some(gradient) = self.gradients.get::<Bk, D>(param.id) {
            self.sum += crate::optim::squared_norm(&gradient);
        }
    }
}

struct Move<'a> {
    path: Path,
    gradients: GradientsParams,
    state: &'a mut DenseState,
    step: DenseStep<'a>,
}
impl ModuleMapper<Bk> for Move<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.0.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.0.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<Bk, D>>) -> Param<Tensor<Bk, D>> {
        let (id, value, mapper) = param.consume();
        let Some(gradient) = self.gradients.remove::<Bk, D>(id) else { return Param::from_mapped_value(id, value, mapper) };
        let DenseStep { optimizer, rule, scale } = self.step;
        let moved = self.state.update(&self.path.name(), value.inner(), gradient, optimizer, &rule, scale);
        Param::from_mapped_value(id, Tensor::from_inner(moved).require_grad(), mapper)
    }
}

struct Load {
    path: Path,
    tensors: Named,
    faults: Vec<String>,
}
impl ModuleMapper<Bk> for Load {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.0.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.0.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<Bk, D>>) -> Param<Tensor<Bk, D>> {
        let (id, value, mapper) = param.consume();
        let (name, device, shape) = (self.path.name(), value.device(), value.shape());
        let new = match self.tensors.remove(&name) {
            None => {
                self.faults.push(format!("`{name}` is missing"));
                value
            }
            Some(data) if data.shape.as_slice() != shape.as_slice() => {
                self.faults.push(format!("`{name}` has shape {:?}, expected {:?}", data.shape, shape.as_slice()));
                value
            }
            Some(data) => {
                let requires_grad = value.is_require_grad();
                let new = Tensor::from_data(data, &device);
                if requires_grad { new.require_grad() } else { new }
            }
        };
        Param::from_mapped_value(id, new, mapper)
    }
}
