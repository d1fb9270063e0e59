//! Charts as SVG, each a figure with a caption, a legend, and a table of its numbers behind it.
//!
//! They are drawn small, about as wide as a phone, so that their text stays readable there; the page sets them side by side where there is
//! room. Colours are classes (`c0` … `c7`) that the page's style gives a light and a dark value.

mod axis;
mod bars;
mod histogram;
mod numbers;
mod xy;

pub use axis::Axis;
pub use bars::{BarSeries, Bars};
pub use histogram::{Histogram, HistogramSeries};
pub use numbers::value;
pub use xy::{Look, Series, Xy};

use maud::{Markup, html};

/// Colours there are; a ninth series takes the first again.
pub const COLOURS: usize = 8;
/// Width and height of a chart.
const SIZE: (f64, f64) = (440.0, 300.0);
/// Points of a curve; more cannot be seen.
pub const MOST_POINTS: usize = 400;

/// The class of a colour.
fn colour(at: usize) -> String {
    format!("c{}", at % COLOURS)
}

/// A figure around a picture. `legend`: name, colour, look as a class.
fn figure(title: &str, legend: &[(String, usize, &str)], picture: &Markup, numbers: &Markup, note: Option<&str>) -> Markup {
    html! {
        figure {
            figcaption { (title) }
            @if legend.len() > 1 || legend.iter().any(|(name, ..)| name != title) {
                ul.legend { @for (name, at, look) in legend { li class={ (colour(*at)) " " (look) } { span {} b { (name) } } } }
            }
            (picture)
            @if let Some(note) = note { p.note { (note) } }
            details { summary { "numbers" } (numbers) }
        }
    }
}

/// Where the picture would stand, if there is nothing to draw: why.
#[must_use]
pub fn absent(title: &str, why: &str) -> Markup {
    html! { figure { figcaption { (title) } p.note { (why) } } }
}

/// At most `most` of the items, evenly, the first and the last among them.
#[must_use]
pub fn thinned<T: Clone>(items: &[T], most: usize) -> Vec<T> {
    let n = items.len();
    if n <= most || most < 2 {
        return items.to_vec();
    }
    (0..most).map(|i| items[i * (n - 1) / (most - 1)].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends() {
        let all: Vec<usize> = (0..1001).collect();
        let some = thinned(&all, 400);
        assert_eq!((some.len(), some[0], some[399]), (400, 0, 1000));
        assert!(some.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(thinned(&all[..3], 400), [0, 1, 2]);
    }
}
