//! How many extra attempts a service can afford in all.

mod quota;
mod ratio;
mod share;

pub use quota::QuotaBudgetBuilder;
pub use ratio::RatioBudgetBuilder;
pub use share::ShareBudgetBuilder;

use crate::shim::{AtomicU64, Ordering};
use crate::time::Clock;
use quota::Quota;
use ratio::Ratio;
use share::Share;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What wrong settings are said to belong to.
const NAME: &str = "retry budget";

/// Bounds the retries and the hedges of all calls together, so that a callee in trouble is not finished off by those who
/// try again.
///
/// Clones share the budget: give one to all retries and hedges that go to the same callee. A retry pays when it is
/// scheduled, before it sleeps, in one atomic step: any number of callers that sleep at the same time have paid already.
/// Who is dropped in the sleep gets it back.
///
/// # Three kinds
///
/// A [`quota`](Self::quota) needs no clock and no lock: a store of tokens from which each retry takes a few, refilled by
/// success. Sources: the retry quota of the AWS SDKs; gRPC proposal A6, retry throttling.
///
/// A [`ratio`](Self::ratio) allows so many retries for each hundred calls of the last seconds, and a few in any case, so
/// that a caller with little traffic may retry at all. It takes a short lock once a call. Source: Finagle's
/// `RetryBudget`.
///
/// A [`share`](Self::share) allows so many retries at the same time for each hundred calls that are under way, and a few in
/// any case. It needs no clock and no lock, and answers at once when calls pile up. Sources: `retry_budget` of Envoy;
/// failsafe-go.
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
///
/// A call that goes through two policies with the same budget, a hedge inside a retry say, would be counted twice: give
/// the inner one a [`spender`](Self::spender).
#[derive(Clone)]
pub struct Budget {
    inner: Arc<Inner>,
    /// Whether calls pay in here, or only take.
    earns: bool,
}

#[allow(clippy::large_enum_variant, reason = "a budget is made once and lives behind an `Arc`")]
enum Kind {
    Quota(Quota),
    Ratio(Ratio),
    Share(Share),
}

struct Inner {
    kind: Kind,
    paid: AtomicU64,
    refused: AtomicU64,
}

/// How a [`Budget`] stands, and what it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStats {
    /// Retries and hedges that could be paid now.
    pub available: u64,
    /// Those that were paid; also those that were then dropped before they began, and have given it back.
    pub paid: u64,
    /// Those that there was not enough for.
    pub refused: u64,
}

impl Inner {
    fn available(&self) -> u64 {
        match &self.kind {
            Kind::Quota(quota) => quota.available(),
            Kind::Ratio(ratio) => ratio.available(),
            Kind::Share(share) => share.available(),
        }
    }

    fn stats(&self) -> BudgetStats {
        let (paid, refused) = (self.paid.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed));
        BudgetStats { available: self.available(), paid, refused }
    }
}

impl Budget {
    /// A store of `tokens`, full at the start. Defaults: a retry costs 5, and a call that succeeds at its first attempt
    /// pays 1 in. A call that succeeds after retries gets back what the last of them cost.
    pub fn quota(tokens: u32) -> QuotaBudgetBuilder {
        QuotaBudgetBuilder { tokens, cost: 5, timeout_cost: None, reward: 1 }
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

    /// At any time `share` retries for each call under way, whether they sleep or run: 0.2 lets a fifth of them be retries.
    /// Default: 3 are allowed in any case.
    pub fn share(share: f64) -> ShareBudgetBuilder {
        ShareBudgetBuilder { share, least: 3 }
    }

    fn of(kind: Kind) -> Self {
        let inner = Inner { kind, paid: AtomicU64::new(0), refused: AtomicU64::new(0) };
        Self { inner: Arc::new(inner), earns: true }
    }

    /// The same budget for whoever may take from it, while the calls that pay in are counted elsewhere: for the inner of
    /// two policies around the same call.
    ///
    /// ```
    /// use cofferdam::resilience::{Budget, Hedge, Retry, Stack};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), cofferdam::ConfigError> {
    /// let budget = Budget::ratio(0.1).build()?;
    /// let hedge = Hedge::after(Duration::from_millis(30)).budget(budget.spender()).build()?;
    /// let retry = Retry::builder().budget(budget).build()?;
    /// let stack = Stack::new().retry(retry).hedge(hedge);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn spender(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), earns: false }
    }

