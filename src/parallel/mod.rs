//! L5. Slices on several threads: map, filter, for each, in place or not, the order kept.
//!
//! Blocking, for work that keeps processors busy; it needs no executor, and keeps no threads: they are started for a call
//! and have ended when it returns.

#![forbid(unsafe_code)]

mod crew;
mod error;

pub use error::TryMapError;

use crate::panics::{Payload, forget};
use crate::shim::{AtomicUsize, Ordering};
use crew::Crew;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// How slices are worked on by several threads.
///
/// ```
/// use cofferdam::parallel::Parallel;
///
/// let parallel = Parallel::new().workers(2).threshold(100);
/// let numbers: Vec<u64> = (0..1000).collect();
/// let squares = parallel.map(&numbers, |number| number * number);
/// assert_eq!(squares[31], 961);
/// assert_eq!(parallel.filter(&numbers, |number| *number % 250 == 0), [&0, &250, &500, &750]);
///
/// let mut numbers = numbers;
/// parallel.for_each(&mut numbers, |number| *number += 1);
/// assert_eq!(numbers[999], 1000);
/// ```
///
/// # How it runs
/// The slice is cut into [chunks](Self::chunk), which the threads claim one after the other: a thread that has a slow one claims fewer. The
/// calling thread is one of the workers. A slice shorter than the [threshold](Self::threshold) is worked on by it alone, as starting
/// a thread costs as much as some ten thousand simple steps.
///
/// Results are in the order of the slice, whichever thread made them.
///
/// # Panics
/// A panic of the function goes on in the caller, once all threads have stopped: each at the end of its chunk at the latest. If
/// there are several, with the first of them in the order of the threads.
///
/// # When to use something else
/// This starts threads for each call. A program that does this thousands of times in a second, or whose work splits
/// recursively, is better served by `rayon`, which keeps its threads and lets them steal. Not for async code: it blocks its
/// thread; there, [`par_map`](crate::group::par_map).
#[derive(Clone, Copy, Debug)]
pub struct Parallel {
    workers: usize,
    threshold: usize,
    chunk: Option<usize>,
}

