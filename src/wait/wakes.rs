//! Wakers collected under a lock, woken after it.

use crate::shim::WAKE_BATCH;
use std::mem::MaybeUninit;
use std::task::Waker;

/// A batch of wakers on the stack. Push while [`has_room`](Self::has_room), then let go of the lock and
/// [`wake`](Self::wake); take the lock again if there was more.
pub(crate) struct Wakes {
    len: usize,
    wakers: [MaybeUninit<Waker>; WAKE_BATCH],
}

impl Wakes {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { len: 0, wakers: [const { MaybeUninit::uninit() }; WAKE_BATCH] }
    }

    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.len < WAKE_BATCH
    }

    /// Adds a waker. Beyond the room it is woken at once, so nothing is lost; callers look at `has_room` first.
    #[inline]
    pub(crate) fn push(&mut self, waker: Waker) {
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
        while self.len > 0 {
            self.len -= 1;
            // SAFETY: cells below the old `len` are initialised; lowering `len` first gives this one up exactly once,
            // also if the waker panics.
            let waker = unsafe { self.wakers[self.len].assume_init_read() };
            waker.wake();
        }
    }
}

/// Whatever a panicking waker kept from being woken is woken here.
impl Drop for Wakes {
    #[inline]
    fn drop(&mut self) {
        self.wake();
    }
}
