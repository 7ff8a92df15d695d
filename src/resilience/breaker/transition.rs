//! Changes of state: all of them under the lock.

use super::machine::{End, Machine, Now, Ticket};
use super::trial::Place;
use super::word::{Trials, Word};
use super::{BreakerEvent, IllegalTransition, OnOverdue, Outcome, State, Trigger, Trip};
use crate::shim::Ordering;
use std::task::Waker;
use std::time::Duration;

/// What only changes of state and trials touch.
pub(super) struct Control {
    /// The places of the trials of the present half-open phase. Never grows past its capacity.
    pub(super) places: Vec<Place>,
    pub(super) next_trial: u64,
    /// In half-open: when the verdict is overdue, as long as a trial is out.
    pub(super) verdict_by: u64,
    /// In half-open: the break that follows if the verdict is overdue. Known beforehand, since the user's function
    /// cannot be called under the lock.
    break_if_overdue: u64,
    pub(super) changes: u64,
    pub(super) changed_at: Option<u64>,
    /// Number of the next event that must be seen in order.
    next_event: u64,
    /// Those who wait for the last call to end.
    pub(super) drainers: Vec<Waker>,
}

impl Control {
    pub(super) fn new(half_open_requests: u32) -> Self {
        Self {
            places: Vec::with_capacity(half_open_requests as usize),
            next_trial: 0,
            verdict_by: u64::MAX,
            break_if_overdue: 0,
            changes: 0,
            changed_at: None,
            next_event: 0,
            drainers: Vec::new(),
        }
    }
}

/// Events decided under the lock, to be shown after it.
#[derive(Default)]
#[must_use = "events must be emitted, or later ones wait for them for ever"]
pub(super) struct Decided(Vec<(u64, BreakerEvent)>);

/// A change of state: into what, due when, since when, why.
#[derive(Clone, Copy)]
struct Change {
    to: State,
    due: u64,
    at: u64,
    trigger: Trigger,
}

impl Machine {
    /// The word as it is under the lock, where only the count of failures still moves.
    pub(super) fn load_locked(&self) -> Word {
        // Relaxed: the lock orders all other changes.
        Word(self.word.load(Ordering::Relaxed))
    }

    /// The length of the break that begins if the breaker opens in the generation of `seen`. Runs the user's function,
    /// so it is called before the lock is taken; under the lock the caller makes sure of the generation.
    pub(super) fn next_break(&self, seen: Word, failures: u32, end: End) -> u64 {
        let retry_after = match end {
            End::Judged(Outcome::RetryAfter(after)) => Some(after),
            _ => None,
        };
        self.config.break_nanos(&Trip { opens: self.opens(seen), failures, retry_after })
    }

    /// The length of the break that follows a half-open phase without a verdict. As [`next_break`](Self::next_break).
    pub(super) fn break_if_overdue(&self, seen: Word) -> u64 {
        self.next_break(seen, 0, End::Cancelled)
    }

    /// Shows what was decided, in order, with no lock held.
    pub(super) fn emit(&self, decided: Decided) {
        for (order, event) in decided.0 {
            self.observers.emit_in_order(order, event);
        }
    }

