//! What stands between the gateway and one upstream: a [`Stack`] of policies, and what it tells of itself.
//!
//! ```text
//! timeout (total) > retry > circuit breaker > tiers > bulkhead > timeout (attempt) > the attempt
//! ```
//!
//! Two stacks share the breaker and what is inside it: the one with the retry is for requests that may be sent twice. Between
//! the breaker and the bulkhead each call puts its own [`Pace`], which knows the request.

use crate::args::Limits;
use crate::http::Body;
use crate::limits::{Outbound, OutboundStats};
use crate::pace::{self, Pace};
use crate::proxy::Failure;
use crate::screen::{Circuit, Paint};
use crate::tally::{Change, History};
use cofferdam::ConfigError;
use cofferdam::limit::tiered::Request;
use cofferdam::resilience::breaker::{BreakerEvent, BreakerStats, State};
use cofferdam::resilience::{
    Budget, Bulkhead, Call, Chain, CircuitBreaker, Component, Error, GaveUp, Layer, Operation, Policy, Retry,
    RetryEvent, Scope, Stack, Timeout, Verdict,
};
use cofferdam::time::{Backoff, Clock};
use hyper::{HeaderMap, Response, StatusCode};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a breaker stays open.
#[derive(Clone, Copy)]
pub(crate) struct Breaks {
    first: Duration,
    longest: Duration,
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

type Outcome = Result<Response<Body>, Error<Failure>>;
/// Around a call that may be made once.
type Once = Stack<Chain<Chain<(), Timeout>, CircuitBreaker>>;
/// Around a call that may be made again.
type Repeated = Stack<Chain<Chain<Chain<(), Timeout>, Retry<fn(&Outcome) -> Verdict>>, CircuitBreaker>>;
/// What every attempt goes through that has its turn.
type Attempt = Stack<Chain<Chain<(), Bulkhead>, Timeout>>;

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
    /// Requests sent to the upstream.
    pub(crate) attempts: u64,
    /// Attempts after the first.
    pub(crate) retries: u64,
    /// Retries that the budget did not allow.
    pub(crate) beyond_budget: u64,
    /// Attempts under way.
    pub(crate) in_flight: u32,
    pub(crate) breaker: BreakerStats,
}

#[derive(Default)]
struct Counts {
    attempts: AtomicU64,
    retries: AtomicU64,
    beyond_budget: AtomicU64,
}

pub(crate) struct Guard {
    once: Once,
    repeated: Repeated,
    attempt: Attempt,
    outbound: Outbound,
    breaker: CircuitBreaker,
    bulkhead: Bulkhead,
    counts: Arc<Counts>,
    history: Arc<History>,
}

