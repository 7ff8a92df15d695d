//! Admission control as a policy: calls are turned away here when the server turns too many away itself.

use super::policy::{fill, relay};
use super::{Attempt, Call, Component, Error, Kind, Layer, Once, Policy, Reason, Rejection, Single};
use crate::limit::{AdmissionControl, AdmissionPermit};
use crate::sync::context;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use crate::limit::Answer;

/// Tells what results say the server made of a call. Implemented for closures.
pub trait Classify<T, E> {
    /// What `result` says.
    fn classify(&self, result: &Result<T, Error<E>>) -> Answer;
}

impl<T, E, F: Fn(&Result<T, Error<E>>) -> Answer> Classify<T, E> for F {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>) -> Answer {
        self(result)
    }
}

/// What a result says unless told otherwise.
///
/// | result | answer |
/// |---|---|
/// | `Ok` | accepted |
/// | the operation's own error | accepted: that something went wrong is not to say that there was too much of it |
/// | ended by a timeout inside the policy | rejected |
/// | refused by another policy inside (rate limit, bulkhead, open circuit, ...) | ignored: the server was not asked |
///
/// Which errors mean "too busy" only the caller knows: see [`Builder::classify`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ByDefault;

impl ByDefault {
    /// The table above, for classifiers that want to change a line of it.
    pub fn of<T, E>(result: &Result<T, Error<E>>) -> Answer {
        match result.as_ref().err().and_then(Error::rejection) {
            None => Answer::Accepted,
            Some(rejection) if rejection.is_timeout() => Answer::Rejected,
            Some(_) => Answer::Ignored,
        }
    }
}

impl<T, E> Classify<T, E> for ByDefault {
    #[inline]
    fn classify(&self, result: &Result<T, Error<E>>) -> Answer {
        Self::of(result)
    }
}

/// Turns calls away at random, the more the more of them the server turns away: an [`AdmissionControl`] as a policy.
///
/// Where a [circuit breaker](super::CircuitBreaker) lets through all or nothing, this lets through about what the server
/// can do. The error of a call that was turned away [says so](Error::is_shed), and is not
/// [retryable](Error::is_retryable).
///
/// Tell it by [`classify`](Builder::classify) which results mean that the server is overloaded; without that, only
/// timeouts do.
///
/// ```
/// use cofferdam::limit::AdmissionControl;
/// use cofferdam::resilience::admission::{Answer, ByDefault};
/// use cofferdam::resilience::{Admission, Error, Stack};
///
/// struct Response { status: u16 }
///
/// # futures_executor::block_on(async {
/// let control = AdmissionControl::new();
/// let admission = Admission::builder(control.clone())
///     .name("inventory")
///     .classify(|result: &Result<Response, Error<std::io::Error>>| match result {
///         Ok(response) if matches!(response.status, 429 | 503) => Answer::Rejected,
///         other => ByDefault::of(other),
///     })
///     .build();
/// let stack = Stack::new().admission(admission);
/// let send = || async { Ok(Response { status: 503 }) };
/// while !stack.call(send).await.is_err_and(|error| error.is_shed()) {}
/// let stats = control.stats();
/// assert!(stats.rejected >= 10 && stats.shed == 1);
/// # });
/// ```
///
/// # Where it sits
/// Inside a retry, so that each attempt is counted and each retry is as likely to be turned away as any call; outside
/// the attempt's timeout, so that a server that does not answer is seen to. A breaker may be around it: that a call was
/// shed is no failure of the server.
///
/// # Cancellation
/// A call that is dropped says nothing about the server. Work that is cancelled or out of time is refused without being
/// counted as a request.
///
/// Clones share the control; so do policies that were made from clones of it, each with its own view of what is a
/// rejection.
#[derive(Clone)]
pub struct Admission<C = ByDefault> {
    control: AdmissionControl,
    classifier: C,
    name: &'static str,
}

impl Admission {
    /// Only timeouts are taken for rejections by the server; see [`ByDefault`].
    pub fn new(control: AdmissionControl) -> Self {
        Self { control, classifier: ByDefault, name: "admission" }
    }

