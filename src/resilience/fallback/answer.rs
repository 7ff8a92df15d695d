//! A result that says where it is from.

use super::{FallbackAttempt, Handle, Recover};
use crate::resilience::{Attempt, Error};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A value, and which path was taken to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<T, E> {
    /// The value.
    pub value: T,
    /// Where it is from.
    pub path: Path<E>,
}

/// Which path was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Path<E> {
    /// The operation succeeded.
    Primary,
    /// The fallback ran, for this error.
    Fallback(Error<E>),
}

impl<T, E> Answer<T, E> {
    /// Whether the value is the fallback's.
    pub fn is_fallback(&self) -> bool {
        matches!(self.path, Path::Fallback(_))
    }
}

pin_project! {
    /// The future of [`Fallback::answer`](super::Fallback::answer) and
    /// [`answer_through`](super::Fallback::answer_through).
    ///
    /// # Cancel safety
    /// Dropping it drops what is running, the operation or the fallback; nothing else is started.
    #[must_use = "futures do nothing unless polled"]
    pub struct Answering<'a, A, R, H>
    where
        A: Attempt,
        R: Recover<A::Ok, A::Err>,
    {
        #[pin]
        attempt: FallbackAttempt<'a, A, R, H>,
    }
}

impl<'a, A, R, H> Answering<'a, A, R, H>
where
    A: Attempt,
    R: Recover<A::Ok, A::Err>,
{
    #[inline]
    pub(super) fn new(attempt: FallbackAttempt<'a, A, R, H>) -> Self {
        Self { attempt }
    }
}

impl<A, R, H> Future for Answering<'_, A, R, H>
where
    A: Attempt,
    R: Recover<A::Ok, A::Err>,
    H: Handle<A::Err>,
{
    type Output = Result<Answer<A::Ok, A::Err>, Error<A::Err>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().attempt.poll_answer(cx).map_ok(|(value, cause)| Answer {
            value,
            path: cause.map_or(Path::Primary, Path::Fallback),
        })
    }
}

impl<A, R, H> fmt::Debug for Answering<'_, A, R, H>
where
    A: Attempt + fmt::Debug,
    R: Recover<A::Ok, A::Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answering").field(&self.attempt).finish()
    }
}
