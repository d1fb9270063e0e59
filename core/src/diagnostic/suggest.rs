//! Near misses of names. The edit distance counts a swap of neighbours as one step, since `mpl` for `mlp` is the commonest slip.

/// Damerau–Levenshtein distance (optimal string alignment): insertions, deletions, replacements and swaps of neighbours.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The candidate closest to `name`, if it is at most `max(1, length / 3)` steps away and has something in common with it; of several, the first in alphabetical order.
#[must_use]
pub fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(name: &str, candidates: impl IntoIterator<Item = &'a S>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(AsRef::as_ref)
        .map(|c| (distance(name, c).min(distance(&lower, &c.to_lowercase())), c))
        .filter(|(d, c)| *d <= limit && *d < name.chars().count().max(c.chars().count()))
        .min()
        .map(|(_, c)| c)
}

/// ``did you mean `mlp`?``, if a candidate is near.
#[must_use]
pub fn did_you_mean<'a, S: AsRef<str> + ?Sized + 'a>(name: &str, candidates: impl IntoIterator<Item = &'a S>) -> Option<String> {
    nearest(name, candidates).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn swaps_count_once() {
        for (a, b, d) in
            [("mpl", "mlp", 1), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("hiden", "hidden", 1), ("x", "x", 0)]
        {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("mpl", ["cross", "mlp"]), Some("mlp"));
        assert_eq!(nearest("transformer", ["cross", "mlp"]), None);
        assert_eq!(nearest("MLP", ["cross", "mlp"]), Some("mlp"));
        assert_eq!(nearest("e", ["a", "b"]), None);
        assert_eq!(nearest("ab", ["ad", "ac"]), Some("ac"));
        assert_eq!(did_you_mean("bach_rows", ["batch_rows"]).as_deref(), Some("did you mean `batch_rows`?"));
        assert_eq!(did_you_mean("x", Vec::<&str>::new()), None);
    }
    proptest! {
        #[test]
        fn is_symmetric_and_bounded(a in "[abc]{0,6}", b in "[abc]{0,6}") {
            let d = distance(&a, &b);
            prop_assert_eq!(d, distance(&b, &a));
            prop_assert!(d <= a.len().max(b.len()) && d >= a.len().abs_diff(b.len()));
            prop_assert_eq!(d == 0, a == b);
        }
    }
}
