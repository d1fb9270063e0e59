//! A name that nobody could write as `kind = "…"` without mistakes.

use esmm_funnel_core::register_tower;
use esmm_funnel_plugins::towers::mlp::Mlp;

register_tower!("My Tower", Mlp);
