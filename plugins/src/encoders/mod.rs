//! Encoders.

pub mod concat;
