//! Work for which nobody waits.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn preset() -> StackSettings {
    let mut settings = presets::background_job("invoices");
    settings.retry.as_mut().unwrap().backoff.jitter = Jitter::None;
    settings
}

fn retry(settings: &mut StackSettings) -> &mut RetrySettings {
    settings.retry.as_mut().unwrap()
}

/// A job whose callee is gone for so long: whether it is done, when, and how often it was tried.
fn outage(settings: &StackSettings, lasts: Duration) -> (bool, Duration, u32) {
    let sim = Sim::new(1);
    let stack = settings.build_on(&sim.clock()).unwrap();
    let (clock, begin) = (sim.clock(), sim.clock().now());
    let tries = Cell::new(0);
    let job = || {
        tries.set(tries.get() + 1);
        std::future::ready(if clock.now() - begin < lasts { Err("gone") } else { Ok(()) })
    };
    let outcome = sim.run(stack.call(job));
    (outcome.is_ok(), sim.time().elapsed(), tries.get())
}

#[test]
fn a_dead_callee_is_outlived_if_it_comes_back() {
    let (done, at, tries) = outage(&preset(), 15 * MINUTE);
    assert!(done && at >= 15 * MINUTE && at < 25 * MINUTE, "{done} {at:?}");
    assert!(tries <= 15);
    // And given up if it does not.
    let (done, at, tries) = outage(&preset(), 24 * 60 * MINUTE);
    assert!(!done && at <= 60 * MINUTE, "{at:?}");
    assert!((11..=15).contains(&tries));
    // With jitter, as it is: the same within the hour.
    for seed in 0..5 {
        let sim = Sim::new(seed);
        let stack = presets::background_job("invoices").build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        sim.run(stack.call(|| callee.answer(|_| at_once(Err("gone"))))).unwrap_err();
        assert!(sim.time().elapsed() <= 60 * MINUTE && sim.time().elapsed() > 2 * MINUTE);
    }
}

#[test]
fn a_job_that_hangs_is_tried_again() {
    let sim = Sim::new(2);
    let stack = preset().build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    let plan = |n| if n == 1 { None } else { Some((MINUTE, Ok(n))) };
    assert_eq!(sim.run(stack.call(|| callee.answer(plan))), Ok(2));
    assert_eq!(sim.time().elapsed(), 6 * MINUTE + SECOND);
    let sooner = preset().attempt_timeout(MINUTE * 2).build_on(&sim.clock()).unwrap();
    let (callee, before) = (Callee::new(&sim.clock()), sim.time().elapsed());
    assert_eq!(sim.run(sooner.call(|| callee.answer(plan))), Ok(2));
    assert_eq!(sim.time().elapsed() - before, 3 * MINUTE + SECOND);
}

#[test]
fn jobs_of_an_unreliable_callee_are_all_done_a_few_at_a_time() {
    let sim = Sim::new(3);
    let stack = presets::background_job("invoices").build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    let plan = |n: u32| Some((SECOND, if n % 3 == 0 { Err("no") } else { Ok(n) }));
    let outcomes = together!(sim, stack, callee, 100, plan);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 0);
    assert_eq!(callee.most.get(), 8);
    assert!(callee.calls.get() >= 148);
}

#[test]
fn each_setting_of_its_retry_does_something() {
    let with = |change: fn(&mut StackSettings)| {
        let mut settings = preset().breaker(None);
        change(&mut settings);
        let (_, at, tries) = outage(&settings, 24 * 60 * MINUTE);
        (at.as_secs(), tries)
    };
    // 1 + 2 + ... + 256, and five times 300.
    assert_eq!(with(|_| ()), (2011, 15));
    assert_eq!(with(|settings| retry(settings).max_attempts = 3), (3, 3));
    assert_eq!(with(|settings| retry(settings).backoff.base = 10 * SECOND), (3_010, 15));
    assert_eq!(with(|settings| retry(settings).backoff.cap = Some(MINUTE)), (543, 15));
    assert_eq!(with(|settings| retry(settings).max_duration = Some(10 * MINUTE)), (511, 10));
    let none = |settings: &mut StackSettings| {
        let budget = BudgetSettings::Ratio { ratio: 0.0, window: MINUTE, min_per_second: 0.0 };
        retry(settings).budget = Some(budget);
    };
    assert_eq!(with(none), (0, 1));
    // It waits for its breaker, or it does not.
    for wait in [true, false] {
        let sim = Sim::new(1);
        let mut settings = preset();
        retry(&mut settings).wait_for_breaker &= wait;
        let stack = settings.build_on(&sim.clock()).unwrap();
        stack.breaker().unwrap().trip().unwrap();
        let outcome = sim.run(stack.call(|| std::future::ready(Ok::<_, ()>(7))));
        assert_eq!(
            (outcome.is_ok(), sim.time().elapsed()),
            (wait, if wait { MINUTE } else { Duration::ZERO })
        );
    }
}

