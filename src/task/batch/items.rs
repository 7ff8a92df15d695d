//! An iterator as a stream.

use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The items of an iterator, each when it is asked for.
#[derive(Clone, Debug)]
pub struct Items<I>(I);

impl<I> Items<I> {
    pub(crate) fn new(iterator: I) -> Self {
        Self(iterator)
    }
}

/// The iterator is never pinned.
impl<I> Unpin for Items<I> {}

impl<I: Iterator> Stream for Items<I> {
    type Item = I::Item;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
