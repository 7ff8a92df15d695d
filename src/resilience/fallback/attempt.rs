//! What is inside a fallback.

use super::{Fallback, Handle, Recover};
use crate::resilience::{Attempt, Error, FallbackFailed, Fork};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

pin_project! {
    /// What is inside a [`Fallback`]: the attempt, and after it perhaps the fallback.
    pub struct FallbackAttempt<'a, A, E, Fut, R, H> {
        policy: &'a Fallback<R, H>,
        #[pin]
        inner: A,
        // The error for which the fallback runs. There while it does.
        cause: Option<Error<E>>,
        #[pin]
        recovery: Option<Fut>,
    }
}

impl<'a, A, E, Fut, R, H> FallbackAttempt<'a, A, E, Fut, R, H> {
    #[inline]
    pub(super) fn new(policy: &'a Fallback<R, H>, inner: A) -> Self {
        Self { policy, inner, cause: None, recovery: None }
    }
}

impl<A, E, Fut, R, H> FallbackAttempt<'_, A, E, Fut, R, H>
where
    A: Attempt<Err = E>,
    Fut: Future<Output = Result<A::Ok, Error<E>>>,
    R: Recover<A::Ok, E, Future = Fut>,
    H: Handle<E>,
{
    /// The result, and what the fallback ran for if it is its.
    #[allow(clippy::type_complexity, reason = "an alias would only hide it")]
    #[inline]
    pub(super) fn poll_answer(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(A::Ok, Option<Error<E>>), Error<E>>> {
        let mut this = self.project();
        if this.recovery.is_none() {
            match ready!(this.inner.poll_attempt(cx)) {
                Ok(value) => return Poll::Ready(Ok((value, None))),
                Err(error) if !this.policy.handle.handles(&error) => return Poll::Ready(Err(error)),
                Err(error) => match this.policy.recover.recover(&error) {
                    None => return Poll::Ready(Err(error)),
                    Some(recovery) => {
                        *this.cause = Some(error);
                        this.recovery.set(Some(recovery));
                    }
                },
            }
        }
        let Some(recovery) = this.recovery.as_mut().as_pin_mut() else { return Poll::Pending };
        let outcome = ready!(recovery.poll(cx));
        this.recovery.set(None);
        let Some(cause) = this.cause.take() else { return Poll::Pending };
        let why = cause.rejection().copied();
        Poll::Ready(match outcome {
            Ok(value) => {
                this.policy.tell(why, None);
                Ok((value, Some(cause)))
            }
            Err(own) => {
                this.policy.tell(why, Some(own.rejection().copied()));
                Err(Error::FallbackFailed(Box::new(FallbackFailed::new(this.policy.name, own, cause))))
            }
        })
    }
}

impl<A, E, Fut, R, H> Attempt for FallbackAttempt<'_, A, E, Fut, R, H>
where
    A: Attempt<Err = E>,
    Fut: Future<Output = Result<A::Ok, Error<E>>>,
    R: Recover<A::Ok, E, Future = Fut>,
    H: Handle<E>,
{
    type Ok = A::Ok;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<E>>> {
        self.poll_answer(cx).map_ok(|(value, _)| value)
    }

    fn cancel(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.recovery.set(None);
        *this.cause = None;
        this.inner.cancel();
    }
}

impl<A, E, Fut, R, H> Fork for FallbackAttempt<'_, A, E, Fut, R, H>
where
    A: Fork<Err = E>,
    Fut: Future<Output = Result<A::Ok, Error<E>>>,
    R: Recover<A::Ok, E, Future = Fut>,
    H: Handle<E>,
{
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.policy, self.inner.fork()?))
    }
}

impl<A: fmt::Debug, E, Fut, R, H> fmt::Debug for FallbackAttempt<'_, A, E, Fut, R, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackAttempt")
            .field("inner", &self.inner)
            .field("falling_back", &self.recovery.is_some())
            .finish_non_exhaustive()
    }
}
