//! What stands between the gateway and one upstream: [`Stack`]s of policies, and what they tell of themselves.
//!
//! ```text
//! timeout (total) > retry > circuit breaker > tiers > hedge > bulkhead > timeout (attempt) > chaos > the attempt
//! ```
//!
//! The retry and the hedge, which share a budget, are for requests that may be sent twice; the rest is the same for all. Between
//! the breaker and the bulkhead each call puts its own [`Pace`], which knows the request. It may wait, and so it is outside the
//! hedge: who waits for a turn is not slow. It is inside the breaker: an open circuit costs no turn. So the breaker judges a turn
//! by what comes out of it, hedged or not, and a hedge pays the limits by a [`Toll`] of its own. Chaos, if asked for, is in the
//! upstream's place; what it does is [`Counted`] as an attempt.

mod hands;

pub(crate) use hands::Hand;

use crate::args::Limits;
use crate::attempts::{AttemptStats, Counted, Counts};
use crate::http::{Body, BoxError};
use crate::limits::{Outbound, OutboundStats};
use crate::pace::{self, Pace};
use crate::proxy::Failure;
use crate::screen::{Circuit, Paint};
use crate::settings::Settings;
use crate::tally::Change;
use crate::toll::Toll;
use cofferdam::health::Check;
use cofferdam::limit::tiered::Request;
use cofferdam::resilience::breaker::{BreakerStats, State};
use cofferdam::resilience::chaos::{ChaosStats, Plan};
use cofferdam::resilience::config::BulkheadSettings;
use cofferdam::resilience::{
    Bulkhead, Call, Chain, Chaos, CircuitBreaker, Component, Error, Hedge, HedgeStats, Layer, OnFailure,
    Operation, Policy, Retry, Stack, Timeout, Verdict,
};
use cofferdam::telemetry::inspect::{BreakerChange, BreakerView, Inspect, Inspection, Inspector};
use cofferdam::telemetry::{Instrument, WatchError};
use cofferdam::time::Clock;
use hyper::{HeaderMap, Response, StatusCode};
use std::future::Future;
use std::sync::Mutex;
use std::time::Instant;

type Outcome = Result<Response<Body>, Error<Failure>>;
type Judge = fn(&Outcome) -> Verdict;
type Total = Chain<(), Option<Timeout>>;
/// Around a call that may be made once.
type Once = Stack<Chain<Total, CircuitBreaker>>;
/// Around a call that may be made again.
type Repeated = Stack<Chain<Chain<Total, Option<Retry<Judge>>>, CircuitBreaker>>;
/// What every attempt goes through that has its turn.
type Slot = Stack<Chain<Chain<(), Bulkhead>, Option<Timeout>>>;

/// What is worth another attempt. A refusal by the limits is not: the attempt has waited for its turn as long as it may.
fn again(outcome: &Outcome) -> Verdict {
    match outcome {
        Err(error) if error.is_retryable() && !error.is_rate_limited() => Verdict::Retry,
        _ => Verdict::Done,
    }
}

/// What a guard has counted.
#[derive(Clone, Copy)]
pub(crate) struct GuardStats {
    pub(crate) attempts: AttemptStats,
    /// Retries that the budget did not allow.
    pub(crate) beyond_budget: u64,
    pub(crate) hedge: HedgeStats,
    /// `None` if nothing is to be injected.
    pub(crate) chaos: Option<ChaosStats>,
    /// Attempts under way.
    pub(crate) in_flight: u32,
    pub(crate) breaker: BreakerStats,
}

pub(crate) struct Guard {
    /// Around everything, if somebody looks.
    instrument: Option<Instrument>,
    once: Once,
    repeated: Repeated,
    hedge: Option<Hedge<Judge>>,
    slot: Slot,
    chaos: Option<Chaos<Response<Body>, Failure>>,
    outbound: Outbound,
    breaker: CircuitBreaker,
    bulkhead: Bulkhead,
    retry: Option<Retry<Judge>>,
    total: Option<Timeout>,
    each: Option<Timeout>,
    /// What chaos does at present, and the seed of it.
    plan: Mutex<Plan>,
    seed: u64,
    counts: Counts,
    /// Looks into the breaker.
    circuit: Inspection<BreakerView>,
    started: Instant,
}

