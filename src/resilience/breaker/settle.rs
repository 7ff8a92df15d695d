//! What the end of a call does in a breaker that lets every call through.

use super::machine::{
    CANCELLED, End, FAILED, IGNORED, LATE, Machine, Now, SLOW, SUCCEEDED, Ticket, UNRECORDED,
};
use super::rules::{Rules, TRIGGERS};
use super::transition::{Decided, Opening};
use super::window::{Counts, Kind};
use super::word::Word;
use super::{BreakerEvent, Outcome, State, Trigger, Trip, WindowCounts};
use crate::shim::Ordering;
use crate::sync::striped::lane;
use std::time::Duration;

/// How a call ended, by the time it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    /// If it was slow: how long it took.
    pub(super) slow: Option<u64>,
}

impl Ended {
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self.end {
            End::Judged(outcome) => Some(outcome),
            End::Cancelled => None,
        }
    }

    pub(super) fn is_failure(self) -> bool {
        self.outcome().is_some_and(|outcome| outcome.is_failure())
    }

    pub(super) fn is_success(self) -> bool {
        matches!(self.end, End::Judged(Outcome::Success))
    }
}

impl Machine {
    #[inline(never)]
    pub(super) fn settle_with_effect(&self, ticket: Ticket, end: End, nanos: Option<u64>) {
        let mut now = Now { epoch: &self.epoch, nanos };
        if ticket.word.is(State::HalfOpen) {
            self.settle_trial(ticket, end, now.nanos());
        } else {
            self.settle_let_through(ticket, end, &mut now);
        }
        if Word(self.word.load(Ordering::Relaxed)).is(State::ShutDown) {
            self.wake_drained();
        }
    }

    /// Whether it was slow, and whether it was dropped after so long that it counts as a failure.
    #[inline]
    pub(super) fn ended(&self, end: End, began: u64, now: &mut Now<'_>) -> Ended {
        let slow_call = self.posted.slow_call();
        let cancelled = matches!(end, End::Cancelled);
        let cancel_limit = if cancelled { self.posted.cancel_limit() } else { u64::MAX };
        if slow_call == u64::MAX && cancel_limit == u64::MAX {
            return Ended { end, slow: None };
        }
        let took = now.nanos().saturating_sub(began);
        let failed = took > cancel_limit;
        let end = if failed { End::Judged(Outcome::Failure) } else { end };
        let counts = match end {
            End::Judged(Outcome::Ignore) => false,
            End::Judged(_) => true,
            End::Cancelled => self.posted.cancelled_slow(),
        };
        Ended { end, slow: (counts && took > slow_call).then_some(took) }
    }

    fn settle_let_through(&self, ticket: Ticket, end: End, now: &mut Now<'_>) {
        let ended = self.ended(end, ticket.detail, now);
        let word = self.load();
        if !word.same_generation(ticket.word) {
            return self.count_late(ended.end);
        }
        match word.state() {
            State::Disabled => return self.tally.add::<UNRECORDED>(lane()),
            State::ForcedClosed => {
                self.note(ended, now);
                return self.count(ended);
            }
            _ => {}
        }
        let evidence = ended.is_success() || ended.is_failure();
        if !evidence && ended.slow.is_none() {
            return self.count(ended);
        }
        let shape = self.shape(word);
        let mut window = None;
        if !shape.is_none() {
            let kind = Kind { failed: ended.is_failure(), slow: ended.slow.is_some() };
            let still = || self.load().same_generation(word);
            let generation = word.generation();
            window = self
                .windows
                .get()
                .and_then(|windows| windows.record(shape, generation, kind, || now.nanos(), still));
            let Some(counts) = window else { return self.count_late(ended.end) };
            let reached = self.posted.rules().reached(counts);
            if word.is(State::MetricsOnly) {
                self.tell_what_is_reached(word, reached, counts);
            } else if let Some(trigger) = Rules::trigger(reached) {
                if self.open_by(ticket, ended, trigger, window, now) {
                    return;
                }
            }
        }
        if let End::Judged(Outcome::Trip(_)) = ended.end {
            if word.is(State::MetricsOnly) {
                self.tell_threshold(Trigger::Outcome, word.failures().saturating_add(1), window);
            } else if self.open_by(ticket, ended, Trigger::Outcome, window, now) {
                return;
            }
        }
        self.settle_in_a_row(ticket, ended, window, now);
    }

