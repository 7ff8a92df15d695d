//! The leaky bucket as a meter: what comes in must find room in a bucket that leaks.

use super::limiter::{Engine, Packed, Params, Plan, Step};
use super::{Algorithm, Denied, Gcra, Limiter, Quota, Rate};
use std::fmt;

const NAME: &str = "leaky bucket";

/// A bucket of a capacity that leaks at a rate: what would overflow it is refused.
///
/// It is the token bucket seen from the other side: a level of what was let in, instead of a stock of what may be. So it decides
/// exactly as [`Gcra`] does, by the same arithmetic, and starts empty where the other starts full. To space out what leaves,
/// take [`Spacing`](super::Spacing).
///
/// # Error
/// None: over any stretch of time `t` it lets in at most `capacity + leak * t`, and whoever asks often enough gets just that.
/// (The leaky bucket as a meter, ITU-T I.371.)
///
/// # Memory
/// 16 bytes for each state.
///
/// ```
/// use cofferdam::limit::{Algorithm, Leaky, Rate};
///
/// let bucket = Leaky::new(5, Rate::per_second(10));
/// let mut state = bucket.fresh(0);
/// assert!(bucket.take(&mut state, 0, 4).is_ok());
/// assert_eq!(bucket.level(&state, 0), 4);
/// // Two have leaked out.
/// assert_eq!(bucket.level(&state, 200_000_000), 2);
/// assert_eq!(bucket.available(&state, 200_000_000), 3);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Leaky {
    gcra: Gcra,
}

impl Leaky {
    /// Of a capacity, and what leaks out. One that leaks nothing is filled once; of an unlimited leak nothing overflows.
    pub const fn new(capacity: u64, leak: Rate) -> Self {
        Self { gcra: Gcra::new(Quota::new(leak, capacity)) }
    }

    /// What leaks out.
    pub const fn leak(&self) -> Rate {
        self.gcra.quota().rate()
    }

    /// The state of a bucket that is filled to `level` at `now`, or to the brim.
    pub fn at_level(&self, now: u64, level: u64) -> u128 {
        let mut state = self.gcra.fresh(now);
        self.gcra.drain_to(&mut state, now, self.gcra.capacity().saturating_sub(level));
        state
    }

    /// What is in the bucket, rounded up, at most its capacity.
    pub fn level(&self, state: &u128, now: u64) -> u64 {
        self.gcra.capacity() - self.gcra.available(state, now)
    }
}

/// The rate leaks, and the burst is the capacity.
impl From<Quota> for Leaky {
    fn from(quota: Quota) -> Self {
        Self { gcra: quota.into() }
    }
}

impl fmt::Debug for Leaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaky({} leak {})", self.gcra.capacity(), self.leak())
    }
}

/// Packed as the token bucket is.
impl Engine for Leaky {
    type Line = Plan<Self>;

    fn params(&self, base: u64) -> Params {
        self.gcra.params(base)
    }

    fn span(&self) -> u64 {
        self.gcra.span()
    }

    fn encode(&self, state: &u128, base: u64) -> Option<u64> {
        self.gcra.encode(state, base)
    }

    fn decode(&self, bits: u64, base: u64) -> u128 {
        self.gcra.decode(bits, base)
    }

    #[inline(always)]
    fn step(params: &Params, packed: Packed, since: u64, n: u64) -> Step {
        match Gcra::step(params, packed, since, n) {
            Step::Denied(denied) => Step::Denied(denied.by(NAME)),
            step => step,
        }
    }
}

impl Algorithm for Leaky {
    type State = u128;

    const NAME: &'static str = NAME;

    fn fresh(&self, now: u64) -> u128 {
        self.gcra.fresh(now)
    }

    fn capacity(&self) -> u64 {
        self.gcra.capacity()
    }

    fn charge(&self, state: &mut u128, now: u64, n: u64) -> Result<u64, Denied> {
        self.gcra.charge(state, now, n).map_err(|denied| denied.by(NAME))
    }

    fn take(&self, state: &mut u128, now: u64, n: u64) -> Result<(), Denied> {
        self.gcra.take(state, now, n).map_err(|denied| denied.by(NAME))
    }

    fn available(&self, state: &u128, now: u64) -> u64 {
        self.gcra.available(state, now)
    }

    fn refund(&self, state: &mut u128, now: u64, n: u64) {
        self.gcra.refund(state, now, n);
    }

    fn drain_to(&self, state: &mut u128, now: u64, n: u64) {
        self.gcra.drain_to(state, now, n);
    }

    /// The room that is there now stays, as far as the new bucket has it.
    fn carry(&self, next: &Self, state: &u128, now: u64) -> u128 {
        self.gcra.carry(&next.gcra, state, now)
    }

    fn fresh_at(&self, state: &u128) -> u64 {
        self.gcra.fresh_at(state)
    }
}

/// Lets in what a leaking bucket has room for; see [`Leaky`]. Lock-free to decide, as [`TokenBucket`](super::TokenBucket) is.
///
/// ```
/// use cofferdam::limit::{LeakyBucket, Rate};
///
/// let bucket = LeakyBucket::new(2, Rate::per_minute(1));
/// assert!(bucket.try_acquire_many(2).is_ok());
/// assert_eq!(bucket.level(), 2);
/// assert!(bucket.try_acquire().is_err());
/// ```
pub type LeakyBucket = Limiter<Leaky>;

impl Limiter<Leaky> {
    /// An empty bucket on the system's clock.
    pub fn new(capacity: u64, leak: Rate) -> Self {
        Self::of(Leaky::new(capacity, leak))
    }

    /// What is in the bucket now, rounded up.
    pub fn level(&self) -> u64 {
        self.look(|leaky, state, now| leaky.level(state, now))
    }

    /// What leaks out.
    pub fn leak(&self) -> Rate {
        self.algorithm().leak()
    }
}
