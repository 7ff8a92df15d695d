//! Channels: a raw floor, ours, and the peers, on the workloads of one run. Capacity 128, `u64` values, ns per value.
//!
//! * `try`: one thread, `try_send` and `try_recv` in turn.
//! * `ready`: the same with `send` and `recv`, always ready.
//! * `hop`: one thread sends, one receives, each in `block_on`.
//! * `pipeline`: a source, three stages and a sink, each a task, one channel between two: four hops.
//! * `fan`: four senders and four receivers, each a task, on one channel.
//! * `oneshot`: make, send, receive.
//!
//! kanal is left out of the judgement wherever it leads: a receive that is cancelled there loses its value.

use cofferdam_benches::Runtime;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use futures_executor::block_on;
use std::collections::VecDeque;
use std::future::Future;
use std::hint::{black_box, spin_loop};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const CAPACITY: usize = 128;

/// A channel under test.
trait Peer: 'static {
    type Tx: Send + 'static;
    type Rx: Send + 'static;
    fn channel() -> (Self::Tx, Self::Rx);
    fn send(tx: &mut Self::Tx, value: u64) -> impl Future<Output = ()> + Send;
    /// `None` at the end.
    fn recv(rx: &mut Self::Rx) -> impl Future<Output = Option<u64>> + Send;
    fn try_send(tx: &mut Self::Tx, value: u64);
    fn try_recv(rx: &mut Self::Rx) -> u64;
}

macro_rules! peer {
    ($name:ident, $tx:ty, $rx:ty, $make:expr, $send:ident, $recv:ident, $try:expr) => {
        struct $name;
        impl Peer for $name {
            type Tx = $tx;
            type Rx = $rx;
            fn channel() -> ($tx, $rx) {
                $make
            }
            async fn send(tx: &mut $tx, value: u64) {
                let _ = tx.$send(value).await;
            }
            #[allow(clippy::useless_conversion, reason = "some give an option, some a result")]
            async fn recv(rx: &mut $rx) -> Option<u64> {
                rx.$recv().await.into_iter().next()
            }
            fn try_send(tx: &mut $tx, value: u64) {
                let _ = tx.try_send(value);
            }
            fn try_recv(rx: &mut $rx) -> u64 {
                let received: Option<u64> = $try(rx.try_recv());
                received.expect("a value")
            }
        }
    };
}

fn ok<E>(result: Result<u64, E>) -> Option<u64> {
    result.ok()
}

peer!(
    Ours,
    cofferdam::sync::Sender<u64>,
    cofferdam::sync::Receiver<u64>,
    cofferdam::sync::channel(CAPACITY).expect("a capacity"),
    send,
    recv,
    ok
);
peer!(
    Tokio,
    tokio::sync::mpsc::Sender<u64>,
    tokio::sync::mpsc::Receiver<u64>,
    tokio::sync::mpsc::channel(CAPACITY),
    send,
    recv,
    ok
);
peer!(
    AsyncChannel,
    async_channel::Sender<u64>,
    async_channel::Receiver<u64>,
    async_channel::bounded(CAPACITY),
    send,
    recv,
    ok
);
peer!(Flume, flume::Sender<u64>, flume::Receiver<u64>, flume::bounded(CAPACITY), send_async, recv_async, ok);
peer!(
    Kanal,
    kanal::AsyncSender<u64>,
    kanal::AsyncReceiver<u64>,
    kanal::bounded_async(CAPACITY),
    send,
    recv,
    |received: Result<Option<u64>, _>| received.ok().flatten()
);
peer!(
    CrossfireMpsc,
    crossfire::MAsyncTx<crossfire::mpsc::Array<u64>>,
    crossfire::AsyncRx<crossfire::mpsc::Array<u64>>,
    crossfire::mpsc::bounded_async(CAPACITY),
    send,
    recv,
    ok
);
peer!(
    CrossfireMpmc,
    crossfire::MAsyncTx<crossfire::mpmc::Array<u64>>,
    crossfire::MAsyncRx<crossfire::mpmc::Array<u64>>,
    crossfire::mpmc::bounded_async(CAPACITY),
    send,
    recv,
    ok
);

fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

/// Calls `$bench` for every channel.
macro_rules! for_all {
    ($group:expr, $bench:ident $(, $argument:expr)*) => {
        $bench::<Ours>($group, "cofferdam" $(, $argument)*);
        $bench::<Tokio>($group, "tokio" $(, $argument)*);
        $bench::<AsyncChannel>($group, "async-channel" $(, $argument)*);
        $bench::<Flume>($group, "flume" $(, $argument)*);
        $bench::<Kanal>($group, "kanal" $(, $argument)*);
        $bench::<CrossfireMpsc>($group, "crossfire-mpsc" $(, $argument)*);
        $bench::<CrossfireMpmc>($group, "crossfire-mpmc" $(, $argument)*);
    };
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn one_try<P: Peer>(group: &mut Group<'_>, name: &str) {
    let (mut tx, mut rx) = P::channel();
    group.bench_function(name, |b| {
        b.iter(|| {
            P::try_send(&mut tx, black_box(1));
            black_box(P::try_recv(&mut rx))
        })
    });
}

fn one_ready<P: Peer>(group: &mut Group<'_>, name: &str) {
    let (mut tx, mut rx) = P::channel();
    group.bench_function(name, |b| {
        b.iter(|| {
            ready(P::send(&mut tx, black_box(1)));
            black_box(ready(P::recv(&mut rx)))
        })
    });
}

#[allow(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Times `receive` on this thread against `send` on another.
fn between_threads(send: impl FnOnce() + Send, receive: impl FnOnce()) -> Duration {
    let barrier = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            send();
        });
        barrier.wait();
        let start = now();
        receive();
        start.elapsed()
    })
}

fn one_hop<P: Peer>(group: &mut Group<'_>, name: &str) {
    group.bench_function(name, |b| {
        b.iter_custom(|iters| {
            let (mut tx, mut rx) = P::channel();
            between_threads(
                move || {
                    block_on(async {
                        for value in 0..iters {
                            P::send(&mut tx, value).await;
                        }
                    })
                },
                move || {
                    block_on(async {
                        for value in 0..iters {
                            assert_eq!(P::recv(&mut rx).await, Some(value));
                        }
                    })
                },
            )
        })
    });
}

fn four_hops<P: Peer>(group: &mut Group<'_>, name: &str, runtime: Runtime) {
    let running = runtime.start();
    group.bench_function(name, |b| {
        b.iter_custom(|iters| {
            let mut txs = Vec::new();
            let mut rxs = Vec::new();
            for _ in 0..4 {
                let (tx, rx) = P::channel();
                txs.push(Some(tx));
                rxs.push(Some(rx));
            }
            let (txs, rxs) = (Mutex::new(txs), Mutex::new(rxs));
            running.time(5, |stage| {
                let mut tx = txs.lock().expect("not poisoned").get_mut(stage).and_then(Option::take);
                let from = stage.wrapping_sub(1);
                let mut rx = rxs.lock().expect("not poisoned").get_mut(from).and_then(Option::take);
                async move {
                    match (&mut tx, &mut rx) {
                        (Some(tx), None) => {
                            for value in 0..iters {
                                P::send(tx, value).await;
                            }
                        }
                        (Some(tx), Some(rx)) => {
                            while let Some(value) = P::recv(rx).await {
                                P::send(tx, value).await;
                            }
                        }
                        (None, Some(rx)) => {
                            for value in 0..iters {
                                assert_eq!(P::recv(rx).await, Some(value));
                            }
                        }
                        (None, None) => {}
                    }
                }
            })
        })
    });
}

