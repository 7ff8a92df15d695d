//! L0. Panics of foreign code (wakers, observers, the drop of what somebody made) that must not go further.
//!
//! What somebody panics with is foreign too: its drop may panic in its turn. So a payload is never dropped as anything else is,
//! but [forgotten](forget), wherever one is caught and not passed on.

#![forbid(unsafe_code)]

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What somebody panicked with.
pub(crate) type Payload = Box<dyn Any + Send>;

/// What `body` comes to; `None` if it panicked. Nothing gets out.
#[inline]
pub(crate) fn contain<R>(body: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => Some(result),
        Err(payload) => {
            forget(payload);
            None
        }
    }
}

/// Drops what somebody panicked with. A payload that panics when dropped is leaked rather than let on.
#[cold]
pub(crate) fn forget(payload: Payload) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
}

/// Keeps the first one for later, and forgets those after it.
#[cold]
pub(crate) fn keep(first: &mut Option<Payload>, payload: Payload) {
    if first.is_none() {
        *first = Some(payload);
    } else {
        forget(payload);
    }
}

#[cfg(all(test, not(any(cofferdam_loom, cofferdam_shuttle))))]
mod tests {
    use super::*;
    use std::panic::resume_unwind;

    /// Panics when dropped, with another one that does so if `again`.
    struct Bomb {
        again: bool,
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.again {
                resume_unwind(Box::new(Self { again: false }));
            }
            resume_unwind(Box::new("bomb"));
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_gets_no_further() {
        for again in [false, true] {
            assert_eq!(contain(|| resume_unwind(Box::new(Bomb { again }))), None::<()>);
        }
        assert_eq!(contain(|| 7), Some(7));
        let mut first = None;
        keep(&mut first, Box::new(1));
        keep(&mut first, Box::new(Bomb { again: true }));
        assert_eq!(first.and_then(|first| first.downcast().ok()), Some(Box::new(1)));
    }
}
