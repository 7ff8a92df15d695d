//! What a breaker is doing.

use std::fmt;

/// What a breaker is doing.
///
/// The first four let every call through, the others do not; see the table in [the module](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Lets calls through and judges them.
    Closed,
    /// Lets calls through and judges them, but only says when it would have opened.
    MetricsOnly,
    /// Lets calls through and counts them, without judging.
    ForcedClosed,
    /// Lets calls through as if it were not there.
    Disabled,
    /// Refuses calls until its break is over.
    Open,
    /// Lets a few calls through, on trial.
    HalfOpen,
    /// Refuses calls until told otherwise.
    ForcedOpen,
    /// Refuses calls for good.
    ShutDown,
}

/// The name in words: "half-open".
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Closed => "closed",
            Self::MetricsOnly => "metrics only",
            Self::ForcedClosed => "forced closed",
            Self::Disabled => "disabled",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced open",
            Self::ShutDown => "shut down",
        })
    }
}
