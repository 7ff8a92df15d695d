//! Slow start: the rate rises as it is used, and falls back in silence.
//!
//! After Guava's `SmoothWarmingUp`, which Sentinel also follows, with a cold factor `c` that is settable. A silence stores
//! permits, up to `max`; the more are stored, the colder it is. Above a threshold each one costs more than the stable
//! interval `1/q`, rising linearly to `c/q` at `max`:
//!
//! ```text
//! warn = warm q / (c - 1)      max = warn + 2 warm q / (1 + c)      slope = (c - 1) / q / (max - warn)
//! ```
//!
//! so that going from `max` to `warn` takes `warm`, and a silence of `warm` goes all the way back. Everything is a whole
//! number if coldness is counted finely enough. With time in units of the rate (a token has `cost` of them, a nanosecond
//! `limit`) and `span` the units of the warm-up, let `3c - 1` be what a unit of silence adds and `cost (c^2 - 1)` what a
//! token takes away. Then `max` is `span (3c - 1)`, `warn` is `span (c + 1)`, and going down by `d` from `a` above it costs
//! `d (2a - d) / (4 span (c^2 - 1))` units beside the stable ones: the integral of the slope.

use super::gcra::Terms;
use super::limiter::{Engine, Plan};
use super::wide::mul_div_up;
use super::{Algorithm, Denied, Gcra, Limiter, Quota, Rate};
use crate::ConfigError;
use std::fmt;
use std::time::Duration;

const NAME: &str = "warm-up limiter";

/// Spaces admissions as [`Spacing`](super::Spacing) does, and further apart while it is cold: for a server whose caches and
/// connections have to be warmed up before it can take its full rate.
///
/// Fresh, and after a silence as long as the warm-up, it admits at the rate divided by the cold factor (3 unless said
/// otherwise), and then faster and faster until after the warm-up, under full load, it is at its rate. Half a silence cools
/// half. It stays warm while it is used at least about half the time (for a factor of 3).
///
/// # Error
/// The interval of a token is never shorter than the stable one, and is longer than the curve demands by less than a
/// nanosecond for each request: stable intervals are exact, and what coldness adds is rounded up to a part of a nanosecond (one
/// part in as many as the rate has tokens to a period, in lowest terms).
///
/// # Memory
/// 32 bytes for each state.
///
/// ```
/// use cofferdam::limit::{Algorithm, Rate, WarmUp};
/// use std::time::Duration;
///
/// let hundred = WarmUp::new(Rate::per_second(100), Duration::from_secs(2))?;
/// let mut state = hundred.fresh(0);
/// // Cold: nearly three intervals of 10 ms.
/// assert_eq!(hundred.interval(&state, 0).as_micros(), 29_900);
/// let mut now = 0;
/// while now < 2_000_000_000 {
///     now = hundred.charge(&mut state, now, 1).unwrap();
/// }
/// // Warm.
/// assert_eq!(hundred.interval(&state, now), Duration::from_millis(10));
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WarmUp {
    /// Without a burst. Its arrival time is the instant at which the next may leave.
    gcra: Gcra,
    warm_up: u64,
    factor: u32,
    /// The warm-up in units.
    span: u128,
    largest: u64,
}

/// When the next may leave, and how cold it will be then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmUpState {
    next: u128,
    cold: u128,
}

impl WarmUp {
    /// Up to `rate`, after so long a warm-up, from a third of it. Of a rate of zero one request leaves, and never another.
    ///
    /// # Errors
    /// A warm-up of zero, of 584 years and more, or of more than 2^123 units, of which a nanosecond has as many as the rate has
    /// tokens to a period in lowest terms.
    pub fn new(rate: Rate, warm_up: Duration) -> Result<Self, ConfigError> {
        let refuse = |rule| ConfigError::new(NAME, "warm-up", format_args!("{warm_up:?}"), rule);
        let nanos = u64::try_from(warm_up.as_nanos()).map_err(|_| refuse("must be under 584 years"))?;
        if nanos == 0 {
            return Err(refuse("must be longer than zero"));
        }
        let gcra = Gcra::new(Quota::new(rate, 0));
        let span = gcra.terms.at(nanos);
        let settings = Self { gcra, warm_up: nanos, factor: 3, span, largest: u64::MAX };
        settings.divisor().ok_or_else(|| refuse("must be shorter at such a rate")).map(|_| settings)
    }

