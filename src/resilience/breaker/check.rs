//! Which settings make sense.

use super::Window;
use super::config::{Closes, Config, Growth, Knobs};
use super::rules::Kind;
use super::window::Shape;
use super::word::{MAX_FAILURES, MAX_TRIALS};
use crate::ConfigError;
use std::fmt;
use std::time::Duration;

/// Calls in a window that nobody has described.
const WINDOW: Window = Window::calls(100);
const MINIMUM: u32 = 10;

const SHARE: &str = "must be more than 0 and at most 1";

fn fail<T>(knob: &'static str, value: impl fmt::Display, rule: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::new("circuit breaker", knob, value, rule))
}

fn is_share(share: f64) -> bool {
    // Less than the least share that is told from none would be none.
    (1e-9..=1.0).contains(&share)
}

impl Knobs {
    /// The settings that these come to.
    pub(super) fn check(self) -> Result<Config, ConfigError> {
        self.check_rules()?;
        self.check_half_open()?;
        self.check_times()?;
        let (shape, minimum) = self.check_window()?;
        Ok(Config::new(self, shape, minimum))
    }

    fn check_rules(&self) -> Result<(), ConfigError> {
        match self.failure_threshold {
            Some(0) => return fail("failure_threshold", 0, "must be at least 1"),
            Some(failures) if failures > MAX_FAILURES => {
                return fail("failure_threshold", failures, "must be at most 134217727");
            }
            _ => {}
        }
        if let Some(share) = self.failure_rate.filter(|share| !is_share(*share)) {
            return fail("failure_rate", share, SHARE);
        }
        if let Some(share) = self.slow_rate.filter(|share| !is_share(*share)) {
            return fail("slow_rate", share, SHARE);
        }
        if self.slow_call == Some(Duration::ZERO) {
            return fail("slow_call", "0ns", "must be more than zero: every call would be slow");
        }
        if let (Some(share), None) = (self.slow_rate, self.slow_call) {
            return fail("slow_rate", share, "needs slow_call, which says what is slow");
        }
        if self.count_cancelled_slow && self.slow_call.is_none() {
            return fail("count_cancelled_slow", true, "needs slow_call, which says what is slow");
        }
        Ok(())
    }

    /// The shape of the window, and the calls that it must hold to be judged.
    fn check_window(&self) -> Result<(Shape, u32), ConfigError> {
        let rates = self.failure_rate.is_some() || self.slow_rate.is_some();
        let window = match self.window {
            None if rates || self.failures_in_window.is_some() => Some(WINDOW),
            window => window,
        };
        let most = match window {
            Some(Window(Kind::Calls(calls))) => calls,
            _ => u32::MAX,
        };
        let shape = window.map_or(Ok(Shape::NONE), Window::shape)?;
        match self.failures_in_window {
            Some(0) => return fail("failures_in_window", 0, "must be at least 1"),
            Some(failures) if failures > most => {
                return fail("failures_in_window", failures, "must be at most the calls in the window");
            }
            _ => {}
        }
        match self.minimum_calls {
            Some(0) => fail("minimum_calls", 0, "must be at least 1"),
            Some(calls) if !rates => {
                fail("minimum_calls", calls, "needs failure_rate or slow_rate: no other rule looks at it")
            }
            Some(calls) if calls > most => {
                fail("minimum_calls", calls, "must be at most the calls in the window: more cannot come in")
            }
            minimum => Ok((shape, minimum.unwrap_or(MINIMUM.min(most)))),
        }
    }

    fn check_half_open(&self) -> Result<(), ConfigError> {
        let requests = self.half_open_requests;
        if requests == 0 {
            return fail("half_open_requests", 0, "must be at least 1");
        }
        if requests > MAX_TRIALS {
            return fail("half_open_requests", requests, "must be at most 511");
        }
        match self.closes {
            Closes::Successes(0) => return fail("success_threshold", 0, "must be at least 1"),
            Closes::Successes(successes) if successes > requests => {
                let rule = "must be at most half_open_requests: more successes cannot come in";
                return fail("success_threshold", successes, rule);
            }
            Closes::FailuresBelow(share) if !is_share(share) => return fail("half_open_rate", share, SHARE),
            _ => {}
        }
        let shares = self.ramp.as_deref().unwrap_or_default();
        if let Some(share) = shares.iter().find(|share| !is_share(**share)) {
            return fail("half_open_ramp", share, SHARE);
        }
        if let Some([_, share]) = shares.windows(2).find(|pair| matches!(pair, [a, b] if a >= b)) {
            return fail("half_open_ramp", share, "must be more than the share before it");
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        if let Growth::Factor(factor) = self.growth {
            if !(factor.is_finite() && factor >= 1.0) {
                return fail("recovery_growth", factor, "must be a finite number of at least 1");
            }
        }
        if let Some(cap) = self.recovery_cap.filter(|cap| *cap < self.recovery_time) {
            return fail("recovery_cap", format_args!("{cap:?}"), "must be at least recovery_time");
        }
        if self.half_open_limit == Some(Some(Duration::ZERO)) {
            return fail("half_open_limit", "0ns", "must be more than zero: no trial could end in time");
        }
        if self.trial_lease == Some(Some(Duration::ZERO)) {
            return fail("trial_lease", "0ns", "must be more than zero: every call would be a trial");
        }
        if self.trial_lease == Some(None) && self.half_open_limit == Some(None) {
            let rule =
                "must be set where half_open_limit is none: a hung trial would block the breaker for ever";
            return fail("trial_lease", "none", rule);
        }
        Ok(())
    }
}
