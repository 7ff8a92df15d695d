//! The client of a service.

use super::*;

fn preset() -> StackSettings {
    presets::standard_client("inventory")
}

fn retry(settings: &mut StackSettings) -> &mut RetrySettings {
    settings.retry.as_mut().unwrap()
}

fn breaker_of(change: impl FnOnce(&mut BreakerSettings), time: &ManualClock) -> CircuitBreaker {
    let mut settings = preset();
    change(settings.breaker.as_mut().unwrap());
    settings.build_on(&time.clock()).unwrap().breaker().unwrap().clone()
}

#[test]
fn a_dead_callee_is_left_alone_and_asked_less_and_less_often() {
    let sim = Sim::new(1);
    let stack = preset().build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    let mut refused = 0;
    for _ in 0..100 {
        let outcome = sim.run(stack.call(|| callee.answer(|_| at_once(Err("gone")))));
        refused += u32::from(outcome.unwrap_err().is_circuit_open());
    }
    assert_eq!(
        (callee.calls.get(), refused),
        (10, 97),
        "ten failures in a row: three runs and the first of a fourth"
    );
    // One trial after each break, each break twice as long, at most a minute.
    for pause in [5, 10, 20, 40, 60, 60] {
        let left = stack.breaker().unwrap().try_acquire().unwrap_err().retry_after().unwrap();
        // Less the delay of the retry that found it open.
        assert!(left <= pause * SECOND && left > pause * SECOND - 200 * MILLI, "{left:?} of {pause} s");
        sim.advance(left);
        assert!(sim.run(stack.call(|| callee.answer(|_| at_once(Err("gone"))))).is_err());
    }
    assert_eq!(callee.calls.get(), 16);
    sim.advance(60 * SECOND);
    let outcomes = together!(sim, stack, callee, 3, |_| at_once(Ok(7)));
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(stack.breaker().unwrap().state(), State::Closed);
}

#[test]
fn a_callee_that_hangs_takes_its_places_and_no_more() {
    let sim = Sim::new(2);
    let stack = preset().build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    let mut calls: Vec<_> = (0..200).map(|_| Polled::new(stack.call(|| callee.answer(|_| None)))).collect();
    let ended = |calls: &mut Vec<Polled<_>>| {
        let before = calls.len();
        let mut full = 0;
        calls.retain_mut(|call| match call.poll() {
            Some(outcome) => {
                let outcome: Outcome = outcome;
                full += usize::from(outcome.unwrap_err().is_full());
                false
            }
            None => true,
        });
        (before - calls.len(), full)
    };
    assert_eq!(ended(&mut calls), (50, 50), "neither place nor queue");
    assert_eq!(callee.running.get(), 100);
    sim.advance(SECOND);
    assert_eq!(ended(&mut calls), (50, 50), "waited for a second");
    sim.advance(9 * SECOND);
    ended(&mut calls);
    assert_eq!(callee.running.get(), 0, "the attempts' limit");
    assert_eq!(stack.breaker().unwrap().state(), State::Open);
    assert!(sim.run(stack.call(|| callee.answer(|_| None))).unwrap_err().is_circuit_open());
}

#[test]
fn a_call_to_what_hangs_ends_in_time_and_all_of_its_attempts_are_evidence() {
    for count in [true, false] {
        let sim = Sim::new(3);
        let mut settings = preset();
        settings.breaker.as_mut().unwrap().count_cancelled_slow = count;
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let error = sim.run(stack.call(|| callee.answer(|_| None))).unwrap_err();
        assert!(error.is_timeout());
        assert_eq!((sim.time().elapsed(), callee.calls.get()), (30 * SECOND, 3));
        // The third was ended by the total timeout.
        assert_eq!(stack.breaker().unwrap().stats().window.unwrap().slow, if count { 3 } else { 2 });
    }
}

