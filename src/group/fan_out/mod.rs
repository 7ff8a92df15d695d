//! The same work for each of many items, by workers.

mod streams;
mod work;
mod worker;

pub use streams::{ParOrdered, ParUnordered};
pub use work::{Always, Fallible, Plain, Work};
pub use worker::Progress;

use super::home::Home;
#[cfg(feature = "pool")]
use crate::pool::WorkerPool;
use crate::sync::Context as WorkContext;
use crate::task::{ItemError, Items, Spawn};
use crate::time::Clock;
use futures_core::Stream;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// The most that can be in hand besides what is worked on.
const MOST_AHEAD: usize = 1_000_000;

/// The same where outcomes are taken to be counted: so many that whoever counts need not be woken for each.
const AHEAD_OF_NOBODY: usize = 1024;

/// Does `work` for each item by several workers; see [`FanOut`].
///
/// ```
/// use cofferdam::group::par_map;
/// use cofferdam::task::BoxTask;
///
/// # smol::block_on(async {
/// let squares = par_map(1..=100_u64, |number| async move { number * number })
///     .width(4)
///     .on(|task: BoxTask| smol::spawn(task).detach())
///     .collect()
///     .await;
/// assert_eq!(squares.into_iter().map(Result::unwrap).sum::<u64>(), 338_350);
/// # });
/// ```
pub fn par_map<I, F, Fut>(items: I, work: F) -> FanOut<Items<I::IntoIter>, Plain<F>>
where
    I: IntoIterator,
    F: Fn(I::Item) -> Fut,
    Fut: Future,
{
    FanOut::new(Items::new(items.into_iter()), Plain(work))
}

/// As [`par_map`], for items that come as a stream. It is asked for an item only when a worker is free.
pub fn par_map_stream<S, F, Fut>(items: S, work: F) -> FanOut<S, Plain<F>>
where
    S: Stream,
    F: Fn(S::Item) -> Fut,
    Fut: Future,
{
    FanOut::new(items, Plain(work))
}

/// As [`par_map`], for work that can fail.
pub fn try_par_map<I, F, Fut, T, E>(items: I, work: F) -> FanOut<Items<I::IntoIter>, Fallible<F>>
where
    I: IntoIterator,
    F: Fn(I::Item) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    FanOut::new(Items::new(items.into_iter()), Fallible(work))
}

/// As [`try_par_map`], for items that come as a stream.
pub fn try_par_map_stream<S, F, Fut, T, E>(items: S, work: F) -> FanOut<S, Fallible<F>>
where
    S: Stream,
    F: Fn(S::Item) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    FanOut::new(items, Fallible(work))
}

/// Does `work` for each item, for its effect; the items that gave no result, and how many did.
///
/// ```
/// use cofferdam::group::par_for_each;
/// use cofferdam::task::BoxTask;
///
/// # smol::block_on(async {
/// let report = par_for_each(0..100, |number| async move { assert_ne!(number, 7) })
///     .on(|task: BoxTask| smol::spawn(task).detach())
///     .finish()
///     .await;
/// assert_eq!((report.progress.done, report.failures.len()), (99, 1));
/// assert!(report.failures[0].0 == 7 && report.failures[0].1.is_panic());
/// # });
/// ```
pub fn par_for_each<I, F, Fut>(items: I, work: F) -> FanOut<Items<I::IntoIter>, Plain<F>>
where
    I: IntoIterator,
    F: Fn(I::Item) -> Fut,
    Fut: Future<Output = ()>,
{
    par_map(items, work)
}

/// The same work for each of many items, by a number of workers that are spawned.
///
/// It is set up by its methods, given an executor by [`on`](Self::on) or a pool by [`on_pool`](Self::on_pool), and then made into
/// [`ordered`](FanOut::ordered) or [`unordered`](FanOut::unordered) outcomes, all at once or as a stream.
///
/// # How it runs
/// So many workers as its [width](Self::width) are spawned, at once. Each draws an item, works on it, leaves the outcome, and draws the
/// next: there is one task for each worker, not one for each item, and an item allocates nothing of ours.
/// They go on **while nobody polls** for outcomes, until so many items are [in hand](Self::ahead): that is the bound of its
/// memory, however long the input is.
///
/// Every item that was drawn has exactly one outcome: a result or an [`ItemError`].
///
/// # The end
/// It ends early by its [`time_limit`](Self::time_limit), by the first failure if it is to [`fail_fast`](Self::fail_fast), and with the
/// [`Context`](crate::sync::Context) in which it was started. What is finished is kept, items at work are dropped and reported as
/// interrupted, and what is left of the input is drawn and given back as not run; of a stream, what it has without waiting.
/// Dropping the outcomes ends the workers: each is dropped when it would be polled next.
///
/// # Panics
/// A panic of the work is the item's outcome. A panic of the input goes on in whoever polls for outcomes.
///
/// # On a pool
/// Each worker is a task of the pool, and holds one of its workers as long as there is work, also while the window is
/// full and nobody takes outcomes. A task of the same pool must not wait for it where all others may be busy likewise.
///
/// # When to use something else
/// For work that mostly waits, or that borrows, [`Stack::map`](crate::resilience::Stack::map) runs in place and asks policies for each item. For slices and
/// plain threads, [`parallel`](crate::parallel).
#[must_use = "nothing happens until it is given an executor and made into outcomes"]
pub struct FanOut<S, W, H = ()> {
    source: S,
    work: W,
    home: H,
    options: Options,
}

