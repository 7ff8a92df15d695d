//! One item under the policies of a stack.

use crate::resilience::{Attempt, Error, Fork, Policy, Reason, Rejection, Single, Stack};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Hands out an item, for one attempt after the other.
pub trait Supply {
    /// The item.
    type Item;

    /// The item for the next attempt, if there can be one.
    fn supply(&mut self) -> Option<Self::Item>;

    /// The same again, for an attempt beside the first; `None` if there is only one.
    fn again(&self) -> Option<Self>
    where
        Self: Sized;
}

/// A clone for each attempt.
#[derive(Clone, Copy, Debug)]
pub struct Cloned<T>(T);

impl<T: Clone> Supply for Cloned<T> {
    type Item = T;

    #[inline]
    fn supply(&mut self) -> Option<T> {
        Some(self.0.clone())
    }

    fn again(&self) -> Option<Self> {
        Some(Self(self.0.clone()))
    }
}

/// Itself, for the one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Given<T>(Option<T>);

impl<T> Supply for Given<T> {
    type Item = T;

    #[inline]
    fn supply(&mut self) -> Option<T> {
        self.0.take()
    }

    fn again(&self) -> Option<Self> {
        None
    }
}

pin_project! {
    /// What is done for one item, and the future that is under way.
    pub struct ItemOperation<Q, F, Fut> {
        supply: Q,
        f: Arc<F>,
        #[pin]
        running: Option<Fut>,
    }
}

/// Where the item has been given away, a further attempt is refused as closed. The policies that are
/// [`Single`] make none.
impl<Q, F, Fut, T, E> Attempt for ItemOperation<Q, F, Fut>
where
    Q: Supply,
    F: Fn(Q::Item) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;

    #[inline(always)]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error<E>>> {
        let mut this = self.project();
        if this.running.is_none() {
            let future = this.supply.supply().map(|item| (this.f)(item));
            this.running.set(future);
        }
        let Some(future) = this.running.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(Rejection::new("operation", Reason::Closed).into()));
        };
        let outcome = ready!(future.poll(cx));
        this.running.set(None);
        Poll::Ready(outcome.map_err(Error::Inner))
    }

    fn cancel(self: Pin<&mut Self>) {
        self.project().running.set(None);
    }
}

impl<Q, F, Fut, T, E> Fork for ItemOperation<Q, F, Fut>
where
    Q: Supply,
    F: Fn(Q::Item) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    fn fork(&self) -> Option<Self> {
        Some(Self { supply: self.supply.again()?, f: Arc::clone(&self.f), running: None })
    }
}

impl<Q, F, Fut> fmt::Debug for ItemOperation<Q, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ItemOperation").field("running", &self.running.is_some()).finish_non_exhaustive()
    }
}

/// Makes an [`Attempt`] of an item.
pub trait Begin<I> {
    /// What is made.
    type Attempt: Attempt;

    /// The attempt for this item. Nothing begins before it is polled.
    fn begin(&self, item: I) -> Self::Attempt;
}

/// What can be tried more than once for an item: by a clone each time.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Repeat;

/// What is tried once for each item.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct OnlyOnce;

/// A function under the policies of a stack.
pub struct Under<'a, P, F, K> {
    stack: &'a Stack<P>,
    f: Arc<F>,
    kind: K,
}

impl<'a, P, F> Under<'a, P, F, Repeat> {
    pub(super) fn new(stack: &'a Stack<P>, f: F) -> Self {
        Self { stack, f: Arc::new(f), kind: Repeat }
    }

    pub(super) fn once(self) -> Under<'a, P, F, OnlyOnce>
    where
        P: Single,
    {
        Under { stack: self.stack, f: self.f, kind: OnlyOnce }
    }
}

impl<'a, P, F, Fut, I, T, E> Begin<I> for Under<'a, P, F, Repeat>
where
    &'a P: Policy<ItemOperation<Cloned<I>, F, Fut>>,
    F: Fn(I) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    I: Clone,
{
    type Attempt = <&'a P as Policy<ItemOperation<Cloned<I>, F, Fut>>>::Attempt;

    #[inline]
    fn begin(&self, item: I) -> Self::Attempt {
        self.stack.around(ItemOperation { supply: Cloned(item), f: Arc::clone(&self.f), running: None })
    }
}

impl<'a, P, F, Fut, I, T, E> Begin<I> for Under<'a, P, F, OnlyOnce>
where
    &'a P: Policy<ItemOperation<Given<I>, F, Fut>>,
    F: Fn(I) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Attempt = <&'a P as Policy<ItemOperation<Given<I>, F, Fut>>>::Attempt;

    #[inline]
    fn begin(&self, item: I) -> Self::Attempt {
        self.stack.around(ItemOperation { supply: Given(Some(item)), f: Arc::clone(&self.f), running: None })
    }
}

impl<P, F, K: fmt::Debug> fmt::Debug for Under<'_, P, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Under").field("kind", &self.kind).finish_non_exhaustive()
    }
}
