//! Towers.

pub mod linear;
pub mod mlp;
