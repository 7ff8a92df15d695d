//! What a hedge tells and counts.

use crate::shim::{AtomicU64, Ordering};
use std::time::Duration;

/// What a [`Hedge`](super::Hedge) does. The first attempt of a call is number 0, its hedges are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HedgeEvent {
    /// A hedge begins.
    #[non_exhaustive]
    Started {
        /// The name of the policy.
        policy: &'static str,
        /// Which hedge.
        number: u32,
        /// After how much waiting; `None`: since an attempt has failed.
        delay: Option<Duration>,
    },
    /// A hedge was due and did not begin. The call has no further ones.
    #[non_exhaustive]
    Suppressed {
        /// The name of the policy.
        policy: &'static str,
        /// Which hedge it would have been.
        number: u32,
        /// Why not.
        reason: Suppressed,
    },
    /// The first attempt has won, although there were hedges.
    #[non_exhaustive]
    PrimaryWon {
        /// The name of the policy.
        policy: &'static str,
        /// How many hedges had begun.
        hedges: u32,
    },
    /// A hedge has won.
    #[non_exhaustive]
    Won {
        /// The name of the policy.
        policy: &'static str,
        /// Which hedge.
        number: u32,
    },
}

/// Why a hedge that was due did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suppressed {
    /// The budget had nothing left.
    Budget,
    /// The operation cannot be run a second time.
    RunsOnce,
    /// The surrounding work has ended: it was cancelled, or its deadline has passed.
    Ended,
}

/// Counts of a [`Hedge`](super::Hedge); see [`Hedge::stats`](super::Hedge::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeStats {
    /// Hedges that have begun.
    pub started: u64,
    /// Calls that a hedge has won.
    pub won: u64,
    /// Calls that the first attempt has won although there were hedges.
    pub primary_won: u64,
    /// Hedges that were due and did not begin.
    pub suppressed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) started: AtomicU64,
    pub(super) won: AtomicU64,
    pub(super) primary_won: AtomicU64,
    pub(super) suppressed: AtomicU64,
}

impl Counters {
    pub(super) fn stats(&self) -> HedgeStats {
        // Relaxed: counts order nothing.
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        HedgeStats {
            started: read(&self.started),
            won: read(&self.won),
            primary_won: read(&self.primary_won),
            suppressed: read(&self.suppressed),
        }
    }
}
