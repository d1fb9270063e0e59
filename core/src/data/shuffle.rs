//! A shuffled order of all rows without a list of them: a keyed permutation that can be entered at any position.

use super::id::mix;

/// Permutes `0..n`: a Feistel network over the next power of two, walked until it lands inside (Black & Rogaway 2002).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shuffle {
    n: u64,
    low_bits: u32,
    high_bits: u32,
    keys: [u64; 6],
}

impl Shuffle {
    pub(crate) fn new(n: u64, seed: u64, epoch: u64) -> Self {
        let bits = (u64::BITS - n.saturating_sub(1).leading_zeros()).max(2);
        let key = mix(epoch, mix(seed, 0x7368_7566));
        let keys = std::array::from_fn(|round| mix(round as u64, key));
        Self { n, low_bits: bits / 2, high_bits: bits - bits / 2, keys }
    }

    /// The row at a position; `at` must be below `n`.
    #[inline]
    pub(crate) fn get(&self, at: u64) -> u64 {
        let mut x = at;
        loop {
            x = self.round_trip(x);
            if x < self.n {
                return x;
            }
        }
    }

    #[inline]
    fn round_trip(&self, x: u64) -> u64 {
        let (low_mask, high_mask) = ((1 << self.low_bits) - 1, (1 << self.high_bits) - 1);
        let (mut low, mut high) = (x & low_mask, x >> self.low_bits);
        for pair in self.keys.chunks_exact(2) {
            low ^= mix(high, pair[0]) & low_mask;
            high ^= mix(low, pair[1]) & high_mask;
        }
        high << self.low_bits | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_once_in_another_order_each_epoch() {
        for n in [1_u64, 2, 3, 5, 64, 1000, 4097] {
            let s = Shuffle::new(n, 7, 0);
            let order: Vec<u64> = (0..n).map(|i| s.get(i)).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            if n > 60 {
                let t = Shuffle::new(n, 7, 1);
                assert_ne!(order, (0..n).map(|i| t.get(i)).collect::<Vec<_>>());
                assert_ne!(order, sorted);
            }
        }
    }

    #[test]
    fn neighbours_are_spread() {
        let s = Shuffle::new(1000, 1, 0);
        let mean_step = (0..999).map(|i| s.get(i).abs_diff(s.get(i + 1))).sum::<u64>() / 999;
        assert!((250..420).contains(&mean_step), "{mean_step}");
    }
}
