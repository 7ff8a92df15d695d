//! Admission control on the client's side: asks less of a server that turns calls away.

mod builder;
mod permit;
mod refusal;
mod rule;
mod stats;

pub use builder::AdmissionBuilder;
pub use permit::{AdmissionPermit, Answer, OwnedAdmissionPermit};
pub use refusal::NotAdmitted;
pub use stats::AdmissionStats;

use crate::ConfigError;
use crate::shim::{AtomicU64, Ordering};
use crate::sync::Window;
use crate::sync::striped::{Striped, lane};
use crate::time::Clock;
use rule::Rule;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// Turns calls away on this side of the wire, at random and the more the more the server turns away itself: an
/// overloaded server spends its time on refusing, and is spared that too. Known as adaptive or client-side throttling.
///
/// Of the calls of the last two minutes it knows how many the server accepted, and turns the next one away with the
/// probability
///
/// ```text
/// p = min(max, max(0, (requests - k * accepts) / (requests + 1)) ^ (1 / aggression))
/// ```
///
/// so that the server sees about `k` times as many calls as it accepts. `requests` are all calls that there was an
/// answer to: accepted or rejected by the server, or turned away here. With the default `k` of 2 the server gets twice
/// as many calls as it can do; the surplus is how it is found out that it can do more. A `k` of 1.1 begins earlier and
/// leaves less of a surplus.
///
/// Sources: *Site Reliability Engineering* (Google, 2016), chapter 21, "Client-Side Throttling", for the formula with an
/// aggression of 1 and no greatest probability; Envoy's admission control filter for both of those. Its `threshold` is
/// `1 / k`.
///
/// ```
/// use cofferdam::limit::AdmissionControl;
///
/// # struct Response { status: u16 }
/// # let send = || Response { status: 503 };
/// let control = AdmissionControl::new();
/// if let Ok(permit) = control.try_acquire() {
///     match send().status {
///         429 | 503 => permit.rejected(),
///         _ => permit.accepted(),
///     }
/// }
/// assert_eq!(control.stats().rejected, 1);
/// ```
///
/// # What counts
///
/// | what becomes of a call | requests | accepts |
/// |---|---|---|
/// | turned away here | +1 | |
/// | [`accepted`](AdmissionPermit::accepted) by the server, whether it succeeded or failed | +1 | +1 |
/// | [`rejected`](AdmissionPermit::rejected) by the server, or dropped by a panic | +1 | |
/// | [`ignored`](AdmissionPermit::ignore), or dropped | | |
///
/// A call counts when its answer is known. So calls that are under way speak neither for the server nor against it: a
/// burst at the start turns nobody away.
///
/// # How it recovers
///
/// A server that accepts nothing still gets one call in five ([`max`](AdmissionBuilder::max) is 0.8), and by these it is
/// found out that it is well. What it rejected is forgotten a window later at the latest, whether calls come or not.
/// Under steady traffic everything is let through again less than two windows after the server has recovered.
///
/// # What is lock-free
///
/// All of it: a decision reads the counts, an answer adds to one. Nothing allocates.
///
/// # When to use something else
///
/// With few calls there is nothing to estimate from: a circuit breaker decides from a handful. Where the server says
/// how much it wants, in headers or by a contract, keep to that with a [`TokenBucket`](super::TokenBucket). As a policy
/// around calls it is an `Admission` of the room `resilience`.
///
/// Clones share the counts: one for each server, or group of servers that is overloaded together.
#[derive(Clone)]
pub struct AdmissionControl {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Clock,
    /// [`ACCEPTED`] and [`UNACCEPTED`]: each call is one event, so that no reader finds more accepts than requests.
    window: Window<2>,
    min_requests: u64,
    exponent: f64,
    /// Bits of an `f64`; changed while calls run.
    k: AtomicU64,
    max: AtomicU64,
    /// The state of a SplitMix64 generator, which moves on by addition: so any number of threads can draw at once.
    generator: AtomicU64,
    tally: Striped<{ stats::COUNTERS }>,
}

const ACCEPTED: usize = 0;
/// Rejected by the server or turned away here.
const UNACCEPTED: usize = 1;

impl AdmissionControl {
    /// With the defaults of the book: `k` is 2, the window two minutes.
    pub fn new() -> Self {
        AdmissionBuilder::build_default()
    }

    /// With settings of your own.
    pub fn builder() -> AdmissionBuilder {
        AdmissionBuilder::new()
    }

    /// Lets a call through, or not, now. Tell the permit what the server made of it.
    ///
    /// # Errors
    /// Turned away: [`NotAdmitted`].
    #[inline]
    pub fn try_acquire(&self) -> Result<AdmissionPermit<&Self>, NotAdmitted> {
        self.inner.decide(self.inner.clock.now(), || self.inner.draw())?;
        Ok(AdmissionPermit::new(self))
    }

