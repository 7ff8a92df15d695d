//! How many retries a service can afford in all.

use crate::ConfigError;
use crate::shim::{AtomicU64, Mutex, Ordering};
use crate::time::{Clock, Epoch};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bounds the retries of all calls together, so that a callee in trouble is not finished off by those who try again.
///
/// Clones share the budget: give one to all retries that go to the same callee. A retry pays when it is scheduled, before
/// it sleeps, in one atomic step: any number of callers that sleep at the same time have paid already. Who is dropped in
/// the sleep gets it back.
///
/// # Two kinds
///
/// A [`quota`](Self::quota) needs no clock and no lock: a store of tokens from which each retry takes a few, refilled by
/// success. Sources: the retry quota of the AWS SDKs; gRPC proposal A6, retry throttling.
///
/// A [`ratio`](Self::ratio) allows so many retries for each hundred calls of the last seconds, and a few in any case, so
/// that a caller with little traffic may retry at all. It takes a short lock once a call. Source: Finagle's
/// `RetryBudget`.
///
/// ```
/// use cofferdam::resilience::{Budget, Retry};
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// let budget = Budget::ratio(0.2).build()?;
/// let reads = Retry::builder().max_attempts(3).budget(budget.clone()).build()?;
/// let writes = Retry::builder().max_attempts(2).budget(budget).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Kind>);

#[allow(clippy::large_enum_variant, reason = "a budget is made once and lives behind an `Arc`")]
enum Kind {
    Quota { tokens: AtomicU64, capacity: u64, cost: u64, reward: u64 },
    Ratio(Ratio),
}

struct Ratio {
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

    fn deposit(&mut self, amount: u64) {
        let at = self.at(self.newest);
        self.slots[at] = self.slots[at].saturating_add(amount);
    }

    /// Takes one retry: out of the oldest deposits, then out of the floor. Says where it came from.
    fn take(&mut self, floor: u64) -> Option<Source> {
        let saved: u64 = self.slots.iter().fold(0, |sum, slot| sum.saturating_add(*slot));
        if saved >= RETRY {
            let mut left = RETRY;
            for age in (0..SLOTS as u64).rev() {
                let Some(slot) = self.newest.checked_sub(age) else { continue };
                let at = self.at(slot);
                let taken = self.slots[at].min(left);
                self.slots[at] -= taken;
                left -= taken;
            }
            return Some(Source::Saved);
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
            Source::Saved => self.deposit(RETRY),
            Source::Floor(slot) if self.newest - slot < SLOTS as u64 => {
                let at = self.at(slot);
                self.floor_taken[at] = self.floor_taken[at].saturating_sub(RETRY);
            }
            // It has come back by time already.
            Source::Floor(_) => {}
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Saved,
    Floor(u64),
}

impl Budget {
    /// A store of `tokens`, full at the start. Defaults: a retry costs 5, and a call that succeeds at its first attempt
    /// pays 1 in. A call that succeeds after retries gets back what the last of them cost.
    pub fn quota(tokens: u32) -> QuotaBudgetBuilder {
        QuotaBudgetBuilder { tokens, cost: 5, reward: 1 }
    }

    /// `ratio` retries for each call: 0.2 lets a fifth of the calls be retried once. Defaults: calls count for 10 s, and
    /// 10 retries a second are allowed in any case.
    pub fn ratio(ratio: f64) -> RatioBudgetBuilder {
        RatioBudgetBuilder {
            ratio,
            window: Duration::from_secs(10),
            min_per_second: 10.0,
            clock: Clock::system(),
        }
    }

    /// How many retries could be paid now.
    pub fn available(&self) -> u64 {
        match &*self.0 {
            // Relaxed: a look, out of date when it returns.
            Kind::Quota { tokens, cost, .. } => tokens.load(Ordering::Relaxed) / cost,
            Kind::Ratio(ratio) => {
                let now = ratio.slot();
                let mut window = ratio.window.lock();
                window.advance(now);
                let saved: u64 = window.slots.iter().fold(0, |sum, slot| sum.saturating_add(*slot));
                let taken: u64 = window.floor_taken.iter().sum();
                saved / RETRY + ratio.floor.saturating_sub(taken) / RETRY
            }
        }
    }

    /// A call begins.
    pub(super) fn call(&self) {
        if let Kind::Ratio(ratio) = &*self.0 {
            let now = ratio.slot();
            let mut window = ratio.window.lock();
            window.advance(now);
            window.deposit(ratio.deposit);
        }
    }

    /// Pays for a retry, if there is enough.
    pub(super) fn withdraw(&self) -> Option<Withdrawal<'_>> {
        let source = match &*self.0 {
            Kind::Quota { tokens, cost, .. } => {
                // Relaxed: the tokens order nothing but themselves.
                let take = |tokens: u64| tokens.checked_sub(*cost);
                tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
                Source::Saved
            }
            Kind::Ratio(ratio) => {
                let now = ratio.slot();
                let mut window = ratio.window.lock();
                window.advance(now);
                window.take(ratio.floor)?
            }
        };
        Some(Withdrawal { budget: self, source: Some(source) })
    }

    /// A call has succeeded, with or without retries.
    #[inline]
    pub(super) fn success(&self, retried: bool) {
        if let Kind::Quota { cost, reward, .. } = &*self.0 {
            self.add(if retried { *cost } else { *reward });
        }
    }

    fn give_back(&self, source: Source) {
        match &*self.0 {
            Kind::Quota { cost, .. } => self.add(*cost),
            Kind::Ratio(ratio) => ratio.window.lock().give_back(source),
        }
    }

    fn add(&self, amount: u64) {
        if let Kind::Quota { tokens, capacity, .. } = &*self.0 {
            let add = |now: u64| (now < *capacity).then(|| now.saturating_add(amount).min(*capacity));
            // Relaxed: as in `withdraw`. An error means it is full, and nothing was written.
            let _ = tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }
}

impl Ratio {
    /// The number of the present slot of time. The clock is read outside the lock.
    fn slot(&self) -> u64 {
        self.epoch.nanos() / self.slot_nanos
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Budget");
        match &*self.0 {
            Kind::Quota { tokens, capacity, cost, reward } => out
                .field("tokens", &tokens.load(Ordering::Relaxed))
                .field("capacity", capacity)
                .field("cost", cost)
                .field("reward", reward)
                .finish(),
            Kind::Ratio(ratio) => out
                .field("ratio", &(ratio.deposit as f64 / RETRY as f64))
                .field("window", &Duration::from_nanos(ratio.slot_nanos.saturating_mul(SLOTS as u64)))
                .finish(),
        }
    }
}

/// What a scheduled retry has paid: given back unless the retry takes place.
#[derive(Debug)]
pub(super) struct Withdrawal<'a> {
    budget: &'a Budget,
    source: Option<Source>,
}

impl Withdrawal<'_> {
    /// The retry takes place.
    pub(super) fn spend(mut self) {
        self.source = None;
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            self.budget.give_back(source);
        }
    }
}

