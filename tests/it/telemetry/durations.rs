//! How long tasks of a pool waited and ran, as metrics alone are told of it.

use super::{SECOND, collected};
use cofferdam::pool::{PoolBuilder, PoolEvent, RetryPolicy, WorkerPool, Workers};
use cofferdam::sync::{Context as WorkContext, oneshot};
use cofferdam::telemetry::{Collector, Counter, Gauge, Histogram, Metrics, Series, Telemetry};
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::time::Backoff;
use futures_util::FutureExt;
use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A pool on a clock of its own, watched by who measures and does nothing else.
struct Measured {
    pool: WorkerPool,
    workers: Vec<Polled<cofferdam::pool::Worker>>,
    time: ManualClock,
    collector: Collector,
    telemetry: Telemetry,
}

impl Measured {
    fn new(set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Self {
        let (collector, time) = (Collector::new(), ManualClock::new());
        let telemetry = Telemetry::builder().metrics(collector.clone()).build().expect("a telemetry");
        let builder = set(WorkerPool::builder().workers(1).queue(8).observed().clock(time.clock()));
        let (pool, workers): (_, Workers) = builder.build().expect("a pool");
        telemetry.watch("it", &pool).expect("the first");
        Self { pool, workers: workers.map(Polled::new).collect(), time, collector, telemetry }
    }

    fn settle(&mut self) {
        self.workers.iter_mut().for_each(|worker| drop(worker.poll()));
    }

    /// In seconds: how long they waited; and ran, if they completed, and otherwise.
    fn seen(&self) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let ran = |outcome| self.collector.durations("cofferdam_pool_run_seconds", &[("outcome", outcome)]);
        let waited = self.collector.durations("cofferdam_pool_queue_wait_seconds", &[]);
        (waited, ran("completed"), ran("other"))
    }
}

#[test]
fn a_task_is_timed_from_its_submission_to_its_end() {
    let mut it = Measured::new(|builder| builder);
    let (done, wait) = oneshot::channel::<()>();
    let first = it.pool.try_submit(wait).expect("room");
    it.time.advance(SECOND);
    it.pool.try_execute(ready(())).expect("room");
    it.time.advance(SECOND);
    it.settle();
    assert_eq!(it.seen(), (vec![2.0], vec![], vec![]), "when it is begun");
    it.time.advance(3 * SECOND);
    done.send(()).expect("it waits");
    it.settle();
    assert_eq!(it.seen(), (vec![2.0, 4.0], vec![3.0, 0.0], vec![]));
    assert!(first.now_or_never().expect("done").is_ok());
    let batch = it.pool.submit_all([ready(1), ready(2)]).now_or_never().expect("room").expect("open");
    it.time.advance(5 * SECOND);
    it.settle();
    drop(batch);
    assert_eq!(it.seen(), (vec![2.0, 4.0, 5.0, 5.0], vec![3.0, 0.0, 0.0, 0.0], vec![]));
}

#[test]
fn a_worker_that_has_rested_looks_at_the_clock_anew() {
    let mut it = Measured::new(|builder| builder);
    for _ in 0..2 {
        it.pool.try_execute(ready(())).expect("room");
        it.settle();
        it.time.advance(SECOND);
    }
    // One that was pending in between, and one that is not timed.
    let (done, wait) = oneshot::channel::<()>();
    it.pool.try_execute(async { drop(wait.await) }).expect("room");
    it.settle();
    it.time.advance(SECOND);
    it.pool.try_execute(ready(())).expect("room");
    it.time.advance(SECOND);
    done.send(()).expect("it waits");
    it.settle();
    assert_eq!(it.seen(), (vec![0.0, 0.0, 0.0, 1.0], vec![0.0, 0.0, 2.0, 0.0], vec![]));
}

#[test]
fn what_ran_and_did_not_complete_is_told_apart_and_what_never_ran_is_not_timed() {
    let mut it = Measured::new(|builder| builder.on_panic(|_| ()));
    let panics = it.pool.try_submit(async { panic!("it does") }).expect("room");
    let cancelled = it.pool.try_submit(pending::<()>()).expect("room");
    let withdrawn = it.pool.try_submit(ready(())).expect("room");
    withdrawn.cancel();
    it.time.advance(SECOND);
    it.settle();
    it.time.advance(SECOND);
    cancelled.cancel();
    it.settle();
    drop((panics, withdrawn));
    assert_eq!(it.seen(), (vec![1.0, 1.0], vec![], vec![0.0, 1.0]));
    it.pool.try_execute(pending()).expect("room");
    it.settle();
    it.time.advance(SECOND);
    it.workers.clear();
    assert_eq!(it.seen(), (vec![1.0, 1.0, 0.0], vec![], vec![0.0, 1.0, 1.0]), "its worker was dropped");
}

