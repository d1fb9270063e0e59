//! Verdicts on numbers made by hand.

use super::*;

/// A space with given replicates of AUC; the other measures are undefined.
fn space(name: &str, auc: f64, replicates: &[f64]) -> Resampled {
    let of = |auc: f64| [auc, f64::NAN, f64::NAN, f64::NAN];
    Resampled {
        target: name.into(),
        space: "full".into(),
        rows: 10,
        positives: 4,
        estimate: of(auc),
        replicates: replicates.iter().map(|r| of(*r)).collect(),
    }
}
fn contestant(members: Vec<(u64, Resampled)>) -> Contestant {
    let members = members.into_iter().map(|(seed, space)| Member { seed, spaces: vec![space] }).collect();
    Contestant { name: "x".into(), members, placements: vec![None] }
}
/// 200 values evenly around a middle.
fn around(middle: f64, width: f64) -> Vec<f64> {
    (0..200).map(|i| middle + width * (f64::from(i) - 99.5) / 100.0).collect()
}
fn auc_of(contestants: &[Contestant]) -> Difference {
    compare(contestants, &[vec![0; 10]]).remove(0).differences.remove(0).remove(0)
}

#[test]
fn intervals_are_the_replicates_around_the_value() {
    // The replicates of the first stand still, those of the other run from 0.68 to 0.72, all too high by 0.01 for a value of 0.69.
    let first = || contestant(vec![(1, space("buy", 0.6, &[0.6; 200]))]);
    let d = auc_of(&[first(), contestant(vec![(1, space("buy", 0.69, &around(0.70, 0.02)))])]);
    let close = |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-4, "{d:?}");
    close(d.value, 0.09);
    close(d.low, 0.09 - 0.019);
    close(d.high, 0.09 + 0.019);
    assert_eq!((d.verdict, d.seeds), (Verdict::Better, None));
    // 22 of the 200 lie beyond 0.
    let d = auc_of(&[first(), contestant(vec![(1, space("buy", 0.5844, &around(0.5844, 0.02)))])]);
    assert!((d.p_rows.unwrap() - 2.0 * 23.0 / 201.0).abs() < 1e-12 && d.verdict == Verdict::Unclear, "{d:?}");
    let d = auc_of(&[first(), contestant(vec![(1, space("buy", 0.55, &around(0.55, 0.02)))])]);
    assert_eq!(d.verdict, Verdict::Worse);
}

#[test]
fn a_metric_that_many_resamples_lack_has_no_interval() {
    let mut lacking = around(0.7, 0.02);
    lacking[..20].fill(f64::NAN);
    let d = auc_of(&[contestant(vec![(1, space("buy", 0.6, &around(0.6, 0.02)))]), contestant(vec![(1, space("buy", 0.7, &lacking))])]);
    assert_eq!((d.low, d.p, d.p_holm, d.verdict), (None, None, None, Verdict::Undefined));
    assert!((d.value.unwrap() - 0.1).abs() < 1e-12);
}

#[test]
fn seeds_can_veto_what_rows_say() {
    let of =
        |aucs: [f64; 3]| contestant(aucs.iter().zip(1..).map(|(auc, seed)| (seed, space("buy", *auc, &around(*auc, 0.002)))).collect());
    let sure = auc_of(&[of([0.60, 0.61, 0.62]), of([0.65, 0.663, 0.671])]);
    assert_eq!(sure.verdict, Verdict::Better);
    let p = sure.seeds.unwrap().p;
    assert_eq!(sure.p, Some(p.max(sure.p_rows.unwrap())));
    // The same mean, but one seed made it all.
    let lucky = auc_of(&[of([0.60, 0.61, 0.62]), of([0.60, 0.611, 0.774])]);
    assert!(lucky.p_rows.unwrap() < 0.01 && lucky.verdict == Verdict::Unclear, "{lucky:?}");
    // Seeds are paired by number; without two in common there is no test over them.
    let mut others = of([0.65, 0.66, 0.67]);
    others.members.iter_mut().for_each(|m| m.seed += 2);
    assert_eq!(auc_of(&[of([0.60, 0.61, 0.62]), others]).seeds, None);
}

#[test]
fn a_family_is_judged_together() {
    let side = |shift: f64| {
        let spaces = (0..3).map(|_| space("buy", 0.6 + shift, &around(0.6 + shift, 0.05))).collect();
        Contestant { name: "x".into(), members: vec![Member { seed: 1, spaces }], placements: vec![None; 3] }
    };
    let mut first = side(0.0);
    first.members[0].spaces.iter_mut().for_each(|s| s.replicates.iter_mut().for_each(|r| r[0] = 0.6));
    let all = compare(&[first, side(0.048)], &[vec![0; 10], vec![0; 10], vec![0; 10]]);
    let p: Vec<f64> = all.iter().map(|s| s.differences[0][0].p.unwrap()).collect();
    let adjusted: Vec<f64> = all.iter().map(|s| s.differences[0][0].p_holm.unwrap()).collect();
    assert!(p.iter().all(|p| *p < 0.05), "{p:?}");
    assert!(adjusted.iter().all(|p| *p >= 0.05), "one by one they would be claimed, together they are not: {adjusted:?}");
}

#[test]
fn pcoc_is_compared_by_how_far_it_is_from_1() {
    assert!((distance("pcoc", 2.0) - distance("pcoc", 0.5)).abs() < 1e-12);
    assert_eq!(distance("auc", 0.7), 0.7);
}
