//! Timeouts as policies: limits that depend, and work that goes on.

use crate::retry::{drive, ms};
use cofferdam::resilience::*;
use cofferdam::sync::Context;
use cofferdam::task::BoxTask;
use cofferdam::testkit::{ManualClock, Polled, Sim, drop_at_every_await};
use cofferdam::time::{Backoff, Clock, Sleep, Timer};
use futures_executor::block_on;
use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::{Duration, Instant};

/// Work that its owner lets end when it likes.
#[derive(Clone, Default)]
struct Works(Arc<Mutex<WorksState>>);

#[derive(Default)]
struct WorksState {
    running: usize,
    ended: bool,
}

struct Running(Works);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().running -= 1;
    }
}

impl Works {
    fn work(&self) -> impl Future<Output = Result<u32, String>> + Send + use<> {
        self.0.lock().unwrap().running += 1;
        let running = Running(self.clone());
        std::future::poll_fn(move |_| {
            if running.0.0.lock().unwrap().ended { Poll::Ready(Ok(7)) } else { Poll::Pending }
        })
    }

    fn running(&self) -> usize {
        self.0.lock().unwrap().running
    }

    fn end(&self) {
        self.0.lock().unwrap().ended = true;
    }
}

/// A spawner that keeps its tasks, to be polled by hand.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<Vec<BoxTask>>>);

impl Tasks {
    fn spawner(&self) -> impl Fn(BoxTask) + Send + Sync + 'static {
        let tasks = Arc::clone(&self.0);
        move |task| tasks.lock().unwrap().push(task)
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn poll(&self) {
        let mut cx = task::Context::from_waker(Waker::noop());
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap());
        tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
        self.0.lock().unwrap().extend(tasks);
    }
}

fn detaching(time: &ManualClock, tasks: &Tasks, most: u32) -> DetachingTimeout {
    let timeout = Timeout::builder(ms(100)).name("writes").clock(time.clock()).build();
    timeout.detach(tasks.spawner(), most).unwrap()
}

// S60
#[test]
fn what_is_abandoned_goes_on_and_is_bounded_and_counted() {
    let (time, tasks, works) = (ManualClock::new(), Tasks::default(), Works::default());
    let events = Arc::new(Mutex::new(Vec::new()));
    let timeout = detaching(&time, &tasks, 2);
    let log = Arc::clone(&events);
    timeout.timeout().observers().add(move |event: &TimeoutEvent| log.lock().unwrap().push(*event));
    let call = || {
        let works = works.clone();
        timeout.call(move || works.work())
    };
    for number in 1..=2 {
        let error = drive(&time, call()).unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(error.to_string(), "writes: attempt not finished within its limit of 100ms");
        assert_eq!(
            (works.running(), tasks.len(), timeout.abandoned().under_way),
            (number, number, number as u32)
        );
    }
    // A third that times out would be one too many: it is refused up front.
    let error = Polled::new(call()).poll().unwrap().unwrap_err();
    assert!(error.is_full());
    assert_eq!(error.to_string(), "writes: full: all 2 places taken");
    assert_eq!(works.running(), 2);
    tasks.poll();
    assert_eq!(tasks.len(), 2);
    works.end();
    tasks.poll();
    assert_eq!((works.running(), tasks.len()), (0, 0));
    let abandoned = timeout.abandoned();
    assert_eq!(
        (abandoned.under_way, abandoned.detached, abandoned.succeeded, abandoned.failed),
        (0, 2, 2, 0)
    );
    assert_eq!(block_on(call()), Ok(7));
    assert_eq!(timeout.timeout().timed_out(), 2);
    let events = events.lock().unwrap();
    assert!(matches!(
        events[0],
        TimeoutEvent::TimedOut { policy: "writes", detached: true, scope: Scope::Attempt, .. }
    ));
    assert!(matches!(events[2], TimeoutEvent::Late { policy: "writes", succeeded: true, .. }));
    assert_eq!(events.len(), 4);
    assert_eq!(Timeout::total(ms(1)).detach(tasks.spawner(), 0).unwrap_err().knob(), "most");
}

