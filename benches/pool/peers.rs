//! The pools: ours, those that are made of an executor and a semaphore, and worker loops over somebody's channel.

use crate::timing::{BATCH, LIMIT};
use cofferdam::pool::WorkerPool;
use cofferdam::task::BoxTask;
use cofferdam_benches::Running;
use std::future::Future;
use std::sync::Arc;

/// Takes tasks that nobody waits for.
pub(crate) trait Detach: Clone + Send + 'static {
    fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) -> impl Future<Output = ()> + Send;
}

/// Takes tasks whose results are awaited.
pub(crate) trait Join: Clone + Send + 'static {
    type Handle: Future + Send + Unpin;
    fn put<F: Future<Output = u64> + Send + 'static>(
        &self,
        task: F,
    ) -> impl Future<Output = Self::Handle> + Send;
}

/// As [`Detach`], several at a time.
pub(crate) trait DetachAll: Clone + Send + 'static {
    fn put_all<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: impl ExactSizeIterator<Item = F> + Send,
    ) -> impl Future<Output = ()> + Send;
}

/// As [`Join`], several at a time.
pub(crate) trait JoinAll: Clone + Send + 'static {
    type Handle: Future + Send + Unpin;
    fn put_all<F: Future<Output = u64> + Send + 'static>(
        &self,
        tasks: impl ExactSizeIterator<Item = F> + Send,
    ) -> impl Future<Output = Vec<Self::Handle>> + Send;
}

#[derive(Clone)]
pub(crate) struct Ours(pub(crate) WorkerPool);

pub(crate) fn ours(running: &Running) -> Ours {
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

impl DetachAll for Ours {
    async fn put_all<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: impl ExactSizeIterator<Item = F> + Send,
    ) {
        assert!(self.0.execute_all(tasks).await.is_ok());
    }
}

impl JoinAll for Ours {
    type Handle = cofferdam::pool::JoinHandle<u64>;
    async fn put_all<F: Future<Output = u64> + Send + 'static>(
        &self,
        tasks: impl ExactSizeIterator<Item = F> + Send,
    ) -> Vec<Self::Handle> {
        let submitted = self.0.submit_all(tasks).await;
        submitted.unwrap_or_else(|_| unreachable!("it is open"))
    }
}

/// tokio's tasks; as many at a time as the semaphore has permits, where nobody waits for them.
#[derive(Clone)]
pub(crate) struct TokioSpawn(pub(crate) tokio::runtime::Handle, Arc<tokio::sync::Semaphore>);

pub(crate) fn tokio_spawn(running: &Running) -> TokioSpawn {
    match running {
        Running::Tokio(runtime, _) => {
            TokioSpawn(runtime.handle().clone(), Arc::new(tokio::sync::Semaphore::new(LIMIT)))
        }
        Running::Smol(_) => unreachable!(),
    }
}

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

impl DetachAll for TokioSpawn {
    async fn put_all<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: impl ExactSizeIterator<Item = F> + Send,
    ) {
        let count = tasks.len() as u32;
        let mut permits = Arc::clone(&self.1).acquire_many_owned(count).await.expect("open");
        for task in tasks {
            let permit = permits.split(1);
            self.0.spawn(async move {
                task.await;
                drop(permit);
            });
        }
    }
}

impl JoinAll for TokioSpawn {
    type Handle = tokio::task::JoinHandle<u64>;
    async fn put_all<F: Future<Output = u64> + Send + 'static>(
        &self,
        tasks: impl ExactSizeIterator<Item = F> + Send,
    ) -> Vec<Self::Handle> {
        tasks.map(|task| self.0.spawn(task)).collect()
    }
}

#[derive(Clone)]
pub(crate) struct Executor(Arc<async_executor::Executor<'static>>, Arc<async_lock::Semaphore>);

pub(crate) fn smol(running: &Running) -> Executor {
    match running {
        Running::Smol(smol) => Executor(smol.executor(), Arc::new(async_lock::Semaphore::new(LIMIT))),
        Running::Tokio(..) => unreachable!(),
    }
}

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
pub(crate) struct Boxed(pub(crate) BoxTask);

impl Boxed {
    fn new(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(task))
    }

    /// With its result by tokio's oneshot.
    fn joined<F>(task: F) -> (Self, tokio::sync::oneshot::Receiver<u64>)
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let (result, handle) = tokio::sync::oneshot::channel();
        (Self::new(async move { assert!(result.send(task.await).is_ok()) }), handle)
    }

    async fn run(self) {
        self.0.await;
    }
}

