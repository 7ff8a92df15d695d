//! How tasks are made, handed in and timed.

use crate::peers::{Detach, DetachAll, Join, JoinAll};
use cofferdam_benches::{Running, now, yield_now};
use std::collections::VecDeque;
use std::future::Future;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Tasks that are queued or in flight.
pub(crate) const LIMIT: usize = 1024;

/// Tasks that are handed in at a time, where that is the point.
pub(crate) const BATCH: usize = 64;

/// Where the producers run.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub(crate) external: bool,
    pub(crate) producers: u64,
}

pub(crate) const SIDES: [(&str, Side); 4] = [
    ("ext-p1", Side { external: true, producers: 1 }),
    ("ext-p4", Side { external: true, producers: 4 }),
    ("int-p1", Side { external: false, producers: 1 }),
    ("int-p4", Side { external: false, producers: 4 }),
];

impl Side {
    /// How many of `tasks` each producer hands in, in units of `unit`.
    pub(crate) fn share(self, tasks: u64, unit: usize) -> u64 {
        tasks.div_ceil(self.producers * unit as u64) * unit as u64
    }

    /// Tasks of one producer that may be in flight.
    pub(crate) fn window(self) -> usize {
        LIMIT / self.producers as usize
    }
}

/// What a task does, once it runs: at the end it counts.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Nothing more.
    Tiny,
    /// It gives way once.
    Yielding,
    /// It computes for about 10 microseconds.
    Busy,
}

/// About 10 microseconds of a generator's steps, each of which needs the one before.
pub(crate) fn compute() {
    let mut number = black_box(1u64);
    for _ in 0..BUSY {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
    }
    black_box(number);
}
const BUSY: u32 = 6_000;

#[repr(align(128))]
pub(crate) struct Countdown {
    left: AtomicU64,
    end: mpsc::Sender<()>,
}

impl Countdown {
    /// Leaked, so that a task is one `fetch_sub` and no counting of references.
    pub(crate) fn from(left: u64) -> (&'static Self, mpsc::Receiver<()>) {
        let (end, ended) = mpsc::channel();
        (Box::leak(Box::new(Self { left: AtomicU64::new(left), end })), ended)
    }

    pub(crate) fn count(&self, by: u64) -> u64 {
        let left = self.left.fetch_sub(by, Ordering::Relaxed);
        if left == by {
            let _ = self.end.send(());
        }
        left
    }
}

/// Starts the producers and waits until they, or their tasks, have counted down; the time for `tasks` tasks.
fn produce<F>(
    running: &Running,
    side: Side,
    (tasks, unit): (u64, usize),
    producer: impl Fn(u64, &'static Countdown) -> F,
) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let share = side.share(tasks, unit);
    let (countdown, ended) = Countdown::from(share * side.producers);
    let producers: Vec<_> = (0..side.producers).map(|_| Box::pin(producer(share, countdown))).collect();
    let start = now();
    let taken = std::thread::scope(|scope| {
        for producer in producers {
            if side.external {
                scope.spawn(|| pollster::block_on(producer));
            } else {
                running.spawn(producer);
            }
        }
        ended.recv().expect("an end");
        start.elapsed()
    });
    of(taken, tasks, share * side.producers)
}

/// Of the time for `done` tasks that for `tasks`.
pub(crate) fn of(taken: Duration, tasks: u64, done: u64) -> Duration {
    taken.mul_f64(tasks as f64 / done as f64)
}

/// Runs `$put` with `$task` a maker of tasks that work so.
macro_rules! with_work {
    ($work:expr, |$make:ident| $then:expr) => {
        match $work {
            Work::Tiny => {
                let $make = |counter: &'static Countdown| async move { counter.count(1) };
                $then
            }
            Work::Yielding => {
                let $make = |counter: &'static Countdown| async move {
                    yield_now().await;
                    counter.count(1)
                };
                $then
            }
            Work::Busy => {
                let $make = |counter: &'static Countdown| async move {
                    compute();
                    counter.count(1)
                };
                $then
            }
        }
    };
}

/// Its result is of no interest.
async fn ignore<F: Future>(task: F) {
    task.await;
}

pub(crate) fn detached(
    running: &Running,
    side: Side,
    tasks: u64,
    work: Work,
    pool: &impl Detach,
) -> Duration {
    with_work!(work, |make| produce(running, side, (tasks, 1), |share, countdown| {
        let pool = pool.clone();
        async move {
            for _ in 0..share {
                pool.put(ignore(make(countdown))).await;
            }
        }
    }))
}

pub(crate) fn joined(running: &Running, side: Side, tasks: u64, work: Work, pool: &impl Join) -> Duration {
    let window = side.window();
    with_work!(work, |make| produce(running, side, (tasks, 1), |share, countdown| {
        let pool = pool.clone();
        // The tasks count on one counter, the producers at the end of each on another.
        let (counter, _) = Countdown::from(u64::MAX);
        async move {
            let mut handles = VecDeque::with_capacity(window);
            for _ in 0..share {
                if handles.len() == window {
                    if let Some(mut handle) = handles.pop_front() {
                        let _ = (&mut handle).await;
                    }
                }
                handles.push_back(pool.put(make(counter)).await);
            }
            for handle in handles {
                let _ = handle.await;
            }
            countdown.count(share);
        }
    }))
}

pub(crate) fn detached_batches(running: &Running, side: Side, tasks: u64, pool: &impl DetachAll) -> Duration {
    produce(running, side, (tasks, BATCH), |share, countdown| {
        let pool = pool.clone();
        async move {
            for _ in 0..share / BATCH as u64 {
                pool.put_all((0..BATCH).map(|_| async { _ = countdown.count(1) })).await;
            }
        }
    })
}

pub(crate) fn joined_batches(running: &Running, side: Side, tasks: u64, pool: &impl JoinAll) -> Duration {
    let window = side.window() / BATCH;
    produce(running, side, (tasks, BATCH), |share, countdown| {
        let pool = pool.clone();
        let (counter, _) = Countdown::from(u64::MAX);
        async move {
            let mut batches = VecDeque::with_capacity(window);
            for _ in 0..share / BATCH as u64 {
                if batches.len() == window {
                    for handle in batches.pop_front().into_iter().flatten() {
                        let _ = handle.await;
                    }
                }
                batches.push_back(pool.put_all((0..BATCH).map(|_| async { counter.count(1) })).await);
            }
            for handle in batches.into_iter().flatten() {
                let _ = handle.await;
            }
            countdown.count(share);
        }
    })
}
