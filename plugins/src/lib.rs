//! The built-in towers, encoders, objectives and sources of `esmm-funnel`.

pub mod sources;
