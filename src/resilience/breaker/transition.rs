//! Changes of state: all of them under the lock.

use super::config::Config;
use super::machine::{End, Machine, Now};
use super::settle::Ended;
use super::shutdown::Drainers;
use super::trial::Place;
use super::verdict::Ramp;
use super::window::{Counts, Shape, Windows};
use super::word::{Trials, Word};
use super::{BreakerEvent, IllegalTransition, OnOverdue, State, Trigger, Trip, WindowCounts};
use crate::shim::{MutexGuard, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// What only changes of state, of settings, and trials touch.
pub(super) struct Control {
    pub(super) config: Arc<Config>,
    /// The shape of the windows of the generations that begin now.
    pub(super) shape: Shape,
    pub(super) shape_number: u8,
    /// The places of the trials of the present half-open phase. Never grows past its capacity.
    pub(super) places: Vec<Place>,
    pub(super) next_trial: u64,
    /// Of the trials that were judged, how many were slow.
    pub(super) slow_trials: u32,
    pub(super) ramp: Ramp,
    /// In half-open: when the verdict is overdue, as long as a trial is out.
    pub(super) verdict_by: u64,
    /// In half-open: the break that follows if the verdict is overdue. Known beforehand, since the user's function
    /// cannot be called under the lock.
    pub(super) if_overdue: (Option<Trip>, u64),
    /// In open: when and why it was opened, if its end is to follow the settings.
    pub(super) opened: Option<(u64, Trip)>,
    pub(super) changes: u64,
    /// Of a breaker in which there was something to reset.
    pub(super) resets: u64,
    pub(super) changed_at: Option<u64>,
    /// Number of the next event that must be seen in order.
    next_event: u64,
    pub(super) drainers: Drainers,
}

impl Control {
    pub(super) fn new(config: Config, shape: Shape) -> Self {
        Self {
            places: Vec::with_capacity(config.knobs.half_open_requests as usize),
            ramp: Ramp::begin(&config.ramp),
            config: Arc::new(config),
            shape,
            shape_number: 1,
            next_trial: 0,
            slow_trials: 0,
            verdict_by: u64::MAX,
            if_overdue: (None, 0),
            opened: None,
            changes: 0,
            resets: 0,
            changed_at: None,
            next_event: 0,
            drainers: Drainers::default(),
        }
    }

    /// What the present break depends on, or the one after the present trials, if its end is to follow the settings.
    pub(super) fn trip(&self) -> Option<Trip> {
        self.opened.map(|(_, trip)| trip).or(self.if_overdue.0)
    }

    /// An event that must be seen in order.
    pub(super) fn decide(&mut self, decided: &mut Decided, event: BreakerEvent) {
        decided.0.push((self.next_event, event));
        self.next_event += 1;
    }

    /// Before the first trial of a half-open phase, or of a step of it.
    pub(super) fn clear_trials(&mut self) {
        self.places.clear();
        self.slow_trials = 0;
        // Nothing is overdue before a trial is out.
        self.verdict_by = u64::MAX;
    }
}

/// Events decided under the lock, to be shown after it.
#[derive(Default)]
#[must_use = "events must be emitted, or later ones wait for them for ever"]
pub(super) struct Decided(Vec<(u64, BreakerEvent)>);

/// A change of state: into what, due when, since when, why.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) to: State,
    pub(super) due: u64,
    pub(super) at: u64,
    pub(super) trigger: Trigger,
    /// What was in the window, where that is known to have been what counted.
    pub(super) window: Option<WindowCounts>,
}

/// A break begins: when, how long, and why, if its length is to follow the settings.
#[derive(Clone, Copy)]
pub(super) struct Opening {
    pub(super) at: u64,
    pub(super) length: u64,
    pub(super) trip: Option<Trip>,
}

impl Machine {
    /// The word as it is under the lock, where only the count of failures still moves.
    pub(super) fn load_locked(&self) -> Word {
        // Relaxed: the lock orders all other changes.
        Word(self.word.load(Ordering::Relaxed))
    }