    /// With other than default settings.
    pub fn builder(control: AdmissionControl) -> Builder {
        Builder(Self::new(control))
    }
}

impl<C> Admission<C> {
    /// The control.
    pub fn control(&self) -> &AdmissionControl {
        &self.control
    }

    /// Runs an operation, or turns it away; `op` is not called then.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation, and counts for nothing.
    ///
    /// # Errors
    /// The operation's own; or [shed](Error::is_shed); or the surrounding work is cancelled or out of time.
    #[inline]
    pub fn call<T, E, F, Fut>(&self, op: F) -> Call<Admitted<'_, Once<F, Fut>, C>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        Call::new(self.around(Once::new(op)))
    }

    #[inline]
    fn decide(&self) -> Result<AdmissionPermit<&AdmissionControl>, Rejection> {
        if context::can_end() {
            crate::sync::Context::current().check().map_err(|ended| Rejection::ended(self.name, &ended))?;
        }
        match self.control.try_acquire() {
            Ok(permit) => Ok(permit.told_of_panics()),
            Err(_) => Err(Rejection::new(self.name, Reason::Shed)),
        }
    }
}

impl<C> fmt::Debug for Admission<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("name", &self.name)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// Builds an [`Admission`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder<C = ByDefault>(Admission<C>);

impl<C> Builder<C> {
    /// What errors call it. Default: "admission".
    pub fn name(self, name: &'static str) -> Self {
        Self(Admission { name, ..self.0 })
    }

    /// What results say about the server. Default: [`ByDefault`].
    pub fn classify<T, E, F>(self, classifier: F) -> Builder<F>
    where
        F: Fn(&Result<T, Error<E>>) -> Answer,
    {
        let Admission { control, name, .. } = self.0;
        Builder(Admission { control, classifier, name })
    }

    /// The policy.
    pub fn build(self) -> Admission<C> {
        self.0
    }
}

impl<C> Component for Admission<C> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::new(Kind::Admission, self.name));
    }
}

impl<C> Single for Admission<C> {}

impl<'a, A, C> Policy<A> for &'a Admission<C>
where
    A: Attempt,
    C: Classify<A::Ok, A::Err>,
{
    type Attempt = Admitted<'a, A, C>;

    #[inline]
    fn around(self, inner: A) -> Admitted<'a, A, C> {
        Admitted { inner, permit: None, policy: self }
    }
}

pin_project! {
    /// An attempt under an [`Admission`]: asks to be let through when it starts, and tells how it ends.
    #[derive(Debug)]
    pub struct Admitted<'a, A, C> {
        // Before the permit, so that a dropped call is over before it is counted as that.
        #[pin]
        inner: A,
        permit: Option<AdmissionPermit<&'a AdmissionControl>>,
        policy: &'a Admission<C>,
    }
}

/// Settles the permit as rejected if the poll of the call, or the classifier, panics.
struct IfPanics<'a, 'b> {
    permit: &'a mut Option<AdmissionPermit<&'b AdmissionControl>>,
    armed: bool,
}

impl Drop for IfPanics<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if self.armed {
            if let Some(permit) = self.permit.take() {
                permit.rejected();
            }
        }
    }
}

impl<A: Attempt, C: Classify<A::Ok, A::Err>> Attempt for Admitted<'_, A, C> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        if this.permit.is_none() {
            match this.policy.decide() {
                Ok(permit) => fill(this.permit, permit),
                Err(rejection) => return Poll::Ready(Err(rejection.into())),
            }
        }
        let mut watch = IfPanics { permit: this.permit, armed: true };
        let polled = this.inner.poll_attempt(cx);
        if polled.is_pending() {
            watch.armed = false;
        }
        relay(polled, |result| {
            let answer = this.policy.classifier.classify(result);
            watch.armed = false;
            if let Some(permit) = watch.permit.take() {
                permit.record(answer);
            }
        })
    }

    #[inline]
    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        *this.permit = None;
    }
}

impl<A: super::Fork, C: Classify<A::Ok, A::Err>> super::Fork for Admitted<'_, A, C> {
    fn fork(&self) -> Option<Self> {
        Some(Self { inner: self.inner.fork()?, permit: None, policy: self.policy })
    }
}
