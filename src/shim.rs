//! L0. The one place that names `std::sync`'s atomics and locks, or the model checkers' twins of them.
//!
//! Three faces, chosen by a `cfg` that only the packages `loom-tests` and `shuttle-tests` set for themselves:
//! the real machine, loom (every interleaving and every legal weak-memory outcome of a small program) and shuttle
//! (random schedules of a large one, sequentially consistent).
//!
//! What differs from `std` on purpose: [`Mutex::lock`] returns the guard and knows no poison (nothing that can panic
//! runs under our locks), [`UnsafeCell`] hands out its pointer only inside a closure so that loom sees each access,
//! and constants shrink under the checkers so that the many-rounds paths are explored too.

#![forbid(unsafe_code)]

#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
#[allow(unused_imports, reason = "some are used by the rooms behind features")]
mod imp {
    pub(crate) use atomic_waker::AtomicWaker;
    pub(crate) use core::hint::spin_loop;
    pub(crate) use core::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use std::sync::{Arc, Mutex as RawMutex, MutexGuard, TryLockError};
    pub(crate) use std::thread::yield_now;

    /// Wakers collected under a lock before it must be let go to wake them.
    pub(crate) const WAKE_BATCH: usize = 16;

    /// Operations for which a woken waiter holds the next one up if it does not act.
    pub(crate) const PATIENCE: usize = 16;
}

#[cfg(cofferdam_loom)]
mod imp {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use loom::sync::{Arc, Mutex as RawMutex, MutexGuard};
    pub(crate) use loom::thread::yield_now;
    pub(crate) use std::sync::TryLockError;

    pub(crate) const WAKE_BATCH: usize = 2;
    pub(crate) const PATIENCE: usize = 2;
}

#[cfg(cofferdam_shuttle)]
mod imp {
    pub(crate) use atomic_waker::AtomicWaker;
    pub(crate) use shuttle::hint::spin_loop;
    pub(crate) use shuttle::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use shuttle::sync::{Arc, Mutex as RawMutex, MutexGuard};
    pub(crate) use shuttle::thread::yield_now;
    pub(crate) use std::sync::TryLockError;

    pub(crate) const WAKE_BATCH: usize = 2;
    pub(crate) const PATIENCE: usize = 2;
}

pub(crate) use imp::*;

/// For what one thread does at a time: a checker has nothing to look at, and would try every order of it.
#[allow(unused_imports, reason = "as above")]
pub(crate) use core::sync::atomic::AtomicBool as UnmodelledBool;

