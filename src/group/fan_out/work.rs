//! What is done for an item.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Makes the operation for an item. Not to be implemented elsewhere.
pub trait Work<I>: sealed::Sealed {
    /// What it gives.
    type Ok;
    /// What it fails with.
    type Err;
    /// The operation.
    type Future: Future<Output = Result<Self::Ok, Self::Err>>;

    /// The operation for this item, which nothing has begun of.
    fn start(&self, item: I) -> Self::Future;
}

mod sealed {
    pub trait Sealed {}
    impl<F> Sealed for super::Plain<F> {}
    impl<F> Sealed for super::Fallible<F> {}
}

/// A function that cannot fail: the work of [`par_map`](super::par_map).
#[derive(Clone, Copy)]
pub struct Plain<F>(pub(super) F);

/// A function that can fail: the work of [`try_par_map`](super::try_par_map).
#[derive(Clone, Copy)]
pub struct Fallible<F>(pub(super) F);

impl<I, F, Fut> Work<I> for Plain<F>
where
    F: Fn(I) -> Fut,
    Fut: Future,
{
    type Ok = Fut::Output;
    type Err = Infallible;
    type Future = Always<Fut>;

    fn start(&self, item: I) -> Always<Fut> {
        Always { future: (self.0)(item) }
    }
}

impl<I, F, Fut, T, E> Work<I> for Fallible<F>
where
    F: Fn(I) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Ok = T;
    type Err = E;
    type Future = Fut;

    fn start(&self, item: I) -> Fut {
        (self.0)(item)
    }
}

pin_project! {
    /// A future that cannot fail, as one that could.
    #[must_use = "futures do nothing unless polled"]
    pub struct Always<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Always<F> {
    type Output = Result<F::Output, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map(Ok)
    }
}

macro_rules! debug {
    ($($name:ident)+) => {$(
        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

debug!(Plain Fallible Always);
