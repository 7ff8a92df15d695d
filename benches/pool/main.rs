//! Worker pools: tiny tasks (one shared `fetch_sub` each), two workers, at most 1,024 queued or in flight.
//!
//! "ext": producers are OS threads; "int": they are tasks on the runtime of the workers; "p1", "p4": how many. Times are per
//! task, from the first submission to the end of the last task. The floor is a channel of plain numbers between threads
//! (and spinning result slots, where results are awaited). `pool/latency` is printed, not timed by criterion: the time
//! from the submission to the start of a task when the workers are idle, one task per millisecond.

use cofferdam::pool::WorkerPool;
use cofferdam::task::BoxTask;
use cofferdam_benches::{Running, Runtime};
use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const LIMIT: usize = 1024;

/// Takes tasks that nobody waits for.
trait Detach: Clone + Send + 'static {
    fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) -> impl Future<Output = ()> + Send;
}

/// Takes tasks whose results are awaited.
trait Join: Clone + Send + 'static {
    type Handle: Future + Send + Unpin;
    fn put<F: Future<Output = u64> + Send + 'static>(
        &self,
        task: F,
    ) -> impl Future<Output = Self::Handle> + Send;
}

#[derive(Clone)]
struct Ours(WorkerPool);

fn ours(running: &Running) -> Ours {
    let spawn = |task: BoxTask| running.spawn(task);
    let (pool, workers) = WorkerPool::builder().workers(2).queue(LIMIT).build().expect("a pool");
    for worker in workers {
        spawn(Box::pin(worker));
    }
    Ours(pool)
}

impl Detach for Ours {
    async fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        let _ = self.0.execute(task).await;
    }
}

impl Join for Ours {
    type Handle = cofferdam::pool::JoinHandle<u64>;
    async fn put<F: Future<Output = u64> + Send + 'static>(&self, task: F) -> Self::Handle {
        self.0.submit(task).await.expect("open")
    }
}

#[derive(Clone)]
struct TokioSpawn(tokio::runtime::Handle, Arc<tokio::sync::Semaphore>);

impl Detach for TokioSpawn {
    async fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        let permit = Arc::clone(&self.1).acquire_owned().await.expect("open");
        self.0.spawn(async move {
            task.await;
            drop(permit);
        });
    }
}

impl Join for TokioSpawn {
    type Handle = tokio::task::JoinHandle<u64>;
    async fn put<F: Future<Output = u64> + Send + 'static>(&self, task: F) -> Self::Handle {
        self.0.spawn(task)
    }
}

#[derive(Clone)]
struct Executor(Arc<async_executor::Executor<'static>>, Arc<async_lock::Semaphore>);

impl Detach for Executor {
    async fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
        let permit = self.1.acquire_arc().await;
        let task = async move {
            task.await;
            drop(permit);
        };
        self.0.spawn(task).detach();
    }
}

impl Join for Executor {
    type Handle = async_executor::Task<u64>;
    async fn put<F: Future<Output = u64> + Send + 'static>(&self, task: F) -> Self::Handle {
        self.0.spawn(task)
    }
}

/// A boxed future under a name of its own, because some channels' futures are `Send` only for types that name no lifetime.
struct Boxed(BoxTask);

/// Two worker loops over somebody's channel of boxed futures; results by tokio's oneshot.
macro_rules! channel_peer {
    ($name:ident, $tx:ty, $make:expr, $send:ident, $recv:ident) => {
        #[derive(Clone)]
        struct $name($tx);

        impl $name {
            fn start(running: &Running) -> Self {
                let (tx, rx) = $make;
                for _ in 0..2 {
                    let rx = rx.clone();
                    running.spawn(async move {
                        while let Ok(task) = rx.$recv().await {
                            let Boxed(task) = task;
                            task.await;
                        }
                    });
                }
                Self(tx)
            }
        }

        impl Detach for $name {
            async fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
                let _ = self.0.$send(Boxed(Box::pin(task))).await;
            }
        }

        impl Join for $name {
            type Handle = tokio::sync::oneshot::Receiver<u64>;
            async fn put<F: Future<Output = u64> + Send + 'static>(&self, task: F) -> Self::Handle {
                let (result, handle) = tokio::sync::oneshot::channel();
                let task = async move { assert!(result.send(task.await).is_ok()) };
                let _ = self.0.$send(Boxed(Box::pin(task))).await;
                handle
            }
        }
    };
}

channel_peer!(AsyncChannel, async_channel::Sender<Boxed>, async_channel::bounded::<Boxed>(LIMIT), send, recv);
channel_peer!(Flume, flume::Sender<Boxed>, flume::bounded::<Boxed>(LIMIT), send_async, recv_async);
channel_peer!(Kanal, kanal::AsyncSender<Boxed>, kanal::bounded_async::<Boxed>(LIMIT), send, recv);
channel_peer!(
    Crossfire,
    crossfire::MAsyncTx<crossfire::mpmc::Array<Boxed>>,
    crossfire::mpmc::bounded_async::<Boxed>(LIMIT),
    send,
    recv
);