fn try_send_recv(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel/try");
    let counts = (AtomicUsize::new(0), AtomicUsize::new(0));
    group.bench_function("floor", |b| {
        // Two compare-and-swaps: what a queue for many producers and many consumers costs at least.
        b.iter(|| {
            for count in [&counts.0, &counts.1] {
                let seen = count.load(Ordering::Relaxed);
                let _ = count.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed);
            }
        })
    });
    let (tx, rx) = crossbeam_channel::bounded(CAPACITY);
    group.bench_function("crossbeam-sync", |b| {
        b.iter(|| {
            let _ = tx.try_send(black_box(1_u64));
            black_box(rx.try_recv())
        })
    });
    for_all!(&mut group, one_try);
}

fn ready_send_recv(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel/ready");
    for_all!(&mut group, one_ready);
}

/// A ring for one producer and one consumer that spin.
struct Spinning {
    cells: Vec<AtomicUsize>,
    head: crossbeam_utils::CachePadded<AtomicUsize>,
    tail: crossbeam_utils::CachePadded<AtomicUsize>,
}

fn hop(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel/hop");
    group.sample_size(20);
    group.bench_function("floor", |b| {
        b.iter_custom(|iters| {
            let ring = Spinning {
                cells: (0..CAPACITY).map(|_| AtomicUsize::new(0)).collect(),
                head: AtomicUsize::new(0).into(),
                tail: AtomicUsize::new(0).into(),
            };
            let send = || {
                for n in 0..iters as usize {
                    while n - ring.head.load(Ordering::Acquire) == CAPACITY {
                        spin_loop();
                    }
                    ring.cells[n % CAPACITY].store(n, Ordering::Relaxed);
                    ring.tail.store(n + 1, Ordering::Release);
                }
            };
            let receive = || {
                for n in 0..iters as usize {
                    while ring.tail.load(Ordering::Acquire) == n {
                        spin_loop();
                    }
                    assert_eq!(ring.cells[n % CAPACITY].load(Ordering::Relaxed), n);
                    ring.head.store(n + 1, Ordering::Release);
                }
            };
            between_threads(send, receive)
        })
    });
    group.bench_function("crossbeam-sync", |b| {
        b.iter_custom(|iters| {
            let (tx, rx) = crossbeam_channel::bounded(CAPACITY);
            between_threads(
                move || (0..iters).for_each(|value| tx.send(value).expect("open")),
                move || assert!(rx.iter().eq(0..iters)),
            )
        })
    });
    for_all!(&mut group, one_hop);
}

fn pipeline(c: &mut Criterion) {
    for runtime in Runtime::ALL {
        let mut group = c.benchmark_group(format!("channel/pipeline/{}", runtime.name()));
        group.sample_size(20);
        batches(&mut group, runtime);
        for_all!(&mut group, four_hops, runtime);
    }
}

