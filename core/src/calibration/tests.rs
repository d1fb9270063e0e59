use super::isotonic::{TILT, pool};
use super::*;
use proptest::prelude::*;

fn sample(logits: &[f64], labels: &[u8]) -> Sample {
    Sample { logits: logits.to_vec(), labels: labels.to_vec(), weights: vec![1.0; logits.len()] }
}

/// Rows whose true logit is known; `distort` makes of it what a tower says.
fn simulated(n: u32, distort: impl Fn(f64) -> f64) -> (Sample, Vec<f64>) {
    let mut draw = 2018u64;
    let mut uniform = || {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(draw >> 32).unwrap()) / 2f64.powi(32)
    };
    let mut sample = Sample::default();
    let mut truth = Vec::new();
    for _ in 0..n {
        // A sum of uniforms: nearly normal, around −2.
        let z = -2.0 + 1.5 * ((0..4).map(|_| uniform()).sum::<f64>() - 2.0);
        sample.labels.push(u8::from(uniform() < sigmoid(z)));
        sample.logits.push(distort(z));
        sample.weights.push(1.0);
        truth.push(z);
    }
    (sample, truth)
}

/// Numbers of scikit-learn; the script that made them is `tests/golden/calibration_sklearn.py`.
#[test]
fn agrees_with_scikit_learn() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../../../tests/golden/calibration_sklearn.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 6);
    for case in cases {
        let numbers = |key: &str| -> Vec<f64> { case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
        let labels = numbers("y").iter().map(|y| u8::from(*y > 0.0)).collect();
        let sample = Sample { logits: numbers("z"), labels, weights: numbers("w") };
        let Map::Platt { slope, intercept } = fit(Method::Platt, &sample).unwrap() else { panic!() };
        let [a, b] = ["slope", "intercept"].map(|key| case["platt"][key].as_f64().unwrap());
        assert!((slope - a).abs() < 1e-5 && (intercept - b).abs() < 1e-5, "{slope} {intercept} and {a} {b}");
        let Map::Temperature { temperature } = fit(Method::Temperature, &sample).unwrap() else { panic!() };
        let expected = case["temperature"].as_f64().unwrap();
        assert!((temperature - expected).abs() < 1e-6 * expected, "{temperature} and {expected}");
        let blocks = pool(&sample);
        for (z, expected) in sample.logits.iter().zip(numbers("isotonic")) {
            let block = blocks.iter().find(|b| b.low <= *z && *z <= b.high).unwrap();
            assert!((block.rate() - expected).abs() < 1e-9, "{} and {expected}", block.rate());
        }
    }
}

#[test]
fn a_known_miscalibration_is_undone() {
    // The tower says 2·z + 1 where the truth is z.
    let (rows, truth) = simulated(200_000, |z| 2.0 * z + 1.0);
    let Map::Platt { slope, intercept } = fit(Method::Platt, &rows).unwrap() else { panic!() };
    assert!((slope - 0.5).abs() < 0.01 && (intercept + 0.5).abs() < 0.02, "{slope} {intercept}");
    let (hot, _) = simulated(200_000, |z| 3.0 * z);
    let Map::Temperature { temperature } = fit(Method::Temperature, &hot).unwrap() else { panic!() };
    assert!((temperature - 3.0).abs() < 0.03, "{temperature}");
    // Bent, so that neither of the two can undo it.
    let (bent, _) = simulated(200_000, |z| z.powi(3) / 4.0 - 1.0);
    let isotonic = fit(Method::Isotonic, &bent).unwrap();
    let platt = fit(Method::Platt, &bent).unwrap();
    let off =
        |map: &Map| bent.logits.iter().zip(&truth).map(|(z, t)| (sigmoid(map.apply(*z)) - sigmoid(*t)).abs()).sum::<f64>() / 200_000.0;
    assert!(off(&isotonic) < 0.004 && off(&platt) > 2.0 * off(&isotonic), "{} {}", off(&isotonic), off(&platt));
    // Joining centres keeps the sum of predictions.
    let sum: f64 = bent.logits.iter().map(|z| sigmoid(isotonic.apply(*z))).sum();
    let positives = bent.classes().1 as f64;
    assert!((sum / positives - 1.0).abs() < 0.005, "{}", sum / positives);
}

