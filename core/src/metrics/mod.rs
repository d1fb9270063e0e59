//! Metrics: pure functions over slices, in f64, and their assembly per stage and space. No tensors.
//!
//! What cannot be computed (one class only, no rows) is undefined with a reason, never 0.5.

mod basic;
mod batch_auc;
mod bootstrap;
mod comparison;
pub mod curves;
mod delong;
mod evaluation;
mod expectation;
mod paired;
mod scores;
mod shared;
mod summary;
mod value;

pub use basic::{Undefined, auc, ece, gauc, log_loss, normalised_entropy, pcoc};
pub use bootstrap::{MEASURES, Resampled, Resampling, Units, Values, resample};
pub use comparison::{Contestant, Difference, LEVEL, Measured, Member, SPREAD_WORDS, SpaceComparison, Verdict, compare, distance, holm};
pub use delong::{Delong, delong, placements};
pub use evaluation::{Evaluation, is_better, mean_std};
pub use expectation::Expectation;
pub use paired::{Paired, paired};
pub use scores::{Scores, SpaceColumns, columns, each_space, evaluate};
pub use shared::{OtherRows, shared_auc, shared_columns};
pub use summary::{Column, Summary, summarise};
pub use value::{Capture, Stake, StakeSummary, ValueRows, ValueSummary, summarise_value};
