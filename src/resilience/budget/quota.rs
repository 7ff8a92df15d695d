//! A store of tokens.

use super::{Budget, Kind, NAME};
use crate::ConfigError;
use crate::shim::{AtomicU64, Ordering};
use std::fmt;

/// Tokens, from none to the capacity.
///
/// | step | change |
/// |---|---|
/// | take | `tokens - cost`, if there are as many: one compare-exchange |
/// | put back, reward | `min(tokens + amount, capacity)`; nothing is written where it is full |
pub(super) struct Quota {
    tokens: AtomicU64,
    capacity: u64,
    cost: u64,
    timeout_cost: u64,
    pub(super) reward: u64,
}

impl Quota {
    pub(super) fn available(&self) -> u64 {
        // Relaxed: a look, out of date when it returns.
        self.tokens.load(Ordering::Relaxed) / self.cost
    }

    /// Takes what a retry costs; says how much that was.
    pub(super) fn take(&self, after_timeout: bool) -> Option<u64> {
        let cost = if after_timeout { self.timeout_cost } else { self.cost };
        // Relaxed: the tokens order nothing but themselves.
        let take = |tokens: u64| tokens.checked_sub(cost);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(cost)
    }

    pub(super) fn put(&self, amount: u64) {
        let add = |now: u64| (now < self.capacity).then(|| now.saturating_add(amount).min(self.capacity));
        // Relaxed: as in `take`. An error means it is full, and nothing was written.
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl fmt::Debug for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("tokens", &self.tokens.load(Ordering::Relaxed))
            .field("capacity", &self.capacity)
            .field("cost", &self.cost)
            .field("timeout_cost", &self.timeout_cost)
            .field("reward", &self.reward)
            .finish()
    }
}

/// Builds a [`Budget`] of tokens; see [`Budget::quota`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct QuotaBudgetBuilder {
    pub(super) tokens: u32,
    pub(super) cost: u32,
    pub(super) timeout_cost: Option<u32>,
    pub(super) reward: u32,
}

impl QuotaBudgetBuilder {
    /// What a retry costs, and a hedge. Default: 5.
    pub fn cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// What a retry after a timeout costs: a callee that hangs is in greater trouble than one that says no. The AWS SDKs
    /// take twice as much. Default: the [`cost`](Self::cost) of any other.
    pub fn timeout_cost(self, cost: u32) -> Self {
        Self { timeout_cost: Some(cost), ..self }
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
            return Err(ConfigError::new(NAME, "tokens", self.tokens, "must be at least 1"));
        }
        let timeout_cost = self.timeout_cost.unwrap_or(self.cost);
        for (knob, cost) in [("cost", self.cost), ("timeout_cost", timeout_cost)] {
            if cost == 0 {
                return Err(ConfigError::new(NAME, knob, cost, "must be at least 1"));
            }
            if cost > self.tokens {
                return Err(ConfigError::new(NAME, knob, cost, "must not be above the tokens"));
            }
        }
        let capacity = u64::from(self.tokens);
        Ok(Budget::of(Kind::Quota(Quota {
            tokens: AtomicU64::new(capacity),
            capacity,
            cost: u64::from(self.cost),
            timeout_cost: u64::from(timeout_cost),
            reward: u64::from(self.reward),
        })))
    }
}