/// Where the workers of a [`FanOut`] run.
#[derive(Clone, Debug)]
pub struct Placed(Home);

#[derive(Clone, Debug)]
struct Options {
    width: usize,
    ahead: Option<usize>,
    fail_fast: bool,
    time_limit: Duration,
    clock: Option<Clock>,
}

/// What became of work that was done for its effect.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<I, E> {
    /// How many items ended how.
    pub progress: Progress,
    /// The items that gave no result, by their place in the input.
    pub failures: Vec<(usize, ItemError<I, E>)>,
}

impl<S, W> FanOut<S, W> {
    fn new(source: S, work: W) -> Self {
        let options = Options {
            width: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            ahead: None,
            fail_fast: false,
            time_limit: Duration::MAX,
            clock: None,
        };
        Self { source, work, home: (), options }
    }

    /// On an executor.
    pub fn on(self, spawner: impl Spawn + 'static) -> FanOut<S, W, Placed> {
        self.at(Home::spawner(spawner))
    }

    /// On a pool. Workers for which there is no room in its queue are handed in when outcomes are polled for.
    #[cfg(feature = "pool")]
    pub fn on_pool(self, pool: &WorkerPool) -> FanOut<S, W, Placed> {
        self.at(Home::Pool(pool.clone()))
    }

    fn at(self, home: Home) -> FanOut<S, W, Placed> {
        FanOut { source: self.source, work: self.work, home: Placed(home), options: self.options }
    }
}

impl<S, W, H> FanOut<S, W, H> {
    /// How many workers there are, and so how many items are worked on at once. Zero is one; more than a million is a million.
    /// Default: as many as the machine has processors.
    pub fn width(mut self, workers: usize) -> Self {
        self.options.width = workers.clamp(1, 1_000_000);
        self
    }

    /// How many items more than are worked on at once may be in hand: finished and not yet taken. At most a million. Default: as
    /// many as the width. It has no effect on [`collect`](FanOut::collect), which keeps all outcomes, and on
    /// [`finish`](FanOut::finish), which takes them at once.
    pub fn ahead(mut self, items: usize) -> Self {
        self.options.ahead = Some(items.min(MOST_AHEAD));
        self
    }

    /// Ends the batch at the first item that fails or panics, in time and not in the order of the input. Default: all items
    /// are worked on, whatever becomes of the others.
    pub fn fail_fast(mut self) -> Self {
        self.options.fail_fast = true;
        self
    }

    /// How long all of it may take, from its start. Default: without limit.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.options.time_limit = limit;
        self
    }

    /// The clock of the time limit. Default: that of the surrounding [`Context`](crate::sync::Context), which is the system's
    /// if there is none.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.options.clock = Some(clock);
        self
    }
}

impl Options {
    /// The context of the workers, and the limit, if it is nearer than the deadline around.
    fn context(&self) -> (WorkContext, Option<Duration>) {
        let around = WorkContext::current();
        if self.time_limit == Duration::MAX {
            return (around.child(), None);
        }
        let clocked = self.clock.clone().map_or_else(|| around.clone(), |clock| around.with_clock(clock));
        let context = clocked.with_timeout(self.time_limit);
        let nearer = context.deadline() < around.deadline();
        (context, nearer.then_some(self.time_limit))
    }
}

impl<S, W> FanOut<S, W, Placed>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
    W: Work<S::Item> + Send + Sync + 'static,
    W::Future: Send + 'static,
    W::Ok: Send + 'static,
    W::Err: Send + 'static,
{
    /// Starts the workers; the outcomes as a stream, in the order of the input.
    pub fn ordered(self) -> ParOrdered<S, W> {
        ParOrdered::start(self)
    }

    /// Starts the workers; the outcomes as a stream, as they come, each with the place of its item in the input.
    pub fn unordered(self) -> ParUnordered<S, W> {
        ParUnordered::start(self)
    }

    /// Starts the workers when it is polled; all outcomes, in the order of the input: one for each item, failed ones included.
    ///
    /// # Cancel safety
    /// Dropping it drops the outcomes and ends the workers.
    pub async fn collect(self) -> Vec<Result<W::Ok, ItemError<S::Item, W::Err>>> {
        // As they come, so that a slow item does not hold up those behind it; and all are kept, so that there is nothing to hold
        // the workers back for.
        let mut outcomes = self.ahead(MOST_AHEAD).unordered();
        let mut all = Vec::new();
        let each = |index, outcome| {
            if all.len() <= index {
                all.resize_with(index + 1, || None);
            }
            if let Some(place) = all.get_mut(index) {
                *place = Some(outcome);
            }
        };
        outcomes.for_each(each).await;
        // Each has one by now.
        all.into_iter().flatten().collect()
    }

    /// Starts the workers when it is polled, and waits for all items; keeps only the outcomes that are no results.
    ///
    /// # Cancel safety
    /// As [`collect`](Self::collect).
    pub async fn finish(self) -> Report<S::Item, W::Err> {
        let mut outcomes = self.ahead(AHEAD_OF_NOBODY).unordered();
        let mut failures = Vec::new();
        let each = |index, outcome: Result<_, _>| failures.extend(outcome.err().map(|error| (index, error)));
        outcomes.for_each(each).await;
        failures.sort_unstable_by_key(|(index, _)| *index);
        Report { progress: outcomes.progress(), failures }
    }
}

impl<S, W, H: fmt::Debug> fmt::Debug for FanOut<S, W, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("home", &self.home)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
