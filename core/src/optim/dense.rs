//! Optimiser state of dense parameters (towers, encoder), by parameter name.

use super::{Rule, initial_moment, state_len};
use crate::device::{Bk, Device, is_host};
use crate::spec::Optimizer;
use burn::prelude::*;
use std::collections::BTreeMap;

/// State of one parameter, flattened.
#[derive(Debug, Clone)]
pub enum Moments {
    /// In host memory.
    Host(Vec<f32>),
    /// On a device: one tensor, `[moments · n]`.
    Device(Tensor<Bk, 1>),
}

/// State of a module's parameters, keyed by their path in it.
#[derive(Debug, Clone, Default)]
pub struct DenseState {
    moments: BTreeMap<String, Moments>,
}

impl DenseState {
    /// One parameter's step: `weight` and `gradient` of the same shape, on the inner device; gives the new weight.
    ///
    /// On the host the weight's buffer is reused where nothing else holds it.
    pub fn update<const D: usize>(
        &mut self,
        path: &str,
        weight: Tensor<Bk, D>,
        gradient: Tensor<Bk, D>,
        optimizer: &Optimizer,
        rule: &Rule,
        scale: f32,
    ) -> Tensor<Bk, D> {
        let device = weight.device();
        let n = state_len(optimizer, weight.shape().num_elements());
        let state = self.moments.entry(path.to_owned()).or_insert_with(|| Moments::Host(vec![initial_moment(optimizer); n]));
        if is_host(&device) {
            let (mut w, g) = (weight.into_data(), gradient.into_data());
            if let (Moments::Host(state), Ok(w), Ok(g)) = (state, w.as_mut_slice::<f32>(), g.as_slice::<f32>()) {
                rule.apply(w, g, state, scale);
            }
            return Tensor::from_data(w, &device);
        }
        if let Moments::Host(values) = state {
            *state = Moments::Device(Tensor::from_data(TensorData::new(std::mem::take(values), [n]), &device));
        }
        let Moments::Device(state) = state else { return weight };
        let shape = weight.shape();
        let (w, moved) = rule.apply_on_device(weight.flatten::<1>(0, D - 1), gradient.flatten::<1>(0, D - 1), state.clone(), scale);
        *state = moved;
        w.reshape(shape)
    }

    /// The state as flat host vectors.
    #[must_use]
    pub fn to_host(&self) -> BTreeMap<String, Vec<f32>> {
        let flat = |m: &Moments| match m {
            Moments::Host(values) => values.clone(),
            Moments::Device(tensor) => tensor.to_data().to_vec().unwrap_or_default(),
        };
        self.moments.iter().map(|(k, m)| (k.clone(), flat(m))).collect()
    }

    /// From flat host vectors.
    #[must_use]
    pub fn from_host(values: BTreeMap<String, Vec<f32>>) -> Self {
        Self { moments: values.into_iter().map(|(k, v)| (k, Moments::Host(v))).collect() }
    }
}

impl Rule {
    /// [`Rule::apply`] as tensor operations: `weights` and `gradient` `[n]`, `state` `[moments · n]`.
    fn apply_on_device(
        &self,
        weights: Tensor<Bk, 1>,
        gradient: Tensor<Bk, 1>,
        state: Tensor<Bk, 1>,
        scale: f32,
    ) -> (Tensor<Bk, 1>, Tensor<Bk, 1>) {
        use super::RuleKind;
        let n = weights.dims()[0];
        let g = gradient.mul_scalar(scale) + weights.clone().mul_scalar(self.l2);
        match self.kind {
            RuleKind::Adam { step_size, beta1, rest1, beta2, rest2, inverse_c2, eps } => {
                let m = state.clone().narrow(0, 0, n).mul_scalar(beta1) + g.clone().mul_scalar(rest1);
                let v = state.narrow(0, n, n).mul_scalar(beta2) + (g.clone() * g).mul_scalar(rest2);
                let step = m.clone().mul_scalar(step_size) / v.clone().mul_scalar(inverse_c2).sqrt().add_scalar(eps);
                (weights - step, Tensor::cat(vec![m, v], 0))
            }
            RuleKind::Adagrad { lr, eps } => {
                let sums = state + g.clone() * g.clone();
                (weights - g.mul_scalar(lr) / sums.clone().sqrt().add_scalar(eps), sums)
            }
            // The parameter is one row.
            RuleKind::RowAdam { step_size, beta1, rest1, beta2, rest2, inverse_c2, eps } => {
                let m = state.clone().narrow(0, 0, n).mul_scalar(beta1) + g.clone().mul_scalar(rest1);
                let v = state.narrow(0, n, 1).mul_scalar(beta2) + (g.clone() * g).mean().mul_scalar(rest2);
                let step = m.clone().mul_scalar(step_size) / v.clone().mul_scalar(inverse_c2).sqrt().add_scalar(eps);
                (weights - step, Tensor::cat(vec![m, v], 0))
            }
            RuleKind::RowAdagrad { lr, eps } => {
                let sum = state + (g.clone() * g.clone()).mean();
                (weights - g.mul_scalar(lr) / sum.clone().sqrt().add_scalar(eps), sum)
            }
            RuleKind::Sgd { lr } => (weights - g.mul_scalar(lr), state),
        }
    }
}

/// Square of the norm of a gradient.
pub(crate) fn squared_norm<const D: usize>(gradient: &Tensor<Bk, D>) -> f64 {
    let device: Device = gradient.device();
    if is_host(&device) {
        let data = gradient.to_data();
        return data.as_slice::<f32>().map_or(f64::NAN, |g| g.iter().map(|x| f64::from(*x) * f64::from(*x)).sum());
    }
    f64::from((gradient.clone() * gradient.clone()).sum().into_scalar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu;

    /// The slice arithmetic and the tensor arithmetic are the same rule.
    #[test]
    fn device_and_host_agree() {
        let (w, g) = (vec![0.3f32, -1.0, 2.0, 0.0], vec![0.1f32, 0.5, -3.0, 1e-3]);
        for optimizer in [
            Optimizer::Adam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, l2: 0.1 },
            Optimizer::Adagrad { lr: 0.1, eps: 1e-10, initial_accumulator: 0.1, l2: 0.0 },
            Optimizer::Sgd { lr: 0.1, l2: 0.1 },
            Optimizer::RowAdam { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, l2: 0.1 },
            Optimizer::RowAdagrad { lr: 0.1, eps: 1e-10, initial_accumulator: 0.1, l2: 0.0 },
        ] {
            let mut state = vec![initial_moment(&optimizer); state_len(&optimizer, 4)];
            let mut host = w.clone();
            let tensor = |v: &Vec<f32>| Tensor::<Bk, 1>::from_data(TensorData::new(v.clone(), [v.len()]), &cpu());
            let (mut on_device, mut device_state) = (tensor(&w), tensor(&state));
            for step in 1..=3 {
                let rule = Rule::at(&optimizer, step, 0.5);
                rule.apply(&mut host, &g, &mut state, 0.7);
                (on_device, device_state) = rule.apply_on_device(on_device, tensor(&g), device_state, 0.7);
            }
            let found: Vec<f32> = on_device.into_data().to_vec().unwrap();
            for (a, b) in host.iter().zip(&found) {
                assert!((a - b).abs() < 1e-6, "{optimizer:?} {host:?} {found:?}");
            }
        }
    }
}
