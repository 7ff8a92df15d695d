//! The settings of windows, rates and trials, of hedges, and of who waits in what order.

use super::*;
use cofferdam::limit::concurrency::Discipline;
use cofferdam::resilience::breaker::Window;
use cofferdam::resilience::{Bulkhead, Hedge, Latencies, OnFailure};
use cofferdam::sync::Order;

fn breaker() -> serde_json::Value {
    json!({
        "window": "30s in 6 parts",
        "minimum_calls": 20,
        "failures_in_window": 15,
        "failure_rate": 0.5,
        "slow_call": "500ms",
        "slow_rate": 0.8,
        "count_cancelled_slow": true,
        "timestamps": true,
        "half_open_rate": 0.25,
        "half_open_ramp": [0.1, 0.5]
    })
}

#[test]
fn each_new_knob_of_a_breaker_is_read_written_and_put_in_force() {
    let read: BreakerSettings = from_value(breaker()).unwrap();
    let mut same = BreakerSettings::default();
    same.window = Some(Window::time_in_parts(30 * SECOND, 6));
    same.minimum_calls = Some(20);
    same.failures_in_window = Some(15);
    same.failure_rate = Some(0.5);
    same.slow_call = Some(500 * MILLI);
    same.slow_rate = Some(0.8);
    same.count_cancelled_slow = true;
    same.timestamps = true;
    same.half_open_rate = Some(0.25);
    same.half_open_ramp = vec![0.1, 0.5];
    assert_eq!(read, same);
    assert_eq!(from_str::<BreakerSettings>(&to_string(&read).unwrap()).unwrap(), read);

    let time = ManualClock::new();
    let built = |change: &dyn Fn(&mut BreakerSettings)| {
        let mut settings = BreakerSettings::default();
        change(&mut settings);
        settings.builder().unwrap().clock(time.clock()).build().unwrap()
    };
    let end = |breaker: &CircuitBreaker, fails: bool, takes: Duration| {
        let guard = breaker.try_acquire().unwrap();
        time.advance(takes);
        if fails { guard.failure() } else { guard.success() }
    };
    let opens = |change: &dyn Fn(&mut BreakerSettings), fails: fn(u32) -> bool, takes: Duration| {
        let breaker = built(change);
        (1..=200).find(|n| {
            end(&breaker, fails(*n), takes);
            breaker.state() == State::Open
        })
    };
    let half = |n: u32| n % 2 == 0;
    assert_eq!(opens(&|_| (), half, MILLI), None);
    assert_eq!(opens(&|breaker| breaker.failure_rate = Some(0.5), half, MILLI), Some(10));
    let minimum = |breaker: &mut BreakerSettings| {
        breaker.failure_rate = Some(0.5);
        breaker.minimum_calls = Some(30);
    };
    assert_eq!(opens(&minimum, half, MILLI), Some(30));
    assert_eq!(opens(&|breaker| breaker.failures_in_window = Some(7), half, MILLI), Some(14));
    let short = |breaker: &mut BreakerSettings| {
        breaker.failures_in_window = Some(7);
        breaker.window = Some(Window::calls(10));
    };
    assert_eq!(opens(&short, half, MILLI), None);
    let slow = |breaker: &mut BreakerSettings| {
        breaker.slow_call = Some(10 * MILLI);
        breaker.slow_rate = Some(1.0);
    };
    assert_eq!(opens(&slow, |_| false, 11 * MILLI), Some(10));
    assert_eq!(opens(&slow, |_| false, 9 * MILLI), None);
    for (count, slow_calls) in [(false, 0), (true, 1)] {
        let breaker = built(&|breaker| {
            slow(breaker);
            breaker.count_cancelled_slow = count;
        });
        let dropped = breaker.try_acquire().unwrap();
        time.advance(SECOND);
        drop(dropped);
        assert_eq!(breaker.stats().slow, slow_calls);
    }
    for timestamps in [false, true] {
        let breaker = built(&|breaker| breaker.timestamps = timestamps);
        end(&breaker, false, MILLI);
        assert_eq!(breaker.stats().last_success.is_some(), timestamps);
    }
    // Two of four trials may fail, or none.
    for (rate, state) in [(None, State::Open), (Some(0.75), State::Closed)] {
        let breaker = built(&|breaker| {
            breaker.half_open_requests = 4;
            breaker.half_open_rate = rate;
        });
        breaker.trip().unwrap();
        time.advance(30 * SECOND);
        for fails in [true, false, true, false] {
            if breaker.state() == State::HalfOpen {
                end(&breaker, fails, MILLI);
            }
        }
        assert_eq!(breaker.state(), state);
    }
    // Every second call of those who come.
    for (ramp, through) in [(vec![], 3), (vec![0.5], 2)] {
        let breaker = built(&|breaker| breaker.half_open_ramp.clone_from(&ramp));
        breaker.trip().unwrap();
        time.advance(30 * SECOND);
        let tried: Vec<_> = (0..3).map(|_| breaker.try_acquire()).collect();
        assert_eq!(tried.iter().filter(|call| call.is_ok()).count(), through);
    }
}