    /// The one place that changes the state: begins the next generation, if `allowed` finds the present word as it
    /// should be.
    fn turn(
        &self,
        control: &mut Control,
        change: Change,
        decided: &mut Decided,
        allowed: impl Fn(Word) -> bool,
    ) -> Option<Word> {
        let Change { to, due, at, trigger } = change;
        let (before, after) = loop {
            let word = self.load_locked();
            if !allowed(word) {
                return None;
            }
            let next = word.next(to);
            self.set_due(next, due);
            self.set_opens(
                next,
                match to {
                    State::Open => self.opens(word).saturating_add(1),
                    State::HalfOpen => self.opens(word),
                    _ => 0,
                },
            );
            // ORDERING: Release publishes the phase with the word. SeqCst for a shutdown: see `let_through`.
            if self.word.compare_exchange(word.0, next.0, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                break (word, next);
            }
        };
        let (name, from, when) = (self.config.name, before.state(), self.instant(at));
        let event = if from == to {
            // Nothing was counted, so there is nothing to tell; and an observer that resets comes to an end.
            if before.failures() == 0 {
                return Some(after);
            }
            BreakerEvent::Cleared { name, at: when }
        } else {
            control.changes += 1;
            control.changed_at = Some(at);
            let open_for = (to == State::Open).then(|| Duration::from_nanos(due.saturating_sub(at)));
            BreakerEvent::StateChanged { name, from, to, trigger, at: when, open_for }
        };
        decided.0.push((control.next_event, event));
        control.next_event += 1;
        Some(after)
    }

    pub(super) fn open(
        &self,
        control: &mut Control,
        (at, length): (u64, u64),
        trigger: Trigger,
        decided: &mut Decided,
        allowed: impl Fn(Word) -> bool,
    ) -> bool {
        let change = Change { to: State::Open, due: at.saturating_add(length), at, trigger };
        self.turn(control, change, decided, allowed).is_some()
    }

    pub(super) fn close(&self, control: &mut Control, at: u64, trigger: Trigger, decided: &mut Decided) {
        let change = Change { to: State::Closed, due: u64::MAX, at, trigger };
        self.turn(control, change, decided, |_| true);
    }

    /// From an open breaker whose break is over.
    pub(super) fn half_open(
        &self,
        control: &mut Control,
        (at, break_if_overdue): (u64, u64),
        decided: &mut Decided,
    ) {
        control.places.clear();
        control.break_if_overdue = break_if_overdue;
        // Nothing is overdue before a trial is out.
        control.verdict_by = u64::MAX;
        let change = Change { to: State::HalfOpen, due: u64::MAX, at, trigger: Trigger::BreakOver };
        self.turn(control, change, decided, |_| true);
    }

    /// Since when the trials of a half-open breaker are overdue, if they are.
    fn overdue(&self, control: &Control, now: u64) -> Option<u64> {
        let word = self.load_locked();
        let overdue = word.is(State::HalfOpen) && word.trials().out > 0 && now >= control.verdict_by;
        overdue.then_some(control.verdict_by)
    }

    /// Ends a half-open phase whose trials are overdue, as of the time when they became so.
    pub(super) fn end_if_overdue(&self, control: &mut Control, now: u64, decided: &mut Decided) -> bool {
        let Some(at) = self.overdue(control, now) else { return false };
        match self.config.on_overdue {
            OnOverdue::Close => self.close(control, at, Trigger::TrialsOverdue, decided),
            OnOverdue::Open => {
                let length = control.break_if_overdue;
                self.open(control, (at, length), Trigger::TrialsOverdue, decided, |_| true);
            }
        }
        true
    }

    /// Makes one change that time has brought about in the generation of `seen`, if there is one. True: look again.
    fn pass_time(&self, seen: Word, now: u64) -> bool {
        if !matches!(seen.state(), State::Open | State::HalfOpen) {
            return false;
        }
        match self.due(seen) {
            None => return true,
            Some(due) if now < due => return false,
            Some(_) => {}
        }
        let break_if_overdue = if seen.is(State::Open) { self.break_if_overdue(seen) } else { 0 };
        let mut decided = Decided::default();
        let mut control = self.control.lock();
        let changed = if !self.load_locked().same_generation(seen) {
            true
        } else if seen.is(State::HalfOpen) {
            self.end_if_overdue(&mut control, now, &mut decided)
        } else {
            self.half_open(&mut control, (now, break_if_overdue), &mut decided);
            true
        };
        drop(control);
        self.emit(decided);
        changed
    }