// S60: the slot was freed at the timeout in spring-cloud-circuitbreaker#163 and r4j#1530
#[test]
fn the_place_in_a_bulkhead_is_kept_until_the_work_really_ends() {
    let (time, tasks, works) = (ManualClock::new(), Tasks::default(), Works::default());
    let timeout = detaching(&time, &tasks, 9);
    let bulkhead = Arc::new(Bulkhead::new(1).unwrap());
    let call = || {
        let (bulkhead, works) = (Arc::clone(&bulkhead), works.clone());
        timeout.call(move || async move { bulkhead.call(|| works.work()).await })
    };
    assert!(drive(&time, call()).unwrap_err().is_timeout());
    assert_eq!(bulkhead.stats().running, 1);
    let error = Polled::new(call()).poll().unwrap().unwrap_err();
    assert!(error.into_inner().unwrap().is_full(), "the callee is still at it");
    works.end();
    tasks.poll();
    assert_eq!(bulkhead.stats().running, 0);
    assert_eq!(block_on(call()), Ok(7));
}

#[test]
fn those_that_come_to_their_limits_at_once_are_dropped_beyond_the_bound() {
    let (time, tasks, works) = (ManualClock::new(), Tasks::default(), Works::default());
    let timeout = detaching(&time, &tasks, 2);
    let mut calls: Vec<_> = (0..5)
        .map(|_| {
            let works = works.clone();
            Polled::new(timeout.call(move || works.work()))
        })
        .collect();
    assert!(calls.iter_mut().all(|call| call.poll().is_none()));
    assert_eq!(works.running(), 5);
    time.advance(ms(100));
    assert!(calls.iter_mut().all(|call| call.poll().unwrap().unwrap_err().is_timeout()));
    assert_eq!((works.running(), timeout.abandoned().dropped), (2, 3));
    // Tasks that an executor drops leave their places.
    drop(tasks);
    drop(timeout.clone());
    let (tasks, works) = (Tasks::default(), Works::default());
    let timeout = detaching(&time, &tasks, 1);
    let inner = works.clone();
    assert!(drive(&time, timeout.call(move || inner.work())).is_err());
    tasks.0.lock().unwrap().clear();
    let abandoned = timeout.abandoned();
    assert_eq!((works.running(), abandoned.under_way, abandoned.failed), (0, 0, 1));
}

#[test]
fn before_its_limit_it_is_dropped_with_its_caller_and_spawns_nothing() {
    let (time, tasks, works) = (ManualClock::new(), Tasks::default(), Works::default());
    let timeout = detaching(&time, &tasks, 1);
    let points = drop_at_every_await(
        || {
            let works = works.clone();
            timeout.call(move || works.work())
        },
        |_| assert_eq!((works.running(), tasks.len(), time.armed()), (0, 0, 0)),
    );
    assert_eq!(points, 2);
}

#[test]
fn a_retry_around_it_begins_anew_while_the_old_attempt_goes_on() {
    let (time, tasks, works) = (ManualClock::new(), Tasks::default(), Works::default());
    let retry = Retry::builder().max_attempts(3).backoff(Backoff::ZERO).build().unwrap();
    let stack = Stack::new().retry(retry).layer(detaching(&time, &tasks, 9));
    let error = drive(
        &time,
        stack.call({
            let works = works.clone();
            move || works.work()
        }),
    )
    .unwrap_err();
    assert_eq!(error.exhausted().unwrap().attempts(), 3);
    assert_eq!((works.running(), tasks.len()), (3, 3));
    let code = LintCode::DetachingInsideBulkhead;
    let stack = Stack::new().bulkhead(Bulkhead::new(1).unwrap()).layer(detaching(&time, &tasks, 1));
    assert_eq!(stack.lint().iter().map(Lint::code).collect::<Vec<_>>(), [code]);
}

