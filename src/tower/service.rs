//! The service.

use super::{PolicyFor, PolicySource, Requests};
use crate::resilience::{Error, OwnedCall, Policy};
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::task::{Context, Poll};
use tower_service::Service;

/// A service under policies: what a [`PolicyLayer`](super::PolicyLayer) makes.
///
/// Clones share what the policies count and hold.
pub struct PolicyService<S, Q, M> {
    inner: S,
    source: Q,
    mode: PhantomData<fn() -> M>,
}

impl<S, Q, M> PolicyService<S, Q, M> {
    pub(super) const fn new(inner: S, source: Q) -> Self {
        Self { inner, source, mode: PhantomData }
    }

    /// What is inside.
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    /// What is inside, to change it.
    pub const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// What is inside, by value.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// The future of `S` under the policy of `Q`.
type Attempted<S, Q, M, R> =
    <&'static <Q as PolicySource>::Policy as Policy<<M as Requests<S, R>>::Attempt>>::Attempt;

impl<S, Q, M, R> Service<R> for PolicyService<S, Q, M>
where
    S: Service<R> + Clone,
    Q: PolicyFor<R>,
    M: Requests<S, R>,
    for<'a> &'a Q::Policy: Policy<M::Attempt>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = OwnedCall<Q::Policy, Attempted<S, Q, M, R>>;

    /// Always ready, and reserves nothing: see [the module](super#readiness).
    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    /// Nothing begins before the future is polled.
    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        let policy = self.source.policy(&request);
        // Whoever polled what is inside before it was put inside has made this one ready, not the clone.
        let clone = self.inner.clone();
        let service = mem::replace(&mut self.inner, clone);
        OwnedCall::<Q::Policy, ()>::new::<M::Attempt>(policy, M::attempt(service, request))
    }
}

impl<S: Clone, Q: Clone, M> Clone for PolicyService<S, Q, M> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.source.clone())
    }
}

impl<S: fmt::Debug, Q: fmt::Debug, M> fmt::Debug for PolicyService<S, Q, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyService").field("inner", &self.inner).field("policy", &self.source).finish()
    }
}
