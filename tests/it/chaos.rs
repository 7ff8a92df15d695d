//! Chaos: how often it strikes, with what, and what those outside make of it.

use cofferdam::resilience::breaker::State;
use cofferdam::resilience::chaos::{ChaosEvent, ClockSkew, Injected, Plan};
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

// EC4
mod cancel {
    use super::*;
    use std::cell::Cell;
    use std::future::pending;

    /// Says when it is dropped.
    struct Dropped<'a>(&'a Cell<u32>);

    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn a_call_is_dropped_on_its_way_at_the_very_moment() {
        let time = ManualClock::new();
        let chaos =
            Chaos::<u32, &str>::builder().cancel(1.0, ms(10)).name("monkey").clock(time.clock()).build();
        let (begun, dropped) = (Cell::new(0), Cell::new(0));
        let mut call = Polled::new(chaos.call(|| {
            begun.set(begun.get() + 1);
            let guard = Dropped(&dropped);
            async move {
                let _guard = guard;
                pending().await
            }
        }));
        assert!(call.poll().is_none());
        time.advance(ms(9));
        assert!(call.poll().is_none());
        assert_eq!((begun.get(), dropped.get()), (1, 0), "it runs");
        time.advance(ms(1));
        let error = call.poll().unwrap().unwrap_err();
        assert!(error.is_cancelled());
        assert_eq!(error.to_string(), "monkey: cancelled");
        assert_eq!((dropped.get(), time.armed()), (1, 0), "before the caller is told");
        assert_eq!(chaos.stats().cancels, 1);
    }

    #[test]
    fn the_end_of_a_call_beats_the_clock_and_a_delay_of_nothing_is_after_the_first_poll() {
        let time = ManualClock::new();
        let slow = || {
            let clock = time.clock();
            move || async move {
                clock.sleep(ms(10)).await;
                fine().await
            }
        };
        let chaos = Chaos::builder().cancel(1.0, ms(10)).cancel(1.0, || ms(20)).clock(time.clock()).build();
        let mut call = Polled::new(chaos.call(slow()));
        assert!(call.poll().is_none());
        time.advance(ms(10));
        assert_eq!(call.poll(), Some(Ok(1)));
        assert_eq!(time.armed(), 0);
        // The shortest of several.
        let chaos = Chaos::builder().cancel(1.0, ms(20)).cancel(1.0, ms(9)).clock(time.clock()).build();
        let mut call = Polled::new(chaos.call(slow()));
        assert!(call.poll().is_none());
        time.advance(ms(9));
        assert!(call.poll().unwrap().unwrap_err().is_cancelled());
        let chaos = Chaos::builder().cancel(1.0, Duration::ZERO).clock(time.clock()).build();
        assert_eq!(now(chaos.call(fine)), Ok(1), "ready at its first poll");
        let polls = Cell::new(0);
        let error = now(chaos.call(|| {
            std::future::poll_fn(|_| {
                polls.set(polls.get() + 1);
                std::task::Poll::<Result<u32, &str>>::Pending
            })
        }));
        assert!(error.unwrap_err().is_cancelled());
        assert_eq!(polls.get(), 1);
    }

    #[test]
    fn to_those_outside_it_is_a_cancellation_and_no_failure() {
        let time = ManualClock::new();
        let breaker = CircuitBreaker::builder().failure_threshold(1).clock(time.clock()).build().unwrap();
        let retry = Retry::builder().max_attempts(3).clock(time.clock()).build().unwrap();
        let bulkhead = Bulkhead::new(1).unwrap();
        let fallback = Fallback::value(9);
        let calls = Cell::new(0);
        let chaos = Chaos::<u32, &str>::builder().cancel(1.0, ms(5)).clock(time.clock()).build();
        let stack = Stack::new()
            .fallback(fallback.clone())
            .retry(retry)
            .breaker(breaker.clone())
            .bulkhead(bulkhead.clone())
            .layer(chaos);
        let mut call = Polled::new(stack.call(|| {
            calls.set(calls.get() + 1);
            pending()
        }));
        assert!(call.poll().is_none());
        assert_eq!(bulkhead.stats().running, 1);
        time.advance(ms(5));
        assert!(call.poll().unwrap().unwrap_err().is_cancelled());
        assert_eq!((calls.get(), bulkhead.stats().running, fallback.stats().used), (1, 0, 0));
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.stats().consecutive_failures, 0);
    }

    #[test]
    fn dropped_at_any_await_it_leaves_no_timer() {
        let time = ManualClock::new();
        let chaos =
            Chaos::<u32, &str>::builder().latency(1.0, ms(1)).cancel(1.0, ms(2)).clock(time.clock()).build();
        let points = drop_at_every_await(
            || {
                let (time, chaos) = (&time, &chaos);
                async move {
                    let mut call = std::pin::pin!(chaos.call(pending));
                    std::future::poll_fn(|cx| {
                        let polled = call.as_mut().poll(cx);
                        time.advance(ms(1));
                        cx.waker().wake_by_ref();
                        polled
                    })
                    .await
                    .unwrap_err()
                }
            },
            |_| assert_eq!(time.armed(), 0),
        );
        assert!(points >= 3, "{points}");
    }
}

