//! How long to wait before trying again.

use super::Jitter;
use crate::ConfigError;
use fastrand::Rng;
use std::fmt;
use std::time::Duration;

/// How long to wait before each retry: a small value, and a factory of iterators.
///
/// With *k* the index of the retry, counted from 0, and *base* the first delay:
///
/// | constructor | delay |
/// |---|---|
/// | [`fixed`](Self::fixed) | base |
/// | [`linear`](Self::linear) | base x (k + 1) |
/// | [`quadratic`](Self::quadratic) | base x (k + 1)^2 |
/// | [`exponential`](Self::exponential) | base x factor^k |
/// | [`fibonacci`](Self::fibonacci) | base x 1, 1, 2, 3, 5, 8, ... |
///
/// The [`cap`](Self::cap) is applied before the [`jitter`](Self::jitter), so that delays go on spreading below it when it
/// is reached, and no delay is ever above it. All arithmetic saturates.
///
/// The default is exponential from 100 ms by a factor of 2, capped at 30 s, with [full jitter](Jitter::Full). The
/// constructors start without cap and without jitter.
///
/// Sources: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
///
/// ```
/// use cofferdam::time::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::exponential(Duration::from_millis(100)).cap(Duration::from_millis(500));
/// let millis: Vec<_> = backoff.delays().take(4).map(|delay| delay.as_millis()).collect();
/// assert_eq!(millis, [100, 200, 400, 500]);
/// ```
#[derive(Clone, Copy, PartialEq)]
pub struct Backoff {
    shape: Shape,
    base: Duration,
    cap: Duration,
    jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Fixed,
    Linear,
    Quadratic,
    Exponential { factor: f64 },
    Fibonacci,
}

impl Backoff {
    /// No delay at all.
    pub const ZERO: Self = Self::fixed(Duration::ZERO);

    const fn new(shape: Shape, base: Duration) -> Self {
        Self { shape, base, cap: Duration::MAX, jitter: Jitter::None }
    }

    /// The same delay each time.
    pub const fn fixed(delay: Duration) -> Self {
        Self::new(Shape::Fixed, delay)
    }

    /// One `base` more each time.
    pub const fn linear(base: Duration) -> Self {
        Self::new(Shape::Linear, base)
    }

    /// `base` times 1, 4, 9, 16, and so on.
    pub const fn quadratic(base: Duration) -> Self {
        Self::new(Shape::Quadratic, base)
    }

    /// Twice as long each time; see [`factor`](Self::factor).
    pub const fn exponential(base: Duration) -> Self {
        Self::new(Shape::Exponential { factor: 2.0 }, base)
    }

    /// `base` times 1, 1, 2, 3, 5, 8, and so on: grows by about 1.6 each time.
    pub const fn fibonacci(base: Duration) -> Self {
        Self::new(Shape::Fibonacci, base)
    }

    /// By how much an exponential delay grows each time. Turns other shapes into an exponential one. Default: 2.
    ///
    /// # Errors
    /// Not a finite number of at least 1.
    pub fn factor(self, factor: f64) -> Result<Self, ConfigError> {
        if factor.is_finite() && factor >= 1.0 {
            Ok(Self { shape: Shape::Exponential { factor }, ..self })
        } else {
            Err(ConfigError::new("backoff", "factor", factor, "must be a finite number of at least 1"))
        }
    }

    /// The longest delay. Default: none.
    #[must_use]
    pub const fn cap(self, cap: Duration) -> Self {
        Self { cap, ..self }
    }

    /// How delays are spread, so that callers who failed together do not come back together. Default: not at all.
    #[must_use]
    pub const fn jitter(self, jitter: Jitter) -> Self {
        Self { jitter, ..self }
    }

    /// The delay before retry `index`, counted from 0, before jitter: a pure function that saturates at the cap.
    pub fn delay(&self, index: u32) -> Duration {
        let base = self.base;
        if base.is_zero() {
            return base;
        }
        let number = index.saturating_add(1);
        let delay = match self.shape {
            Shape::Fixed => Some(base),
            Shape::Linear => base.checked_mul(number),
            Shape::Quadratic => base.checked_mul(number).and_then(|linear| linear.checked_mul(number)),
            Shape::Exponential { factor } => grow(base, factor, index),
            Shape::Fibonacci => fibonacci(number).and_then(|times| base.checked_mul(times)),
        };
        delay.unwrap_or(Duration::MAX).min(self.cap)
    }

