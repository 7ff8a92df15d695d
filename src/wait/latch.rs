//! A lock for a few instructions, that costs one read-modify-write.
//!
//! # States
//!
//! | state | who may touch the value | who waits meanwhile | next |
//! |---|---|---|---|
//! | `FREE` | nobody | nobody | `BRIEF` or `LONG`, by a compare-exchange |
//! | `BRIEF` | who stored it, in [`brief`](Latch::brief) | spins, then gives the processor up | `FREE`, by the holder's store |
//! | `LONG` | who stored it and holds `long`, in [`long`](Latch::long) | sleeps on `long` | `FREE`, by the holder's store |
//!
//! A lock that wakes those who sleep must find out at its end whether there are any: that is a second read-modify-write, as
//! dear as a decision. Whoever holds this one briefly leaves by a plain store instead, so nobody may sleep on him. What
//! allocates, moves or walks through many things holds it for long, and has a mutex for the others to sleep on.
//!
//! # Invariants, named by the `SAFETY` comments
//!
//! * **L1** Only the thread that has brought the word from `FREE` to another state touches the value, until it stores `FREE`. The
//!   compare-exchange is `Acquire`, the store `Release`: each holder sees all that the one before has done.
//! * **L2** The value is borrowed from the [`Turn`], whose end stores `FREE`.

use crate::shim::{AtomicU32, Mutex, Ordering, Spin, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

const FREE: u32 = 0;
const BRIEF: u32 = 1;
const LONG: u32 = 2;

/// In this order: the word, and what the value begins with, on one cache line.
#[repr(C)]
pub(crate) struct Latch<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
    long: Mutex<()>,
}

// SAFETY: by L1, threads touch the value one after the other, as if it were sent from each to the next.
unsafe impl<T: Send> Sync for Latch<T> {}

/// As a mutex without poison is: what is under it can take a panic of the caller's own code.
impl<T> UnwindSafe for Latch<T> {}
impl<T> RefUnwindSafe for Latch<T> {}

/// The value in the hands of who has the turn: the latch is free when this is dropped, also by a panic.
#[must_use = "dropped, it frees the latch"]
pub(crate) struct Turn<'a, T> {
    latch: &'a Latch<T>,
    /// Shared among threads only where the value may be.
    _value: PhantomData<&'a mut T>,
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: by L1 the value is this thread's alone as long as this is there, and by L2 it is not borrowed for longer.
        self.latch.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Turn<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; and `&mut self` lends it to one at a time.
        self.latch.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> Drop for Turn<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // ORDERING: Release pairs with the Acquire of the next holder.
        self.latch.word.store(FREE, Ordering::Release);
    }
}

impl<T> Latch<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { word: AtomicU32::new(FREE), value: UnsafeCell::new(value), long: Mutex::new(()) }
    }

    /// Takes the turn for a few instructions: others may spin until it is dropped.
    #[inline(always)]
    pub(crate) fn brief(&self) -> Turn<'_, T> {
        if !self.turn(BRIEF) {
            self.wait_for_brief();
        }
        self.lend()
    }

    /// Lends the value for as long as it takes: others sleep.
    pub(crate) fn long<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let _long = self.long.lock();
        let mut spin = Spin::new();
        // Who has it is brief: the other kind would hold the mutex.
        while !self.turn(LONG) {
            spin.blocked();
        }
        f(&mut self.lend())
    }

    /// For who has the turn.
    #[inline(always)]
    fn lend(&self) -> Turn<'_, T> {
        Turn { latch: self, _value: PhantomData }
    }

    #[inline(always)]
    fn turn(&self, to: u32) -> bool {
        // ORDERING: Acquire pairs with the Release of who had it before.
        self.word.compare_exchange(FREE, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    #[cold]
    fn wait_for_brief(&self) {
        let mut spin = Spin::new();
        loop {
            // Relaxed: only the compare-exchange counts.
            match self.word.load(Ordering::Relaxed) {
                FREE if self.turn(BRIEF) => return,
                FREE => spin.lost(),
                BRIEF => spin.blocked(),
                _ => drop(self.long.lock()),
            }
        }
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_panic_of_the_borrower_leaves_it_free() {
        let latch = Latch::new(1);
        for long in [false, true] {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let end = |value: &mut i32| {
                    *value += 1;
                    std::panic::resume_unwind(Box::new(()))
                };
                if long { latch.long(end) } else { end(&mut latch.brief()) }
            }));
            assert!(panicked.is_err());
        }
        assert_eq!(*latch.brief(), 3);
        assert_eq!(latch.long(|value| *value), 3);
    }
}
