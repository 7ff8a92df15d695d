//! The client of a service whose calls may be made twice.

use super::*;

fn hedge(settings: &mut HedgedSettings) -> &mut HedgeSettings {
    settings.hedge.as_mut().unwrap()
}

fn change_delay(settings: &mut HedgedSettings, change: fn(&mut HedgeDelay)) {
    change(&mut hedge(settings).delay);
}

/// One that has seen so many calls of so long each.
fn used(
    sim: &Sim,
    calls: u32,
    takes: fn(u32) -> Duration,
    change: fn(&mut HedgedSettings),
) -> (HedgedStack, Callee) {
    let mut settings = presets::hedged_client("search");
    change(&mut settings);
    let stack = settings.build_on(&sim.clock()).unwrap();
    for n in 0..calls {
        let clock = sim.clock();
        let op = || {
            let clock = clock.clone();
            async move {
                clock.sleep(takes(n)).await;
                Ok::<_, ()>(())
            }
        };
        sim.run(stack.call(op)).unwrap();
    }
    (stack, Callee::new(&sim.clock()))
}

#[test]
fn one_call_that_is_slow_is_made_again_beside_itself() {
    let sim = Sim::new(1);
    let (stack, callee) = used(&sim, 100, |_| 10 * MILLI, |_| ());
    let (before, available) = (sim.time().elapsed(), stack.budget().unwrap().available());
    let slow_once = |n| Some((if n == 1 { 9 * SECOND } else { 10 * MILLI }, Ok(n)));
    assert_eq!(sim.run(stack.call(|| callee.answer(slow_once))), Ok(2));
    let took = sim.time().elapsed() - before;
    assert!(took >= 20 * MILLI && took < 22 * MILLI, "{took:?}");
    assert_eq!((stack.hedge().unwrap().stats().started, callee.running.get()), (1, 0));
    assert_eq!(stack.budget().unwrap().available(), available - 1, "paid from the retry's budget");
}

#[test]
fn a_callee_that_is_slow_for_all_gets_few_calls_more() {
    let sim = Sim::new(2);
    let (stack, callee) = used(&sim, 100, |_| 10 * MILLI, |settings| settings.bulkhead = None);
    let outcomes = together!(sim, stack, callee, 2000, |_| Some((SECOND, Ok(7))));
    assert!(outcomes.iter().all(Result::is_ok));
    // A tenth of the calls, and ten a second of ten seconds.
    assert_eq!(callee.calls.get(), 2000 + 310);
    // With one of its own, that one.
    let own = |settings: &mut HedgedSettings| {
        settings.bulkhead = None;
        let budget = BudgetSettings::Ratio { ratio: 0.05, window: 10 * SECOND, min_per_second: 0.0 };
        hedge(settings).budget = Some(budget);
    };
    let sim = Sim::new(3);
    let (stack, callee) = used(&sim, 100, |_| 10 * MILLI, own);
    together!(sim, stack, callee, 2000, |_| Some((SECOND, Ok(7))));
    assert_eq!(callee.calls.get(), 2000 + 105);
    assert_eq!(stack.budget().unwrap().available(), 310);
}

#[test]
fn a_dead_callee_is_not_called_twice_as_often() {
    let sim = Sim::new(4);
    let (stack, callee) = used(&sim, 0, |_| MILLI, |_| ());
    for _ in 0..100 {
        assert!(sim.run(stack.call(|| callee.answer(|_| at_once(Err("gone"))))).is_err());
    }
    assert_eq!(callee.calls.get(), 10, "the breaker is inside");
}

#[test]
fn an_attempt_goes_on_when_the_one_beside_it_fails() {
    let with = |on_failure: Option<OnFailure>| {
        let sim = Sim::new(5);
        let mut settings = presets::hedged_client("search").retry(None);
        hedge(&mut settings).delay = HedgeDelay::Fixed(20 * MILLI);
        if let Some(on_failure) = on_failure {
            hedge(&mut settings).on_failure = on_failure;
        }
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let plan = |n| Some(if n == 1 { (50 * MILLI, Ok(1)) } else { (MILLI, Err("a bad replica")) });
        let outcome = sim.run(stack.call(|| callee.answer(plan)));
        (outcome.ok(), sim.time().elapsed())
    };
    assert_eq!(with(None), (Some(1), 50 * MILLI));
    assert_eq!(with(Some(OnFailure::ReturnNow)), (None, 21 * MILLI));
    // A failure is waited for, not answered by a second call at once.
    let begins = |on_failure: Option<OnFailure>| {
        let sim = Sim::new(5);
        let mut settings = presets::hedged_client("search").retry(None);
        hedge(&mut settings).delay = HedgeDelay::Fixed(20 * MILLI);
        if let Some(on_failure) = on_failure {
            hedge(&mut settings).on_failure = on_failure;
        }
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let plan = |n| Some((MILLI, if n == 1 { Err("no") } else { Ok(n) }));
        assert_eq!(sim.run(stack.call(|| callee.answer(plan))), Ok(2));
        sim.time().elapsed()
    };
    assert_eq!(begins(None), 21 * MILLI);
    assert_eq!(begins(Some(OnFailure::StartNext)), 2 * MILLI);
}