impl Parallel {
    /// As many workers as the machine has processors, a threshold of 1,000, chunks by the number of workers.
    pub fn new() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { workers, threshold: 1000, chunk: None }
    }

    /// How many threads work, the calling one included. Zero is one.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// The least length of a slice for which threads are started. For work that takes long, a small one. Default: 1,000.
    #[must_use]
    pub fn threshold(mut self, items: usize) -> Self {
        self.threshold = items;
        self
    }

    /// How many items a thread claims at once. Zero is one. Default: an eighth of a worker's share, so that a slow chunk holds the
    /// others up by little.
    #[must_use]
    pub fn chunk(mut self, items: usize) -> Self {
        self.chunk = Some(items.max(1));
        self
    }

    /// What `f` makes of each item, in their order. For a function that can fail, all outcomes; to stop at the first failure,
    /// [`try_map`](Self::try_map).
    pub fn map<T, R, F>(&self, items: &[T], f: F) -> Vec<R>
    where
        T: Sync,
        R: Send,
        F: Fn(&T) -> R + Sync,
    {
        let mut results = Vec::with_capacity(items.len());
        let make = |_, chunk: &[T]| chunk.iter().map(&f).collect::<Vec<_>>();
        self.crew(items.len())
            .run(items.chunks(self.claim(items.len())), make, |chunk| results.extend(chunk));
        results
    }

    /// The items for which `f` is true, in their order.
    pub fn filter<'a, T, F>(&self, items: &'a [T], f: F) -> Vec<&'a T>
    where
        T: Sync,
        F: Fn(&T) -> bool + Sync,
    {
        let mut results = Vec::new();
        let make = |_, chunk: &'a [T]| chunk.iter().filter(|item| f(item)).collect::<Vec<_>>();
        self.crew(items.len())
            .run(items.chunks(self.claim(items.len())), make, |chunk| results.extend(chunk));
        results
    }

    /// Does `f` to each item, in place.
    pub fn for_each<T, F>(&self, items: &mut [T], f: F)
    where
        T: Send,
        F: Fn(&mut T) + Sync,
    {
        let claim = self.claim(items.len());
        self.crew(items.len()).run(
            items.chunks_mut(claim),
            |_, chunk: &mut [T]| chunk.iter_mut().for_each(&f),
            |()| (),
        );
    }

    /// What `f` makes of each item, in their order, or the first failure in that order: the same that a loop would stop at,
    /// whatever the threads do. What stands behind it is left as soon as it is seen; a panic there is not.
    ///
    /// # Errors
    /// `f` failed for an item, and for none before it.
    pub fn try_map<T, R, E, F>(&self, items: &[T], f: F) -> Result<Vec<R>, TryMapError<E>>
    where
        T: Sync,
        R: Send,
        E: Send,
        F: Fn(&T) -> Result<R, E> + Sync,
    {
        let claim = self.claim(items.len());
        // The first chunk in which an item has failed. Those before it were claimed before it, and go on.
        let failed = AtomicUsize::new(usize::MAX);
        let make = |number: usize, chunk: &[T]| {
            let mut results = Vec::with_capacity(chunk.len());
            let stopped = catch_unwind(AssertUnwindSafe(|| {
                for item in chunk {
                    // Relaxed: it saves work, and nothing follows from it.
                    if failed.load(Ordering::Relaxed) < number {
                        break;
                    }
                    match f(item) {
                        Ok(result) => results.push(result),
                        Err(error) => return Some(error),
                    }
                }
                None
            }));
            let index = number * claim + results.len();
            let stop = match stopped {
                Ok(None) => return Ok(results),
                Ok(Some(error)) => Stop::Failed(TryMapError { index, error }),
                Err(payload) => Stop::Panicked(payload),
            };
            failed.fetch_min(number, Ordering::Relaxed);
            Err(stop)
        };
        let mut all = Ok(Vec::with_capacity(items.len()));
        self.crew(items.len()).run(items.chunks(claim), make, |chunk| match chunk {
            Ok(chunk) => {
                if let Ok(results) = &mut all {
                    results.extend(chunk);
                }
            }
            Err(stop) if all.is_ok() => all = Err(stop),
            Err(Stop::Panicked(payload)) => forget(payload),
            Err(Stop::Failed(_)) => {}
        });
        all.map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Panicked(payload) => resume_unwind(payload),
        })
    }

    /// What `f` makes of each `size` items in a row, in their order; the last chunk may be shorter. Zero is one.
    pub fn map_chunks<T, R, F>(&self, items: &[T], size: usize, f: F) -> Vec<R>
    where
        T: Sync,
        R: Send,
        F: Fn(&[T]) -> R + Sync,
    {
        let mut results = Vec::new();
        self.crew(items.len()).run(
            items.chunks(size.max(1)),
            |_, chunk: &[T]| f(chunk),
            |result| results.push(result),
        );
        results
    }

    /// Does `f` to each `size` items in a row, in place; the last chunk may be shorter. Zero is one.
    pub fn for_each_chunk<T, F>(&self, items: &mut [T], size: usize, f: F)
    where
        T: Send,
        F: Fn(&mut [T]) + Sync,
    {
        self.crew(items.len()).run(items.chunks_mut(size.max(1)), |_, chunk: &mut [T]| f(chunk), |()| ());
    }

    /// The threads for so many items.
    fn crew(&self, items: usize) -> Crew {
        Crew::new(if items < self.threshold { 1 } else { self.workers })
    }

    /// How many items are claimed at once.
    fn claim(&self, items: usize) -> usize {
        self.chunk.unwrap_or_else(|| (items / self.workers.saturating_mul(8)).max(1))
    }
}

/// Why a fallible map stops.
enum Stop<E> {
    Failed(TryMapError<E>),
    Panicked(Payload),
}

impl Default for Parallel {
    fn default() -> Self {
        Self::new()
    }
}