#[test]
fn a_callee_that_is_slow_for_all_is_left_alone() {
    for (change, state) in [
        ((|_| ()) as fn(&mut BreakerSettings), State::Open),
        (|breaker| breaker.slow_rate = None, State::Closed),
        (|breaker| breaker.slow_call = Some(7 * SECOND), State::Closed),
        (|breaker| breaker.minimum_calls = Some(21), State::Closed),
    ] {
        let sim = Sim::new(4);
        let mut settings = preset();
        change(settings.breaker.as_mut().unwrap());
        if settings.breaker.as_ref().unwrap().slow_rate.is_none() {
            settings.breaker.as_mut().unwrap().count_cancelled_slow = true;
        }
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let outcomes = together!(sim, stack, callee, 20, |_| Some((6 * SECOND, Ok(7))));
        assert!(outcomes.iter().all(Result::is_ok), "slow is not failed");
        assert_eq!(stack.breaker().unwrap().state(), state);
    }
    // A few slow ones are none of its business: fifteen of twenty.
    let sim = Sim::new(4);
    let stack = preset().build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    let plan = |n| Some((if n <= 5 { MILLI } else { 6 * SECOND }, Ok(7)));
    together!(sim, stack, callee, 20, plan);
    assert_eq!(stack.breaker().unwrap().state(), State::Closed);
}

#[test]
fn an_unreliable_callee_is_called_and_called_again() {
    let sim = Sim::new(5);
    let stack = preset().build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    for _ in 0..1000 {
        let plan = |n: u32| Some((10 * MILLI, if n % 10 == 0 { Err("no") } else { Ok(7) }));
        assert_eq!(sim.run(stack.call(|| callee.answer(plan))), Ok(7));
    }
    assert_eq!((callee.calls.get(), stack.breaker().unwrap().state()), (1111, State::Closed));
}

#[test]
fn retries_of_all_calls_together_are_a_tenth_of_them() {
    let calls_with = |budget: Option<BudgetSettings>| {
        let sim = Sim::new(6);
        let mut settings = preset().breaker(None).bulkhead(None);
        retry(&mut settings).budget = budget;
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let outcomes = together!(sim, stack, callee, 2000, |_| at_once(Err("no")));
        assert!(outcomes.iter().all(Result::is_err));
        callee.calls.get()
    };
    assert_eq!(calls_with(None), 6000);
    // And ten a second of ten seconds.
    assert_eq!(calls_with(preset().retry.unwrap().budget), 2000 + 200 + 100);
    let ratio = |ratio, window, min_per_second| Some(BudgetSettings::Ratio { ratio, window, min_per_second });
    assert_eq!(calls_with(ratio(0.5, 10 * SECOND, 10.0)), 2000 + 1000 + 100);
    assert_eq!(calls_with(ratio(0.1, 5 * SECOND, 10.0)), 2000 + 200 + 50);
    assert_eq!(calls_with(ratio(0.1, 10 * SECOND, 0.0)), 2000 + 200);
}

/// How long a call takes in vain, and how many attempts it makes.
fn in_vain(settings: &StackSettings, plan: fn(u32) -> Option<(Duration, Answer)>) -> (Duration, u32) {
    let sim = Sim::new(7);
    let stack = settings.build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    sim.run(stack.call(|| callee.answer(plan))).unwrap_err();
    (sim.time().elapsed(), callee.calls.get())
}

#[test]
fn each_of_its_times_and_numbers_of_attempts_does_something() {
    let plain = |change: fn(&mut StackSettings)| {
        let mut settings = preset();
        retry(&mut settings).backoff.jitter = Jitter::None;
        change(&mut settings);
        in_vain(&settings, |_| at_once(Err("no")))
    };
    assert_eq!(plain(|_| ()), (300 * MILLI, 3));
    assert_eq!(plain(|settings| retry(settings).max_attempts = 2), (100 * MILLI, 2));
    assert_eq!(plain(|settings| retry(settings).backoff.base = 50 * MILLI), (150 * MILLI, 3));
    assert_eq!(plain(|settings| retry(settings).backoff.cap = Some(120 * MILLI)), (220 * MILLI, 3));
    assert_eq!(plain(|settings| retry(settings).max_attempts = 8), (7_100 * MILLI, 8), "two seconds at most");
    assert_eq!(plain(|settings| settings.total_timeout = None), (300 * MILLI, 3));
    let jittered = in_vain(&preset(), |_| at_once(Err("no"))).0;
    assert!(jittered < 300 * MILLI, "spread over the delay: {jittered:?}");

    let hung = |settings: StackSettings| in_vain(&settings, |_| None);
    assert_eq!(hung(preset()), (30 * SECOND, 3));
    assert_eq!(hung(preset().total_timeout(12 * SECOND)), (12 * SECOND, 2));
    assert_eq!(hung(preset().retry(None)), (10 * SECOND, 1));
    assert_eq!(hung(preset().retry(None).attempt_timeout(3 * SECOND)), (3 * SECOND, 1));
}