/// The floor of a pipeline: the same stages over unbounded queues, handed over by 64 at once under a mutex.
fn batches(group: &mut Group<'_>, runtime: Runtime) {
    struct Queue {
        batches: Mutex<(VecDeque<Vec<u64>>, Option<Waker>)>,
    }
    impl Queue {
        fn push(&self, batch: Vec<u64>) {
            let mut queue = self.batches.lock().expect("not poisoned");
            queue.0.push_back(batch);
            let waker = queue.1.take();
            drop(queue);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        async fn pop(&self) -> Vec<u64> {
            std::future::poll_fn(|cx| {
                let mut queue = self.batches.lock().expect("not poisoned");
                match queue.0.pop_front() {
                    Some(batch) => Poll::Ready(batch),
                    None => {
                        queue.1 = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await
        }
    }
    let running = runtime.start();
    group.bench_function("floor", |b| {
        b.iter_custom(|iters| {
            let iters = iters.next_multiple_of(64);
            let queues: Arc<Vec<_>> =
                Arc::new((0..4).map(|_| Queue { batches: Mutex::new((VecDeque::new(), None)) }).collect());
            running.time(5, |stage| {
                let queues = Arc::clone(&queues);
                async move {
                    let mut passed = 0;
                    while passed < iters {
                        let batch = match stage.checked_sub(1) {
                            None => (passed..passed + 64).collect(),
                            Some(from) => queues[from].pop().await,
                        };
                        passed += batch.len() as u64;
                        match queues.get(stage) {
                            Some(to) => to.push(batch),
                            None => assert_eq!(batch.last(), Some(&(passed - 1))),
                        }
                    }
                }
            })
        })
    });
}

/// Four senders and four receivers on one channel, for the channels that can.
fn fan(c: &mut Criterion) {
    macro_rules! shared {
        ($group:expr, $running:expr, $name:literal, $make:expr, $send:ident, $recv:ident) => {
            $group.bench_function($name, |b| {
                b.iter_custom(|iters| {
                    let (tx, rx) = $make;
                    let ends: Vec<_> =
                        (0..8).map(|n| (n < 4).then(|| tx.clone()).ok_or_else(|| rx.clone())).collect();
                    drop((tx, rx));
                    let ends = Mutex::new(ends);
                    let share = iters.div_ceil(4);
                    $running.time(8, |_| {
                        let end = ends.lock().expect("not poisoned").pop();
                        async move {
                            match end {
                                Some(Ok(tx)) => {
                                    for value in 0..share {
                                        let _ = tx.$send(value).await;
                                    }
                                }
                                Some(Err(rx)) => while rx.$recv().await.is_ok() {},
                                None => {}
                            }
                        }
                    })
                })
            });
        };
    }
    for runtime in Runtime::ALL {
        let running = runtime.start();
        let mut group = c.benchmark_group(format!("channel/fan/{}", runtime.name()));
        group.sample_size(20);
        let ours = || cofferdam::sync::channel::<u64>(CAPACITY).expect("a capacity");
        shared!(group, running, "cofferdam", ours(), send, recv);
        shared!(group, running, "async-channel", async_channel::bounded::<u64>(CAPACITY), send, recv);
        shared!(group, running, "flume", flume::bounded::<u64>(CAPACITY), send_async, recv_async);
        shared!(group, running, "kanal", kanal::bounded_async::<u64>(CAPACITY), send, recv);
        let crossfire = || crossfire::mpmc::bounded_async::<u64>(CAPACITY);
        shared!(group, running, "crossfire-mpmc", crossfire(), send, recv);
    }
}

fn oneshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("channel/oneshot");
    group.bench_function("floor", |b| b.iter(|| black_box(Arc::new(AtomicUsize::new(black_box(1))))));
    group.bench_function("cofferdam", |b| {
        b.iter(|| {
            let (tx, rx) = cofferdam::sync::oneshot::channel();
            let _ = tx.send(black_box(1_u64));
            black_box(ready(rx).ok())
        })
    });
    group.bench_function("tokio", |b| {
        b.iter(|| {
            let (tx, rx) = tokio::sync::oneshot::channel();
            let _ = tx.send(black_box(1_u64));
            black_box(ready(rx).ok())
        })
    });
    group.finish();
    let mut group = c.benchmark_group("channel/oneshot_waiting");
    macro_rules! waiting {
        ($name:literal, $make:expr) => {
            group.bench_function($name, |b| {
                b.iter(|| {
                    let (tx, rx) = $make;
                    let mut rx = pin!(rx);
                    let cx = &mut Context::from_waker(Waker::noop());
                    assert!(rx.as_mut().poll(cx).is_pending());
                    let _ = tx.send(black_box(1_u64));
                    black_box(rx.as_mut().poll(cx).is_ready())
                })
            });
        };
    }
    waiting!("cofferdam", cofferdam::sync::oneshot::channel());
    waiting!("tokio", tokio::sync::oneshot::channel());
}

criterion_group!(benches, try_send_recv, ready_send_recv, hop, pipeline, fan, oneshot);
criterion_main!(benches);
