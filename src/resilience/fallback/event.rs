//! What a fallback tells and counts.

use crate::resilience::Rejection;

/// Something an observer of a [`Fallback`](super::Fallback) may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallbackEvent {
    /// It ran, and its result is the call's.
    #[non_exhaustive]
    Used {
        /// The fallback.
        name: &'static str,
        /// What it ran for: the refusal of a policy; `None` for the operation's own error.
        cause: Option<Rejection>,
    },
    /// It ran, and failed.
    #[non_exhaustive]
    Failed {
        /// The fallback.
        name: &'static str,
        /// As above.
        cause: Option<Rejection>,
        /// Its own error: a refusal, or an error of its own kind.
        own: Option<Rejection>,
    },
}

/// How often a [`Fallback`](super::Fallback) ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackStats {
    /// Calls whose result is the fallback's.
    pub used: u64,
    /// Calls for which it failed, too.
    pub failed: u64,
}