impl Guard {
    pub(crate) fn new(
        limits: &Limits,
        breaks: Breaks,
        clock: &Clock,
        started: Instant,
    ) -> Result<Self, ConfigError> {
        let history = Arc::<History>::default();
        let changes = Arc::clone(&history);
        let breaker = CircuitBreaker::builder()
            .failure_threshold(5)
            .recovery_time(breaks.first)
            .recovery_growth(2.0)
            .recovery_cap(breaks.longest)
            .clock(clock.clone())
            .observer(move |event: &BreakerEvent| {
                if let BreakerEvent::StateChanged { to, at, .. } = event {
                    let at = at.saturating_duration_since(started);
                    changes.push(Change { at, state: circuit(*to).word });
                }
            })
            .build()?;
        let bulkhead = Bulkhead::builder(limits.in_flight)
            .queue(limits.in_flight / 4)
            .wait_limit(limits.attempt_timeout / 2)
            .clock(clock.clone())
            .build()?;
        let timeout = |limit, scope| Timeout::builder(limit).scope(scope).clock(clock.clone()).build();
        let total = limits.attempt_timeout.saturating_mul(4);
        let counts = Arc::<Counts>::default();
        let seen = Arc::clone(&counts);
        let retry = Retry::builder()
            .max_attempts(3)
            .backoff(Backoff::exponential(Duration::from_millis(5)))
            // One retry for five requests, and ten a second in any case.
            .budget(Budget::ratio(0.2).min_per_second(10.0).clock(clock.clone()).build()?)
            .judge(again as fn(&Outcome) -> Verdict)
            .clock(clock.clone())
            .observer(move |event: &RetryEvent| {
                if let RetryEvent::GaveUp { reason: GaveUp::Budget, .. } = event {
                    seen.beyond_budget.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build()?;
        Ok(Self {
            once: Stack::new().timeout(timeout(total, Scope::Total)).breaker(breaker.clone()),
            repeated: Stack::new()
                .timeout(timeout(total, Scope::Total))
                .retry(retry)
                .breaker(breaker.clone()),
            attempt: Stack::new()
                .bulkhead(bulkhead.clone())
                .timeout(timeout(limits.attempt_timeout, Scope::Attempt)),
            outbound: Outbound::new(limits, clock)?,
            breaker,
            bulkhead,
            counts,
            history,
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
        let mut again = false;
        let op = || {
            pace.spend();
            self.counts.attempts.fetch_add(1, Ordering::Relaxed);
            self.counts.retries.fetch_add(u64::from(again), Ordering::Relaxed);
            again = true;
            op()
        };
        let inner = Chain::new(pace, &self.attempt);
        if repeatable {
            let all = Chain::new(&self.repeated, inner);
            Call::new(all.around(Operation::new(op))).await
        } else {
            let all = Chain::new(&self.once, inner);
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
            attempts: self.counts.attempts.load(Ordering::Relaxed),
            retries: self.counts.retries.load(Ordering::Relaxed),
            beyond_budget: self.counts.beyond_budget.load(Ordering::Relaxed),
            in_flight: self.bulkhead.stats().running,
            breaker: self.breaker.stats(),
        }
    }

    pub(crate) fn history(&self) -> (u64, Vec<Change>) {
        self.history.all()
    }

    /// The policies, outermost first.
    pub(crate) fn describe(&self) -> String {
        let mut layers = self.repeated.describe();
        layers.push(Layer::custom(pace::NAME));
        Component::describe(&self.attempt, &mut layers);
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
        // Nobody forces a breaker here.
        _ => ("by hand", Paint::Yellow),
    };
    Circuit { word, paint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::CollectError;
    use crate::tally;
    use cofferdam::testkit::Sim;

    fn guard(sim: &Sim, in_flight: u32) -> Guard {
        let attempt_timeout = Duration::from_millis(100);
        let limits = Limits { attempt_timeout, in_flight, ..Limits::none() };
        let breaks = Breaks { first: Duration::from_secs(1), longest: Duration::from_secs(4) };
        let clock = sim.clock();
        Guard::new(&limits, breaks, &clock, clock.now()).unwrap()
    }

    async fn call<F, Fut>(guard: &Guard, repeatable: bool, op: F) -> Outcome
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Response<Body>, Failure>>,
    {
        guard.call(repeatable, &guard.pace("GET", "/items/7"), op).await
    }

    async fn fails() -> Result<Response<Body>, Failure> {
        Err(Failure::Body(CollectError::TooSlow))
    }

    #[test]
    fn the_order_of_the_policies_is_one_without_known_faults() {
        let guard = guard(&Sim::new(1), 4);
        assert_eq!(Stack::new().layer(&guard.repeated).layer(&guard.attempt).lint(), []);
        assert_eq!(Stack::new().layer(&guard.once).layer(&guard.attempt).lint(), []);
        assert_eq!(guard.describe(), "timeout > retry > circuit breaker > tiers > bulkhead > timeout");
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            assert!(call(&guard, false, fails).await.unwrap_err().inner().is_some());
            assert_eq!((guard.stats().attempts, guard.stats().retries), (1, 0));
            assert!(call(&guard, true, fails).await.unwrap_err().is_exhausted());
            assert_eq!((guard.stats().attempts, guard.stats().retries), (4, 2));
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
        assert_eq!((changes, guard.stats().attempts), (3, 6));
    }

    #[test]
    fn an_attempt_that_hangs_is_cut_and_repeated_until_the_whole_call_is_out_of_time() {
        let sim = Sim::new(1);
        let guard = guard(&sim, 4);
        sim.run(async {
            let error = call(&guard, true, std::future::pending).await.unwrap_err();
            assert!(error.is_timeout());
            assert_eq!(crate::proxy::outcome(error), tally::Outcome::TimedOut);
            assert_eq!((guard.stats().attempts, guard.stats().in_flight), (3, 0));
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
            assert_eq!((full, guard.stats().attempts), (2, 4));
        });
    }
}
