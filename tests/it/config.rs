//! Settings of policies and stacks, and their change while they are in use.

use cofferdam::limit::Quota;
use cofferdam::resilience::breaker::{OnOverdue, State};
use cofferdam::resilience::config::*;
use cofferdam::resilience::{CircuitBreaker, Error, LintCode, Retry};
use cofferdam::testkit::{ManualClock, Polled, Sim};
use cofferdam::time::{Backoff, Clock, Jitter};
use futures_executor::block_on;
use proptest::prelude::*;
use serde_json::{from_str, from_value, json, to_string};
use std::cell::Cell;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

mod breaker_in_use;
mod knobs;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn full() -> serde_json::Value {
    json!({
        "name": "inventory",
        "total_timeout": "10s",
        "retry": {
            "max_attempts": 4,
            "backoff": { "shape": "exponential", "base": "50ms", "factor": 3.0, "cap": "2s", "jitter": 0.25 },
            "budget": { "ratio": { "ratio": 0.2 } },
            "max_duration": "8s",
            "trim": true,
            "server_delay_cap": "30s",
            "wait_for_breaker": true,
            "mark_attempts": true,
            "yield_to_outer": true
        },
        "breaker": {
            "failure_threshold": 10,
            "recovery_time": "15s",
            "recovery_growth": 2.0,
            "recovery_cap": "2min",
            "half_open_requests": 6,
            "success_threshold": 4,
            "half_open_limit": "20s",
            "trial_lease": "7s",
            "on_overdue": "close",
            "cancelled_after": "1s",
            "enabled": false
        },
        "throttle": { "quota": "100/s burst 20", "tokens": 2, "wait_limit": "250ms" },
        "bulkhead": { "running": 16, "queue": 64, "wait_limit": "1s" },
        "attempt_timeout": "2s"
    })
}

// --- reading and writing ---

#[test]
fn a_whole_stack_is_read_from_configuration_each_knob_of_it() {
    let settings: StackSettings = from_value(full()).unwrap();
    assert_eq!(settings.name.as_deref(), Some("inventory"));
    assert_eq!((settings.total_timeout, settings.attempt_timeout), (Some(10 * SECOND), Some(2 * SECOND)));
    let retry = settings.retry.as_ref().unwrap();
    assert_eq!(
        (retry.max_attempts, retry.max_duration, retry.server_delay_cap),
        (4, Some(8 * SECOND), 30 * SECOND)
    );
    assert!(retry.trim && retry.wait_for_breaker && retry.mark_attempts && retry.yield_to_outer);
    let backoff = Backoff::exponential(50 * MILLI).factor(3.0).unwrap().cap(2 * SECOND);
    assert_eq!(retry.backoff.build().unwrap(), backoff.jitter(Jitter::proportional(0.25).unwrap()));
    let budget = BudgetSettings::Ratio { ratio: 0.2, window: 10 * SECOND, min_per_second: 10.0 };
    assert_eq!(retry.budget, Some(budget));
    let breaker = settings.breaker.as_ref().unwrap();
    assert_eq!((breaker.failure_threshold, breaker.recovery_time), (Some(10), 15 * SECOND));
    assert_eq!((breaker.recovery_growth, breaker.recovery_cap), (2.0, Some(120 * SECOND)));
    assert_eq!((breaker.half_open_requests, breaker.success_threshold), (6, Some(4)));
    assert_eq!((breaker.half_open_limit, breaker.trial_lease), (Some(20 * SECOND), Some(7 * SECOND)));
    assert_eq!((breaker.on_overdue, breaker.cancelled_after), (OnOverdue::Close, Some(SECOND)));
    assert!(!breaker.enabled);
    let throttle = settings.throttle.as_ref().unwrap();
    assert_eq!((throttle.quota, throttle.tokens), (Quota::per_second(100).burst(20), 2));
    assert_eq!(throttle.wait_limit, 250 * MILLI);
    let bulkhead = settings.bulkhead.as_ref().unwrap();
    assert_eq!((bulkhead.running, bulkhead.queue, bulkhead.wait_limit), (16, 64, Some(SECOND)));

    let stack = settings.build().unwrap();
    let layers: Vec<_> = stack.describe().iter().map(ToString::to_string).collect();
    assert_eq!(
        layers,
        [
            "timeout(inventory)",
            "retry(inventory)",
            "circuit breaker(inventory)",
            "throttle(inventory)",
            "bulkhead(inventory)",
            "timeout(inventory)"
        ]
    );
    assert_eq!(stack.lint(), []);
    assert_eq!(stack.breaker().unwrap().state(), State::Disabled);
    assert_eq!(stack.bucket().unwrap().quota(), Quota::per_second(100).burst(20));
    assert_eq!(stack.bulkhead().unwrap().stats().limit, 16);
    assert!(stack.budget().unwrap().available() > 0);
    assert_eq!(block_on(stack.call(|| async { Ok::<_, ()>(7) })), Ok(7));
    assert_eq!(stack.bucket().unwrap().available(), 18, "two tokens a call");
}