/// Values that each thread has one of, made of constants. The checkers run many threads on one of the machine's, so theirs
/// are not the machine's.
#[allow(unused_macros, reason = "the models of single rooms have no contexts")]
macro_rules! thread_local_const {
    ($($(#[$meta:meta])* static $name:ident: $type:ty = $value:expr;)+) => {
        #[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
        std::thread_local! { $($(#[$meta])* static $name: $type = const { $value };)+ }
        #[cfg(cofferdam_loom)]
        loom::thread_local! { $($(#[$meta])* static $name: $type = $value;)+ }
        #[cfg(cofferdam_shuttle)]
        shuttle::thread_local! { $($(#[$meta])* static $name: $type = $value;)+ }
    };
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use thread_local_const;

/// A number that nobody else has: an order among components that is the same in every run of a model, as addresses are not.
/// No checker needs to see the counter: nothing but the number comes of it.
#[allow(dead_code, reason = "used by the rooms behind features")]
pub(crate) fn serial() -> u64 {
    static NEXT: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, core::sync::atomic::Ordering::Relaxed)
}

/// What one process has once, under a lock that no checker sees: a `static` outlives the executions of a model. Only for what
/// no order of the holders shows in.
#[allow(dead_code, reason = "used by the rooms behind features")]
pub(crate) struct Unmodelled<T>(std::sync::Mutex<T>);

#[allow(dead_code, reason = "as above")]
impl<T> Unmodelled<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

/// A `SeqCst` load, for the second half of "publish, then look for sleepers".
///
/// Where the first half is a `SeqCst` read-modify-write on another word, this needs no fence on the real machine: both
/// are in the single total order. loom takes `SeqCst` loads for `Acquire` ones, so there a fence says the same.
#[inline(always)]
pub(crate) fn load_seq_cst(word: &AtomicUsize) -> usize {
    #[cfg(cofferdam_loom)]
    fence(Ordering::SeqCst);
    word.load(Ordering::SeqCst)
}

/// As [`load_seq_cst`], of the other width.
#[inline(always)]
#[allow(dead_code, reason = "used by the rooms behind features")]
pub(crate) fn load_seq_cst_u64(word: &AtomicU64) -> u64 {
    #[cfg(cofferdam_loom)]
    fence(Ordering::SeqCst);
    word.load(Ordering::SeqCst)
}

/// Pauses of a loop that another thread has disturbed.
pub(crate) struct Spin(u32);

impl Spin {
    /// Rounds of spinning before the processor is given up: 127 pauses together.
    const LAST: u32 = 6;

    #[inline]
    pub(crate) const fn new() -> Self {
        Self(0)
    }

    /// After losing a race: the other one has got on, and so can we. Spins, ever longer.
    #[inline]
    pub(crate) fn lost(&mut self) {
        if cfg!(any(cofferdam_loom, cofferdam_shuttle)) {
            return;
        }
        for _ in 0..1u32 << self.0.min(Self::LAST) {
            spin_loop();
        }
        self.0 += 1;
    }

    /// While another thread is in the middle of a few instructions. Spins, ever longer, then yields the processor: it
    /// may have been preempted there.
    #[inline]
    pub(crate) fn blocked(&mut self) {
        // A checker must run the other thread; more rounds would show it nothing new.
        if cfg!(any(cofferdam_loom, cofferdam_shuttle)) || self.0 > Self::LAST {
            // Two that spin on a third would be led past each other for ever: two rounds in every order are explored, and
            // from then on only one way to the end.
            #[cfg(cofferdam_loom)]
            if self.0 < 2 {
                self.0 += 1;
            } else {
                loom::skip_branch();
            }
            yield_now();
        } else {
            self.lost();
        }
    }
}

/// A mutex whose `lock` cannot fail.
#[derive(Default)]
pub(crate) struct Mutex<T>(RawMutex<T>);

impl<T> Mutex<T> {
    #[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
    pub(crate) const fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    #[cfg(any(cofferdam_loom, cofferdam_shuttle))]
    pub(crate) fn new(value: T) -> Self {
        Self(RawMutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Without locking: nobody else can.
    #[allow(dead_code, reason = "used by rooms behind features")]
    pub(crate) fn get_mut(&mut self) -> &mut T {
        match self.0.get_mut() {
            Ok(value) => value,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    #[allow(dead_code, reason = "used by rooms behind features")]
    pub(crate) fn into_inner(self) -> T {
        match self.0.into_inner() {
            Ok(value) => value,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// For `Debug`, which must never block.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// loom's twin with `atomic-waker`'s calls.
#[cfg(cofferdam_loom)]
#[derive(Debug)]
pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

#[cfg(cofferdam_loom)]
impl AtomicWaker {
    pub(crate) fn new() -> Self {
        Self(loom::future::AtomicWaker::new())
    }

    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.0.register_by_ref(waker);
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    #[allow(dead_code, reason = "used by the rooms behind features")]
    pub(crate) fn take(&self) -> Option<std::task::Waker> {
        self.0.take_waker()
    }
}

#[cfg(not(cofferdam_loom))]
mod cell {
    /// `core::cell::UnsafeCell` with loom's calls.
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        #[inline(always)]
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        #[allow(dead_code, reason = "used by the rooms behind features")]
        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
#[cfg(not(cofferdam_loom))]
pub(crate) use cell::UnsafeCell;
#[cfg(cofferdam_loom)]
pub(crate) use loom::cell::UnsafeCell;
