//! Numbers as people read them.

use crate::ui::count;

/// For tables: whole numbers with thousands apart, others with five digits that count, tiny ones with an exponent.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 1e15
pub fn value(v: f64) -> String {
    if !v.is_finite() {
        return "—".into();
    }
    if v.fract() == 0.0 && v.abs() < 1e15 {
        return format!("{}{}", if v < 0.0 { "−" } else { "" }, count(v.abs() as u64));
    }
    digits(v, 5)
}

fn digits(v: f64, significant: i32) -> String {
    #[allow(clippy::cast_possible_truncation)] // an exponent
    let magnitude = v.abs().log10().floor() as i32;
    if magnitude < -4 {
        return format!("{v:.*e}", usize::try_from(significant - 1).unwrap_or(0)).replace('-', "−");
    }
    let decimals = usize::try_from(significant - 1 - magnitude).unwrap_or(0);
    let text = format!("{v:.decimals$}");
    text.replace('-', "−")
}

/// The label of a tick that stands `step` from the next.
#[must_use]
pub fn tick_label(v: f64, step: f64) -> String {
    let (v, step, unit) = match v.abs().max(step) {
        a if a >= 1e9 => (v / 1e9, step / 1e9, "G"),
        a if a >= 1e6 => (v / 1e6, step / 1e6, "M"),
        a if a >= 1e4 => (v / 1e3, step / 1e3, "k"),
        _ => (v, step, ""),
    };
    if v.abs() < step * 1e-6 {
        return "0".into();
    }
    if step < 1e-4 && unit.is_empty() {
        return format!("{v:.0e}").replace('-', "−");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few digits
    let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
    // 2.5 needs a digit more than its magnitude says.
    let decimals =
        if ((step * 10f64.powi(i32::try_from(decimals).unwrap_or(0))).fract() - 0.5).abs() < 1e-6 { decimals + 1 } else { decimals };
    format!("{v:.decimals$}{unit}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [value(1_234_567.0), value(0.712_345_6), value(-3.0), value(0.000_012_345_6)],
            ["1,234,567", "0.71235", "−3", "1.2346e−5"]
        );
        assert_eq!([value(f64::NAN), value(0.0), value(12.345_678), value(123_456.7)], ["—", "0", "12.346", "123457"]);
        assert_eq!(
            [tick_label(0.25, 0.25), tick_label(0.5, 0.1), tick_label(20_000.0, 5000.0), tick_label(2.0, 1.0)],
            ["0.25", "0.5", "20k", "2"]
        );
        assert_eq!([tick_label(1e-17, 0.1), tick_label(-0.05, 0.05), tick_label(12_500.0, 2500.0)], ["0", "−0.05", "12.5k"]);
    }
}
