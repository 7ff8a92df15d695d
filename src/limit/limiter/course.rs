//! What is in force: the settings, those that hold for a while, and pauses.
//!
//! Nothing here has a timer. The word ends before the next change, so whoever decides after it comes to the mutex, and
//! finds the change due; those who wait have the alarm set for it. A change counts from its own instant, however late it is
//! noticed.

use crate::limit::Algorithm;

pub(super) struct Course<A> {
    /// What holds when nothing temporary does.
    base: A,
    /// The last one is in force.
    temporary: Vec<Temporary<A>>,
    /// Paused until then; `u64::MAX` until somebody resumes it.
    paused: Option<u64>,
}

struct Temporary<A> {
    algorithm: A,
    until: u64,
}

/// What changes at the next boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boundary {
    pub(super) at: u64,
    resumes: bool,
}

impl<A: Algorithm> Course<A> {
    pub(super) fn new(base: A) -> Self {
        Self { base, temporary: Vec::new(), paused: None }
    }

    pub(super) fn base(&self) -> &A {
        &self.base
    }

    pub(super) fn in_force(&self) -> &A {
        self.temporary.last().map_or(&self.base, |temporary| &temporary.algorithm)
    }

    pub(super) fn temporary_until(&self) -> Option<u64> {
        self.temporary.last().map(|temporary| temporary.until)
    }

    /// Until when it is paused.
    pub(super) fn paused(&self) -> Option<u64> {
        self.paused
    }

    pub(super) fn set_base(&mut self, base: A) {
        self.base = base;
    }

    /// Puts `algorithm` in force until then, over what is.
    pub(super) fn push(&mut self, algorithm: A, until: u64) {
        self.temporary.push(Temporary { algorithm, until });
    }

    /// Ends all that is temporary.
    pub(super) fn clear(&mut self) {
        self.temporary.clear();
    }

    /// Pauses until then, or as long as it is paused already, if that is longer. Whether that changes anything.
    pub(super) fn pause(&mut self, until: u64) -> bool {
        let longer = self.paused.is_none_or(|paused| paused < until);
        if longer {
            self.paused = Some(until);
        }
        longer
    }

    /// Whether it was paused.
    pub(super) fn resume(&mut self) -> bool {
        self.paused.take().is_some()
    }

    /// The next change, if there is one.
    pub(super) fn next(&self) -> Option<Boundary> {
        let resumes = self.paused.filter(|until| *until != u64::MAX);
        match (self.temporary_until(), resumes) {
            (Some(ends), Some(resumes)) if ends <= resumes => Some(Boundary { at: ends, resumes: false }),
            (_, Some(at)) => Some(Boundary { at, resumes: true }),
            (Some(at), None) => Some(Boundary { at, resumes: false }),
            (None, None) => None,
        }
    }

    /// The change that is due at `now`.
    pub(super) fn due(&self, now: u64) -> Option<Boundary> {
        self.next().filter(|boundary| boundary.at <= now)
    }

    /// Goes past a boundary.
    pub(super) fn cross(&mut self, boundary: Boundary) {
        if boundary.resumes {
            self.paused = None;
        } else {
            self.temporary.pop();
            // What was covered by it and would have ended before it.
            while self.temporary_until().is_some_and(|until| until <= boundary.at) {
                self.temporary.pop();
            }
        }
    }
}
