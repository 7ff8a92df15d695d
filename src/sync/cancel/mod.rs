//! Cancellation that is told, with a cause, along a tree.

#![forbid(unsafe_code)]

mod cause;
mod run;
mod tree;

pub use cause::{Cancelled, Cause};
pub(crate) use run::Watch;
pub use run::{RunUntilCancelled, UntilCancelled};

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use tree::Node;

/// Tells any number of tasks, once, that they should stop, and why.
///
/// Dropping a future already cancels it; a token is for work that somebody else owns: spawned tasks, blocking loops
/// that look now and then, a whole service that shuts down. Clones are the same token. [`child`](Self::child)ren are
/// cancelled with their parent and leave it alone when they are cancelled themselves. For a deadline and request-scoped
/// values as well, use a [`Context`](super::Context), which has a token inside.
///
/// A token cannot be re-armed. To let work through and stop it again, use a [`Gate`](super::Gate).
///
/// Looking at a token is one load. Waiting allocates nothing; a child is one allocation, which goes with its last clone.
/// Wakers run with no lock held.
///
/// ```
/// use cofferdam::sync::CancelToken;
///
/// # futures_executor::block_on(async {
/// let service = CancelToken::new();
/// let request = service.child();
///
/// assert_eq!(request.run(async { 42 }).await.unwrap(), 42);
///
/// service.cancel_with("shutting down");
/// let error = request.run(async { 42 }).await.unwrap_err();
/// assert_eq!(error.to_string(), "cancelled: shutting down");
/// # });
/// ```
#[derive(Clone)]
pub struct CancelToken(Arc<Node>);

impl CancelToken {
    /// A token without a parent.
    pub fn new() -> Self {
        Self(Node::root())
    }

    /// A token that is cancelled with this one, for the same cause; born cancelled, if this one is.
    ///
    /// A child keeps the way to its root alive: dropping the tokens in between does not cut it off.
    pub fn child(&self) -> Self {
        Self(self.0.child())
    }

    /// Cancels, with no particular cause. As [`cancel_with`](Self::cancel_with).
    pub fn cancel(&self) -> bool {
        self.cancel_with(Cause::default())
    }

    /// Cancels this token and all below it, then wakes everyone who waits on them. The first cause stays; says whether
    /// it was this one.
    ///
    /// By the time anybody is woken every token of the tree is cancelled. A waker that panics keeps nobody else from
    /// being woken; the first panic goes on to the caller afterwards.
    pub fn cancel_with(&self, cause: impl Into<Cause>) -> bool {
        self.0.cancel(&cause.into())
    }

    /// Whether it is cancelled.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Why it is cancelled; `None` if it is not.
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause()
    }

    /// `Err` with the cause, if it is cancelled: for loops that look now and then.
    ///
    /// # Errors
    /// [`Cancelled`], if it is.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.cause().map_or(Ok(()), |cause| Err(Cancelled::new(cause)))
    }

    /// Waits until the token is cancelled.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn cancelled(&self) -> UntilCancelled {
        UntilCancelled::new(self)
    }

    /// Runs `future` until it is ready or the token is cancelled, whichever is first; `future` is then dropped on the
    /// spot.
    ///
    /// If the token is cancelled before the first poll, `future` is never polled; nor is it ever polled after the
    /// cancellation. A future that gets ready in the very poll in which the token is cancelled has won.
    ///
    /// # Errors
    /// [`Cancelled`], with the cause.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`, which is dropped with it.
    pub fn run<F: Future>(&self, future: F) -> RunUntilCancelled<F> {
        RunUntilCancelled::new(self, future)
    }

    /// A guard that cancels when it is dropped, also by a panic.
    pub fn drop_guard(&self) -> DropGuard {
        DropGuard(Some(self.clone()))
    }

    /// Whether both are the same token.
    pub fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CancelToken");
        out.field("cancelled", &self.is_cancelled());
        if let Some((waiters, children)) = self.0.counts() {
            out.field("waiters", &waiters).field("children", &children);
        }
        out.finish_non_exhaustive()
    }
}

/// Cancels its token when dropped; see [`CancelToken::drop_guard`].
#[derive(Debug)]
#[must_use = "cancels at once if it is dropped"]
pub struct DropGuard(Option<CancelToken>);

impl DropGuard {
    /// The token, no longer cancelled by anybody's drop.
    pub fn disarm(mut self) -> Option<CancelToken> {
        self.0.take()
    }
}

impl Drop for DropGuard {
    fn drop(&mut self) {
        if let Some(token) = self.0.take() {
            token.cancel_with("the guard was dropped");
        }
    }
}
