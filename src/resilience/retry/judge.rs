//! Which outcomes are tried again.

use super::Next;
use crate::resilience::Error;
use std::fmt;
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
/// Closures over the outcome are judges. A judge of your own may also set the delay, and is told what came of its verdict.
pub trait Judge<T, E> {
    /// Whether to try again.
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict;

    /// How long to wait before retry `index`, counted from 0, in place of the backoff; `None` leaves it to the backoff. What
    /// the callee asks for is heeded in any case.
    #[inline]
    fn delay(&self, outcome: &Result<T, Error<E>>, index: u32) -> Option<Duration> {
        let _ = (outcome, index);
        None
    }

    /// The outcome is tried again: `next` says when.
    #[inline]
    fn retrying(&self, outcome: &Result<T, Error<E>>, next: Next) {
        let _ = (outcome, next);
    }

    /// This comes out, after attempts that were in vain: [exhausted](Error::is_exhausted).
    #[inline]
    fn gave_up(&self, error: &Error<E>) {
        let _ = error;
    }
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
            // What is usual, so that nothing else is looked at.
            Err(Error::Inner(_)) => Verdict::Retry,
            Err(error) => match error.retry_after() {
                _ if !error.is_retryable() => Verdict::Done,
                Some(after) => Verdict::RetryAfter(after),
                None => Verdict::Retry,
            },
        }
    }
}

/// The judge of a policy, lent to the attempt that is inside it.
pub struct Lent<'a, J>(pub(in crate::resilience) &'a J);

impl<J> Clone for Lent<'_, J> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<J> Copy for Lent<'_, J> {}

impl<J> fmt::Debug for Lent<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lent")
    }
}

/// The methods of a judge that another one leaves to it.
macro_rules! leave_to {
    (@delay $($field:tt)+) => {
        #[inline]
        fn delay(&self, outcome: &Result<T, Error<E>>, index: u32) -> Option<Duration> {
            self.$($field)+.delay(outcome, index)
        }
    };
    (@retrying $($field:tt)+) => {
        #[inline]
        fn retrying(&self, outcome: &Result<T, Error<E>>, next: Next) {
            self.$($field)+.retrying(outcome, next);
        }
    };
    (@gave_up $($field:tt)+) => {
        #[inline]
        fn gave_up(&self, error: &Error<E>) {
            self.$($field)+.gave_up(error);
        }
    };
    ($($field:tt)+) => {
        super::judge::leave_to!(@delay $($field)+);
        super::judge::leave_to!(@retrying $($field)+);
        super::judge::leave_to!(@gave_up $($field)+);
    };
}
pub(super) use leave_to;

impl<T, E, J: Judge<T, E>> Judge<T, E> for Lent<'_, J> {
    #[inline]
    fn judge(&self, outcome: &Result<T, Error<E>>) -> Verdict {
        self.0.judge(outcome)
    }

    leave_to!(0);
}
