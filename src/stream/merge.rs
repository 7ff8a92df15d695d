//! Several streams as one.

#![forbid(unsafe_code)]

use super::next::Next;
use super::one_of::{OneOf2, OneOf3, OneOf4, OneOf5, OneOf6};
use crate::wait::Places;
use futures_core::{FusedStream, Stream};
use pin_project_lite::pin_project;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Items that are given out between two looks at who was woken meanwhile, at most.
const BETWEEN_LOOKS: u32 = 8;

/// Sources that are polled in one poll without giving an item, before others on the thread get their turn.
const AT_ONCE: u32 = 256;

/// What [`merge`] brings together: an array or a `Vec` of streams of one type, or a tuple of two to six streams of
/// different types with items of one type.
pub trait Sources {
    /// The stream that each of them is.
    type Stream: Stream;

    /// Hands them over, in their order.
    fn each(self, add: impl FnMut(Self::Stream));
}

impl<S: Stream, const N: usize> Sources for [S; N] {
    type Stream = S;

    fn each(self, add: impl FnMut(S)) {
        self.into_iter().for_each(add);
    }
}

impl<S: Stream> Sources for Vec<S> {
    type Stream = S;

    fn each(self, add: impl FnMut(S)) {
        self.into_iter().for_each(add);
    }
}

macro_rules! tuple {
    ($one_of:ident: $($variant:ident)+) => {
        impl<T, $($variant: Stream<Item = T>),+> Sources for ($($variant,)+) {
            type Stream = $one_of<$($variant),+>;

            #[allow(non_snake_case, reason = "a variable for each type")]
            fn each(self, mut add: impl FnMut(Self::Stream)) {
                let ($($variant,)+) = self;
                $(add($one_of::$variant { stream: $variant });)+
            }
        }
    };
}

tuple!(OneOf2: A B);
tuple!(OneOf3: A B C);
tuple!(OneOf4: A B C D);
tuple!(OneOf5: A B C D E);
tuple!(OneOf6: A B C D E F);

/// Brings streams together in one, each in its turn; see [`Merge`].
///
/// ```
/// use cofferdam::stream::{generator, merge};
///
/// # futures_executor::block_on(async {
/// let odd = generator(|y| async move {
///     for number in [1, 3, 5] {
///         y.emit(number).await;
///     }
/// });
/// let even = generator(|y| async move {
///     for number in [2, 4] {
///         y.emit(number).await;
///     }
/// });
/// let mut numbers = merge((odd, even));
/// let mut seen = Vec::new();
/// while let Some(number) = numbers.next().await {
///     seen.push(number);
/// }
/// assert_eq!(seen, [1, 2, 3, 4, 5]);
/// # });
/// ```
pub fn merge<I: Sources>(sources: I) -> Merge<I::Stream> {
    let mut merged = Merge::new();
    sources.each(|source| merged.add(source));
    merged
}

/// Several streams as one: their items as they come.
///
/// It ends when all its sources have ended; more can be [added](Self::add) at any time, also after that.
///
/// # Fairness
/// A source that has been polled and gave an item stands in line behind all others that are ready. So between two items of
/// one source each other source that is ready gives one: none can starve the others, however fast it is. A source that was
/// woken joins the line after at most eight more items, and within as many as there are sources in line.
///
/// # Cost
/// Each source has a waker of its own, and only sources that were woken are polled, and those that gave an item the last
/// time: among a thousand quiet sources a wake-up costs one poll of one of them. Adding a source makes two allocations, of
/// which one that has ended leaves both to the next; an item makes none.
///
/// # Cancel safety
/// Waiting for the next item loses nothing when it is dropped. Dropping the stream drops its sources.
///
/// # Panics
/// A panic of a source goes through to whoever polls. That source is dropped with the next poll, the others go on.
#[must_use = "streams do nothing unless polled"]
pub struct Merge<S> {
    sources: Places<S>,
    /// Those that may be ready, in the order of their turns.
    line: VecDeque<usize>,
    /// By place, whether it stands in line.
    in_line: Vec<bool>,
    /// Empty; kept for its room.
    woken: Vec<usize>,
    /// The one that is being polled, or was when it panicked.
    polled: Option<usize>,
    unlooked: u32,
}

/// The sources are in boxes.
impl<S> Unpin for Merge<S> {}

impl<S: Stream> Merge<S> {
    /// Without a source yet: at its end, until one is added.
    pub fn new() -> Self {
        Self {
            sources: Places::new(),
            line: VecDeque::new(),
            in_line: Vec::new(),
            woken: Vec::new(),
            polled: None,
            unlooked: 0,
        }
    }

    /// One more source, at the end of the line. Wakes the task that polled last, if that was somebody else.
    pub fn add(&mut self, source: S) {
        self.take_in(source);
        self.sources.wake_task();
    }

    fn take_in(&mut self, source: S) {
        let at = self.sources.insert(source);
        if at == self.in_line.len() {
            self.in_line.push(false);
        }
        self.enlist(at);
    }

    /// How many sources have not ended, as far as is known.
    pub fn sources(&self) -> usize {
        self.sources.taken()
    }

