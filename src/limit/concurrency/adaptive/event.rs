//! What an adaptive limiter tells those who observe it.

use super::{AdaptiveLimiter, Sample};
use crate::limit::concurrency::ConcurrencyEvent;
use crate::observe::Observe;
#[cfg(feature = "telemetry")]
use crate::observe::Observers;
use std::fmt;

/// Something an observer of an [`AdaptiveLimiter`] may want to know. Told of once for each window at most, by the thread that ended
/// it, outside of all locks and in the order in which windows end: the next one ends when all have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdaptiveEvent {
    /// The limit is another.
    #[non_exhaustive]
    LimitChanged {
        /// The old one.
        from: u32,
        /// The new one.
        to: u32,
        /// Why.
        reason: LimitReason,
        /// What was measured.
        sample: Sample,
    },
    /// A window was thrown away, as too few calls had ended in it.
    #[non_exhaustive]
    WindowDropped {
        /// What was measured.
        sample: Sample,
    },
}

/// Why an algorithm has changed the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitReason {
    /// It does not say.
    #[default]
    Unspecified,
    /// There was no sign of a queue, and enough in flight to tell.
    Calm,
    /// Calls took longer than they should.
    Latency,
    /// Calls ended in a sign of overload.
    Drops,
    /// It is lowered for a while, to measure how fast calls are without a queue.
    Probe,
    /// That was measured: it is what it was before.
    ProbeEnded,
}

impl LimitReason {
    /// All of them, in order.
    #[allow(dead_code, reason = "used by telemetry")]
    pub(crate) const ALL: [Self; 6] =
        [Self::Unspecified, Self::Calm, Self::Latency, Self::Drops, Self::Probe, Self::ProbeEnded];

    /// In one word, for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Calm => "calm",
            Self::Latency => "latency",
            Self::Drops => "drops",
            Self::Probe => "probe",
            Self::ProbeEnded => "probe_ended",
        }
    }

    /// Of a limit that has moved by what calls took.
    pub(super) fn by_time(from: f64, to: f64) -> Self {
        if to < from { Self::Latency } else { Self::Calm }
    }
}

impl fmt::Display for LimitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl AdaptiveLimiter {
    /// Shows all events from now on to `observer`, of all clones. They are of windows: it costs calls nothing.
    pub fn observe(&self, observer: impl Observe<AdaptiveEvent>) {
        self.control.observers.add(observer);
    }

    /// Shows to `observer` from now on what becomes of each request; see
    /// [`ConcurrencyLimiter::observe`](crate::limit::ConcurrencyLimiter::observe).
    pub fn observe_requests(&self, observer: impl Observe<ConcurrencyEvent>) {
        self.limiter.observe(observer);
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observers(&self) -> &Observers<AdaptiveEvent> {
        &self.control.observers
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn request_observers(&self) -> &Observers<ConcurrencyEvent> {
        self.limiter.observers()
    }
}
