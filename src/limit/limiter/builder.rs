//! Optional settings of a limiter.

use super::Limiter;
use super::inner::{Inner, Settings};
use super::jittered::Jittered;
use crate::ConfigError;
use crate::limit::{Algorithm, Gcra};
use crate::time::{Clock, Rng};
use std::sync::Arc;

/// Builds a [`Limiter`].
///
/// ```
/// use cofferdam::limit::{Quota, TokenBucket};
///
/// let bucket = TokenBucket::builder(Quota::per_minute(60)).name("mailer").initial(0).build()?;
/// assert_eq!(bucket.name(), Some("mailer"));
/// assert!(bucket.try_acquire().is_err());
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LimiterBuilder<A: Algorithm = Gcra> {
    algorithm: A,
    initial: Option<u64>,
    clock: Option<Clock>,
    name: Option<Arc<str>>,
    counted: bool,
    queue: usize,
    jitter: f64,
    rng: Option<Rng>,
}

impl<A: Algorithm> LimiterBuilder<A> {
    pub(in crate::limit) fn new(algorithm: A) -> Self {
        Self {
            algorithm,
            initial: None,
            clock: None,
            name: None,
            counted: false,
            queue: usize::MAX,
            jitter: 0.0,
            rng: None,
        }
    }

    /// Tokens that are there at the start; without it, all that can be.
    pub fn initial(mut self, tokens: u64) -> Self {
        self.initial = Some(tokens);
        self
    }

    /// Where the time comes from; without it, [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// A name for people, shown by `Debug`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Counts requests admitted and denied on the spot, for [`stats`](Limiter::stats). One more atomic addition each, which
    /// about doubles the cost of a decision at a given time; hence not by default.
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// How many requests may wait at the same time; further ones are [refused](crate::limit::WaitError::is_queue_full).
    /// Without it, any number. With 0 nobody waits.
    pub fn queue(mut self, waiting: usize) -> Self {
        self.queue = waiting;
        self
    }

    /// Lengthens each wait by a random share of itself, from nothing up to this: 0.1 is up to a tenth. It keeps many
    /// processes that were refused together from coming back together. The tokens are taken at their own instant all the
    /// same, so order and rate are not touched, and nobody is kept past a time limit. Without it, 0.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// The generator from which jitter is drawn: a seeded one makes it repeatable. Without it, one with a random seed.
    pub fn rng(mut self, rng: Rng) -> Self {
        self.rng = Some(rng);
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// More initial tokens than can be had at once; a jitter that is not from 0 to 1; a clock where it is that of the
    /// [members](crate::limit::AllOf).
    pub fn build(self) -> Result<Limiter<A>, ConfigError> {
        let Self { algorithm, initial, clock, name, counted, queue, jitter, rng } = self;
        if let Some(initial) = initial.filter(|initial| *initial > algorithm.capacity()) {
            let rule = "must not be above what can be had at once";
            return Err(ConfigError::new(A::NAME, "initial", initial, rule));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ConfigError::new(A::NAME, "jitter", jitter, "must be a number from 0 to 1"));
        }
        if A::COMPOSITE && clock.is_some() {
            let clock = format_args!("{clock:?}");
            return Err(ConfigError::new(
                A::NAME,
                "clock",
                clock,
                "must not be set: it is that of the members",
            ));
        }
        // Last of all, as members of a set are drained at once.
        let mut state = algorithm.fresh(0);
        if let Some(initial) = initial {
            algorithm.drain_to(&mut state, 0, initial);
        }
        let clock = clock.unwrap_or_default();
        let jitter = (jitter > 0.0).then(|| Jittered::new(jitter, rng.unwrap_or_default()));
        let settings = Settings { algorithm, state, clock, name, counted, jitter, queue };
        Ok(Limiter { inner: Inner::start(settings) })
    }
}
