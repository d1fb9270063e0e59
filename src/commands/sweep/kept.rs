//! Metrics on resamples as a file of the run's folder, so that a sweep that is given again draws nothing anew.

use esmm_funnel_core::metrics::{MEASURES, Resampled, Values};
use serde_json::{Value, json};

/// Undefined numbers are null.
pub fn write(key: &Value, spaces: &[Resampled]) -> Value {
    let numbers = |v: &Values| -> Value { v.iter().map(|x| json!(x.is_finite().then_some(*x))).collect() };
    let spaces = spaces.iter().map(|s| {
        json!({
            "stage": s.target, "space": s.space, "rows": s.rows, "positives": s.positives, "estimate": numbers(&s.estimate),
            "replicates": s.replicates.iter().map(numbers).collect::<Value>(),
        })
    });
    json!({ "of": key, "measures": MEASURES, "spaces": spaces.collect::<Value>() })
}

/// `None`: of something else, or damaged.
pub fn read(bytes: &[u8], key: &Value) -> Option<Vec<Resampled>> {
    let file: Value = serde_json::from_slice(bytes).ok()?;
    if file["of"] != *key || file["measures"] != json!(MEASURES) {
        return None;
    }
    let numbers = |v: &Value| -> Option<Values> {
        let all: Vec<f64> = v.as_array()?.iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect();
        all.try_into().ok()
    };
    let space = |s: &Value| {
        Some(Resampled {
            target: s["stage"].as_str()?.into(),
            space: s["space"].as_str()?.into(),
            rows: s["rows"].as_u64()?,
            positives: s["positives"].as_u64()?,
            estimate: numbers(&s["estimate"])?,
            replicates: s["replicates"].as_array()?.iter().map(numbers).collect::<Option<_>>()?,
        })
    };
    file["spaces"].as_array()?.iter().map(space).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_by_its_key() {
        let space = Resampled {
            target: "buy".into(),
            space: "full".into(),
            rows: 7,
            positives: 2,
            estimate: [0.5, 0.25, 1.0, 0.1],
            replicates: vec![[0.1 + 0.2, f64::NAN, 1.0, 0.0]; 2],
        };
        let key = json!({ "by": null, "seed": 1 });
        let bytes = serde_json::to_vec(&write(&key, std::slice::from_ref(&space))).unwrap();
        let found = read(&bytes, &key).unwrap().remove(0);
        assert_eq!((found.estimate, found.rows, found.replicates[1][0]), (space.estimate, 7, 0.1 + 0.2));
        assert!(found.replicates[0][1].is_nan());
        assert_eq!(read(&bytes, &json!({ "by": "user", "seed": 1 })), None);
        assert_eq!(read(&bytes[..40], &key), None);
    }
}
