//! Operators that compute: broadcasting, products, sums, and the functions that take more than a line.

use super::{Evaluated, Type};
use anyhow::{Context, Result, bail, ensure};

/// The shape that shapes broadcast to.
pub(super) fn common(inputs: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = inputs.iter().map(|d| d.len()).max().unwrap_or(0);
    let mut dims = vec![1; rank];
    for of in inputs {
        for (dim, own) in dims[rank - of.len()..].iter_mut().zip(*of) {
            ensure!(*dim == 1 || *own == 1 || dim == own, "shapes {inputs:?} do not fit");
            *dim = if *dim == 1 { *own } else { *dim };
        }
    }
    Ok(dims)
}
/// Where the `i`-th place of `dims` stands in a tensor that is broadcast to it.
pub(super) fn place(mut i: usize, dims: &[usize], own: &[usize]) -> usize {
    let (mut at, mut step) = (0, 1);
    let skip = dims.len() - own.len();
    for (d, size) in dims.iter().enumerate().rev() {
        let here = i % size;
        i /= size;
        if d >= skip {
            at += if own[d - skip] == 1 { 0 } else { here * step };
            step *= own[d - skip];
        }
    }
    at
}
pub(super) fn broadcast<'a>(inputs: &[&Evaluated<'a>], element: Type, f: impl Fn(&[f64]) -> f64) -> Result<Evaluated<'a>> {
    let dims = common(&inputs.iter().map(|t| t.dims.as_slice()).collect::<Vec<_>>())?;
    let mut row = vec![0.0; inputs.len()];
    let value = |i| {
        for (v, t) in row.iter_mut().zip(inputs) {
            *v = t.at(place(i, &dims, &t.dims));
        }
        f(&row)
    };
    let values = (0..dims.iter().product()).map(value).collect();
    Ok(Evaluated::new(dims, element, values))
}

pub(super) fn cast<'a>(x: &Evaluated<'a>, to: i64) -> Result<Evaluated<'a>> {
    let to = i32::try_from(to).ok().and_then(Type::of_code).with_context(|| format!("type {to} is not known"))?;
    let value = |v: f64| match to {
        Type::Int64 => v.trunc(),
        Type::Bool => f64::from(u8::from(v != 0.0)),
        Type::Float | Type::Double => v,
    };
    Ok(Evaluated::new(x.dims.clone(), to, x.values().into_iter().map(value).collect()))
}

pub(super) fn matmul<'a>(a: &Evaluated<'a>, b: &Evaluated<'a>) -> Result<Evaluated<'a>> {
    let (Some((&[m, k], before_a)), Some((&[inner, n], before_b))) =
        (a.dims.split_last_chunk().map(|(x, y)| (y, x)), b.dims.split_last_chunk().map(|(x, y)| (y, x)))
    else {
        bail!("a product of {:?} and {:?}", a.dims, b.dims)
    };
    ensure!(k == inner, "a product of {:?} and {:?}", a.dims, b.dims);
    let before = common(&[before_a, before_b])?;
    let count: usize = before.iter().product();
    let mut out = Vec::with_capacity(count * m * n);
    for i in 0..count {
        let (at_a, at_b) = (place(i, &before, before_a) * m * k, place(i, &before, before_b) * k * n);
        for row in 0..m {
            let mut sums = vec![0.0; n];
            for c in 0..k {
                let x = a.at(at_a + row * k + c);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum += x * b.at(at_b + c * n + j);
                }
            }
            out.extend(sums);
        }
    }
    Ok(Evaluated::new([before, vec![m, n]].concat(), a.element, out))
}

pub(super) fn reduce_sum<'a>(x: &Evaluated<'a>, axes: &[i64], keep: bool) -> Result<Evaluated<'a>> {
    let axes = axes.iter().map(|a| x.axis(*a)).collect::<Result<Vec<_>>>()?;
    let kept: Vec<usize> = x.dims.iter().enumerate().map(|(d, n)| if axes.contains(&d) { 1 } else { *n }).collect();
    let mut sums = vec![0.0; kept.iter().product()];
    for i in 0..x.len() {
        sums[place(i, &x.dims, &kept)] += x.at(i);
    }
    let dims = if keep { kept } else { (0..kept.len()).filter(|d| !axes.contains(d)).map(|d| kept[d]).collect() };
    Ok(Evaluated::new(dims, x.element, sums))
}