    /// What the outcome is to the failures in a row.
    #[inline]
    fn settle_in_a_row(&self, ticket: Ticket, ended: Ended, window: Option<Counts>, now: &mut Now<'_>) {
        loop {
            let word = self.load();
            if !word.same_generation(ticket.word) {
                return self.count_late(ended.end);
            }
            if ended.is_failure() {
                let failures = word.failures().saturating_add(1);
                let threshold = self.posted.failure_threshold();
                if word.is(State::Closed) && failures >= threshold {
                    return self.open_by_failures(ticket, ended, window, now);
                }
                if !self.replace(word, word.with_failures(failures)) {
                    continue;
                }
                if failures == threshold {
                    self.tell_threshold(Trigger::ConsecutiveFailures, failures, window);
                }
            } else if ended.is_success() && word.failures() != 0 && !self.replace(word, word.with_failures(0))
            {
                continue;
            }
            self.note(ended, now);
            return self.count(ended);
        }
    }

    /// Opens it for what is in the window or for the outcome alone. False if the settings have changed and do not say so any more.
    #[cold]
    #[inline(never)]
    fn open_by(
        &self,
        ticket: Ticket,
        ended: Ended,
        trigger: Trigger,
        window: Option<Counts>,
        now: &mut Now<'_>,
    ) -> bool {
        let trip = self.trip_by(ticket.word, ended, trigger, window);
        let mut decided = Decided::default();
        let (mut control, length) = self.lock_knowing_break(&trip);
        let same = self.load_locked().same_generation(ticket.word);
        let rules = control.config.rules;
        let holds = match TRIGGERS.iter().position(|known| *known == trigger) {
            Some(rule) => window.is_some_and(|counts| rules.reached(counts) >> rule & 1 == 1),
            None => true,
        };
        if same && holds {
            let opening = Opening { at: now.nanos(), length, trip: Some(trip) };
            self.open(&mut control, opening, trigger, &mut decided, |_| true);
        }
        drop(control);
        if !same {
            self.count_late(ended.end);
        } else if holds {
            self.note(ended, now);
            self.count(ended);
        }
        self.emit(decided);
        !same || holds
    }

    /// A failure that found the count one short of the threshold.
    #[cold]
    #[inline(never)]
    fn open_by_failures(&self, ticket: Ticket, ended: Ended, window: Option<Counts>, now: &mut Now<'_>) {
        let trigger = Trigger::ConsecutiveFailures;
        let mut trip = self.trip_by(ticket.word, ended, trigger, window);
        trip.failures = self.posted.failure_threshold();
        let mut decided = Decided::default();
        let (mut control, length) = self.lock_knowing_break(&trip);
        let threshold = control.config.failure_threshold;
        let judged = loop {
            let word = self.load_locked();
            if !word.same_generation(ticket.word) {
                break false;
            }
            // A success may have come in between and begun the count anew.
            let failures = word.failures().saturating_add(1);
            let done = if failures < threshold {
                self.replace(word, word.with_failures(failures))
            } else {
                let opening = Opening { at: now.nanos(), length, trip: Some(trip) };
                self.open(&mut control, opening, trigger, &mut decided, |now| now == word)
            };
            if done {
                break true;
            }
        };
        drop(control);
        if judged {
            self.note(ended, now);
            self.count(ended)
        } else {
            self.count_late(ended.end)
        }
        self.emit(decided);
    }