    /// Takes the lock, knowing how long the break is that begins with `trip` by the settings that are in force under it. Runs
    /// the user's function without the lock; so the caller makes sure afterwards that the generation is still that of `trip`.
    pub(super) fn lock_knowing_break(&self, trip: &Trip) -> (MutexGuard<'_, Control>, u64) {
        loop {
            let config = Arc::clone(&self.control.lock().config);
            let length = config.break_nanos(trip);
            let control = self.control.lock();
            if Arc::ptr_eq(&config, &control.config) {
                return (control, length);
            }
            drop(control);
        }
    }

    /// The break that follows a half-open phase without a verdict, which begins after the generation of `seen`.
    fn trip_if_overdue(&self, seen: Word) -> Trip {
        self.trip_by(seen, Ended { end: End::Cancelled, slow: None }, Trigger::TrialsOverdue, None)
    }

    /// Takes the lock in the generation of `seen`: if that is open, with the break that follows if the trials are overdue.
    pub(super) fn lock_before_trial(&self, seen: Word) -> MutexGuard<'_, Control> {
        if !seen.is(State::Open) {
            return self.control.lock();
        }
        let trip = self.trip_if_overdue(seen);
        let (mut control, length) = self.lock_knowing_break(&trip);
        if self.load_locked().same_generation(seen) {
            control.if_overdue = (Some(trip), length);
        }
        control
    }

    /// Whether the generation of `seen` lasts; and if it is open, with its break over: the end of a break may have been put off
    /// in the same generation, before the lock was taken. Under the lock.
    pub(super) fn is_still_due(&self, seen: Word, now: u64) -> bool {
        let same = self.load_locked().same_generation(seen);
        same && (!seen.is(State::Open) || self.due(seen).is_some_and(|due| now >= due))
    }

    /// What is in the window of the word's generation, if it has one. Under the lock, or by one who looks again.
    pub(super) fn counts(&self, word: Word, now: u64) -> Option<Counts> {
        let shape = self.shape(word);
        if shape.is_none() || !matches!(word.state(), State::Closed | State::MetricsOnly) {
            return None;
        }
        Some(self.read(self.windows.get()?, word, now))
    }

    /// What is in the window of the word's generation; nothing, if that has passed.
    pub(super) fn read(&self, windows: &Windows, word: Word, now: u64) -> Counts {
        let still = || self.load().same_generation(word);
        windows.read(self.noted(), self.shape(word), word.generation(), now, still)
    }

    /// Shows what was decided, in order, with no lock held.
    pub(super) fn emit(&self, decided: Decided) {
        for (order, event) in decided.0 {
            self.observers.emit_in_order(order, event);
        }
    }

    /// The one place that changes the state: begins the next generation, if `allowed` finds the present word as it
    /// should be.
    pub(super) fn turn(
        &self,
        control: &mut Control,
        change: Change,
        decided: &mut Decided,
        allowed: impl Fn(Word) -> bool,
    ) -> Option<Word> {
        let Change { to, due, at, trigger, window } = change;
        let noted = control.config.notes_successes();
        let (before, after, held) = loop {
            let word = self.load_locked();
            if !allowed(word) {
                return None;
            }
            let held = self.counts(word, at).map(WindowCounts::from);
            let next = word.next(to, noted);
            self.set_due(next, due);
            self.set_shape(next, control.shape);
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
                break (word, next, held);
            }
        };
        if let Some(windows) = self.windows.get() {
            windows.begin(control.shape, after.generation());
        }
        self.calm.clear();
        control.opened = None;
        if to != State::HalfOpen {
            control.if_overdue.0 = None;
        }
        let (name, from, when) = (self.name, before.state(), self.instant(at));
        if from == to {
            // If nothing was counted, there is nothing to tell; and an observer that resets comes to an end.
            let counted = before.failures() > 0 || held.is_some_and(|held| held.calls > 0);
            if trigger == Trigger::Reset && counted {
                control.resets += 1;
                control.decide(decided, BreakerEvent::Cleared { name, at: when });
            }
            return Some(after);
        }
        control.changes += 1;
        control.resets += u64::from(trigger == Trigger::Reset);
        control.changed_at = Some(at);
        let open_for = (to == State::Open).then(|| Duration::from_nanos(due.saturating_sub(at)));
        let window = window.or(held);
        control.decide(
            decided,
            BreakerEvent::StateChanged { name, from, to, trigger, at: when, open_for, window },
        );
        Some(after)
    }

    pub(super) fn open(
        &self,
        control: &mut Control,
        Opening { at, length, trip }: Opening,
        trigger: Trigger,
        decided: &mut Decided,
        allowed: impl Fn(Word) -> bool,
    ) -> bool {
        let window = trip.and_then(|trip| trip.window);
        let change = Change { to: State::Open, due: at.saturating_add(length), at, trigger, window };
        let opened = self.turn(control, change, decided, allowed).is_some();
        if opened {
            control.opened = trip.map(|trip| (at, trip));
        }
        opened
    }

    pub(super) fn close(&self, control: &mut Control, at: u64, trigger: Trigger, decided: &mut Decided) {
        let change = Change { to: State::Closed, due: u64::MAX, at, trigger, window: None };
        self.turn(control, change, decided, |_| true);
    }

    /// From an open breaker whose break is over.
    pub(super) fn half_open(&self, control: &mut Control, at: u64, decided: &mut Decided) {
        control.ramp = Ramp::begin(&control.config.ramp);
        self.try_anew(control, at, decided);
    }

    /// A half-open phase, or a step of it, or the same one again with other settings.
    pub(super) fn try_anew(&self, control: &mut Control, at: u64, decided: &mut Decided) {
        control.clear_trials();
        let trigger = Trigger::BreakOver;
        let change = Change { to: State::HalfOpen, due: u64::MAX, at, trigger, window: None };
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
        let trigger = Trigger::TrialsOverdue;
        match control.config.knobs.on_overdue {
            OnOverdue::Close => self.close(control, at, trigger, decided),
            OnOverdue::Open => {
                let (trip, length) = control.if_overdue;
                self.open(control, Opening { at, length, trip }, trigger, decided, |_| true);
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
        let mut decided = Decided::default();
        let mut control = self.lock_before_trial(seen);
        let changed = if !self.is_still_due(seen, now) {
            true
        } else if seen.is(State::HalfOpen) {
            self.end_if_overdue(&mut control, now, &mut decided)
        } else {
            self.half_open(&mut control, now, &mut decided);
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
                Some(_) if control.config.knobs.on_overdue == OnOverdue::Close => State::Closed,
                Some(at) if now >= at.saturating_add(control.if_overdue.1) => State::HalfOpen,
                Some(_) => State::Open,
            };
        }
    }

    /// Opens for a break, as a failure too many would; or until `due`, which a breaker that is open takes over.
    pub(super) fn trip(&self, now: u64, due: Option<u64>) -> Result<(), IllegalTransition> {
        loop {
            let state = self.poll_transition(now);
            let seen = self.load();
            match seen.state() {
                State::Open if due.is_none() => return Ok(()),
                State::Closed | State::HalfOpen | State::Open => {}
                from => return Err(IllegalTransition { name: self.name, from, to: State::Open }),
            }
            if seen.state() != state {
                continue;
            }
            let trip = self.trip_by(seen, Ended { end: End::Cancelled, slow: None }, Trigger::Manual, None);
            let mut decided = Decided::default();
            let (mut control, length) = match due {
                Some(due) => (self.control.lock(), due.saturating_sub(now)),
                None => self.lock_knowing_break(&trip),
            };
            let word = self.load_locked();
            let mut done = word.same_generation(seen);
            if let (true, State::Open, Some(due)) = (done, word.state(), due) {
                control.opened = None;
                self.set_due(word, due);
            } else if done {
                let trip = due.is_none().then_some(trip);
                let opening = Opening { at: now, length, trip };
                let allowed = |word: Word| word.same_generation(seen);
                done = self.open(&mut control, opening, Trigger::Manual, &mut decided, allowed);
            }
            drop(control);
            self.emit(decided);
            if done {
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
            let change = Change { to, due: u64::MAX, at, trigger, window: None };
            let allowed = |word: Word| anew || !word.is(to);
            self.turn(&mut control, change, &mut decided, allowed);
        }
        drop(control);
        self.emit(decided);
        if legal { Ok(()) } else { Err(IllegalTransition { name: self.name, from, to }) }
    }

    /// Another count of trials. The caller holds the lock.
    pub(super) fn set_trials(&self, word: Word, trials: Trials) {
        // ORDERING: Release, so that who acquires it sees the due time that was stored before it. Nobody else writes a
        // half-open word, so a store is enough.
        self.word.store(word.with_trials(trials).0, Ordering::Release);
    }
}
