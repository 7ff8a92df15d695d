//! What a policy is, and how two become one.

use super::breaker::{CircuitBreaker, Classified};
use super::{Error, Layer, Reason, Rejection};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Something that can be tried, and after it has come out tried again: an operation, or an operation inside policies.
///
/// It is like a future that starts over. Only one attempt is under way at a time.
pub trait Attempt {
    /// What success gives.
    type Ok;
    /// The operation's own error.
    type Err;

    /// Starts an attempt if none is under way, and drives it. After `Ready` none is: whatever it held has been given
    /// back, and the next poll starts another one.
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Ok, Error<Self::Err>>>;

    /// Drops the attempt that is under way, if any, with all that it holds. The next poll starts another one.
    fn cancel(self: Pin<&mut Self>);
}

/// An attempt of which there can be a second one beside the first, for a [`Hedge`](super::Hedge).
///
/// An [`Operation`] is one if its closure can be cloned; policies are if what is inside them is. What is `Once` only refuses.
pub trait Fork: Attempt + Sized {
    /// The same again, of which nothing has begun; `None` if it cannot be run a second time.
    fn fork(&self) -> Option<Self>;
}

/// Passes on what an attempt has come out as, after `see` has seen it.
///
/// Success and failure leave by ways of their own. Moved as a whole, a result would be copied in pieces at every layer, as its
/// parts are read back in other sizes than they were written in; a value moved alone stays in registers.
#[inline(always)]
pub(crate) fn relay<T, E>(
    polled: Poll<Result<T, Error<E>>>,
    see: impl FnOnce(&Result<T, Error<E>>),
) -> Poll<Result<T, Error<E>>> {
    match polled {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(value)) => {
            let outcome = Ok(value);
            see(&outcome);
            match outcome {
                Ok(value) => Poll::Ready(Ok(value)),
                Err(error) => Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Err(error)) => {
            let outcome = Err(error);
            see(&outcome);
            Poll::Ready(outcome)
        }
    }
}

/// Puts `value` where there is none. As nothing is dropped there, it is made where it stays, and not moved to it afterwards.
#[inline(always)]
pub(crate) fn fill<T>(slot: &mut Option<T>, value: T) {
    debug_assert!(slot.is_none(), "what is there would be forgotten");
    std::mem::forget(slot.replace(value));
}

/// Runs an operation under a rule: refuses it, limits it, repeats it, judges it.
///
/// It is implemented for references to policies, since a call borrows them: `&Timeout: Policy<A>`. A policy wraps what is
/// inside it, and the result is again an [`Attempt`], so policies compose without boxing and without a closure: a whole
/// [`Stack`](super::Stack) becomes one flat state machine, which is `Send` exactly when its parts are, also where the
/// operation borrows.
///
/// # Your own
///
/// ```
/// use cofferdam::resilience::{Attempt, Component, Error, Layer, Policy, Stack};
/// use std::pin::Pin;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use std::task::{Context, Poll, ready};
///
/// #[derive(Default)]
/// struct CountFailures(AtomicU32);
///
/// impl Component for CountFailures {
///     fn describe(&self, layers: &mut Vec<Layer>) {
///         layers.push(Layer::custom("count failures"));
///     }
/// }
///
/// impl<'a, A: Attempt> Policy<A> for &'a CountFailures {
///     type Attempt = Counted<'a, A>;
///
///     fn around(self, inner: A) -> Counted<'a, A> {
///         Counted { policy: self, inner }
///     }
/// }
///
/// pin_project_lite::pin_project! {
///     struct Counted<'a, A> { policy: &'a CountFailures, #[pin] inner: A }
/// }
///
/// impl<A: Attempt> Attempt for Counted<'_, A> {
///     type Ok = A::Ok;
///     type Err = A::Err;
///
///     fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
///         let this = self.project();
///         let outcome = ready!(this.inner.poll_attempt(cx));
///         if outcome.is_err() {
///             this.policy.0.fetch_add(1, Ordering::Relaxed);
///         }
///         Poll::Ready(outcome)
///     }
///
///     fn cancel(self: Pin<&mut Self>) {
///         self.project().inner.cancel();
///     }
/// }
///
/// # futures_executor::block_on(async {
/// let stack = Stack::new().layer(CountFailures::default());
/// let outcome = stack.call(|| async { Err::<(), _>("no") }).await;
/// assert_eq!(outcome, Err(Error::Inner("no")));
/// # });
/// ```
pub trait Policy<A: Attempt> {
    /// What is inside, under the policy.
    type Attempt: Attempt<Ok = A::Ok, Err = A::Err>;