    /// What the break depends on, in the generation of `seen`.
    pub(super) fn trip_by(&self, seen: Word, ended: Ended, trigger: Trigger, window: Option<Counts>) -> Trip {
        let outcome = ended.outcome();
        Trip {
            opens: self.opens(seen),
            trigger,
            failures: 0,
            window: window.map(WindowCounts::from),
            outcome,
            retry_after: outcome.and_then(|outcome| outcome.retry_after()),
        }
    }

    /// In metrics only: tells of the rules that are reached and were not before.
    fn tell_what_is_reached(&self, word: Word, reached: u32, counts: Counts) {
        let generation = u64::from(word.generation()) << 32;
        // Relaxed: it orders nothing but itself.
        let mut seen = self.reached.load(Ordering::Relaxed);
        let before = loop {
            let before = if seen >> 32 == generation >> 32 { seen as u32 } else { 0 };
            if before == reached {
                return;
            }
            let by = generation | u64::from(reached);
            match self.reached.compare_exchange_weak(seen, by, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break before,
                Err(now) => seen = now,
            }
        };
        for (rule, trigger) in TRIGGERS.into_iter().enumerate() {
            if (reached & !before) >> rule & 1 == 1 {
                self.tell_threshold(trigger, word.failures(), Some(counts));
            }
        }
    }

    fn tell_threshold(&self, trigger: Trigger, failures: u32, window: Option<Counts>) {
        let name = self.name;
        let window = window.map(WindowCounts::from);
        self.observers.emit(|| BreakerEvent::ThresholdReached { name, trigger, failures, window });
    }

    /// Another count of failures in the same closed state. False if the word has changed meanwhile.
    pub(super) fn replace(&self, word: Word, by: Word) -> bool {
        // ORDERING: AcqRel keeps the release of the `turn` that this generation began with visible to who acquires the
        // new word (a read-modify-write continues its release sequence; Acquire for the retry of the caller).
        self.word.compare_exchange(word.0, by.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Notes when it was, if somebody wants to know.
    #[inline]
    pub(super) fn note(&self, ended: Ended, now: &mut Now<'_>) {
        if !self.posted.timestamps() {
            return;
        }
        let last = match ended {
            _ if ended.is_success() => &self.last_success,
            _ if ended.is_failure() => &self.last_failure,
            _ => return,
        };
        // Relaxed: nothing else is read on the strength of it. (0 is never; times far from now do not matter.)
        last.store(now.nanos().saturating_add(1), Ordering::Relaxed);
    }

    /// Counts an outcome that was judged, or is neutral.
    #[inline]
    pub(super) fn count(&self, ended: Ended) {
        let lane = lane();
        match ended.end {
            End::Judged(Outcome::Success) => self.tally.add::<SUCCEEDED>(lane),
            End::Judged(Outcome::Ignore) => {
                self.tally.add::<IGNORED>(lane);
                self.observers.emit(|| BreakerEvent::Ignored { name: self.name });
            }
            End::Judged(_) => self.tally.add::<FAILED>(lane),
            End::Cancelled => self.tally.add::<CANCELLED>(lane),
        }
        // After what it is a part of: `stats` looks the other way round.
        if let Some(took) = ended.slow {
            self.tally.add::<SLOW>(lane);
            let (name, took, outcome) = (self.name, Duration::from_nanos(took), ended.outcome());
            self.observers.emit(|| BreakerEvent::SlowCall { name, took, outcome });
        }
    }

    /// Counts an outcome that came after its generation had passed.
    pub(super) fn count_late(&self, end: End) {
        match end {
            End::Cancelled | End::Judged(Outcome::Ignore) => self.count(Ended { end, slow: None }),
            End::Judged(outcome) => {
                self.tally.add::<LATE>(lane());
                let name = self.name;
                self.observers.emit(|| BreakerEvent::LateResult { name, outcome });
            }
        }
    }
}
