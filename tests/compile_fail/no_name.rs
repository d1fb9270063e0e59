//! The name is forgotten, stands behind the settings, or has no quotes.

use esmm_funnel_core::register_tower;
use esmm_funnel_plugins::towers::mlp::Mlp;

register_tower!(Mlp);
register_tower!(Mlp, "again");
register_tower!(again, Mlp);
