//! A stream as an iterator.

#![forbid(unsafe_code)]

use crate::task::block_on;
use futures_core::Stream;
use std::fmt;
use std::future::poll_fn;
use std::iter::FusedIterator;
use std::pin::Pin;

/// The items of a stream as an iterator, which blocks its thread while the stream waits; made by
/// [`Generator::into_blocking_iter`](super::Generator::into_blocking_iter).
#[must_use = "iterators do nothing unless consumed"]
pub struct Blocking<S>(S);

impl<S> Blocking<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(stream)
    }

    /// The stream, from where it stands.
    pub fn into_inner(self) -> S {
        self.0
    }
}

impl<S: Stream + Unpin> Iterator for Blocking<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        block_on(poll_fn(|cx| Pin::new(&mut self.0).poll_next(cx)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<S: futures_core::FusedStream + Unpin> FusedIterator for Blocking<S> {}

impl<S> fmt::Debug for Blocking<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}
