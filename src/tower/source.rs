//! Where a layer has its policy from.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// What a layer takes the policy for a request of type `R` from: [one for all](Same), or [one by request](ByRequest).
pub trait PolicyFor<R>: PolicySource {
    /// The policy for this request.
    fn policy(&self, request: &R) -> Arc<Self::Policy>;
}

/// The type of policy of a [`PolicyFor`], which is the same for all types of requests.
pub trait PolicySource {
    /// The policy.
    type Policy: 'static;
}

/// One policy for all requests; see [`PolicyLayer::new`](super::PolicyLayer::new).
pub struct Same<P>(pub(super) Arc<P>);

impl<P> Clone for Same<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: 'static> PolicySource for Same<P> {
    type Policy = P;
}

impl<P: 'static, R> PolicyFor<R> for Same<P> {
    #[inline]
    fn policy(&self, _: &R) -> Arc<P> {
        Arc::clone(&self.0)
    }
}

impl<P: fmt::Debug> fmt::Debug for Same<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A policy for each request; see [`PolicyLayer::by_request`](super::PolicyLayer::by_request).
pub struct ByRequest<F, P> {
    choose: F,
    policy: PhantomData<fn() -> P>,
}

impl<F, P> ByRequest<F, P> {
    pub(super) const fn new(choose: F) -> Self {
        Self { choose, policy: PhantomData }
    }
}

impl<F: Clone, P> Clone for ByRequest<F, P> {
    fn clone(&self) -> Self {
        Self::new(self.choose.clone())
    }
}

impl<F, P: 'static> PolicySource for ByRequest<F, P> {
    type Policy = P;
}

impl<F, P, R> PolicyFor<R> for ByRequest<F, P>
where
    F: Fn(&R) -> Arc<P>,
    P: 'static,
{
    #[inline]
    fn policy(&self, request: &R) -> Arc<P> {
        (self.choose)(request)
    }
}

impl<F, P> fmt::Debug for ByRequest<F, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRequest").finish_non_exhaustive()
    }
}