/// Where the producers run.
#[derive(Clone, Copy)]
struct Side {
    external: bool,
    producers: u64,
}

const SIDES: [(&str, Side); 4] = [
    ("ext-p1", Side { external: true, producers: 1 }),
    ("ext-p4", Side { external: true, producers: 4 }),
    ("int-p1", Side { external: false, producers: 1 }),
    ("int-p4", Side { external: false, producers: 4 }),
];

/// Starts the producers and waits until `tasks` tasks have counted down.
fn produce<F>(
    running: &Running,
    side: Side,
    tasks: u64,
    producer: impl Fn(u64, &'static Countdown) -> F,
) -> Duration
where
    F: Future<Output = ()> + Send + 'static,
{
    let share = tasks.div_ceil(side.producers);
    let (end, ended) = mpsc::channel();
    // Leaked, so that a task is one `fetch_sub` and no counting of references.
    let countdown: &Countdown =
        Box::leak(Box::new(Countdown { left: AtomicU64::new(share * side.producers), end }));
    let producers: Vec<_> = (0..side.producers).map(|_| Box::pin(producer(share, countdown))).collect();
    #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
    let start = Instant::now();
    std::thread::scope(|scope| {
        for producer in producers {
            if side.external {
                scope.spawn(|| pollster::block_on(producer));
            } else {
                running.spawn(producer);
            }
        }
        ended.recv().expect("an end");
        start.elapsed()
    })
}

#[repr(align(128))]
struct Countdown {
    left: AtomicU64,
    end: mpsc::Sender<()>,
}

impl Countdown {
    fn count(&self, by: u64) -> u64 {
        let left = self.left.fetch_sub(by, Ordering::Relaxed);
        if left == by {
            let _ = self.end.send(());
        }
        left
    }
}

fn detached(running: &Running, side: Side, tasks: u64, pool: &impl Detach) -> Duration {
    produce(running, side, tasks, |share, countdown| {
        let pool = pool.clone();
        async move {
            for _ in 0..share {
                pool.put(async { _ = countdown.count(1) }).await;
            }
        }
    })
}

fn joined(running: &Running, side: Side, tasks: u64, pool: &impl Join) -> Duration {
    let window = LIMIT / side.producers as usize;
    produce(running, side, tasks, |share, countdown| {
        let pool = pool.clone();
        // The tasks count on one counter, the producers at the end of each on another.
        let counter: &Countdown =
            Box::leak(Box::new(Countdown { left: AtomicU64::new(u64::MAX), end: mpsc::channel().0 }));
        async move {
            let mut handles = VecDeque::with_capacity(window);
            for _ in 0..share {
                if handles.len() == window {
                    if let Some(mut handle) = handles.pop_front() {
                        let _ = (&mut handle).await;
                    }
                }
                handles.push_back(pool.put(async { counter.count(1) }).await);
            }
            for handle in handles {
                let _ = handle.await;
            }
            countdown.count(share);
        }
    })
}

/// A channel of numbers between threads; with `results`, each number is handed back in a slot that the producer looks at.
fn floor(side: Side, tasks: u64, results: bool) -> Duration {
    let share = tasks.div_ceil(side.producers);
    let (tx, rx) = crossbeam_channel::bounded::<u64>(LIMIT);
    let (left, end) = (AtomicU64::new(share * side.producers), mpsc::channel());
    let slots: Vec<AtomicU64> = (0..LIMIT).map(|_| AtomicU64::new(0)).collect();
    let (left, slots, ended) = (&left, &slots, &end.0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (rx, ended) = (rx.clone(), ended.clone());
            scope.spawn(move || {
                while let Ok(task) = rx.recv() {
                    if results {
                        slots[task as usize % LIMIT].store(task, Ordering::Release);
                    }
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        let _ = ended.send(());
                    }
                }
            });
        }
        #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
        let start = Instant::now();
        for producer in 0..side.producers {
            let tx = tx.clone();
            scope.spawn(move || {
                let window = LIMIT as u64 / side.producers;
                let slot = |task: u64| producer * window + task % window;
                for task in 0..share {
                    // Numbers above 0 that are the slot's own, modulo the number of slots.
                    let number = |task: u64| slot(task) + (task / window + 1) * LIMIT as u64;
                    if results && task >= window {
                        let before = number(task - window);
                        while slots[slot(task) as usize].load(Ordering::Acquire) != before {
                            std::thread::yield_now();
                        }
                    }
                    tx.send(number(task)).expect("open");
                }
            });
        }
        drop(tx);
        end.1.recv().expect("an end");
        start.elapsed()
    })
}