#[test]
fn what_goes_on_keeps_its_context() {
    let sim = Sim::new(1);
    let timeout = Timeout::builder(ms(10)).clock(sim.clock()).build();
    let seen = Arc::new(AtomicU32::new(0));
    let tasks = Tasks::default();
    let timeout = timeout.detach(tasks.spawner(), 1).unwrap();
    let (clock, log) = (sim.clock(), Arc::clone(&seen));
    sim.run(async {
        let context = Context::background().with_value(17_u32);
        let call = timeout.call(move || async move {
            clock.sleep(ms(50)).await;
            log.store(Context::current().value::<u32>().map_or(0, |value| *value), Ordering::Relaxed);
            Ok::<(), ()>(())
        });
        assert!(context.scope(call).await.unwrap_err().is_timeout());
    });
    sim.advance(ms(100));
    tasks.poll();
    assert_eq!(seen.load(Ordering::Relaxed), 17);
}

// matrix: "timeout from a function of the request"
#[test]
fn a_limit_may_depend_on_the_request_and_on_the_attempt() {
    let time = ManualClock::new();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let timeout = Timeout::builder_by(move |context: &Context| {
        count.fetch_add(1, Ordering::Relaxed);
        let attempt = context.value::<AttemptMark>().map_or(0, |mark| mark.number());
        context.value::<Duration>().map_or(Duration::ZERO, |base| *base) * attempt
    })
    .clock(time.clock())
    .build();
    assert_eq!(timeout.limit(), None);
    let retry = Retry::builder().backoff(Backoff::ZERO).mark_attempts(true).build().unwrap();
    let stack = Stack::new().retry(retry).timeout(timeout.clone());
    let error = {
        let context = Context::background().with_value(ms(10));
        drive(&time, context.scope(stack.call(pending::<Result<(), &str>>))).unwrap_err()
    };
    assert_eq!(time.elapsed(), ms(10 + 20 + 30));
    assert_eq!(
        error.exhausted().unwrap().last().to_string(),
        "timeout: attempt not finished within its limit of 30ms"
    );
    assert_eq!(asked.load(Ordering::Relaxed), 3, "once for each attempt");
    // Nought refuses without calling.
    let called = AtomicU32::new(0);
    let outcome = block_on(timeout.call(|| async {
        called.fetch_add(1, Ordering::Relaxed);
        Ok::<(), ()>(())
    }));
    assert!(outcome.unwrap_err().is_timeout());
    assert_eq!((called.load(Ordering::Relaxed), timeout.timed_out()), (0, 4));
}

#[test]
fn each_end_is_counted_and_told() {
    let time = ManualClock::new();
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&events);
    let timeout = Timeout::builder(ms(5))
        .scope(Scope::Total)
        .name("all")
        .clock(time.clock())
        .observer(move |event: &TimeoutEvent| log.lock().unwrap().push(*event))
        .build();
    assert!(drive(&time, timeout.call(pending::<Result<(), ()>>)).is_err());
    assert_eq!(block_on(timeout.call(|| async { Ok::<(), ()>(()) })), Ok(()));
    assert_eq!(timeout.timed_out(), 1);
    let events = events.lock().unwrap();
    assert!(matches!(
        events[..],
        [TimeoutEvent::TimedOut { policy: "all", limit, scope: Scope::Total, detached: false, .. }] if limit == ms(5)
    ));
}

/// A clock that counts how it is used.
#[derive(Default)]
struct Counting(ManualClock, AtomicU32);

impl Timer for Counting {
    fn now(&self) -> Instant {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clock().now()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clock().sleep_until(deadline)
    }
}

// S56
#[test]
fn what_is_ready_costs_no_look_at_the_clock() {
    let counting = Arc::new(Counting::default());
    let clock = || Clock::from_arc(Arc::clone(&counting) as Arc<dyn Timer>);
    let timeout = Timeout::builder(ms(5)).clock(clock()).build();
    let retry = Retry::builder().clock(clock()).build().unwrap();
    let hedge = Hedge::after(ms(5)).clock(clock()).build().unwrap();
    let stack = Stack::new().timeout(timeout).retry(retry).hedge(hedge);
    assert_eq!(block_on(stack.call(|| async { Ok::<(), ()>(()) })), Ok(()));
    assert_eq!(counting.1.load(Ordering::Relaxed), 0);
    let mut waits = Polled::new(stack.call(pending::<Result<(), ()>>));
    assert!(waits.poll().is_none());
    assert_eq!(counting.1.load(Ordering::Relaxed), 4, "two looks, two timers");
}
