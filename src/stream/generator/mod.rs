//! A stream written as an async function that emits.

mod blocking;
mod emit;
mod produced;
pub(crate) mod slot;

pub use blocking::Blocking;
pub use emit::{Emit, Emitter};
pub use produced::Produced;

use super::collect::{Collect, CollectN};
use super::next::Next;
use crate::shim::Arc;
use futures_core::{FusedStream, Stream};
use slot::{Popped, Slot};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

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
    Generator {
        make: Some(make),
        producer: None,
        slot: None,
        ahead: 0,
        end: None,
        known: None,
        parked: false,
        over: false,
    }
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
/// and then the stream is at its end.
///
/// # Cost
/// Two allocations at the first poll, for the producer and for what it shares with the stream; none for an item.
///
/// # When to use something else
/// For a stream that needs no `await` in between, an iterator; for values that other tasks make, a
/// [`channel`](crate::sync::channel).
#[must_use = "streams do nothing unless polled"]
pub struct Generator<T, F, Fut: Future> {
    make: Option<F>,
    producer: Option<Pin<Box<Fut>>>,
    slot: Option<Arc<Slot<T>>>,
    ahead: usize,
    /// How the producer ended, until that is given out.
    end: Option<Fut::Output>,
    /// The waker that the slot was told of last.
    known: Option<Waker>,
    /// The last poll found nothing.
    parked: bool,
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
        if let Some(slot) = &self.slot {
            slot.close();
        }
        self.make = None;
        self.producer = None;
    }

    /// Values that lie ready.
    pub fn ready(&self) -> usize {
        self.slot.as_ref().map_or(0, |slot| slot.length())
    }

    /// Makes the producer.
    #[cold]
    fn start(&mut self) {
        if let Some(make) = self.make.take() {
            let slot = Arc::new(Slot::new(self.ahead));
            self.slot = Some(Arc::clone(&slot));
            self.producer = Some(Box::pin(make(Emitter::new(slot))));
        }
    }

    /// Lets the producer run, if there is room for what it emits.
    fn run(&mut self, cx: &mut Context<'_>) {
        let Some(slot) = &self.slot else { return };
        if !slot.has_room() {
            return;
        }
        // Taken out: it is not polled again after a panic.
        let Some(mut producer) = self.producer.take() else { return };
        let _polling = Polling::new(slot);
        match producer.as_mut().poll(cx) {
            Poll::Ready(end) => self.end = Some(end),
            Poll::Pending => self.producer = Some(producer),
        }
    }
}

/// Says that the producer is being polled, also until a panic.
struct Polling<'a, T>(&'a Slot<T>);

impl<'a, T> Polling<'a, T> {
    #[inline]
    fn new(slot: &'a Slot<T>) -> Self {
        slot.set_polling(true);
        Self(slot)
    }
}

impl<T> Drop for Polling<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.set_polling(false);
    }
}

impl<T, F, Fut> Stream for Generator<T, F, Fut>
where
    F: FnOnce(Emitter<T>) -> Fut,
    Fut: Future,
    Fut::Output: Produced<T>,
{
    type Item = <Fut::Output as Produced<T>>::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let is_known = this.known.as_ref().is_some_and(|known| known.will_wake(cx.waker()));
        let tells = !is_known || this.parked;
        this.parked = false;
        if this.make.is_some() {
            this.start();
        }
        if let (Some(slot), true) = (&this.slot, tells) {
            slot.announce(cx.waker().clone());
            if !is_known {
                this.known = Some(cx.waker().clone());
            }
        }
        this.run(cx);
        // It was closed before it began.
        let Some(slot) = &this.slot else {
            this.over = true;
            return Poll::Ready(None);
        };
        match slot.pop(this.producer.is_none()) {
            Popped::Value(value) => Poll::Ready(Some(<Fut::Output as Produced<T>>::value(value))),
            Popped::Parked => {
                this.parked = true;
                Poll::Pending
            }
            Popped::Over => {
                this.over = true;
                slot.close();
                Poll::Ready(this.end.take().and_then(Produced::end))
            }
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
        if let Some(slot) = &self.slot {
            slot.close();
        }
    }
}

impl<T, F, Fut: Future> fmt::Debug for Generator<T, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("started", &self.slot.is_some())
            .field("ready", &self.slot.as_ref().map_or(0, |slot| slot.length()))
            .field("over", &self.over)
            .finish_non_exhaustive()
    }
}