    /// As [`try_acquire`](Self::try_acquire) at the time `now`, turning the call away if `draw` is below the probability
    /// of that. `draw` is taken for a number drawn evenly from 0 to below 1.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_at(&self, now: Instant, draw: f64) -> Result<AdmissionPermit<&Self>, NotAdmitted> {
        self.inner.decide(now, || draw)?;
        Ok(AdmissionPermit::new(self))
    }

    /// As [`try_acquire`](Self::try_acquire), with a permit that can go anywhere: it holds a clone.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned(&self) -> Result<OwnedAdmissionPermit, NotAdmitted> {
        self.inner.decide(self.inner.clock.now(), || self.inner.draw())?;
        Ok(AdmissionPermit::new(self.clone()))
    }

    /// As [`try_acquire_owned`](Self::try_acquire_owned), with the time and the draw of
    /// [`try_acquire_at`](Self::try_acquire_at).
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned_at(&self, now: Instant, draw: f64) -> Result<OwnedAdmissionPermit, NotAdmitted> {
        self.inner.decide(now, || draw)?;
        Ok(AdmissionPermit::new(self.clone()))
    }

    /// The probability with which a call would be turned away now. Asking counts nothing.
    pub fn probability(&self) -> f64 {
        self.probability_at(self.inner.clock.now())
    }

    /// As [`probability`](Self::probability), at the time `now`.
    pub fn probability_at(&self, now: Instant) -> f64 {
        self.inner.look(now).probability()
    }

    /// The formula alone: the probability after so many `requests`, of which the server accepted `accepts`, by the
    /// present settings.
    pub fn probability_of(&self, requests: u64, accepts: u64) -> f64 {
        self.inner.rule().probability(requests, accepts)
    }

    /// How many calls for each accepted one the server may get.
    pub fn k(&self) -> f64 {
        self.inner.rule().k
    }

    /// Changes `k` for all calls from now on, and returns the old one.
    ///
    /// # Errors
    /// As for the [builder's](AdmissionBuilder::k).
    pub fn set_k(&self, k: f64) -> Result<f64, ConfigError> {
        rule::check_k(k)?;
        // Relaxed: a setting orders nothing.
        Ok(f64::from_bits(self.inner.k.swap(k.to_bits(), Ordering::Relaxed)))
    }

    /// The greatest probability.
    pub fn max(&self) -> f64 {
        self.inner.rule().max
    }

    /// Changes the greatest probability for all calls from now on, and returns the old one.
    ///
    /// # Errors
    /// As for the [builder's](AdmissionBuilder::max).
    pub fn set_max(&self, max: f64) -> Result<f64, ConfigError> {
        rule::check_max(max)?;
        // Relaxed: as in `set_k`.
        Ok(f64::from_bits(self.inner.max.swap(max.to_bits(), Ordering::Relaxed)))
    }

    crate::observe::watchable!(inner, [], Self, |inner| Self { inner });

    /// What it has counted, and what follows from that now.
    pub fn stats(&self) -> AdmissionStats {
        self.stats_at(self.inner.clock.now())
    }

    /// As [`stats`](Self::stats), at the time `now`.
    pub fn stats_at(&self, now: Instant) -> AdmissionStats {
        stats::read(&self.inner.tally, self.inner.look(now))
    }
}

impl Default for AdmissionControl {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn rule(&self) -> Rule {
        // Relaxed: settings order nothing.
        let load = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        Rule {
            k: load(&self.k),
            exponent: self.exponent,
            max: load(&self.max),
            min_requests: self.min_requests,
        }
    }

    /// What a refusal at `now` would say.
    #[inline]
    fn look(&self, now: Instant) -> NotAdmitted {
        let [accepts, others] = self.window.sums_at(now);
        let requests = accepts.saturating_add(others);
        NotAdmitted { requests, accepts, probability: self.rule().probability(requests, accepts) }
    }

    /// Draws only where there is something to decide, so that a healthy server costs no write to what all threads share.
    #[inline]
    fn decide(&self, now: Instant, draw: impl FnOnce() -> f64) -> Result<(), NotAdmitted> {
        let seen = self.look(now);
        if seen.probability() > 0.0 && draw() < seen.probability() {
            self.window.record_at::<UNACCEPTED>(now);
            self.tally.add::<{ stats::SHED }>(lane());
            return Err(seen);
        }
        self.tally.add::<{ stats::ADMITTED }>(lane());
        Ok(())
    }

    /// From 0 to below 1. Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
    fn draw(&self) -> f64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        // Relaxed: whoever comes gets the next number.
        let state = self.generator.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mixed = mixed ^ (mixed >> 31);
        // The 53 bits that an `f64` holds exactly.
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl fmt::Debug for AdmissionControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionControl")
            .field("k", &self.k())
            .field("max", &self.max())
            .field("window", &self.inner.window)
            .finish_non_exhaustive()
    }
}
