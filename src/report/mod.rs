//! Pages for people: one HTML file each, which opens from disk, years later, without a network.
//!
//! A [`page::Page`] holds sections; [`charts`] draws what stands in them. Both know nothing of runs.

pub mod charts;
pub mod page;
