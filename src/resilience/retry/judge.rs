//! Which outcomes are tried again.

use crate::resilience::Error;
use std::time::Duration;

/// What a [`Judge`] says of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It stands.
    Done,
    /// Try again after the backoff.
    Retry,
    /// Try again, but not before the callee wants to see us: after the longer of this and the backoff.
    RetryAfter(Duration),
}

/// Says of each outcome whether it is tried again. A success may be: a response whose status says "try later".
///
/// Closures over the outcome are judges.
pub trait Judge<T, E> {
    /// Whether to try again.
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict;
}

impl<T, E, F: Fn(&Result<T, Error<E>>) -> Verdict> Judge<T, E> for F {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        self(outcome)
    }
}

/// Tries again what is [retryable](Error::is_retryable): the default.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Retryable;

impl<T, E> Judge<T, E> for Retryable {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        match outcome {
            Ok(_) => Verdict::Done,
            Err(error) => again(error, error.is_retryable()),
        }
    }
}

/// Tries again those of the operation's own errors of which a closure says so, and of refusals what is
/// [retryable](Error::is_retryable); see [`RetryBuilder::when`](super::RetryBuilder::when).
#[derive(Clone, Copy, Debug)]
pub struct When<F>(pub(super) F);

impl<T, E, F: Fn(&E) -> bool> Judge<T, E> for When<F> {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        match outcome {
            Ok(_) => Verdict::Done,
            Err(error) if error.is_rejection() => again(error, error.is_retryable()),
            Err(error) => again(error, error.is_retryable() && error.inner().is_some_and(&self.0)),
        }
    }
}

fn again<E>(error: &Error<E>, retryable: bool) -> Verdict {
    match error.retry_after() {
        _ if !retryable => Verdict::Done,
        Some(after) => Verdict::RetryAfter(after),
        None => Verdict::Retry,
    }
}
