//! Training: one step in [`Trainer`].

mod trainer;

pub use trainer::{NotFinite, StepReport, Trainer};
