//! OB10: who waits and who holds, how long, and how it came to that.

use cofferdam::limit::concurrency::ConcurrencyLimiter;
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::pool::WorkerPool;
use cofferdam::resilience::breaker::{State, Trigger};
use cofferdam::resilience::{Bulkhead, CircuitBreaker};
use cofferdam::sync::{Order, Priority, Request, Semaphore, SemaphoreEvent};
use cofferdam::telemetry::inspect::{Inspect, Inspection, Inspector, PoolView, Roster, TaskView, View};
use cofferdam::testkit::{ManualClock, Polled};
use std::future::{IntoFuture, pending, ready};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_breaker_shows_its_last_changes_with_their_times_and_reasons() {
    let time = ManualClock::new();
    let builder = CircuitBreaker::builder().failure_threshold(2).recovery_time(3 * SECOND);
    let breaker = builder.clock(time.clock()).build().expect("a breaker");
    let inspection = breaker.inspect();
    let view = inspection.look().expect("there");
    assert_eq!((view.state, view.lasted, view.history.len()), (State::Closed, None, 0));
    for _ in 0..2 {
        breaker.try_acquire().expect("closed").failure();
    }
    time.advance(3 * SECOND);
    for _ in 0..2 {
        breaker.try_acquire().expect("on trial").success();
    }
    time.advance(SECOND);
    let view = inspection.look().expect("there");
    let history: Vec<_> = view.history.iter().map(|one| (one.ago, one.from, one.to, one.trigger)).collect();
    assert_eq!(
        history,
        [
            (4 * SECOND, State::Closed, State::Open, Trigger::ConsecutiveFailures),
            (SECOND, State::Open, State::HalfOpen, Trigger::BreakOver),
            (SECOND, State::HalfOpen, State::Closed, Trigger::TrialsSucceeded),
        ]
    );
    assert_eq!(view.history[0].open_for, Some(3 * SECOND));
    assert_eq!(view.history[0].at, time.clock().now() - 4 * SECOND);
    assert_eq!((view.state, view.lasted), (State::Closed, Some(SECOND)));
    assert_eq!((view.failures, view.successes, view.rejected, view.changes), (2, 2, 0, 3));
    // No more than that is kept.
    for _ in 0..40 {
        breaker.force_open().expect("may be");
        breaker.force_closed().expect("may be");
        time.advance(SECOND);
    }
    let view = inspection.look().expect("there");
    assert_eq!((view.history.len(), view.changes), (32, 83));
    assert_eq!(view.history[31].ago, SECOND);
    assert_eq!(view.history[31].trigger, Trigger::Manual);
    drop(breaker);
    assert!(inspection.look().is_none());
}

/// How many permits each wants, and how long each has waited, in order.
fn waiters(semaphore: &Arc<Semaphore>) -> Vec<(u32, Option<Duration>)> {
    let view = semaphore.inspect().look().expect("there");
    assert_eq!(view.waiting, view.waiters.len());
    view.waiters.iter().map(|one| (one.permits, one.waited)).collect()
}

#[test]
fn a_semaphore_shows_who_waits_in_the_order_in_which_they_will_be_served() {
    let ageing = 10 * SECOND;
    for (order, expected) in [
        (Order::Fifo, [2, 3, 4]),
        (Order::Lifo, [4, 3, 2]),
        (Order::Barging, [2, 3, 4]),
        (Order::Priority { ageing }, [4, 2, 3]),
    ] {
        let time = ManualClock::new();
        let builder = Semaphore::builder(5).order(order).clock(time.clock());
        let semaphore = Arc::new(builder.build().expect("a semaphore"));
        let held = semaphore.try_acquire_many(5).expect("free");
        let wait = |permits, priority| {
            let mut waiting = Polled::new(semaphore.acquire_with(Request::new(permits).priority(priority)));
            assert!(waiting.poll().is_none());
            time.advance(SECOND);
            waiting
        };
        let mut waiting = [wait(2, Priority::Normal), wait(3, Priority::Normal), wait(4, Priority::High)];
        let seen: Vec<_> = waiters(&semaphore).into_iter().map(|(permits, _)| permits).collect();
        assert_eq!(seen, expected, "{order:?}");
        let view = semaphore.inspect().look().expect("there");
        assert_eq!((view.capacity, view.available, view.in_use, view.closed), (5, 0, 5, false));
        // So they are.
        drop(held);
        let first = match expected[0] {
            2 => waiting[0].poll(),
            _ => waiting[2].poll(),
        };
        assert!(first.expect("served").is_ok(), "{order:?}");
        semaphore.close();
        assert!(semaphore.inspect().look().expect("there").closed);
    }
}

#[test]
fn how_long_somebody_has_waited_is_known_of_a_semaphore_that_is_watched() {
    let time = ManualClock::new();
    let semaphore = Semaphore::builder(1).clock(time.clock()).build().expect("a semaphore");
    let semaphore = Arc::new(semaphore);
    let _held = semaphore.try_acquire().expect("free");
    let mut first = Polled::new(semaphore.acquire());
    assert!(first.poll().is_none());
    semaphore.observe(|_: &SemaphoreEvent| {});
    let mut second = Polled::new(semaphore.acquire());
    assert!(second.poll().is_none());
    time.advance(2 * SECOND);
    assert_eq!(waiters(&semaphore), [(1, None), (1, Some(2 * SECOND))]);
}

