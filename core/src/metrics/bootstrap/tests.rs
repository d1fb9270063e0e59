//! The bootstrap against rows written out, scikit-learn, `SciPy`, `DeLong`, and worlds whose truth is known.

use super::super::comparison::{Contestant, Member, SpaceComparison, compare};
use super::super::{auc, delong, ece, log_loss, pcoc, placements};
use super::*;
use proptest::prelude::*;
use serde_json::Value;

static GO: AtomicBool = AtomicBool::new(false);

fn plan(units: Units<'_>, replicates: u32, seed: u64) -> Resampling<'_> {
    Resampling { units, weights: None, replicates, seed, ece_bins: 7, stop: &GO }
}
fn space(p: &[f64], labels: &[u8], rows: Option<Vec<u32>>) -> SpaceColumns {
    SpaceColumns {
        target: "buy".into(),
        space: "full",
        rows,
        labels: labels.to_vec(),
        log_p: p.iter().map(|p| p.ln()).collect(),
        log_not_p: p.iter().map(|p| (-p).ln_1p()).collect(),
    }
}
fn same(found: f64, expected: Option<f64>) -> bool {
    expected.filter(|e| e.is_finite()).map_or(found.is_nan(), |e| (found - e).abs() < 1e-9 * e.abs().max(1.0))
}

/// The measures of rows written out as often as they were drawn, by the functions for plain rows.
fn written_out(s: &SpaceColumns, times: &[u16], weights: Option<&[f32]>, bins: usize) -> [Option<f64>; 4] {
    let mut rows: Vec<usize> = Vec::new();
    let row = |at: usize| s.rows.as_ref().map_or(at, |r| r[at] as usize);
    (0..s.labels.len()).for_each(|at| rows.extend(std::iter::repeat_n(at, usize::from(times[row(at)]))));
    let log_p: Vec<f64> = rows.iter().map(|r| s.log_p[*r]).collect();
    let log_not_p: Vec<f64> = rows.iter().map(|r| s.log_not_p[*r]).collect();
    let labels: Vec<u8> = rows.iter().map(|r| s.labels[*r]).collect();
    let w: Option<Vec<f32>> = weights.map(|w| rows.iter().map(|r| w[row(*r)]).collect());
    let w = w.as_deref();
    [
        auc(&log_p, &labels, w).ok(),
        log_loss(&log_p, &log_not_p, &labels, w).ok(),
        pcoc(&log_p, &labels, w).ok(),
        ece(&log_p, &labels, w, bins).ok(),
    ]
}

proptest! {
    /// Any rows, ties, weights (0 too), any part of the rows, fewer rows than bins.
    #[test]
    fn counting_is_writing_out(rows in proptest::collection::vec((1u8..9, 0u8..2, 0u8..4, 0u16..4, any::<bool>()), 1..60), weighted: bool) {
        let inside: Vec<u32> = (0..rows.len()).filter(|r| rows[*r].4).map(|r| u32::try_from(r).unwrap()).collect();
        let of = |r: &u32| rows[*r as usize];
        let p: Vec<f64> = inside.iter().map(|r| f64::from(of(r).0) / 10.0).collect();
        let labels: Vec<u8> = inside.iter().map(|r| of(r).1).collect();
        let weights: Vec<f32> = rows.iter().map(|r| f32::from(r.2) / 2.0).collect();
        let times: Vec<u16> = rows.iter().map(|r| r.3).collect();
        let s = space(&p, &labels, Some(inside));
        let weights = weighted.then_some(weights.as_slice());
        let plan = Resampling { weights, ..plan(Units::Rows(rows.len()), 1, 1) };
        let found = Ranked::of(&s, &plan).measure(&times, plan.ece_bins);
        let expected = written_out(&s, &times, weights, plan.ece_bins);
        prop_assert!(found.iter().zip(expected).all(|(f, e)| same(*f, e)), "{found:?} against {expected:?}");
    }
}

#[test]
fn draws_are_as_many_as_units_and_follow_the_seed() {
    let draws = |seed, replicate| {
        let mut times = vec![0; 5000];
        draw(&mut times, seed, replicate);
        times
    };
    let times = draws(3, 0);
    assert_eq!(times.iter().map(|t| u32::from(*t)).sum::<u32>(), 5000);
    // A share of e⁻¹ is not drawn, give or take four standard deviations.
    let never = times.iter().filter(|t| **t == 0).count() as f64 / 5000.0;
    assert!((never - (-1f64).exp()).abs() < 4.0 * 0.0045, "{never}");
    assert_eq!(times, draws(3, 0));
    assert_ne!(times, draws(3, 1));
    assert_ne!(times, draws(4, 0));
}

/// A world of two models: scores of positives are normal around `mu`, those of negatives around 0; the two share a part of their noise.
struct World {
    scores: [Vec<f64>; 2],
    labels: Vec<u8>,
}
fn normal(state: &mut u64) -> f64 {
    let mut unit = || {
        *state = state.wrapping_add(1);
        (mix(*state) >> 11) as f64 / 9_007_199_254_740_992.0
    };
    let (a, b) = (unit(), unit());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
fn world(rows: usize, mu: [f64; 2], seed: u64) -> World {
    let mut state = mix(seed) & !0xffff_ffff;
    let labels: Vec<u8> = (0..rows).map(|i| u8::from(i % 4 == 0)).collect();
    let mut scores = [Vec::new(), Vec::new()];
    for y in &labels {
        let shared = normal(&mut state);
        for (of, mu) in scores.iter_mut().zip(mu) {
            of.push(mu * f64::from(*y) + 0.8 * shared + 0.6 * normal(&mut state));
        }
    }
    World { scores, labels }
}
/// The true AUC of such a model: Φ(mu/√2).
fn area(mu: f64) -> f64 {
    0.5 * libm::erfc(-mu / 2.0)
}
/// Scores as probabilities, in order.
fn squashed(scores: &[f64]) -> Vec<f64> {
    scores.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect()
}
fn contestant(name: &str, p: &[f64], labels: &[u8], plan: &Resampling<'_>) -> Contestant {
    let spaces = resample(&[space(p, labels, None)], plan, &|_| ()).unwrap();
    let log_p: Vec<f64> = p.iter().map(|p| p.ln()).collect();
    Contestant { name: name.into(), members: vec![Member { seed: 1, spaces }], placements: vec![placements(&log_p, labels)] }
}
fn compared(w: &World, plan: &Resampling<'_>) -> SpaceComparison {
    let sides = w.scores.each_ref().map(|s| contestant("x", &squashed(s), &w.labels, plan));
    compare(&sides, std::slice::from_ref(&w.labels)).remove(0)
}

#[test]
fn threads_and_the_order_of_models_change_nothing() {
    let w = world(3000, [0.5, 0.8], 5);
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| compared(&w, &plan(Units::Rows(3000), 100, 9)))
    };
    let one = of(1);
    assert_eq!(one, of(3));
    let p = squashed(&w.scores[1]);
    let alone = contestant("x", &p, &w.labels, &plan(Units::Rows(3000), 100, 9));
    let spaces = [space(&squashed(&w.scores[0]), &w.labels, None), space(&p, &w.labels, None)];
    let both = resample(&spaces, &plan(Units::Rows(3000), 100, 9), &|_| ()).unwrap();
    assert_eq!(both[1].replicates, alone.members[0].spaces[0].replicates);
}

