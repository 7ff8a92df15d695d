//! The pool: one end for each task, whoever races for it; nobody asleep beside work or room; an end that is found.
//!
//! | property | threads | bound | planted bug it was seen to catch |
//! |---|---|---|---|
//! | a result is handed over once | 2 | 4 | `DONE` set `Relaxed`; `Joint::poll` that overlooks a `DONE` set since; `resolve` that does not wake the handle |
//! | polled with another waker, that one is woken | 2 | 4 | `Joint::poll` that takes any waker for the known one |
//! | the result of a dropped handle goes with the job | 2 | 4 | a job that never frees the cell; `DONE` set `Relaxed` |
//! | a queued task is run or cancelled, once, and counted by then | 2 | 4 | `claim` that ignores the other side's; that does not wait for `WITHDRAWN`; `cancel` that looks and then sets; that counts after `WITHDRAWN` |
//! | a task is withdrawn or dropped with its pool, once | 2 | 4 | `claim` that ignores the other side's; `cancel` that looks and then sets |
//! | a withdrawal is through before its pool is gone | 2 | 4 | the same two, by a crash |
//! | a cancellation reaches a running task | 2 | 3 | `reach` that does not look for a `CANCEL` before its `NUDGE` |
//! | also one that has given way | 2 | 3 | the same; a task that waits is taken for one that gives way, because its worker would have heard it |
//! | a shutdown reaches a running task | 2 | 3 | `Hand::wait` that does not look for an abort; `abort` that wakes no worker |
//! | a worker that lies down sees the task, or is seen | 2 | 3 | no look at the queue after `lie_down`; `load_seq_cst` in `work_added` a plain load |
//! | the same for the close | 2 | 3 | no look at the queue after `lie_down`; `close` that wakes nobody; that wakes before it closes the queue |
//! | a task left to a worker on its way has a worker | 2 | 3 | a worker that has found work wakes no other for what is left; `stop_searching` that looks at the queue first; `load_seq_cst` in `work_added` a plain load |
//! | a worker woken as its turn ends is not counted on | 2 | 3 | a turn that ends without `stop_searching` |
//! | a woken worker that is dropped passes it on | 2 | 3 | `Hand::leave` without `stop_searching` |
//! | a submission is run, or refused and given back | 2 | 4 | the ring's `close` as a load and a store |
//! | a submitter that gets in line sees the room, or is seen | 2 | 3 | `announce` that does not look; a worker that does not `admit` |
//! | the same for a free worker, without a queue | 2 | 3 | the same |
//! | an invitation that is dropped goes to the next | 3 | 2 | the same; `abandon` that serves nobody |
//! | a close ends every wait for room | 2 | 3 | `Room::close` that does not set `closed`; that ends no wait |
//! | the end is found by whoever ends the last task | 3 | 2 | `worker_left` that does not look for it |
//!
//! A lost wake-up shows as loom's "deadlock". Futures and results hold a token in a `loom` reference count, so that one
//! that is never dropped is a leak, and one that is dropped twice or read beside its writer is reported.
//!
//! What no model here shows, although it was tried: that what comes before a `load_seq_cst` is `SeqCst` (the word of the
//! crew, a free place, `crowded`), as the fence that loom needs in that load orders more than the load does; and that
//! memory is used which was freed. So of the wait for `WITHDRAWN` only the count is seen, not what it keeps alive (P5).

use cofferdam_loom::pool::{JoinHandle, PoolStats, Worker, WorkerPool};
use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc as Token;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn bounded(bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(model);
}

/// A pool with one place and its workers.
fn pool(workers: usize, queue: usize) -> (WorkerPool, Vec<Worker>) {
    let (pool, workers) = WorkerPool::builder().workers(workers).queue(queue).build().unwrap();
    (pool, workers.collect())
}

fn one(queue: usize) -> (WorkerPool, Pin<Box<Worker>>) {
    let (pool, mut workers) = pool(1, queue);
    (pool, Box::pin(workers.remove(0)))
}

/// A worker that was polled by a waker of its own.
struct Sleeper {
    worker: Pin<Box<Worker>>,
    flag: Arc<Flag>,
    waker: Waker,
}

/// A pool with two workers asleep, of whom the last is woken first.
fn asleep() -> (WorkerPool, Vec<Sleeper>) {
    let (pool, workers) = pool(2, 2);
    let sleepers = workers.into_iter().map(|worker| {
        let (flag, waker) = Flag::new();
        let mut worker = Box::pin(worker);
        assert!(poll_by(&waker, worker.as_mut()).is_pending());
        Sleeper { worker, flag, waker }
    });
    (pool, sleepers.collect())
}

