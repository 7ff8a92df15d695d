//! A guard in the hands of people: what they see of it besides its counts, and what they may change while it runs.

use super::Guard;
use crate::limits::Tokens;
use crate::proxy::Failure;
use crate::tally::lock;
use cofferdam::limit::Quota;
use cofferdam::resilience::breaker::IllegalTransition;
use cofferdam::resilience::chaos::Plan;
use cofferdam::resilience::{BulkheadEvent, BulkheadStats};
use cofferdam::telemetry::{Telemetry, WatchError};
use std::time::Duration;

/// What a person does to a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hand {
    Open,
    Closed,
    /// Leaves it to itself, as new.
    Reset,
}

impl Guard {
    /// From now on it is watched by `telemetry`, and its calls are measured.
    pub(crate) fn watched(mut self, telemetry: &Telemetry, name: &str) -> Result<Self, WatchError> {
        telemetry.watch(name, &self.breaker)?;
        telemetry.watch(name, &self.bulkhead)?;
        if let Some(retry) = &self.retry {
            telemetry.watch(name, retry)?;
        }
        if let Some(hedge) = &self.hedge {
            telemetry.watch(name, hedge)?;
        }
        for (timeout, what) in [(&self.total, "total"), (&self.each, "attempt")] {
            if let Some(timeout) = timeout {
                telemetry.watch(format!("{name} {what}"), timeout)?;
            }
        }
        self.outbound.watched(telemetry, name)?;
        self.instrument = Some(telemetry.instrument(name)?);
        Ok(self)
    }

    /// Shows every wait for a place to `look`, when it is over.
    pub(crate) fn on_place(&self, look: impl Fn(Duration) + Send + Sync + 'static) {
        self.bulkhead.observe(move |event: &BulkheadEvent| {
            if let BulkheadEvent::Admitted { waited, .. } = event {
                look(*waited);
            }
        });
    }

    pub(crate) fn places(&self) -> BulkheadStats {
        self.bulkhead.stats()
    }

    pub(crate) fn tokens(&self) -> Tokens {
        self.outbound.tokens()
    }

    pub(crate) fn set_rate(&self, quota: Quota) {
        self.outbound.set_rate(quota);
    }

    /// What chaos does.
    pub(crate) fn plan(&self) -> String {
        lock(&self.plan).to_string()
    }

    /// Has something else injected. Without effect on a guard that was not made for it.
    pub(crate) fn set_plan(&self, plan: &Plan) {
        // Held, so that the plan that is shown is the one in force.
        let mut present = lock(&self.plan);
        if let Some(chaos) = &self.chaos {
            chaos.set(plan.chaos(|| Failure::Injected).seed(self.seed));
            present.clone_from(plan);
        }
    }

    pub(crate) fn set_circuit(&self, hand: Hand) -> Result<(), IllegalTransition> {
        match hand {
            Hand::Open => self.breaker.force_open(),
            Hand::Closed => self.breaker.force_closed(),
            Hand::Reset => self.breaker.reset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{call, fails, made_by};
    use super::*;
    use crate::args::Limits;
    use crate::settings::{Breaks, Settings};
    use cofferdam::testkit::Sim;

    fn guard(sim: &Sim) -> Guard {
        let limits = Limits { in_flight: 4, ..Limits::none() };
        let settings = Settings::new(&limits, Breaks::service(), 1);
        made_by(sim, &limits, &Settings { live_chaos: true, ..settings })
    }

    #[test]
    fn a_circuit_is_held_open_and_closed_and_left_to_itself() {
        let sim = Sim::new(1);
        let guard = guard(&sim);
        sim.run(async {
            guard.set_circuit(Hand::Open).unwrap();
            assert!(guard.is_open() && call(&guard, false, fails).await.unwrap_err().is_circuit_open());
            guard.set_circuit(Hand::Closed).unwrap();
            for _ in 0..9 {
                assert!(call(&guard, false, fails).await.unwrap_err().inner().is_some());
            }
            assert!(!guard.is_open());
            guard.set_circuit(Hand::Reset).unwrap();
            for _ in 0..5 {
                drop(call(&guard, false, fails).await);
            }
            assert!(guard.is_open(), "it judges again");
        });
        let words: Vec<_> = guard.history().1.iter().map(|change| change.state).collect();
        assert_eq!(words, ["held open", "held closed", "closed", "open"]);
    }

    #[test]
    fn chaos_comes_and_goes_while_it_runs() {
        let sim = Sim::new(1);
        let guard = guard(&sim);
        sim.run(async {
            assert!(matches!(call(&guard, false, fails).await.unwrap_err().inner(), Some(Failure::Body(_))));
            guard.set_plan(&"error@100%".parse().unwrap());
            assert_eq!(guard.plan(), "error@1");
            assert!(matches!(call(&guard, false, fails).await.unwrap_err().inner(), Some(Failure::Injected)));
            guard.set_plan(&Plan::default());
            assert_eq!(guard.plan(), "");
            assert!(matches!(call(&guard, false, fails).await.unwrap_err().inner(), Some(Failure::Body(_))));
        });
        let stats = guard.stats();
        assert_eq!((stats.chaos.unwrap().faults, stats.attempts.injected), (1, 1), "counts are kept");
    }

    #[test]
    fn a_guard_that_was_not_made_for_it_has_no_chaos_and_says_so() {
        let sim = Sim::new(1);
        let limits = Limits { in_flight: 4, ..Limits::none() };
        let guard = made_by(&sim, &limits, &Settings::new(&limits, Breaks::service(), 1));
        guard.set_plan(&"error@100%".parse().unwrap());
        assert_eq!((guard.plan().as_str(), guard.stats().chaos), ("", None));
    }

    #[test]
    fn a_rate_changes_while_it_runs() {
        let sim = Sim::new(1);
        let guard = guard(&sim);
        assert_eq!(guard.tokens().levels(), None);
        guard.set_rate("5/s burst 7".parse().unwrap());
        assert_eq!(guard.tokens().levels().map(|(_, most)| most), Some(7));
        sim.run(async {
            drop(call(&guard, false, fails).await);
        });
        let (now, most) = guard.tokens().levels().unwrap();
        assert!(now < most, "{now} of {most}");
    }

    #[test]
    fn calls_are_measured_if_somebody_looks() {
        let sim = Sim::new(1);
        let telemetry = Telemetry::new();
        let guard = guard(&sim).watched(&telemetry, "mill").unwrap();
        sim.run(async { drop(call(&guard, false, fails).await) });
        let samples = telemetry.samples();
        let ended = samples.iter().find(|sample| {
            sample.name == "cofferdam_call_ended_total" && sample.label("outcome") == Some("failure")
        });
        assert_eq!(ended.map(|sample| &sample.value), Some(&cofferdam::telemetry::Value::Counter(1)));
        for component in ["breaker", "retry", "hedge", "timeout", "tiered", "call"] {
            let prefix = format!("cofferdam_{component}_");
            assert!(samples.iter().any(|sample| sample.name.starts_with(&prefix)), "{component}");
        }
    }
}