#[test]
fn what_is_written_is_read_as_the_same() {
    let settings: StackSettings = from_value(full()).unwrap();
    assert_eq!(from_str::<StackSettings>(&to_string(&settings).unwrap()).unwrap(), settings);
    let nothing = StackSettings::default();
    assert_eq!(to_string(&nothing).unwrap(), r#"{"total_timeout":"none","attempt_timeout":"none"}"#);
    assert_eq!(from_str::<StackSettings>(&to_string(&nothing).unwrap()).unwrap(), nothing);
    assert_eq!(from_str::<StackSettings>("{}").unwrap(), nothing);
}

#[test]
fn the_defaults_are_those_of_the_builders() {
    let read: RetrySettings = from_str("{}").unwrap();
    assert_eq!(read, RetrySettings::default());
    assert_eq!(read.backoff.build().unwrap(), Backoff::default());
    let debug = |retry: Retry| format!("{retry:?}");
    assert_eq!(debug(read.builder().unwrap().build().unwrap()), debug(Retry::builder().build().unwrap()));
    let read: BreakerSettings = from_str("{}").unwrap();
    assert_eq!(read, BreakerSettings::default());
    assert_eq!(format!("{:?}", read.builder().unwrap()), format!("{:?}", CircuitBreaker::builder()));
    let read: ThrottleSettings = from_str(r#"{"quota": "5/s"}"#).unwrap();
    assert_eq!(read, ThrottleSettings::new(Quota::per_second(5)));
    let read: BulkheadSettings = from_str(r#"{"running": 5}"#).unwrap();
    assert_eq!(read, BulkheadSettings::new(5));
    let read: BudgetSettings = from_str(r#"{"quota": {"tokens": 500}}"#).unwrap();
    assert_eq!(read, BudgetSettings::Quota { tokens: 500, cost: 5, reward: 1 });
    assert_eq!(read.build(&Clock::system()).unwrap().available(), 100);
}

/// Each of the breaker's settings has an effect.
#[test]
fn the_settings_of_a_breaker_do_what_they_say() {
    let time = ManualClock::new();
    let built = |change: &dyn Fn(&mut BreakerSettings)| {
        let mut settings = BreakerSettings::default();
        change(&mut settings);
        settings.builder().unwrap().clock(time.clock()).build().unwrap()
    };
    let fail = |breaker: &CircuitBreaker| breaker.try_acquire().unwrap().failure();
    let breaker = built(&|settings| {
        settings.failure_threshold = Some(2);
        settings.recovery_time = 2 * SECOND;
        settings.recovery_growth = 3.0;
        settings.recovery_cap = Some(5 * SECOND);
        settings.half_open_requests = 1;
        settings.success_threshold = Some(1);
    });
    fail(&breaker);
    fail(&breaker);
    assert_eq!(breaker.state(), State::Open);
    time.advance(2 * SECOND);
    fail(&breaker);
    time.advance(5 * SECOND - MILLI);
    assert_eq!(breaker.state(), State::Open);
    time.advance(MILLI);
    assert_eq!(breaker.state(), State::HalfOpen);
    let trial = breaker.try_acquire().unwrap();
    assert!(breaker.try_acquire().is_err(), "one trial at a time");
    trial.success();
    assert_eq!(breaker.state(), State::Closed);

    for (overdue, state) in [(OnOverdue::Open, State::Open), (OnOverdue::Close, State::Closed)] {
        let breaker = built(&|settings| {
            settings.failure_threshold = Some(1);
            settings.half_open_limit = Some(SECOND);
            settings.on_overdue = overdue;
        });
        fail(&breaker);
        time.advance(30 * SECOND);
        let trial = breaker.try_acquire().unwrap();
        time.advance(SECOND);
        assert_eq!(breaker.poll_transition(), state);
        drop(trial);
    }
    let breaker = built(&|settings| {
        settings.failure_threshold = Some(1);
        settings.half_open_requests = 1;
        settings.success_threshold = Some(1);
        settings.half_open_limit = Some(100 * SECOND);
        settings.trial_lease = Some(SECOND);
    });
    fail(&breaker);
    time.advance(30 * SECOND);
    let hung = breaker.try_acquire().unwrap();
    assert!(breaker.try_acquire().is_err());
    time.advance(SECOND);
    assert!(breaker.try_acquire().is_ok());
    drop(hung);
    let breaker = built(&|settings| {
        settings.failure_threshold = Some(1);
        settings.cancelled_after = Some(SECOND);
    });
    let guard = breaker.try_acquire().unwrap();
    time.advance(2 * SECOND);
    drop(guard);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn durations_are_texts() {
    let read = |text: &str| {
        from_value::<StackSettings>(json!({ "attempt_timeout": text }))
            .map(|settings| settings.attempt_timeout)
    };
    for (text, nanos) in [
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("1h 30min", 5_400_000_000_000),
        ("1 minute 1 SECOND", 61_000_000_000),
        ("2us3ns", 2_003),
        ("0s", 0),
        ("1_000 ms", 1_000_000_000),
        (" 1d ", 86_400_000_000_000),
    ] {
        assert_eq!(read(text).unwrap(), Some(Duration::from_nanos(nanos)), "{text}");
    }
    for text in ["none", "None", " NONE "] {
        assert_eq!(read(text).unwrap(), None);
    }
    assert_eq!(from_str::<StackSettings>(r#"{"attempt_timeout": null}"#).unwrap().attempt_timeout, None);
    for (text, why) in [
        ("250", "duration: text = \"250\": must be like 250ms, 1.5s or 1h 30min"),
        ("", "must be like 250ms"),
        ("s", "must be like 250ms"),
        ("1s 5", "must be like 250ms"),
        ("-1s", "must be like 250ms"),
        ("1/s", "must be like 250ms"),
        ("10m", "must have a unit of ns, us, ms, s, min, h, d, w or their names in full"),
        ("0.1ns", "must have numbers below 2^64"),
        ("600000d", "must have numbers below 2^64"),
        ("200000d 200000d", "must have numbers below 2^64"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    for number in ["5", "1.5", "true", "[]"] {
        let error = from_str::<StackSettings>(&format!("{{\"attempt_timeout\": {number}}}")).unwrap_err();
        assert!(error.to_string().contains("expected a duration such as \"250ms\""), "{error}");
    }
    let error = from_str::<BreakerSettings>(r#"{"recovery_time": 5}"#).unwrap_err().to_string();
    assert!(error.contains("expected a duration such as \"250ms\" or \"1.5s\" at line 1"), "{error}");
    let mut settings = StackSettings::default();
    settings.attempt_timeout = Some(Duration::MAX);
    assert!(to_string(&settings).unwrap_err().to_string().contains("584 years"));
}

#[test]
fn jitter_is_a_word_or_a_share() {
    let read = |jitter: serde_json::Value| {
        from_value::<BackoffSettings>(json!({ "jitter": jitter })).map(|settings| settings.jitter)
    };
    let share = |share| Jitter::proportional(share).unwrap();
    for (value, jitter) in [
        (json!("none"), Jitter::None),
        (json!("Full"), Jitter::Full),
        (json!("equal"), Jitter::Equal),
        (json!("decorrelated"), Jitter::Decorrelated),
        (json!(0.2), share(0.2)),
        (json!("0.2"), share(0.2)),
        (json!(1), share(1.0)),
    ] {
        assert_eq!(read(value).unwrap(), jitter);
        let mut settings = BackoffSettings::default();
        settings.jitter = jitter;
        assert_eq!(from_str::<BackoffSettings>(&to_string(&settings).unwrap()).unwrap().jitter, jitter);
    }
    assert!(read(json!(1.5)).unwrap_err().to_string().contains("must be a number from 0 to 1"));
    assert!(read(json!("loud")).unwrap_err().to_string().contains("\"none\", \"full\""));
}

#[test]
fn a_field_that_is_not_known_is_an_error() {
    for text in [
        r#"{"retrys": {}}"#,
        r#"{"retry": {"attempts": 3}}"#,
        r#"{"retry": {"backoff": {"bas": "1s"}}}"#,
        r#"{"retry": {"budget": {"quota": {"tokens": 5, "costs": 1}}}}"#,
        r#"{"breaker": {"failures": 3}}"#,
        r#"{"throttle": {"quota": "1/s", "wait": "1s"}}"#,
        r#"{"bulkhead": {"running": 3, "limit": 3}}"#,
    ] {
        let error = from_str::<StackSettings>(text).unwrap_err().to_string();
        assert!(error.starts_with("unknown field"), "{text}: {error}");
    }
    let error = from_str::<StackSettings>(r#"{"throttle": {}}"#).unwrap_err().to_string();
    assert!(error.starts_with("missing field `quota`"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_duration_that_can_be_written_is_read_as_the_same(nanos in any::<u64>(), round in 0u32..20) {
        let round = 10u64.pow(round);
        let limit = Duration::from_nanos(nanos / round * round);
        let mut settings = BreakerSettings::default();
        settings.recovery_time = limit;
        prop_assert_eq!(from_str::<BreakerSettings>(&to_string(&settings).unwrap()).unwrap().recovery_time, limit);
    }
}

// --- checking ---

#[test]
fn each_bad_setting_is_told_with_its_path() {
    let cases: &[(serde_json::Value, &str)] = &[
        (json!({"breaker": {"failure_threshold": 0}}), "breaker.failure_threshold: 0: must be at least 1"),
        (
            json!({"breaker": {"recovery_growth": 0.5}}),
            "breaker.recovery_growth: 0.5: must be a finite number of at least 1",
        ),
        (
            json!({"breaker": {"half_open_limit": "0s"}}),
            "breaker.half_open_limit: 0ns: must be more than zero: no trial could end in time",
        ),
        (json!({"retry": {"max_attempts": 0}}), "retry.max_attempts: 0: must be at least 1"),
        (json!({"retry": {"trim": true}}), "retry.trim: true: needs a max_duration to trim to"),
        (
            json!({"retry": {"backoff": {"factor": 0.1}}}),
            "retry.backoff.factor: 0.1: must be a finite number of at least 1",
        ),
        (
            json!({"retry": {"budget": {"quota": {"tokens": 0}}}}),
            "retry.budget.quota.tokens: 0: must be at least 1",
        ),
        (json!({"throttle": {"quota": "5/s", "tokens": 0}}), "throttle.tokens: 0: must be at least 1"),
        (
            json!({"throttle": {"quota": "5/s", "tokens": 6}}),
            "throttle.tokens: 6: must not be above the bucket's burst",
        ),
        (json!({"bulkhead": {"running": 0}}), "bulkhead.running: 0: must be at least 1"),
        (
            json!({"bulkhead": {"running": 0, "at_zero": "wait", "wait_limit": "1s"}}),
            "bulkhead.wait_limit: 1s: needs a queue to wait in",
        ),
        (
            json!({"bulkhead": {"running": 1, "wait_limit": "1s"}}),
            "bulkhead.wait_limit: 1s: needs a queue to wait in",
        ),
        (
            json!({"total_timeout": "1s", "attempt_timeout": "1s"}),
            "attempt_timeout: 1s: must be below total_timeout",
        ),
    ];
    for (settings, message) in cases {
        let settings: StackSettings = from_value(settings.clone()).unwrap();
        let error = settings.check().unwrap_err();
        assert_eq!(error.to_string(), *message);
        assert_eq!(error.problems().len(), 1);
        assert!(message.starts_with(error.problems()[0].path()));
    }
    let ratio = json!({"retry": {"budget": {"ratio": {"ratio": -1.0}}}});
    let error = from_value::<StackSettings>(ratio).unwrap().check().unwrap_err();
    assert!(error.to_string().starts_with("retry.budget.ratio.ratio: -1"), "{error}");
    // All at once.
    let all: StackSettings = from_value(json!({
        "retry": {"max_attempts": 0}, "breaker": {"success_threshold": 9}, "bulkhead": {"running": 0}
    }))
    .unwrap();
    let paths: Vec<_> = all.check().unwrap_err().problems().iter().map(|p| p.path().to_owned()).collect();
    assert_eq!(paths, ["retry.max_attempts", "breaker.success_threshold", "bulkhead.running"]);
}

#[test]
fn what_is_left_out_is_not_there_and_the_order_is_free_of_lints() {
    let stack = StackSettings::default().build().unwrap();
    assert_eq!(stack.describe(), []);
    assert_eq!(block_on(stack.call(|| async { Err::<(), _>(3) })), Err(Error::Inner(3)));
    let mut settings = StackSettings::default();
    settings.total_timeout = Some(SECOND);
    settings.breaker = Some(BreakerSettings::default());
    // What is doubtful of a good order is still told.
    let lints = settings.build().unwrap().lint();
    assert_eq!(lints[0].code(), LintCode::TimeoutOnlyOutsideBreaker);
    assert_eq!(settings.build().unwrap().describe()[1].name(), "circuit breaker");
}

#[test]
fn all_parts_are_on_the_clock_that_is_given() {
    let sim = Sim::new(1);
    let mut settings: StackSettings = from_value(full()).unwrap();
    settings.retry.as_mut().unwrap().backoff.jitter = Jitter::None;
    settings.throttle.as_mut().unwrap().quota = Quota::per_second(1).burst(2);
    settings.breaker = None;
    let stack = settings.build_on(&sim.clock()).unwrap();
    let start = sim.clock().now();
    let error = sim.run(stack.call(std::future::pending::<Result<(), ()>>)).unwrap_err();
    assert!(error.is_rate_limited() || error.is_timeout() || error.is_exhausted(), "{error:?}");
    assert!(sim.clock().now() - start <= 10 * SECOND);
    assert_eq!(sim.time().armed(), 0);
}

// --- the environment ---

// EC8
#[test]
fn settings_come_from_variables_of_the_environment() {
    let vars = [
        ("APP__NAME", "search"),
        ("APP__TOTAL_TIMEOUT", "9s"),
        ("app__attempt_timeout", "none"),
        ("APP__RETRY__MAX_ATTEMPTS", " 5 "),
        ("APP__RETRY__TRIM", "false"),
        ("APP__RETRY__BACKOFF__SHAPE", "Fibonacci"),
        ("APP__RETRY__BACKOFF__JITTER", "0.5"),
        ("APP__RETRY__BUDGET__QUOTA__TOKENS", "100"),
        ("APP__BREAKER__RECOVERY_GROWTH", "1.5"),
        ("APP__BREAKER__ON_OVERDUE", "close"),
        ("APP__THROTTLE__QUOTA", "5 per minute burst 20"),
        ("APP__BULKHEAD__RUNNING", "4"),
        ("APPLE__BULKHEAD__RUNNING", "x"),
        ("APP", "x"),
        ("PATH", "/bin"),
    ];
    let settings: StackSettings = from_vars("APP", vars).unwrap();
    let same = json!({
        "name": "search",
        "total_timeout": "9s",
        "retry": {
            "max_attempts": 5,
            "backoff": { "shape": "fibonacci", "jitter": 0.5 },
            "budget": { "quota": { "tokens": 100 } }
        },
        "breaker": { "recovery_growth": 1.5, "on_overdue": "close" },
        "throttle": { "quota": "5/min burst 20" },
        "bulkhead": { "running": 4 }
    });
    assert_eq!(settings, from_value(same).unwrap());
    assert_eq!(from_env::<StackSettings>("COFFERDAM_HAS_NO_SUCH_PREFIX").unwrap(), StackSettings::default());
}

#[test]
fn what_is_wrong_with_a_variable_is_told_with_its_name() {
    for (name, value, message) in [
        ("A__RETRY__MAX_ATTEMPTS", "-1", "\"-1\": must be a whole number of at least 0"),
        ("A__RETRY__MAX_ATTEMPTS", "5000000000", "invalid value: integer `5000000000`, expected u32"),
        ("A__RETRY__TRIM", "yes", "\"yes\": must be true or false"),
        ("A__BREAKER__RECOVERY_GROWTH", "big", "\"big\": must be a number"),
        ("A__BREAKER__ON_OVERDUE", "never", "unknown variant `never`, expected `open` or `close`"),
        ("A__TOTAL_TIMEOUT", "9", "duration: text = \"9\": must be like 250ms, 1.5s or 1h 30min"),
        ("A__THROTTLE__QUOTA", "fast", "quota: text = \"fast\": must be like 100/s"),
        ("A__RETRY__ATTEMPTS", "3", "unknown field `attempts`, expected one of"),
        ("A__RETRY", "3", "invalid type: string \"3\", expected struct RetrySettings"),
        ("A__BULKHEAD__RUNNING__MOST", "3", "must be a whole number of at least 0"),
    ] {
        let error = from_vars::<StackSettings, _, _>("A", [(name, value)]).unwrap_err();
        let text = error.to_string();
        let variable = error.variable().unwrap();
        assert!(name.starts_with(variable) && variable.len() > 3, "{text}");
        assert!(text[variable.len()..].starts_with(&format!(": {message}")), "{name}: {text}");
    }
    let missing = from_vars::<StackSettings, _, _>("A", [("A__THROTTLE__TOKENS", "3")]).unwrap_err();
    assert_eq!(missing.to_string(), "A__THROTTLE: missing field `quota`");
    let both = [("A__RETRY__TRIM", "true"), ("A__RETRY", "x")];
    for vars in [both, [both[1], both[0]]] {
        let error = from_vars::<StackSettings, _, _>("A", vars).unwrap_err();
        assert!(error.to_string().ends_with("is both a value and the beginning of other names"), "{error}");
    }
    let twice = [("A__RETRY__TRIM", "true"), ("a__Retry__trim", "false")];
    let error = from_vars::<StackSettings, _, _>("A", twice).unwrap_err();
    assert_eq!(error.to_string(), "a__Retry__trim: is given twice, as A__RETRY__TRIM too");
    let error = from_vars::<StackSettings, _, _>("A", [twice[0], twice[0]]).unwrap_err();
    assert_eq!(error.to_string(), "A__RETRY__TRIM: is given twice");
    let two = [("A__RETRY__BUDGET__QUOTA__TOKENS", "9"), ("A__RETRY__BUDGET__RATIO__RATIO", "0.1")];
    let error = from_vars::<StackSettings, _, _>("A", two).unwrap_err();
    assert_eq!(error.to_string(), "A__RETRY__BUDGET: must be one of [\"quota\", \"ratio\", \"share\"]");
}

// --- policies that are in no stack of settings ---

#[test]
fn the_settings_of_a_cache_are_read_checked_and_put_in_force() {
    let time = ManualClock::new();
    let read: CacheSettings = from_str(
        r#"{"capacity": 64, "ttl": "10s", "stale_while_revalidate": "5s", "stale_if_error": "7s", "keep_errors": "1s"}"#,
    )
    .unwrap();
    assert_eq!(from_str::<CacheSettings>(&to_string(&read).unwrap()).unwrap(), read);
    assert_eq!(from_str::<CacheSettings>(r#"{"capacity": 5}"#).unwrap(), CacheSettings::new(5));
    let error = from_str::<CacheSettings>(r#"{"capacity": 5, "tll": "1s"}"#).unwrap_err().to_string();
    assert!(error.starts_with("unknown field `tll`"), "{error}");
    let read_vars: CacheSettings = from_vars("C", [("C__CAPACITY", "64"), ("C__TTL", "10s")]).unwrap();
    assert_eq!((read_vars.capacity, read_vars.ttl), (64, 10 * SECOND));
    let cache = read.builder::<u32, u32, &str>().shards(1).clock(time.clock()).build().unwrap();
    for (knob, bad) in [
        ("capacity", CacheSettings::new(0)),
        ("ttl", from_str(r#"{"capacity": 5, "ttl": "0s"}"#).unwrap()),
        ("keep_errors", from_str(r#"{"capacity": 5, "keep_errors": "0s"}"#).unwrap()),
    ] {
        assert_eq!(bad.build::<u32, u32, &str>().unwrap_err().knob(), knob);
        assert_eq!(bad.apply(&cache).unwrap_err().knob(), knob);
    }
    assert_eq!(cache.capacity(), 64, "nothing has changed");

    let load = |value: Result<u32, &'static str>| {
        let mut load = Polled::new(cache.get_or_load(&1, || async move { value }));
        load.poll().unwrap().map(|cached| *cached)
    };
    (0..64).for_each(|key| cache.insert(key, key));
    // Those that are there keep their time; how long they may be stale is asked each time.
    let mut next = CacheSettings::new(32);
    next.ttl = 2 * SECOND;
    next.apply(&cache).unwrap();
    assert_eq!((cache.capacity(), cache.stats().entries), (32, 32), "what has to go goes at once");
    assert_eq!(cache.stats().evictions, 32);
    cache.insert(1, 1);
    cache.insert_for(2, 2, 10 * SECOND);
    time.advance(2 * SECOND);
    assert_eq!(cache.get(&1).as_deref(), None, "the new time to live");
    assert_eq!(load(Err("down")), Err(Error::Inner("down")), "no longer handed out when it is stale");
    assert_eq!(load(Ok(5)), Ok(5), "errors are no longer kept");
    time.advance(2 * SECOND);
    read.apply(&cache).unwrap();
    assert_eq!(load(Err("down")), Ok(5), "handed out again");
    time.advance(10 * SECOND);
    assert_eq!(load(Err("down")), Err(Error::Inner("down")));
    assert_eq!(load(Ok(6)), Err(Error::Inner("down")), "errors are kept again");
}

/// A value may do with the cache what it likes when it goes, also for want of room.
#[test]
fn what_a_smaller_cache_evicts_is_dropped_outside_its_locks() {
    use cofferdam::resilience::Cache;
    struct Nosy(Arc<Mutex<Option<Cache<u32, Nosy>>>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            let cache = self.0.lock().unwrap().clone();
            if let Some(cache) = cache {
                cache.invalidate(&7);
            }
        }
    }
    let home = Arc::new(Mutex::new(None));
    let cache: Cache<u32, Nosy> = Cache::builder(64).shards(1).build().unwrap();
    *home.lock().unwrap() = Some(cache.clone());
    (0..64).for_each(|key| cache.insert(key, Nosy(Arc::clone(&home))));
    CacheSettings::new(32).apply(&cache).unwrap();
    assert!(cache.stats().entries <= 32);
    home.lock().unwrap().take();
}

#[test]
fn the_settings_of_a_chaos_are_read_and_put_in_force() {
    let read: ChaosSettings = from_str(r#"{"plan": "error@100%, latency=5ms@0", "seed": 3}"#).unwrap();
    assert!(read.enabled && read.seed == 3);
    assert_eq!(to_string(&read).unwrap(), r#"{"enabled":true,"plan":"error@1,latency=5ms@0","seed":3}"#);
    assert_eq!(from_str::<ChaosSettings>(&to_string(&read).unwrap()).unwrap(), read);
    assert_eq!(from_str::<ChaosSettings>("{}").unwrap(), ChaosSettings::default());
    let error = from_vars::<ChaosSettings, _, _>("C", [("C__PLAN", "error@200%")]).unwrap_err();
    assert_eq!(error.to_string(), "C__PLAN: chaos: share = 200%: must be from 0% to 100%, or from 0 to 1");
    let vars = [("C__PLAN", "error@1"), ("C__ENABLED", "false")];
    let off: ChaosSettings = from_vars("C", vars).unwrap();
    let chaos = read.builder(|| "injected").build();
    let call = || block_on(chaos.call(|| async { Ok(7) }));
    assert_eq!(call(), Err(Error::Inner("injected")));
    off.apply(&chaos, || "injected");
    assert_eq!(call(), Ok(7));
    read.apply(&chaos, || "another");
    assert_eq!(call(), Err(Error::Inner("another")));
}

// --- changes while in use ---

type Told = Arc<Mutex<Vec<String>>>;

fn live(settings: &StackSettings, clock: &Clock) -> (Reloadable<StandardStack>, Told) {
    let live = Reloadable::new(settings.build_on(clock).unwrap());
    let told = Told::default();
    let theirs = Arc::clone(&told);
    live.observe(move |event: &ReloadEvent<SettingsError>| {
        let text = match event {
            ReloadEvent::Reloaded { generation, .. } => format!("reloaded {generation}"),
            ReloadEvent::ReloadFailed { error, .. } => error.to_string(),
            other => format!("{other:?}"),
        };
        theirs.lock().unwrap().push(text);
    });
    (live, told)
}

fn some() -> StackSettings {
    from_value(json!({
        "name": "stock",
        "retry": { "max_attempts": 1, "budget": { "quota": { "tokens": 100 } } },
        "breaker": { "failure_threshold": 3 },
        "throttle": { "quota": "1/s burst 10", "wait_limit": "1h" },
        "bulkhead": { "running": 2, "queue": 5 },
        "attempt_timeout": "1s"
    }))
    .unwrap()
}

fn fail(stack: &StandardStack) {
    assert!(block_on(stack.call(|| async { Err::<(), _>("no") })).is_err());
}

// S83
#[test]
fn bad_settings_leave_the_old_ones_working_and_counting() {
    let (live, told) = live(&some(), &ManualClock::new().clock());
    fail(&live.load());
    let mut bad = some();
    bad.breaker.as_mut().unwrap().recovery_growth = 0.0;
    bad.throttle.as_mut().unwrap().quota = Quota::per_second(1000);
    bad.bulkhead.as_mut().unwrap().running = 50;
    let error = live.reload(bad).unwrap_err();
    assert_eq!(error.to_string(), "breaker.recovery_growth: 0: must be a finite number of at least 1");
    let stack = live.load();
    assert_eq!((stack.settings(), live.generation()), (&some(), 0));
    assert_eq!(stack.bucket().unwrap().quota(), Quota::per_second(1).burst(10), "nothing of it is in force");
    assert_eq!(stack.bulkhead().unwrap().stats().limit, 2);
    fail(&stack);
    assert_eq!(stack.breaker().unwrap().stats().consecutive_failures, 2, "it still counts");
    live.reload(some()).unwrap();
    assert_eq!(*told.lock().unwrap(), [error.to_string(), "reloaded 1".to_owned()]);
}

#[test]
fn what_goes_on_is_kept_over_a_change() {
    let (live, _) = live(&some(), &ManualClock::new().clock());
    let old = live.load();
    fail(&old);
    fail(&old);
    let mut next = some();
    next.attempt_timeout = Some(2 * SECOND);
    next.total_timeout = Some(5 * SECOND);
    next.retry.as_mut().unwrap().max_attempts = 2;
    next.throttle.as_mut().unwrap().quota = Quota::per_second(5).burst(20);
    next.bulkhead.as_mut().unwrap().running = 1;
    live.reload(next.clone()).unwrap();
    let new = live.load();
    assert_eq!(new.settings(), &next);
    // The breaker has its failures, the bucket its tokens, the bulkhead its calls.
    assert_eq!(new.breaker().unwrap().stats().consecutive_failures, 2);
    assert_eq!((new.bucket().unwrap().available(), new.bucket().unwrap().burst()), (8, 20));
    assert_eq!((new.bulkhead().unwrap().stats().limit, old.bulkhead().unwrap().stats().limit), (1, 1));
    let limits: Vec<_> = new.describe().iter().map(|layer| format!("{:?}", layer.kind())).collect();
    assert!(limits[0].contains("Some(5s)") && limits.last().unwrap().contains("Some(2s)"), "{limits:?}");
    assert!(limits[1].contains("max_attempts: 2"));
    assert_eq!(old.describe().len() + 1, new.describe().len());
    // A new failure through either is the third of one breaker.
    fail(&old);
    assert_eq!(new.breaker().unwrap().state(), State::Open);
    assert!(block_on(new.call(|| async { Ok::<_, ()>(1) })).unwrap_err().is_circuit_open());
}

#[test]
fn the_budget_is_kept_as_long_as_its_settings_are() {
    let time = ManualClock::new();
    let mut settings = some();
    settings.breaker = None;
    settings.retry.as_mut().unwrap().max_attempts = 2;
    settings.retry.as_mut().unwrap().backoff.base = Duration::ZERO;
    let (live, _) = live(&settings, &time.clock());
    fail(&live.load());
    assert_eq!(live.load().budget().unwrap().available(), 19);
    settings.retry.as_mut().unwrap().max_attempts = 3;
    live.reload(settings.clone()).unwrap();
    fail(&live.load());
    assert_eq!(live.load().budget().unwrap().available(), 17, "two retries on the same account");
    settings.retry.as_mut().unwrap().budget = Some(BudgetSettings::Quota { tokens: 50, cost: 5, reward: 1 });
    live.reload(settings.clone()).unwrap();
    assert_eq!(live.load().budget().unwrap().available(), 10);
    settings.retry.as_mut().unwrap().budget = None;
    live.reload(settings).unwrap();
    assert!(live.load().budget().is_none());
}

#[test]
fn those_who_wait_are_retimed_and_let_in() {
    let time = ManualClock::new();
    let mut settings = some();
    settings.retry = None;
    settings.attempt_timeout = None;
    settings.throttle.as_mut().unwrap().quota = Quota::per_minute(1);
    let (live, _) = live(&settings, &time.clock());
    let stack = live.load();
    assert_eq!(block_on(stack.call(|| async { Ok::<_, ()>(1) })), Ok(1));
    let mut waits = Polled::new(stack.call(|| async { Ok::<_, ()>(2) }));
    assert_eq!(waits.poll(), None);
    time.advance(SECOND);
    settings.throttle.as_mut().unwrap().quota = Quota::per_second(1);
    live.reload(settings.clone()).unwrap();
    time.advance(SECOND);
    assert_eq!(waits.poll(), Some(Ok(2)), "at the new rate");

    // Of the bulkhead: who waits is let in by a larger one.
    settings.throttle = None;
    live.reload(settings.clone()).unwrap();
    let stack = live.load();
    let hold = || Polled::new(stack.call(std::future::pending::<Result<(), ()>>));
    let mut held = [hold(), hold(), hold()];
    held.iter_mut().for_each(|call| assert!(call.poll().is_none()));
    assert_eq!(stack.bulkhead().unwrap().stats().waiting, 1);
    settings.bulkhead.as_mut().unwrap().running = 3;
    live.reload(settings.clone()).unwrap();
    assert_eq!((held[2].wakes(), stack.bulkhead().unwrap().stats().waiting), (1, 0));
    // Another queue is of the same bulkhead.
    settings.bulkhead.as_mut().unwrap().queue = 1;
    settings.bulkhead.as_mut().unwrap().wait_limit = Some(SECOND);
    live.reload(settings.clone()).unwrap();
    let mut fourth = hold();
    assert!(fourth.poll().is_none(), "one may wait");
    assert!(hold().poll().unwrap().unwrap_err().is_full(), "and no other");
    time.advance(SECOND);
    assert!(fourth.poll().unwrap().unwrap_err().is_full(), "no longer than that");
    let new = live.load();
    assert_eq!(new.bulkhead().unwrap().stats().running, 3);
    // Another order is another bulkhead: who holds a place in the old one keeps it.
    settings.bulkhead.as_mut().unwrap().order = OrderSettings::Lifo;
    live.reload(settings).unwrap();
    let new = live.load();
    assert_eq!((new.bulkhead().unwrap().stats().running, stack.bulkhead().unwrap().stats().running), (0, 3));
}

#[test]
fn with_a_new_name_everything_begins_anew() {
    let (live, _) = live(&some(), &ManualClock::new().clock());
    fail(&live.load());
    let mut settings = some();
    settings.name = Some("other".into());
    live.reload(settings.clone()).unwrap();
    let stack = live.load();
    assert_eq!((stack.bucket().unwrap().available(), stack.breaker().unwrap().name()), (10, "other"));
    assert_eq!(stack.breaker().unwrap().stats().failures, 0);
    settings.breaker = None;
    live.reload(settings.clone()).unwrap();
    assert!(live.load().breaker().is_none());
    settings.breaker = Some(BreakerSettings::default());
    live.reload(settings).unwrap();
    assert_eq!(live.load().breaker().unwrap().state(), State::Closed);
}

#[test]
fn calls_that_are_under_way_finish_under_the_old_settings() {
    let sim = Sim::new(4);
    let mut settings = StackSettings::default();
    settings.attempt_timeout = Some(10 * SECOND);
    let (live, _) = live(&settings, &sim.clock());
    let clock = sim.clock();
    let call = sim.spawn("call", {
        let (stack, clock) = (live.load(), clock.clone());
        async move {
            let slow = || async {
                clock.sleep(5 * SECOND).await;
                Ok::<_, ()>(7)
            };
            stack.call(slow).await
        }
    });
    sim.run(clock.sleep(SECOND));
    settings.attempt_timeout = Some(SECOND);
    live.reload(settings).unwrap();
    assert_eq!(sim.run(call), Ok(7));
    let stack = live.load();
    let timed_out = sim.run(stack.call(std::future::pending::<Result<(), ()>>)).unwrap_err();
    assert!(timed_out.is_timeout());
}

/// Counts how many there are, and asks for more from within.
struct Part {
    number: u32,
    alive: Arc<()>,
}

impl Reload for Part {
    type Settings = u32;
    type Error = String;

    fn check(&self, number: &u32) -> Result<(), String> {
        if *number == 13 { Err("unlucky".into()) } else { Ok(()) }
    }

    fn reload(&self, number: u32) -> Result<Self, String> {
        if number == 14 {
            return Err("found out late".into());
        }
        assert_ne!(number, 15, "broken");
        Ok(Self { number: self.number * 100 + number, alive: Arc::clone(&self.alive) })
    }
}

#[test]
fn a_reload_from_within_a_reload_has_its_turn_after_it() {
    let live = Reloadable::new(Part { number: 1, alive: Arc::default() });
    let inside = live.clone();
    let again = Mutex::new(true);
    live.observe(move |_: &ReloadEvent<String>| {
        if std::mem::take(&mut *again.lock().unwrap()) {
            assert_eq!(inside.load().number, 102, "it is in force when it is told");
            assert_eq!(inside.reload(3), Ok(()));
            assert_eq!(inside.reload(13), Err("unlucky".to_owned()));
        }
    });
    live.reload(2).unwrap();
    assert_eq!((live.load().number, live.generation()), (10_203, 2));
    assert_eq!(live.reload(14), Err("found out late".to_owned()));
    assert_eq!(live.load().number, 10_203);
}

#[test]
fn a_panic_in_a_reload_leaves_the_old_and_lets_others_reload() {
    let live = Reloadable::new(Part { number: 1, alive: Arc::default() });
    assert!(crate::support::panic_message(|| drop(live.reload(15))).contains("broken"));
    assert_eq!(live.load().number, 1);
    live.reload(2).unwrap();
    assert_eq!(live.load().number, 102);
}

#[test]
fn a_reader_sees_each_change_and_lets_go_of_what_was() {
    let alive = Arc::new(());
    let live = Reloadable::new(Part { number: 1, alive: Arc::clone(&alive) });
    let mut reader = live.reader();
    assert_eq!(reader.current().number, 1);
    live.reload(2).unwrap();
    assert_eq!(Arc::strong_count(&alive), 3, "the reader has the old one until it looks");
    assert_eq!(reader.current().number, 102);
    assert_eq!(Arc::strong_count(&alive), 2);
    let mut other = reader.clone();
    live.reload(3).unwrap();
    assert_eq!((reader.current().number, other.current().number), (10_203, 10_203));
    drop((live, reader, other));
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn racing_reloads_are_all_taken_and_readers_see_them_in_order() {
    let live = Reloadable::new(Part { number: 0, alive: Arc::default() });
    let told = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&told);
    live.observe(move |event: &ReloadEvent<String>| {
        if let ReloadEvent::Reloaded { generation, .. } = event {
            theirs.lock().unwrap().push(*generation);
        }
    });
    let start = Arc::new(Barrier::new(5));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (live, start) = (live.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                (0..100).for_each(|_| live.reload(0).unwrap());
            })
        })
        .collect();
    let mut reader = live.reader();
    let last = Cell::new(0);
    start.wait();
    while threads.iter().any(|thread| !thread.is_finished()) {
        reader.current();
        let generation = live.generation();
        assert!(generation >= last.get());
        last.set(generation);
        std::thread::yield_now();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(live.generation(), 400);
    assert!(told.lock().unwrap().iter().copied().eq(1..=400));
}
