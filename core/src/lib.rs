//! The machinery of `esmm-funnel`.

pub use burn;
pub use inventory;

pub mod data;
pub mod device;
pub mod diagnostic;
pub mod embedding;
pub mod graph;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod plugin;
pub mod run;
pub mod score;
pub mod spec;
pub mod train;
