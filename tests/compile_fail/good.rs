//! Settings of a tower, registered once more under another name.

use esmm_funnel_core::register_tower;
use esmm_funnel_plugins::towers::mlp::Mlp;

register_tower!("mlp_again", Mlp);
