//! A call that was let through.

use super::{ACCEPTED, AdmissionControl, UNACCEPTED, stats};
use crate::sync::striped::lane;
use std::borrow::Borrow;
use std::fmt;
use std::time::Instant;

/// What a server made of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Answer {
    /// It worked on it. Whether that succeeded is not the question.
    Accepted,
    /// It had no room for it: "too busy", "resource exhausted", 429, 503, or no answer in time.
    Rejected,
    /// It was not asked, or what it said cannot be told.
    Ignored,
}

/// A permit that owns its share of the [`AdmissionControl`].
pub type OwnedAdmissionPermit = AdmissionPermit<AdmissionControl>;

/// A call that was let through, to be settled once.
///
/// Dropped without having been settled, it counts for nothing: the caller went away. Dropped by a panic, it counts as
/// rejected.
#[must_use = "a permit that is not settled counts as a cancelled call"]
#[clippy::has_significant_drop]
pub struct AdmissionPermit<H: Borrow<AdmissionControl>> {
    control: H,
    live: bool,
    /// Whether to take it for the call's panic when it is dropped by one.
    panic_is_rejection: bool,
}

impl<H: Borrow<AdmissionControl>> AdmissionPermit<H> {
    #[inline]
    pub(super) fn new(control: H) -> Self {
        Self { control, live: true, panic_is_rejection: true }
    }

    /// For one who can tell a panic of the call from one that passes by.
    #[allow(dead_code, reason = "used by the policy")]
    #[inline]
    pub(crate) fn told_of_panics(mut self) -> Self {
        self.panic_is_rejection = false;
        self
    }

    /// The server worked on it, whether it succeeded or failed.
    #[inline]
    pub fn accepted(self) {
        self.record(Answer::Accepted);
    }

    /// The server had no room for it.
    #[inline]
    pub fn rejected(self) {
        self.record(Answer::Rejected);
    }

    /// It says nothing about the server.
    #[inline]
    pub fn ignore(self) {
        self.record(Answer::Ignored);
    }

    /// This came of it.
    #[inline]
    pub fn record(mut self, answer: Answer) {
        self.live = false;
        let control = self.control.borrow();
        match answer {
            Answer::Ignored => control.inner.tally.add::<{ stats::IGNORED }>(lane()),
            Answer::Accepted | Answer::Rejected => settle(control, answer, control.inner.clock.now()),
        }
    }

    /// This came of it at `now`.
    pub fn record_at(mut self, answer: Answer, now: Instant) {
        self.live = false;
        settle(self.control.borrow(), answer, now);
    }
}

#[inline]
fn settle(control: &AdmissionControl, answer: Answer, now: Instant) {
    let inner = &*control.inner;
    match answer {
        Answer::Accepted => {
            inner.window.record_at::<ACCEPTED>(now);
            inner.tally.add::<{ stats::ACCEPTED }>(lane());
        }
        Answer::Rejected => {
            inner.window.record_at::<UNACCEPTED>(now);
            inner.tally.add::<{ stats::REJECTED }>(lane());
        }
        Answer::Ignored => inner.tally.add::<{ stats::IGNORED }>(lane()),
    }
}

impl<H: Borrow<AdmissionControl>> Drop for AdmissionPermit<H> {
    #[inline]
    fn drop(&mut self) {
        if self.live {
            let control = self.control.borrow();
            if self.panic_is_rejection && std::thread::panicking() {
                settle(control, Answer::Rejected, control.inner.clock.now());
            } else {
                control.inner.tally.add::<{ stats::CANCELLED }>(lane());
            }
        }
    }
}

impl<H: Borrow<AdmissionControl>> fmt::Debug for AdmissionPermit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionPermit").finish_non_exhaustive()
    }
}
