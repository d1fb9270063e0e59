//! Numbers of settings that have a range, refused outside it when they are read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $fits:expr, $range:literal, $($bound:literal = $at:literal),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "f64", into = "f64")]
        #[schemars(extend($($bound = $at),+))]
        pub struct $name(pub(super) f64);
        impl TryFrom<f64> for $name {
            type Error = String;
            fn try_from(value: f64) -> Result<Self, String> {
                let fits: fn(f64) -> bool = $fits;
                if fits(value) { Ok(Self(value)) } else { Err(format!("{value} is out of range: {}", $range)) }
            }
        }
        impl From<$name> for f64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    };
}

number!(
    /// A factor of a loss term: 0 or more.
    Factor,
    |x| x >= 0.0 && x.is_finite(),
    "a finite number, 0 or more",
    "minimum" = 0.0
);
number!(
    /// The largest weight of a row: 1 or more.
    MaxWeight,
    |x| x >= 1.0 && x.is_finite(),
    "a finite number, 1 or more",
    "minimum" = 1.0
);
number!(
    /// A share of rows: 0 to 1.
    Share,
    |x| (0.0..=1.0).contains(&x),
    "a number from 0 to 1",
    "minimum" = 0.0,
    "maximum" = 1.0
);
number!(
    /// How often a row counts: 1 or more.
    Times,
    |x| x >= 1.0 && x.is_finite(),
    "a finite number, 1 or more",
    "minimum" = 1.0
);
number!(
    /// A propensity: more than 0, at most 1.
    Propensity,
    |x| x > 0.0 && x <= 1.0,
    "more than 0, at most 1",
    "exclusiveMinimum" = 0.0,
    "maximum" = 1.0
);
