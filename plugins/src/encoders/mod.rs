//! Encoders.

pub mod concat;
mod mixture;
pub mod mmoe;
pub mod ple;