#[test]
fn a_task_in_a_context_is_timed_likewise_and_one_whose_context_is_over_is_not() {
    let mut it = Measured::new(|builder| builder.tied(true));
    let (context, over) = (WorkContext::background().child(), WorkContext::background().child());
    context.scope_sync(|| it.pool.try_execute(ready(()))).expect("room");
    over.scope_sync(|| it.pool.try_execute(ready(()))).expect("room");
    over.cancel("over");
    it.time.advance(SECOND);
    it.settle();
    assert_eq!(it.seen(), (vec![1.0], vec![0.0], vec![]));
}

#[test]
fn whatever_else_a_pool_notes_each_task_is_timed_once() {
    let sets: [fn(PoolBuilder) -> PoolBuilder; 4] = [
        |builder| builder.observer(|_: &PoolEvent| ()),
        |builder| builder.history(4),
        |builder| builder.carry(|| |poll: &mut dyn FnMut()| poll()),
        |builder| builder.managed(),
    ];
    for set in sets {
        let mut it = Measured::new(set);
        it.pool.try_execute(ready(())).expect("room");
        it.time.advance(SECOND);
        it.settle();
        assert_eq!(it.seen(), (vec![1.0], vec![0.0], vec![]));
    }
    // A log has all told of; metrics are told once all the same.
    let (collector, time) = (Collector::new(), ManualClock::new());
    let telemetry = collected(&collector);
    let builder = WorkerPool::builder().workers(1).queue(1).observed().clock(time.clock());
    let (pool, workers) = builder.build().expect("a pool");
    telemetry.watch("it", &pool).expect("the first");
    pool.try_execute(ready(())).expect("room");
    workers.for_each(|worker| drop(Polled::new(worker).poll()));
    assert_eq!(collector.durations("cofferdam_pool_queue_wait_seconds", &[]), [0.0]);
}

#[test]
fn attempts_of_a_task_are_timed_together() {
    let mut it = Measured::new(|builder| builder.managed());
    let policy = RetryPolicy::new(2).expect("valid").backoff(Backoff::fixed(SECOND));
    let mut failures = 1;
    let task = move || {
        let fails = failures > 0;
        failures -= 1;
        ready(if fails { Err("once") } else { Ok(()) })
    };
    it.pool.retry_task(&policy, task).try_submit().map(drop).expect("room");
    it.time.advance(SECOND);
    it.settle();
    it.time.advance(SECOND);
    it.settle();
    assert_eq!(it.seen(), (vec![1.0], vec![0.0], vec![]));
}

/// Metrics that are held for as long as somebody may tell them.
struct Held(Arc<Mutex<Vec<f64>>>);
struct Nothing;

impl Counter for Nothing {
    fn add(&self, _: u64) {}
}

impl Gauge for Nothing {
    fn set(&self, _: f64) {}
}

impl Histogram for Held {
    fn record(&self, value: f64) {
        self.0.lock().expect("not poisoned").push(value);
    }
}

impl Metrics for Held {
    fn counter(&self, _: &Series<'_>) -> Box<dyn Counter> {
        Box::new(Nothing)
    }

    fn gauge(&self, _: &Series<'_>) -> Box<dyn Gauge> {
        Box::new(Nothing)
    }

    fn histogram(&self, _: &Series<'_>) -> Box<dyn Histogram> {
        Box::new(Held(Arc::clone(&self.0)))
    }
}

#[test]
fn a_worker_that_rests_holds_nothing_of_a_telemetry_that_is_gone() {
    let mut it = Measured::new(|builder| builder);
    let told = Arc::new(Mutex::new(Vec::new()));
    let gone = Arc::downgrade(&told);
    let other = Telemetry::builder().metrics(Held(told)).build().expect("a telemetry");
    other.watch("it", &it.pool).expect("the first");
    it.pool.try_execute(ready(())).expect("room");
    it.settle();
    assert_eq!(gone.upgrade().expect("held").lock().expect("not poisoned").len(), 2);
    drop(other);
    assert!(gone.upgrade().is_none(), "at once");
    // The rest of them see on, and with the last of them nothing is timed.
    it.pool.try_execute(ready(())).expect("room");
    it.settle();
    assert_eq!(it.seen().0.len(), 2);
    it.telemetry = Telemetry::new();
    it.pool.try_execute(ready(())).expect("room");
    it.time.advance(Duration::from_secs(1));
    it.settle();
    assert_eq!(it.seen().0.len(), 2);
}
