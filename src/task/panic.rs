//! A panic of foreign code, kept.

#![forbid(unsafe_code)]

use crate::shim::Mutex;
use pin_project_lite::pin_project;
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What something panicked with. Clones are the same panic, and are equal to it and to no other.
#[derive(Clone)]
pub struct Panic(Arc<Inner>);

struct Inner {
    message: Option<Box<str>>,
    /// In a lock that is hardly ever contended, because a payload need not be `Sync`.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Panic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&'static str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(Arc::new(Inner { message: text.map(Into::into), payload: Mutex::new(Some(payload)) }))
    }

    /// What `f` returns, or its panic.
    pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Self> {
        catch_unwind(AssertUnwindSafe(f)).map_err(Self::new)
    }

    /// The text of the panic, if it is one.
    pub fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    /// The payload, for whoever asks first.
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        self.0.payload.lock().take()
    }

    /// Goes on with the panic on this thread. If the payload was [taken](Self::take_payload), with its text.
    pub fn resume(self) -> ! {
        let payload = self.take_payload();
        resume_unwind(payload.unwrap_or_else(|| Box::new(self.message().unwrap_or_default().to_owned())))
    }
}

impl PartialEq for Panic {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Panic {}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            Some(message) => write!(f, "panicked: {message}"),
            None => f.write_str("panicked"),
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

impl std::error::Error for Panic {}

pin_project! {
    /// A future whose panic is its outcome. It is dropped in place as soon as it is done, and a panic of that counts, too.
    pub(crate) struct Caught<F> {
        #[pin]
        future: Option<F>,
    }
}

impl<F> Caught<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(future) }
    }

    /// The future, of one that was not pinned.
    pub(crate) fn into_inner(self) -> Option<F> {
        self.future
    }

    /// Drops the future.
    pub(crate) fn end(self: Pin<&mut Self>) -> Result<(), Panic> {
        let mut future = self.project().future;
        Panic::catch(|| future.set(None))
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A poll after the end: never again.
        let Some(future) = self.as_mut().project().future.as_pin_mut() else { return Poll::Pending };
        let outcome = match Panic::catch(|| future.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let dropped = self.end();
        Poll::Ready(outcome.and_then(|output| dropped.map(|()| output)))
    }
}
