//! Running a future on the thread that asks, which is parked meanwhile.

#![forbid(unsafe_code)]

use crate::shim::{AtomicBool, Ordering};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Wakes a thread in [`block_on`].
struct Bell {
    thread: Thread,
    /// Unparking is not enough: others do that too, and a call within a call would take it for its own.
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDERING: Release pairs with the Acquire of the thread that takes the bell down: it sees what it was rung for, also
        // if it was rung before.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}

thread_local! {
    /// Kept from one call to the next. Not there during a call, so that a call within it makes one of its own.
    static BELL: Cell<Option<(Arc<Bell>, Waker)>> = const { Cell::new(None) };
}

/// Polls `future` until it is ready; in between the thread is parked.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // What is ready at once needs no bell; what is not is polled again with one.
    if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return output;
    }
    let (bell, waker) = BELL.try_with(Cell::take).ok().flatten().unwrap_or_else(|| {
        let bell = Arc::new(Bell { thread: thread::current(), rung: AtomicBool::new(false) });
        (Arc::clone(&bell), Waker::from(bell))
    });
    let mut cx = Context::from_waker(&waker);
    let output = loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            break output;
        }
        // ORDERING: Acquire, see `wake_by_ref`.
        while !bell.rung.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    };
    // A wake that comes late only has the next call poll once more. (A thread that ends keeps nothing.)
    let _ = BELL.try_with(|kept| kept.set(Some((bell, waker))));
    output
}
