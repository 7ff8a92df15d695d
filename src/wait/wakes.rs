//! Wakers collected under a lock, woken after it.

use crate::panics::{Payload, contain, forget, keep};
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

    /// Wakes everyone; the first panic of a waker is kept for later.
    #[cold]
    fn wake_catching(&mut self, panicked: &mut Option<Payload>) {
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.wake())) {
            keep(panicked, payload);
        }
    }

    #[cold]
    fn wake_rest(&mut self) {
        while self.next < self.len {
            contain(|| self.wake());
        }
    }
}

/// The first panic of foreign code, kept until all is done that others wait for.
#[derive(Default)]
#[must_use]
pub(crate) struct Panicked(Option<Payload>);

#[allow(dead_code, reason = "used by the rooms behind features")]
impl Panicked {
    /// Wakes everyone.
    #[inline]
    pub(crate) fn wake(&mut self, wakes: &mut Wakes) {
        if wakes.next < wakes.len {
            wakes.wake_catching(&mut self.0);
        }
    }

    pub(crate) fn catch(&mut self, act: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
            keep(&mut self.0, payload);
        }
    }

    /// Lets it go on; not if the thread is panicking already, since a second panic would abort the process.
    #[inline]
    pub(crate) fn resume(self) {
        resume_unless_panicking(self.0);
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
/// (as [`List::settle`](super::List::settle) does). The first panic of a waker goes on when everyone has been woken; not
/// if the thread is panicking already, since a second panic would abort the process.
#[inline]
pub(crate) fn wake_all(collect: impl FnMut(&mut Wakes) -> bool) {
    go_on(Wakes::new(), collect);
}

/// As [`wake_all`], beginning with a batch that was collected already; `done` if it was all.
#[inline]
pub(crate) fn wake_and_go_on(mut wakes: Wakes, done: bool, collect: impl FnMut(&mut Wakes) -> bool) {
    if done && !panicking() {
        wakes.wake();
    } else {
        let mut first = Some(done);
        let mut collect = collect;
        go_on(wakes, |wakes| first.take().unwrap_or_else(|| collect(wakes)));
    }
}

#[inline]
fn go_on(mut wakes: Wakes, mut collect: impl FnMut(&mut Wakes) -> bool) {
    let mut panicked = None;
    loop {
        let done = collect(&mut wakes);
        if done && panicked.is_none() && !panicking() {
            // The last batch: a panic needs no catching, `drop` wakes the rest.
            return wakes.wake();
        }
        wakes.wake_catching(&mut panicked);
        if done {
            break;
        }
    }
    resume_unless_panicking(panicked);
}

/// A second panic would abort the process.
#[inline]
fn resume_unless_panicking(panicked: Option<Payload>) {
    match panicked {
        Some(payload) if panicking() => forget(payload),
        Some(payload) => resume_unwind(payload),
        None => {}
    }
}