// EC4
mod skew {
    use super::*;
    use std::time::Instant;

    #[test]
    fn steps_stay_in_both_times_and_add_up() {
        let time = ManualClock::new();
        let skew = ClockSkew::builder().clock(time.clock()).build();
        let (clock, right) = (skew.clock(), time.clock());
        assert_eq!((clock.now(), clock.wall()), (right.now(), right.wall()));
        skew.step_ahead(ms(50));
        assert_eq!(clock.now(), right.now() + ms(50));
        assert_eq!(clock.wall(), right.wall() + ms(50));
        skew.step_back(ms(80));
        time.advance(ms(100));
        assert_eq!(clock.now(), right.now() - ms(30));
        assert_eq!(clock.wall(), right.wall() - ms(30));
        let stats = skew.stats();
        assert_eq!((stats.ahead, stats.back), (1, 1));
        assert_eq!((stats.is_ahead_by, stats.is_behind_by), (Duration::ZERO, ms(30)));
        // There is no time before the first, nor after the last.
        skew.step_back(Duration::MAX);
        let _: Instant = clock.now();
        for _ in 0..3 {
            skew.step_ahead(Duration::MAX);
        }
        let _: Instant = clock.now();
    }

    #[test]
    fn rules_step_as_often_as_they_say_as_the_seed_has_it_and_while_they_are_on() {
        let run = |seed| {
            let time = ManualClock::new();
            let skew = ClockSkew::builder()
                .clock(time.clock())
                .ahead(0.1, ms(3))
                .back(|| 0.1, ms(2))
                .seed(seed)
                .build();
            let clock = skew.clock();
            let start = clock.now();
            let readings: Vec<_> = (0..2_000).map(|_| clock.now().saturating_duration_since(start)).collect();
            let stats = skew.stats();
            for steps in [stats.ahead, stats.back] {
                // Five standard deviations of 200.
                assert!(steps.abs_diff(200) < 67, "{stats:?}");
            }
            readings
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let on = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&on);
        let time = ManualClock::new();
        let skew = ClockSkew::builder()
            .clock(time.clock())
            .ahead(1.0, ms(1))
            .enabled(move || flag.load(Ordering::Relaxed));
        let skew = skew.build();
        assert_eq!(skew.clock().now(), time.clock().now());
        on.store(true, Ordering::Relaxed);
        assert_eq!(skew.clock().now(), time.clock().now() + ms(1));
    }

    #[test]
    fn a_timer_is_armed_for_what_is_left_by_the_clock_as_it_stands() {
        let time = ManualClock::new();
        let skew = ClockSkew::builder().clock(time.clock()).build();
        skew.step_ahead(ms(1_000));
        let clock = skew.clock();
        let mut sleep = Polled::new(clock.sleep_until(clock.now() + ms(10)));
        assert!(sleep.poll().is_none());
        // It is not moved by this.
        skew.step_back(ms(5_000));
        time.advance(ms(9));
        assert!(sleep.poll().is_none());
        time.advance(ms(1));
        assert!(sleep.poll().is_some());
    }

