//! Refusals answered with responses.

use crate::resilience::{Error, Reason, Rejection};
use http::Response;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// Answers refusals with responses, so that what is left are the errors of the service itself: for a server whose services
/// must not fail, as axum's.
///
/// It goes outside a [`PolicyLayer`](super::PolicyLayer). By default a refusal becomes
/// [`Rejection::response`]: 429, 503 or 504 with `Retry-After`.
///
/// ```
/// use cofferdam::tower::{PolicyLayer, RespondLayer};
/// use cofferdam::resilience::{Bulkhead, Stack};
/// use tower::ServiceBuilder;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let stack = Stack::new().bulkhead(Bulkhead::new(100)?);
/// let app: axum::Router = axum::Router::new()
///     .route("/", axum::routing::get(|| async { "hello" }))
///     .layer(ServiceBuilder::new().layer(RespondLayer::new()).layer(PolicyLayer::once(stack)));
/// # Ok(())
/// # }
/// ```
///
/// A retry that gave up is a refusal if the last thing that happened to it was one, and else the operation's last error.
#[derive(Clone, Copy, Debug, Default)]
pub struct RespondLayer<F = Standard> {
    respond: F,
}

impl RespondLayer {
    /// With [`Rejection::response`].
    pub const fn new() -> Self {
        Self { respond: Standard }
    }
}

impl<F> RespondLayer<F> {
    /// With what `f` makes of the refusal.
    pub const fn with<B>(f: F) -> Self
    where
        F: Fn(&Rejection) -> Response<B>,
    {
        Self { respond: f }
    }
}

impl<S, F: Clone> Layer<S> for RespondLayer<F> {
    type Service = RespondService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RespondService { inner, respond: self.respond.clone(), refused: None }
    }
}

/// Makes a response of a refusal: a closure, or [`Standard`].
pub trait Respond<B> {
    /// The response.
    fn respond(&self, rejection: &Rejection) -> Response<B>;
}

/// Answers with [`Rejection::response`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Standard;

impl<B: Default> Respond<B> for Standard {
    fn respond(&self, rejection: &Rejection) -> Response<B> {
        rejection.response()
    }
}

impl<B, F: Fn(&Rejection) -> Response<B>> Respond<B> for F {
    fn respond(&self, rejection: &Rejection) -> Response<B> {
        self(rejection)
    }
}

/// A service whose refusals are responses: what a [`RespondLayer`] makes.
#[derive(Debug)]
pub struct RespondService<S, F> {
    inner: S,
    respond: F,
    /// What the inner service said when it was asked whether it is ready, for the next call to answer with.
    refused: Option<Rejection>,
}

impl<S: Clone, F: Clone> Clone for RespondService<S, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), respond: self.respond.clone(), refused: None }
    }
}

impl<S, F, R, B, E> Service<R> for RespondService<S, F>
where
    S: Service<R, Response = Response<B>, Error = Error<E>>,
    F: Respond<B> + Clone,
{
    type Response = Response<B>;
    type Error = E;
    type Future = RespondFuture<S::Future, F>;

    /// As the inner service, which in a [`PolicyService`](super::PolicyService) is at once. If its answer is a refusal, this one
    /// is ready, and answers the next call with it.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.refused = None;
        Poll::Ready(ready!(self.inner.poll_ready(cx)).or_else(|error| {
            self.refused = Some(refusal(error)?);
            Ok(())
        }))
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        let stage = match self.refused.take() {
            Some(rejection) => Stage::Refused { rejection },
            None => Stage::Calling { future: self.inner.call(request) },
        };
        RespondFuture { stage, respond: self.respond.clone() }
    }
}

/// The refusal, or the error of the service itself.
fn refusal<E>(error: Error<E>) -> Result<Rejection, E> {
    if let Some(rejection) = error.rejection() {
        return Ok(*rejection);
    }
    match error.into_inner() {
        Some(inner) => Err(inner),
        // No policy makes such an error: one that is neither.
        None => Ok(Rejection::new("service", Reason::Closed)),
    }
}

pin_project! {
    /// The future of a [`RespondService`].
    ///
    /// # Cancel safety
    /// As that of the service inside.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct RespondFuture<Fut, F> {
        #[pin]
        stage: Stage<Fut>,
        respond: F,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StageProjection]
    enum Stage<Fut> {
        Refused { rejection: Rejection },
        Calling { #[pin] future: Fut },
    }
}

impl<Fut, F, B, E> Future for RespondFuture<Fut, F>
where
    Fut: Future<Output = Result<Response<B>, Error<E>>>,
    F: Respond<B>,
{
    type Output = Result<Response<B>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = match this.stage.project() {
            StageProjection::Refused { rejection } => {
                return Poll::Ready(Ok(this.respond.respond(rejection)));
            }
            StageProjection::Calling { future } => ready!(future.poll(cx)),
        };
        Poll::Ready(outcome.or_else(|error| Ok(this.respond.respond(&refusal(error)?))))
    }
}