#[test]
fn of_many_who_wait_the_first_are_listed() {
    let semaphore = Arc::new(Semaphore::new(1));
    let _held = semaphore.try_acquire().expect("free");
    let mut waiting: Vec<_> = (0..100).map(|_| Polled::new(semaphore.acquire())).collect();
    assert!(waiting.iter_mut().all(|one| one.poll().is_none()));
    let view = semaphore.inspect().look().expect("there");
    assert_eq!((view.waiting, view.waiters.len()), (100, 64));
}

#[test]
fn a_pool_shows_its_tasks_with_their_ages_and_the_age_of_its_queue() {
    let time = ManualClock::new();
    let seen = |inspection: &Inspection<PoolView>| inspection.look().expect("there");
    for managed in [false, true] {
        let builder = WorkerPool::builder().workers(1).queue(4).clock(time.clock()).history(4);
        let builder = if managed { builder.managed() } else { builder };
        let (pool, workers) = builder.build().expect("a pool");
        let mut workers = Polled::new(workers.into_future());
        let inspection = pool.inspect();
        assert_eq!((seen(&inspection).oldest, seen(&inspection).tasks.len()), (None, 0));
        pool.try_execute(pending()).expect("room");
        time.advance(SECOND);
        assert!(workers.poll().is_none());
        time.advance(SECOND);
        for _ in 0..2 {
            pool.try_execute(ready(())).expect("room");
            time.advance(SECOND);
        }
        let view = seen(&inspection);
        let tasks: Vec<_> = view
            .tasks
            .iter()
            .map(|TaskView { task, status, attempts, age, lasted, .. }| {
                (*task, *status, *attempts, age.as_secs(), lasted.as_secs())
            })
            .collect();
        assert_eq!(tasks, [(0, "running", 1, 4, 3), (1, "pending", 0, 2, 2), (2, "pending", 0, 1, 1)]);
        assert_eq!(view.tasks[0].to_string(), "task 0 running for 3s");
        assert_eq!((view.oldest, view.queued, view.running), (Some(2 * SECOND), 2, 1));
        assert_eq!((view.workers, view.capacity, view.closed, view.ended), (1, Some(4), false, 0));
        assert_eq!(pool.live_tasks().len(), 3);
        pool.close();
        assert!(seen(&inspection).closed);
        drop((pool, workers));
        assert!(inspection.look().is_none());
    }
    // Without a history there are the books.
    let (pool, _workers) = WorkerPool::builder().workers(2).queue(4).build().expect("a pool");
    pool.try_execute(pending()).expect("room");
    let view = seen(&pool.inspect());
    assert_eq!((view.queued, view.oldest, view.tasks.len()), (1, None, 0));
    assert!(pool.live_tasks().is_empty());
}

#[test]
fn limiters_show_what_is_left_and_who_was_refused() {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(Quota::per_second(1).burst(3)).clock(time.clock());
    let bucket = bucket.build().expect("a bucket");
    let inspection = bucket.inspect();
    assert!(bucket.try_acquire().is_ok());
    bucket.pause_for(5 * SECOND);
    time.advance(SECOND);
    let view = inspection.look().expect("there");
    assert_eq!((view.capacity, view.waiting, view.paused), (3, 0, true));
    assert_eq!(view.paused_for, Some(4 * SECOND));
    bucket.resume();
    let view = inspection.look().expect("there");
    assert_eq!((view.paused, view.paused_for), (false, None));
    drop(bucket);
    assert!(inspection.look().is_none());

    let limiter = ConcurrencyLimiter::new(2).expect("a limiter");
    let permit = limiter.try_acquire();
    let view = limiter.inspect().look().expect("there");
    assert_eq!((view.running, view.limit, view.waiting, view.refused, view.closed), (1, 2, 0, 0, false));
    drop(permit);

    let bulkhead = Bulkhead::new(1).expect("a bulkhead");
    let inspection = bulkhead.inspect();
    let place = bulkhead.try_acquire();
    assert!(bulkhead.try_acquire().is_err());
    let view = inspection.look().expect("there");
    assert_eq!((view.running, view.limit, view.refused, view.closed), (1, 1, 1, false));
    drop(place);
    bulkhead.close();
    assert!(inspection.look().expect("there").closed);
    drop(bulkhead);
    assert!(inspection.look().is_none());
}

