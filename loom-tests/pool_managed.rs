//! The managed pool: no due task is left beside sleepers, whoever keeps the time; and no task is left while workers come
//! and go.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a delayed task finds a keeper | 2 | 2 | a backlog that does not call for want of a keeper; a keeper without a timer |
//! | an earlier task moves the keeper's timer | 2 | 2 | the keeper is not woken |
//! | two tasks that are due at once get two workers | 2 | 2 | who takes a task does not tell of what is left, nor who ends |
//! | a keeper that is dropped hands the time over | 2 | 2 | it does not resign |
//! | workers that sleep beside a delayed task see the end | 3 | 2 | the same; not that alone who takes the last task tells nobody, as who ends does so too |
//! | a worker that ends leaves no task behind | 2 | 2 | it ends without looking for tasks, and does not tell who adds workers |
//!
//! A lost wake-up shows as loom's "deadlock", or as a task that has not ended when nobody is woken any more.

use cofferdam_loom::pool::{Worker, WorkerPool};
use cofferdam_loom::sync::Gate;
use cofferdam_loom::task::BoxTask;
use cofferdam_loom::testkit::ManualClock;
use loom::future::block_on;
use loom::thread;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

fn pool(workers: usize) -> (WorkerPool, Vec<Pin<Box<Worker>>>, ManualClock) {
    let time = ManualClock::new();
    let builder = WorkerPool::builder().workers(workers).queue(3).managed().clock(time.clock());
    let (pool, workers) = builder.build().unwrap();
    (pool, workers.map(Box::pin).collect(), time)
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_delayed_task_finds_a_keeper() {
    bounded(2, || {
        let (pool, mut workers, time) = pool(1);
        let worker = workers.remove(0);
        let other = thread::spawn(move || block_on(worker));
        let handle = pool.task(async { 1 }).delay(SECOND).try_submit().unwrap();
        time.advance(SECOND);
        assert_eq!(block_on(handle).unwrap(), 1);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn an_earlier_task_moves_the_keepers_timer() {
    bounded(2, || {
        let (pool, mut workers, time) = pool(1);
        let mut worker = workers.remove(0);
        pool.task(async {}).delay(9 * SECOND).try_execute().unwrap();
        assert!(poll_once(worker.as_mut()).is_pending());
        let other = thread::spawn(move || block_on(worker));
        let handle = pool.task(async { 1 }).delay(SECOND).try_submit().unwrap();
        time.advance(SECOND);
        assert_eq!(block_on(handle).unwrap(), 1);
        time.advance(8 * SECOND);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn two_tasks_that_are_due_at_once_get_two_workers() {
    bounded(2, || {
        let (pool, mut workers, time) = pool(2);
        let gate = Arc::new(Gate::new(false));
        let opens = gate.clone();
        // The first ends only after the second.
        let first = pool.task(async move { gate.wait().await }).delay(SECOND).try_submit().unwrap();
        pool.task(async move { drop(opens.open()) }).delay(SECOND).try_execute().unwrap();
        // The first to lie down keeps the time.
        assert!(workers.iter_mut().all(|worker| poll_once(worker.as_mut()).is_pending()));
        let (mut keeper, sleeper) = (workers.remove(0), workers.remove(0));
        let other = thread::spawn(move || block_on(sleeper));
        time.advance(SECOND);
        block_on(beside(first, keeper.as_mut())).unwrap();
        drop((pool, keeper));
        other.join().unwrap();
    });
}

/// The first's output, the other being polled meanwhile.
async fn beside<F: Future + Unpin>(mut first: F, mut other: Pin<&mut Worker>) -> F::Output {
    std::future::poll_fn(|cx| {
        assert!(other.as_mut().poll(cx).is_pending());
        Pin::new(&mut first).poll(cx)
    })
    .await
}

#[test]
fn a_keeper_that_is_dropped_hands_the_time_over() {
    bounded(2, || {
        let (pool, mut workers, time) = pool(2);
        let handle = pool.task(async { 1 }).delay(SECOND).try_submit().unwrap();
        // The first to lie down keeps the time.
        assert!(workers.iter_mut().all(|worker| poll_once(worker.as_mut()).is_pending()));
        let (keeper, worker) = (workers.remove(0), workers.remove(0));
        let other = thread::spawn(move || block_on(worker));
        drop(keeper);
        time.advance(SECOND);
        assert_eq!(block_on(handle).unwrap(), 1);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn workers_that_sleep_beside_a_delayed_task_see_the_end() {
    bounded(2, || {
        let (pool, workers, time) = pool(2);
        pool.task(async {}).delay(SECOND).try_execute().unwrap();
        drop(pool);
        let threads: Vec<_> =
            workers.into_iter().map(|worker| thread::spawn(move || block_on(worker))).collect();
        time.advance(SECOND);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A task of an executor that polls whom it must.
struct Task {
    future: Option<BoxTask>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Task {
    /// Polls it, if it was woken. Whether it was.
    fn poll(&mut self) -> bool {
        let woken = self.woken.0.swap(false, Ordering::SeqCst);
        let waker = Waker::from(self.woken.clone());
        if let Some(future) = self.future.as_mut().filter(|_| woken) {
            if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.future = None;
            }
        }
        woken
    }
}

type Tasks = Arc<Mutex<Vec<Task>>>;

/// Polls tasks until none is woken.
fn settle(tasks: &Tasks) {
    loop {
        let all = std::mem::take(&mut *tasks.lock().unwrap());
        let mut woken = false;
        let mut rest = all;
        for task in &mut rest {
            woken |= task.poll();
        }
        let mut tasks = tasks.lock().unwrap();
        woken |= !tasks.is_empty();
        rest.append(&mut tasks);
        *tasks = rest;
        if !woken {
            return;
        }
    }
}

#[test]
fn a_worker_that_ends_leaves_no_task_behind() {
    bounded(2, || {
        let (time, tasks) = (ManualClock::new(), Tasks::default());
        let spawned = tasks.clone();
        let spawner = move |future: BoxTask| {
            let woken = Arc::new(Woken(AtomicBool::new(true)));
            spawned.lock().unwrap().push(Task { future: Some(future), woken });
        };
        let builder =
            WorkerPool::builder().workers_between(1, 2).scale_after(Duration::ZERO).idle_timeout(SECOND);
        let pool = builder.queue(3).clock(time.clock()).start_owned(spawner).unwrap();
        settle(&tasks);
        // Two tasks, so that there are two workers; the one stays busy.
        pool.try_execute(async { pending().await }).unwrap();
        settle(&tasks);
        pool.try_execute(async {}).unwrap();
        settle(&tasks);
        assert_eq!((pool.stats().workers, pool.stats().running, pool.stats().completed), (2, 1, 1));
        time.advance(SECOND);
        // The idle one looks whether it may end, while there is a task.
        let polled = tasks.clone();
        let other = thread::spawn(move || settle(&polled));
        let handle = pool.try_submit(async { 1 }).unwrap();
        other.join().unwrap();
        settle(&tasks);
        let workers = pool.stats().workers;
        assert!((1..=2).contains(&workers), "{workers}");
        assert!(handle.is_finished(), "a task is left, with {workers} workers");
        tasks.lock().unwrap().clear();
    });
}
