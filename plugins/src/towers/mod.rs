//! Towers.

pub mod autoint;
pub mod dcn_v2;
pub mod final_mlp;
pub mod linear;
pub mod mlp;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod training;