    /// How many times slower it is when it is cold.
    ///
    /// # Errors
    /// Less than 2; or so much that the numbers do not fit: with a factor of a hundred, a warm-up of more than 2^111 units.
    pub fn cold(self, factor: u32) -> Result<Self, ConfigError> {
        let refuse = |rule| ConfigError::new(NAME, "cold factor", factor, rule);
        if factor < 2 {
            return Err(refuse("must be at least 2"));
        }
        let settings = Self { factor, ..self };
        settings.divisor().ok_or_else(|| refuse("must be smaller for so long a warm-up")).map(|_| settings)
    }

    /// Refuses requests of more tokens than that.
    #[must_use]
    pub const fn largest(self, tokens: u64) -> Self {
        Self { largest: tokens, ..self }
    }

    /// The rate when it is warm.
    pub const fn rate(&self) -> Rate {
        self.gcra.quota().rate()
    }

    /// How long it takes under full load from cold to warm.
    pub const fn warm_up(&self) -> Duration {
        Duration::from_nanos(self.warm_up)
    }

    /// How many times slower it is when it is cold.
    pub const fn cold_factor(&self) -> u32 {
        self.factor
    }

    /// How long a token that leaves now, or when the next may, keeps the one after it waiting, rounded up to the nanosecond;
    /// `Duration::MAX` for ever.
    pub fn interval(&self, state: &WarmUpState, now: u64) -> Duration {
        if self.rate().is_zero() {
            return Duration::MAX;
        }
        if self.rate().is_unlimited() {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.terms().nanos(self.price(self.settled(state, now).cold, 1)))
    }

    const fn terms(&self) -> Terms {
        self.gcra.terms
    }

    /// What a unit of silence adds to the coldness.
    fn cooling(&self) -> u128 {
        3 * u128::from(self.factor) - 1
    }

    /// `c^2 - 1`.
    fn square(&self) -> u128 {
        u128::from(self.factor) * u128::from(self.factor) - 1
    }

    /// `4 span (c^2 - 1)`, above which no other number comes: `None` if it does not fit.
    fn divisor(&self) -> Option<u128> {
        self.span.checked_mul(4 * self.square())
    }

    fn coldest(&self) -> u128 {
        self.span.saturating_mul(self.cooling())
    }

    /// What `n` tokens take away of the coldness.
    fn warming(&self, n: u64) -> u128 {
        (u128::from(self.terms().cost) * self.square()).saturating_mul(n.into())
    }

    /// What `n` tokens cost at so much coldness, in units.
    fn price(&self, cold: u128, n: u64) -> u128 {
        let above = cold.saturating_sub(self.span * (u128::from(self.factor) + 1));
        let down = above.min(self.warming(n));
        let extra = mul_div_up(down, 2 * above - down, self.divisor().unwrap_or(u128::MAX));
        self.terms().price(n).saturating_add(extra)
    }

    /// The state as of now, cooled by the silence until now.
    fn settled(&self, state: &WarmUpState, now: u64) -> WarmUpState {
        let now = self.terms().at(now);
        let silence = now.saturating_sub(state.next);
        let cold = state.cold.saturating_add(silence.saturating_mul(self.cooling())).min(self.coldest());
        WarmUpState { next: state.next.max(now), cold }
    }

    /// The state after `n` more left when they may, and whether that is now.
    fn plan(&self, state: &WarmUpState, now: u64, n: u64) -> Result<(WarmUpState, bool), Denied> {
        if n > self.largest {
            return Err(Denied::never(NAME, n, self.largest));
        }
        let WarmUpState { next, cold } = self.settled(state, now);
        let there = next <= self.terms().at(now);
        if !there && self.rate().is_zero() {
            return Err(Denied::never(NAME, n, self.largest));
        }
        let after = next.checked_add(self.price(cold, n));
        if after.is_none() && !there {
            return Err(Denied::after_nanos(NAME, n, self.largest, u64::MAX));
        }
        // Past the end of the numbers the next never comes.
        let next = after.unwrap_or(u128::MAX);
        Ok((WarmUpState { next, cold: cold.saturating_sub(self.warming(n)) }, there))
    }
}

impl fmt::Debug for WarmUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WarmUp({} after {:?} from 1/{}", self.rate(), self.warm_up(), self.factor)?;
        if self.largest < u64::MAX {
            write!(f, " largest {}", self.largest)?;
        }
        write!(f, ")")
    }
}

