//! A stream written as an async function that emits.

mod blocking;
mod emit;
mod produced;
mod slot;
mod tray;

pub use blocking::Blocking;
pub use emit::{Emit, Emitter};
pub use produced::Produced;

use super::collect::{Collect, CollectN};
use super::next::Next;
use crate::shim::Arc;
use futures_core::{FusedStream, Stream};
use slot::{Outlet, Popped};
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The most values that can lie ready.
const MOST_AHEAD: usize = 1 << 16;

/// A stream of the values that a producer, an async function, emits.
///
/// ```
/// use cofferdam::stream::generator;
///
/// # futures_executor::block_on(async {
/// let mut numbers = generator(|y| async move {
///     let (mut a, mut b) = (0_u64, 1);
///     loop {
///         y.emit(a).await;
///         (a, b) = (b, a + b);
///     }
/// });
/// assert_eq!(numbers.next().await, Some(0_u64));
/// assert_eq!(numbers.collect_n(6).await, [1_u64, 1, 2, 3, 5, 8]);
/// # });
/// ```
///
/// A producer that can fail uses `?` and ends in a `Result`. Then the items are results: `Ok` for each value, and the
/// error, if there is one, as the last.
///
/// ```
/// use cofferdam::stream::generator;
/// use std::num::ParseIntError;
///
/// # futures_executor::block_on(async {
/// let numbers = generator(|y| async move {
///     for word in "1 2 x 4".split(' ') {
///         y.emit(word.parse::<u8>()?).await;
///     }
///     Ok::<(), ParseIntError>(())
/// });
/// let items = numbers.collect().await;
/// assert_eq!(items[..2], [Ok(1), Ok(2)]);
/// assert!(items[2].is_err());
/// assert_eq!(items.len(), 3);
/// # });
/// ```
pub fn generator<T, F, Fut>(make: F) -> Generator<T, F, Fut>
where
    F: FnOnce(Emitter<T>) -> Fut,
    Fut: Future,
    Fut::Output: Produced<T>,
{
    Generator { make: Some(make), producer: None, outlet: None, ahead: 0, end: None, over: false }
}

/// The stream that [`generator`] makes.
///
/// # When the producer runs
/// Inside whoever polls the stream, and only then: there is no task, and no thread. It is made at the first poll, and runs
/// until it emits; what stands behind that `emit` runs when the next item is asked for. With [`prefetch`](Self::prefetch)
/// it is let run further, but never on its own.
///
/// # The end
/// The stream ends when the producer returns. Dropping the stream drops the producer where it stands, which is most often
/// at an `emit`: nothing behind it runs, and what the producer holds is dropped. [`close`](Self::close) does the same
/// and keeps the values that were emitted.
///
/// # Panics
/// A panic of the producer goes through to whoever polls. The producer is dropped; what it had emitted is still given out,
/// and then the stream is at its end. A panic of a waker goes through as well, but costs neither a value nor the producer.
///
/// # Cost
/// Three allocations at the first poll: for the producer, for what it shares with the stream, and for values that lie ready. None
/// for an item, and no lock unless it is [prefetched](Self::prefetch) or emitted in another task.
///
/// # When to use something else
/// For a stream that needs no `await` in between, an iterator; for values that other tasks make, a
/// [`channel`](crate::sync::channel).
#[must_use = "streams do nothing unless polled"]
pub struct Generator<T, F, Fut: Future> {
    make: Option<F>,
    producer: Option<Pin<Box<Fut>>>,
    outlet: Option<Outlet<T>>,
    ahead: usize,
    /// How the producer ended, until that is given out.
    end: Option<Fut::Output>,
    /// Then there is no producer.
    over: bool,
}

/// The producer is in a box, and nothing else is pinned.
impl<T, F, Fut: Future> Unpin for Generator<T, F, Fut> {}

