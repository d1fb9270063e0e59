//! Operators that only move values.

use super::Evaluated;
use anyhow::{Context, Result, ensure};

pub(super) fn gather<'a>(table: &Evaluated<'a>, rows: &Evaluated<'a>) -> Result<Evaluated<'a>> {
    let [_, count, width] = table.around(0);
    let mut out = Vec::with_capacity(rows.len() * width);
    for row in rows.integers() {
        let row = usize::try_from(row).ok().filter(|r| *r < count).with_context(|| format!("row {row} of {count}"))?;
        out.extend((0..width).map(|w| table.at(row * width + w)));
    }
    Ok(Evaluated::new([rows.dims.as_slice(), &table.dims[1..]].concat(), table.element, out))
}

pub(super) fn concat<'a>(inputs: &[&Evaluated<'a>], axis: i64) -> Result<Evaluated<'a>> {
    let first = inputs[0];
    let axis = first.axis(axis)?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    for input in inputs {
        let fits = input.dims.len() == dims.len() && (0..dims.len()).all(|d| d == axis || input.dims[d] == dims[d]);
        ensure!(fits, "{:?} beside {:?}", input.dims, first.dims);
        dims[axis] += input.dims[axis];
    }
    let [before, ..] = first.around(axis);
    let mut out = Vec::with_capacity(dims.iter().product());
    for i in 0..before {
        for input in inputs {
            let [_, size, behind] = input.around(axis);
            out.extend((0..size * behind).map(|j| input.at(i * size * behind + j)));
        }
    }
    Ok(Evaluated::new(dims, first.element, out))
}

pub(super) fn slice<'a>(x: &Evaluated<'a>, from: &Evaluated<'a>, to: &Evaluated<'a>, axis: &Evaluated<'a>) -> Result<Evaluated<'a>> {
    let axis = x.axis(axis.integers()[0])?;
    let [before, size, behind] = x.around(axis);
    let (from, to) = (usize::try_from(from.integers()[0])?.min(size), usize::try_from(to.integers()[0])?.min(size));
    let mut dims = x.dims.clone();
    dims[axis] = to.saturating_sub(from);
    let values = (0..before).flat_map(|i| (from * behind..to * behind).map(move |j| i * size * behind + j)).map(|at| x.at(at)).collect();
    Ok(Evaluated::new(dims, x.element, values))
}

pub(super) fn reshape<'a>(x: &Evaluated<'a>, shape: &[i64]) -> Result<Evaluated<'a>> {
    let mut dims = Vec::with_capacity(shape.len());
    for (d, &size) in shape.iter().enumerate() {
        dims.push(match size {
            0 => *x.dims.get(d).with_context(|| format!("{:?} has no dimension {d}", x.dims))?,
            -1 => 0,
            size => usize::try_from(size)?,
        });
    }
    if let Some(rest) = shape.iter().position(|s| *s == -1) {
        let known: usize = dims.iter().enumerate().filter(|(d, _)| *d != rest).map(|(_, n)| n).product();
        dims[rest] = x.len().checked_div(known).unwrap_or(0);
    }
    ensure!(dims.iter().product::<usize>() == x.len(), "{:?} as {shape:?}", x.dims);
    Ok(Evaluated { dims, ..x.clone() })
}

pub(super) fn transpose<'a>(x: &Evaluated<'a>, order: &[i64]) -> Result<Evaluated<'a>> {
    let order = order.iter().map(|a| x.axis(*a)).collect::<Result<Vec<_>>>()?;
    ensure!(order.len() == x.dims.len(), "{order:?} of {:?}", x.dims);
    let steps: Vec<usize> = (0..x.dims.len()).map(|d| x.dims[d + 1..].iter().product()).collect();
    let dims: Vec<usize> = order.iter().map(|d| x.dims[*d]).collect();
    let value = |mut i: usize| {
        let mut at = 0;
        for (d, size) in dims.iter().enumerate().rev() {
            at += i % size * steps[order[d]];
            i /= size;
        }
        x.at(at)
    };
    let values = (0..x.len()).map(value).collect();
    Ok(Evaluated::new(dims, x.element, values))
}

#[cfg(test)]
mod tests {
    use super::super::arithmetic::softmax;
    use super::*;

    #[test]
    fn slices_joins_and_shapes() {
        let x = Evaluated::floats(vec![2, 3], vec![0., 1., 2., 3., 4., 5.]);
        let at = |v: i64| Evaluated::wholes(vec![1], &[v]);
        let part = slice(&x, &at(1), &at(3), &at(1)).unwrap();
        assert_eq!((part.dims.clone(), part.values()), (vec![2, 2], vec![1., 2., 4., 5.]));
        assert_eq!(concat(&[&x, &part], 1).unwrap().values(), [0., 1., 2., 1., 2., 3., 4., 5., 4., 5.]);
        assert_eq!(reshape(&x, &[0, -1, 1]).unwrap().dims, [2, 3, 1]);
        assert!(gather(&x, &at(2)).is_err());
        let sums: Vec<f64> = softmax(&x, 1).unwrap().values().chunks(3).map(|r| r.iter().sum()).collect();
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6));
    }
}
