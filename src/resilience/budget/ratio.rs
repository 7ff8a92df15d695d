//! So many retries for each hundred calls of the last seconds.

use super::{Budget, Kind, NAME};
use crate::ConfigError;
use crate::shim::Mutex;
use crate::time::{Clock, Epoch};
use std::fmt;
use std::time::Duration;

pub(super) struct Ratio {
    /// What a call deposits and what the floor adds, in thousandths of a retry.
    deposit: u64,
    floor: u64,
    slot_nanos: u64,
    epoch: Epoch,
    window: Mutex<Window>,
}

const SLOTS: usize = 10;
/// One retry.
const RETRY: u64 = 1_000;

/// The last ten slots of time: what was deposited in each, less what was taken out of it.
#[derive(Default)]
struct Window {
    /// The number of the newest slot.
    newest: u64,
    slots: [u64; SLOTS],
    /// What was taken out of the floor, by slot.
    floor_taken: [u64; SLOTS],
}

/// Where a retry was taken from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Out of deposits, the latest of them in this slot.
    Saved(u64),
    Floor(u64),
}

impl Window {
    /// Forgets the slots that have gone out of the window by slot number `now`. A clock that went back changes nothing.
    fn advance(&mut self, now: u64) {
        let steps = now.saturating_sub(self.newest).min(SLOTS as u64);
        for step in 1..=steps {
            let at = ((now - steps + step) % SLOTS as u64) as usize;
            self.slots[at] = 0;
            self.floor_taken[at] = 0;
        }
        self.newest = self.newest.max(now);
    }

    fn at(&self, slot: u64) -> usize {
        (slot % SLOTS as u64) as usize
    }

    fn saved(&self) -> u64 {
        self.slots.iter().fold(0, |sum, slot| sum.saturating_add(*slot))
    }

    fn deposit(&mut self, amount: u64) {
        let at = self.at(self.newest);
        self.slots[at] = self.slots[at].saturating_add(amount);
    }

    /// Takes one retry: out of the oldest deposits, then out of the floor. Says where it came from.
    fn take(&mut self, floor: u64) -> Option<Source> {
        if self.saved() >= RETRY {
            let (mut left, mut latest) = (RETRY, self.newest);
            for age in (0..SLOTS as u64).rev() {
                let Some(slot) = self.newest.checked_sub(age) else { continue };
                let at = self.at(slot);
                let taken = self.slots[at].min(left);
                self.slots[at] -= taken;
                left -= taken;
                if taken > 0 {
                    latest = slot;
                }
            }
            return Some(Source::Saved(latest));
        }
        let taken: u64 = self.floor_taken.iter().sum();
        if taken.saturating_add(RETRY) > floor {
            return None;
        }
        let at = self.at(self.newest);
        self.floor_taken[at] += RETRY;
        Some(Source::Floor(self.newest))
    }

    fn give_back(&mut self, source: Source) {
        match source {
            // The calls that had paid for it have gone out of the window; or it has come back by time already.
            Source::Saved(slot) | Source::Floor(slot) if self.newest - slot >= SLOTS as u64 => {}
            Source::Saved(slot) => {
                let at = self.at(slot);
                self.slots[at] = self.slots[at].saturating_add(RETRY);
            }
            Source::Floor(slot) => {
                let at = self.at(slot);
                self.floor_taken[at] = self.floor_taken[at].saturating_sub(RETRY);
            }
        }
    }
}

impl Ratio {
    /// Changes the window as it is now. The clock is read outside the lock.
    fn with<R>(&self, change: impl FnOnce(&mut Window) -> R) -> R {
        let now = self.epoch.nanos() / self.slot_nanos;
        let mut window = self.window.lock();
        window.advance(now);
        change(&mut window)
    }

    pub(super) fn available(&self) -> u64 {
        self.with(|window| {
            let taken: u64 = window.floor_taken.iter().sum();
            window.saved() / RETRY + self.floor.saturating_sub(taken) / RETRY
        })
    }

    /// A call begins.
    pub(super) fn call(&self) {
        self.with(|window| window.deposit(self.deposit));
    }

    pub(super) fn take(&self) -> Option<Source> {
        self.with(|window| window.take(self.floor))
    }

    pub(super) fn give_back(&self, source: Source) {
        self.window.lock().give_back(source);
    }
}

impl fmt::Debug for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("ratio", &(self.deposit as f64 / RETRY as f64))
            .field("window", &Duration::from_nanos(self.slot_nanos.saturating_mul(SLOTS as u64)))
            .finish()
    }
}

/// Builds a [`Budget`] in proportion to the calls; see [`Budget::ratio`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RatioBudgetBuilder {
    pub(super) ratio: f64,
    pub(super) window: Duration,
    pub(super) min_per_second: f64,
    pub(super) clock: Clock,
}

impl RatioBudgetBuilder {
    /// How long a call counts, to a tenth of it. Default: 10 s.
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// Retries that are allowed in any case, on average over the window. Default: 10 a second.
    pub fn min_per_second(self, min_per_second: f64) -> Self {
        Self { min_per_second, ..self }
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The budget.
    ///
    /// # Errors
    /// A ratio that is not a number from 0 to 1000; a window outside 10 ns to a year; a negative or absurd minimum.
    pub fn build(self) -> Result<Budget, ConfigError> {
        let error = |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new(NAME, knob, value, rule));
        if !(0.0..=1_000.0).contains(&self.ratio) {
            return error("ratio", &self.ratio, "must be a number from 0 to 1000");
        }
        let window = self.window;
        if window < Duration::from_nanos(10) || window > Duration::from_secs(366 * 86_400) {
            return error("window", &format_args!("{window:?}"), "must be from 10ns to a year");
        }
        if !(0.0..=1e6).contains(&self.min_per_second) {
            return error("min_per_second", &self.min_per_second, "must be a number from 0 to 1000000");
        }
        let floor = self.min_per_second * window.as_secs_f64() * RETRY as f64;
        Ok(Budget::of(Kind::Ratio(Ratio {
            deposit: (self.ratio * RETRY as f64).round() as u64,
            floor: floor.round() as u64,
            slot_nanos: (window.as_nanos() / SLOTS as u128) as u64,
            epoch: Epoch::new(self.clock),
            window: Mutex::new(Window::default()),
        })))
    }
}
