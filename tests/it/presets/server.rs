//! Requests that come in.

use super::*;

fn bulkhead(settings: &mut StackSettings) -> &mut BulkheadSettings {
    settings.bulkhead.as_mut().unwrap()
}

/// What becomes of requests that come in `every` so often and take 100 ms each: how long the answered ones took at most, and
/// how many were answered, shed, and refused for want of room.
fn load(settings: &StackSettings, every: Duration, requests: u32) -> (Duration, [usize; 3]) {
    let sim = Sim::new(1);
    let stack = std::sync::Arc::new(settings.build_on(&sim.clock()).unwrap());
    let tasks: Vec<_> = (0..requests)
        .map(|n| {
            let (clock, stack) = (sim.clock(), std::sync::Arc::clone(&stack));
            sim.spawn("request", async move {
                clock.sleep(every * n).await;
                let began = clock.now();
                let work = || {
                    let clock = clock.clone();
                    async move {
                        clock.sleep(100 * MILLI).await;
                        Ok::<_, ()>(())
                    }
                };
                (stack.call(work).await, clock.now() - began)
            })
        })
        .collect();
    let ended = sim.run(futures_util::future::join_all(tasks));
    let slowest = ended.iter().filter(|(outcome, _)| outcome.is_ok()).map(|(_, took)| *took).max();
    let count =
        |is: fn(&Result<(), Error<()>>) -> bool| ended.iter().filter(|(outcome, _)| is(outcome)).count();
    (
        slowest.unwrap_or_default(),
        [
            count(Result::is_ok),
            count(|outcome| outcome.as_ref().is_err_and(Error::is_shed)),
            count(|outcome| outcome.as_ref().is_err_and(Error::is_full)),
        ],
    )
}

#[test]
fn what_hangs_is_ended_and_what_has_no_place_is_turned_away() {
    for (limit, ends) in [(None, 10), (Some(3 * SECOND), 3)] {
        let sim = Sim::new(2);
        let mut settings = presets::server("orders");
        settings.total_timeout = limit.or(settings.total_timeout);
        let stack = settings.build_on(&sim.clock()).unwrap();
        let callee = Callee::new(&sim.clock());
        let outcomes = together!(sim, stack, callee, 300, |_| None);
        let count = |is: fn(&Error<&'static str>) -> bool| {
            outcomes.iter().filter(|outcome| outcome.as_ref().is_err_and(is)).count()
        };
        assert_eq!([count(Error::is_full), count(Error::is_shed), count(Error::is_timeout)], [150, 50, 100]);
        assert_eq!((callee.most.get(), callee.running.get()), (100, 0));
        assert_eq!(sim.time().elapsed(), ends * SECOND);
    }
}

#[test]
fn twice_the_load_is_answered_as_far_as_it_goes_and_soon() {
    // A thousand a second is what it can do.
    let (slowest, [answered, shed, full]) = load(&presets::server("orders"), MILLI, 2000);
    assert_eq!(([answered, shed, full], slowest), ([2000, 0, 0], 100 * MILLI), "what fits");
    let (slowest, [answered, shed, full]) = load(&presets::server("orders"), MILLI / 2, 4000);
    assert!(answered >= 1900, "{answered} of two thousand that could be");
    assert!(slowest <= 200 * MILLI, "{slowest:?}: no one waits longer than the work takes");
    assert!(shed > 0 && answered + shed + full == 4000);
}

#[test]
fn an_error_is_the_callers_to_repeat() {
    let sim = Sim::new(3);
    let stack = presets::server("orders").build_on(&sim.clock()).unwrap();
    let callee = Callee::new(&sim.clock());
    for _ in 0..50 {
        assert_eq!(sim.run(stack.call(|| callee.answer(|_| at_once(Err("no"))))), Err(Error::Inner("no")));
    }
    assert_eq!(callee.calls.get(), 50, "neither tried again nor cut off");
}

#[test]
fn each_setting_of_its_bulkhead_does_something() {
    // Two hundred at once, each of 100 ms.
    let burst = |change: fn(&mut BulkheadSettings)| {
        let mut settings = presets::server("orders");
        change(bulkhead(&mut settings));
        load(&settings, Duration::ZERO, 200).1
    };
    let delay = |target, interval, lifo| OrderSettings::ControlledDelay { target, interval, lifo };
    assert_eq!(burst(|bulkhead| bulkhead.order = OrderSettings::Fifo), [150, 0, 50]);
    assert_eq!(
        burst(|bulkhead| (bulkhead.order, bulkhead.running) = (OrderSettings::Fifo, 150)),
        [200, 0, 0]
    );
    assert_eq!(burst(|bulkhead| (bulkhead.order, bulkhead.queue) = (OrderSettings::Fifo, 20)), [120, 0, 80]);
    let long = |bulkhead: &mut BulkheadSettings| {
        bulkhead.order = OrderSettings::ControlledDelay { target: 5 * MILLI, interval: SECOND, lifo: true };
    };
    assert_eq!(burst(long), [150, 0, 50], "nobody is shed within the interval");
    let short = |bulkhead: &mut BulkheadSettings| {
        bulkhead.order =
            OrderSettings::ControlledDelay { target: 5 * MILLI, interval: 50 * MILLI, lifo: true };
    };
    assert_eq!(burst(short), [100, 50, 50]);
    // The target is what those wait at most who come to a queue that stands; which of them goes first is the last setting.
    let standing = |order: OrderSettings| {
        let mut settings = presets::server("orders");
        bulkhead(&mut settings).order = order;
        load(&settings, MILLI / 2, 4000)
    };
    let strict = standing(delay(5 * MILLI, 100 * MILLI, true));
    let lax = standing(delay(50 * MILLI, 100 * MILLI, true));
    let oldest = standing(delay(5 * MILLI, 100 * MILLI, false));
    assert_ne!(strict.1, lax.1);
    assert_ne!(strict, oldest);
}
