//! Settings of admission control.

use super::rule::{check_k, check_max, error};
use super::{AdmissionControl, Inner};
use crate::ConfigError;
use crate::shim::AtomicU64;
use crate::sync::Window;
use crate::sync::striped::Striped;
use crate::time::{Clock, Rng};
use std::sync::Arc;
use std::time::Duration;

/// Builds an [`AdmissionControl`].
///
/// ```
/// use cofferdam::limit::AdmissionControl;
/// use std::time::Duration;
///
/// // As Envoy's filter with a threshold of 80 % and an aggression of 2, over half a minute.
/// let control = AdmissionControl::builder()
///     .k(1.0 / 0.8)
///     .aggression(2.0)
///     .window(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(control.probability_of(100, 80), 0.0);
/// assert!((control.probability_of(100, 40) - 0.70).abs() < 0.01);
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct AdmissionBuilder {
    k: f64,
    aggression: f64,
    max: f64,
    min_requests: u64,
    window: Duration,
    buckets: usize,
    clock: Clock,
    rng: Option<Rng>,
}

impl AdmissionBuilder {
    pub(super) fn new() -> Self {
        Self {
            k: 2.0,
            aggression: 1.0,
            max: 0.8,
            min_requests: 10,
            window: Duration::from_secs(120),
            buckets: 24,
            clock: Clock::system(),
            rng: None,
        }
    }

    /// How many calls for each accepted one the server may get; calls are turned away when it accepts less than `1 / k`
    /// of them. Default: 2.
    pub fn k(self, k: f64) -> Self {
        Self { k, ..self }
    }

    /// How steeply the probability rises once it does: 1 is in proportion to the surplus; with more, a small surplus
    /// turns more calls away. Default: 1.
    pub fn aggression(self, aggression: f64) -> Self {
        Self { aggression, ..self }
    }

    /// The greatest probability with which calls are turned away: the rest get through whatever the server does, and
    /// find out when it is well again. The smaller, the sooner: under steady traffic and with a `k` of 2, nothing is
    /// turned away any more about 1.4 windows after the server has recovered with 0.8, 1.8 with 0.9, 3 with 0.99.
    /// The greater, the less a server gets that is asked for many times what it can do: with 0.8 never less than a fifth
    /// of the calls. Default: 0.8.
    pub fn max(self, max: f64) -> Self {
        Self { max, ..self }
    }

    /// Nothing is turned away as long as there were fewer requests in the window than this. 0 and 1 are no such
    /// condition. (Envoy asks for a rate: this is that, times the window.) Default: 10.
    pub fn min_requests(self, min_requests: u64) -> Self {
        Self { min_requests, ..self }
    }

    /// How long a call counts. Default: two minutes.
    pub fn window(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// In how many steps the window moves on: see [`Window`]. A decision reads 16 bytes for each. Default: 24, of five
    /// seconds each for a window of two minutes.
    pub fn buckets(self, buckets: usize) -> Self {
        Self { buckets, ..self }
    }

    /// Where the time comes from. Default: [`Clock::system`].
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Where chance comes from, for decisions that can be repeated. Default: a seed of its own.
    pub fn rng(self, rng: Rng) -> Self {
        Self { rng: Some(rng), ..self }
    }

    /// Builds it.
    ///
    /// # Errors
    /// A `k` or an aggression below 1 or without end; a greatest probability that is not above 0 and below 1; a window
    /// that [`Window::with_clock`] refuses.
    pub fn build(self) -> Result<AdmissionControl, ConfigError> {
        check_k(self.k)?;
        check_max(self.max)?;
        if !(self.aggression.is_finite() && self.aggression >= 1.0) {
            return Err(error("aggression", self.aggression, "must be a finite number of at least 1"));
        }
        let window = Window::with_clock(self.window, self.buckets, self.clock.clone()).map_err(|error| {
            let knob = if error.knob() == "length" { "window" } else { "buckets" };
            ConfigError::new("admission control", knob, error.value(), error.rule())
        })?;
        Ok(self.assemble(window))
    }

    /// The defaults, which are in bounds.
    pub(super) fn build_default() -> AdmissionControl {
        let builder = Self::new();
        let width = builder.window.as_nanos() as u64 / builder.buckets as u64;
        let window = Window::of_width(width, builder.buckets, builder.clock.clone());
        builder.assemble(window)
    }

    fn assemble(self, window: Window<2>) -> AdmissionControl {
        let seed = self.rng.unwrap_or_default().u64(..);
        let inner = Inner {
            clock: self.clock,
            window,
            min_requests: self.min_requests,
            exponent: self.aggression.recip(),
            k: AtomicU64::new(self.k.to_bits()),
            max: AtomicU64::new(self.max.to_bits()),
            generator: AtomicU64::new(seed),
            tally: Striped::new(),
        };
        AdmissionControl { inner: Arc::new(inner) }
    }
}
