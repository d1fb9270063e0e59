//! Sources → columnar store → shuffled batches of (entities, rows). No tensors.

mod batch;
mod build;
mod cells;
mod dataset;
mod dictionary;
mod encode;
mod faults;
mod fit;
mod id;
pub mod infer;
pub mod layout;
mod leakage;
mod lint;
mod orphan;
mod persist;
mod prepare;
mod preprocess;
mod raw;
mod resolve;
mod shuffle;
pub mod source;
mod split;
pub mod store;
mod suggest;

pub use batch::*;
pub use dataset::{BatchPlan, Batches, Dataset, Order, Position};
pub use dictionary::Dictionary;
pub use id::{IdRef, IdValue};
pub use infer::{Decision, Inferred};
pub use layout::Layout;
pub use lint::{Leak, LintReport, OrphanCount, PartCounts};
pub use persist::{FEATURES, VOCABULARY};
pub use prepare::{PrepareOptions, PrepareProgress, Prepared, Stopped, open_source, prepare};
pub use preprocess::{FIRST_ID, MISSING, NumberFit, OUT_OF_VOCABULARY, Preprocessor};
pub use raw::{Encoded, RawEncoder};
pub use split::Part;
pub use store::Store;

#[cfg(test)]
mod tests;
