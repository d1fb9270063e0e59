//! Pages for people: one HTML file each, which opens from disk, years later, without a network.
//!
//! A [`page::Page`] holds sections; [`charts`] draws what stands in them. Both know nothing of runs: [`facts`] gathers what there is to tell of
//! one, and [`sections`] tell it.

pub mod charts;
pub mod facts;
pub mod page;
mod sections;

pub use facts::Facts;

use anyhow::Result;
use esmm_funnel_core::run::names;
use page::Page;
use std::path::PathBuf;

/// Writes a run's report into its folder.
///
/// # Errors
/// The file system.
pub fn write(facts: &Facts<'_>) -> Result<PathBuf> {
    let path = facts.folder.file(names::REPORT);
    page(facts).write(&path)?;
    Ok(path)
}

fn page(facts: &Facts<'_>) -> Page {
    Page::new(&format!("{} · run report", facts.manifest.funnel))
        .lead(sections::verdict::lead(facts))
        .section("funnel", "Funnel", sections::funnel::body(facts))
        .section("metrics", "Metrics", sections::metrics::body(facts))
        .section("learning", "Learning curves", sections::learning::body(facts))
        .section("curves", "ROC and precision-recall", sections::curves::body(facts))
        .section("calibration", "Calibration", sections::calibration::body(facts))
        .section("scores", "Score distributions", sections::scores::body(facts))
        .section("fields", "Fields", sections::fields::body(facts))
        .section("data", "Data and findings", sections::data::body(facts))
        .section("settings", "Settings", sections::settings::body(facts))
        .section("run", "Run", sections::run::body(facts))
}