pub(super) fn softmax<'a>(x: &Evaluated<'a>, axis: i64) -> Result<Evaluated<'a>> {
    let axis = x.axis(axis)?;
    let [before, size, behind] = x.around(axis);
    let mut out = x.values();
    for (i, j) in (0..before).flat_map(|i| (0..behind).map(move |j| (i, j))) {
        let at = |k: usize| (i * size + k) * behind + j;
        let largest = (0..size).map(|k| x.at(at(k))).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = (0..size).map(|k| (x.at(at(k)) - largest).exp()).sum();
        (0..size).for_each(|k| out[at(k)] = (x.at(at(k)) - largest).exp() / sum);
    }
    Ok(Evaluated::new(x.dims.clone(), x.element, out))
}

pub(super) fn layer_norm<'a>(x: &Evaluated<'a>, gamma: &Evaluated<'a>, beta: Option<&Evaluated<'a>>, epsilon: f64) -> Evaluated<'a> {
    let width = gamma.len();
    let mut out = Vec::with_capacity(x.len());
    for row in x.values().chunks(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
        let normalised = |(i, v): (usize, &f64)| (v - mean) / (variance + epsilon).sqrt() * gamma.at(i) + beta.map_or(0.0, |b| b.at(i));
        out.extend(row.iter().enumerate().map(normalised));
    }
    Evaluated::new(x.dims.clone(), x.element, out)
}

/// `2/√π · ∫₀ˣ e^(−t²) dt`: its series near 0, further out the continued fraction of its complement.
pub(super) fn erf(x: f64) -> f64 {
    let size = x.abs();
    let scale = (-size * size).exp() / std::f64::consts::PI.sqrt();
    if size < 2.5 {
        // Σ 2ⁿ·x^(2n+1) / (1·3·…·(2n+1)), times 2·e^(−x²)/√π.
        let (mut term, mut sum) = (size, size);
        for n in 1..80 {
            term *= 2.0 * size * size / f64::from(2 * n + 1);
            sum += term;
        }
        return (2.0 * scale * sum).copysign(x);
    }
    let fraction = (1..60).rev().fold(size, |below, n| size + f64::from(n) / 2.0 / below);
    (1.0 - scale / fraction).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::moving::transpose;
    use super::*;

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        // Python: [math.erf(x) for x in (…)].
        let table = [
            (0.0, 0.0),
            (0.1, 0.112_462_916_018_284_9),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.6, 0.999_763_965_583_470_7),
            (4.0, 0.999_999_984_582_742_1),
        ];
        for (x, expected) in table {
            assert!((erf(x) - expected).abs() < 1e-13 && (erf(-x) + expected).abs() < 1e-13, "{x}: {}", erf(x));
        }
    }

    #[test]
    fn shapes_broadcast_and_products_go_over_batches() {
        let a = Evaluated::floats(vec![2, 1, 2], vec![1., 2., 3., 4.]);
        let b = Evaluated::floats(vec![3, 1], vec![10., 20., 30.]);
        let sum = broadcast(&[&a, &b], Type::Float, |v| v[0] + v[1]).unwrap();
        assert_eq!((sum.dims.clone(), sum.values()), (vec![2, 3, 2], vec![11., 12., 21., 22., 31., 32., 13., 14., 23., 24., 33., 34.]));
        let product = matmul(&a, &Evaluated::floats(vec![2, 1], vec![1., -1.])).unwrap();
        assert_eq!((product.dims.clone(), product.values()), (vec![2, 1, 1], vec![-1., -1.]));
        let turned = transpose(&sum, &[2, 0, 1]).unwrap();
        assert_eq!((turned.dims.clone(), turned.values()[..4].to_vec()), (vec![2, 2, 3], vec![11., 21., 31., 13.]));
        assert_eq!(reduce_sum(&sum, &[0, 2], false).unwrap().values(), [50., 90., 130.]);
        assert!(common(&[&[2], &[3]]).is_err());
    }
}