#[test]
fn a_roster_shows_who_is_inside_what_he_does_and_since_when() {
    let time = ManualClock::new();
    let roster = Roster::on(time.clock());
    let inspection = roster.inspect();
    let first = roster.enter("first");
    time.advance(SECOND);
    let permits = Arc::new(Semaphore::new(1));
    let permit = permits.try_acquire_owned().expect("free");
    let second = roster.hold(format!("number {}", 2), permit);
    second.does("reads");
    time.advance(SECOND);
    first.does("waits");
    time.advance(SECOND);
    let view = inspection.look().expect("there");
    let inside: Vec<_> = view
        .inside
        .iter()
        .map(|one| (&*one.who, one.doing, one.inside_for.as_secs(), one.doing_for.as_secs()))
        .collect();
    assert_eq!(inside, [("first", "waits", 3, 1), ("number 2", "reads", 2, 2)]);
    drop(first);
    assert_eq!(view.present, 2);
    // The place of the first is somebody else's.
    let third = roster.enter("third");
    let names = || {
        let inside = inspection.look().expect("there").inside;
        inside.into_iter().map(|one| one.who).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["number 2", "third"]);
    assert_eq!(permits.available(), 0);
    let permit = second.into_inner();
    assert_eq!((names().as_slice(), permits.available()), (["third".to_owned()].as_slice(), 0));
    drop(permit);
    assert_eq!(permits.available(), 1);
    drop(roster);
    assert_eq!(inspection.look().expect("kept by the third").entered, 3);
    drop(third);
    assert!(inspection.look().is_none());
}

#[test]
fn an_inspector_looks_into_all_by_name_and_forgets_those_that_are_gone() {
    let inspector = Inspector::new();
    let breaker = CircuitBreaker::new();
    let semaphore = Arc::new(Semaphore::new(1));
    inspector.add("shop", &breaker).expect("free");
    inspector.add("shop", &semaphore).expect("of another kind");
    let taken = inspector.add("shop", &CircuitBreaker::new()).expect_err("taken");
    assert_eq!(taken.to_string(), "another breaker is watched as \"shop\"");
    let names =
        || inspector.look().iter().map(|one| (one.component, one.name.to_string())).collect::<Vec<_>>();
    assert_eq!(names(), [("breaker", "shop".to_owned()), ("semaphore", "shop".to_owned())]);
    drop(breaker);
    assert_eq!(names(), [("semaphore", "shop".to_owned())]);
    // A name is free again, also if nobody has looked meanwhile.
    drop(semaphore);
    let other = Arc::new(Semaphore::new(7));
    inspector.add("shop", &other).expect("that one is gone");
    let all = inspector.look();
    let [one] = all.as_slice() else { panic!("{all:?}") };
    assert!(matches!(&one.view, View::Semaphore(view) if view.capacity == 7));
}

#[test]
fn views_are_written_as_json_with_seconds_and_words() {
    let time = ManualClock::new();
    let breaker = CircuitBreaker::builder().failure_threshold(1).recovery_time(2 * SECOND);
    let breaker = breaker.clock(time.clock()).build().expect("a breaker");
    let (pool, _workers) =
        WorkerPool::builder().workers(1).queue(4).history(2).clock(time.clock()).build().expect("a pool");
    let roster = Roster::on(time.clock());
    let inspector = Inspector::new();
    inspector.add("a", &breaker).expect("free");
    inspector.add("b", &pool).expect("free");
    inspector.add("c", &roster).expect("free");
    let bucket = TokenBucket::of(Quota::per_second(1));
    inspector.add("d", &bucket).expect("free");
    let bulkhead = Bulkhead::new(1).expect("a bulkhead");
    inspector.add("e", &bulkhead).expect("free");
    let semaphore = Arc::new(Semaphore::new(1));
    inspector.add("f", &semaphore).expect("free");
    breaker.try_acquire().expect("closed").failure();
    pool.try_execute(pending()).expect("room");
    let _somebody = roster.enter("somebody");
    time.advance(SECOND / 2);
    let json = serde_json::to_value(inspector.look()).expect("JSON");
    assert_eq!((&json[0]["component"], &json[0]["name"]), (&"breaker".into(), &"a".into()));
    let view = &json[0]["view"];
    assert_eq!((&view["state"], &view["lasted"]), (&"open".into(), &0.5.into()));
    let change = &view["history"][0];
    assert_eq!(
        (&change["ago"], &change["from"], &change["to"]),
        (&0.5.into(), &"closed".into(), &"open".into())
    );
    assert_eq!((&change["trigger"], &change["open_for"]), (&"consecutive failures".into(), &2.0.into()));
    assert!(change["window"].is_null() && change.get("at").is_none());
    assert_eq!(json[1]["view"]["tasks"][0]["status"], "pending");
    assert_eq!((&json[1]["view"]["tasks"][0]["age"], &json[1]["view"]["oldest"]), (&0.5.into(), &0.5.into()));
    assert_eq!(json[2]["view"]["inside"][0]["who"], "somebody");
    assert_eq!((&json[3]["view"]["capacity"], &json[3]["view"]["paused"]), (&1.into(), &false.into()));
    assert_eq!((&json[4]["component"], &json[4]["view"]["limit"]), (&"bulkhead".into(), &1.into()));
    assert_eq!(json[5]["view"]["waiters"], serde_json::json!([]));
}
