//! Axes: from values to places, and where the ticks stand.

use super::numbers::tick_label;
use maud::{Markup, html};

/// How values are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By their logarithms; what is not above 0 stands at the low end.
    Log,
}

/// What an axis shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// Spacing.
    pub scale: Scale,
    /// From, to; otherwise what the data need.
    pub range: Option<(f64, f64)>,
}
impl Axis {
    /// Evenly spaced, as far as the data go.
    #[must_use]
    pub fn linear(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }
    /// By logarithms, as far as the data go.
    #[must_use]
    pub fn log(label: &str) -> Self {
        Self { label: label.into(), scale: Scale::Log, range: None }
    }
    /// From `low` to `high` and no further.
    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }

    /// On the page between `from` and `to`, for these values.
    pub(super) fn place(&self, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Placed {
        let log = self.scale == Scale::Log;
        let usable = values.filter(|v| v.is_finite() && (!log || *v > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let found = if low > high { if log { (0.1, 1.0) } else { (0.0, 1.0) } } else { (low, high) };
        let (low, high) = self.range.unwrap_or(found);
        let open = self.range.is_none();
        let (low, high, ticks) = if log { log_ticks(low, high, open) } else { linear_ticks(low, high, open) };
        Placed { low, high, log, from, to, ticks }
    }
}

/// An axis that has its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
    /// Value and label.
    pub ticks: Vec<(f64, String)>,
}
impl Placed {
    /// The place of a value; values beyond the ends stand at the ends.
    pub(super) fn at(&self, v: f64) -> f64 {
        let share = if self.log {
            (v.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (v - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }
    /// For the script: from, to, first value, last value, `lin` or `log`.
    pub(super) fn data(&self) -> String {
        format!("{} {} {} {} {}", self.from, self.to, self.low, self.high, if self.log { "log" } else { "lin" })
    }
    /// The low end.
    pub(super) fn low(&self) -> f64 {
        self.low
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, so that about `wanted` of them make `span`.
fn nice_step(span: f64, wanted: f64) -> f64 {
    let raw = span / wanted;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|s| s * power >= raw * 0.999).unwrap_or(10.0);
    step * power
}

/// Ends and ticks; open ends move out to the next tick.
fn linear_ticks(low: f64, high: f64, open: bool) -> (f64, f64, Vec<(f64, String)>) {
    let (low, high) = if high - low > 1e-12 * high.abs().max(low.abs()) && high > low {
        (low, high)
    } else {
        let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
        (low - half, low + half)
    };
    let step = nice_step(high - low, 5.0);
    let (low, high) = if open { ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step) } else { (low, high) };
    let first = (low / step - 1e-9).ceil();
    let mut ticks = Vec::new();
    let mut i = 0.0;
    while (first + i) * step <= high + step * 1e-6 {
        let v = (first + i) * step;
        ticks.push((v, tick_label(v, step)));
        i += 1.0;
    }
    (low, high, ticks)
}

/// Powers of ten; over a short span 2 and 5 times them as well, over a long one not every one.
fn log_ticks(low: f64, high: f64, open: bool) -> (f64, f64, Vec<(f64, String)>) {
    let low = if low > 0.0 { low } else { high.max(1e-300) * 1e-6 };
    let high = if high > low * (1.0 + 1e-9) { high } else { low * 2.0 };
    let decades = (high / low).log10();
    let within: &[f64] = if decades < 1.5 {
        &[1.0, 2.0, 3.0, 5.0, 7.0]
    } else if decades < 3.0 {
        &[1.0, 2.0, 5.0]
    } else {
        &[1.0]
    };
    let every = (decades / 6.0).ceil().max(1.0);
    let (first, last) = ((low * 1.000_001).log10().floor(), high.log10().ceil());
    let mut all = Vec::new();
    let mut power = first;
    while power <= last {
        if (power - first) % every == 0.0 {
            all.extend(within.iter().map(|m| m * 10f64.powf(power)));
        }
        power += 1.0;
    }
    let (low, high) = if open {
        let below = all.iter().copied().rfind(|t| *t <= low * 1.000_001).unwrap_or(low);
        let above = all.iter().copied().find(|t| *t >= high * 0.999_999).unwrap_or(high);
        (below, above)
    } else {
        (low, high)
    };
    let ticks = all.into_iter().filter(|t| *t >= low * 0.999_999 && *t <= high * 1.000_001).map(|t| (t, tick_label(t, t))).collect();
    (low, high, ticks)
}

/// Grid, ticks and labels around a picture: `left`, `top`, `right`, `bottom` are the edges of its inner part.
pub(super) fn frame(x: &Placed, y: &Placed, labels: (&str, &str), [left, top, right, bottom]: [f64; 4]) -> Markup {
    html! {
        @for (v, label) in &y.ticks {
            @let at = px(y.at(*v));
            line.grid-line x1=(px(left)) x2=(px(right)) y1=(at) y2=(at) {}
            text x=(px(left - 6.0)) y=(px(y.at(*v) + 4.0)) text-anchor="end" { (label) }
        }
        @for (v, label) in &x.ticks {
            @let at = px(x.at(*v));
            line.grid-line x1=(at) x2=(at) y1=(px(top)) y2=(px(bottom)) {}
            text x=(at) y=(px(bottom + 16.0)) text-anchor="middle" { (label) }
        }
        rect.axis x=(px(left)) y=(px(top)) width=(px(right - left)) height=(px(bottom - top)) {}
        text x=(px(f64::midpoint(left, right))) y=(px(bottom + 34.0)) text-anchor="middle" { (labels.0) }
        text x=(px(2.0)) y=(px(top - 8.0)) text-anchor="start" { (labels.1) }
    }
}

/// A place in the picture.
pub(super) fn px(v: f64) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64]) -> Vec<String> {
        axis.place(values.iter().copied(), (0.0, 100.0)).ticks.into_iter().map(|t| t.1).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_data() {
        assert_eq!(labels(&Axis::linear(""), &[0.0, 1.0]), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&Axis::linear(""), &[0.61, 0.74]), ["0.60", "0.65", "0.70", "0.75"]);
        assert_eq!(labels(&Axis::linear(""), &[0.0, 48_000.0]), ["0", "10k", "20k", "30k", "40k", "50k"]);
        assert_eq!(labels(&Axis::log(""), &[0.0012, 1.5]), ["0.001", "0.01", "0.1", "1", "10"]);
        for values in [&[5.0, 5.0][..], &[0.0], &[], &[f64::NAN, 1.0], &[-3.0, 1e9], &[1e-9, 2e-9]] {
            for axis in [Axis::linear(""), Axis::log("")] {
                let placed = axis.place(values.iter().copied(), (0.0, 100.0));
                assert!((2..=12).contains(&placed.ticks.len()), "{axis:?} {values:?}: {:?}", placed.ticks);
                assert!(values.iter().filter(|v| v.is_finite()).all(|v| (0.0..=100.0).contains(&placed.at(*v))));
            }
        }
    }

    #[test]
    fn places_follow_the_scale() {
        let placed = Axis::log("").within(0.01, 1.0).place([].into_iter(), (0.0, 100.0));
        assert!((placed.at(0.1) - 50.0).abs() < 1e-9 && placed.at(0.0) == 0.0 && placed.at(7.0) == 100.0);
        let placed = Axis::linear("").within(0.0, 2.0).place([].into_iter(), (200.0, 0.0));
        assert!((placed.at(0.5) - 150.0).abs() < 1e-9);
    }
}