    /// Makes the changes that time has brought about, and says where that leads.
    pub(super) fn poll_transition(&self, now: u64) -> State {
        loop {
            let word = self.load();
            if !self.pass_time(word, now) {
                return word.state();
            }
        }
    }

    /// What the breaker is doing, as the next call would find it. Changes nothing.
    #[inline]
    pub(super) fn state(&self, now: Now<'_>) -> State {
        let state = self.load().state();
        if matches!(state, State::Open | State::HalfOpen) { self.timed_state(now) } else { state }
    }

    fn timed_state(&self, mut now: Now<'_>) -> State {
        loop {
            let word = self.load();
            let state = word.state();
            if !matches!(state, State::Open | State::HalfOpen) {
                return state;
            }
            let Some(due) = self.due(word) else { continue };
            let now = now.nanos();
            if now < due {
                return state;
            }
            if state == State::Open {
                return State::HalfOpen;
            }
            let control = self.control.lock();
            if !self.load_locked().same_generation(word) {
                continue;
            }
            return match self.overdue(&control, now) {
                None => State::HalfOpen,
                Some(_) if self.config.on_overdue == OnOverdue::Close => State::Closed,
                Some(at) if now >= at.saturating_add(control.break_if_overdue) => State::HalfOpen,
                Some(_) => State::Open,
            };
        }
    }

    /// A failure that found the count one short of the threshold.
    pub(super) fn trip_by_failure(&self, ticket: Ticket, end: End, now: u64) {
        let threshold = self.config.failure_threshold;
        let length = self.next_break(ticket.word, threshold, end);
        let mut decided = Decided::default();
        let mut control = self.control.lock();
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
                let trigger = Trigger::ConsecutiveFailures;
                self.open(&mut control, (now, length), trigger, &mut decided, |now| now == word)
            };
            if done {
                break true;
            }
        };
        drop(control);
        if judged {
            self.count(end)
        } else {
            self.count_late(end)
        }
        self.emit(decided);
    }

    /// Opens for a break, as a failure too many would.
    pub(super) fn trip(&self, now: u64) -> Result<(), IllegalTransition> {
        loop {
            let state = self.poll_transition(now);
            if state == State::Open {
                return Ok(());
            }
            let seen = self.load();
            if !matches!(seen.state(), State::Closed | State::HalfOpen) {
                return Err(IllegalTransition { name: self.config.name, from: state, to: State::Open });
            }
            let length = self.next_break(seen, 0, End::Cancelled);
            let mut decided = Decided::default();
            let mut control = self.control.lock();
            let allowed = |word: Word| word.same_generation(seen);
            let opened = self.open(&mut control, (now, length), Trigger::Manual, &mut decided, allowed);
            drop(control);
            self.emit(decided);
            if opened {
                return Ok(());
            }
        }
    }

    /// Into `to`, unless it is there already. `anew`: begins a new generation even then, if there is anything to forget;
    /// an observer that resets at whatever it sees comes to an end for that.
    pub(super) fn force(&self, to: State, trigger: Trigger, anew: bool) -> Result<(), IllegalTransition> {
        let at = self.epoch.nanos();
        let mut decided = Decided::default();
        let mut control = self.control.lock();
        let from = self.load_locked().state();
        let legal = from != State::ShutDown || to == from;
        if legal {
            let change = Change { to, due: u64::MAX, at, trigger };
            let allowed = |word: Word| anew || !word.is(to);
            self.turn(&mut control, change, &mut decided, allowed);
        }
        drop(control);
        self.emit(decided);
        if legal { Ok(()) } else { Err(IllegalTransition { name: self.config.name, from, to }) }
    }

    /// Another count of trials. The caller holds the lock.
    pub(super) fn set_trials(&self, word: Word, trials: Trials) {
        // ORDERING: Release, so that who acquires it sees the due time that was stored before it. Nobody else writes a
        // half-open word, so a store is enough.
        self.word.store(word.with_trials(trials).0, Ordering::Release);
    }
}
