//! Whether an outcome opens a closed breaker, and how.

use super::calm::Stage;
use super::machine::{Machine, Now, Ticket};
use super::rules::{Rules, TRIGGERS};
use super::settle::Ended;
use super::transition::{Decided, Opening};
use super::window::Counts;
use super::word::Word;
use super::{BreakerEvent, State, Trigger, Trip, WindowCounts};
use crate::shim::Ordering;

impl Machine {
    /// Judges what is in the window with an outcome at this stage. True: the breaker has opened by it, or before.
    pub(super) fn opens_by_window(
        &self,
        ticket: Ticket,
        ended: Ended,
        (counts, stage): (Counts, Stage),
        now: &mut Now<'_>,
    ) -> bool {
        loop {
            let rules = self.posted.rules();
            let reached = rules.reached(counts);
            if ticket.word.is(State::MetricsOnly) {
                self.tell_what_is_reached(ticket.word, reached, counts);
                return false;
            }
            match Rules::trigger(reached) {
                None => {
                    self.calm.say(stage, counts, rules.minimum);
                    return false;
                }
                Some(trigger) if self.open_by(ticket, ended, trigger, Some(counts), now) => return true,
                // Other settings have come, by which another rule may be reached.
                Some(_) => {}
            }
        }
    }

    /// Opens it for what is in the window or for the outcome alone. False if the settings have changed and do not say so any more.
    #[cold]
    #[inline(never)]
    pub(super) fn open_by(
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
    pub(super) fn open_by_failures(
        &self,
        ticket: Ticket,
        ended: Ended,
        window: Option<Counts>,
        now: &mut Now<'_>,
    ) {
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
                self.tell_threshold(trigger, self.load().failures(), Some(counts));
            }
        }
    }

    pub(super) fn tell_threshold(&self, trigger: Trigger, failures: u32, window: Option<Counts>) {
        let name = self.name;
        let window = window.map(WindowCounts::from);
        self.observers.emit(|| BreakerEvent::ThresholdReached { name, trigger, failures, window });
    }
}