#[test]
fn all_jobs_together_retry_no_more_than_their_budget() {
    let with = |budget: Option<BudgetSettings>| {
        let sim = Sim::new(4);
        let mut settings = preset().breaker(None);
        retry(&mut settings).max_attempts = 2;
        retry(&mut settings).budget = budget;
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        together!(sim, stack, callee, 1000, |_| at_once(Err("no")));
        callee.calls.get()
    };
    assert_eq!(with(None), 2000);
    assert_eq!(with(preset().retry.unwrap().budget), 1000 + 200 + 60);
}

#[test]
fn who_is_sent_away_for_long_waits_for_that() {
    for (cap, takes) in [(None, 60), (Some(10 * SECOND), 10)] {
        let mut settings = preset().throttle(ThrottleSettings::new(Quota::per_minute(1)));
        retry(&mut settings).max_attempts = 2;
        if let Some(cap) = cap {
            retry(&mut settings).server_delay_cap = cap;
        }
        let sim = Sim::new(5);
        let stack = settings.build_on(&sim.clock()).unwrap();
        assert!(sim.run(stack.call(|| async { Ok::<_, ()>(7) })).is_ok());
        assert_eq!(sim.run(stack.call(|| async { Ok::<_, ()>(7) })).is_ok(), cap.is_none());
        assert_eq!(sim.time().elapsed(), takes * SECOND);
    }
}

#[test]
fn each_setting_of_its_breaker_does_something() {
    let with = |change: fn(&mut BreakerSettings)| {
        let time = ManualClock::new();
        let mut settings = preset();
        change(settings.breaker.as_mut().unwrap());
        let breaker = settings.build_on(&time.clock()).unwrap().breaker().unwrap().clone();
        let failures = (1..50).find(|_| {
            breaker.try_acquire().unwrap().failure();
            breaker.state() == State::Open
        });
        let mut breaks = Vec::new();
        for _ in 0..5 {
            let left = breaker.try_acquire().unwrap_err().retry_after().unwrap();
            breaks.push(left.as_secs());
            time.advance(left);
            breaker.try_acquire().unwrap().failure();
        }
        time.advance(breaker.try_acquire().unwrap_err().retry_after().unwrap());
        let mut trials = Vec::new();
        while let Ok(trial) = breaker.try_acquire() {
            trials.push(trial);
        }
        let at_once = trials.len();
        let mut successes = 0;
        for trial in trials {
            if breaker.state() == State::HalfOpen {
                trial.success();
                successes += 1;
            }
        }
        (failures, breaks, at_once, successes)
    };
    let breaks = vec![60, 120, 240, 480, 600];
    assert_eq!(with(|_| ()), (Some(10), breaks.clone(), 5, 3));
    assert_eq!(with(|breaker| breaker.failure_threshold = Some(4)), (Some(4), breaks.clone(), 5, 3));
    assert_eq!(with(|breaker| breaker.half_open_requests = 7), (Some(10), breaks.clone(), 7, 3));
    assert_eq!(with(|breaker| breaker.success_threshold = Some(5)), (Some(10), breaks, 5, 5));
    assert_eq!(with(|breaker| breaker.recovery_time = 10 * SECOND).1, [10, 20, 40, 80, 160]);
    assert_eq!(with(|breaker| breaker.recovery_growth = 3.0).1, [60, 180, 540, 600, 600]);
    assert_eq!(with(|breaker| breaker.recovery_cap = Some(90 * SECOND)).1, [60, 90, 90, 90, 90]);
}

#[test]
fn each_setting_of_its_bulkhead_does_something() {
    let with = |change: fn(&mut BulkheadSettings)| {
        let sim = Sim::new(6);
        let mut settings = preset();
        change(settings.bulkhead.as_mut().unwrap());
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let outcomes = together!(sim, stack, callee, 30, |_| Some((MINUTE, Ok(7))));
        (callee.most.get(), outcomes.iter().filter(|outcome| outcome.is_ok()).count())
    };
    assert_eq!(with(|_| ()), (8, 30));
    assert_eq!(with(|bulkhead| bulkhead.running = 3), (3, 30));
    assert_eq!(with(|bulkhead| bulkhead.queue = 10), (8, 18));
}
