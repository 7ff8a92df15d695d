//! A worker that lets its executor run something else in between.

use super::*;
use std::ptr::null;
use std::task::{RawWaker, RawWakerVTable, Waker};

/// Tasks that a worker begins before it lets go of its thread.
const TURN: u64 = 128;

static WAKES: AtomicUsize = AtomicUsize::new(0);
static CLONES: AtomicUsize = AtomicUsize::new(0);
/// To whom a task is submitted by the second clone of the waker: the first one goes into the list of sleepers.
static LATE: Mutex<Option<WorkerPool>> = Mutex::new(None);

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |_| {
        if CLONES.fetch_add(1, Ordering::Relaxed) == 1 {
            if let Some(pool) = LATE.lock().unwrap().take() {
                pool.try_execute(async {}).unwrap();
            }
        }
        RawWaker::new(null(), &VTABLE)
    },
    |_| _ = WAKES.fetch_add(1, Ordering::Relaxed),
    |_| _ = WAKES.fetch_add(1, Ordering::Relaxed),
    |_| {},
);

// WP1
#[test]
fn a_worker_that_is_woken_as_its_turn_ends_leaves_nobody_counting_on_it() {
    let (pool, mut workers) = WorkerPool::builder().workers(1).queue(256).managed().build().unwrap();
    let mut worker = Box::pin(workers.next().unwrap());
    // SAFETY: the functions touch no memory but the statics.
    let waker = unsafe { Waker::from_raw(RawWaker::new(null(), &VTABLE)) };
    let mut poll = || worker.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending();
    for _ in 0..TURN {
        pool.try_execute(async {}).unwrap();
    }
    // Its turn is over and the queue is empty: it lies down. Another task comes as it does, and wakes it.
    *LATE.lock().unwrap() = Some(pool.clone());
    assert!(poll());
    assert_eq!(pool.stats().queued, 1, "it has let go of its thread");
    assert!(WAKES.load(Ordering::Relaxed) > 0);
    assert!(poll());
    assert_eq!(pool.stats().completed, TURN + 1);
    let before = WAKES.load(Ordering::Relaxed);
    pool.try_execute(async {}).unwrap();
    assert_eq!(WAKES.load(Ordering::Relaxed), before + 1, "it sleeps, and there is a task");
}
