//! A request on its way through a service, as an attempt.
//!
//! ```text
//! Idle ── a fresh pair, if there is one ──> Readying ── poll_ready: Ok, then call ──> Calling ── its outcome ──> Idle
//!   └──── none: refused as closed               └────── poll_ready: Err, the outcome ──> Idle
//! ```
//!
//! A pair that is ready at once goes through `Readying` without being kept there.
//!
//! The instance in `Readying` is the one that is called. It is dropped, with what its readiness may have reserved, as soon
//! as it has been called, has failed, or the attempt is cancelled.

use crate::resilience::{Attempt, Error, Fork, Reason, Rejection};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// Whether requests are [`Cloned`] or [`Moved`]. There are no others.
pub trait Requests<S: Service<R>, R>: sealed::Sealed {
    /// A request on its way through a service.
    type Attempt: Attempt<Ok = S::Response, Err = S::Error>;

    /// Sends `request` by `service`.
    fn attempt(service: S, request: R) -> Self::Attempt;
}

/// Requests and services are cloned for each attempt: any policy will do.
#[derive(Clone, Copy, Debug)]
pub enum Cloned {}

/// Requests are moved: for policies that make one attempt.
#[derive(Clone, Copy, Debug)]
pub enum Moved {}

impl<S: Service<R> + Clone, R: Clone> Requests<S, R> for Cloned {
    type Attempt = RequestAttempt<Fresh<S, R>, S, R, S::Future>;

    #[inline]
    fn attempt(service: S, request: R) -> Self::Attempt {
        RequestAttempt { origin: Fresh { service, request }, stage: Stage::Idle }
    }
}

impl<S: Service<R>, R> Requests<S, R> for Moved {
    type Attempt = RequestAttempt<Spent, S, R, S::Future>;

    #[inline]
    fn attempt(service: S, request: R) -> Self::Attempt {
        RequestAttempt { origin: Spent(()), stage: Stage::Readying { service, request } }
    }
}

/// A service that was never asked whether it is ready, and a request that was never sent: clones of them make an attempt.
pub struct Fresh<S, R> {
    service: S,
    request: R,
}

impl<S, R> fmt::Debug for Fresh<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fresh").finish_non_exhaustive()
    }
}

/// Nothing to make another attempt of.
#[derive(Debug)]
pub struct Spent(());

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Cloned {}
    impl Sealed for super::Moved {}

    /// What the next attempt is made of.
    pub trait Origin<S, R> {
        fn next(&self) -> Option<(S, R)>;

        /// The same again, for an attempt beside the first; `None` if there is only one.
        fn again(&self) -> Option<Self>
        where
            Self: Sized;
    }

    impl<S: Clone, R: Clone> Origin<S, R> for super::Fresh<S, R> {
        #[inline]
        fn next(&self) -> Option<(S, R)> {
            Some((self.service.clone(), self.request.clone()))
        }

        fn again(&self) -> Option<Self> {
            Some(Self { service: self.service.clone(), request: self.request.clone() })
        }
    }

    impl<S, R> Origin<S, R> for super::Spent {
        #[inline]
        fn next(&self) -> Option<(S, R)> {
            None
        }

        fn again(&self) -> Option<Self> {
            None
        }
    }
}

pin_project! {
    /// A request on its way through a service: what is inside the policies of a
    /// [`PolicyService`](super::PolicyService). `F` is the future of `S`.
    pub struct RequestAttempt<O, S, R, F> {
        origin: O,
        #[pin]
        stage: Stage<S, R, F>,
    }
}

pin_project! {
    #[project = StageProjection]
    #[project_replace = Left]
    enum Stage<S, R, F> {
        Idle,
        Readying { service: S, request: R },
        Calling { #[pin] future: F },
    }
}

impl<O, S, R, F, T, E> Attempt for RequestAttempt<O, S, R, F>
where
    O: sealed::Origin<S, R>,
    S: Service<R, Response = T, Error = E, Future = F>,
    F: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error<E>>> {
        let this = self.project();
        let mut stage = this.stage;
        match stage.as_mut().project() {
            StageProjection::Idle => {
                let Some((mut service, request)) = this.origin.next() else {
                    return Poll::Ready(Err(Rejection::new("service", Reason::Closed).into()));
                };
                // Most services are ready, and then need not be kept.
                match service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => stage.set(Stage::Calling { future: service.call(request) }),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Error::Inner(error))),
                    Poll::Pending => {
                        stage.set(Stage::Readying { service, request });
                        return Poll::Pending;
                    }
                }
            }
            StageProjection::Readying { service, .. } => {
                if let Err(error) = ready!(service.poll_ready(cx)) {
                    stage.set(Stage::Idle);
                    return Poll::Ready(Err(Error::Inner(error)));
                }
                if let Left::Readying { mut service, request } = stage.as_mut().project_replace(Stage::Idle) {
                    stage.set(Stage::Calling { future: service.call(request) });
                }
            }
            StageProjection::Calling { .. } => {}
        }
        let StageProjection::Calling { future } = stage.as_mut().project() else { return Poll::Pending };
        match ready!(future.poll(cx)) {
            Ok(value) => {
                stage.set(Stage::Idle);
                Poll::Ready(Ok(value))
            }
            Err(error) => {
                stage.set(Stage::Idle);
                Poll::Ready(Err(Error::Inner(error)))
            }
        }
    }

    fn cancel(self: Pin<&mut Self>) {
        self.project().stage.set(Stage::Idle);
    }
}

impl<O, S, R, F, T, E> Fork for RequestAttempt<O, S, R, F>
where
    O: sealed::Origin<S, R>,
    S: Service<R, Response = T, Error = E, Future = F>,
    F: Future<Output = Result<T, E>>,
{
    fn fork(&self) -> Option<Self> {
        Some(Self { origin: self.origin.again()?, stage: Stage::Idle })
    }
}

impl<O, S, R, F> fmt::Debug for RequestAttempt<O, S, R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Idle => "idle",
            Stage::Readying { .. } => "readying",
            Stage::Calling { .. } => "calling",
        };
        f.debug_struct("RequestAttempt").field("stage", &stage).finish_non_exhaustive()
    }
}