#[test]
fn a_window_is_a_number_of_calls_or_a_time() {
    let read = |text: &str| {
        from_value::<BreakerSettings>(json!({ "window": text })).map(|settings| settings.window.unwrap())
    };
    for (text, window, written) in [
        ("100 calls", Window::calls(100), "100 calls"),
        (" 1 call ", Window::calls(1), "1 calls"),
        ("30s", Window::time(30 * SECOND), "30s"),
        ("1min 30s", Window::time(90 * SECOND), "1min 30s"),
        ("1.5s in 10 parts", Window::time(1500 * MILLI), "1500ms"),
        ("30s in 6 parts", Window::time_in_parts(30 * SECOND, 6), "30s in 6 parts"),
    ] {
        assert_eq!(read(text).unwrap(), window, "{text}");
        let again = serde_json::to_value(window).unwrap();
        assert_eq!(read(again.as_str().unwrap()).unwrap(), window, "{written}: {again}");
    }
    for text in ["100", "", "calls", "-1 calls", "30s in 6", "30s in x parts", "in 6 parts", "30x"] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains("must be like 100 calls, 30s or 30s in 6 parts"), "{text}: {error}");
    }
    let error = from_str::<BreakerSettings>(r#"{"window": 100}"#).unwrap_err().to_string();
    assert!(error.contains("expected a window such as \"100 calls\", \"30s\""), "{error}");
}