/// Of the negatives a tenth is kept; a tower that is right on what is left predicts odds ten times too high.
#[test]
fn kept_negatives_add_the_log_of_their_rate() {
    let rate = 0.1f64;
    let (all, truth) = simulated(400_000, |z| z);
    let mut kept = Sample::default();
    for (row, z) in truth.iter().enumerate() {
        if all.labels[row] == 1 || row % 10 == 3 {
            kept.logits.push(*z);
            kept.labels.push(all.labels[row]);
            kept.weights.push(1.0);
        }
    }
    // What training on the kept rows would find.
    let map = fit(Method::Platt, &kept).unwrap();
    let with = |correction: &Correction| {
        let sum: f64 = truth.iter().map(|z| sigmoid(correction.apply(*z))).sum();
        sum / all.classes().1 as f64
    };
    let without = with(&Correction { map: map.clone(), log_keep_rate: 0.0 });
    let right = with(&Correction { map: map.clone(), log_keep_rate: rate.ln() });
    let wrong_sign = with(&Correction { map, log_keep_rate: -rate.ln() });
    assert!((right - 1.0).abs() < 0.01 && without > 3.0 && wrong_sign > without, "{right} {without} {wrong_sign}");
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let few = sample(&[0.0, 1.0, 2.0, 3.0], &[0, 1, 1, 1]);
    for method in [Method::Platt, Method::Temperature, Method::Isotonic] {
        assert_eq!(fit(method, &few), Err(Unfit::TooFew { positives: 3, negatives: 1 }));
    }
    assert!(Unfit::TooFew { positives: 3, negatives: 1 }.to_string().contains("10 of each"));
    assert_eq!(fit(Method::None, &few), Ok(Map::None {}));
    let labels: Vec<u8> = (0..40).map(|i| u8::from(i >= 20)).collect();
    let logits: Vec<f64> = (0..40).map(|i| f64::from(i) - 19.5).collect();
    let reversed: Vec<f64> = logits.iter().map(|z| -z).collect();
    assert!(matches!(fit(Method::Platt, &sample(&reversed, &labels)), Err(Unfit::WrongWay { slope }) if slope < 0.0));
    assert!(matches!(fit(Method::Temperature, &sample(&reversed, &labels)), Err(Unfit::WrongWay { .. })));
    assert_eq!(fit(Method::Temperature, &sample(&logits, &labels)), Err(Unfit::Separated));
    // Platt's smoothed targets have an answer there.
    assert!(matches!(fit(Method::Platt, &sample(&logits, &labels)), Ok(Map::Platt { slope, .. }) if slope > 0.1));
    assert_eq!(fit(Method::Platt, &sample(&[1.0; 40], &labels)), Err(Unfit::Constant));
    assert_eq!(fit(Method::Platt, &sample(&[f64::NAN; 40], &labels)), Err(Unfit::NotFinite));
    let weightless = Sample { weights: labels.iter().map(|y| f64::from(1 - y)).collect(), ..sample(&logits, &labels) };
    assert_eq!(fit(Method::Isotonic, &weightless), Err(Unfit::NoWeight));
    // Isotonic regression of a tower that ranks the wrong way round is the base rate.
    let flat = fit(Method::Isotonic, &sample(&reversed, &labels)).unwrap();
    assert!(flat.apply(0.0).abs() < 0.01 && flat.apply(1.0) > flat.apply(0.0));
}

#[test]
fn maps_that_are_not_monotone_are_faults() {
    assert!(
        Map::Platt { slope: 0.0, intercept: 1.0 }.fault().is_some() && Map::Platt { slope: 1.0, intercept: f64::NAN }.fault().is_some()
    );
    assert!(Map::Temperature { temperature: -1.0 }.fault().is_some());
    for bad in [vec![], vec![(0.0, 1.0), (1.0, 1.0)], vec![(0.0, 1.0), (0.0, 2.0)], vec![(0.0, f64::INFINITY)]] {
        assert!(Map::Isotonic { knots: bad }.fault().is_some());
    }
    assert!(Map::Isotonic { knots: vec![(0.0, 1.0)] }.fault().is_none() && Map::None {}.fault().is_none());
}

proptest! {
    #[test]
    fn isotonic_maps_are_strictly_monotone_and_finite(
        rows in proptest::collection::vec((-12i32..12, any::<bool>(), 1u8..4), 40..200),
        at in proptest::collection::vec(-40f32..40.0, 2..60),
    ) {
        let mut rows = rows;
        for (i, row) in rows.iter_mut().enumerate().take(2 * usize::try_from(FEWEST).unwrap()) {
            row.1 = i % 2 == 0;
        }
        let sample = Sample {
            logits: rows.iter().map(|r| f64::from(r.0) / 3.0).collect(),
            labels: rows.iter().map(|r| u8::from(r.1)).collect(),
            weights: rows.iter().map(|r| f64::from(r.2)).collect(),
        };
        let map = fit(Method::Isotonic, &sample).unwrap();
        prop_assert!(map.fault().is_none(), "{map:?}");
        let mut at = at;
        at.sort_unstable_by(f32::total_cmp);
        for pair in at.windows(2).filter(|p| p[1] - p[0] > 1e-6) {
            let [low, high] = [pair[0], pair[1]].map(|z| map.apply(f64::from(z)));
            prop_assert!(low < high && low.is_finite(), "{pair:?} became {low} {high}");
            prop_assert!(high - low > 0.5 * TILT * f64::from(pair[1] - pair[0]));
        }
    }
}