    /// Puts the policy around what is inside. Nothing begins before the first poll.
    fn around(self, inner: A) -> Self::Attempt;
}

/// What a policy says of itself, for [`Stack::describe`](super::Stack::describe) and
/// [`Stack::lint`](super::Stack::lint).
pub trait Component {
    /// Adds what it is to `layers`; what is made of several adds them outermost first.
    fn describe(&self, layers: &mut Vec<Layer>);
}

pin_project! {
    /// An operation: a closure that makes the future of one attempt, and the future that is under way.
    pub struct Operation<F, Fut> {
        op: F,
        #[pin]
        running: Option<Fut>,
    }
}

impl<F, Fut> Operation<F, Fut> {
    /// Of a closure that makes the future of one attempt each time it is called.
    #[inline]
    pub fn new(op: F) -> Self
    where
        F: FnMut() -> Fut,
    {
        Self { op, running: None }
    }
}

impl<T, E, F, Fut> Attempt for Operation<F, Fut>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error<E>>> {
        let mut this = self.project();
        if this.running.is_none() {
            let future = (this.op)();
            this.running.set(Some(future));
        }
        let Some(future) = this.running.as_mut().as_pin_mut() else { return Poll::Pending };
        let outcome = std::task::ready!(future.poll(cx));
        this.running.set(None);
        Poll::Ready(outcome.map_err(Error::Inner))
    }

    #[inline]
    fn cancel(self: Pin<&mut Self>) {
        self.project().running.set(None);
    }
}

/// Each has a clone of the closure, with what it had captured by then.
impl<T, E, F, Fut> Fork for Operation<F, Fut>
where
    F: FnMut() -> Fut + Clone,
    Fut: Future<Output = Result<T, E>>,
{
    #[inline]
    fn fork(&self) -> Option<Self> {
        Some(Self::new(self.op.clone()))
    }
}

impl<F, Fut> fmt::Debug for Operation<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

pin_project! {
    /// An operation that can be run only once: a closure that is used up by making its future.
    pub struct Once<F, Fut> {
        op: Option<F>,
        #[pin]
        running: Option<Fut>,
    }
}

impl<F, Fut> Once<F, Fut> {
    /// Of a closure that makes the future of the one attempt.
    #[inline]
    pub fn new(op: F) -> Self
    where
        F: FnOnce() -> Fut,
    {
        Self { op: Some(op), running: None }
    }
}

/// A further attempt is refused as closed. The policies that are [`Single`] make none.
impl<T, E, F, Fut> Attempt for Once<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error<E>>> {
        let mut this = self.project();
        if let Some(op) = this.op.take() {
            this.running.set(Some(op()));
        }
        let Some(future) = this.running.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(Rejection::new("operation", Reason::Closed).into()));
        };
        let outcome = std::task::ready!(future.poll(cx));
        this.running.set(None);
        Poll::Ready(outcome.map_err(Error::Inner))
    }

    #[inline]
    fn cancel(self: Pin<&mut Self>) {
        self.project().running.set(None);
    }
}

/// There never is another.
impl<T, E, F, Fut> Fork for Once<F, Fut>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    #[inline]
    fn fork(&self) -> Option<Self> {
        None
    }
}

impl<F, Fut> fmt::Debug for Once<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

/// A policy that makes at most one attempt, so that a closure will do that can be called only once: see
/// [`Stack::call_once`](super::Stack::call_once).
pub trait Single {}

impl Single for () {}
impl<P: Single + ?Sized> Single for &P {}
impl<P: Single + ?Sized> Single for Arc<P> {}
impl<P: Single> Single for Option<P> {}
impl<Outer: Single, Inner: Single> Single for Chain<Outer, Inner> {}
impl Single for CircuitBreaker {}
impl<C> Single for Classified<C> {}

pin_project! {
    /// The future of a call through a policy or a [`Stack`](super::Stack).
    ///
    /// # Cancel safety
    /// Dropping it drops the attempt that is under way and gives back what the policies held for it.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Call<A> {
        #[pin]
        attempt: A,
    }
}

