//! Chaos: how often it strikes, with what, and what those outside make of it.

use cofferdam::resilience::breaker::State;
use cofferdam::resilience::chaos::{ChaosEvent, Injected, Plan};
use cofferdam::resilience::*;
use cofferdam::testkit::{ManualClock, Polled, drop_at_every_await, yield_now};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn fine() -> Result<u32, &'static str> {
    Ok(1)
}

fn now<F: Future>(future: F) -> F::Output {
    Polled::new(future).poll().expect("ready at once")
}

// S88
#[test]
fn a_rate_of_nothing_never_strikes_and_one_of_all_always_does() {
    let never =
        Chaos::builder().fault(0.0, || "injected").fault(-3.0, || "injected").fault(f64::NAN, || "?").build();
    assert!((0..100_000).all(|_| now(never.call(fine)) == Ok(1)));
    let always = Chaos::builder().fault(1.0, || "injected").build();
    assert!((0..100_000).all(|_| now(always.call(fine)) == Err(Error::Inner("injected"))));
    assert_eq!((never.stats().faults, always.stats().faults), (0, 100_000));
    let above = Chaos::builder().fault(7.0, || "injected").build();
    assert!((0..1_000).all(|_| now(above.call(fine)).is_err()));
}

// S88
#[test]
fn in_between_it_strikes_as_often_as_it_says_and_as_the_seed_has_it() {
    for rate in [0.01, 0.1, 0.5, 0.9] {
        let run = |seed| {
            let chaos = Chaos::builder().fault(rate, || "injected").seed(seed).build();
            (0..20_000).map(|_| now(chaos.call(fine)).is_err()).collect::<Vec<_>>()
        };
        let (one, again, other) = (run(1), run(1), run(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        for strikes in [one, other] {
            let share = strikes.iter().filter(|struck| **struck).count() as f64 / 20_000.0;
            // Five standard deviations.
            let bound = 5.0 * (rate * (1.0 - rate) / 20_000.0_f64).sqrt();
            assert!((share - rate).abs() < bound, "{share} for {rate}");
        }
    }
}

#[test]
fn rates_delays_and_the_switch_may_be_functions() {
    let (rate, on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (flag, share) = (Arc::clone(&on), Arc::clone(&rate));
    let chaos = Chaos::builder()
        .fault(move || f64::from_bits(share.load(Ordering::Relaxed)), || "injected")
        .enabled(move || flag.load(Ordering::Relaxed))
        .build();
    assert_eq!(now(chaos.call(fine)), Ok(1));
    rate.store(1.0_f64.to_bits(), Ordering::Relaxed);
    assert!(now(chaos.call(fine)).is_err());
    on.store(false, Ordering::Relaxed);
    assert_eq!(now(chaos.call(fine)), Ok(1));
    let off = Chaos::builder().fault(1.0, || "injected").enabled(false).build();
    assert_eq!(now(off.call(fine)), Ok(1));
    let time = ManualClock::new();
    let slow = Chaos::<u32, &str>::builder().latency(1.0, || ms(3)).clock(time.clock()).build();
    let mut call = Polled::new(slow.call(fine));
    assert!(call.poll().is_none());
    time.advance(ms(3));
    assert_eq!(call.poll(), Some(Ok(1)));
}

#[test]
fn latency_behaviour_and_outcome_come_in_the_order_in_which_they_were_given() {
    let time = ManualClock::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (first, last) = (Arc::clone(&log), Arc::clone(&log));
    let chaos = Chaos::builder()
        .behaviour(1.0, move || {
            let log = Arc::clone(&first);
            async move {
                yield_now().await;
                log.lock().unwrap().push("behaviour");
            }
        })
        .latency(1.0, ms(10))
        .latency(1.0, ms(5))
        .outcome(1.0, move || {
            last.lock().unwrap().push("outcome");
            Ok(99)
        })
        .fault(1.0, || "not reached")
        .clock(time.clock())
        .build();
    let mut call = Polled::new(chaos.call(fine));
    assert!(call.poll().is_none());
    assert!(call.poll().is_none());
    assert_eq!(*log.lock().unwrap(), ["behaviour"]);
    time.advance(ms(10));
    assert!(call.poll().is_none(), "the delays add up");
    time.advance(ms(5));
    assert_eq!(call.poll(), Some(Ok(99)));
    assert_eq!(*log.lock().unwrap(), ["behaviour", "outcome"]);
    let stats = chaos.stats();
    assert_eq!((stats.latencies, stats.behaviours, stats.outcomes, stats.faults), (2, 1, 1, 0));
}

// S88
#[test]
fn an_injected_error_is_the_operations_own_to_those_outside() {
    let breaker = CircuitBreaker::builder().failure_threshold(2).build().unwrap();
    let retry = Retry::builder().max_attempts(2).backoff(cofferdam::time::Backoff::fixed(Duration::ZERO));
    let calls = AtomicU32::new(0);
    let chaos = Chaos::builder().fault(1.0, || "injected").build();
    let stack = Stack::new().retry(retry.build().unwrap()).breaker(breaker.clone()).layer(chaos);
    let mut call = Polled::new(stack.call(|| {
        calls.fetch_add(1, Ordering::Relaxed);
        fine()
    }));
    let error = std::iter::from_fn(|| Some(call.poll())).flatten().next().unwrap().unwrap_err();
    assert_eq!(error.inner(), Some(&"injected"));
    assert_eq!(error.exhausted().unwrap().attempts(), 2, "it was tried again");
    assert!(matches!(breaker.state(), State::Open), "it was counted");
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

// S88
#[test]
fn a_panicking_generator_and_an_injected_panic_leak_no_place() {
    let bulkhead = Bulkhead::new(1).unwrap();
    let generator = Chaos::<u32, &str>::builder().fault(1.0, || panic!("generator")).build();
    let stack = Stack::new().bulkhead(bulkhead.clone()).layer(generator);
    assert_eq!(crate::support::panic_message(|| drop(now(stack.call(fine)))), "generator");
    assert_eq!(bulkhead.stats().running, 0);
    let injected = Chaos::<u32, &str>::builder().panic(1.0, "injected").build();
    let stack = Stack::new().bulkhead(bulkhead.clone()).layer(injected.clone());
    let mut call = Polled::new(stack.call(fine));
    assert_eq!(crate::support::panic_message(|| drop(call.poll())), "injected");
    drop(call);
    assert_eq!((bulkhead.stats().running, injected.stats().panics), (0, 1));
}

#[test]
fn a_call_that_hangs_is_ended_from_outside_and_the_next_attempt_starts_over() {
    let time = ManualClock::new();
    let calls = AtomicU32::new(0);
    let chaos = Chaos::<u32, &str>::builder().hang(|| 1.0).clock(time.clock()).build();
    let stack = Stack::new().timeout(Timeout::attempt(ms(10)).clock(time.clock())).layer(chaos.clone());
    let mut call = Polled::new(stack.call(|| {
        calls.fetch_add(1, Ordering::Relaxed);
        fine()
    }));
    assert!(call.poll().is_none());
    time.advance(ms(10));
    assert!(call.poll().unwrap().unwrap_err().is_timeout());
    assert_eq!((calls.load(Ordering::Relaxed), chaos.stats().hangs, time.armed()), (0, 1, 0));
}

#[test]
fn dropped_at_any_await_it_leaves_no_timer_and_no_place() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::new(1).unwrap();
    let chaos = Chaos::<u32, &str>::builder()
        .behaviour(1.0, || async {
            yield_now().await;
        })
        .latency(1.0, Duration::ZERO)
        .latency(0.5, ms(1))
        .clock(time.clock())
        .build();
    let stack = Stack::new().bulkhead(bulkhead.clone()).layer(chaos);
    let points = drop_at_every_await(
        || {
            let (time, stack) = (&time, &stack);
            async move {
                let mut call = std::pin::pin!(stack.call(|| async {
                    yield_now().await;
                    fine().await
                }));
                std::future::poll_fn(|cx| {
                    time.advance(ms(1));
                    // Whatever it waits for, the next poll is due.
                    cx.waker().wake_by_ref();
                    call.as_mut().poll(cx)
                })
                .await
            }
        },
        |_| assert_eq!((time.armed(), bulkhead.stats().running), (0, 0)),
    );
    assert!(points >= 3, "{points}");
}

#[test]
fn events_name_what_was_injected() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let chaos = Chaos::builder().fault(1.0, || "injected").name("monkey").build();
    chaos.observe(move |event: &ChaosEvent| log.lock().unwrap().push(*event));
    assert!(now(chaos.clone().call(fine)).is_err());
    let seen = seen.lock().unwrap();
    assert!(
        matches!(seen[..], [ChaosEvent::Injected { name: "monkey", kind: Injected::Fault, .. }]),
        "{seen:?}"
    );
}

// S88
#[test]
fn outside_of_another_policy_it_is_warned_of() {
    let chaos = || Chaos::<u32, &str>::builder().build();
    let bad = Stack::new().layer(chaos()).bulkhead(Bulkhead::new(1).unwrap());
    assert_eq!(bad.lint().iter().map(Lint::code).collect::<Vec<_>>(), [LintCode::ChaosNotInnermost]);
    let good = Stack::new().bulkhead(Bulkhead::new(1).unwrap()).layer(chaos()).layer(chaos());
    assert!(good.lint().is_empty());
    assert_eq!(good.describe()[1].to_string(), "chaos");
}

mod plan {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Plan>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_what_is_injected() {
        let time = ManualClock::new();
        let plan: Plan = "latency=1.5s@100%, error@1".parse().unwrap();
        let chaos = plan.chaos::<u32, _>(|| "injected").clock(time.clock()).build();
        let mut call = Polled::new(chaos.call(fine));
        assert!(call.poll().is_none());
        time.advance(ms(1_499));
        assert!(call.poll().is_none());
        time.advance(ms(1));
        assert_eq!(call.poll(), Some(Err(Error::Inner("injected"))));
        let panics: Plan = "panic@100%".parse().unwrap();
        let chaos = panics.chaos::<u32, _>(|| "?").build();
        assert_eq!(crate::support::panic_message(|| drop(now(chaos.call(fine)))), "injected panic");
        assert_eq!("hang@1".parse::<Plan>().unwrap().to_string(), "hang@1");
        assert!("".parse::<Plan>().unwrap().is_empty());
    }

    #[test]
    fn what_is_printed_reads_as_the_same() {
        for text in ["latency=50ms@10%,error@5%", "hang@0.1%,panic@0.28", "error@33.3%", "latency=2h@1"] {
            let plan: Plan = text.parse().unwrap();
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_it_should_be() {
        let like = "must look like latency=50ms@10%, hang@1%, error@5% or panic@1%";
        for rule in ["latency", "error", "explode@1%", "latency@5%", "latency=5ms"] {
            assert_eq!(refusal(rule), format!("chaos: rule = {rule}: {like}"));
        }
        for share in ["-1%", "101%", "1.1", "many", "NaN", "inf%", ""] {
            let rule = "must be from 0% to 100%, or from 0 to 1";
            assert_eq!(refusal(&format!("error@{share}")), format!("chaos: share = {share}: {rule}"));
        }
        for latency in ["", "ms", "5", "5 parsecs", "0ms", "-1s"] {
            let rule = "must be a duration above zero, like 50ms or 1.5s";
            let expected = format!("chaos: latency = {latency}: {rule}");
            assert_eq!(refusal(&format!("latency={latency}@1%")), expected);
        }
    }
}
