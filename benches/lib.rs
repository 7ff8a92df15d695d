//! What the benches share: how to time a fixed amount of work on threads, the floor of rate limiting, and runtimes.

use cofferdam::time::Clock;
use criterion::BenchmarkGroup;
use criterion::measurement::WallTime;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Times `iters` iterations done by each of `threads` threads at once, per iteration of one thread over all threads:
/// the wall time of the slowest, divided by the number of threads.
pub fn on_threads(threads: usize, iters: u64, work: impl Fn(u64) + Sync) -> Duration {
    let share = iters.div_ceil(threads as u64);
    let barrier = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                barrier.wait();
                work(share);
                barrier.wait();
            });
        }
        barrier.wait();
        #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
        let start = Instant::now();
        barrier.wait();
        start.elapsed()
    })
}

/// A contender on one thread, or on several that share it.
pub fn each(group: &mut BenchmarkGroup<'_, WallTime>, id: &str, threads: usize, decide: impl Fn() + Sync) {
    group.bench_function(id, |bencher| {
        if threads == 1 {
            bencher.iter(&decide);
        } else {
            bencher.iter_custom(|iters| {
                on_threads(threads, iters, |share| {
                    for _ in 0..share {
                        decide();
                    }
                })
            });
        }
    });
}

/// A clock read by the peers and the floors.
#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// The clock of one group of benches: ours, and what the floor reads.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// The system's.
    Std,
    /// The time-stamp counter's.
    Quanta,
}

impl Of {
    /// All of them.
    pub const BOTH: [Self; 2] = [Self::Std, Self::Quanta];

    /// For bench ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::Std => "std",
            Self::Quanta => "quanta",
        }
    }

    /// For ours.
    pub fn clock(self) -> Clock {
        match self {
            Self::Std => Clock::system(),
            Self::Quanta => Clock::quanta(),
        }
    }

    /// For the floor.
    pub fn start(self) -> Nanos {
        match self {
            Self::Std => Nanos::Std(now()),
            Self::Quanta => {
                let clock = quanta::Clock::new();
                let start = clock.raw();
                Nanos::Quanta(clock, start)
            }
        }
    }
}

/// Nanoseconds since a start.
#[derive(Debug)]
pub enum Nanos {
    /// Of this instant.
    Std(Instant),
    /// At this reading of the counter.
    Quanta(quanta::Clock, u64),
}

impl Nanos {
    /// Until now.
    #[inline]
    pub fn read(&self) -> u64 {
        match self {
            Self::Std(start) => (now() - *start).as_nanos() as u64,
            Self::Quanta(clock, start) => clock.delta_as_nanos(*start, clock.raw()),
        }
    }
}

/// The least that could decide: one load, one comparison, one compare-and-swap. A depth of 0 denies.
#[derive(Debug)]
pub struct Floor {
    tat: AtomicU64,
    depth: u64,
}

impl Floor {
    /// That always allows, or never.
    pub fn new(allow: bool) -> Self {
        Self {
            tat: AtomicU64::new(if allow { 0 } else { u64::MAX >> 1 }),
            depth: if allow { 1 << 50 } else { 0 },
        }
    }

    /// Decides at `now`.
    #[inline]
    pub fn take(&self, now: u64) -> bool {
        let mut tat = self.tat.load(Ordering::Acquire);
        loop {
            let next = tat.max(now) + 1;
            if next > now + self.depth {
                return false;
            }
            match self.tat.compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Acquire) {
                Ok(_) => return true,
                Err(other) => tat = other,
            }
        }
    }
}

/// Gives the executor a turn.
pub fn yield_now() -> impl Future<Output = ()> {
    struct Yield(bool);
    impl Future for Yield {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
    Yield(false)
}

/// The executors on which tasks are timed.
#[derive(Clone, Copy, Debug)]
pub enum Runtime {
    /// tokio, everything on the calling thread.
    TokioCurrent,
    /// tokio, two workers.
    TokioMulti,
    /// `async-executor`, driven by two threads.
    AsyncExecutor,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::TokioCurrent, Self::TokioMulti, Self::AsyncExecutor];

    /// For bench ids.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokioCurrent => "tokio-ct",
            Self::TokioMulti => "tokio-mt2",
            Self::AsyncExecutor => "async-executor2",
        }
    }

    /// Starts it for many timed rounds.
    pub fn start(self) -> Running {
        match self {
            Self::TokioCurrent => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                Running::Tokio(runtime.expect("a runtime"), true)
            }
            Self::TokioMulti => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                Running::Tokio(builder.worker_threads(2).enable_all().build().expect("a runtime"), false)
            }
            Self::AsyncExecutor => Running::Smol(Smol::start()),
        }
    }
}

/// A started executor.
#[derive(Debug)]
pub enum Running {
    /// tokio; true if tasks only run inside `block_on`.
    Tokio(tokio::runtime::Runtime, bool),
    /// async-executor.
    Smol(Smol),
}

/// Two threads that run an executor until dropped.
#[derive(Debug)]
pub struct Smol {
    executor: Arc<async_executor::Executor<'static>>,
    stop: Option<async_channel::Sender<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Smol {
    /// The executor itself.
    pub fn executor(&self) -> Arc<async_executor::Executor<'static>> {
        Arc::clone(&self.executor)
    }

    fn start() -> Self {
        let executor = Arc::new(async_executor::Executor::new());
        let (stop, stopped) = async_channel::bounded::<()>(1);
        let threads = (0..2)
            .map(|_| {
                let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
                std::thread::spawn(move || {
                    let _ = async_io::block_on(executor.run(stopped.recv()));
                })
            })
            .collect();
        Self { executor, stop: Some(stop), threads }
    }
}

impl Drop for Smol {
    fn drop(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Running {
    /// Starts a task.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tokio(runtime, _) => drop(runtime.spawn(future)),
            Self::Smol(smol) => smol.executor.spawn(future).detach(),
        }
    }

    /// Runs `future` as a task among the others and waits for it.
    pub fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        match self {
            Self::Tokio(runtime, true) => runtime.block_on(future),
            Self::Tokio(runtime, false) => {
                let task = runtime.spawn(future);
                runtime.block_on(task).expect("the task does not panic")
            }
            Self::Smol(smol) => async_io::block_on(smol.executor.spawn(future)),
        }
    }

    /// Times `tasks` tasks that run `work` at once, from the first spawn to the last end.
    pub fn time<F>(&self, tasks: usize, work: impl Fn(usize) -> F) -> Duration
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (done, all_done) = async_channel::bounded::<()>(1);
        let work: Vec<_> = (0..tasks).map(work).collect();
        let spawn = |future: F| {
            let done = done.clone();
            let task = async move {
                future.await;
                drop(done);
            };
            self.spawn(task);
        };
        #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
        let start = Instant::now();
        work.into_iter().for_each(spawn);
        drop(done);
        let end = async move {
            let _ = all_done.recv().await;
            #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
            Instant::now()
        };
        self.block_on(end) - start
    }
}
