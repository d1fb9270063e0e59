//! One run's metrics on every resample: what `compare` and `sweep` share.

use crate::STOP;
use crate::progress::RowProgress;
use esmm_funnel_core::data::Clusters;
use esmm_funnel_core::metrics::{Member, Resampling, SpaceColumns, Units, resample};

/// What is drawn, and how often.
pub struct Draw {
    /// `None`: rows, each for itself.
    pub clusters: Option<Clusters>,
    pub rows: usize,
    pub replicates: u32,
    pub seed: u64,
    pub ece_bins: usize,
}
impl Draw {
    /// Number of units that are drawn.
    pub fn units(&self) -> usize {
        self.clusters.as_ref().map_or(self.rows, |c| c.count)
    }
}

/// Where a run stands among others.
pub struct Progress<'a> {
    pub line: &'a RowProgress<'a>,
    pub done: usize,
    pub runs: usize,
}

/// Measures a run's spaces. `None`: interrupted.
pub fn measure_run(seed: u64, spaces: &[SpaceColumns], weights: Option<&[f32]>, draw: &Draw, progress: &Progress<'_>) -> Option<Member> {
    let units = match &draw.clusters {
        Some(c) => Units::Clusters { of: &c.of, count: c.count },
        None => Units::Rows(draw.rows),
    };
    let plan = Resampling { units, weights, replicates: draw.replicates, seed: draw.seed, ece_bins: draw.ece_bins, stop: &STOP };
    let all = progress.runs as u64 * u64::from(draw.replicates);
    let before = progress.done as u64 * u64::from(draw.replicates);
    let spaces = resample(spaces, &plan, &|done| progress.line.of(before + u64::from(done), all))?;
    Some(Member { seed, spaces })
}
