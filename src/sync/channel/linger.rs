//! Whether it pays to look once more before going to sleep.

use crate::shim::{AtomicUsize, Ordering, spin_loop};
use std::cell::Cell;

/// Looks that a hurried counterpart on another processor needs at most: well below the cost of a wake-up.
const SOON: usize = 64;
/// Looks altogether: about the time in which a thread wakes up.
const LOOKS: usize = 512;
/// Waits that go straight to sleep after lingering has not paid.
const SKIPPED: usize = 64;
/// Trust is counted up from here; below it, waits that are still skipped.
const NONE: usize = SKIPPED;
const MOST: usize = NONE + 8;

thread_local! {
    /// Where this thread has waited last, by address.
    static LAST: Cell<usize> = const { Cell::new(0) };
}

/// Lingers before a sleep, as long as that pays.
///
/// Two threads that hand over values faster than one of them can be woken waste most of their time on wake-ups: the
/// receiver has emptied the channel before its sender is awake, goes to sleep, must be woken in turn, and so on. A few
/// looks more, and both stay awake. But on an executor the thread has better things to do, and the counterpart may
/// even be one of them. So one lingers only
///
/// * if this thread has waited nowhere else since: a thread that runs both ends, or several stages, never lingers;
/// * while it pays: what comes almost at once earns trust, what comes late costs some, what does not come costs much.
///   Without trust, one wait in [`SKIPPED`] tries again.
pub(super) struct Linger {
    /// Only a guess: loaded and stored, so that updates may be lost.
    trust: AtomicUsize,
}

impl Linger {
    pub(super) fn new() -> Self {
        Self { trust: AtomicUsize::new(NONE) }
    }

    /// True if `come` became true.
    pub(super) fn until(&self, come: impl Fn() -> bool) -> bool {
        if cfg!(any(cofferdam_loom, cofferdam_shuttle)) {
            return false;
        }
        let here = std::ptr::from_ref(self).addr();
        if LAST.replace(here) != here {
            return false;
        }
        // Relaxed, here and below: see `trust`.
        let trust = self.trust.load(Ordering::Relaxed);
        if trust < NONE {
            self.trust.store(trust + 1, Ordering::Relaxed);
            return false;
        }
        let looks = (0..LOOKS).position(|_| {
            spin_loop();
            come()
        });
        let trust = match looks {
            Some(looks) if looks < SOON => (trust + 1).min(MOST),
            Some(_) if trust == NONE => NONE + 4,
            Some(_) => trust - 1,
            None if trust > NONE + 3 => trust - 3,
            None => 0,
        };
        self.trust.store(trust, Ordering::Relaxed);
        looks.is_some()
    }
}
