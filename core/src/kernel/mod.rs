//! Dense arithmetic of our own on the host, for what training spends its time on.
//!
//! A tower that is nothing but a perceptron need not go through tensors and autodiff: its backward pass is a handful of matrix products. Here they
//! run on chunks of rows that fit a core's cache, everything between two products in one pass over the chunk, all towers of a chunk one after
//! the other while its input is warm, and chunks side by side on all cores. What is summed over chunks is summed in an order that depends on
//! the number of rows alone, so that the same seed gives the same bits on any number of threads.

mod gemm;
mod passes;
mod perceptron;
mod shared;
mod workspace;

pub(crate) use perceptron::{Layer, Part, Perceptron, Rows, backward, forward};
pub(crate) use workspace::{Pool, Workspace};