fn smol(running: &Running) -> Executor {
    match running {
        Running::Smol(smol) => Executor(smol.executor(), Arc::new(async_lock::Semaphore::new(LIMIT))),
        Running::Tokio(..) => unreachable!(),
    }
}

fn tokio_spawn(running: &Running) -> TokioSpawn {
    match running {
        Running::Tokio(runtime, _) => {
            TokioSpawn(runtime.handle().clone(), Arc::new(tokio::sync::Semaphore::new(LIMIT)))
        }
        Running::Smol(_) => unreachable!(),
    }
}

fn without_handle(c: &mut Criterion) {
    for (name, side) in SIDES {
        let mut group = c.benchmark_group(format!("pool/detached/{name}"));
        group.bench_function("floor", |b| b.iter_custom(|n| floor(side, n, false)));
        macro_rules! peer {
            ($name:literal, $runtime:expr, $make:expr) => {
                let running = $runtime.start();
                let peer = $make(&running);
                group.bench_function($name, |b| b.iter_custom(|n| detached(&running, side, n, &peer)));
            };
        }
        peer!("cofferdam", Runtime::TokioMulti, ours);
        peer!("cofferdam-async-executor", Runtime::AsyncExecutor, ours);
        peer!("tokio-spawn-semaphore", Runtime::TokioMulti, tokio_spawn);
        peer!("async-executor-semaphore", Runtime::AsyncExecutor, smol);
        peer!("async-channel", Runtime::TokioMulti, AsyncChannel::start);
        peer!("flume", Runtime::TokioMulti, Flume::start);
        peer!("kanal", Runtime::TokioMulti, Kanal::start);
        peer!("crossfire", Runtime::TokioMulti, Crossfire::start);
    }
}

fn with_handle(c: &mut Criterion) {
    for (name, side) in SIDES {
        let mut group = c.benchmark_group(format!("pool/joined/{name}"));
        group.bench_function("floor", |b| b.iter_custom(|n| floor(side, n, true)));
        macro_rules! peer {
            ($name:literal, $runtime:expr, $make:expr) => {
                let running = $runtime.start();
                let peer = $make(&running);
                group.bench_function($name, |b| b.iter_custom(|n| joined(&running, side, n, &peer)));
            };
        }
        peer!("cofferdam", Runtime::TokioMulti, ours);
        peer!("cofferdam-async-executor", Runtime::AsyncExecutor, ours);
        peer!("tokio-spawn", Runtime::TokioMulti, tokio_spawn);
        peer!("async-executor", Runtime::AsyncExecutor, smol);
        peer!("async-channel-oneshot", Runtime::TokioMulti, AsyncChannel::start);
        peer!("flume-oneshot", Runtime::TokioMulti, Flume::start);
        peer!("kanal-oneshot", Runtime::TokioMulti, Kanal::start);
        peer!("crossfire-oneshot", Runtime::TokioMulti, Crossfire::start);
    }
}

/// From the submission to the start of a task: the middle and the 99th of a hundred, over 500 tasks, one a millisecond.
fn latency(_: &mut Criterion) {
    fn measure(name: &str, put: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>)) {
        let mut taken: Vec<u128> = (0..500)
            .map(|_| {
                #[allow(clippy::disallowed_methods, reason = "a bench waits for the workers to fall asleep")]
                std::thread::sleep(Duration::from_millis(1));
                let (begun, begins) = mpsc::channel();
                #[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
                let submitted = Instant::now();
                put(Box::pin(async move { _ = begun.send(submitted.elapsed()) }));
                begins.recv().map_or(0, |latency| latency.as_nanos())
            })
            .collect();
        taken.sort_unstable();
        let at = |percent: usize| taken[taken.len() * percent / 100] as f64 / 1000.0;
        println!("pool/latency/{name}: p50 {:.1} us, p99 {:.1} us", at(50), at(99));
    }
    // The whole measurement, or a taste of it: criterion's own arguments do not reach this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for _ in 0..2 {
        let running = Runtime::TokioMulti.start();
        let peer = ours(&running);
        measure("cofferdam", |task| drop(peer.0.try_execute(task)));
        let peer = tokio_spawn(&running);
        measure("tokio-spawn", |task| drop(peer.0.spawn(task)));
        let peer = AsyncChannel::start(&running);
        measure("async-channel", |task| drop(peer.0.try_send(Boxed(task))));
        let peer = Flume::start(&running);
        measure("flume", |task| drop(peer.0.try_send(Boxed(task))));
        let peer = Kanal::start(&running);
        measure("kanal", |task| drop(peer.0.try_send(Boxed(task))));
        let peer = Crossfire::start(&running);
        measure("crossfire", |task| drop(peer.0.try_send(Boxed(task))));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = without_handle, with_handle, latency
}
criterion_main!(benches);
