//! The built-in towers, encoders, objectives and sources. One file each; link them with `use esmm_funnel_plugins as _;`.

pub mod encoders;
pub mod objectives;
pub mod sources;
pub mod towers;