/// Several tasks in one message, which one worker runs.
pub(crate) struct Batch(Vec<Boxed>);

impl Batch {
    async fn run(self) {
        for Boxed(task) in self.0 {
            task.await;
        }
    }
}

/// Two worker loops over somebody's channel of messages.
macro_rules! loops {
    ($name:ident, $message:ty, $tx:ty, $make:expr, $recv:ident) => {
        #[derive(Clone)]
        pub(crate) struct $name(pub(crate) $tx);

        impl $name {
            pub(crate) fn start(running: &Running) -> Self {
                let (tx, rx) = $make;
                for _ in 0..2 {
                    let rx = rx.clone();
                    running.spawn(async move {
                        while let Ok(message) = rx.$recv().await {
                            let message: $message = message;
                            message.run().await;
                        }
                    });
                }
                Self(tx)
            }
        }
    };
}

/// Boxed futures through a channel.
macro_rules! one_by_one {
    ($name:ident, $send:ident) => {
        impl Detach for $name {
            async fn put<F: Future<Output = ()> + Send + 'static>(&self, task: F) {
                let _ = self.0.$send(Boxed::new(task)).await;
            }
        }

        impl Join for $name {
            type Handle = tokio::sync::oneshot::Receiver<u64>;
            async fn put<F: Future<Output = u64> + Send + 'static>(&self, task: F) -> Self::Handle {
                let (task, handle) = Boxed::joined(task);
                let _ = self.0.$send(task).await;
                handle
            }
        }
    };
}

/// Vectors of boxed futures through a channel.
macro_rules! in_batches {
    ($name:ident, $send:ident) => {
        impl DetachAll for $name {
            async fn put_all<F: Future<Output = ()> + Send + 'static>(
                &self,
                tasks: impl ExactSizeIterator<Item = F> + Send,
            ) {
                let _ = self.0.$send(Batch(tasks.map(Boxed::new).collect())).await;
            }
        }

        impl JoinAll for $name {
            type Handle = tokio::sync::oneshot::Receiver<u64>;
            async fn put_all<F: Future<Output = u64> + Send + 'static>(
                &self,
                tasks: impl ExactSizeIterator<Item = F> + Send,
            ) -> Vec<Self::Handle> {
                let (tasks, handles) = tasks.map(Boxed::joined).unzip();
                let _ = self.0.$send(Batch(tasks)).await;
                handles
            }
        }
    };
}

type CrossfireTx<T> = crossfire::MAsyncTx<crossfire::mpmc::Array<T>>;
/// As many tasks as in the other channels.
const BATCHES: usize = LIMIT / BATCH;

loops!(AsyncChannel, Boxed, async_channel::Sender<Boxed>, async_channel::bounded(LIMIT), recv);
loops!(AsyncChannelOfBatches, Batch, async_channel::Sender<Batch>, async_channel::bounded(BATCHES), recv);
loops!(Flume, Boxed, flume::Sender<Boxed>, flume::bounded(LIMIT), recv_async);
loops!(FlumeOfBatches, Batch, flume::Sender<Batch>, flume::bounded(BATCHES), recv_async);
loops!(Kanal, Boxed, kanal::AsyncSender<Boxed>, kanal::bounded_async(LIMIT), recv);
loops!(KanalOfBatches, Batch, kanal::AsyncSender<Batch>, kanal::bounded_async(BATCHES), recv);
loops!(Crossfire, Boxed, CrossfireTx<Boxed>, crossfire::mpmc::bounded_async(LIMIT), recv);
loops!(CrossfireOfBatches, Batch, CrossfireTx<Batch>, crossfire::mpmc::bounded_async(BATCHES), recv);

one_by_one!(AsyncChannel, send);
one_by_one!(Flume, send_async);
one_by_one!(Kanal, send);
one_by_one!(Crossfire, send);
in_batches!(AsyncChannelOfBatches, send);
in_batches!(FlumeOfBatches, send_async);
in_batches!(KanalOfBatches, send);
in_batches!(CrossfireOfBatches, send);
