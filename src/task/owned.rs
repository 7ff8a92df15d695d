//! A future that borrows from an `Arc`, together with that `Arc`.
//!
//! The one type of the crate that holds a reference into what it owns itself. Its invariants, which the `SAFETY` comments
//! name:
//!
//! * **O1** `future` is initialised from [`Owned::new`] until `Drop` drops it, in place, and `Drop` does so before
//!   `owner` is dropped, also if the dropping of the future panics: fields are dropped after `Drop::drop`, however it ends.
//! * **O2** What `owner` points to stays where it is, and nobody has a `&mut` to it, for as long as `owner` is there: it is
//!   on the heap, moving the `Arc` does not move it, and `Arc` hands out no `&mut` while there are others. Nothing here
//!   hands out `owner`.
//! * **O3** The reference is called `'static` but no code can use it for longer than the future is there. [`Begin`] is asked
//!   for at *every* lifetime, so what implements it, and the future's `poll` and `Drop` likewise, is code for an unknown
//!   lifetime: it can put the reference nowhere that outlives it. The [`Outcome`] is the same type for all lifetimes, so the
//!   reference is not in it. The future itself is not handed out, and nothing of it is called but `poll` and `Drop`
//!   (not `Debug`, say: that could be implemented for the future of the one lifetime `'static`).
//! * **O4** The compiler is not told that the reference in the future is valid for all of a function to which an `Owned` is
//!   passed by value, as it would be of a reference in a plain field: dropping it there frees what the reference is to.
//!   `MaybeUninit` makes no such promise.

use std::fmt;
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a future comes to, whatever it borrows.
pub(crate) trait Outcome {
    /// Its output.
    type Output;
}

/// Makes a future that borrows from a `P`.
pub(crate) trait Begin<'a, P>: Outcome {
    /// The future.
    type Future: Future<Output = Self::Output>;

    /// Makes it.
    fn begin(self, owner: &'a P) -> Self::Future;
}

/// A future `F` that borrows from a shared `P`, and its share of it.
pub(crate) struct Owned<P, F> {
    future: MaybeUninit<F>,
    owner: Arc<P>,
}

impl<P: 'static> Owned<P, ()> {
    /// What `begin` makes of a borrow.
    #[inline]
    pub(crate) fn new<B>(owner: Arc<P>, begin: B) -> Owned<P, <B as Begin<'static, P>>::Future>
    where
        B: for<'a> Begin<'a, P>,
    {
        // SAFETY: the pointer is to a live `P`, which outlives the future (O1) and is only shared until then (O2). That the
        // lifetime is longer than that is seen by nobody (O3).
        let lent: &'static P = unsafe { &*Arc::as_ptr(&owner) };
        Owned { future: MaybeUninit::new(begin.begin(lent)), owner }
    }
}

impl<P, F: Future> Future for Owned<P, F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: it is initialised (O1). It is pinned if `self` is: it is not moved out of it, is dropped in place (O1), and
        // `Owned` is `Unpin` only if it is.
        let future = unsafe { self.map_unchecked_mut(|this| this.future.assume_init_mut()) };
        future.poll(cx)
    }
}

impl<P, F> Drop for Owned<P, F> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is initialised, and never used again (O1).
        unsafe { self.future.assume_init_drop() };
    }
}

impl<P: fmt::Debug, F> fmt::Debug for Owned<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owned").field(&self.owner).finish()
    }
}
