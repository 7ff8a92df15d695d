//! Workers on threads of their own, without an executor.

#![forbid(unsafe_code)]

use super::{PoolBuilder, WorkerPool, Workers};
use crate::task::block_on;
use std::fmt;
use std::io;
use std::thread::{Builder, JoinHandle};

/// The threads on which the workers of a pool run; see [`Workers::spawn_threads`].
///
/// They end when the pool has: after its last handle is dropped, or it was closed, and what is queued has run. Dropping this
/// does not wait for that.
#[must_use = "dropping it leaves the threads to themselves; `join` waits for them"]
pub struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Blocks until all have ended. The pool must be closed for that, or its handles be gone.
    pub fn join(self) {
        for thread in self.0 {
            // A worker contains the panics of its tasks, and has none of its own.
            let _ = thread.join();
        }
    }
}

impl Workers {
    /// Starts a thread for each worker, for work that blocks or computes: no executor is needed. The threads are named after
    /// the pool, with a number. A task that waits for another one's result keeps its thread; where all threads do, none is left
    /// to make that result.
    ///
    /// # Errors
    /// The system refuses a thread. The workers that have got one go on, the others are gone.
    pub fn spawn_threads(self) -> io::Result<Threads> {
        let mut threads = Vec::with_capacity(self.len());
        for (index, worker) in self.enumerate() {
            // The system's names end at a zero, and the library's panic at one.
            let name = worker.pool_name().replace('\0', "");
            let thread = Builder::new().name(format!("{name}-{index}"));
            threads.push(thread.spawn(move || block_on(worker))?);
        }
        Ok(Threads(threads))
    }
}

impl PoolBuilder {
    /// [`build`](Self::build), with each worker on a thread of its own.
    ///
    /// # Errors
    /// As `build` (of the kind [`InvalidInput`](io::ErrorKind::InvalidInput), with the [`ConfigError`](crate::ConfigError) in
    /// it), and as [`Workers::spawn_threads`]; then the threads that were started end.
    pub fn start_threads(self) -> io::Result<(WorkerPool, Threads)> {
        let (pool, workers) =
            self.build().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok((pool, workers.spawn_threads()?))
    }
}

impl WorkerPool {
    /// A pool of so many threads (0 for the parallelism of the machine) that needs no executor, with twice as many places in
    /// its queue. See [`PoolBuilder::start_threads`] for more settings, and for the threads.
    ///
    /// ```
    /// use cofferdam::pool::WorkerPool;
    ///
    /// let pool = WorkerPool::threads(2)?;
    /// let squares: Vec<_> = (1..=3).map(|n| pool.submit(async move { n * n }).wait().unwrap()).collect();
    /// let sum: u32 = squares.into_iter().map(|square| square.wait().unwrap()).sum();
    /// assert_eq!(sum, 14);
    /// assert!(pool.drain().wait().is_clean());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `start_threads`.
    pub fn threads(threads: usize) -> io::Result<Self> {
        Self::builder().workers(threads).start_threads().map(|(pool, _threads)| pool)
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.0.len()).finish()
    }
}
