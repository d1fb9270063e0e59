//! Objectives. Each is a sum of named terms ([`sum`]); what it is made of stands in its own file.
//!
//! All are written for any graph of stages. Where a paper speaks of click and conversion, read: a stage's *space* (its parent reached and
//! `unless` not) and the stage; a stage that is a child of the row has every row as its space, and plain binary cross-entropy.

pub mod conditional;
pub mod dcmt;
pub mod entire_space;
pub mod escm2_dr;
pub mod escm2_ips;
pub mod nise;
mod propensity;
pub mod range;
pub mod sum;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod training;
