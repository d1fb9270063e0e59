//! Objectives.

pub mod entire_space;
