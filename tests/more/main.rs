//! Bad input, early stopping and data of many kinds, by the built program.

#![allow(clippy::unwrap_used)]

mod faults;
mod fixture;
mod runs;