/// Intervals of a difference hold the true one in about 95 of 100 worlds, and `DeLong`'s standard error is the bootstrap's.
#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let (mu, worlds) = ([0.6, 0.9], 400);
    let truth = area(mu[1]) - area(mu[0]);
    let (mut held, mut alone, mut by_delong, mut ratio) = (0, 0, 0, 0.0);
    for seed in 0..worlds {
        let w = world(400, mu, seed);
        let s = compared(&w, &plan(Units::Rows(400), 200, seed));
        let d = &s.differences[0][0];
        held += u32::from(d.low.unwrap() <= truth && truth <= d.high.unwrap());
        let first = &s.measured[0][0];
        alone += u32::from(first.low.unwrap() <= area(mu[0]) && area(mu[0]) <= first.high.unwrap());
        let other = d.delong.unwrap();
        by_delong += u32::from((other.difference - truth).abs() < 1.96 * other.se);
        assert!((other.difference - d.value.unwrap()).abs() < 1e-12);
        ratio += d.se.unwrap() / other.se / worlds as f64;
    }
    // Four standard deviations of a share of 0.95 in 400 are 0.044.
    for (name, held) in [("difference", held), ("one model", alone), ("DeLong", by_delong)] {
        let share = f64::from(held) / worlds as f64;
        assert!((0.91..=0.985).contains(&share), "{name}: {share}");
    }
    assert!((0.97..1.03).contains(&ratio), "{ratio}");
}

/// Where nothing differs, a difference is claimed in at most about 5 of 100 worlds; where much does, always.
#[test]
fn p_is_uniform_without_a_difference_and_small_with_one() {
    let (mut claims, worlds) = (0, 400);
    for seed in 0..worlds {
        let s = compared(&world(400, [0.7, 0.7], 7000 + seed), &plan(Units::Rows(400), 200, seed));
        claims += u32::from(s.differences[0][0].p_rows.unwrap() < 0.05);
    }
    let share = f64::from(claims) / worlds as f64;
    assert!((0.015..0.095).contains(&share), "{share}");
    for seed in 0..20 {
        let s = compared(&world(2000, [0.3, 1.2], seed), &plan(Units::Rows(2000), 200, seed));
        let d = &s.differences[0][0];
        // Fewer resamples than 1/p can be counted; the normal curve takes over.
        assert!(d.p_rows.unwrap() < 1e-6 && d.low.unwrap() > 0.0, "{d:?}");
    }
}