/// Wakes its own task, and is ready at the next poll.
fn gives_way() -> impl Future<Output = ()> {
    let mut is_back = false;
    poll_fn(move |cx| {
        if std::mem::replace(&mut is_back, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    poll_by(Waker::noop(), future)
}

fn poll_by<F: Future>(waker: &Waker, future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// A waker that notes that it was called. What is asked of it is asked after a join, so that no model need try its orders.
#[derive(Default)]
struct Flag(AtomicBool);

impl Flag {
    fn new() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self::default());
        (Arc::clone(&flag), Waker::from(flag))
    }

    fn is_woken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Data that moves with a future or a result: touched without any protection of its own.
struct Data(
    UnsafeCell<u32>,
    #[allow(dead_code, reason = "loom reports it if it is never dropped")] Token<()>,
);
// SAFETY: that it is handed over properly is what the models check.
unsafe impl Send for Data {}

impl Data {
    fn new() -> Self {
        Self(UnsafeCell::new(1), Token::new(()))
    }

    fn bump(&self) -> u32 {
        // SAFETY: loom reports it if somebody else does at the same time.
        self.0.with_mut(|value| unsafe {
            *value += 1;
            *value
        })
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        self.bump();
    }
}

fn task() -> impl Future<Output = Data> + Send + 'static {
    let data = Data::new();
    async move {
        data.bump();
        data
    }
}

fn balanced(stats: PoolStats) -> PoolStats {
    assert_eq!(stats.submitted, stats.queued + stats.running + stats.ended(), "{stats:?}");
    stats
}

#[test]
fn a_result_is_handed_over_once() {
    bounded(4, || {
        let (pool, mut worker) = one(1);
        let handle = pool.try_submit(task()).unwrap();
        let other = thread::spawn(move || {
            assert!(poll_once(worker.as_mut()).is_pending());
            worker
        });
        assert_eq!(block_on(handle).unwrap().bump(), 3);
        // Counted before the handle was ready.
        assert_eq!(pool.stats().completed, 1);
        drop(other.join().unwrap());
    });
}

#[test]
fn a_handle_that_is_polled_with_another_waker_wakes_that_one() {
    bounded(4, || {
        let (pool, mut worker) = one(1);
        let mut handle = pool.try_submit(task()).unwrap();
        let other = thread::spawn(move || drop(poll_once(worker.as_mut())));
        let first = poll_once(Pin::new(&mut handle));
        if first.is_pending() {
            assert_eq!(block_on(handle).unwrap().bump(), 3);
        }
        other.join().unwrap();
    });
}

#[test]
fn a_handle_that_is_dropped_leaves_the_result_to_the_worker() {
    bounded(4, || {
        let (pool, mut worker) = one(1);
        let mut handle = pool.try_submit(task()).unwrap();
        let other = thread::spawn(move || drop(poll_once(worker.as_mut())));
        drop(poll_once(Pin::new(&mut handle)));
        drop(handle);
        other.join().unwrap();
        assert_eq!(balanced(pool.stats()).completed, 1);
    });
}

#[test]
fn a_queued_task_is_run_or_cancelled_and_never_both() {
    bounded(4, || {
        let (pool, mut worker) = one(1);
        let runs = Token::new(AtomicUsize::new(0));
        let (ran, data) = (runs.clone(), Data::new());
        let handle = pool
            .try_submit(async move {
                ran.fetch_add(1, Ordering::Relaxed);
                data
            })
            .unwrap();
        let books = pool.clone();
        let other = thread::spawn(move || {
            drop(poll_once(worker.as_mut()));
            // Who withdraws a task counts that before its worker goes on.
            assert_eq!(balanced(books.stats()).ended(), 1);
        });
        let cancelled = handle.cancel();
        let result = block_on(handle);
        other.join().unwrap();
        let stats = balanced(pool.stats());
        match result {
            Ok(data) => {
                assert_eq!((data.bump(), runs.load(Ordering::Relaxed)), (2, 1));
                assert_eq!((stats.completed, stats.cancelled), (1, 0));
            }
            Err(error) => {
                assert!(cancelled && error.is_cancelled());
                assert_eq!(runs.load(Ordering::Relaxed), 0);
                assert_eq!((stats.completed, stats.cancelled), (0, 1));
            }
        }
    });
}

#[test]
fn a_task_is_withdrawn_or_dropped_with_its_pool_and_never_both() {
    bounded(4, || {
        let (pool, worker) = one(1);
        let handle = pool.try_submit(task()).unwrap();
        let other = thread::spawn(move || drop(worker));
        let cancelled = handle.cancel();
        let error = block_on(handle).err().unwrap();
        assert!(error.is_dropped() || cancelled && error.is_cancelled());
        other.join().unwrap();
        let stats = balanced(pool.stats());
        assert_eq!((stats.dropped, stats.cancelled), if error.is_dropped() { (1, 0) } else { (0, 1) });
        assert_eq!(stats.queued, 0);
    });
}

#[test]
fn a_withdrawal_does_not_outlive_the_pool_it_counts_in() {
    bounded(4, || {
        let (pool, worker) = one(1);
        let handle = pool.try_submit(task()).unwrap();
        let other = thread::spawn(move || drop((worker, pool)));
        handle.cancel();
        drop(handle);
        other.join().unwrap();
    });
}

#[test]
fn a_cancellation_reaches_a_running_task() {
    bounded(3, || {
        let (pool, worker) = one(1);
        let data = Data::new();
        let handle: JoinHandle<()> = pool
            .try_submit(async move {
                data.bump();
                pending::<()>().await;
                drop(data);
            })
            .unwrap();
        let other = thread::spawn(move || block_on(worker));
        handle.cancel();
        assert!(block_on(handle).unwrap_err().is_cancelled());
        assert_eq!(pool.stats().cancelled, 1);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn a_cancellation_reaches_a_task_that_has_given_way() {
    bounded(3, || {
        let (pool, worker) = one(1);
        let data = Data::new();
        let handle: JoinHandle<()> = pool
            .try_submit(async move {
                data.bump();
                // At once, and then by way of its executor.
                gives_way().await;
                gives_way().await;
                data.bump();
                pending::<()>().await;
                drop(data);
            })
            .unwrap();
        let other = thread::spawn(move || block_on(worker));
        handle.cancel();
        assert!(block_on(handle).unwrap_err().is_cancelled());
        assert_eq!(pool.stats().cancelled, 1);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn a_shutdown_reaches_a_running_task() {
    bounded(3, || {
        let (pool, worker) = one(1);
        pool.try_execute(async { pending::<()>().await }).unwrap();
        let other = thread::spawn(move || block_on(worker));
        let report = block_on(pool.shutdown(Duration::ZERO));
        let stats = balanced(report.stats);
        assert_eq!((stats.dropped + report.interrupted, stats.cancelled), (1, report.interrupted));
        other.join().unwrap();
    });
}

#[test]
fn a_worker_going_to_sleep_sees_the_task_or_is_seen() {
    bounded(3, || {
        let (pool, worker) = one(1);
        let other = thread::spawn(move || block_on(worker));
        let handle = pool.try_submit(async { 1 }).unwrap();
        assert_eq!(block_on(handle).unwrap(), 1);
        drop(pool);
        other.join().unwrap();
    });
}

#[test]
fn a_worker_going_to_sleep_sees_the_close_or_is_seen() {
    bounded(3, || {
        let (pool, worker) = one(1);
        let other = thread::spawn(move || block_on(worker));
        pool.close();
        other.join().unwrap();
        assert!(block_on(pool.drain()).is_clean());
    });
}

#[test]
fn a_task_that_is_left_to_a_worker_on_its_way_is_not_forgotten() {
    bounded(3, || {
        let (pool, mut workers) = asleep();
        let (mut sooner, later) = (workers.remove(1), workers.remove(0));
        let waker = sooner.waker.clone();
        let other = thread::spawn(move || {
            assert!(poll_by(&waker, sooner.worker.as_mut()).is_pending());
            sooner
        });
        // The first wakes a worker, the second need not.
        pool.try_execute(pending::<()>()).unwrap();
        pool.try_execute(pending::<()>()).unwrap();
        let sooner = other.join().unwrap();
        let stats = balanced(pool.stats());
        // What is queued has a worker on its way: this one or, if it is busy already, the other.
        let next = if stats.running == 0 { &sooner } else { &later };
        assert!(stats.queued > 0 && next.flag.is_woken(), "{stats:?}");
    });
}

#[test]
fn a_worker_that_is_woken_as_its_turn_ends_is_not_counted_on() {
    bounded(3, || {
        let (pool, mut worker) = one(2);
        // A turn is one task here: it is over when the worker finds the queue empty and lies down.
        pool.try_execute(async {}).unwrap();
        let other = {
            let pool = pool.clone();
            thread::spawn(move || pool.try_execute(async {}).unwrap())
        };
        assert!(poll_once(worker.as_mut()).is_pending());
        other.join().unwrap();
        assert!(poll_once(worker.as_mut()).is_pending());
        // It sleeps, and there is a task.
        let (flag, waker) = Flag::new();
        assert!(poll_by(&waker, worker.as_mut()).is_pending());
        assert_eq!(pool.stats().completed, 2);
        pool.try_execute(async {}).unwrap();
        assert!(flag.is_woken());
    });
}

#[test]
fn a_woken_worker_that_is_dropped_passes_it_on() {
    bounded(3, || {
        let (pool, mut workers) = asleep();
        let (goes, mut stays) = (workers.remove(1), workers.remove(0));
        let other = thread::spawn(move || drop(goes));
        let handle = pool.try_submit(async { 1 }).unwrap();
        other.join().unwrap();
        // The pool is open still: its close would wake everybody.
        assert!(stays.flag.is_woken());
        assert!(poll_once(stays.worker.as_mut()).is_pending());
        assert_eq!(block_on(handle).unwrap(), 1);
    });
}

#[test]
fn a_submission_is_accepted_and_run_or_refused_and_given_back() {
    bounded(4, || {
        let (pool, worker) = one(1);
        let submitter = pool.clone();
        let other = thread::spawn(move || submitter.try_submit(task()).map(block_on).is_ok());
        pool.close();
        block_on(worker);
        let accepted = other.join().unwrap();
        let stats = balanced(pool.stats());
        assert_eq!((stats.completed, stats.submitted), (u64::from(accepted), u64::from(accepted)));
    });
}

#[test]
fn a_submitter_in_line_sees_the_room_or_is_seen() {
    bounded(3, || {
        let (pool, mut worker) = one(1);
        pool.try_execute(async {}).unwrap();
        let other = thread::spawn(move || {
            drop(poll_once(worker.as_mut()));
            worker
        });
        let data = Data::new();
        block_on(pool.execute(async move { drop(data) })).unwrap();
        drop(other.join().unwrap());
        assert_eq!(balanced(pool.stats()).submitted, 2);
    });
}

#[test]
fn a_submitter_in_line_without_a_queue_sees_the_free_worker_or_is_seen() {
    bounded(3, || {
        let (pool, mut worker) = one(0);
        pool.try_execute(async {}).unwrap();
        let other = thread::spawn(move || {
            drop(poll_once(worker.as_mut()));
            worker
        });
        block_on(pool.execute(async {})).unwrap();
        drop(other.join().unwrap());
    });
}

#[test]
fn an_invitation_that_is_dropped_goes_to_the_next() {
    bounded(2, || {
        let (pool, mut worker) = one(1);
        pool.try_execute(async {}).unwrap();
        let first = pool.clone();
        let other = thread::spawn(move || {
            let mut submit = pin!(first.execute(async {}));
            drop(poll_once(submit.as_mut()));
        });
        let third = thread::spawn(move || {
            drop(poll_once(worker.as_mut()));
            worker
        });
        // The other one, if it gets a place at all, gets it by its only poll; then the worker may be needed once more.
        let mut submit = pin!(pool.execute(async {}));
        let placed = poll_once(submit.as_mut()).is_ready();
        other.join().unwrap();
        let mut worker = third.join().unwrap();
        drop(poll_once(worker.as_mut()));
        if !placed {
            block_on(submit).unwrap();
        }
        assert_eq!(pool.stats().waiting, 0);
        assert!(pool.stats().submitted >= 2);
    });
}

#[test]
fn a_close_ends_every_wait_for_room() {
    bounded(3, || {
        let (pool, _worker) = one(1);
        pool.try_execute(async {}).unwrap();
        let closer = pool.clone();
        let other = thread::spawn(move || closer.close());
        let error = block_on(pool.submit(task())).unwrap_err();
        assert!(error.is_closed());
        assert!(other.join().unwrap());
    });
}

#[test]
fn the_end_is_found_by_whoever_ends_the_last_task() {
    bounded(2, || {
        let (pool, workers) = pool(2, 2);
        let handles: Vec<_> = (0..2).map(|_| pool.try_execute(async {}).unwrap()).collect();
        assert_eq!(handles.len(), 2);
        // Polled once each, and not again: what they leave undone nobody does.
        let workers: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                let mut worker = Box::pin(worker);
                thread::spawn(move || {
                    drop(poll_once(worker.as_mut()));
                    worker
                })
            })
            .collect();
        let report = block_on(pool.drain());
        assert_eq!((report.stats.completed, report.is_clean()), (2, true));
        for worker in workers {
            drop(worker.join().unwrap());
        }
    });
}
