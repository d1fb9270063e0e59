//! Settings of an encoder: `TowerSettings` is not implemented for them.

use esmm_funnel_core::register_tower;
use esmm_funnel_plugins::encoders::concat::Concat;

register_tower!("concat", Concat);
