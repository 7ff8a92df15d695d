//! The presets: what each does with a callee that is dead, slow or unreliable, and what each of its settings is for.

use cofferdam::limit::Quota;
use cofferdam::resilience::breaker::{State, Window};
use cofferdam::resilience::config::*;
use cofferdam::resilience::{CircuitBreaker, Error, OnFailure, presets};
use cofferdam::testkit::{ManualClock, Polled, Sim};
use cofferdam::time::{Clock, Jitter};
use futures_executor::block_on;
use std::cell::Cell;
use std::future::{Future, pending};
use std::rc::Rc;
use std::time::Duration;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<u32, &'static str>;
type Outcome = Result<u32, Error<&'static str>>;

/// A callee that counts: how many calls reach it, how many run.
#[derive(Clone)]
struct Callee {
    clock: Clock,
    calls: Rc<Cell<u32>>,
    running: Rc<Cell<u32>>,
    most: Rc<Cell<u32>>,
}

struct Running(Rc<Cell<u32>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Callee {
    fn new(clock: &Clock) -> Self {
        Self { clock: clock.clone(), calls: Rc::default(), running: Rc::default(), most: Rc::default() }
    }

    /// Answers as `plan` says of the number of the call, counted from 1: after how long, and what. `None`: never.
    fn answer(&self, plan: fn(u32) -> Option<(Duration, Answer)>) -> impl Future<Output = Answer> + use<> {
        self.calls.set(self.calls.get() + 1);
        self.running.set(self.running.get() + 1);
        self.most.set(self.most.get().max(self.running.get()));
        let (clock, running, planned) =
            (self.clock.clone(), Running(Rc::clone(&self.running)), plan(self.calls.get()));
        async move {
            let _running = running;
            match planned {
                Some((takes, answer)) => {
                    if !takes.is_zero() {
                        clock.sleep(takes).await;
                    }
                    answer
                }
                None => pending().await,
            }
        }
    }
}

const fn at_once(answer: Answer) -> Option<(Duration, Answer)> {
    Some((Duration::ZERO, answer))
}

/// Runs so many calls at the same time, to their end.
macro_rules! together {
    ($sim:expr, $stack:expr, $callee:expr, $calls:expr, $plan:expr) => {{
        let callee = &$callee;
        let plan = $plan;
        let calls = (0..$calls).map(|_| $stack.call(move || callee.answer(plan)));
        $sim.run(futures_util::future::join_all(calls))
    }};
}
mod background_job;
mod hedged_client;
mod server;
mod standard_client;

// --- all of them ---

/// S81.
#[test]
fn no_preset_has_a_known_mistake_in_it_and_each_is_named() {
    let stacks = [
        ("standard", presets::standard_client("standard").build().unwrap()),
        ("server", presets::server("server").build().unwrap()),
        ("job", presets::background_job("job").build().unwrap()),
    ];
    for (name, stack) in &stacks {
        assert_eq!(stack.lint(), []);
        assert!(stack.describe().iter().all(|layer| layer.name() == *name));
    }
    let hedged = presets::hedged_client("hedged").build().unwrap();
    assert_eq!(hedged.lint(), []);
    let order = |layers: Vec<cofferdam::resilience::Layer>| {
        layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" > ")
    };
    assert_eq!(
        order(hedged.describe()),
        "timeout(hedged) > retry(hedged) > hedge > circuit breaker(hedged) > bulkhead(hedged) > timeout(hedged)"
            .replace("> hedge >", "> hedge(hedged) >")
    );
    assert_eq!(
        order(stacks[0].1.describe()),
        "timeout(standard) > retry(standard) > circuit breaker(standard) > bulkhead(standard) > timeout(standard)"
    );
    assert_eq!(order(stacks[1].1.describe()), "timeout(server) > bulkhead(server)");
    assert_eq!(
        order(stacks[2].1.describe()),
        "retry(job) > circuit breaker(job) > bulkhead(job) > timeout(job)"
    );
}

#[test]
fn a_preset_is_written_to_a_configuration_file_and_read_from_it() {
    let presets = [
        presets::standard_client("a"),
        presets::server("b"),
        presets::background_job("c"),
        presets::standard_client("d").retry(None).breaker(None).bulkhead(None).total_timeout(None),
    ];
    for preset in presets {
        let text = serde_json::to_string(&preset).unwrap();
        assert_eq!(serde_json::from_str::<StackSettings>(&text).unwrap(), preset, "{text}");
    }
    let hedged = presets::hedged_client("e");
    let text = serde_json::to_string(&hedged).unwrap();
    assert_eq!(serde_json::from_str::<HedgedSettings>(&text).unwrap(), hedged, "{text}");
    let error = serde_json::from_str::<StackSettings>(&text).unwrap_err().to_string();
    assert!(error.starts_with("a hedge is only in the settings of a stack that may run"), "{error}");
    // And the other way round: a hedge may be switched off.
    let unhedged = serde_json::from_value::<HedgedSettings>(serde_json::json!({"name": "e"})).unwrap();
    assert!(unhedged.build().unwrap().hedge().is_none());
}

/// Each part can be taken out or replaced before it is built.
#[test]
fn a_preset_is_changed_before_it_is_built() {
    let changed = presets::standard_client("a")
        .name("b")
        .total_timeout(9 * SECOND)
        .retry(RetrySettings::default())
        .breaker(BreakerSettings::default())
        .throttle(ThrottleSettings::new(Quota::per_second(5)))
        .bulkhead(BulkheadSettings::new(3))
        .attempt_timeout(2 * SECOND);
    let mut same = StackSettings::default();
    same.name = Some("b".into());
    same.total_timeout = Some(9 * SECOND);
    same.retry = Some(RetrySettings::default());
    same.breaker = Some(BreakerSettings::default());
    same.throttle = Some(ThrottleSettings::new(Quota::per_second(5)));
    same.bulkhead = Some(BulkheadSettings::new(3));
    same.attempt_timeout = Some(2 * SECOND);
    assert_eq!(changed, same);
    let emptied = presets::background_job("a").retry(None).breaker(None).bulkhead(None).attempt_timeout(None);
    assert_eq!(emptied.build().unwrap().describe(), []);
}
