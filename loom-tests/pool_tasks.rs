//! What a pool does for a task beyond running it.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a cancellation by the handle of a task on its way back into the queue ends it | 2 | 3 | `Parked::is_in` does not look at the flag |
//! | likewise by the task's number, by way of its context | 2 | 2 | the context is not watched while the task is parked |
//! | a worker sees a task only after its submission is noted, and its end is noted once | 2 | 3 | the push is before the ledger's lock |
//! | a wrapped task is there when its worker comes | 2 | 3 | the parcel is not locked during the push |
//!
//! Time stands still: what waits for it waits for ever, which loom reports.

use cofferdam_loom::pool::{
    Outcome, PoolBuilder, PoolEvent, RetryPolicy, TaskFuture, TaskStatus, Worker, WorkerPool,
};
use cofferdam_loom::testkit::ManualClock;
use cofferdam_loom::time::Backoff;
use loom::future::block_on;
use loom::thread;
use std::future::ready;
use std::time::Duration;

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

fn one(builder: PoolBuilder) -> (WorkerPool, Worker) {
    let time = ManualClock::new();
    let (pool, mut workers) = builder.workers(1).queue(2).clock(time.clock()).build().unwrap();
    (pool, workers.next().unwrap())
}

fn retried(pool: &WorkerPool) -> cofferdam_loom::pool::JoinHandle<Result<(), &'static str>> {
    let policy = RetryPolicy::new(9).unwrap().backoff(Backoff::fixed(Duration::from_secs(1)));
    pool.retry_task(&policy, || ready(Err("busy"))).try_submit().unwrap()
}

#[test]
fn a_cancelled_task_does_not_wait_for_its_next_attempt() {
    bounded(3, || {
        let (pool, worker) = one(WorkerPool::builder().managed());
        let handle = retried(&pool);
        let other = thread::spawn(move || block_on(worker));
        assert!(handle.cancel());
        assert!(block_on(handle).unwrap_err().is_cancelled());
        assert_eq!(pool.stats().cancelled, 1);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn a_task_cancelled_by_its_number_does_not_wait_for_its_next_attempt() {
    bounded(2, || {
        let (pool, worker) = one(WorkerPool::builder().managed().history(1));
        let handle = retried(&pool);
        let other = thread::spawn(move || block_on(worker));
        assert!(pool.cancel(handle.id(), "not needed"));
        assert!(block_on(handle).unwrap_err().is_cancelled());
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn what_happens_to_a_task_is_noted_in_order() {
    bounded(3, || {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let record = std::sync::Arc::clone(&seen);
        let observe = move |event: &PoolEvent| {
            let stage = match event {
                PoolEvent::Submitted { .. } => 1,
                PoolEvent::Started { .. } => 2,
                PoolEvent::Ended(_) => 3,
                _ => return,
            };
            record.lock().unwrap().push(stage);
        };
        let (pool, worker) = one(WorkerPool::builder().history(1).observer(observe));
        let other = thread::spawn(move || block_on(worker));
        let handle = pool.try_submit(async {}).unwrap();
        let id = handle.id();
        block_on(handle).unwrap();
        assert_eq!(pool.status(id), Some(TaskStatus::Ended(Outcome::Completed)));
        assert_eq!(pool.context_stats().active, 0);
        drop(pool);
        other.join().unwrap();
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn a_wrapped_task_is_there_when_its_worker_comes() {
    bounded(3, || {
        let (pool, worker) = one(WorkerPool::builder().wrap(|task: TaskFuture| task));
        let other = thread::spawn(move || block_on(worker));
        let handle = pool.try_submit(async { 7 }).unwrap();
        assert_eq!(block_on(handle).unwrap(), 7);
        drop(pool);
        other.join().unwrap();
    });
}
