//! The leaky bucket as a shaper: what goes out goes out evenly spaced.

use super::gcra::Terms;
use super::limiter::{Engine, Packed, Params, Plan, Step, WORD_BITS};
use super::{Algorithm, Denied, Gcra, Limiter, Quota, Rate};
use std::fmt;

const NAME: &str = "shaper";

/// Spaces admissions evenly: `n` tokens leave at one instant, and nothing follows for the next `n` intervals of the rate.
///
/// Nothing is saved up: after any silence one request leaves at once, and the next an interval per token later. Those who
/// wait leave one by one, however they came. (Turner's leaky bucket as a queue, 1986; the shape of nginx's `limit_req` and of
/// Sentinel's rate limiter.)
///
/// A request is admitted whatever its size, since it pays afterwards. [`largest`](Self::largest) refuses those that would keep
/// all others waiting too long. [`slack`](Self::slack) lets a caller who was late catch up.
///
/// # Error
/// None: over any stretch of time `t`, all but the last request come to at most `rate * t` tokens (plus the slack), and those
/// who wait get just that, in exact integers, as of [`Gcra`]. Who polls instead is late by a part of an interval each time,
/// and a slack of 1 gives it back.
///
/// # Memory
/// 16 bytes for each state.
///
/// ```
/// use cofferdam::limit::{Algorithm, Rate, Spacing};
///
/// let hundred = Spacing::new(Rate::per_second(100));
/// let mut state = hundred.fresh(0);
/// let due: Vec<u64> = (0..4).map(|_| hundred.charge(&mut state, 0, 1).unwrap() / 1_000_000).collect();
/// assert_eq!(due, [0, 10, 20, 30]);
/// // Three at once keep three intervals.
/// assert_eq!(hundred.charge(&mut state, 0, 3), Ok(40_000_000));
/// assert_eq!(hundred.charge(&mut state, 0, 1), Ok(70_000_000));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Spacing {
    /// With the slack as its burst. Its arrival time is the instant at which the next may leave without slack.
    gcra: Gcra,
    largest: u64,
}

impl Spacing {
    /// At `rate`, without slack, and requests of any size. Of a rate of zero one request leaves, and never another.
    pub const fn new(rate: Rate) -> Self {
        Self { gcra: Gcra::new(Quota::new(rate, 0)), largest: u64::MAX }
    }

    /// Lets up to so many tokens leave early after a silence, so that one who comes late for an interval does not lose it for good.
    #[must_use]
    pub const fn slack(self, tokens: u64) -> Self {
        Self { gcra: Gcra::new(self.gcra.quota().burst(tokens)), ..self }
    }

    /// Refuses requests of more tokens than that.
    #[must_use]
    pub const fn largest(self, tokens: u64) -> Self {
        Self { largest: tokens, ..self }
    }

    /// The rate.
    pub const fn rate(&self) -> Rate {
        self.gcra.quota().rate()
    }

    const fn terms(&self) -> Terms {
        self.gcra.terms
    }

    /// Until when the next may have been due to leave at `now`.
    fn top(&self, now: u64) -> u128 {
        self.terms().at(now).saturating_add(self.terms().depth())
    }

    fn refuse_size(&self, n: u64) -> Result<(), Denied> {
        if n > self.largest { Err(Denied::never(NAME, n, self.largest)) } else { Ok(()) }
    }

    /// The state after `n` more left when they may.
    fn after(&self, state: u128, now: u64, n: u64) -> Result<u128, Denied> {
        let end = Denied::after_nanos(NAME, n, self.largest, u64::MAX);
        self.terms().charge(state, now, n).ok_or(end)
    }

    fn refusal(&self, state: u128, now: u64, n: u64) -> Denied {
        if self.rate().is_zero() {
            return Denied::never(NAME, n, self.largest);
        }
        let short = state.saturating_sub(self.top(now));
        Denied::after_nanos(NAME, n, self.largest, self.terms().nanos(short))
    }
}

impl fmt::Debug for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spacing({}", self.rate())?;
        if self.terms().burst > 0 && !self.rate().is_unlimited() {
            write!(f, " slack {}", self.terms().burst)?;
        }
        if self.largest < u64::MAX {
            write!(f, " largest {}", self.largest)?;
        }
        write!(f, ")")
    }
}

