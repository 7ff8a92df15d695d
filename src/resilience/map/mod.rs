//! Items in bulk: the same operation for each of many items, under the policies of a stack.

mod collect;
mod engine;
mod operation;
mod outcome;
mod slots;
mod streams;

pub use crate::task::{Ended, Items};
pub use collect::Collect;
pub use operation::{Begin, Cloned, Given, ItemOperation, OnlyOnce, Repeat, Supply, Under};
pub use outcome::ItemError;
pub use streams::{Ordered, Unordered};

use super::{Single, Stack};
use crate::time::Clock;
use engine::Options;
use futures_core::Stream;
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// An operation for each of many items, some of them at once: made by [`Stack::map`] and [`Stack::map_stream`].
///
/// It is set up by its methods, and then made into [what is wanted](#what-comes-out). Nothing begins before that is polled.
///
/// ```
/// use cofferdam::resilience::{Retry, Stack, Timeout};
/// use std::time::Duration;
///
/// async fn fetch(id: u32) -> Result<String, std::io::Error> {
///     Ok(format!("order {id}"))
/// }
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let stack = Stack::new()
///     .retry(Retry::builder().max_attempts(3).build()?)
///     .timeout(Timeout::attempt(Duration::from_secs(1)));
/// let outcomes =
///     stack.map(1..=100, fetch).concurrency(8).time_limit(Duration::from_secs(30)).collect().await;
/// assert_eq!(outcomes.len(), 100);
/// assert!(outcomes[41].as_ref().is_ok_and(|order| order == "order 42"));
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # What comes out
///
/// | | |
/// |---|---|
/// | [`collect`](Self::collect) | a future of all outcomes, in the order of the input |
/// | [`ordered`](Self::ordered) | a stream of outcomes in the order of the input |
/// | [`unordered`](Self::unordered) | a stream of outcomes as they come, each with the place of its item |
///
/// Each item that is drawn from the input gets exactly one outcome, a result or an [`ItemError`]: it
/// failed; or it was interrupted by the end of the batch; or it was not run, and is given back.
///
/// # How it runs
/// An item is drawn when there is a place for it, and not before. Its operation runs inside whoever polls: nothing is
/// spawned, so it works on any executor, on one thread at a time; for work that keeps a processor busy, spawn inside the
/// operation. While nobody polls, nothing gets on.
///
/// Each place has a waker of its own: a wake-up costs one poll of the one item, however many run. A place is allocated
/// when it is first needed and used again for item after item: however long the input is, memory is bounded by
/// [`concurrency`](Self::concurrency) and [`ahead`](Self::ahead), and by the outcomes if they are collected.
///
/// The policies are asked for each attempt when it begins: an item that waits for its place has taken no token from a rate
/// limit and no place of a bulkhead, and a circuit that opens meanwhile refuses the items from there on. Keep the
/// concurrency within the places and the queue of a bulkhead in the stack, or items are refused by it as
/// [full](super::Error::is_full).
///
/// # The end
/// A batch ends early by its [`time_limit`](Self::time_limit), by the first failure if it is to
/// [`fail_fast`](Self::fail_fast), and when the [`Context`](crate::sync::Context) in which it was first polled is cancelled or
/// out of time. Items that run are then dropped and reported as interrupted. What is left of the input is drawn without
/// being run, and reported as not run; of a stream, what it has without waiting. To keep the rest of an input instead,
/// pass it by reference (`&mut iterator`, `&mut stream`) and stop at the first item that was not run.
///
/// # Panics
/// A panic in an operation, or in the input, goes through to whoever polls. After it there are no more outcomes.
///
/// # When to use something else
/// Where each item should have a task of its own, take the pool. For one call, [`Stack::call`].
#[must_use = "nothing happens until it is made into a future or a stream, and that is polled"]
pub struct Map<'a, P, S, F, K = Repeat> {
    source: S,
    under: Under<'a, P, F, K>,
    options: Options,
}

