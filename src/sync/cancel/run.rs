//! Futures that end when a token is cancelled.

use super::tree::Node;
use super::{CancelToken, Cancelled, Cause};
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pin_project! {
    /// A place in a token's list of waiters, once polled; without a token, a wait for ever.
    pub(crate) struct Watch {
        node: Option<Arc<Node>>,
        #[pin]
        slot: Slot<()>,
    }

    impl PinnedDrop for Watch {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let (Some(node), false) = (this.node, this.slot.is_idle()) {
                node.unlink(this.slot.as_ref());
            }
        }
    }
}

impl Watch {
    pub(crate) fn new(token: Option<&CancelToken>) -> Self {
        Self { node: token.map(|token| Arc::clone(&token.0)), slot: Slot::new() }
    }

    /// The cause, if there is one by now.
    #[inline]
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.node.as_ref().and_then(|node| node.cause())
    }

    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cause> {
        let this = self.project();
        match this.node {
            Some(node) => node.poll_cancelled(this.slot.as_ref(), cx),
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// The future of [`CancelToken::cancelled`]: the cause, once there is one.
    #[must_use = "futures do nothing unless polled"]
    pub struct UntilCancelled {
        #[pin]
        watch: Watch,
    }
}

impl UntilCancelled {
    pub(super) fn new(token: &CancelToken) -> Self {
        Self { watch: Watch::new(Some(token)) }
    }
}

impl Future for UntilCancelled {
    type Output = Cause;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cause> {
        self.project().watch.poll(cx)
    }
}

impl fmt::Debug for UntilCancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilCancelled").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`CancelToken::run`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RunUntilCancelled<F> {
        #[pin]
        future: Option<F>,
        #[pin]
        watch: Watch,
    }
}

impl<F> RunUntilCancelled<F> {
    pub(super) fn new(token: &CancelToken, future: F) -> Self {
        Self { future: Some(future), watch: Watch::new(Some(token)) }
    }
}

impl<F: Future> Future for RunUntilCancelled<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(cause) = this.watch.cause() {
            this.future.set(None);
            return Poll::Ready(Err(Cancelled::new(cause)));
        }
        // A poll after the end: never again.
        let Some(future) = this.future.as_mut().as_pin_mut() else { return Poll::Pending };
        if let Poll::Ready(output) = future.poll(cx) {
            this.future.set(None);
            return Poll::Ready(Ok(output));
        }
        this.watch.poll(cx).map(|cause| {
            this.future.set(None);
            Err(Cancelled::new(cause))
        })
    }
}

impl<F> fmt::Debug for RunUntilCancelled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunUntilCancelled").finish_non_exhaustive()
    }
}
