//! Whether what is polled wakes its own task: the clones of the waker that it is lent.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a clone is the task's own: it is counted, outlives the poll, wakes from another thread, and is not heard | 2 | none | `clone` that does not count; that drops what it has counted; that is of the ear; that wakes nobody; that is heard |
//!
//! Not modelled: what is heard, which is one thread's, or one's that has done with the waker. A waker that is only lent cannot be
//! shown to another of loom's threads, since none of them is scoped.

use crate::race::bounded;
use crate::shim::{AtomicBool, Mutex, Ordering};
use crate::wait::overhear;
use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[test]
fn a_clone_of_a_waker_that_is_overheard_wakes_the_task_from_another_thread() {
    bounded(None, || {
        let world = Arc::new((AtomicBool::new(false), Mutex::new(None::<Waker>)));
        let theirs = world.clone();
        let other = thread::spawn(move || {
            let (is_ready, waker) = &*theirs;
            is_ready.store(true, Ordering::Relaxed);
            let waker = waker.lock().take();
            waker.map(Waker::wake).unwrap_or_default();
        });
        let (is_ready, waker) = &*world;
        block_on(poll_fn(|cx| {
            let (polled, is_heard) = overhear(cx, |cx| {
                // The lock orders the two: who comes later sees what the other has left.
                let old = waker.lock().replace(cx.waker().clone());
                drop(old);
                if is_ready.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
            });
            assert!(!is_heard);
            polled
        }));
        other.join().unwrap();
    });
}