impl<P> Stack<P> {
    /// Runs an operation under the policies for each item, some items at once; see [`Map`].
    ///
    /// `f` makes the future of one attempt from a clone of the item; items that are expensive to clone go in an
    /// [`Arc`](std::sync::Arc) or as references, and those that cannot be cloned [once](Map::once).
    pub fn map<I, F, Fut, T, E>(&self, items: I, f: F) -> Map<'_, P, Items<I::IntoIter>, F>
    where
        I: IntoIterator,
        F: Fn(I::Item) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Map::new(self, Items::new(items.into_iter()), f)
    }

    /// As [`map`](Self::map), for items that come as a stream. It is asked for an item only when there is a place for one.
    ///
    /// ```
    /// use cofferdam::resilience::Stack;
    /// use cofferdam::sync::channel;
    /// use futures_util::StreamExt;
    ///
    /// # futures_executor::block_on(async {
    /// let (sender, mut receiver) = channel(8).unwrap();
    /// for number in 1..=3 {
    ///     sender.try_send(number).unwrap();
    /// }
    /// drop(sender);
    /// let stack = Stack::new();
    /// let squares = stack.map_stream(&mut receiver, |number| async move { Ok::<u32, ()>(number * number) });
    /// let squares: Vec<u32> = squares.ordered().filter_map(|outcome| async { outcome.ok() }).collect().await;
    /// assert_eq!(squares, [1, 4, 9]);
    /// # });
    /// ```
    pub fn map_stream<S, F, Fut, T, E>(&self, items: S, f: F) -> Map<'_, P, S, F>
    where
        S: Stream,
        F: Fn(S::Item) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Map::new(self, items, f)
    }
}

impl<'a, P, S, F> Map<'a, P, S, F> {
    fn new(stack: &'a Stack<P>, source: S, f: F) -> Self {
        let options = Options {
            concurrency: 10,
            ahead: None,
            time_limit: Duration::MAX,
            fail_fast: false,
            clock: Clock::system(),
        };
        Self { source, under: Under::new(stack, f), options }
    }

    /// Hands each item over instead of a clone, under policies none of which makes a second attempt.
    ///
    /// ```
    /// use cofferdam::resilience::Stack;
    ///
    /// struct Body(Vec<u8>);
    ///
    /// # futures_executor::block_on(async {
    /// let stack = Stack::new();
    /// let bodies = [Body(vec![1]), Body(vec![2, 3])];
    /// let sent = stack.map(bodies, |body| async move { Ok::<usize, ()>(body.0.len()) }).once().collect().await;
    /// assert_eq!(sent.into_iter().filter_map(Result::ok).sum::<usize>(), 3);
    /// # });
    /// ```
    pub fn once(self) -> Map<'a, P, S, F, OnlyOnce>
    where
        P: Single,
    {
        Map { source: self.source, under: self.under.once(), options: self.options }
    }
}

impl<'a, P, S, F, K> Map<'a, P, S, F, K> {
    /// How many items run at once. Zero is one. Default: 10.
    pub fn concurrency(mut self, items: usize) -> Self {
        self.options.concurrency = items.max(1);
        self
    }

    /// How many items more than may run at once may be in hand: running, or finished and not yet taken. In the order of the
    /// input, a slow item lets so many others go on behind it before all wait for it. It has no effect on
    /// [`collect`](Self::collect), which takes outcomes as they come. Default: as many as may run at once.
    pub fn ahead(mut self, items: usize) -> Self {
        self.options.ahead = Some(items);
        self
    }

    /// How long all of it may take, counted from the first poll; what is not done by then is reported as such. An item that
    /// is ready at the very limit is in time. With a limit of zero no item is run. Default: without limit.
    ///
    /// While nothing has to be waited for, the clock is looked at once in 32 items.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.options.time_limit = limit;
        self
    }

    /// Ends the batch at the first item that fails, in time and not in the order of the input; what is finished is kept.
    /// Default: all items are run, whatever becomes of the others.
    pub fn fail_fast(mut self) -> Self {
        self.options.fail_fast = true;
        self
    }

    /// The clock of the time limit. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.options.clock = clock;
        self
    }

    /// The outcomes as a stream, in the order of the input.
    pub fn ordered(self) -> Ordered<S, Under<'a, P, F, K>>
    where
        S: Stream,
        Under<'a, P, F, K>: Begin<S::Item>,
    {
        Ordered::new(self.source, self.under, self.options)
    }

    /// The outcomes as a stream, as they come, each with the place of its item in the input.
    pub fn unordered(self) -> Unordered<S, Under<'a, P, F, K>>
    where
        S: Stream,
        Under<'a, P, F, K>: Begin<S::Item>,
    {
        Unordered::new(self.source, self.under, self.options)
    }

    /// All outcomes, in the order of the input: one for each item, failed ones included. Gives way to others on its thread
    /// after each 256 outcomes.
    pub fn collect(self) -> Collect<S, Under<'a, P, F, K>>
    where
        S: Stream,
        Under<'a, P, F, K>: Begin<S::Item>,
    {
        Collect::new(self.source, self.under, self.options)
    }
}

impl<P, S, F, K> fmt::Debug for Map<'_, P, S, F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("options", &self.options).finish_non_exhaustive()
    }
}
