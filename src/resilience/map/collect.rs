//! The outcomes of a batch, all at once.

use super::engine::{Options, Outcome};
use super::operation::Begin;
use super::streams::Unordered;
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Outcomes that are taken in one poll before others on the thread get their turn.
const AT_ONCE: u32 = 256;

/// Room that is made beforehand, whatever the input says of its length.
const MOST_EXPECTED: usize = 1 << 16;

pin_project! {
    /// The outcomes of a batch in the order of its input, when all are there; see [`Map::collect`](super::Map::collect).
    ///
    /// # Cancel safety
    /// Dropping the future drops the items that are running and the outcomes of those that are done. To end a batch and
    /// keep them, give it a [time limit](super::Map::time_limit), or cancel the [`Context`](crate::sync::Context) that it
    /// is polled in.
    #[must_use = "futures do nothing unless polled"]
    pub struct Collect<S, B>
    where
        S: Stream,
        B: Begin<S::Item>,
    {
        #[pin]
        batch: Unordered<S, B>,
        outcomes: Vec<Option<Outcome<S::Item, B::Attempt>>>,
    }
}

impl<S: Stream, B: Begin<S::Item>> Collect<S, B> {
    pub(super) fn new(source: S, begin: B, options: Options) -> Self {
        Self { batch: Unordered::new(source, begin, options), outcomes: Vec::new() }
    }
}

impl<S: Stream, B: Begin<S::Item>> Future for Collect<S, B> {
    type Output = Vec<Outcome<S::Item, B::Attempt>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.outcomes.is_empty() {
            this.outcomes.reserve(this.batch.expected().min(MOST_EXPECTED));
        }
        for _ in 0..AT_ONCE {
            let Some((index, outcome)) = ready!(this.batch.as_mut().poll_next(cx)) else {
                return Poll::Ready(std::mem::take(this.outcomes).into_iter().flatten().collect());
            };
            if this.outcomes.len() <= index {
                this.outcomes.resize_with(index + 1, || None);
            }
            if let Some(place) = this.outcomes.get_mut(index) {
                *place = Some(outcome);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream, B: Begin<S::Item>> fmt::Debug for Collect<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collect").field("batch", &self.batch).field("outcomes", &self.outcomes.len()).finish()
    }
}
