//! All that the policies around one upstream are made from, in one value: the settings of the crate's standard stack, and
//! what that stack has not.

use crate::args::Limits;
use cofferdam::ConfigError;
use cofferdam::resilience::chaos::Plan;
use cofferdam::resilience::config::{BudgetSettings, BulkheadSettings, StackSettings};
use cofferdam::resilience::presets;
use cofferdam::resilience::{Budget, Hedge, HedgeBuilder, Latencies};
use cofferdam::time::Clock;
use std::time::Duration;

/// How long a breaker stays open.
#[derive(Clone, Copy)]
pub(crate) struct Breaks {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Breaks {
    /// For a run of this length, in which an upstream dies and comes back.
    pub(crate) fn demo(run: Duration) -> Self {
        Self { first: run / 40, longest: run / 10 }
    }

    pub(crate) fn service() -> Self {
        Self { first: Duration::from_secs(5), longest: Duration::from_secs(60) }
    }
}

/// What a guard is made from. Another stack (from a file, say) is another value of `stack`; its throttle has no effect, as the
/// limits towards upstreams are in its place.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) stack: StackSettings,
    /// `None`: no hedges.
    pub(crate) hedge: Option<HedgeSettings>,
    /// What is injected towards upstreams.
    pub(crate) chaos: Plan,
    /// Of what is injected.
    pub(crate) seed: u64,
    /// Whether somebody may have something injected later.
    pub(crate) live_chaos: bool,
}

/// When a second request is sent beside one that is slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HedgeSettings {
    /// It is slow above this quantile of the last requests.
    quantile: f64,
    /// For so long requests are the last ones, and as long again.
    window: Duration,
    least_delay: Duration,
    most_delay: Duration,
}

impl Settings {
    pub(crate) fn new(limits: &Limits, breaks: Breaks, seed: u64) -> Self {
        let hedge = HedgeSettings {
            quantile: 0.8,
            window: Duration::from_secs(5),
            // What takes no longer is not worth the work of a second request.
            least_delay: Duration::from_millis(5),
            most_delay: limits.attempt_timeout / 2,
        };
        Self {
            stack: stack(limits, breaks),
            hedge: limits.hedge.then_some(hedge),
            chaos: limits.chaos.clone(),
            seed,
            live_chaos: false,
        }
    }
}

impl Settings {
    /// As these, with faults of its own.
    pub(crate) fn of_upstream(&self, index: usize) -> Self {
        Self { seed: self.seed.wrapping_add(index as u64), ..self.clone() }
    }
}

/// What suits most clients of a service, with the limits of the command line.
fn stack(limits: &Limits, breaks: Breaks) -> StackSettings {
    let mut stack = presets::standard_client("upstream");
    if let Some(retry) = &mut stack.retry {
        retry.backoff.base = Duration::from_millis(5);
        // One further attempt for five requests, retry or hedge, and ten a second in any case.
        retry.budget =
            Some(BudgetSettings::Ratio { ratio: 0.2, window: Duration::from_secs(10), min_per_second: 10.0 });
    }
    if let Some(breaker) = &mut stack.breaker {
        // An upstream that is gone is seen to at once.
        breaker.failure_threshold = Some(5);
        breaker.slow_call = Some(limits.attempt_timeout.mul_f64(0.9));
        breaker.recovery_time = breaks.first;
        breaker.recovery_cap = Some(breaks.longest);
    }
    let mut bulkhead = BulkheadSettings::new(limits.in_flight);
    bulkhead.queue = limits.in_flight.div_ceil(4);
    bulkhead.wait_limit = Some(limits.attempt_timeout / 2);
    stack
        .total_timeout(limits.attempt_timeout.saturating_mul(4))
        .bulkhead(bulkhead)
        .attempt_timeout(limits.attempt_timeout)
}

impl HedgeSettings {
    /// A builder of one that pays from `budget`, if there is one.
    pub(crate) fn builder(
        &self,
        budget: Option<&Budget>,
        clock: &Clock,
    ) -> Result<HedgeBuilder, ConfigError> {
        let latencies = Latencies::builder(self.quantile).window(self.window).clock(clock.clone()).build()?;
        let builder = Hedge::after_quantile(latencies)
            .least_delay(self.least_delay)
            .most_delay(self.most_delay)
            .clock(clock.clone());
        // The calls are counted by the retry outside.
        Ok(match budget {
            Some(budget) => builder.budget(budget.spender()),
            None => builder,
        })
    }
}
