//! Settings of a hedge.

use super::{Delay, Hedge, HedgeEvent, OnFailure, Settings};
use crate::ConfigError;
use crate::observe::Observe;
use crate::resilience::Budget;
use crate::resilience::retry::{Retryable, judged_by};
use crate::time::Clock;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Hedge`].
#[must_use = "a builder does nothing until it is built"]
pub struct HedgeBuilder<J = Retryable> {
    settings: Settings,
    judge: J,
    /// Between these is a delay that a quantile comes to, if it is told.
    least_delay: Option<Duration>,
    most_delay: Option<Duration>,
}

impl HedgeBuilder {
    pub(super) fn new(delay: Delay) -> Self {
        let settings = Settings {
            delay,
            max_hedges: 1,
            has_beginning: false,
            marks: false,
            last_error: false,
            on_failure: OnFailure::default(),
            budget: None,
            name: "hedge",
            clock: Clock::system(),
            shared: Arc::default(),
        };
        Self { settings, judge: Retryable, least_delay: None, most_delay: None }
    }
}

impl<J> HedgeBuilder<J> {
    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings;
        set(&mut settings);
        Self { settings, ..self }
    }

    fn with_judge<K>(self, change: impl FnOnce(J) -> K) -> HedgeBuilder<K> {
        let Self { settings, judge, least_delay, most_delay } = self;
        HedgeBuilder { settings, judge: change(judge), least_delay, most_delay }
    }

    judged_by!(HedgeBuilder<J>);

    /// How many attempts a call may have beside the first. Default: 1.
    pub fn max_hedges(self, max_hedges: u32) -> Self {
        self.set(|settings| settings.max_hedges = max_hedges)
    }

    /// Bounds the hedges of all calls together, and the retries of whoever else has it. A hedge pays when it begins, and has
    /// nothing given back when it wins, since the callee has had the work. A call that must not be hedged goes on as it is.
    /// Default: no such bound, of which a [lint](crate::resilience::LintCode::HedgeWithoutBudget) warns.
    pub fn budget(self, budget: Budget) -> Self {
        self.set(|settings| settings.budget = Some(budget))
    }

    /// What a failure brings about. Default: the next hedge.
    pub fn on_failure(self, on_failure: OnFailure) -> Self {
        self.set(|settings| settings.on_failure = on_failure)
    }

    /// Whether, when all attempts have failed, the last failure comes out and not that of the first attempt. Default: no.
    pub fn last_error(self, last: bool) -> Self {
        self.set(|settings| settings.last_error = last)
    }

    /// The shortest delay that a quantile may come to. Default: none. A fixed delay has no such bound.
    pub fn least_delay(self, least_delay: Duration) -> Self {
        Self { least_delay: Some(least_delay), ..self }
    }

    /// The longest delay that a quantile may come to. Default: none. A fixed delay has no such bound.
    pub fn most_delay(self, most_delay: Duration) -> Self {
        Self { most_delay: Some(most_delay), ..self }
    }

    /// Whether each attempt runs in a [`Context`](crate::sync::Context) that knows its number, as a
    /// [`HedgeMark`](super::HedgeMark). It costs an allocation for each. Default: no.
    pub fn mark_attempts(self, mark: bool) -> Self {
        self.set(|settings| settings.marks = mark)
    }

    /// What events call it. Default: "hedge".
    pub fn name(self, name: &'static str) -> Self {
        self.set(|settings| settings.name = name)
    }

    /// The clock. Default: the system's.
    pub fn clock(self, clock: Clock) -> Self {
        self.set(|settings| settings.clock = clock)
    }

    /// Adds an observer of its [events](HedgeEvent).
    pub fn observer(self, observer: impl Observe<HedgeEvent>) -> Self {
        self.settings.shared.observers.add(observer);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// No hedges at all, or more than a hundred; a shortest delay above the longest, or either where the delay is fixed.
    pub fn build(self) -> Result<Hedge<J>, ConfigError> {
        let Self { mut settings, judge, least_delay, most_delay } = self;
        let error = |knob, value: &dyn fmt::Display, rule| Err(ConfigError::new("hedge", knob, value, rule));
        if !(1..=100).contains(&settings.max_hedges) {
            return error("max_hedges", &settings.max_hedges, "must be from 1 to 100");
        }
        let is_quantile = match &mut settings.delay {
            Delay::Fixed(_) => {
                for (knob, bound) in [("least_delay", least_delay), ("most_delay", most_delay)] {
                    if let Some(bound) = bound {
                        let rule = "is for a delay by quantile: this one is fixed";
                        return error(knob, &format_args!("{bound:?}"), rule);
                    }
                }
                false
            }
            Delay::Quantile { least, most, .. } => {
                (*least, *most) =
                    (least_delay.unwrap_or(Duration::ZERO), most_delay.unwrap_or(Duration::MAX));
                if *least > *most {
                    return error("least_delay", &format_args!("{least:?}"), "must not be above most_delay");
                }
                true
            }
        };
        settings.has_beginning = is_quantile || settings.budget.is_some() || settings.marks;
        Ok(Hedge { settings, judge })
    }
}

impl<J> fmt::Debug for HedgeBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HedgeBuilder").field(&self.settings).finish()
    }
}