#[test]
fn a_hedge_is_read_written_and_has_the_defaults_of_its_builder() {
    let all = json!({
        "name": "search",
        "retry": { "reset_after": "1min", "keep_errors": 2 },
        "hedge": {
            "delay": { "quantile": {
                "quantile": 0.9, "window": "10s", "min_samples": 50, "least_delay": "2ms", "most_delay": "1s"
            } },
            "max_hedges": 2,
            "on_failure": "wait_for_delay",
            "last_error": true,
            "mark_attempts": true,
            "budget": { "share": { "share": 0.1 } }
        },
        "bulkhead": { "running": 1, "queue": 2, "order": { "adaptive_lifo": { "interval": "100ms" } } }
    });
    let settings: HedgedSettings = from_value(all).unwrap();
    assert_eq!(from_str::<HedgedSettings>(&to_string(&settings).unwrap()).unwrap(), settings);
    let hedge = settings.hedge.as_ref().unwrap();
    let delay = HedgeDelay::Quantile {
        quantile: 0.9,
        window: 10 * SECOND,
        min_samples: 50,
        least_delay: 2 * MILLI,
        most_delay: Some(SECOND),
    };
    assert_eq!((&hedge.delay, hedge.max_hedges, hedge.on_failure), (&delay, 2, OnFailure::WaitForDelay));
    assert!(hedge.last_error && hedge.mark_attempts);
    assert_eq!(hedge.budget, Some(BudgetSettings::Share { share: 0.1, least: 3 }));
    let retry = settings.retry.as_ref().unwrap();
    assert_eq!((retry.reset_after, retry.keep_errors), (Some(60 * SECOND), 2));
    let kinds: Vec<_> = settings.build().unwrap().describe().iter().map(ToString::to_string).collect();
    assert_eq!(kinds, ["retry(search)", "hedge(search)", "bulkhead(search)"]);

    let clock = Clock::system();
    let debug = |builder: cofferdam::resilience::HedgeBuilder| format!("{:?}", builder.build().unwrap());
    let read: HedgeSettings = from_str(r#"{"delay": {"fixed": "20ms"}}"#).unwrap();
    assert_eq!(read, HedgeSettings::new(HedgeDelay::Fixed(20 * MILLI)));
    assert_eq!(debug(read.builder(&clock).unwrap()), debug(Hedge::after(20 * MILLI)));
    let read: HedgeSettings = from_str(r#"{"delay": {"quantile": {"quantile": 0.9}}}"#).unwrap();
    let latencies = Latencies::builder(0.9).build().unwrap();
    assert_eq!(debug(read.builder(&clock).unwrap()), debug(Hedge::after_quantile(latencies)));
    let vars = [("A__HEDGE__DELAY__FIXED", "20ms"), ("A__HEDGE__ON_FAILURE", "return_now")];
    let read = from_vars::<HedgedSettings, _, _>("A", vars).unwrap().hedge.unwrap();
    assert_eq!((read.delay, read.on_failure), (HedgeDelay::Fixed(20 * MILLI), OnFailure::ReturnNow));
    // Without a budget to share it is told.
    let unbounded = StackSettings::default().hedge(HedgeSettings::new(HedgeDelay::Fixed(MILLI)));
    assert_eq!(unbounded.build().unwrap().lint()[0].code(), LintCode::HedgeWithoutBudget);
}

#[test]
fn a_retry_keeps_errors_and_begins_anew_as_its_settings_say() {
    let run = |change: fn(&mut RetrySettings), takes: Duration| {
        let sim = Sim::new(1);
        let mut retry = RetrySettings::default();
        retry.backoff.jitter = Jitter::None;
        change(&mut retry);
        let stack = StackSettings::default().retry(retry).build_on(&sim.clock()).unwrap();
        let (clock, calls) = (sim.clock(), Cell::new(0));
        let op = || {
            calls.set(calls.get() + 1);
            let (clock, number) = (clock.clone(), calls.get());
            async move {
                clock.sleep(if number == 2 { takes } else { MILLI }).await;
                Err::<(), _>(number)
            }
        };
        let error = sim.run(stack.call(op)).unwrap_err();
        let earlier = match &error {
            Error::Exhausted(exhausted) => exhausted.earlier().len(),
            _ => 0,
        };
        (calls.get(), earlier)
    };
    assert_eq!(run(|_| (), 2 * SECOND), (3, 0));
    assert_eq!(run(|retry| retry.keep_errors = 2, 2 * SECOND), (3, 2));
    assert_eq!(run(|retry| retry.reset_after = Some(SECOND), 2 * SECOND), (4, 0));
}

#[test]
fn orders_are_words_or_have_times() {
    for (text, order) in [
        (json!("fifo"), Discipline::from(Order::Fifo)),
        (json!("lifo"), Order::Lifo.into()),
        (json!({"adaptive_lifo": {"interval": "100ms"}}), Discipline::AdaptiveLifo { interval: 100 * MILLI }),
        (
            json!({"controlled_delay": {"target": "5ms", "interval": "100ms"}}),
            Discipline::ControlledDelay { target: 5 * MILLI, interval: 100 * MILLI, lifo: false },
        ),
    ] {
        let settings = json!({"running": 1, "queue": 2, "order": text});
        let read: BulkheadSettings = from_value(settings).unwrap();
        let builder = Bulkhead::builder(1).queue(2).order(order);
        assert_eq!(format!("{:?}", read.builder()), format!("{builder:?}"));
        assert_eq!(from_str::<BulkheadSettings>(&to_string(&read).unwrap()).unwrap(), read);
    }
}

#[test]
fn each_bad_new_knob_is_told_with_its_path() {
    let quantile = |text: &str| format!(r#"{{"hedge": {{"delay": {{"quantile": {text}}}}}}}"#);
    let delay = r#"{"hedge": {"delay": {"fixed": "1s"}, "#;
    for (text, message) in [
        (
            r#"{"breaker": {"half_open_rate": 0.5, "success_threshold": 2}}"#.to_owned(),
            "breaker.half_open_rate: 0.5: is in place of success_threshold: only one of the two may be set",
        ),
        (
            r#"{"breaker": {"slow_rate": 0.5}}"#.to_owned(),
            "breaker.slow_rate: 0.5: needs slow_call, which says what is slow",
        ),
        (
            r#"{"breaker": {"window": "0 calls"}}"#.to_owned(),
            "breaker.window: 0 calls: must be at least one call",
        ),
        (
            r#"{"breaker": {"half_open_ramp": [0.5, 0.2]}}"#.to_owned(),
            "breaker.half_open_ramp: 0.2: must be more than the share before it",
        ),
        (
            quantile(r#"{"quantile": 1.5}"#),
            "hedge.delay.quantile.quantile: 1.5: must be a number between 0 and 1",
        ),
        (
            quantile(r#"{"quantile": 0.5, "least_delay": "2s", "most_delay": "1s"}"#),
            "hedge.delay.quantile.least_delay: 2s: must not be above most_delay",
        ),
        (format!(r#"{delay}"max_hedges": 0}}}}"#), "hedge.max_hedges: 0: must be from 1 to 100"),
        (
            format!(r#"{delay}"budget": {{"share": {{"share": -1.0}}}}}}}}"#),
            "hedge.budget.share.share: -1: must be a number from 0 to 1000",
        ),
        (
            r#"{"bulkhead": {"running": 1, "queue": 1, "order": {"adaptive_lifo": {"interval": "0s"}}}}"#
                .to_owned(),
            "bulkhead.order.adaptive_lifo.interval: 0ns: must be above zero",
        ),
        (
            r#"{"bulkhead": {"running": 1, "queue": 1,
                "order": {"controlled_delay": {"target": "2s", "interval": "1s"}}}}"#
                .to_owned(),
            "bulkhead.order.controlled_delay.target: 2s: must be above zero, and not above the interval",
        ),
    ] {
        let settings: HedgedSettings = from_str(&text).unwrap();
        assert_eq!(settings.check().unwrap_err().to_string(), message);
    }
}

/// What a hedge has learnt, and what all may spend, outlive a change of what does not concern them.
#[test]
fn latencies_and_budgets_of_a_hedge_are_kept_over_a_change() {
    let sim = Sim::new(1);
    let mut hedge: HedgeSettings =
        from_str(r#"{"delay": {"quantile": {"quantile": 0.5, "min_samples": 1}}, "budget": {"quota": {"tokens": 10}}}"#)
            .unwrap();
    let settings = |hedge: &HedgeSettings| StackSettings::default().hedge(hedge.clone());
    let live = Reloadable::new(settings(&hedge).build_on(&sim.clock()).unwrap());
    let run = |takes: Duration| {
        let (stack, clock) = (live.load(), sim.clock());
        let op = || {
            let clock = clock.clone();
            async move {
                clock.sleep(takes).await;
                Ok::<_, ()>(())
            }
        };
        sim.run(stack.call(op)).unwrap();
        stack.hedge().unwrap().stats().started
    };
    run(10 * MILLI);
    assert_eq!(run(SECOND), 1);
    hedge.max_hedges = 2;
    live.reload(settings(&hedge)).unwrap();
    assert!(live.load().hedge().unwrap().delay().is_some());
    // Two at five tokens each is what the quota paid for: one before the change, one after it.
    assert_eq!((run(SECOND), run(SECOND)), (1, 1));
    hedge.budget = Some(BudgetSettings::Quota { tokens: 10, cost: 1, reward: 1 });
    live.reload(settings(&hedge)).unwrap();
    assert_eq!(run(10 * SECOND), 2, "a new one");
    if let HedgeDelay::Quantile { quantile, .. } = &mut hedge.delay {
        *quantile = 0.9;
    }
    live.reload(settings(&hedge)).unwrap();
    assert_eq!(live.load().hedge().unwrap().delay(), None);
}