impl Guard {
    pub(crate) fn new(
        settings: &Settings,
        limits: &Limits,
        clock: &Clock,
        started: Instant,
    ) -> Result<Self, BoxError> {
        let stack = &settings.stack;
        stack.check()?;
        let skewed = settings
            .chaos
            .has_skew()
            .then(|| settings.chaos.skew().seed(settings.seed).clock(clock.clone()).build().clock());
        let clock = skewed.as_ref().unwrap_or(clock);
        let breaker = stack.breaker.clone().unwrap_or_default();
        let breaker = breaker.builder()?.clock(clock.clone()).build()?;
        let bulkhead = stack.bulkhead.clone().unwrap_or(BulkheadSettings::new(limits.in_flight));
        let bulkhead = bulkhead.builder().clock(clock.clone()).build()?;
        let budget = stack.retry.as_ref().and_then(|retry| retry.budget.as_ref());
        let budget = budget.map(|budget| budget.build(clock)).transpose()?;
        let retry = match &stack.retry {
            Some(retry) => {
                // The marks are for the counts.
                let mut retry =
                    retry.builder()?.mark_attempts(true).judge(again as Judge).clock(clock.clone());
                if let Some(budget) = &budget {
                    retry = retry.budget(budget.clone());
                }
                Some(retry.build()?)
            }
            None => None,
        };
        let hedge = match &settings.hedge {
            // A failure is the retry's business, which knows when to come back.
            Some(hedge) => Some(
                hedge
                    .builder(budget.as_ref(), clock)?
                    .on_failure(OnFailure::ReturnNow)
                    .mark_attempts(true)
                    .judge(again as Judge)
                    .build()?,
            ),
            None => None,
        };
        let chaos = || {
            let chaos = settings.chaos.chaos(|| Failure::Injected);
            chaos.seed(settings.seed).clock(clock.clone()).build()
        };
        let total = stack.total_timeout.map(|limit| Timeout::total(limit).clock(clock.clone()));
        let each = stack.attempt_timeout.map(|limit| Timeout::attempt(limit).clock(clock.clone()));
        let circuit = breaker.inspect();
        Ok(Self {
            instrument: None,
            once: Stack::new().layer(total.clone()).breaker(breaker.clone()),
            repeated: Stack::new().layer(total.clone()).layer(retry.clone()).breaker(breaker.clone()),
            hedge,
            slot: Stack::new().bulkhead(bulkhead.clone()).layer(each.clone()),
            chaos: (settings.chaos.has_faults() || settings.live_chaos).then(chaos),
            outbound: Outbound::new(limits, clock)?,
            breaker,
            bulkhead,
            retry,
            total,
            each,
            plan: Mutex::new(settings.chaos.clone()),
            seed: settings.seed,
            counts: Counts::default(),
            circuit,
            started,
        })
    }

    /// What a request is to the limits: its route and its resource, a path without query.
    pub(crate) fn pace<'a>(&'a self, method: &'a str, path: &'a str) -> Pace<'a> {
        Pace::new(&self.outbound, request(method, path))
    }

    /// Calls the upstream under the policies. `op` makes one attempt each time it is called.
    pub(crate) async fn call<F, Fut>(&self, repeatable: bool, pace: &Pace<'_>, op: F) -> Outcome
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Response<Body>, Failure>>,
    {
        let op = || {
            self.counts.send(pace);
            op()
        };
        let counted = Counted::new(&self.counts, pace);
        let attempt = Chain::new(&self.slot, Chain::new(&counted, &self.chaos));
        if repeatable {
            let toll = Toll(pace);
            let hedged = Chain::new(&self.hedge, Chain::new(&toll, attempt));
            let all = Chain::new(&self.instrument, Chain::new(&self.repeated, Chain::new(pace, hedged)));
            Call::new(all.around(Operation::new(op))).await
        } else {
            let all = Chain::new(&self.instrument, Chain::new(&self.once, Chain::new(pace, attempt)));
            Call::new(all.around(Operation::new(op))).await
        }
    }

    /// Does what a response says about limits.
    pub(crate) fn heed(&self, method: &str, path: &str, status: StatusCode, fields: &HeaderMap) {
        self.outbound.heed(request(method, path), status, fields);
    }

    pub(crate) fn limits(&self) -> OutboundStats {
        self.outbound.stats()
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.breaker.state(), State::Open | State::ForcedOpen | State::ShutDown)
    }

    pub(crate) fn circuit(&self) -> Circuit {
        circuit(self.breaker.state())
    }

    pub(crate) fn stats(&self) -> GuardStats {
        GuardStats {
            attempts: self.counts.stats(),
            beyond_budget: self.retry.as_ref().map_or(0, |retry| retry.stats().out_of_budget),
            hedge: self.hedge.as_ref().map(Hedge::stats).unwrap_or_default(),
            chaos: self.chaos.as_ref().map(Chaos::stats),
            in_flight: self.bulkhead.stats().running,
            breaker: self.breaker.stats(),
        }
    }

    /// How often the circuit has changed, and its last changes.
    pub(crate) fn history(&self) -> (u64, Vec<Change>) {
        let Some(view) = self.circuit.look() else { return (0, Vec::new()) };
        let change = |change: &BreakerChange| Change {
            at: change.at.saturating_duration_since(self.started),
            state: circuit(change.to).word,
            why: change.trigger.to_string(),
        };
        (view.changes, view.history.iter().map(change).collect())
    }

    /// Whether the circuit is open, for those who ask for the health.
    pub(crate) fn check(&self, name: String) -> Check {
        Check::of(name, &self.breaker)
    }

    /// Lets people look into its parts.
    pub(crate) fn inspected(&self, inspector: &Inspector, name: &str) -> Result<(), WatchError> {
        inspector.add(name, &self.breaker)?;
        inspector.add(name, &self.bulkhead)
    }

    /// The policies, outermost first.
    pub(crate) fn describe(&self) -> String {
        let mut layers = self.repeated.describe();
        layers.push(Layer::custom(pace::NAME));
        self.hedge.describe(&mut layers);
        Component::describe(&self.slot, &mut layers);
        self.chaos.describe(&mut layers);
        let layers: Vec<_> = layers.iter().map(ToString::to_string).collect();
        layers.join(" > ")
    }
}