/// Packed as the token bucket is. Parameters: units in a nanosecond, cost of a token, of the slack, and the largest request.
impl Engine for Spacing {
    type Line = Plan<Self>;

    fn params(&self, base: u64) -> Params {
        let [limit, cost, slack, _] = self.gcra.params(base);
        [limit, cost, slack, self.largest]
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
    fn step(&[limit, cost, slack, largest]: &Params, packed: Packed, since: u64, n: u64) -> Step {
        let free = packed.state();
        if n > largest {
            return Step::Denied(Denied::never(NAME, n, largest));
        }
        // No overflow where the parameters belong together (`span`); where they do not, the result is thrown away.
        let now = since.wrapping_mul(limit);
        let top = now.wrapping_add(slack);
        if free > top {
            return Step::Denied(Denied::short(NAME, n, largest, free.wrapping_sub(top), limit));
        }
        // A large one may keep the others waiting for longer than the word can say.
        match n.checked_mul(cost).and_then(|price| free.max(now).checked_add(price)) {
            Some(next) if next >> WORD_BITS == 0 => packed.with(next),
            _ => Step::Slow,
        }
    }
}

impl Algorithm for Spacing {
    type State = u128;

    const NAME: &'static str = NAME;

    fn fresh(&self, now: u64) -> u128 {
        self.gcra.fresh(now)
    }

    fn capacity(&self) -> u64 {
        self.largest
    }

    fn charge(&self, state: &mut u128, now: u64, n: u64) -> Result<u64, Denied> {
        if n == 0 {
            return Ok(now);
        }
        self.refuse_size(n)?;
        let mut due = now;
        if *state > self.top(now) {
            if self.rate().is_zero() {
                return Err(self.refusal(*state, now, n));
            }
            due = self.terms().nanos(*state - self.terms().depth());
        }
        *state = self.after(*state, now, n)?;
        Ok(due)
    }

    fn take(&self, state: &mut u128, now: u64, n: u64) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        self.refuse_size(n)?;
        if *state > self.top(now) {
            return Err(self.refusal(*state, now, n));
        }
        *state = self.after(*state, now, n)?;
        Ok(())
    }

    /// One request of any size that is allowed, or none.
    fn available(&self, state: &u128, now: u64) -> u64 {
        if *state > self.top(now) {
            return 0;
        }
        // At the end of the numbers not every size has its intervals.
        let room = u128::MAX - (*state).max(self.terms().at(now));
        let tokens = room.checked_div(self.terms().cost.into()).and_then(|tokens| u64::try_from(tokens).ok());
        tokens.unwrap_or(u64::MAX).min(self.largest)
    }

    /// Gives back their intervals. A silence that is over cannot be had back.
    fn refund(&self, state: &mut u128, now: u64, n: u64) {
        self.gcra.refund(state, now, n);
    }

    /// Whatever there is is one request, so with less than its largest nothing is left: as if one token had just left.
    fn drain_to(&self, state: &mut u128, now: u64, n: u64) {
        if self.available(state, now) > n {
            *state = self.top(now).saturating_add(self.terms().price(1));
        }
    }

    /// What the next still has to wait for is owed in tokens, and comes at the new rate.
    fn carry(&self, next: &Self, state: &u128, now: u64) -> u128 {
        self.gcra.carry(&next.gcra, state, now)
    }

    fn fresh_at(&self, state: &u128) -> u64 {
        self.gcra.fresh_at(state)
    }
}

/// Lets out what comes in evenly spaced; see [`Spacing`]. Lock-free to decide, for rates as of
/// [`TokenBucket`](super::TokenBucket). [`queue`](super::LimiterBuilder::queue) bounds how many wait.
///
/// ```
/// use cofferdam::limit::{Rate, Shaper};
///
/// # futures_executor::block_on(async {
/// let shaper = Shaper::new(Rate::per_second(1000));
/// for _ in 0..3 {
///     // One every millisecond.
///     shaper.acquire().await?;
/// }
/// # Ok::<(), cofferdam::limit::WaitError>(())
/// # }).unwrap();
/// ```
pub type Shaper = Limiter<Spacing>;

impl Limiter<Spacing> {
    /// At `rate`, on the system's clock.
    pub fn new(rate: Rate) -> Self {
        Self::of(Spacing::new(rate))
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.algorithm().rate()
    }
}