    /// The next item, or `None` when all sources have ended.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing.
    #[allow(clippy::should_implement_trait, reason = "it is that of streams")]
    pub fn next(&mut self) -> Next<'_, Self> {
        Next::new(self)
    }

    /// Puts it at the end of the line, if it does not stand there.
    fn enlist(&mut self, at: usize) {
        if let Some(in_line @ false) = self.in_line.get_mut(at) {
            *in_line = true;
            self.line.push_back(at);
        }
    }

    /// Those that were woken join the line, in the order in which they were.
    fn enlist_woken(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        woken.extend(std::iter::from_fn(|| self.sources.next_woken()));
        // What was woken last comes first.
        woken.drain(..).rev().for_each(|at| self.enlist(at));
        self.woken = woken;
    }

    /// Polls the first in line.
    fn poll_first(&mut self) -> Option<Poll<S::Item>> {
        let at = self.line.pop_front()?;
        if let Some(in_line) = self.in_line.get_mut(at) {
            *in_line = false;
        }
        self.polled = Some(at);
        let polled = self.sources.poll(at, |source, cx| source.poll_next(cx));
        self.polled = None;
        match polled {
            Some(Poll::Ready(Some(item))) => {
                self.enlist(at);
                Some(Poll::Ready(item))
            }
            Some(Poll::Ready(None)) => {
                self.sources.remove(at);
                Some(Poll::Pending)
            }
            Some(Poll::Pending) | None => Some(Poll::Pending),
        }
    }
}

impl<S: Stream> Default for Merge<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Stream> Stream for Merge<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        if let Some(panicked) = this.polled.take() {
            this.sources.remove(panicked);
        }
        if this.unlooked >= BETWEEN_LOOKS {
            this.unlooked = 0;
            this.sources.glance();
            this.enlist_woken();
        }
        this.unlooked += 1;
        let mut polls = 0;
        loop {
            match this.poll_first() {
                Some(Poll::Ready(item)) => return Poll::Ready(Some(item)),
                Some(Poll::Pending) if polls < AT_ONCE => polls += 1,
                Some(Poll::Pending) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None if this.sources.taken() == 0 => return Poll::Ready(None),
                None => {
                    // A wake-up after this look wakes the task.
                    this.sources.look(cx.waker());
                    this.enlist_woken();
                    if this.line.is_empty() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<S: Stream> FusedStream for Merge<S> {
    fn is_terminated(&self) -> bool {
        self.sources.taken() == 0
    }
}

impl<S: Stream> FromIterator<S> for Merge<S> {
    fn from_iter<I: IntoIterator<Item = S>>(sources: I) -> Self {
        let mut merged = Self::new();
        merged.extend(sources);
        merged
    }
}

impl<S: Stream> Extend<S> for Merge<S> {
    fn extend<I: IntoIterator<Item = S>>(&mut self, sources: I) {
        sources.into_iter().for_each(|source| self.add(source));
    }
}

impl<S> fmt::Debug for Merge<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge")
            .field("sources", &self.sources.taken())
            .field("in_line", &self.line.len())
            .finish_non_exhaustive()
    }
}

/// Brings together streams that come by a stream, a channel say: sources that are added while it runs, from anywhere.
///
/// ```
/// use cofferdam::stream::merge_all;
/// use cofferdam::sync::channel;
/// use futures_util::{StreamExt, stream};
///
/// # futures_executor::block_on(async {
/// let (sender, connections) = channel(8).unwrap();
/// sender.try_send(stream::iter(vec![1, 3])).unwrap();
/// let mut messages = merge_all(connections);
/// assert_eq!(messages.next().await, Some(1));
/// sender.try_send(stream::iter(vec![2])).unwrap();
/// drop(sender);
/// // A newcomer stands behind those that are here.
/// assert_eq!(messages.collect::<Vec<_>>().await, [3, 2]);
/// # });
/// ```
pub fn merge_all<I>(sources: I) -> MergeAll<I>
where
    I: Stream,
    I::Item: Stream,
{
    MergeAll { sources: Some(sources), merged: Merge::new() }
}

pin_project! {
    /// The stream of [`merge_all`]. It is as fair as [`Merge`] is. Sources are taken when it is polled, one before each item at
    /// the most, and as many as are there before it waits; it ends when the stream of sources and all sources have ended.
    ///
    /// # Cancel safety
    /// As [`Merge`].
    #[must_use = "streams do nothing unless polled"]
    pub struct MergeAll<I: Stream> {
        #[pin]
        sources: Option<I>,
        merged: Merge<I::Item>,
    }
}

impl<I> Stream for MergeAll<I>
where
    I: Stream,
    I::Item: Stream,
{
    type Item = <I::Item as Stream>::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let mut taken = 0;
        loop {
            let more = match this.sources.as_mut().as_pin_mut() {
                None => false,
                Some(sources) => match sources.poll_next(cx) {
                    Poll::Ready(Some(source)) => {
                        this.merged.take_in(source);
                        taken += 1;
                        true
                    }
                    Poll::Ready(None) => {
                        this.sources.set(None);
                        false
                    }
                    Poll::Pending => false,
                },
            };
            match Pin::new(&mut *this.merged).poll_next(cx) {
                Poll::Ready(None) if this.sources.is_some() && !more => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending if more && taken < AT_ONCE => {}
                Poll::Ready(None) | Poll::Pending if more => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ended_or_item => return ended_or_item,
            }
        }
    }
}

impl<I> FusedStream for MergeAll<I>
where
    I: Stream,
    I::Item: Stream,
{
    fn is_terminated(&self) -> bool {
        self.sources.is_none() && self.merged.is_terminated()
    }
}

impl<I> fmt::Debug for MergeAll<I>
where
    I: Stream,
    I::Item: Stream,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeAll").field("merged", &self.merged).finish_non_exhaustive()
    }
}
