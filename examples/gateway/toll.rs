//! What a hedge pays to the limits towards its upstream, as a policy inside the hedge. The first attempt has waited for its
//! turn outside; a hedge does not wait: it takes what is there, or is not sent.
//!
//! A hedge that brings no good answer counts as one that had not begun: its 429 must not come before the answer that the first
//! attempt is waiting for, and its failure is no reason to give that one up.

use crate::attempts;
use crate::http::Body;
use crate::pace::Pace;
use crate::proxy::Failure;
use cofferdam::resilience::{Attempt, Error, Fork, Policy, Rejection};
use hyper::{Response, StatusCode};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The toll of one call's hedges.
pub(crate) struct Toll<'a>(pub(crate) &'a Pace<'a>);

impl<'a, A> Policy<A> for &'a Toll<'_>
where
    A: Attempt<Ok = Response<Body>, Err = Failure>,
{
    type Attempt = Tolled<'a, A>;

    fn around(self, inner: A) -> Tolled<'a, A> {
        Tolled { inner, pace: self.0, hedge: None }
    }
}

pin_project! {
    /// An attempt that pays if it is a hedge.
    pub(crate) struct Tolled<'a, A> {
        #[pin]
        inner: A,
        pace: &'a Pace<'a>,
        // The number of the hedge that is under way.
        hedge: Option<usize>,
    }
}

impl<A> Attempt for Tolled<'_, A>
where
    A: Attempt<Ok = Response<Body>, Err = Failure>,
{
    type Ok = A::Ok;
    type Err = A::Err;

    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        let refused = || Rejection::rate_limited("hedge", None).into();
        if this.hedge.is_none() {
            match attempts::number() {
                0 => {}
                number if this.pace.admit_hedge(number) => *this.hedge = Some(number),
                _ => return Poll::Ready(Err(refused())),
            }
        }
        let outcome = ready!(this.inner.poll_attempt(cx));
        let Some(number) = this.hedge.take() else { return Poll::Ready(outcome) };
        this.pace.give_back(number);
        Poll::Ready(match outcome {
            Ok(response) if response.status() != StatusCode::TOO_MANY_REQUESTS => Ok(response),
            _ => Err(refused()),
        })
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        if let Some(number) = this.hedge.take() {
            this.pace.give_back(number);
        }
    }
}

impl<A> Fork for Tolled<'_, A>
where
    A: Fork<Ok = Response<Body>, Err = Failure>,
{
    fn fork(&self) -> Option<Self> {
        Some(Self { inner: self.inner.fork()?, pace: self.pace, hedge: None })
    }
}
