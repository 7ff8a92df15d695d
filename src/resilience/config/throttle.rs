//! Settings of a throttle.

use crate::limit::Quota;
use std::time::Duration;

/// Settings of a [`Throttle`](crate::resilience::Throttle) with a token bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct ThrottleSettings {
    /// What it admits.
    pub quota: Quota,
    /// How many tokens a call takes. 1 unless told otherwise.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub tokens: u64,
    /// How long a call may wait for its tokens. Not at all unless told otherwise.
    #[cfg_attr(feature = "serde", serde(with = "crate::limit::serialized::duration", default))]
    pub wait_limit: Duration,
}

#[cfg(feature = "serde")]
const fn one() -> u64 {
    1
}

impl ThrottleSettings {
    /// So much, a token a call, without waiting.
    pub const fn new(quota: Quota) -> Self {
        Self { quota, tokens: 1, wait_limit: Duration::ZERO }
    }
}
