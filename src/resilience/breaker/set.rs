//! Other settings for a breaker that is in use.

use super::config::Config;
use super::machine::Machine;
use super::transition::{Change, Control, Decided};
use super::verdict::Ramp;
use super::window::Windows;
use super::{BreakerEvent, State, Trigger};
use crate::shim::MutexGuard;
use std::sync::Arc;
use std::time::Duration;

impl Machine {
    /// Puts `config` in force.
    pub(super) fn set(&self, config: Config) {
        let config = Arc::new(config);
        let now = self.epoch.nanos();
        // What the state has been told to be stays so.
        self.poll_transition(now);
        if !config.shape.is_none() {
            // The generation that is, as the window begins with a later one.
            let windows = self.windows.get_or_init(|| Box::new(Windows::new(self.load().generation())));
            windows.prepare(config.shape);
        }
        let mut decided = Decided::default();
        let (mut control, length) = self.lock_knowing_new_break(&config);
        let old = std::mem::replace(&mut control.config, Arc::clone(&config));
        self.posted.post(&config);
        self.calm.clear();
        let reshaped = config.shape.numbered(0) != control.shape.numbered(0);
        if reshaped {
            // (The number skips 0, which no window has, and that of the last window that an outcome went into.)
            let next = |number: u8| number % u8::MAX + 1;
            let taken = self.windows.get().map_or(0, |windows| windows.last_number());
            control.shape_number = next(control.shape_number);
            if control.shape_number == taken {
                control.shape_number = next(taken);
            }
            control.shape = config.shape.numbered(control.shape_number);
        }
        let open_for = self.apply(&mut control, now, (reshaped, length), &mut decided);
        let (name, at) = (self.name, self.instant(now));
        control.decide(&mut decided, BreakerEvent::SettingsChanged { name, at, open_for });
        drop(control);
        self.emit(decided);
        // It may be the last of what the user's function holds: the event is out before that can panic.
        drop(old);
    }

    /// Takes the lock, knowing the length that the present break has by `config`, if the breaker is open, or would have
    /// after the present trials.
    fn lock_knowing_new_break(&self, config: &Arc<Config>) -> (MutexGuard<'_, Control>, Option<u64>) {
        loop {
            let control = self.control.lock();
            let (word, trip) = (self.load_locked(), control.trip());
            drop(control);
            let length = trip.map(|trip| config.break_nanos(&trip));
            let control = self.control.lock();
            // A break by hand may have begun in the same generation.
            if self.load_locked().same_generation(word) && control.trip() == trip {
                return (control, length);
            }
        }
    }

    /// What the new settings change at once. The new length of the break, if that is it.
    fn apply(
        &self,
        control: &mut Control,
        now: u64,
        (reshaped, length): (bool, Option<u64>),
        decided: &mut Decided,
    ) -> Option<Duration> {
        let config = Arc::clone(&control.config);
        control.places.reserve(config.knobs.half_open_requests as usize);
        loop {
            let word = self.load_locked();
            match word.state() {
                State::Open => {
                    let ((at, _), length) = control.opened.zip(length)?;
                    self.set_due(word, at.saturating_add(length));
                    return Some(Duration::from_nanos(length));
                }
                State::HalfOpen => {
                    if let (Some(length), (Some(_), known)) = (length, &mut control.if_overdue) {
                        *known = length;
                    }
                    control.ramp = Ramp::begin(&config.ramp);
                    self.try_anew(control, now, decided);
                    return None;
                }
                to @ (State::Closed | State::MetricsOnly) if reshaped => {
                    let change =
                        Change { to, due: u64::MAX, at: now, trigger: Trigger::Manual, window: None };
                    self.turn(control, change, decided, |_| true);
                    return None;
                }
                _ => {
                    let by = word.noting(config.notes_successes());
                    if by == word || self.replace(word, by) {
                        return None;
                    }
                }
            }
        }
    }
}