fn request<'a>(method: &'a str, path: &'a str) -> Request<'a> {
    Request::new(method, path).resource(path)
}

fn circuit(state: State) -> Circuit {
    let (word, paint) = match state {
        State::Closed => ("closed", Paint::Green),
        State::HalfOpen => ("half-open", Paint::Yellow),
        State::Open => ("open", Paint::Red),
        State::ForcedOpen => ("held open", Paint::Red),
        // As the admin server does.
        _ => ("held closed", Paint::Yellow),
    };
    Circuit { word, paint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::CollectError;
    use crate::settings::Breaks;
    use crate::tally;
    use cofferdam::testkit::Sim;
    use futures_util::FutureExt;
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    fn guard(sim: &Sim, in_flight: u32) -> Guard {
        let attempt_timeout = Duration::from_millis(100);
        made(sim, &Limits { attempt_timeout, in_flight, ..Limits::none() })
    }

    fn made(sim: &Sim, limits: &Limits) -> Guard {
        let breaks = Breaks { first: Duration::from_secs(1), longest: Duration::from_secs(4) };
        made_by(sim, limits, &Settings::new(limits, breaks, 1))
    }

    pub(super) fn made_by(sim: &Sim, limits: &Limits, settings: &Settings) -> Guard {
        let clock = sim.clock();
        Guard::new(settings, limits, &clock, clock.now()).unwrap()
    }

    pub(super) async fn call<F, Fut>(guard: &Guard, repeatable: bool, op: F) -> Outcome
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Response<Body>, Failure>>,
    {
        guard.call(repeatable, &guard.pace("GET", "/items/7"), op).await
    }

    pub(super) async fn fails() -> Result<Response<Body>, Failure> {
        Err(Failure::Body(CollectError::TooSlow))
    }

    #[test]
    fn the_order_of_the_policies_is_one_without_known_faults() {
        let guard = guard(&Sim::new(1), 4);
        let Guard { once, repeated, hedge, slot, .. } = &guard;
        assert_eq!(Stack::new().layer(repeated).layer(hedge).layer(slot).lint(), []);
        assert_eq!(Stack::new().layer(once).layer(slot).lint(), []);
        let all = "timeout > retry > circuit breaker > tiers > hedge > bulkhead > timeout";
        assert_eq!(guard.describe(), all);
        let sim = Sim::new(1);
        let chaos = "latency=50ms@10%".parse().unwrap();
        let guard = made(&sim, &Limits { chaos, ..Limits::none() });
        let Guard { repeated, hedge, slot, chaos, .. } = &guard;
        assert_eq!(Stack::new().layer(repeated).layer(hedge).layer(slot).layer(chaos).lint(), []);
        assert_eq!(guard.describe(), format!("{all} > chaos"));
        let guard = made(&sim, &Limits { hedge: false, ..Limits::none() });
        assert_eq!(guard.describe(), all.replace(" > hedge", ""));
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            assert!(call(&guard, false, fails).await.unwrap_err().inner().is_some());
            assert_eq!((guard.stats().attempts.attempts, guard.stats().attempts.retries), (1, 0));
            assert!(call(&guard, true, fails).await.unwrap_err().is_exhausted());
            assert_eq!((guard.stats().attempts.attempts, guard.stats().attempts.retries), (4, 2));
        });
    }

    #[test]
    fn five_failures_in_a_row_open_the_circuit_and_are_in_its_history() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            for _ in 0..5 {
                assert!(!guard.is_open());
                drop(call(&guard, false, fails).await);
            }
            let refused = call(&guard, true, fails).await.unwrap_err();
            assert!(refused.is_circuit_open() && guard.is_open());
            assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
            sim.clock().sleep(Duration::from_secs(1)).await;
            drop(call(&guard, false, fails).await);
        });
        let (changes, history) = guard.history();
        let words: Vec<_> = history.iter().map(|change| (change.at.as_secs(), change.state)).collect();
        assert_eq!(words, [(0, "open"), (1, "half-open"), (1, "open")]);
        assert_eq!(history[0].why, "consecutive failures");
        assert_eq!((changes, guard.stats().attempts.attempts), (3, 6));
    }

    #[test]
    fn an_attempt_that_hangs_is_cut_and_repeated_until_the_whole_call_is_out_of_time() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            let error = call(&guard, true, std::future::pending).await.unwrap_err();
            assert!(error.is_timeout());
            assert_eq!(crate::proxy::outcome(error), tally::Outcome::TimedOut);
            assert_eq!((guard.stats().attempts.attempts, guard.stats().in_flight), (3, 0));
        });
    }

    #[test]
    fn more_than_the_limit_and_its_queue_are_refused_at_once() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            let calls = (0..6).map(|_| call(&guard, false, std::future::pending));
            let ended = futures_util::future::join_all(calls).await;
            let full =
                ended.iter().filter(|ended| ended.as_ref().is_err_and(|error| error.is_full())).count();
            // Four run, one waits for half an attempt's time, one finds no place to wait.
            assert_eq!((full, guard.stats().attempts.attempts), (2, 4));
        });
    }

    /// Calls that teach the hedge what is quick: 10 ms.
    async fn teach(guard: &Guard, sim: &Sim) {
        for _ in 0..100 {
            let quick = || async {
                sim.clock().sleep(Duration::from_millis(10)).await;
                Ok(Response::new(Body::whole("quick")))
            };
            call(guard, true, quick).await.unwrap();
        }
    }

    /// Answers at the first request after `first` milliseconds, at those after it at once with `status`.
    async fn slow_then(guard: &Guard, sim: &Sim, first: u64, status: StatusCode) -> Outcome {
        let requests = AtomicU32::new(0);
        let op = || async {
            let mut response = Response::new(Body::whole("slow"));
            match requests.fetch_add(1, Ordering::Relaxed) {
                0 => sim.clock().sleep(Duration::from_millis(first)).await,
                _ => *response.status_mut() = status,
            }
            if status.is_server_error() && response.status() == status {
                return Err(Failure::Status(Box::new(response)));
            }
            Ok(response)
        };
        call(guard, true, op).await
    }

    #[test]
    fn what_is_slow_and_may_be_sent_twice_is_and_the_quicker_answer_counts() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            teach(&guard, &sim).await;
            let began = sim.clock().now();
            slow_then(&guard, &sim, 90, StatusCode::CREATED).await.unwrap();
            let took = sim.clock().now() - began;
            assert!((10..12).contains(&took.as_millis()), "{took:?}");
        });
        let stats = guard.stats();
        let AttemptStats { attempts, retries, hedges, sent, answered, cut, .. } = stats.attempts;
        assert_eq!((attempts, retries, hedges, sent, answered, cut), (101, 0, 1, 102, 101, 1));
        assert_eq!((stats.hedge.started, stats.hedge.won), (1, 1));
        assert_eq!((guard.limits().admitted, guard.limits().given_back), (102, 0), "it has paid");
    }

    #[test]
    fn a_hedge_that_brings_nothing_good_is_as_if_it_were_not() {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            let sim = Sim::new(1);
            let guard = guard(&sim, 4);
            sim.run(async {
                teach(&guard, &sim).await;
                let response = slow_then(&guard, &sim, 90, status).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
            });
            let stats = guard.stats();
            assert_eq!((stats.attempts.hedges, stats.hedge.won, stats.attempts.cut), (1, 0, 0));
            assert_eq!(stats.attempts.retries, 0);
        }
    }

    #[test]
    fn a_hedge_that_finds_no_turn_or_no_place_in_time_is_held_back() {
        // A hundred and one turns, and then none; or one place, which the first attempt has until it is done.
        let turns =
            Limits { upstream_rate: "1/h burst 101".parse().unwrap(), in_flight: 4, ..Limits::none() };
        let places = Limits { in_flight: 1, ..Limits::none() };
        for limits in [turns, places] {
            let sim = Sim::new(1);
            let guard = made(&sim, &limits);
            sim.run(async {
                teach(&guard, &sim).await;
                let response = slow_then(&guard, &sim, 90, StatusCode::CREATED).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
            });
            let (stats, limits) = (guard.stats(), guard.limits());
            assert_eq!((stats.hedge.started, stats.attempts.hedges, limits.held_back), (1, 0, 1));
            assert_eq!(limits.admitted, stats.attempts.begun() + limits.given_back);
        }
    }

    #[test]
    fn what_may_not_be_sent_twice_or_without_hedges_is_sent_once_however_slow() {
        let sim = Sim::new(1);
        let limits = Limits { in_flight: 4, ..Limits::none() };
        for (guard, repeatable) in
            [(made(&sim, &limits), false), (made(&sim, &Limits { hedge: false, ..limits }), true)]
        {
            sim.run(async {
                teach(&guard, &sim).await;
                let slow = || async {
                    sim.clock().sleep(Duration::from_millis(90)).await;
                    Ok(Response::new(Body::whole("slow")))
                };
                call(&guard, repeatable, slow).await.unwrap();
            });
            assert_eq!((guard.stats().attempts.begun(), guard.stats().hedge.started), (101, 0));
        }
    }

    #[test]
    fn retries_and_hedges_are_paid_from_one_budget() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            teach(&guard, &sim).await;
            // Retries spend it all, to a call that has paid for its first retry and cannot pay for the second.
            let spent = || (guard.stats().attempts.retries, guard.stats().beyond_budget);
            for round in 0.. {
                let (retries, beyond) = spent();
                drop(call(&guard, true, fails).await);
                if beyond > 0 && spent() == (retries + 1, beyond + 1) {
                    break;
                }
                assert!(round < 1000 && !guard.is_open());
                // More than half, or the circuit opens.
                for _ in 0..4 {
                    call(&guard, true, || async { Ok(Response::new(Body::whole("good"))) }).await.unwrap();
                }
            }
            slow_then(&guard, &sim, 90, StatusCode::CREATED).await.unwrap();
        });
        let stats = guard.stats();
        assert_eq!((stats.hedge.started, stats.hedge.suppressed), (0, 1));
    }

    #[test]
    fn what_is_injected_is_an_attempt_that_was_not_sent() {
        let sim = Sim::new(1);
        let limits = |chaos: &str| Limits { chaos: chaos.parse().unwrap(), in_flight: 4, ..Limits::none() };
        sim.run(async {
            let guard = made(&sim, &limits("error@100%"));
            let error = call(&guard, true, fails).await.unwrap_err();
            assert!(matches!(error.into_inner(), Some(Failure::Injected)));
            let stats = guard.stats();
            let AttemptStats { attempts, retries, sent, injected, unsent, .. } = stats.attempts;
            assert_eq!((attempts, retries, sent, injected, unsent), (3, 2, 0, 3, 0));
            assert_eq!(stats.chaos.unwrap().faults, 3);
            assert_eq!(stats.breaker.failures, 3, "for the breaker it is the upstream's");

            let guard = made(&sim, &limits("hang@100%"));
            assert!(call(&guard, false, fails).await.unwrap_err().is_timeout());
            let AttemptStats { attempts, sent, unsent, .. } = guard.stats().attempts;
            assert_eq!((attempts, sent, unsent), (1, 0, 1));

            let guard = made(&sim, &limits("cancel=20ms@100%"));
            let error = call(&guard, true, std::future::pending).await.unwrap_err();
            assert!(error.is_cancelled());
            let stats = guard.stats();
            let AttemptStats { attempts, sent, cut, .. } = stats.attempts;
            assert_eq!((attempts, sent, cut, stats.chaos.unwrap().cancels), (1, 1, 1, 1));
            assert_eq!((stats.breaker.failures, stats.in_flight), (0, 0), "it is nobody's failure");

            let guard = made(&sim, &limits("panic@100%"));
            let panicked = AssertUnwindSafe(call(&guard, true, fails)).catch_unwind().await;
            assert!(panicked.is_err());
            let stats = guard.stats();
            assert_eq!((stats.attempts.begun(), stats.attempts.unsent, stats.in_flight), (1, 1, 0));
            assert_eq!((guard.limits().admitted, guard.limits().given_back), (1, 0));
        });
    }
}
