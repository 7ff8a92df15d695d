//! What the end of a call says about the callee.

use crate::resilience::Error;
use std::fmt;
use std::time::Duration;

/// What the end of a call says about the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It is well.
    Success,
    /// It is unwell.
    Failure,
    /// It is unwell, and asks to be left alone for so long. If this failure opens the breaker, the break is at least
    /// that long (up to the [`recovery_cap`](super::Builder::recovery_cap)).
    RetryAfter(Duration),
    /// It is so unwell that this alone opens the breaker, whatever the rules say, and asks to be left alone for so long:
    /// HTTP 503 with `Retry-After`. (A duration of zero asks for nothing: the break is as long as it is set to be.)
    Trip(Duration),
    /// Nothing. A trial with this outcome gives its place to another.
    Ignore,
}

impl Outcome {
    /// Whether it says that the callee is unwell.
    #[inline]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Failure | Self::RetryAfter(_) | Self::Trip(_))
    }

    /// How long the callee asked to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RetryAfter(after) | Self::Trip(after) => Some(*after),
            _ => None,
        }
    }

    /// What a result says unless told otherwise.
    ///
    /// | result | outcome |
    /// |---|---|
    /// | `Ok` | success |
    /// | the operation's own error | failure |
    /// | ended by a timeout inside the breaker | failure |
    /// | refused by another policy inside the breaker (rate limit, bulkhead, open circuit, ...) | ignored: the callee was not asked |
    pub fn of<T, E>(result: &Result<T, Error<E>>) -> Self {
        match result {
            Ok(_) => Self::Success,
            Err(error) => match error.rejection() {
                None => Self::Failure,
                Some(rejection) if rejection.is_timeout() => Self::Failure,
                Some(_) => Self::Ignore,
            },
        }
    }
}

/// Tells what results say about the callee. Implemented for closures.
pub trait Classify<T, E> {
    /// What `result` says.
    fn classify(&self, result: &Result<T, Error<E>>) -> Outcome;
}

impl<T, E, F: Fn(&Result<T, Error<E>>) -> Outcome> Classify<T, E> for F {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>) -> Outcome {
        self(result)
    }
}

/// [`Outcome::of`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByDefault;

impl<T, E> Classify<T, E> for ByDefault {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>) -> Outcome {
        Outcome::of(result)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.pad("success"),
            Self::Failure => f.pad("failure"),
            Self::RetryAfter(after) => write!(f, "failure, retry after {after:?}"),
            Self::Trip(after) => write!(f, "failure, open for {after:?}"),
            Self::Ignore => f.pad("ignored"),
        }
    }
}
