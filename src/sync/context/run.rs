//! Futures that run in a context.

use super::current::enter;
use super::{Context, ContextError};
use crate::sync::cancel::Watch;
use crate::time::Sleep;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

pin_project! {
    /// The future of [`Context::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Scope<F> {
        context: Context,
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Scope<F> {
        fn drop(this: Pin<&mut Self>) {
            this.end();
        }
    }
}

impl<F> Scope<F> {
    pub(super) fn new(context: Context, future: F) -> Self {
        Self { context, future: Some(future) }
    }

    /// The context.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The future, of one that was not pinned.
    #[allow(dead_code, reason = "used by rooms behind features")]
    fn into_inner(mut self) -> Option<F> {
        self.future.take()
    }

    /// Drops the future, in its context.
    fn end(self: Pin<&mut Self>) {
        let mut this = self.project();
        if this.future.is_some() {
            let _current = enter(this.context);
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // A poll after the end: never again.
        let Some(future) = this.future.as_pin_mut() else { return Poll::Pending };
        let _current = enter(this.context);
        future.poll(cx)
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("context", &self.context).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Context::run`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RunInContext<F> {
        #[pin]
        scope: Scope<F>,
        #[pin]
        watch: Watch,
        sleep: Option<Sleep>,
        started: bool,
    }
}

impl<F> RunInContext<F> {
    pub(super) fn new(context: Context, future: F) -> Self {
        let watch = Watch::new(context.token());
        Self { scope: Scope::new(context, future), watch, sleep: None, started: false }
    }

    /// The context.
    pub fn context(&self) -> &Context {
        self.scope.context()
    }

    /// The future, of one that was not pinned.
    #[allow(dead_code, reason = "used by rooms behind features")]
    pub(crate) fn into_inner(self) -> Option<F> {
        self.scope.into_inner()
    }
}

impl<F: Future> Future for RunInContext<F> {
    type Output = Result<F::Output, ContextError>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let ended = if *this.started {
            // The deadline is the timer's from here on.
            this.watch.cause().map(|cause| ContextError::Cancelled { cause })
        } else {
            *this.started = true;
            this.scope.context().check().err()
        };
        if let Some(error) = ended {
            this.scope.end();
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(output) = this.scope.as_mut().poll(cx) {
            *this.sleep = None;
            return Poll::Ready(Ok(output));
        }
        if let Poll::Ready(cause) = this.watch.poll(cx) {
            this.scope.end();
            return Poll::Ready(Err(ContextError::Cancelled { cause }));
        }
        let Some(deadline) = this.scope.context().deadline().instant() else { return Poll::Pending };
        let sleep = this.sleep.get_or_insert_with(|| this.scope.context().clock().sleep_until(deadline));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        *this.sleep = None;
        this.scope.end();
        Poll::Ready(Err(ContextError::DeadlineExceeded))
    }
}

impl<F> fmt::Debug for RunInContext<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunInContext").field("context", self.context()).finish_non_exhaustive()
    }
}
