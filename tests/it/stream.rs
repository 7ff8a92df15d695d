//! Streams that are made, and streams that are brought together.

mod foreign;
mod generator;
mod merge;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;

/// One poll by a waker of no interest.
fn poll_one<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(std::task::Waker::noop()))
}
