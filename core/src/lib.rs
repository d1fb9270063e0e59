//! The machinery of `esmm-funnel`.

pub use inventory;

pub mod data;
pub mod diagnostic;
pub mod graph;
pub mod metrics;
pub mod plugin;
pub mod spec;
