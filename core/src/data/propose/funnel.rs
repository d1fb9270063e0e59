//! Which 0/1 columns are the chain.

use super::scan::Scan;
use serde::Serialize;

/// Share of a stage's 1s that may stand outside its parent's.
const ORPHANS: f64 = 0.05;
/// The same, as a share of the orphans that two unrelated columns would have.
const OF_CHANCE: f64 = 0.2;
/// Orphans that two unrelated columns would have at least; below, nothing can be told from none.
const LEAST_CHANCE: f64 = 4.0;

/// Words of outcomes, in the order of a funnel.
const WORDS: [&str; 44] = [
    "open",
    "view",
    "visit",
    "click",
    "clicked",
    "clk",
    "ctr",
    "detail",
    "like",
    "follow",
    "share",
    "comment",
    "favorite",
    "favourite",
    "fav",
    "wish",
    "wishlist",
    "save",
    "cart",
    "atc",
    "basket",
    "checkout",
    "lead",
    "signup",
    "register",
    "install",
    "activate",
    "trial",
    "buy",
    "bought",
    "purchase",
    "purchased",
    "order",
    "ordered",
    "pay",
    "paid",
    "payment",
    "convert",
    "converted",
    "conversion",
    "cvr",
    "repurchase",
    "label",
    "target",
];
/// Words of columns that are 1 in every row: the row itself.
const ROWS: [&str; 9] = ["impression", "exposure", "exposed", "shown", "show", "sent", "email", "request", "session"];

/// A stage of the chain, with counts over all rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposedStage {
    /// Its name: the column's, with letters that a name may have.
    pub name: String,
    /// The label column.
    pub column: String,
    /// Rows with a 1.
    pub ones: u64,
    /// Rows with a 1 here and in the parent; without a parent, all of its 1s.
    pub reached: u64,
    /// Rows with a 1 in the parent; without a parent, all rows.
    pub space: u64,
}
impl ProposedStage {
    /// Rows with a 1 here and a 0 in the parent.
    #[must_use]
    pub fn orphans(&self) -> u64 {
        self.ones - self.reached
    }
}

/// The words of a column's name, in lower case: `addToCart`, `add_to_cart` → `add`, `to`, `cart`.
pub(super) fn words(column: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in column.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().into_iter().for_each(|w| w.extend(c.to_lowercase()));
        }
        lower_before = c.is_lowercase() || c.is_ascii_digit();
    }
    words.retain(|w| !w.is_empty());
    words
}

/// Whether a column's name says that it is an outcome.
fn sounds_like_outcome(column: &str) -> bool {
    words(column).iter().any(|w| WORDS.contains(&w.as_str()))
}

/// Whether a column's name says that it is a row's own.
pub(super) fn sounds_like_row(column: &str) -> bool {
    words(column).iter().any(|w| ROWS.contains(&w.as_str()))
}

/// Whether the 1s of flag `child` are (nearly) a subset of those of `parent`, more than chance would have it, and fewer.
pub(super) fn nested(scan: &Scan, child: usize, parent: usize) -> bool {
    let (inner, outer, both) = (scan.flags[child].ones as f64, scan.flags[parent].ones as f64, scan.both(child, parent) as f64);
    let chance = inner * (1.0 - outer / scan.rows as f64);
    let orphans = inner - both;
    inner < outer && chance >= LEAST_CHANCE && orphans <= ORPHANS * inner && orphans <= OF_CHANCE * chance
}

/// The chain, as places among the flags: the longest one of nested columns, of several the one with the most names of outcomes, then the
/// one whose columns stand last. Without nested columns, one that sounds like an outcome, or else the last one.
pub(super) fn chain(scan: &Scan, names: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scan.flags.len()).collect();
    order.sort_by_key(|&f| (std::cmp::Reverse(scan.flags[f].ones), f));
    // Length, names that sound like outcomes, place of the last column; and the chain that ends here.
    let mut best: Vec<((usize, usize, usize), Vec<usize>)> = vec![Default::default(); scan.flags.len()];
    for (at, &child) in order.iter().enumerate() {
        let sound = usize::from(sounds_like_outcome(names[scan.flags[child].column]));
        let before = order[..at].iter().filter(|&&parent| nested(scan, child, parent)).map(|&p| &best[p]).max_by_key(|(score, _)| *score);
        let ((length, sounds, _), mut path) = before.cloned().unwrap_or_default();
        path.push(child);
        best[child] = ((length + 1, sounds + sound, scan.flags[child].column), path);
    }
    best.into_iter().max_by_key(|(score, _)| *score).map(|(_, path)| path).unwrap_or_default()
}

/// The chain's stages with their counts.
pub(super) fn stages(scan: &Scan, chain: &[usize], names: &[&str]) -> Vec<ProposedStage> {
    let mut stages: Vec<ProposedStage> = Vec::new();
    for (at, &flag) in chain.iter().enumerate() {
        let Some(&super::scan::Flag { column, ones }) = scan.flags.get(flag) else { continue };
        let parent = at.checked_sub(1).map(|p| chain[p]);
        let (reached, space) = parent.map_or((ones, scan.rows), |p| (scan.both(flag, p), scan.flags[p].ones));
        let taken: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
        stages.push(ProposedStage { name: name(names[column], &taken), column: names[column].to_owned(), ones, reached, space });
    }
    stages
}

/// A column's name with the letters that names of stages and features may have, and unlike those that are taken.
pub(super) fn name(column: &str, taken: &[&str]) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let letters = column.split(|c| !allowed(c)).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    let base = if letters.is_empty() { "column".to_owned() } else { letters };
    let mut candidates = std::iter::once(base.clone()).chain((2..).map(|i| format!("{base}_{i}")));
    candidates.find(|c| !taken.contains(&c.as_str())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fall_into_words() {
        assert_eq!(words("addToCart"), ["add", "to", "cart"]);
        assert_eq!(words("is_CLICK 2"), ["is", "click", "2"]);
        assert!(sounds_like_outcome("is_purchase") && sounds_like_outcome("addToCart") && !sounds_like_outcome("newbie"));
        assert_eq!([name("add to cart", &[]), name("été 2", &[]), name("a b", &["a_b"])], ["add_to_cart", "t_2", "a_b_2"]);
    }
}
