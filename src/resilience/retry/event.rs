//! What a retry tells.

use crate::resilience::{GaveUp, Rejection};
use std::time::Duration;

/// When a retry tries again, and why then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Next {
    /// The attempt that came out badly, counted from 1.
    pub attempt: u32,
    /// How long until the next one begins.
    pub delay: Duration,
    /// Where the delay comes from.
    pub source: DelaySource,
}

/// Where a delay comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DelaySource {
    /// The backoff, with its jitter.
    Backoff,
    /// The closure that sets delays by the outcome.
    Outcome,
    /// The callee, or a policy inside that knows when it will let a call through.
    Server,
    /// The longest duration of a run, to which it was cut short.
    Trim,
}

/// What a [`Retry`](super::Retry) does. Attempts are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEvent {
    /// An attempt came out badly, and the next one follows after a delay.
    #[non_exhaustive]
    Scheduled {
        /// The name of the retry.
        policy: &'static str,
        /// The attempt that came out badly.
        attempt: u32,
        /// How long until the next.
        delay: Duration,
        /// Where the delay comes from.
        source: DelaySource,
        /// The refusal of a policy inside, if the attempt came out as one; otherwise the operation failed, or its success
        /// does not stand.
        rejection: Option<Rejection>,
    },
    /// A call succeeded, but not at its first attempt.
    #[non_exhaustive]
    Recovered {
        /// The name of the retry.
        policy: &'static str,
        /// How many attempts it took.
        attempts: u32,
    },
    /// A call is not tried again because its outcome is an error that is not to be.
    #[non_exhaustive]
    Aborted {
        /// The name of the retry.
        policy: &'static str,
        /// How many attempts were made.
        attempts: u32,
        /// The refusal of a policy inside, if the last attempt came out as one.
        rejection: Option<Rejection>,
    },
    /// A call is not tried again although its outcome is one to be.
    #[non_exhaustive]
    GaveUp {
        /// The name of the retry.
        policy: &'static str,
        /// How many attempts were made.
        attempts: u32,
        /// Why there is no further one.
        reason: GaveUp,
    },
}
