//! The place on which an emit lays a value down for the poll that it runs in.
//!
//! A producer emits, nearly always, while the generator polls it. Then the value goes from one frame of this thread's stack to
//! another one further down, and nobody else is concerned: there is nothing to lock. But an emitter can be taken anywhere by
//! safe code, so an emit must find out whether it *is* in there. That is what `polled` tells: who polls writes the name of its
//! thread there, and an emit that reads the name of its own thread is inside.
//!
//! # States
//!
//! | `polled` | meaning | who may touch `value` and `waker` | next |
//! |---|---|---|---|
//! | 0 | nobody polls the producer | who has the [`Taker`] by `&mut` | a name, by [`Taker::during`] |
//! | a name | the thread of that name polls it; nothing lies there, nor has anything gone another way | emits on that thread, and who polls | with `FULL` or `CARE`, by an emit; 0, by the end of the poll |
//! | a name with `FULL` | the same, and a value lies there | as above | with `CARE`, by an emit; 0, by the end of the poll, which takes the value, also after a panic |
//! | a name with `CARE` | the same, and something that was emitted inside has gone another way | as above | 0, as above |
//!
//! A thread's name is the address of something that each thread has one of. Loads and stores are plain: all that counts is what a
//! thread itself has stored.
//!
//! # Invariants, named by the `SAFETY` comments
//!
//! * **G1** There is one [`Taker`] of a tray. `polled` gets a name only from whoever has it by `&mut`, in `during`, which ends by
//!   writing 0, whatever happens; in between only who is inside writes it, and leaves the name as it is. So a thread's name stands
//!   there only while that thread is in `during`.
//! * **G2** A thread that reads its own name in `polled` is in `during`. Only this thread writes that name, and by G1 each time it
//!   also writes 0 behind it, which no load of its own can overlook. (A thread that has ended may have had the same name. All that
//!   it did came before the memory that it was named by was used again.)
//! * **G3** So whoever touches `value` or `waker` is on the thread of whoever is in `during`, or has the [`Taker`] by `&mut` while
//!   nobody is. No two do at a time, as nothing foreign is called, and no reference kept, while one does.
//! * **G4** `value` holds a value if, and only if, `FULL` is set.
//! * **G5** What `waker` points to outlives `during`, which writes it, and it is followed only there.

use crate::shim::{Arc, AtomicUsize, Ordering, UnsafeCell, thread_local_const};
use std::mem::{self, MaybeUninit};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr;
use std::task::Waker;

const FULL: usize = 1;
const CARE: usize = 1 << 1;

/// There are machines that align a word of eight bytes to two.
const _: () = assert!(align_of::<u64>() > FULL | CARE);

thread_local_const! {
    /// Something of which the address is the name of a thread: the bits of `FULL` and `CARE` are 0 there.
    static HERE: u64 = 0;
}

/// Of this thread, never 0.
#[inline(always)]
fn name() -> usize {
    HERE.with(|here| ptr::from_ref(here).addr())
}

/// One place for a value, and what else those share who have to do with it.
pub(crate) struct Tray<T, S> {
    polled: AtomicUsize,
    /// `FULL`, and perhaps `CARE`: what is added as a value is laid down.
    laid: usize,
    value: UnsafeCell<MaybeUninit<T>>,
    /// That of the poll.
    waker: UnsafeCell<*const Waker>,
    pub(super) shared: S,
}

// SAFETY: by G3 one thread at a time touches what is inside, as if it were sent from each to the next. Wakers may be looked at by
// any thread, and by G5 there is one when its pointer is followed.
unsafe impl<T: Send, S: Send> Send for Tray<T, S> {}
// SAFETY: as above.
unsafe impl<T: Send, S: Sync> Sync for Tray<T, S> {}

/// A value lies there whole or not at all, whoever panics.
impl<T, S: UnwindSafe> UnwindSafe for Tray<T, S> {}
impl<T, S: RefUnwindSafe> RefUnwindSafe for Tray<T, S> {}

/// What an emit that is inside a poll finds.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// A value lies there.
    pub(super) is_full: bool,
    /// The waker that it has asked about wakes the task that polls.
    pub(super) is_known: bool,
}

impl<T, S> Tray<T, S> {
    // ORDERING: all accesses of `polled` are Relaxed: by G2 what counts is of one thread. Who polls next, on whatever thread, has
    // the taker from the one before.