/// Rows of one user that are all alike are one observation: drawn by user, the interval is as wide as that of one row a user.
#[test]
fn clusters_are_drawn_together() {
    const COPIES: usize = 5;
    let w = world(600, [0.6, 0.9], 3);
    let copies = |v: &[f64]| v.iter().flat_map(|v| [*v; COPIES]).collect::<Vec<_>>();
    let many = World { scores: w.scores.each_ref().map(|s| copies(s)), labels: w.labels.iter().flat_map(|y| [*y; COPIES]).collect() };
    let users: Vec<u32> = (0..600).flat_map(|u| [u; COPIES]).collect();
    let se = |w: &World, units| compared(w, &plan(units, 400, 1)).differences[0][0].se.unwrap();
    let single = se(&w, Units::Rows(600));
    let clustered = se(&many, Units::Clusters { of: &users, count: 600 });
    let naive = se(&many, Units::Rows(600 * COPIES));
    assert!((clustered / single - 1.0).abs() < 1e-9, "the same draws: {clustered} against {single}");
    assert!((naive / single - (COPIES as f64).sqrt().recip()).abs() < 0.06, "too sure by √5: {naive} against {single}");
}

#[test]
fn it_stops_when_asked() {
    let stop = AtomicBool::new(true);
    let plan = Resampling { stop: &stop, ..plan(Units::Rows(4), 10, 1) };
    assert_eq!(resample(&[space(&[0.1, 0.2, 0.3, 0.4], &[0, 1, 0, 1], None)], &plan, &|_| ()), None);
}

#[test]
fn a_quotient_has_no_log_loss_and_the_rest() {
    let mut s = space(&[0.5, 0.9, 0.1, 0.2], &[1, 1, 0, 0], None);
    s.log_p[1] = 1.25f64.ln();
    s.log_not_p[1] = f64::NAN;
    let found = resample(&[s], &plan(Units::Rows(4), 5, 1), &|_| ()).unwrap().remove(0);
    assert!(found.estimate[1].is_nan() && found.replicates.iter().all(|v| v[1].is_nan()));
    assert!((found.estimate[0] - 1.0).abs() < 1e-12 && (found.estimate[2] - 2.05 / 2.0).abs() < 1e-12);
}

/// Numbers of scikit-learn, `SciPy`, `NumPy` and statsmodels; the script that made them is `tests/golden/bootstrap_scipy.py`.
#[test]
fn agrees_with_scikit_learn_and_scipy() {
    let golden: Value = serde_json::from_str(include_str!("../../../../tests/golden/bootstrap_scipy.json")).unwrap();
    let numbers = |v: &Value| -> Vec<f64> { v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 4);
    for case in cases {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let labels: Vec<u8> = numbers(&case["y"]).iter().map(|y| *y as u8).collect();
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        let plan = plan(Units::Rows(labels.len()), 3000, 7);
        assert_eq!(case["bins"], plan.ece_bins);
        let ranked = [&a, &b].map(|p| Ranked::of(&space(p, &labels, None), &plan));
        for resampled in case["resamples"].as_array().unwrap() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let times: Vec<u16> = numbers(&resampled["times"]).iter().map(|t| *t as u16).collect();
            for (ranked, expected) in ranked.iter().zip(resampled["values"].as_array().unwrap()) {
                let found = ranked.measure(&times, plan.ece_bins);
                assert!(found.iter().zip(numbers(expected)).all(|(f, e)| (f - e).abs() < 1e-9), "{found:?} against {expected}");
            }
        }
        let sides = [("a", &a), ("b", &b)].map(|(name, p)| contestant(name, p, &labels, &plan));
        let differences = &compare(&sides, std::slice::from_ref(&labels))[0].differences[0];
        for (m, measure) in ["auc", "logloss"].iter().enumerate() {
            let (found, expected) = (&differences[m], |key: &str| case["scipy"][*measure][key].as_f64().unwrap());
            // Two sets of 3,000 resamples: the standard errors are good to about 2 %, the ends to about a tenth of one.
            let se = expected("se");
            assert!((found.se.unwrap() / se - 1.0).abs() < 0.06, "{measure}: {found:?}");
            let near = |f: Option<f64>, e: f64| (f.unwrap() - e).abs() < 0.2 * se;
            assert!(near(found.low, expected("low")) && near(found.high, expected("high")), "{measure}: {found:?} against {case}");
        }
        let placed = [&a, &b].map(|p| placements(p, &labels).unwrap());
        let found = delong(&placed[0], &placed[1], &labels);
        let expected = |key: &str| case["delong"][key].as_f64().unwrap();
        let close = |f: f64, e: f64| (f - e).abs() < 1e-9;
        assert!(close(found.difference, expected("difference")) && close(found.se, expected("se")) && close(found.p, expected("p")));
    }
    let (p, expected) = (numbers(&golden["holm"]["p"]), numbers(&golden["holm"]["adjusted"]));
    let found = super::super::holm(&p.into_iter().map(Some).collect::<Vec<_>>());
    assert!(found.iter().zip(&expected).all(|(f, e)| (f.unwrap() - e).abs() < 1e-12), "{found:?} against {expected:?}");
}