    /// What is on such a clock bears it: an open breaker lets a trial in when the clock has jumped past its break, and stays open,
    /// with no more than its break to go, when it has gone back.
    #[test]
    fn a_breaker_on_a_clock_that_steps_opens_and_closes_as_the_clock_says() {
        let time = ManualClock::new();
        let skew = ClockSkew::builder().clock(time.clock()).build();
        let breaker = CircuitBreaker::builder()
            .failure_threshold(1)
            .recovery_time(ms(100))
            .success_threshold(1)
            .clock(skew.clock());
        let breaker = breaker.build().unwrap();
        let fail = || now(breaker.call(|| async { Err::<u32, _>("down") }));
        assert!(fail().is_err());
        skew.step_back(ms(1_000));
        let error = now(breaker.call(fine)).unwrap_err();
        assert!(error.is_circuit_open());
        skew.step_ahead(ms(1_100));
        assert_eq!(now(breaker.call(fine)), Ok(1));
        assert_eq!(breaker.state(), State::Closed);
    }

    #[test]
    fn a_plan_may_have_rules_for_it() {
        let plan: Plan = "skew=+5s@100%, error@5%".parse().unwrap();
        assert!(plan.has_skew() && plan.has_faults());
        let time = ManualClock::new();
        let skew = plan.skew().clock(time.clock()).build();
        assert_eq!(skew.clock().now(), time.clock().now() + Duration::from_secs(5));
        let plan: Plan = "skew=-5s@100%".parse().unwrap();
        assert!(plan.has_skew() && !plan.has_faults());
        assert_eq!(now(plan.chaos::<u32, _>(|| "injected").build().call(fine)), Ok(1));
    }
}

#[test]
fn other_rules_are_in_force_at_once_and_a_call_under_way_keeps_its_own() {
    let time = ManualClock::new();
    let chaos = Chaos::builder().latency(1.0, ms(5)).fault(1.0, || "old").seed(3).clock(time.clock()).build();
    let mut call = Polled::new(chaos.call(fine));
    assert!(call.poll().is_none());
    chaos.clone().set(Chaos::builder().fault(0.5, || "new").seed(7));
    let fresh = Chaos::builder().fault(0.5, || "new").seed(7).build();
    let run = |chaos: &Chaos<u32, &'static str>| (0..50).map(|_| now(chaos.call(fine))).collect::<Vec<_>>();
    assert_eq!(run(&chaos), run(&fresh), "the decisions begin anew");
    time.advance(ms(5));
    assert_eq!(call.poll(), Some(Err(Error::Inner("old"))));
    chaos.set(Chaos::builder());
    assert_eq!(now(chaos.call(fine)), Ok(1));
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
        for text in [
            "latency=50ms@10%,error@5%",
            "hang@0.1%,panic@0.28",
            "error@33.3%",
            "latency=2h@1",
            "cancel=3ms@1%,skew=+5s@0.1%",
            "skew=-1.5s@1",
        ] {
            let plan: Plan = text.parse().unwrap();
            assert_eq!(plan.to_string().parse::<Plan>().unwrap(), plan, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_what_it_should_be() {
        let like =
            "must look like latency=50ms@10%, hang@1%, error@5%, panic@1%, cancel=20ms@1% or skew=-5s@1%";
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
            assert_eq!(refusal(&format!("cancel={latency}@1%")), expected.replace("latency", "cancel"));
            assert_eq!(refusal(&format!("skew=+{latency}@1%")), expected.replace("latency", "skew"));
        }
        let rule = "must begin with + or -, like +5s or -100ms";
        assert_eq!(refusal("skew=5s@1%"), format!("chaos: skew = 5s: {rule}"));
    }
}
