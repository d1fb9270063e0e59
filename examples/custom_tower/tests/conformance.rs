//! The tower has what esmm-funnel relies on.

use custom_tower as _;
use esmm_funnel_core::plugin::conformance::assert_tower;

#[test]
fn gated_conforms() {
    assert_tower("gated", "");
    assert_tower("gated", "hidden = 5\nsqueeze = 2\ndropout = 0.5");
}
