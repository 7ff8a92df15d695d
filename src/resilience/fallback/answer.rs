//! A result that says where it is from.

use super::{Fallback, FallbackAttempt, Handle, Recover};
use crate::resilience::{Attempt, Error, Operation, Policy, Stack};
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
    /// The future of [`Fallback::answer`] and [`Stack::answer`].
    ///
    /// # Cancel safety
    /// Dropping it drops what is running, the operation or the fallback; nothing else is started.
    #[must_use = "futures do nothing unless polled"]
    pub struct Answering<'a, A, E, Fut, R, H> {
        #[pin]
        attempt: FallbackAttempt<'a, A, E, Fut, R, H>,
    }
}

impl<'a, A, E, Fut, R, H> Answering<'a, A, E, Fut, R, H> {
    #[inline]
    pub(super) fn new(attempt: FallbackAttempt<'a, A, E, Fut, R, H>) -> Self {
        Self { attempt }
    }
}

impl<A, E, Fut, R, H> Future for Answering<'_, A, E, Fut, R, H>
where
    A: Attempt<Err = E>,
    Fut: Future<Output = Result<A::Ok, Error<E>>>,
    R: Recover<A::Ok, E, Future = Fut>,
    H: Handle<E>,
{
    type Output = Result<Answer<A::Ok, E>, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project()
            .attempt
            .poll_answer(cx)
            .map_ok(|(value, cause)| Answer { value, path: cause.map_or(Path::Primary, Path::Fallback) })
    }
}

impl<A: fmt::Debug, E, Fut, R, H> fmt::Debug for Answering<'_, A, E, Fut, R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answering").field(&self.attempt).finish()
    }
}

impl<P> Stack<P> {
    /// Runs an operation under the policies, with `fallback` around all of them, and says which path was taken.
    ///
    /// ```
    /// use cofferdam::resilience::{Bulkhead, Fallback, Stack};
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// # futures_executor::block_on(async {
    /// let stack = Stack::new().bulkhead(Bulkhead::new(8)?);
    /// let answer = stack.answer(&Fallback::value(0), || async { Err("down") }).await.unwrap();
    /// assert!(answer.is_fallback());
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future drops what is running, with what the policies hold for it; nothing else is started.
    ///
    /// # Errors
    /// As [`call`](Self::call), where the fallback does not [handle](Fallback::handle) it or has nothing to fall back to; or the fallback's.
    #[allow(clippy::type_complexity, reason = "an alias would only hide it")]
    pub fn answer<'a, T, E, F, Fut, R, H>(
        &'a self,
        fallback: &'a Fallback<R, H>,
        op: F,
    ) -> Answering<'a, <&'a P as Policy<Operation<F, Fut>>>::Attempt, E, R::Future, R, H>
    where
        &'a P: Policy<Operation<F, Fut>>,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        R: Recover<T, E>,
        H: Handle<E>,
    {
        Answering::new(fallback.around(self.around(Operation::new(op))))
    }
}
