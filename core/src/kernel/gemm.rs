//! Matrix products on slices: a safe face of the `gemm` crate.
#![allow(unsafe_code)]

/// A matrix that is read: a slice, row by row, perhaps transposed.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}
impl<'a> View<'a> {
    /// `[rows, cols]`, row-major.
    ///
    /// # Panics
    /// If the slice has another length.
    pub fn new(values: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols, "a matrix of {rows} × {cols}");
        Self { values, rows, cols, row_stride: cols, col_stride: 1 }
    }
    /// Its transpose.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `out = a·b`, or `out += a·b` with `add`, on this thread. `out` is `[a.rows, b.cols]`, row-major.
///
/// # Panics
/// If the shapes do not fit.
#[allow(clippy::cast_possible_wrap)]
pub(super) fn multiply(out: &mut [f32], add: bool, a: View<'_>, b: View<'_>) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner sizes");
    assert_eq!(out.len(), m * n, "size of the product");
    if out.is_empty() {
        return;
    }
    if k == 0 {
        if !add {
            out.fill(0.0);
        }
        return;
    }
    // SAFETY: a view is made from a slice of rows · cols values, and transposing keeps that, so every element that the strides reach lies in
    // its slice; `out` has m · n values, was borrowed mutably, and so overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.values.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_match_three_loops() {
        let values = |n: usize, step: usize| (0..n).map(|i| ((i * step) % 17) as f32 / 4.0 - 2.0).collect::<Vec<f32>>();
        for (m, n, k) in [(1, 1, 1), (3, 5, 2), (7, 1, 9), (1, 33, 4), (65, 40, 31), (4, 4, 0)] {
            let (a, b) = (values(m * k, 5), values(k * n, 7));
            let oracle = |i: usize, j: usize| (0..k).map(|c| a[i * k + c] * b[c * n + j]).sum::<f32>();
            let (at, bt): (Vec<f32>, Vec<f32>) = (
                (0..k).flat_map(|c| (0..m).map(move |i| (i, c))).map(|(i, c)| a[i * k + c]).collect(),
                (0..n).flat_map(|j| (0..k).map(move |c| (c, j))).map(|(c, j)| b[c * n + j]).collect(),
            );
            for add in [false, true] {
                let start = if add { 3.0 } else { f32::NAN };
                for (a, b) in [(View::new(&a, m, k), View::new(&b, k, n)), (View::new(&at, k, m).t(), View::new(&bt, n, k).t())] {
                    let mut out = vec![start; m * n];
                    multiply(&mut out, add, a, b);
                    for (i, found) in out.iter().enumerate() {
                        let expected = oracle(i / n, i % n) + if add { 3.0 } else { 0.0 };
                        assert!((found - expected).abs() < 1e-3, "{m} {n} {k} {add}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "inner sizes")]
    fn shapes_that_do_not_fit_are_refused() {
        multiply(&mut [0.0; 4], false, View::new(&[0.0; 4], 2, 2), View::new(&[0.0; 6], 3, 2));
    }
}
