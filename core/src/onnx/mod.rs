//! ONNX: a network as a file that other programs run.
//!
//! A tower knows what it computes, so a tower writes itself: beside `forward`, which works on tensors, stands `onnx`, which does the same on
//! [`Value`]s of a graph ([`Onnx`]). The core writes what is around them: table rows → columns (`model`), raw numbers → columns and logits →
//! probabilities (`export`).
//!
//! - **Operators.** Opset [`OPSET`], the default domain, no control flow and no shape inference needed; [`Onnx`] has a method for each.
//!   What is written twice is one node.
//! - **Names.** A weight is named as in checkpoints and in `weights.safetensors`: the scope that the core enters (`tower.click`) and the
//!   path within the module (`layers.0.weight`). Nodes carry the scope too.
//! - **Shapes.** The first dimension is the batch, of any size; a sequence adds one for its values, padded, with a mask.
//! - **Files.** [`write()`] keeps small weights in the model and puts large ones into one file beside it, aligned, as protobuf ends at 2 GiB.
//! - **Check.** [`evaluate()`] computes a graph by the definition of each operator. The conformance kit compares a tower's graph with its
//!   `forward`, and an export a whole funnel's with the scores of the model, so that a wrong graph is not written.

mod build;
pub mod evaluate;
mod file;
mod layers;
mod network;
mod nodes;
pub mod proto;

pub use build::{Attribute, Onnx, Value};
pub use evaluate::{Evaluated, evaluate};
pub use file::{Written, read, write};
pub use network::{Layer, OnnxInput, OnnxOutput, OnnxSequence};

/// Version of the operators.
pub const OPSET: i64 = 17;
/// Version of the file's form, of the same age as [`OPSET`].
pub const IR: i64 = 8;