    /// Whether this is inside a poll, nothing lies there, and nothing has gone another way.
    #[inline(always)]
    pub(super) fn is_clear(&self) -> bool {
        self.polled.load(Ordering::Relaxed) == name()
    }

    /// Lays a value down, if this is inside a poll by this very waker, nothing lies there, and nothing has gone another way.
    #[inline(always)]
    pub(super) fn lay(&self, value: &mut Option<T>, waker: &Waker) -> bool {
        let polled = name();
        if self.polled.load(Ordering::Relaxed) != polled {
            return false;
        }
        // SAFETY: G3: this is in `during`.
        if !self.waker.with(|known| ptr::eq(unsafe { *known }, waker)) {
            return false;
        }
        if let Some(value) = value.take() {
            // SAFETY: G3, as above. By G4 nothing is overwritten.
            self.value.with_mut(|place| unsafe { (*place).write(value) });
            self.polled.store(polled | self.laid, Ordering::Relaxed);
        }
        true
    }

    /// If this is inside a poll: what is there.
    pub(super) fn look(&self, waker: &Waker) -> Option<Found> {
        let polled = self.polled.load(Ordering::Relaxed);
        if polled & !(FULL | CARE) != name() {
            return None;
        }
        // SAFETY: G3 and G5: this is in `during`. To compare wakers calls nothing.
        let is_known = self.waker.with(|known| unsafe { (**known).will_wake(waker) });
        Some(Found { is_full: polled & FULL != 0, is_known })
    }

    /// Something goes another way, from inside a poll: from now on all does, until its end.
    pub(super) fn take_care(&self) {
        let polled = self.polled.load(Ordering::Relaxed);
        if polled & !(FULL | CARE) == name() {
            self.polled.store(polled | CARE, Ordering::Relaxed);
        }
    }

    /// The end of `during`: what lies there, and whether something has gone another way.
    ///
    /// # Safety
    /// The caller is at the end of `during`.
    #[inline(always)]
    unsafe fn end(&self) -> (Option<T>, bool) {
        let polled = self.polled.load(Ordering::Relaxed);
        self.polled.store(0, Ordering::Relaxed);
        let value = (polled & FULL != 0).then(|| {
            // SAFETY: G3: this was in `during`. By G4 there is one, and it is not taken again, as `FULL` is gone.
            self.value.with_mut(|place| unsafe { (*place).assume_init_read() })
        });
        (value, polled & CARE != 0)
    }
}

/// The one who polls, and takes what lies there.
pub(crate) struct Taker<T, S>(Arc<Tray<T, S>>);

/// `during` is left by a panic.
struct Unwinding<'a, T, S>(&'a Tray<T, S>, fn(&S, T));

impl<T, S> Drop for Unwinding<'_, T, S> {
    #[cold]
    fn drop(&mut self) {
        let Self(tray, rescue) = self;
        // SAFETY: it is made by `during` alone, and dropped at its end.
        if let (Some(value), _) = unsafe { tray.end() } {
            rescue(&tray.shared, value);
        }
    }
}

impl<T, S> Taker<T, S> {
    /// `care`: all that is laid down is to be taken with care.
    pub(super) fn new(shared: S, care: bool) -> Self {
        Self(Arc::new(Tray {
            polled: AtomicUsize::new(0),
            laid: if care { FULL | CARE } else { FULL },
            value: UnsafeCell::new(MaybeUninit::uninit()),
            waker: UnsafeCell::new(ptr::null()),
            shared,
        }))
    }

    pub(crate) fn tray(&self) -> &Arc<Tray<T, S>> {
        &self.0
    }

    #[inline(always)]
    pub(super) fn shared(&self) -> &S {
        &self.0.shared
    }

    /// Runs `poll`, to which that waker is handed on: emits that it runs are inside. What lies there afterwards, and whether
    /// something has gone another way. After a panic `rescue` is given what lies there.
    #[inline(always)]
    pub(super) fn during(
        &mut self,
        waker: &Waker,
        poll: impl FnOnce(),
        rescue: fn(&S, T),
    ) -> (Option<T>, bool) {
        let tray = &*self.0;
        // SAFETY: G3: by `&mut self` nobody is in `during`.
        tray.waker.with_mut(|known| unsafe { *known = waker });
        tray.polled.store(name(), Ordering::Relaxed);
        let unwinding = Unwinding(tray, rescue);
        poll();
        mem::forget(unwinding);
        // SAFETY: this is the end.
        unsafe { tray.end() }
    }
}