impl<T, F, Fut> Generator<T, F, Fut>
where
    F: FnOnce(Emitter<T>) -> Fut,
    Fut: Future,
    Fut::Output: Produced<T>,
{
    /// Lets the producer run ahead: each time the stream is polled, until so many values lie ready besides the one that is
    /// given out, or it waits for something else, or it returns. Default: 0, so that a value is made only when it is
    /// asked for. At most 65,536.
    ///
    /// This is for a producer that waits: while a value is worked on by whoever also polls other things, the next ones are
    /// being fetched *if the stream is polled*. It makes nothing run by itself.
    ///
    /// No effect once the stream has been polled.
    pub fn prefetch(mut self, values: usize) -> Self {
        self.ahead = values.min(MOST_AHEAD);
        self
    }

    /// The next item, or `None` at the end.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing.
    #[allow(clippy::should_implement_trait, reason = "it is that of streams")]
    pub fn next(&mut self) -> Next<'_, Self> {
        Next::new(self)
    }

    /// All items. For a producer that never returns, [`collect_n`](Self::collect_n).
    ///
    /// # Cancel safety
    /// Dropping it drops the stream, and the items that were collected.
    pub fn collect(self) -> Collect<Self> {
        Collect::new(self)
    }

    /// The next `n` items; fewer only at the end. The producer is not run further than for these.
    ///
    /// # Cancel safety
    /// Dropping it drops the items that were collected.
    pub fn collect_n(&mut self, n: usize) -> CollectN<'_, Self> {
        CollectN::new(self, n)
    }

    /// The items as an iterator, which blocks its thread where the producer waits for something.
    ///
    /// For threads of one's own, and for producers that await nothing but their `emit`s, which never block. Not for use in
    /// async code: a task that blocks keeps its executor's thread, and may be what the producer waits for.
    pub fn into_blocking_iter(self) -> Blocking<Self> {
        Blocking::new(self)
    }

    /// Drops the producer where it stands. What it had emitted is still given out, and then the stream is at its end.
    pub fn close(&mut self) {
        if let Some(outlet) = &self.outlet {
            outlet.close();
        }
        self.make = None;
        self.producer = None;
    }

    /// Values that lie ready.
    pub fn ready(&self) -> usize {
        self.outlet.as_ref().map_or(0, |outlet| outlet.length())
    }

    /// Makes the producer.
    #[cold]
    fn start(&mut self) {
        if let Some(make) = self.make.take() {
            let outlet = self.outlet.insert(Outlet::with(self.ahead));
            let emitter = Emitter::new(Arc::clone(outlet.tray()));
            self.producer = Some(Box::pin(make(emitter)));
        }
    }

    /// Lets the producer run, if there is one, and drops it at its end. What it has laid down comes back.
    #[inline(always)]
    fn run(&mut self, cx: &mut Context<'_>) -> Option<T> {
        let Self { outlet, producer, end, .. } = self;
        outlet.as_mut()?.run(cx.waker(), || {
            // It is not polled again after a panic of its own.
            let doomed = Doomed(producer);
            let Some(producer) = doomed.0 else { return };
            if let Poll::Ready(ended) = producer.as_mut().poll(cx) {
                *end = Some(ended);
                // In here, as its drop may panic, too.
                *doomed.0 = None;
            }
            mem::forget(doomed);
        })
    }

    /// Where there is more to it than to let the producer run: whether it is to run.
    #[inline(never)]
    fn prepare(&mut self) -> bool {
        if self.make.is_some() {
            self.start();
        }
        self.outlet.as_ref().is_some_and(Outlet::begin)
    }

    /// The oldest value in the queue, or the end.
    #[inline(never)]
    fn give(&mut self, cx: &Context<'_>) -> Poll<Option<<Fut::Output as Produced<T>>::Item>> {
        let Some(outlet) = self.outlet.as_ref().filter(|_| !self.over) else {
            // If it was not, it was closed before it began.
            self.over = true;
            return Poll::Ready(None);
        };
        match outlet.pop(cx.waker(), self.producer.is_none()) {
            Popped::Value(value) => Poll::Ready(Some(<Fut::Output as Produced<T>>::value(value))),
            Popped::Parked => Poll::Pending,
            Popped::Over => {
                self.over = true;
                outlet.close();
                Poll::Ready(self.end.take().and_then(Produced::end))
            }
        }
    }
}

/// A producer that is dropped as its poll panics.
struct Doomed<'a, Fut>(&'a mut Option<Pin<Box<Fut>>>);

impl<Fut> Drop for Doomed<'_, Fut> {
    #[cold]
    fn drop(&mut self) {
        *self.0 = None;
    }
}

impl<T, F, Fut> Stream for Generator<T, F, Fut>
where
    F: FnOnce(Emitter<T>) -> Fut,
    Fut: Future,
    Fut::Output: Produced<T>,
{
    type Item = <Fut::Output as Produced<T>>::Item;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // One that is over has no producer.
        let runs = this.outlet.as_ref().is_some_and(Outlet::is_quiet) || this.prepare();
        // In one place: so the producer can become a part of this.
        match if runs { this.run(cx) } else { None } {
            Some(value) => Poll::Ready(Some(<Fut::Output as Produced<T>>::value(value))),
            None => this.give(cx),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.over {
            return (0, Some(0));
        }
        let ready = self.ready();
        let ended = self.producer.is_none() && self.make.is_none();
        (ready, ended.then(|| ready + usize::from(self.end.is_some())))
    }
}

impl<T, F, Fut> FusedStream for Generator<T, F, Fut>
where
    F: FnOnce(Emitter<T>) -> Fut,
    Fut: Future,
    Fut::Output: Produced<T>,
{
    fn is_terminated(&self) -> bool {
        self.over
    }
}

/// An emitter that was taken elsewhere is told.
impl<T, F, Fut: Future> Drop for Generator<T, F, Fut> {
    fn drop(&mut self) {
        if let Some(outlet) = &self.outlet {
            outlet.close();
        }
    }
}

impl<T, F, Fut: Future> fmt::Debug for Generator<T, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("started", &self.outlet.is_some())
            .field("ready", &self.outlet.as_ref().map_or(0, |outlet| outlet.length()))
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}
