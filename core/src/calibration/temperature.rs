//! Temperature scaling: the one slope `1/T` that minimises the log loss, a convex problem in one number.

use super::{Map, Sample, Unfit, sigmoid};

/// Fits `z / T`.
pub(super) fn fit(sample: &Sample) -> Result<Map, Unfit> {
    if derivative(sample, 0.0) >= 0.0 {
        // The loss rises from a slope of 0 on.
        return Err(Unfit::WrongWay { slope: 0.0 });
    }
    // With a row on the wrong side the derivative ends above 0; without one, the loss falls for ever.
    let wrong = |(z, y): (&f64, &u8)| if *y == 0 { *z > 0.0 } else { *z < 0.0 };
    if !sample.logits.iter().zip(&sample.labels).any(wrong) {
        return Err(Unfit::Separated);
    }
    let mut high = 1.0;
    while derivative(sample, high) < 0.0 {
        high *= 2.0;
    }
    let mut low = 0.0;
    // 64 halvings exhaust an f64.
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        *(if derivative(sample, middle) < 0.0 { &mut low } else { &mut high }) = middle;
    }
    Ok(Map::Temperature { temperature: 1.0 / high })
}

/// Of the log loss by the slope; it rises with the slope.
fn derivative(sample: &Sample, slope: f64) -> f64 {
    let rows = sample.logits.iter().zip(&sample.labels).zip(&sample.weights);
    rows.map(|((z, y), w)| w * (sigmoid(slope * z) - f64::from(u8::from(*y != 0))) * z).sum()
}
