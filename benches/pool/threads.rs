//! Pools of threads, without an executor: producers block, tasks are functions (ours are futures that are ready at once).

use crate::timing::{Countdown, LIMIT, Side, of};
use cofferdam::pool::WorkerPool;
use cofferdam_benches::now;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Two threads that run functions.
pub(crate) trait Threads: Clone + Send {
    type Handle: Send;
    fn execute(&self, task: impl FnOnce() + Send + 'static);
    fn submit(&self, task: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle;
    fn wait(handle: Self::Handle) -> u64;
}

#[derive(Clone)]
pub(crate) struct Ours(WorkerPool);

impl Ours {
    pub(crate) fn start() -> Self {
        let threads = WorkerPool::builder().workers(2).queue(LIMIT).start_threads();
        Self(threads.expect("threads").0)
    }
}

impl Threads for Ours {
    type Handle = cofferdam::pool::JoinHandle<u64>;
    fn execute(&self, task: impl FnOnce() + Send + 'static) {
        assert!(self.0.execute(async { task() }).wait().is_ok());
    }
    fn submit(&self, task: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        self.0.submit(async { task() }).wait().expect("open")
    }
    fn wait(handle: Self::Handle) -> u64 {
        handle.wait().expect("a result")
    }
}

/// With the result by a channel for one.
fn with_result(
    task: impl FnOnce() -> u64 + Send + 'static,
) -> (impl FnOnce() + Send + 'static, crossbeam_channel::Receiver<u64>) {
    let (result, handle) = crossbeam_channel::bounded(1);
    (move || _ = result.send(task()), handle)
}

macro_rules! results_by_channel {
    () => {
        type Handle = crossbeam_channel::Receiver<u64>;
        fn submit(&self, task: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
            let (task, handle) = with_result(task);
            self.execute(task);
            handle
        }
        fn wait(handle: Self::Handle) -> u64 {
            handle.recv().expect("a result")
        }
    };
}

/// Two loops over a channel of boxed functions.
#[derive(Clone)]
pub(crate) struct Crossbeam(crossbeam_channel::Sender<Box<dyn FnOnce() + Send>>);

impl Crossbeam {
    pub(crate) fn start() -> Self {
        let (tx, rx) = crossbeam_channel::bounded::<Box<dyn FnOnce() + Send>>(LIMIT);
        for _ in 0..2 {
            let rx = rx.clone();
            std::thread::spawn(move || rx.into_iter().for_each(|task| task()));
        }
        Self(tx)
    }
}

impl Threads for Crossbeam {
    fn execute(&self, task: impl FnOnce() + Send + 'static) {
        assert!(self.0.send(Box::new(task)).is_ok());
    }
    results_by_channel!();
}

/// Without a bound, as it has none.
#[derive(Clone)]
pub(crate) struct Rayon(Arc<rayon::ThreadPool>);

impl Rayon {
    pub(crate) fn start() -> Self {
        Self(Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads")))
    }
}

impl Threads for Rayon {
    fn execute(&self, task: impl FnOnce() + Send + 'static) {
        self.0.spawn(task);
    }
    results_by_channel!();
}

/// Without a bound, as it has none.
#[derive(Clone)]
pub(crate) struct Threadpool(threadpool::ThreadPool);

impl Threadpool {
    pub(crate) fn start() -> Self {
        Self(threadpool::ThreadPool::new(2))
    }
}

impl Threads for Threadpool {
    fn execute(&self, task: impl FnOnce() + Send + 'static) {
        self.0.execute(task);
    }
    results_by_channel!();
}

/// The time for `tasks` tasks, from the first submission to the end of the last.
fn produce<P: Threads>(
    side: Side,
    tasks: u64,
    pool: &P,
    producer: impl Fn(P, u64, &'static Countdown) + Send + Copy,
) -> Duration {
    let share = side.share(tasks, 1);
    let (countdown, ended) = Countdown::from(share * side.producers);
    let start = now();
    let taken = std::thread::scope(|scope| {
        for _ in 0..side.producers {
            let pool = pool.clone();
            scope.spawn(move || producer(pool, share, countdown));
        }
        ended.recv().expect("an end");
        start.elapsed()
    });
    of(taken, tasks, share * side.producers)
}

pub(crate) fn detached<P: Threads>(side: Side, tasks: u64, pool: &P) -> Duration {
    produce(side, tasks, pool, |pool, share, countdown| {
        for _ in 0..share {
            pool.execute(|| _ = countdown.count(1));
        }
    })
}

pub(crate) fn joined<P: Threads>(side: Side, tasks: u64, pool: &P) -> Duration {
    let window = side.window();
    produce(side, tasks, pool, |pool, share, countdown| {
        let (counter, _) = Countdown::from(u64::MAX);
        let mut handles = VecDeque::with_capacity(window);
        for _ in 0..share {
            if handles.len() == window {
                handles.pop_front().map(P::wait);
            }
            handles.push_back(pool.submit(|| counter.count(1)));
        }
        handles.into_iter().for_each(|handle| _ = P::wait(handle));
        countdown.count(share);
    })
}
