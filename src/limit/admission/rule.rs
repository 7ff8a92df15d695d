//! The formula, and what its settings must be.

use crate::ConfigError;

/// The settings of the formula, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) k: f64,
    /// One over the aggression.
    pub(super) exponent: f64,
    pub(super) max: f64,
    pub(super) min_requests: u64,
}

impl Rule {
    #[inline]
    pub(super) fn probability(&self, requests: u64, accepts: u64) -> f64 {
        if requests < self.min_requests {
            return 0.0;
        }
        let (requests, accepts) = (requests as f64, accepts as f64);
        let excess = (requests - self.k * accepts) / (requests + 1.0);
        if excess <= 0.0 {
            return 0.0;
        }
        let probability = if self.exponent == 1.0 { excess } else { excess.powf(self.exponent) };
        probability.min(self.max)
    }
}

pub(super) fn error(knob: &'static str, value: f64, rule: &'static str) -> ConfigError {
    ConfigError::new("admission control", knob, value, rule)
}

/// Below 1 it would turn calls away from a server that accepts them all.
pub(super) fn check_k(k: f64) -> Result<(), ConfigError> {
    if k.is_finite() && k >= 1.0 {
        Ok(())
    } else {
        Err(error("k", k, "must be a finite number of at least 1"))
    }
}

/// At 1 a server that has rejected everything would never be asked again.
pub(super) fn check_max(max: f64) -> Result<(), ConfigError> {
    if max > 0.0 && max < 1.0 { Ok(()) } else { Err(error("max", max, "must be above 0 and below 1")) }
}
