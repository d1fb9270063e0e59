//! Sources → columnar store → shuffled batches of (entities, rows). No tensors.

mod batch;
mod cells;
mod dictionary;
mod encode;
mod faults;
mod id;
pub mod infer;
pub mod layout;
mod leakage;
mod prepare;
mod resolve;
pub mod source;
mod split;
pub mod store;
mod suggest;

pub use batch::*;
pub use dictionary::Dictionary;
pub use id::{IdRef, IdValue};
pub use infer::{Decision, Inferred};
pub use layout::Layout;
pub use prepare::{PrepareOptions, PrepareProgress, Prepared, Stopped, open_source, prepare};
pub use split::Part;
pub use store::Store;
