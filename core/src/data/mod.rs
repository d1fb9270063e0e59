//! Sources → columnar store → shuffled batches of (entities, rows). No tensors.

mod batch;
pub mod source;

pub use batch::*;
