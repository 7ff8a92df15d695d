//! What the limiters of concurrency tell.

use super::{IN_ORDER, ms, secs};
use cofferdam::limit::ConcurrencyLimiter;
use cofferdam::limit::concurrency::{
    AdaptiveEvent, AdaptiveLimiter, Aimd, Algorithm, ConcurrencyEvent, ConcurrencyLimiterBuilder, Discipline,
    Gradient2, LimitReason, Outcome, Request, Sample, Vegas,
};
use cofferdam::sync::Context;
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::time::{Clock, Sleep, Timer};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

type Told<E> = Arc<Mutex<Vec<E>>>;

fn take<E>(told: &Told<E>) -> Vec<E> {
    std::mem::take(&mut *told.lock().unwrap())
}

fn text(event: &ConcurrencyEvent) -> String {
    match event {
        ConcurrencyEvent::Acquired { permits, waited, .. } => format!("acquired {permits} {waited:?}"),
        ConcurrencyEvent::Queued { permits, waiting, .. } => format!("queued {permits} {waiting}"),
        ConcurrencyEvent::Refused { permits, waited, .. } => format!("refused {permits} {waited:?}"),
        ConcurrencyEvent::TimedOut { permits, waited, .. } => format!("timed out {permits} {waited:?}"),
        ConcurrencyEvent::Shed { permits, waited, .. } => format!("shed {permits} {waited:?}"),
        ConcurrencyEvent::Cancelled { permits, waited, .. } => format!("cancelled {permits} {waited:?}"),
        ConcurrencyEvent::Resized { from, to, .. } => format!("resized {from} {to}"),
        ConcurrencyEvent::Closed => "closed".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn observed(
    limit: u32,
    settings: impl FnOnce(ConcurrencyLimiterBuilder) -> ConcurrencyLimiterBuilder,
) -> (ManualClock, ConcurrencyLimiter, Told<String>) {
    let time = ManualClock::new();
    let limiter = settings(ConcurrencyLimiter::builder(limit).clock(time.clock())).build().unwrap();
    let (told, again) = (Told::default(), limiter.clone());
    let keep = Arc::clone(&told);
    limiter.observe(move |event: &ConcurrencyEvent| {
        // No lock is held.
        let _ = (again.stats(), again.waiting());
        keep.lock().unwrap().push(text(event));
    });
    (time, limiter, told)
}

#[test]
fn decisions_on_the_spot_are_told_of_once() {
    for discipline in IN_ORDER {
        let (_, limiter, told) = observed(2, |builder| builder.discipline(discipline));
        let held = limiter.try_acquire_many(2).unwrap();
        assert!(limiter.try_acquire().is_err() && limiter.try_acquire_many(3).is_err());
        drop(limiter.try_acquire_many(0).unwrap());
        drop(held);
        drop(Polled::new(limiter.acquire()).poll().unwrap().unwrap());
        assert!(Polled::new(limiter.acquire_many(3)).poll().unwrap().is_err());
        let wanted = [
            "acquired 2 0ns",
            "refused 1 0ns",
            "refused 3 0ns",
            "acquired 0 0ns",
            "acquired 1 0ns",
            "refused 3 0ns",
        ];
        assert_eq!(take(&told), wanted, "{discipline:?}");
        drop(limiter.acquire());
        assert_eq!(take(&told), [""; 0], "it was never asked for");
    }
}

#[test]
fn waits_are_told_of_as_they_begin_and_end() {
    for discipline in IN_ORDER {
        let (time, limiter, told) = observed(1, |builder| builder.discipline(discipline).queue(3));
        let held = limiter.try_acquire().unwrap();
        let mut granted = Polled::new(limiter.acquire());
        let mut late = Polled::new(limiter.acquire_timeout(ms(30)));
        let mut dropped = Polled::new(limiter.acquire());
        assert!(granted.poll().is_none() && late.poll().is_none() && dropped.poll().is_none());
        assert!(granted.poll().is_none(), "polled again it is told of no more");
        assert!(Polled::new(limiter.acquire()).poll().unwrap().is_err(), "the queue is full");
        time.advance(ms(30));
        assert!(late.poll().unwrap().is_err_and(|error| error.is_timeout()));
        drop(dropped);
        time.advance(ms(10));
        drop(held);
        drop(granted.poll().unwrap().unwrap());
        let wanted = [
            "acquired 1 0ns",
            "queued 1 1",
            "queued 1 2",
            "queued 1 3",
            "refused 1 0ns",
            "timed out 1 30ms",
            "cancelled 1 30ms",
            "acquired 1 40ms",
        ];
        assert_eq!(take(&told), wanted, "{discipline:?}");
    }
}

#[test]
fn a_grant_that_nobody_has_seen_is_cancelled_and_goes_on() {
    for discipline in IN_ORDER {
        let (_, limiter, told) = observed(1, |builder| builder.discipline(discipline));
        let held = limiter.try_acquire().unwrap();
        let (mut first, mut second) = (Polled::new(limiter.acquire()), Polled::new(limiter.acquire()));
        assert!(first.poll().is_none() && second.poll().is_none());
        drop(held);
        drop(first);
        drop(second.poll().unwrap().unwrap());
        let wanted = ["acquired 1 0ns", "queued 1 1", "queued 1 2", "cancelled 1 0ns", "acquired 1 0ns"];
        assert_eq!(take(&told), wanted, "{discipline:?}");
    }
}

#[test]
fn whom_the_discipline_sends_away_is_told_of_as_shed() {
    let discipline = Discipline::ControlledDelay { target: ms(5), interval: ms(50), lifo: false };
    let (time, limiter, told) = observed(1, |builder| builder.discipline(discipline));
    let _held = limiter.try_acquire().unwrap();
    let mut waits = Polled::new(limiter.acquire());
    assert!(waits.poll().is_none());
    time.advance(ms(51));
    assert!(waits.poll().unwrap().is_err_and(|error| error.is_shed()));
    assert_eq!(take(&told), ["acquired 1 0ns", "queued 1 1", "shed 1 51ms"]);
}

#[test]
fn changes_of_the_limit_and_its_end_are_told_of() {
    for discipline in IN_ORDER {
        let (_, limiter, told) = observed(1, |builder| builder.discipline(discipline));
        limiter.resize(4).unwrap();
        limiter.resize(4).unwrap();
        let held = limiter.try_acquire_many(4).unwrap();
        let mut waits = Polled::new(limiter.acquire());
        assert!(waits.poll().is_none());
        limiter.close();
        limiter.close();
        assert!(waits.poll().unwrap().is_err());
        let context = Context::background().child();
        context.cancel("over");
        let ended = Polled::new(context.scope(limiter.acquire())).poll().unwrap();
        assert!(ended.is_err());
        drop(held);
        let wanted =
            ["resized 1 4", "acquired 4 0ns", "queued 1 1", "closed", "refused 1 0ns", "refused 1 0ns"];
        assert_eq!(take(&told), wanted, "{discipline:?}");
    }
}

#[test]
fn an_observer_may_come_back_and_panic() {
    let (_, limiter, told) = observed(2, |builder| builder);
    let (again, inner) = (limiter.clone(), Arc::new(Mutex::new(0)));
    let depth = Arc::clone(&inner);
    limiter.observe(move |event: &ConcurrencyEvent| {
        let first = std::mem::replace(&mut *depth.lock().unwrap(), 1) == 0;
        if let (true, ConcurrencyEvent::Acquired { .. }) = (first, event) {
            drop(again.try_acquire().expect("the other one"));
        }
        panic!("of the observer");
    });
    let permit = limiter.try_acquire().unwrap();
    assert_eq!(limiter.in_flight(), 1);
    drop(permit);
    assert_eq!((limiter.in_flight(), take(&told).len()), (0, 2));
}

/// Counts how often it is asked what time it is.
struct Asked(ManualClock, Arc<AtomicU32>);

impl Timer for Asked {
    fn now(&self) -> Instant {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clock().now()
    }

    fn wall(&self) -> SystemTime {
        self.0.clock().wall()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.0.clock().sleep_until(deadline)
    }
}

#[test]
fn a_limiter_that_nobody_observes_does_not_ask_what_time_it_is() {
    let asked = Arc::new(AtomicU32::new(0));
    let clock = Clock::new(Asked(ManualClock::new(), Arc::clone(&asked)));
    let limiter = ConcurrencyLimiter::builder(1).clock(clock).build().unwrap();
    let requests = || {
        let before = asked.load(Ordering::Relaxed);
        let held = limiter.try_acquire().unwrap();
        assert!(limiter.try_acquire().is_err());
        let mut waits = Polled::new(limiter.acquire());
        assert!(waits.poll().is_none());
        drop(held);
        drop(waits.poll().unwrap().unwrap());
        asked.load(Ordering::Relaxed) - before
    };
    // The wait's own limits are reckoned with once.
    assert_eq!(requests(), 1);
    limiter.observe(|_: &ConcurrencyEvent| ());
    assert_eq!(requests(), 3, "when the wait began, and when it ended");
}

fn adaptive(algorithm: impl Algorithm) -> (ManualClock, AdaptiveLimiter, Told<AdaptiveEvent>) {
    let time = ManualClock::new();
    let limiter = AdaptiveLimiter::builder(algorithm)
        .clock(time.clock())
        .window(ms(100))
        .min_samples(2)
        .build()
        .unwrap();
    let told = Told::default();
    let (keep, again) = (Arc::clone(&told), limiter.clone());
    limiter.observe(move |event: &AdaptiveEvent| {
        // Neither a lock nor the algorithm is held.
        let _ = (again.stats(), again.try_acquire());
        keep.lock().unwrap().push(*event);
    });
    (time, limiter, told)
}

/// Calls that begin together and end together.
fn end(time: &ManualClock, limiter: &AdaptiveLimiter, calls: u32, millis: u64, outcome: Outcome) {
    let guards: Vec<_> = (0..calls).map(|_| limiter.try_acquire().unwrap()).collect();
    time.advance(ms(millis));
    guards.into_iter().for_each(|guard| guard.record(outcome));
}

fn reasons(told: &Told<AdaptiveEvent>) -> Vec<(u32, u32, LimitReason)> {
    let changed = |event: AdaptiveEvent| match event {
        AdaptiveEvent::LimitChanged { from, to, reason, .. } => Some((from, to, reason)),
        _ => None,
    };
    take(told).into_iter().filter_map(changed).collect()
}

#[test]
fn an_adaptive_limiter_tells_of_its_limit_and_why_it_changed() {
    let aimd = Aimd::builder().initial(10).slow_start(false).timeout(secs(1)).build().unwrap();
    let (time, limiter, told) = adaptive(aimd);
    // The first to end after a window's time ends it, and is the last in it.
    for (millis, outcome) in [(100, Outcome::Success), (100, Outcome::Dropped), (2000, Outcome::Success)] {
        end(&time, &limiter, 8, millis, outcome);
        time.advance(ms(2 * millis));
        end(&time, &limiter, 1, millis, outcome);
    }
    let changes = [(10, 11, LimitReason::Calm), (11, 9, LimitReason::Drops), (9, 8, LimitReason::Latency)];
    assert_eq!(reasons(&told), changes);
    assert_eq!(limiter.limit(), 8);
}

#[test]
fn a_window_with_too_few_calls_is_told_of() {
    let (time, limiter, told) = adaptive(Aimd::new());
    end(&time, &limiter, 1, 100, Outcome::Success);
    let [AdaptiveEvent::WindowDropped { sample, .. }] = take(&told)[..] else { panic!("one window") };
    assert_eq!(sample, Sample::new(1, 1).rtt(ms(100)));
}

#[test]
fn requests_of_an_adaptive_limiter_are_told_of_to_those_who_want_that() {
    let (time, limiter, told) = adaptive(Aimd::builder().initial(1).build().unwrap());
    let requests = Told::default();
    let keep = Arc::clone(&requests);
    limiter.observe_requests(move |event: &ConcurrencyEvent| keep.lock().unwrap().push(text(event)));
    let guard = limiter.try_acquire().unwrap();
    assert!(limiter.try_acquire().is_err());
    time.advance(ms(1));
    guard.success();
    drop(limiter.try_acquire_with(Request::new(1)).unwrap());
    assert_eq!(take(&requests), ["acquired 1 0ns", "refused 1 0ns", "acquired 1 0ns"]);
    assert_eq!(take(&told), [], "no window has ended");
}

#[test]
fn algorithms_say_why() {
    fn run(mut algorithm: impl Algorithm, samples: &[Sample]) -> Vec<(u32, LimitReason)> {
        samples.iter().map(|sample| (algorithm.update(sample), algorithm.reason())).collect()
    }
    let busy = |millis| Sample::new(100, 1000).rtt(Duration::from_millis(millis));
    let samples = [busy(10), busy(10), busy(100), busy(100).drops(100)];
    let vegas = Vegas::builder().probe_every(0).initial(100).build().unwrap();
    let reasons: Vec<_> = run(vegas, &samples).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [LimitReason::Calm, LimitReason::Calm, LimitReason::Latency, LimitReason::Drops]);
    let gradient = Gradient2::builder().probe_every(0).initial(100).build().unwrap();
    let reasons: Vec<_> = run(gradient, &samples).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [LimitReason::Calm, LimitReason::Calm, LimitReason::Latency, LimitReason::Drops]);
    let aimd = Aimd::builder().timeout(ms(50)).initial(100).build().unwrap();
    let reasons: Vec<_> = run(aimd, &samples).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, [LimitReason::Calm, LimitReason::Calm, LimitReason::Latency, LimitReason::Drops]);
    // A probe lowers the limit and puts it back.
    let probing = Vegas::builder().probe_every(1).initial(100).build().unwrap();
    let few = Sample::new(60, 3).rtt(ms(10));
    let told = run(probing, &[busy(10), few, few]);
    let at = told.iter().position(|(_, reason)| *reason == LimitReason::Probe).expect("it probes");
    assert!(told[at].0 < 100, "{told:?}");
    assert_eq!(told[at + 1].1, LimitReason::ProbeEnded, "{told:?}");
}
