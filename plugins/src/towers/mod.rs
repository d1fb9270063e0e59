//! Towers.

pub mod aitm;
pub mod autoint;
pub mod batch;
pub mod dcn_v2;
pub mod deepfm;
pub mod din;
pub mod final_mlp;
pub mod first_order;
pub mod linear;
pub mod mlp;
pub mod wide_deep;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod training;
