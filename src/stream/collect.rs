//! Many items at once.

#![forbid(unsafe_code)]

use futures_core::Stream;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Items that are taken in one poll before others on the thread get their turn.
const AT_ONCE: usize = 256;

/// Takes items until there are `most` or no more; pending after each [`AT_ONCE`], having woken itself.
fn fill<S: Stream + Unpin>(
    stream: &mut S,
    items: &mut Vec<S::Item>,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<()> {
    for _ in 0..AT_ONCE {
        if items.len() >= most {
            return Poll::Ready(());
        }
        match Pin::new(&mut *stream).poll_next(cx) {
            Poll::Ready(Some(item)) => items.push(item),
            Poll::Ready(None) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
    if items.len() >= most {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// All items of a stream that ends, in their order. Gives way to others on its thread after each 256.
///
/// # Cancel safety
/// Dropping it drops the stream and the items that it has taken.
#[must_use = "futures do nothing unless polled"]
pub struct Collect<S: Stream> {
    stream: S,
    items: Vec<S::Item>,
}

impl<S: Stream> Collect<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, items: Vec::new() }
    }
}

/// Items are not pinned.
impl<S: Stream + Unpin> Unpin for Collect<S> {}

impl<S: Stream + Unpin> Future for Collect<S> {
    type Output = Vec<S::Item>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        fill(&mut this.stream, &mut this.items, usize::MAX, cx).map(|()| std::mem::take(&mut this.items))
    }
}

impl<S: Stream> fmt::Debug for Collect<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collect").field("items", &self.items.len()).finish_non_exhaustive()
    }
}

/// The next `n` items of a stream, fewer only at its end. For none, the stream is not polled.
///
/// # Cancel safety
/// Dropping it drops the items that it has taken; the stream goes on behind them. To lose none, take one after the other.
#[must_use = "futures do nothing unless polled"]
pub struct CollectN<'a, S: Stream> {
    stream: &'a mut S,
    items: Vec<S::Item>,
    most: usize,
}

impl<'a, S: Stream> CollectN<'a, S> {
    pub(super) fn new(stream: &'a mut S, most: usize) -> Self {
        Self { stream, items: Vec::new(), most }
    }
}

/// Items are not pinned.
impl<S: Stream> Unpin for CollectN<'_, S> {}

impl<S: Stream + Unpin> Future for CollectN<'_, S> {
    type Output = Vec<S::Item>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        fill(this.stream, &mut this.items, this.most, cx).map(|()| std::mem::take(&mut this.items))
    }
}

impl<S: Stream> fmt::Debug for CollectN<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectN")
            .field("items", &self.items.len())
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