#[test]
fn each_setting_of_its_delay_does_something() {
    let delay = |calls, takes: fn(u32) -> Duration, change: fn(&mut HedgedSettings)| {
        let sim = Sim::new(6);
        let (stack, _) = used(&sim, calls, takes, change);
        stack.hedge().unwrap().delay()
    };
    assert_eq!(delay(99, |_| 10 * MILLI, |_| ()), None, "too few calls");
    let millis = |delay: Option<Duration>| delay.unwrap().as_millis();
    // Within a sixteenth of 95 ms.
    let rising = |n: u32| (n % 100 + 1) * MILLI;
    assert!((95..=101).contains(&millis(delay(200, rising, |_| ()))));
    assert_eq!(delay(100, |_| MILLI, |_| ()), Some(5 * MILLI));
    assert_eq!(delay(100, |_| MILLI / 10, |_| ()), Some(5 * MILLI));
    let wide = |settings: &mut HedgedSettings| {
        change_delay(settings, |delay| {
            if let HedgeDelay::Quantile { min_samples, least_delay, most_delay, .. } = delay {
                (*min_samples, *least_delay, *most_delay) = (5, Duration::ZERO, None);
            }
        });
    };
    assert_eq!(millis(delay(5, |_| MILLI, wide)), 1);
    let (capped, free) = (
        delay(
            12,
            |_| 4 * SECOND,
            |settings| {
                change_delay(settings, |delay| {
                    if let HedgeDelay::Quantile { min_samples, .. } = delay {
                        *min_samples = 5;
                    }
                });
            },
        ),
        delay(12, |_| 4 * SECOND, wide),
    );
    assert_eq!(capped, Some(2 * SECOND));
    assert!(free > Some(4 * SECOND));
    let median = |settings: &mut HedgedSettings| {
        change_delay(settings, |delay| {
            if let HedgeDelay::Quantile { quantile, .. } = delay {
                *quantile = 0.5;
            }
        });
    };
    assert!((50..=54).contains(&millis(delay(200, rising, median))));

    // Forgotten after a minute at most, or sooner.
    for (window, known) in [(None, true), (Some(SECOND), false)] {
        let sim = Sim::new(6);
        let mut settings = presets::hedged_client("search");
        if let (Some(length), HedgeDelay::Quantile { window, .. }) = (window, &mut hedge(&mut settings).delay)
        {
            *window = length;
        }
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        together!(sim, stack, callee, 100, |_| Some((MILLI, Ok(7))));
        sim.advance(25 * SECOND);
        assert_eq!(stack.hedge().unwrap().delay().is_some(), known);
        sim.advance(60 * SECOND);
        assert_eq!(stack.hedge().unwrap().delay(), None);
    }
}

#[test]
fn each_setting_of_its_hedges_does_something() {
    let with = |change: fn(&mut HedgeSettings), plan: fn(u32) -> Option<(Duration, Answer)>| {
        let sim = Sim::new(7);
        let mut settings = presets::hedged_client("search").retry(None);
        hedge(&mut settings).delay = HedgeDelay::Fixed(10 * MILLI);
        change(hedge(&mut settings));
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let outcome = sim.run(stack.call(|| callee.answer(plan)));
        (outcome.map_err(Error::into_inner), stack.hedge().unwrap().stats().started)
    };
    let slow = |n| Some((100 * MILLI, Ok(n)));
    assert_eq!(with(|_| (), slow), (Ok(1), 1));
    assert_eq!(with(|hedge| hedge.max_hedges = 3, slow), (Ok(1), 3));
    assert_eq!(with(|hedge| hedge.delay = HedgeDelay::Fixed(SECOND), slow), (Ok(1), 0));
    let fails = |n| Some((30 * MILLI, Err(if n == 1 { "the first" } else { "the last" })));
    assert_eq!(with(|_| (), fails).0, Err(Some("the first")));
    assert_eq!(with(|hedge| hedge.last_error = true, fails).0, Err(Some("the last")));

    // Marks.
    for marks in [false, true] {
        let mut settings = presets::hedged_client("search");
        hedge(&mut settings).mark_attempts = marks;
        let stack = settings.build().unwrap();
        let marked = block_on(stack.call(|| async {
            Ok::<_, ()>(
                cofferdam::sync::Context::current().value::<cofferdam::resilience::HedgeMark>().is_some(),
            )
        }));
        assert_eq!(marked, Ok(marks));
    }
}