    /// The delays of one run, without end, with jitter from a random seed.
    pub fn delays(&self) -> Delays {
        Delays { backoff: *self, index: 0, spread: self.spread(None) }
    }

    /// The delays of one run with jitter from `rng`: the same seed gives the same delays.
    ///
    /// ```
    /// use cofferdam::time::{Backoff, Jitter, Rng};
    /// use std::time::Duration;
    ///
    /// let backoff = Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::Full);
    /// let delays = |seed| backoff.delays_with(Rng::with_seed(seed)).take(8);
    /// assert!(delays(1).eq(delays(1)));
    /// assert!(delays(1).ne(delays(2)));
    /// ```
    pub fn delays_with(&self, rng: Rng) -> Delays {
        Delays { backoff: *self, index: 0, spread: self.spread(Some(rng)) }
    }

    /// Whether a run of delays has to keep anything but its index.
    #[allow(dead_code, reason = "asked by the rooms behind features")]
    #[inline]
    pub(crate) fn has_jitter(&self) -> bool {
        !matches!(self.jitter, Jitter::None)
    }

    /// Whether there is never anything to wait for.
    #[allow(dead_code, reason = "asked by the rooms behind features")]
    pub(crate) fn is_immediate(&self) -> bool {
        (self.base.is_zero() || self.cap.is_zero()) && !self.has_jitter()
    }

    /// What one run of delays must keep besides its index, from `rng`, or from a random seed.
    pub(crate) fn spread(&self, rng: Option<fastrand::Rng>) -> Spread {
        let rng = match (rng, self.jitter) {
            (Some(rng), _) => rng,
            // The seed is not looked at: spare the thread-local generator.
            (None, Jitter::None) => fastrand::Rng::with_seed(0),
            (None, _) => fastrand::Rng::new(),
        };
        Spread { rng, previous: self.base }
    }

    /// The delay before retry `index` with its jitter.
    #[inline]
    pub(crate) fn spread_delay(&self, index: u32, spread: &mut Spread) -> Duration {
        let delay = self.delay(index);
        spread.previous = self.jitter.spread(delay, self.base, self.cap, spread.previous, &mut spread.rng);
        spread.previous
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("shape", &self.shape)
            .field("base", &self.base)
            .field("cap", &(self.cap < Duration::MAX).then_some(self.cap))
            .field("jitter", &self.jitter)
            .finish()
    }
}

/// See [`Backoff::spread`].
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    rng: fastrand::Rng,
    /// For decorrelated jitter.
    previous: Duration,
}

/// See the [type](Backoff).
impl Default for Backoff {
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100)).cap(Duration::from_secs(30)).jitter(Jitter::Full)
    }
}

impl IntoIterator for Backoff {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        self.delays()
    }
}

/// The delays of one run; see [`Backoff::delays`].
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless advanced"]
pub struct Delays {
    backoff: Backoff,
    index: u32,
    spread: Spread,
}

impl Delays {
    /// Starts over, for a loop that has been well for a while. The random sequence goes on.
    pub fn reset(&mut self) {
        self.index = 0;
        self.spread.previous = self.backoff.base;
    }

    /// The next delay. There always is one.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.backoff.spread_delay(self.index, &mut self.spread);
        self.index = self.index.saturating_add(1);
        delay
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

/// `base x factor^index`, or `None` if that is too large.
fn grow(base: Duration, factor: f64, index: u32) -> Option<Duration> {
    let exponent = i32::try_from(index).unwrap_or(i32::MAX);
    // Exact for whole factors as long as the nanoseconds fit into 53 bits: 104 days.
    let nanos = base.as_nanos() as f64 * factor.powi(exponent);
    from_nanos(nanos)
}

/// The number of nanoseconds, rounded down; `None` if it is not a duration.
pub(super) fn from_nanos(nanos: f64) -> Option<Duration> {
    const LARGEST: f64 = u64::MAX as f64 * 1e9;
    if !(0.0..LARGEST).contains(&nanos) {
        return None;
    }
    let nanos = nanos as u128;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// The number with this number in the Fibonacci sequence 1, 1, 2, 3; `None` if it is too large to multiply by.
fn fibonacci(number: u32) -> Option<u32> {
    let (mut this, mut next) = (0u32, 1u32);
    for _ in 0..number {
        // `this` is 0 or smaller than `next`, so this ends after 48 steps.
        (this, next) = (next, this.checked_add(next)?);
    }
    Some(this)
}
