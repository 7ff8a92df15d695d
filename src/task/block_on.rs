//! Waiting for a future on a thread that has nothing else to do.

#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// One for each thread: waiting again and again allocates once.
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// The output of `future`, polled on this thread, which sleeps in between.
///
/// A wake-up that is meant for another wait on this thread costs one poll.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    // At the end of a thread its locals may be gone.
    let waker =
        WAKER.try_with(Waker::clone).unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
