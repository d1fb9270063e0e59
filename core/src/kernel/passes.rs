//! What stands between two products, each in one pass. `Arch` compiles a closure for the widest vectors that the processor has.

use pulp::Arch;

/// `h ← max(h + bias, 0)`.
pub(super) fn rectify(h: &mut [f32], bias: &[f32], width: usize) {
    Arch::new().dispatch(|| {
        if bias.is_empty() {
            for h in h.iter_mut() {
                *h = h.max(0.0);
            }
            return;
        }
        for h in h.chunks_exact_mut(width) {
            h.iter_mut().zip(bias).for_each(|(h, b)| *h = (*h + b).max(0.0));
        }
    });
}
/// `h[row] += product[index[row]]`.
pub(super) fn add_members(h: &mut [f32], product: &[f32], width: usize, index: &[u32]) {
    Arch::new().dispatch(|| {
        for (h, member) in h.chunks_exact_mut(width).zip(index) {
            let from = &product[*member as usize * width..][..width];
            h.iter_mut().zip(from).for_each(|(h, p)| *h += p);
        }
    });
}
/// `out[row] = Σ h[row]·weight + bias`.
pub(super) fn dot_rows(h: &[f32], weight: &[f32], width: usize, bias: f32, out: &mut [f32]) {
    const LANES: usize = 16;
    Arch::new().dispatch(|| {
        let weight = &weight[..width];
        for (h, out) in h.chunks_exact(width).zip(out.iter_mut()) {
            let mut sums = [0.0f32; LANES];
            let (a, b) = (h.chunks_exact(LANES), weight.chunks_exact(LANES));
            let tail: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
            for (a, b) in a.zip(b) {
                for i in 0..LANES {
                    sums[i] += a[i] * b[i];
                }
            }
            *out = sums.iter().sum::<f32>() + tail + bias;
        }
    });
}
/// `d[row] = dz[row]·head` where `h > 0`, and `weight += Σ dz[row]·h[row]`.
pub(super) fn back_through_head(d: &mut [f32], h: &[f32], dz: &[f32], head: &[f32], weight: &mut [f32]) {
    let width = head.len();
    Arch::new().dispatch(|| {
        for ((d, h), dz) in d.chunks_exact_mut(width).zip(h.chunks_exact(width)).zip(dz) {
            for ((d, h), (head, weight)) in d.iter_mut().zip(h).zip(head.iter().zip(weight.iter_mut())) {
                *d = if *h > 0.0 { dz * head } else { 0.0 };
                *weight += dz * h;
            }
        }
    });
}
/// `sums += Σ d[row]`.
pub(super) fn add_columns(sums: &mut [f32], d: &[f32]) {
    Arch::new().dispatch(|| {
        for d in d.chunks_exact(sums.len()) {
            sums.iter_mut().zip(d).for_each(|(s, d)| *s += d);
        }
    });
}
/// `d ← 0` where the unit was off.
pub(super) fn mask(d: &mut [f32], h: &[f32]) {
    Arch::new().dispatch(|| d.iter_mut().zip(h).for_each(|(d, h)| *d = if *h > 0.0 { *d } else { 0.0 }));
}
