//! Embedding tables on the host, trained sparsely: only the rows that a batch touches are read, differentiated and written.
//!
//! All tables of a funnel have one width, so they are one array of rows ([`Tables`]), each table a range of it. A batch becomes the
//! input `x [N, W]` of each group ([`gather`]); the networks differentiate `x`; the gradient is summed per touched row along a
//! [`Plan`] and the update rule moves those rows alone.

mod gather;
mod plan;
mod table;

pub use gather::{Columns, gather, gather_into, gather_values};
pub use plan::Plan;
pub use table::Tables;