impl<A: Attempt> Call<A> {
    /// Runs `attempt` once, with whatever its policies make of that.
    #[inline]
    pub fn new(attempt: A) -> Self {
        Self { attempt }
    }
}

impl<A: Attempt> Future for Call<A> {
    type Output = Result<A::Ok, Error<A::Err>>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().attempt.poll_attempt(cx)
    }
}

/// No policy: what is inside as it is.
impl<A: Attempt> Policy<A> for &() {
    type Attempt = A;

    #[inline]
    fn around(self, inner: A) -> A {
        inner
    }
}

impl Component for () {
    fn describe(&self, _: &mut Vec<Layer>) {}
}

/// A policy shared with others.
impl<'a, A: Attempt, P> Policy<A> for &'a Arc<P>
where
    &'a P: Policy<A>,
{
    type Attempt = <&'a P as Policy<A>>::Attempt;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        (**self).around(inner)
    }
}

impl<P: Component + ?Sized> Component for Arc<P> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        (**self).describe(layers);
    }
}

/// A policy borrowed from elsewhere.
impl<'a, A: Attempt, P> Policy<A> for &&'a P
where
    &'a P: Policy<A>,
{
    type Attempt = <&'a P as Policy<A>>::Attempt;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        (*self).around(inner)
    }
}

impl<P: Component + ?Sized> Component for &P {
    fn describe(&self, layers: &mut Vec<Layer>) {
        (**self).describe(layers);
    }
}

/// A policy that configuration may switch off.
impl<'a, A: Attempt, P> Policy<A> for &'a Option<P>
where
    &'a P: Policy<A>,
{
    type Attempt = Optional<<&'a P as Policy<A>>::Attempt, A>;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        match self {
            Some(policy) => Optional::With { inner: policy.around(inner) },
            None => Optional::Without { inner },
        }
    }
}

impl<P: Component> Component for Option<P> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        if let Some(policy) = self {
            policy.describe(layers);
        }
    }
}

pin_project! {
    /// What is inside an `Option` of a policy.
    #[derive(Debug)]
    #[project = OptionalProjection]
    #[allow(missing_docs)]
    pub enum Optional<With, Without> {
        /// Under the policy.
        With { #[pin] inner: With },
        /// Without it.
        Without { #[pin] inner: Without },
    }
}

impl<With: Attempt, Without: Attempt<Ok = With::Ok, Err = With::Err>> Attempt for Optional<With, Without> {
    type Ok = With::Ok;
    type Err = With::Err;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Ok, Error<Self::Err>>> {
        match self.project() {
            OptionalProjection::With { inner } => inner.poll_attempt(cx),
            OptionalProjection::Without { inner } => inner.poll_attempt(cx),
        }
    }

    fn cancel(self: Pin<&mut Self>) {
        match self.project() {
            OptionalProjection::With { inner } => inner.cancel(),
            OptionalProjection::Without { inner } => inner.cancel(),
        }
    }
}

impl<With: Fork, Without: Fork<Ok = With::Ok, Err = With::Err>> Fork for Optional<With, Without> {
    fn fork(&self) -> Option<Self> {
        Some(match self {
            Self::With { inner } => Self::With { inner: inner.fork()? },
            Self::Without { inner } => Self::Without { inner: inner.fork()? },
        })
    }
}

/// One policy around another: `outer` sees every outcome of `inner`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain<Outer, Inner> {
    outer: Outer,
    inner: Inner,
}

impl<Outer, Inner> Chain<Outer, Inner> {
    /// `outer` around `inner`.
    pub const fn new(outer: Outer, inner: Inner) -> Self {
        Self { outer, inner }
    }
}

impl<'a, A: Attempt, Outer, Inner> Policy<A> for &'a Chain<Outer, Inner>
where
    &'a Inner: Policy<A>,
    &'a Outer: Policy<<&'a Inner as Policy<A>>::Attempt>,
{
    type Attempt = <&'a Outer as Policy<<&'a Inner as Policy<A>>::Attempt>>::Attempt;

    #[inline]
    fn around(self, inner: A) -> Self::Attempt {
        self.outer.around(self.inner.around(inner))
    }
}

impl<Outer: Component, Inner: Component> Component for Chain<Outer, Inner> {
    fn describe(&self, layers: &mut Vec<Layer>) {
        self.outer.describe(layers);
        self.inner.describe(layers);
    }
}