    /// How many retries could be paid now.
    pub fn available(&self) -> u64 {
        self.inner.available()
    }

    /// How it stands, and what it has done so far, for all who share it.
    pub fn stats(&self) -> BudgetStats {
        self.inner.stats()
    }

    crate::observe::watchable!(inner, [], BudgetStats, |inner| inner.stats());

    /// Calls and retries under way, where that is known.
    #[cfg(feature = "testkit")]
    pub(super) fn under_way(&self) -> (u64, u64) {
        match &self.inner.kind {
            Kind::Share(share) => share.under_way(),
            Kind::Quota(_) | Kind::Ratio(_) => (0, 0),
        }
    }

    /// A call begins; where its end counts, it has ended when what is returned is dropped.
    pub(super) fn call(&self) -> Option<Counted<'_>> {
        match &self.inner.kind {
            _ if !self.earns => None,
            Kind::Quota(_) => None,
            Kind::Ratio(ratio) => {
                ratio.call();
                None
            }
            Kind::Share(share) => {
                share.call();
                Some(Counted(share))
            }
        }
    }

    /// Pays for a retry, if there is enough.
    pub(super) fn withdraw(&self, after_timeout: bool) -> Option<Withdrawal<'_>> {
        let Inner { kind, paid, refused } = &*self.inner;
        let back = match kind {
            Kind::Quota(quota) => quota.take(after_timeout).map(|tokens| GiveBack::Tokens(quota, tokens)),
            Kind::Ratio(ratio) => ratio.take().map(|source| GiveBack::Saved(ratio, source)),
            Kind::Share(share) => share.take().then_some(GiveBack::Place(share)),
        };
        // Relaxed: statistics.
        let count = if back.is_some() { paid } else { refused };
        count.fetch_add(1, Ordering::Relaxed);
        back.map(Withdrawal)
    }

    /// A call has succeeded at its first attempt.
    #[inline]
    pub(super) fn reward(&self) {
        if let (Kind::Quota(quota), true) = (&self.inner.kind, self.earns) {
            quota.put(quota.reward);
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.kind {
            Kind::Quota(quota) => quota.fmt(f),
            Kind::Ratio(ratio) => ratio.fmt(f),
            Kind::Share(share) => share.fmt(f),
        }
    }
}

/// A call that is under way.
pub(super) struct Counted<'a>(&'a Share);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a scheduled retry has paid: given back when dropped, unless it has begun; and what is only lent, a place among those
/// under way, in any case.
pub(super) struct Withdrawal<'a>(GiveBack<'a>);

enum GiveBack<'a> {
    Tokens(&'a Quota, u64),
    Saved(&'a Ratio, ratio::Source),
    Place(&'a Share),
    /// Tokens that are spent, and come back if the retry succeeds.
    Spent(&'a Quota, u64),
    Nothing,
}

impl Withdrawal<'_> {
    /// The retry begins.
    pub(super) fn begin(&mut self) {
        match self.0 {
            GiveBack::Tokens(quota, tokens) => self.0 = GiveBack::Spent(quota, tokens),
            GiveBack::Saved(..) => self.0 = GiveBack::Nothing,
            _ => {}
        }
    }

    /// The retry has succeeded.
    pub(super) fn succeeded(self) {
        if let GiveBack::Spent(quota, tokens) = self.0 {
            quota.put(tokens);
        }
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        match self.0 {
            GiveBack::Tokens(quota, tokens) => quota.put(tokens),
            GiveBack::Saved(ratio, source) => ratio.give_back(source),
            GiveBack::Place(share) => share.give_back(),
            GiveBack::Spent(..) | GiveBack::Nothing => {}
        }
    }
}