impl Engine for WarmUp {
    type Line = Plan<Self>;
}

impl Algorithm for WarmUp {
    type State = WarmUpState;

    const NAME: &'static str = NAME;

    /// As cold as can be.
    fn fresh(&self, now: u64) -> WarmUpState {
        WarmUpState { next: self.terms().at(now), cold: self.coldest() }
    }

    fn capacity(&self) -> u64 {
        self.largest
    }

    fn charge(&self, state: &mut WarmUpState, now: u64, n: u64) -> Result<u64, Denied> {
        if n == 0 {
            return Ok(now);
        }
        let (next, there) = self.plan(state, now, n)?;
        let due = if there { now } else { self.terms().nanos(state.next) };
        *state = next;
        Ok(due)
    }

    fn take(&self, state: &mut WarmUpState, now: u64, n: u64) -> Result<(), Denied> {
        if n == 0 {
            return Ok(());
        }
        let (next, there) = self.plan(state, now, n)?;
        if !there {
            let short = state.next.saturating_sub(self.terms().at(now));
            return Err(Denied::after_nanos(NAME, n, self.largest, self.terms().nanos(short)));
        }
        *state = next;
        Ok(())
    }

    /// One request of any size that is allowed, or none.
    fn available(&self, state: &WarmUpState, now: u64) -> u64 {
        if state.next > self.terms().at(now) { 0 } else { self.largest }
    }

    /// Gives back their stable intervals, and takes back the warmth that they brought; what coldness added stays spent. A
    /// silence that is over cannot be had back.
    fn refund(&self, state: &mut WarmUpState, now: u64, n: u64) {
        let back = state.next.saturating_sub(self.terms().price(n));
        state.next = back.max(state.next.min(self.terms().at(now)));
        state.cold = state.cold.saturating_add(self.warming(n)).min(self.coldest());
    }

    /// Whatever there is is one request, so with less than its largest nothing is left: as if one token had just left, but
    /// without the warmth that it would have brought.
    fn drain_to(&self, state: &mut WarmUpState, now: u64, n: u64) {
        if self.available(state, now) > n {
            *state = self.settled(state, now);
            state.next = state.next.saturating_add(self.price(state.cold, 1));
        }
    }

    /// What the next still has to wait for is owed in tokens, and comes at the new rate; it is as cold, in proportion, as it
    /// was.
    fn carry(&self, next: &Self, state: &WarmUpState, now: u64) -> WarmUpState {
        let settled = self.settled(state, now);
        let cold = match self.coldest() {
            0 => next.coldest(),
            coldest => mul_div_up(settled.cold, next.coldest(), coldest),
        };
        WarmUpState { next: self.gcra.carry(&next.gcra, &settled.next, now), cold }
    }

    fn fresh_at(&self, state: &WarmUpState) -> u64 {
        let missing = (self.coldest() - state.cold.min(self.coldest())).div_ceil(self.cooling());
        match state.next.checked_add(missing) {
            Some(0) => 0,
            Some(units) => self.terms().nanos(units),
            None => u64::MAX,
        }
    }
}

/// Lets out what comes in evenly spaced, and slowly at first; see [`WarmUp`]. Decides under a short mutex.
///
/// ```
/// use cofferdam::limit::{Rate, WarmUpLimiter};
/// use std::time::Duration;
///
/// let limiter = WarmUpLimiter::new(Rate::per_second(100), Duration::from_secs(10))?;
/// assert!(limiter.try_acquire().is_ok());
/// // The next may leave after nearly three intervals.
/// let denied = limiter.try_acquire().unwrap_err();
/// assert!(denied.retry_after() <= Some(Duration::from_millis(30)));
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub type WarmUpLimiter = Limiter<WarmUp>;

impl Limiter<WarmUp> {
    /// Up to `rate` after so long a warm-up, on the system's clock.
    ///
    /// # Errors
    /// As [`WarmUp::new`].
    pub fn new(rate: Rate, warm_up: Duration) -> Result<Self, ConfigError> {
        Ok(Self::of(WarmUp::new(rate, warm_up)?))
    }

    /// How long a token that leaves now keeps the next one waiting; see [`WarmUp::interval`].
    pub fn interval(&self) -> Duration {
        self.look(|warm_up, state, now| warm_up.interval(state, now))
    }
}