/// Builds a [`Budget`] of tokens; see [`Budget::quota`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct QuotaBudgetBuilder {
    tokens: u32,
    cost: u32,
    reward: u32,
}

impl QuotaBudgetBuilder {
    /// What a retry costs. Default: 5.
    pub fn cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// What a call that succeeds at its first attempt pays in. Default: 1.
    pub fn reward(self, reward: u32) -> Self {
        Self { reward, ..self }
    }

    /// The budget.
    ///
    /// # Errors
    /// No tokens; a cost of zero, which would bound nothing, or above the tokens, which would allow no retry ever.
    pub fn build(self) -> Result<Budget, ConfigError> {
        if self.tokens == 0 {
            return Err(ConfigError::new("retry budget", "tokens", self.tokens, "must be at least 1"));
        }
        if self.cost == 0 {
            return Err(ConfigError::new("retry budget", "cost", self.cost, "must be at least 1"));
        }
        if self.cost > self.tokens {
            return Err(ConfigError::new("retry budget", "cost", self.cost, "must not be above the tokens"));
        }
        let capacity = u64::from(self.tokens);
        Ok(Budget(Arc::new(Kind::Quota {
            tokens: AtomicU64::new(capacity),
            capacity,
            cost: u64::from(self.cost),
            reward: u64::from(self.reward),
        })))
    }
}

/// Builds a [`Budget`] in proportion to the calls; see [`Budget::ratio`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RatioBudgetBuilder {
    ratio: f64,
    window: Duration,
    min_per_second: f64,
    clock: Clock,
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
        let error =
            |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new("retry budget", knob, value, rule));
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
        Ok(Budget(Arc::new(Kind::Ratio(Ratio {
            deposit: (self.ratio * RETRY as f64).round() as u64,
            floor: floor.round() as u64,
            slot_nanos: (window.as_nanos() / SLOTS as u128) as u64,
            epoch: Epoch::new(self.clock),
            window: Mutex::new(Window::default()),
        }))))
    }
}