#[test]
fn who_is_sent_away_for_long_comes_back_sooner() {
    for (cap, takes) in [(None, 20), (Some(SECOND), 2)] {
        let mut settings = preset().throttle(ThrottleSettings::new(Quota::per_minute(1)));
        if let Some(cap) = cap {
            retry(&mut settings).server_delay_cap = cap;
        }
        retry(&mut settings).backoff.jitter = Jitter::None;
        let sim = Sim::new(8);
        let stack = settings.build_on(&sim.clock()).unwrap();
        assert!(sim.run(stack.call(|| async { Ok::<_, ()>(7) })).is_ok());
        assert!(sim.run(stack.call(|| async { Ok::<_, ()>(7) })).is_err());
        assert_eq!(sim.time().elapsed(), takes * SECOND);
    }
}

/// After how many outcomes, of which `fails` says the failed ones, and `every` apart, it opens.
fn opens_after(
    change: impl FnOnce(&mut BreakerSettings),
    every: Duration,
    fails: fn(u32) -> bool,
) -> Option<u32> {
    let time = ManualClock::new();
    let breaker = breaker_of(change, &time);
    (1..=100).find(|n| {
        time.advance(every);
        let guard = breaker.try_acquire().unwrap();
        if fails(*n) {
            guard.failure()
        } else {
            guard.success()
        }
        breaker.state() == State::Open
    })
}

#[test]
fn each_rule_of_its_breaker_opens_it() {
    let half = |n: u32| n % 2 == 0;
    assert_eq!(opens_after(|_| (), MILLI, half), Some(20), "half of twenty");
    assert_eq!(opens_after(|breaker| breaker.minimum_calls = Some(10), MILLI, half), Some(10));
    assert_eq!(opens_after(|breaker| breaker.failure_rate = Some(0.51), MILLI, half), None);
    assert_eq!(opens_after(|_| (), MILLI, |n| n % 3 == 0), None, "a third");
    assert_eq!(opens_after(|_| (), 2 * SECOND, half), None, "never twenty in half a minute");
    let longer = |breaker: &mut BreakerSettings| breaker.window = Some(Window::time(60 * SECOND));
    assert_eq!(opens_after(longer, 2 * SECOND, half), Some(20));
    assert_eq!(opens_after(|_| (), 60 * SECOND, |_| true), Some(10), "in a row");
    assert_eq!(opens_after(|breaker| breaker.failure_threshold = Some(4), MILLI, |_| true), Some(4));
}

#[test]
fn each_setting_of_its_breaks_does_something() {
    let breaks = |change: fn(&mut BreakerSettings)| {
        let time = ManualClock::new();
        let breaker = breaker_of(change, &time);
        for _ in 0..10 {
            breaker.try_acquire().unwrap().failure();
        }
        let mut breaks = Vec::new();
        for _ in 0..5 {
            let left = breaker.try_acquire().unwrap_err().retry_after().unwrap();
            breaks.push(left.as_secs());
            time.advance(left);
            breaker.try_acquire().unwrap().failure();
        }
        breaks
    };
    assert_eq!(breaks(|_| ()), [5, 10, 20, 40, 60]);
    assert_eq!(breaks(|breaker| breaker.recovery_time = 2 * SECOND), [2, 4, 8, 16, 32]);
    assert_eq!(breaks(|breaker| breaker.recovery_growth = 1.0), [5, 5, 5, 5, 5]);
    assert_eq!(breaks(|breaker| breaker.recovery_cap = Some(15 * SECOND)), [5, 10, 15, 15, 15]);
}

#[test]
fn each_setting_of_its_bulkhead_does_something() {
    let with = |change: fn(&mut BulkheadSettings)| {
        let sim = Sim::new(9);
        let mut settings = preset();
        change(settings.bulkhead.as_mut().unwrap());
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let outcomes = together!(sim, stack, callee, 200, |_| Some((2 * SECOND, Ok(7))));
        (callee.most.get(), outcomes.iter().filter(|outcome| outcome.is_ok()).count())
    };
    assert_eq!(with(|_| ()), (100, 100));
    assert_eq!(with(|bulkhead| bulkhead.running = 120), (120, 120));
    assert_eq!(with(|bulkhead| bulkhead.wait_limit = Some(3 * SECOND)), (100, 150));
    let longer = |bulkhead: &mut BulkheadSettings| {
        bulkhead.wait_limit = Some(3 * SECOND);
        bulkhead.queue = 70;
    };
    assert_eq!(with(longer), (100, 170));
}
