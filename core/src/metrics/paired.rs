//! Whether a difference that is seen again and again could be chance: Student's t test on paired differences.

use serde::Serialize;

/// Differences of pairs, and how far their mean is from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Paired {
    /// Mean of the differences.
    pub mean: f64,
    /// Their sample standard deviation.
    pub std: f64,
    /// Number of pairs.
    pub n: usize,
    /// `mean / (std / √n)`.
    pub t: f64,
    /// Probability of a |t| as large as this or larger were the true mean 0, with normal differences: two-sided, n − 1 degrees of freedom.
    pub p: f64,
}

/// The test on differences; `None` for fewer than two, and where all are the same (there is no spread to compare with).
#[must_use]
pub fn paired(differences: &[f64]) -> Option<Paired> {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let std = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    // Differences that are equal but for rounding have no spread.
    let spread = differences.len() > 1 && std > 1e-12 * mean.abs().max(1.0);
    spread.then(|| {
        let t = mean / (std / n.sqrt());
        Paired { mean, std, n: differences.len(), t, p: two_sided(t, n - 1.0) }
    })
}

/// P(|T| ≥ |t|) of Student's t with `df` degrees of freedom: the regularised incomplete beta function at `df/(df + t²)`, `(df/2, 1/2)`.
fn two_sided(t: f64, df: f64) -> f64 {
    incomplete_beta(df / (df + t * t), df / 2.0, 0.5)
}

/// `I_x(a, b)`, by its continued fraction (Abramowitz and Stegun 26.5.8), on the side where it converges fast.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp() / a;
    // The fraction from its end: a fixed depth is far more than double precision needs here.
    let term = |k: u32| {
        let m = f64::from(k / 2);
        if k.is_multiple_of(2) {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        }
    };
    front / (1..200).rev().fold(1.0, |rest, k| 1.0 + term(k) / rest)
}

/// `ln Γ(x)` for x > 0: Stirling's series, from 10 on; below through `Γ(x) = Γ(x + 1)/x`.
fn ln_gamma(x: f64) -> f64 {
    if x < 10.0 {
        return ln_gamma(x + 1.0) - x.ln();
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5)) - 1.0 / (1680.0 * x.powi(7));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 + 1e-8 * expected.abs(), "{found} against {expected}");
    }

    /// One and two degrees of freedom have closed forms; the others are the quantiles of the printed tables.
    #[test]
    fn the_distribution_is_students() {
        for t in [0.0f64, 0.1, 1.0, 3.0, 12.706, 500.0] {
            close(two_sided(t, 1.0), 1.0 - 2.0 / std::f64::consts::PI * t.atan());
            close(two_sided(-t, 2.0), 1.0 - t / (2.0 + t * t).sqrt());
        }
        for (t, df, p) in [(4.303, 2.0, 0.05), (2.776, 4.0, 0.05), (3.250, 9.0, 0.01), (2.262, 9.0, 0.05), (2.0, 60.0, 0.05)] {
            assert!((two_sided(t, df) - p).abs() < 5e-4, "{t} {df}: {}", two_sided(t, df));
        }
        close(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln());
        close(ln_gamma(11.0), 3_628_800f64.ln());
    }

    /// The example of Student's own paper (1908): additional hours of sleep.
    #[test]
    fn hours_of_sleep() {
        let d = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4];
        let found = paired(&d).unwrap();
        assert!((found.mean - 1.58).abs() < 1e-12 && (found.t - 4.0621).abs() < 1e-4 && (found.p - 0.002_833).abs() < 1e-5, "{found:?}");
    }

    #[test]
    fn without_spread_there_is_no_test() {
        assert_eq!([paired(&[]), paired(&[1.0]), paired(&[0.25; 4]), paired(&[0.0; 3])], [None; 4]);
        assert!(paired(&[0.1, 0.2]).is_some());
    }
}
