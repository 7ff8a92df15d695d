//! What is fallen back to, and for what.

use crate::resilience::Error;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Makes a result in place of an error.
///
/// Implement it for a source of your own; `Future` is [`std::future::Ready`] for one that need not wait.
pub trait Recover<T, E> {
    /// What comes to the result.
    type Future: Future<Output = Result<T, Error<E>>>;

    /// Begins; `None` if there is nothing to fall back to, and the error stands.
    fn recover(&self, error: &Error<E>) -> Option<Self::Future>;
}

/// Always the same: see [`Fallback::value`](super::Fallback::value).
#[derive(Clone, Copy)]
pub struct Value<T>(pub(super) T);

impl<T: Clone, E> Recover<T, E> for Value<T> {
    type Future = Ready<Result<T, Error<E>>>;

    fn recover(&self, _: &Error<E>) -> Option<Self::Future> {
        Some(ready(Ok(self.0.clone())))
    }
}

/// A function of the error: see [`Fallback::with`](super::Fallback::with).
#[derive(Clone, Copy)]
pub struct By<F>(pub(super) F);

impl<T, E, F: Fn(&Error<E>) -> Result<T, E>> Recover<T, E> for By<F> {
    type Future = Ready<Result<T, Error<E>>>;

    fn recover(&self, error: &Error<E>) -> Option<Self::Future> {
        Some(ready((self.0)(error).map_err(Error::Inner)))
    }
}

/// An async function of the error: see [`Fallback::with_async`](super::Fallback::with_async).
#[derive(Clone, Copy)]
pub struct ByAsync<F>(pub(super) F);

impl<T, E, F, Fut> Recover<T, E> for ByAsync<F>
where
    F: Fn(&Error<E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = AsyncRecovery<Fut>;

    fn recover(&self, error: &Error<E>) -> Option<AsyncRecovery<Fut>> {
        Some(AsyncRecovery { inner: (self.0)(error) })
    }
}

pin_project_lite::pin_project! {
    /// The future of [`ByAsync`]: what fails in it is an operation.
    pub struct AsyncRecovery<Fut> {
        #[pin]
        inner: Fut,
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Future for AsyncRecovery<Fut> {
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx).map_err(Error::Inner)
    }
}

impl<Fut> fmt::Debug for AsyncRecovery<Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncRecovery").finish_non_exhaustive()
    }
}

/// Another call: see [`Fallback::backend`](super::Fallback::backend).
#[derive(Clone, Copy)]
pub struct Backend<F>(pub(super) F);

impl<T, E, F, Fut> Recover<T, E> for Backend<F>
where
    F: Fn(&Error<E>) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Future = Fut;

    fn recover(&self, error: &Error<E>) -> Option<Fut> {
        Some((self.0)(error))
    }
}

/// Says which errors a fallback runs for.
pub trait Handle<E> {
    /// Whether it runs for this one.
    fn handles(&self, error: &Error<E>) -> bool;
}

/// All but a cancellation of the surrounding work: the default.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Handled;

impl<E> Handle<E> for Handled {
    fn handles(&self, error: &Error<E>) -> bool {
        !error.is_cancelled()
    }
}

/// Those of which a closure says so: see [`Fallback::handle`](super::Fallback::handle).
#[derive(Clone, Copy)]
pub struct When<P>(pub(super) P);

impl<E, P: Fn(&Error<E>) -> bool> Handle<E> for When<P> {
    fn handles(&self, error: &Error<E>) -> bool {
        (self.0)(error)
    }
}

/// Of each only the name: what is in them is the user's.
macro_rules! debug {
    ($($name:ident),+) => {$(
        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}
debug!(Value, By, ByAsync, Backend, When);
