//! Calls that own their policies.

use super::{Attempt, Call, Error, Once, Operation, Policy, Single, Stack};
use crate::task::{Begin, Outcome, Owned};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pin_project! {
    /// The future of a call that owns a share of its policies, so that it may outlive the caller's: it is `'static` if the
    /// operation is, and can be spawned. See [`Stack::call_owned`].
    ///
    /// It is not boxed, and costs two counts of the `Arc` more than a [`Call`].
    ///
    /// # Cancel safety
    /// As [`Call`]: dropping it drops the attempt that is under way and gives back what the policies held for it, and then
    /// its share of the policies.
    #[must_use = "futures do nothing unless polled"]
    pub struct OwnedCall<P, A> {
        #[pin]
        call: Owned<P, Call<A>>,
    }
}

impl<P: 'static> OwnedCall<P, ()> {
    /// Runs `inner` once under a shared policy.
    #[inline]
    pub(crate) fn new<I>(policy: Arc<P>, inner: I) -> OwnedCall<P, <&'static P as Policy<I>>::Attempt>
    where
        I: Attempt,
        for<'a> &'a P: Policy<I>,
    {
        OwnedCall { call: Owned::new(policy, Inside(inner)) }
    }
}

impl<P, A: Attempt> Future for OwnedCall<P, A> {
    type Output = Result<A::Ok, Error<A::Err>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx)
    }
}

impl<P: fmt::Debug, A> fmt::Debug for OwnedCall<P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedCall").field(&self.call).finish()
    }
}

/// What is to be inside a policy.
struct Inside<I>(I);

impl<I: Attempt> Outcome for Inside<I> {
    type Output = Result<I::Ok, Error<I::Err>>;
}

impl<'a, P: 'a, I: Attempt> Begin<'a, P> for Inside<I>
where
    &'a P: Policy<I>,
{
    type Future = Call<<&'a P as Policy<I>>::Attempt>;

    #[inline]
    fn begin(self, policy: &'a P) -> Self::Future {
        Call::new(policy.around(self.0))
    }
}

impl<P: 'static> Stack<P> {
    /// As [`call`](Self::call), with a share of the stack in the future instead of a borrow: it can be spawned.
    ///
    /// ```
    /// use cofferdam::resilience::{Retry, Stack, Timeout};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// # let executor = smol::LocalExecutor::new();
    /// let stack = Stack::new()
    ///     .timeout(Timeout::total(Duration::from_secs(5)))
    ///     .retry(Retry::builder().build()?);
    /// let stack = Arc::new(stack);
    ///
    /// let task = executor.spawn(stack.call_owned(|| async { Ok::<_, std::io::Error>(7) }));
    /// drop(stack);
    /// # smol::block_on(executor.run(async {
    /// assert_eq!(task.await.unwrap(), 7);
    /// # }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Nothing of the call may outlive the future, as all of it borrows from the share. So a policy that hands on what is
    /// inside it, as a [`DetachingTimeout`](crate::resilience::DetachingTimeout) does, cannot be around one that borrows:
    ///
    /// ```compile_fail
    /// use cofferdam::resilience::{Bulkhead, Stack, Timeout};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let smol = |task: cofferdam::task::BoxTask| smol::spawn(task).detach();
    /// let detaching = Timeout::attempt(Duration::from_secs(5)).detach(smol, 8)?;
    /// let stack = Arc::new(Stack::new().layer(detaching).bulkhead(Bulkhead::new(1)?));
    /// let call = stack.call_owned(|| async { Ok::<_, std::io::Error>(7) });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn call_owned<T, E, F, Fut>(
        self: &Arc<Self>,
        op: F,
    ) -> OwnedCall<Self, <&'static P as Policy<Operation<F, Fut>>>::Attempt>
    where
        for<'a> &'a P: Policy<Operation<F, Fut>>,
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        OwnedCall::<Self, ()>::new::<Operation<F, Fut>>(Arc::clone(self), Operation::new(op))
    }

    /// As [`call_once`](Self::call_once), with a share of the stack in the future instead of a borrow.
    ///
    /// # Cancel safety
    /// # Errors
    /// As [`call`](Self::call).
    #[inline]
    pub fn call_once_owned<T, E, F, Fut>(
        self: &Arc<Self>,
        op: F,
    ) -> OwnedCall<Self, <&'static P as Policy<Once<F, Fut>>>::Attempt>
    where
        P: Single,
        for<'a> &'a P: Policy<Once<F, Fut>>,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        OwnedCall::<Self, ()>::new::<Once<F, Fut>>(Arc::clone(self), Once::new(op))
    }
}
