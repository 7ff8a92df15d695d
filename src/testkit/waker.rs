//! Wakers that count, and polling by hand.

use crate::shim::{AtomicU64, Ordering};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// Counts how often it was woken.
///
/// ```
/// use cofferdam::testkit::WakeCounter;
///
/// let counter = WakeCounter::new();
/// counter.waker().wake();
/// assert_eq!(counter.count(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct WakeCounter(Arc<Count>);

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeCounter {
    /// Not woken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The waker; all wakers of one counter count together.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }

    /// How often it was woken.
    pub fn count(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// A future with a waker of its own, polled by hand.
///
/// ```
/// use cofferdam::testkit::Polled;
///
/// let mut ready = Polled::new(async { 7 });
/// assert_eq!(ready.poll(), Some(7));
/// ```
#[derive(Debug)]
pub struct Polled<F> {
    future: Pin<Box<F>>,
    wakes: WakeCounter,
}

impl<F: Future> Polled<F> {
    /// Takes the future; does not poll it.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: WakeCounter::new() }
    }

    /// Polls once. After `Some` the future must not be polled again.
    pub fn poll(&mut self) -> Option<F::Output> {
        let waker = self.wakes.waker();
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// How often it was woken.
    pub fn wakes(&self) -> u64 {
        self.wakes.count()
    }
}
