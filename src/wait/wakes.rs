//! Wakers collected under a lock, woken after it.

use crate::shim::WAKE_BATCH;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;
use std::thread::panicking;

/// A batch of wakers on the stack. Push while [`has_room`](Self::has_room), then let go of the lock and
/// [`wake`](Self::wake); take the lock again if there was more, or leave the loop to [`wake_all`].
///
/// They are woken in the order in which they were pushed. A waker that panics keeps nobody from being woken: the rest of
/// the batch is woken while the panic unwinds.
pub(crate) struct Wakes {
    /// Cells from `next` up to `len` are initialised.
    next: usize,
    len: usize,
    wakers: [MaybeUninit<Waker>; WAKE_BATCH],
}

impl Wakes {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { next: 0, len: 0, wakers: [const { MaybeUninit::uninit() }; WAKE_BATCH] }
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.len < WAKE_BATCH
    }

    /// Adds a waker. Beyond the room it is woken at once, so nothing is lost; callers look at `has_room` first.
    #[inline]
    pub(crate) fn push(&mut self, waker: Waker) {
        debug_assert!(self.has_room(), "a waker would be woken under the lock");
        match self.wakers.get_mut(self.len) {
            Some(cell) => {
                cell.write(waker);
                self.len += 1;
            }
            None => waker.wake(),
        }
    }

    /// Wakes everyone. Call it with no lock held.
    #[inline]
    pub(crate) fn wake(&mut self) {
        while self.next < self.len {
            let at = self.next;
            self.next += 1;
            // SAFETY: cells from `next` up to `len` are initialised; raising `next` first gives this one up exactly
            // once, also if the waker panics.
            let waker = unsafe { self.wakers[at].assume_init_read() };
            waker.wake();
        }
        self.next = 0;
        self.len = 0;
    }

    /// Wakes everyone, then, unless that was all, goes on as [`wake_all`]. The first panic of a waker goes on when everyone
    /// has been woken; not if the thread is panicking already, since a second panic would abort the process.
    #[inline]
    pub(crate) fn wake_all(&mut self, mut done: bool, mut collect: impl FnMut(&mut Self) -> bool) {
        let mut panicked = None;
        loop {
            while let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.wake())) {
                panicked.get_or_insert(payload);
            }
            if done {
                break;
            }
            done = collect(self);
        }
        if let Some(payload) = panicked {
            if !panicking() {
                resume_unwind(payload);
            }
        }
    }

    #[cold]
    fn wake_rest(&mut self) {
        while self.next < self.len {
            let _ = catch_unwind(AssertUnwindSafe(|| self.wake()));
        }
    }
}

/// Whatever a panicking waker kept from being woken is woken here. The panic that brought us here goes on; one more
/// would abort the process, so it ends here.
impl Drop for Wakes {
    #[inline]
    fn drop(&mut self) {
        if self.next < self.len {
            self.wake_rest();
        }
    }
}

/// Collects under the caller's lock and wakes without it, batch after batch, until `collect` says that there is no more
/// (as [`List::settle`](super::List::settle) does). For panics see [`Wakes::wake_all`].
#[inline]
pub(crate) fn wake_all(mut collect: impl FnMut(&mut Wakes) -> bool) {
    let mut wakes = Wakes::new();
    let done = collect(&mut wakes);
    wakes.wake_all(done, collect);
}
