//! Where a layer has its policy from.

use std::fmt;
use std::sync::Arc;

/// What a layer takes the policy for a request from: [one for all](Same), or [one by request](ByRequest).
pub trait PolicySource<R> {
    /// The policy.
    type Policy: 'static;

    /// The policy for this request.
    fn policy(&self, request: &R) -> Arc<Self::Policy>;
}

/// One policy for all requests; see [`PolicyLayer::new`](super::PolicyLayer::new).
pub struct Same<P>(pub(super) Arc<P>);

impl<P> Clone for Same<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: 'static, R> PolicySource<R> for Same<P> {
    type Policy = P;

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
#[derive(Clone)]
pub struct ByRequest<F>(pub(super) F);

impl<F, P, R> PolicySource<R> for ByRequest<F>
where
    F: Fn(&R) -> Arc<P>,
    P: 'static,
{
    type Policy = P;

    #[inline]
    fn policy(&self, request: &R) -> Arc<P> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ByRequest<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRequest").finish_non_exhaustive()
    }
}
