//! The command line, as a user meets it: every test runs the built program in a folder of its own.

#![allow(clippy::unwrap_used)]

mod checks;
mod faults;
mod fixture;
mod honesty;
mod new;
mod runs;
mod shipped;
