//! The layer.

use super::{ByRequest, Cloned, Moved, PolicyService, Same};
use crate::resilience::Single;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use tower_layer::Layer;

/// Puts policies around a service: a [`Stack`](crate::resilience::Stack), one policy, or an `Arc` of either.
///
/// See [the module](super) for which constructor to use, and for what becomes of readiness.
///
/// `Q` is where the policy is from, `M` whether requests are [`Cloned`] or [`Moved`].
pub struct PolicyLayer<Q, M = Cloned> {
    source: Q,
    mode: PhantomData<fn() -> M>,
}

impl<P> PolicyLayer<Same<P>> {
    /// With any policy; requests are cloned for each attempt.
    pub fn new(policy: P) -> Self {
        Self::of(Same(Arc::new(policy)))
    }
}

impl<P: Single> PolicyLayer<Same<P>, Moved> {
    /// With a policy that makes one attempt only; requests are moved.
    ///
    /// A policy that makes more is refused by the compiler:
    ///
    /// ```compile_fail
    /// use cofferdam::resilience::Retry;
    /// use cofferdam::tower::PolicyLayer;
    ///
    /// let retry = Retry::builder().build().unwrap();
    /// let layer = PolicyLayer::once(retry);
    /// ```
    pub fn once(policy: P) -> Self {
        Self::of(Same(Arc::new(policy)))
    }
}

impl<F, P> PolicyLayer<ByRequest<F, P>> {
    /// With the policy that `f` gives for each request; requests are cloned for each attempt.
    ///
    /// `f` runs in `call`, so it should be quick. It gives an `Arc`, which may be one that is kept for several requests.
    ///
    /// ```
    /// use cofferdam::limit::{Keyed, Quota};
    /// use cofferdam::tower::PolicyLayer;
    /// use cofferdam::resilience::{KeyThrottle, Retry, Stack};
    /// use std::sync::Arc;
    ///
    /// #[derive(Clone)]
    /// struct Request { user: String }
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let (by_user, retry) = (Keyed::<String>::new(Quota::per_second(10)), Retry::builder().build()?);
    /// let layer = PolicyLayer::by_request(move |request: &Request| {
    ///     let limit = KeyThrottle::new(by_user.clone(), request.user.clone());
    ///     Arc::new(Stack::new().retry(retry.clone()).layer(limit))
    /// });
    /// # let _: &dyn tower::Layer<(), Service = _> = &layer;
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_request<R>(f: F) -> Self
    where
        F: Fn(&R) -> Arc<P>,
    {
        Self::of(ByRequest::new(f))
    }
}

impl<F, P: Single> PolicyLayer<ByRequest<F, P>, Moved> {
    /// With the policy that `f` gives for each request, one that makes one attempt only; requests are moved.
    ///
    /// ```
    /// use cofferdam::limit::KeyedMap;
    /// use cofferdam::resilience::CircuitBreaker;
    /// use cofferdam::tower::PolicyLayer;
    /// use std::sync::Arc;
    ///
    /// struct Request { host: &'static str }
    ///
    /// # fn breaker_of(_: &str) -> CircuitBreaker { CircuitBreaker::new() }
    /// let layer = PolicyLayer::once_by_request(|request: &Request| Arc::new(breaker_of(request.host)));
    /// # let _: &dyn tower::Layer<(), Service = _> = &layer;
    /// ```
    pub fn once_by_request<R>(f: F) -> Self
    where
        F: Fn(&R) -> Arc<P>,
    {
        Self::of(ByRequest::new(f))
    }
}

impl<Q, M> PolicyLayer<Q, M> {
    const fn of(source: Q) -> Self {
        Self { source, mode: PhantomData }
    }
}

impl<S, Q: Clone, M> Layer<S> for PolicyLayer<Q, M> {
    type Service = PolicyService<S, Q, M>;

    fn layer(&self, inner: S) -> Self::Service {
        PolicyService::new(inner, self.source.clone())
    }
}

impl<Q: Clone, M> Clone for PolicyLayer<Q, M> {
    fn clone(&self) -> Self {
        Self::of(self.source.clone())
    }
}

impl<Q: fmt::Debug, M> fmt::Debug for PolicyLayer<Q, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PolicyLayer").field(&self.source).finish()
    }
}
