//! What became of the requests: live counters of the request path, and the records that the worker pool adds up.

use crate::histogram::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Outcome {
    /// The upstream's answer, passed on.
    Answered,
    /// The upstream's own error, passed on after the retries.
    Failed,
    /// 429: the client is above its rate.
    Limited,
    /// 429 of the upstream's own, passed on.
    Throttled,
    /// 503: no turn in time by the limits towards the upstream, or it has asked to be left alone.
    Paced,
    /// 503: the circuit is open.
    CircuitOpen,
    /// 503: too many attempts in flight.
    Full,
    /// 504: no attempt ended in time.
    TimedOut,
    /// 502: no connection, or no valid answer.
    NoAnswer,
    /// 500: the call has panicked.
    Panicked,
    /// 4xx: a request that cannot be forwarded.
    Refused,
    /// The client went away before the answer.
    Abandoned,
}

impl Outcome {
    pub(crate) const ALL: [(Self, &'static str); 12] = [
        (Self::Answered, "answered"),
        (Self::Failed, "5xx upstream's, passed on"),
        (Self::Limited, "429 client's rate"),
        (Self::Throttled, "429 upstream's, passed on"),
        (Self::Paced, "503 no turn in time"),
        (Self::CircuitOpen, "503 circuit open"),
        (Self::Full, "503 in-flight limit"),
        (Self::TimedOut, "504 timed out"),
        (Self::NoAnswer, "502 no valid answer"),
        (Self::Panicked, "500 panicked"),
        (Self::Refused, "4xx not forwardable"),
        (Self::Abandoned, "client went away"),
    ];

    /// As the value of a label.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Limited => "client_limited",
            Self::Throttled => "throttled",
            Self::Paced => "no_turn",
            Self::CircuitOpen => "circuit_open",
            Self::Full => "full",
            Self::TimedOut => "timed_out",
            Self::NoAnswer => "no_answer",
            Self::Panicked => "panicked",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the response waited for the upstream, as opposed to a refusal at the door.
    pub(crate) fn waited(self) -> bool {
        matches!(self, Self::Answered | Self::Failed | Self::Throttled | Self::TimedOut | Self::NoAnswer)
    }
}

/// Numbers by outcome.
pub(crate) type Outcomes = [u64; Outcome::ALL.len()];

/// Counters of the request path.
#[derive(Default)]
pub(crate) struct Counters {
    arrived: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

impl Counters {
    /// Counts a request in; what becomes of it is counted by the guard.
    pub(crate) fn arrive(&self) -> Arrival<'_> {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        Arrival { counters: self, outcome: Outcome::Abandoned }
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    pub(crate) fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        Outcome::ALL.map(|(outcome, _)| self.of(outcome))
    }
}

/// A request that is being dealt with. Dropped before [`end`](Self::end), its client has gone away.
pub(crate) struct Arrival<'a> {
    counters: &'a Counters,
    outcome: Outcome,
}

impl Arrival<'_> {
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.counters.outcomes[self.outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// One line of the access log, as the pool gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) upstream: usize,
    pub(crate) outcome: Outcome,
    pub(crate) latency: Duration,
}

/// What the pool has added up for one upstream.
#[derive(Clone, Default)]
pub(crate) struct Summary {
    pub(crate) outcomes: Outcomes,
    pub(crate) waited: Histogram,
}

/// The records, added up by the pool's workers.
pub(crate) struct Tally {
    upstreams: Vec<Mutex<Summary>>,
}

impl Tally {
    pub(crate) fn new(upstreams: usize) -> Self {
        Self { upstreams: (0..upstreams).map(|_| Mutex::default()).collect() }
    }

    pub(crate) fn add(&self, record: Record) {
        let mut summary = lock(&self.upstreams[record.upstream]);
        summary.outcomes[record.outcome as usize] += 1;
        if record.outcome.waited() {
            summary.waited.record(record.latency);
        }
    }

    pub(crate) fn summary(&self, upstream: usize) -> Summary {
        lock(&self.upstreams[upstream]).clone()
    }

    pub(crate) fn records(&self) -> u64 {
        self.upstreams.iter().map(|summary| lock(summary).outcomes.iter().sum::<u64>()).sum()
    }
}

/// A change of a breaker's state.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) at: Duration,
    pub(crate) state: &'static str,
    /// The reason, in words.
    pub(crate) why: String,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_listed_in_the_order_of_their_numbers() {
        for (index, (outcome, _)) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
    }

    #[test]
    fn outcomes_have_labels_of_their_own() {
        let slugs: std::collections::BTreeSet<_> =
            Outcome::ALL.iter().map(|(outcome, _)| outcome.slug()).collect();
        assert_eq!(slugs.len(), Outcome::ALL.len());
    }

    #[test]
    fn a_request_that_is_dropped_was_abandoned() {
        let counters = Counters::default();
        counters.arrive().end(Outcome::Limited);
        drop(counters.arrive());
        assert_eq!(counters.arrived(), 2);
        assert_eq!((counters.of(Outcome::Limited), counters.of(Outcome::Abandoned)), (1, 1));
    }
}
