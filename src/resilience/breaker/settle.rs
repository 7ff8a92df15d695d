//! What the end of a call does in a breaker that lets every call through.

use super::calm::Stage;
use super::machine::{
    CANCELLED, COUNTERS, End, FAILED, IGNORED, LATE, Machine, Now, SLOW, SUCCEEDED, Ticket, UNRECORDED,
};
use super::window::{Counts, Kind, Noted, Shape, Taken};
use super::word::Word;
use super::{BreakerEvent, Outcome, State, Trigger};
use crate::shim::Ordering;
use crate::sync::striped::{Striped, known_lane, lane};
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
        self.wake_if_shut_down();
    }

    #[inline]
    fn wake_if_shut_down(&self) {
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

    /// A success that is more than a number.
    #[inline(never)]
    pub(super) fn settle_success(&self, ticket: Ticket, nanos: Option<u64>) {
        // What the rest would come to in most cases with a window of calls, without its detours.
        let Some(line) = self.tally.own(known_lane()) else {
            return self.settle_success_with_care(ticket, nanos);
        };
        let mut word = ticket.word;
        if !self.is_calm(ticket, &mut word) {
            return self.settle_success_with_care(ticket, nanos);
        }
        let many = Noted::add_own(line, word.generation());
        if many || word.failures() != 0 && !self.replace(word, word.with_failures(0)) {
            return self.settle_noted(ticket, many);
        }
        Striped::<COUNTERS>::add_own::<SUCCEEDED>(line);
        self.wake_if_shut_down();
    }

    /// A success that is noted: what there is to do besides.
    #[cold]
    #[inline(never)]
    fn settle_noted(&self, ticket: Ticket, many: bool) {
        if let Some(windows) = self.windows.get().filter(|_| many) {
            self.read(windows, ticket.word, 0);
        }
        self.settle_success_in_a_row(ticket);
    }

    /// Whether the window of calls is calm in the generation of the ticket, with the word of that moment.
    #[inline(always)]
    fn is_calm(&self, ticket: Ticket, word: &mut Word) -> bool {
        *word = self.load();
        let stage = Stage::new(self.posted.posting(), *word, 0).without_time();
        // (Only a closed breaker is ever calm.)
        word.plain() == ticket.word && self.calm.is(stage)
    }

    #[inline(never)]
    fn settle_success_in_a_row(&self, ticket: Ticket) {
        let ended = Ended { end: End::Judged(Outcome::Success), slow: None };
        self.settle_in_a_row(ticket, ended, None, &mut self.now());
        self.wake_if_shut_down();
    }

    #[inline(never)]
    fn settle_success_with_care(&self, ticket: Ticket, nanos: Option<u64>) {
        let (word, end) = (self.load(), End::Judged(Outcome::Success));
        if !word.is_closed_as(ticket.word) || self.posted.timestamps() {
            return self.settle_with_effect(ticket, end, nanos);
        }
        let mut now = Now { epoch: &self.epoch, nanos };
        // (Only a call that was timed can be slow.)
        let timed = ticket.detail != u64::MAX;
        let ended = if timed { self.ended(end, ticket.detail, &mut now) } else { Ended { end, slow: None } };
        let shape = self.shape(word);
        if ended.slow.is_some() {
            return self.settle_with_effect(ticket, end, now.nanos);
        }
        let well = Kind { failed: false, slow: false };
        let taken = if shape.is_none() { None } else { Some(self.take(word, shape, well, &mut now)) };
        match taken {
            None | Some((Taken::Calmly, _)) if word.failures() == 0 => self.tally.add::<SUCCEEDED>(lane()),
            None | Some((Taken::Calmly, _)) => self.settle_in_a_row(ticket, ended, None, &mut now),
            Some((Taken::Late, _)) => self.count_late(end),
            Some((Taken::With(counts), stage)) => {
                self.settle_judged(ticket, ended, (counts, stage), &mut now);
            }
        }
        self.wake_if_shut_down();
    }

    /// A failure.
    #[inline(never)]
    pub(super) fn settle_failure(&self, ticket: Ticket, nanos: Option<u64>) {
        // What the rest would come to in most cases without a window, or with one of calls, without its detours.
        let word = self.load();
        let shape = self.shape(word);
        let taken = match shape {
            _ if self.posted.looks_at_times() || !word.judges_as(ticket.word) => None,
            Shape::NONE => Some(word),
            shape if shape.is_calls() => self.take_failure_below(ticket, shape),
            _ => None,
        };
        match taken.map(|word| (word, self.with_one_more(word))) {
            Some((word, Some(by))) if self.replace(word, by) => {
                self.tally.add::<FAILED>(lane());
                self.wake_if_shut_down();
            }
            Some((word, _)) if !shape.is_none() => self.settle_failure_taken(ticket, word, nanos),
            _ => self.settle_failure_with_care(ticket, nanos),
        }
    }

    /// With one failure more in a row, if that is no matter: not too many, or told of already.
    #[inline(always)]
    fn with_one_more(&self, word: Word) -> Option<Word> {
        let by = word.with_failures(word.failures() + 1);
        if by.failures() < self.posted.failure_threshold() {
            Some(by)
        } else {
            word.told().then(|| by.telling())
        }
    }

    /// In metrics only: whether rules have been reached.
    #[inline(always)]
    fn has_reached(&self, word: Word) -> bool {
        let reached = self.reached.load(Ordering::Relaxed);
        word.is(State::MetricsOnly) && (reached >> 32) as u32 == word.generation() && reached as u32 != 0
    }

    #[inline(never)]
    fn settle_failure_with_care(&self, ticket: Ticket, nanos: Option<u64>) {
        let word = self.load();
        let shape = self.shape(word);
        if word.is_closed_as(ticket.word) && !self.posted.looks_at_times() && !shape.is_time() {
            self.settle_failure_by_count(ticket, word, shape, nanos);
            self.wake_if_shut_down();
        } else {
            self.settle_with_effect(ticket, End::Judged(Outcome::Failure), nanos);
        }
    }

    #[inline(always)]
    fn settle_failure_by_count(&self, ticket: Ticket, word: Word, shape: Shape, nanos: Option<u64>) {
        let mut window = None;
        if shape.is_calls() {
            let kind = Kind { failed: true, slow: false };
            // (A window of calls does not ask for the time.)
            let (Taken::With(counts), stage) = self.take(word, shape, kind, &mut self.now()) else {
                return self.count_late(End::Judged(Outcome::Failure));
            };
            window = Some(counts);
            let rules = self.posted.rules();
            if rules.reached(counts) != 0 {
                return self.settle_failure_judged(ticket, (counts, stage), nanos);
            }
            self.calm.say(stage, counts, rules.minimum);
        }
        let failures = word.failures().saturating_add(1);
        if failures < self.posted.failure_threshold() && self.replace(word, word.with_failures(failures)) {
            self.tally.add::<FAILED>(lane());
        } else {
            self.settle_failure_in_a_row(ticket, window, nanos);
        }
    }

    /// Puts a failure into the window of calls if it is clear at a glance that it changes nothing but numbers. The word of that
    /// moment; `None`: nothing is done.
    ///
    /// By the reasons of [`calm`](super::calm) nothing is missed: the head is looked at first, and then the rules, which so are not
    /// older than those of anybody who has put himself in before this one.
    #[inline(always)]
    fn take_failure_below(&self, ticket: Ticket, shape: Shape) -> Option<Word> {
        let windows = self.windows.get()?;
        let still = || self.load().same_generation(ticket.word);
        let failure = windows.failure(self.noted(), shape, ticket.word.generation(), still)?;
        let word = self.load();
        let below = word.judges_as(ticket.word)
            && self.with_one_more(word).is_some()
            && self.posted.rules().reached(failure.most) == 0
            && !self.has_reached(word);
        (below && windows.put(&failure)).then_some(word)
    }

    // Apart, so that nothing of them is made, or kept in memory, where they are not called.
    #[cold]
    #[inline(never)]
    fn settle_failure_judged(&self, ticket: Ticket, (counts, stage): (Counts, Stage), nanos: Option<u64>) {
        let ended = Ended { end: End::Judged(Outcome::Failure), slow: None };
        self.settle_judged(ticket, ended, (counts, stage), &mut Now { epoch: &self.epoch, nanos });
    }

    /// It is in the window, and the word has changed since.
    #[cold]
    #[inline(never)]
    fn settle_failure_taken(&self, ticket: Ticket, word: Word, nanos: Option<u64>) {
        let window = self.windows.get().map(|windows| self.read(windows, word, 0));
        self.settle_failure_in_a_row(ticket, window, nanos);
        self.wake_if_shut_down();
    }

    #[cold]
    #[inline(never)]
    fn settle_failure_in_a_row(&self, ticket: Ticket, window: Option<Counts>, nanos: Option<u64>) {
        let ended = Ended { end: End::Judged(Outcome::Failure), slow: None };
        self.settle_in_a_row(ticket, ended, window, &mut Now { epoch: &self.epoch, nanos });
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
        if shape.is_none() {
            return self.settle_taken(ticket, ended, None, now);
        }
        let kind = Kind { failed: ended.is_failure(), slow: ended.slow.is_some() };
        match self.take(word, shape, kind, now) {
            (Taken::Late, _) => self.count_late(ended.end),
            (Taken::Calmly, _) => self.settle_in_a_row(ticket, ended, None, now),
            (Taken::With(counts), stage) => self.settle_judged(ticket, ended, (counts, stage), now),
        }
    }

    /// Puts an outcome into the window of the generation of `word`, at the stage that the window is at then.
    #[inline(always)]
    fn take(&self, word: Word, shape: Shape, kind: Kind, now: &mut Now<'_>) -> (Taken, Stage) {
        let mut stage = Stage::NONE;
        let Some(windows) = self.windows.get() else { return (Taken::Late, stage) };
        let may_be_calm = word.is(State::Closed) && !kind.failed && !kind.slow;
        let still = || self.load().same_generation(word);
        let is_calm = |part| {
            stage = Stage::new(self.posted.posting(), word, part);
            if shape.is_calls() && !self.posted.looks_at_times() {
                stage = stage.without_time();
            }
            may_be_calm && self.calm.is(stage)
        };
        let noted = (self.noted(), lane());
        let taken = windows.take(noted, shape, word.generation(), kind, || now.nanos(), still, is_calm);
        (taken, stage)
    }

    /// What an outcome does once it is in the window, which then held so much.
    #[inline(never)]
    fn settle_judged(
        &self,
        ticket: Ticket,
        ended: Ended,
        (counts, stage): (Counts, Stage),
        now: &mut Now<'_>,
    ) {
        if !self.opens_by_window(ticket, ended, (counts, stage), now) {
            self.settle_taken(ticket, ended, Some(counts), now);
        }
    }

    /// What an outcome does besides what it is in the window.
    fn settle_taken(&self, ticket: Ticket, ended: Ended, window: Option<Counts>, now: &mut Now<'_>) {
        if let End::Judged(Outcome::Trip(_)) = ended.end {
            if ticket.word.is(State::MetricsOnly) {
                let failures = self.load().failures().saturating_add(1);
                self.tell_threshold(Trigger::Outcome, failures, window);
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
                let reached = failures >= threshold;
                if word.is(State::Closed) && reached {
                    return self.open_by_failures(ticket, ended, window, now);
                }
                let by = word.with_failures(failures);
                if !self.replace(word, if reached { by.telling() } else { by }) {
                    continue;
                }
                if reached && !word.told() {
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
