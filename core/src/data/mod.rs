//! Sources → columnar store → shuffled batches of (entities, rows). No tensors.
//!
//! ```text
//! Spec + columns ──► Layout            which columns, as what, in which group, with which table (`resolve`, `infer`)
//! Source ──► Store                     every row encoded once, entities stored once, memory-mapped (`prepare`, `encode`, `store`)
//! chunks ──► codes                     found on all cores, given in order (`draft`, `encoder`, `known`); written, resumable (`writing`, `checkpoint`)
//! entity inputs ──► members            encoded once, looked up by the key of the rows (`given`); joined to raw rows for scoring (`joined`)
//! files beside ──► columns             of the same rows, read along (`beside`)
//! Store + [split] ──► parts, lint      what may be trained on (`split`, `orphan`, `lint`)
//! training rows ──► Preprocessor       which ids own a table row, how numbers are scaled; saved with the run (`fit`, `persist`)
//! Store + Preprocessor ──► Batch       shuffled, resumable, built ahead (`Dataset::batches`)
//! raw rows + Preprocessor ──► Batch    the same table rows and numbers, for scoring (`RawEncoder`)
//! ```
//!
//! Codes (of the store: every id of all rows, 0 missing) and table rows (of the model: 0 out of vocabulary, 1 missing) are kept apart, so
//! that the store does not depend on the split, and the model on nothing but training rows.

mod aside;
mod batch;
mod beside;
mod build;
mod cells;
mod checkpoint;
mod clusters;
mod dataset;
mod dictionary;
mod draft;
mod encode;
mod encoder;
mod faults;
mod field;
mod fit;
mod given;
mod id;
pub mod infer;
mod joined;
mod known;
pub mod layout;
mod leakage;
mod left_out;
mod lint;
mod order;
mod orphan;
mod passage;
mod permute;
mod persist;
mod prepare;
mod preprocess;
pub mod propose;
mod raw;
mod resolve;
mod shared;
mod shuffle;
pub mod source;
mod split;
pub mod store;
mod time;
mod writing;

pub use batch::*;
pub use clusters::Clusters;
pub use dataset::{BatchPlan, Batches, ByEntity, Dataset, Order, Position};
pub use dictionary::Dictionary;
pub(crate) use faults::place;
pub use field::{FieldColumns, FieldFacts};
pub use id::{IdRef, IdValue};
pub use infer::{Decision, Inferred};
pub use joined::joined;
pub use layout::Layout;
pub(crate) use left_out::LeftOut;
pub use lint::{Leak, LintReport, OrphanCount, PartCounts};
pub use permute::{Permuted, permutation};
pub use persist::{FEATURES, VOCABULARY};
pub use prepare::{PrepareNote, PrepareOptions, PrepareProgress, Prepared, Stopped, open_source, prepare};
pub use preprocess::{FIRST_ID, MISSING, NumberFit, OUT_OF_VOCABULARY, Preprocessor};
pub use raw::{Encoded, RawEncoder};
pub use shared::{SharedColumns, spread};
pub use split::Part;
pub use store::Store;

/// Said where a column is missing in other data than a run's own.
pub(crate) const BESIDE_HINT: &str =
    "the run read columns from files beside its data (`data.beside`); other data must hold themselves what features read";

#[cfg(test)]
mod tests;
