//! So many retries under way for each hundred calls that are.

use super::{Budget, Kind, NAME};
use crate::ConfigError;
use crate::shim::{AtomicU64, Ordering};
use std::fmt;

/// What is under way now, in one word, so that looking and taking are one step.
///
/// | bits | what |
/// |---|---|
/// | 0..32 | retries and hedges, from when they are scheduled until they have come out |
/// | 32..64 | calls |
///
/// | step | change | allowed if |
/// |---|---|---|
/// | a call begins, ends | calls + 1, - 1 | always |
/// | a retry is scheduled | retries + 1 | retries + 1 <= max(least, share x calls) |
/// | it comes out, or is dropped | retries - 1 | always |
pub(super) struct Share {
    under_way: AtomicU64,
    /// Thousandths.
    share: u64,
    least: u64,
}

const CALL: u64 = 1 << 32;
const RETRIES: u64 = CALL - 1;

impl Share {
    fn allowed(&self, word: u64) -> u64 {
        ((word >> 32) * self.share / 1_000).max(self.least).min(RETRIES)
    }

    pub(super) fn available(&self) -> u64 {
        // Relaxed: a look, out of date when it returns.
        let word = self.under_way.load(Ordering::Relaxed);
        self.allowed(word).saturating_sub(word & RETRIES)
    }

    /// Calls and retries.
    #[cfg(feature = "testkit")]
    pub(super) fn under_way(&self) -> (u64, u64) {
        // Relaxed: as above.
        let word = self.under_way.load(Ordering::Relaxed);
        (word >> 32, word & RETRIES)
    }

    pub(super) fn call(&self) {
        // Relaxed, here and below: the counts order nothing but themselves.
        self.under_way.fetch_add(CALL, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.under_way.fetch_sub(CALL, Ordering::Relaxed);
    }

    pub(super) fn take(&self) -> bool {
        let take = |word: u64| (word & RETRIES < self.allowed(word)).then_some(word + 1);
        self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(super) fn give_back(&self) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.under_way.load(Ordering::Relaxed);
        f.debug_struct("Budget")
            .field("share", &(self.share as f64 / 1_000.0))
            .field("least", &self.least)
            .field("calls", &(word >> 32))
            .field("retries", &(word & RETRIES))
            .finish()
    }
}

/// Builds a [`Budget`] in proportion to the calls under way; see [`Budget::share`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ShareBudgetBuilder {
    pub(super) share: f64,
    pub(super) least: u32,
}

impl ShareBudgetBuilder {
    /// So many may be under way in any case. Default: 3.
    pub fn least(self, least: u32) -> Self {
        Self { least, ..self }
    }

    /// The budget.
    ///
    /// # Errors
    /// A share that is not a number from 0 to 1000.
    pub fn build(self) -> Result<Budget, ConfigError> {
        if !(0.0..=1_000.0).contains(&self.share) {
            return Err(ConfigError::new(NAME, "share", self.share, "must be a number from 0 to 1000"));
        }
        Ok(Budget::of(Kind::Share(Share {
            under_way: AtomicU64::new(0),
            share: (self.share * 1_000.0).round() as u64,
            least: u64::from(self.least),
        })))
    }
}
