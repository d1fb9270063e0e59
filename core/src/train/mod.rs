//! Training: one step in [`Trainer`], the loop in [`Fit`], a whole run in [`session`], what watches it in [`events`].

mod alarms;
pub mod events;
mod fit;
mod journal;
pub mod session;
mod trainer;

pub use fit::{Ended, Fit};
pub use trainer::{NotFinite, StepReport, Trainer};
