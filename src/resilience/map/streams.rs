//! The outcomes of a batch as streams.

use super::engine::{Engine, Options, Outcome};
use super::operation::Begin;
use crate::task::{AsTheyCome, InOrder};
use futures_core::{FusedStream, Stream};
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

macro_rules! stream {
    ($(#[$doc:meta])+ $name:ident holds $finished:ident gives $out:ty) => {
        pin_project! {
            $(#[$doc])+
            #[must_use = "streams do nothing unless polled"]
            pub struct $name<S, B>
            where
                S: Stream,
                B: Begin<S::Item>,
            {
                #[pin]
                engine: Engine<S, B>,
                finished: $finished<Outcome<S::Item, B::Attempt>>,
            }
        }

        impl<S: Stream, B: Begin<S::Item>> $name<S, B> {
            pub(super) fn new(source: S, begin: B, options: Options) -> Self {
                Self { engine: Engine::new(source, begin, options), finished: $finished::new() }
            }

            /// How many items are running.
            pub fn running(&self) -> usize {
                self.engine.running()
            }
        }

        impl<S: Stream, B: Begin<S::Item>> Stream for $name<S, B> {
            type Item = $out;

            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                let this = self.project();
                this.engine.poll_next(cx, this.finished)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                self.engine.size_hint()
            }
        }

        impl<S: Stream, B: Begin<S::Item>> FusedStream for $name<S, B> {
            fn is_terminated(&self) -> bool {
                self.engine.is_over()
            }
        }

        impl<S: Stream, B: Begin<S::Item>> fmt::Debug for $name<S, B> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("running", &self.running()).finish_non_exhaustive()
            }
        }
    };
}

stream! {
    /// The outcomes of a batch in the order of its input; see [`Map::ordered`](super::Map::ordered).
    ///
    /// # Cancel safety
    /// Waiting for the next outcome loses nothing when it is dropped. Dropping the stream drops the items that are running;
    /// the outcomes that are finished and were not taken go with it.
    Ordered holds InOrder gives Outcome<S::Item, B::Attempt>
}

stream! {
    /// The outcomes of a batch as they come, each with the place of its item in the input, counted from 0; see
    /// [`Map::unordered`](super::Map::unordered).
    ///
    /// # Cancel safety
    /// As [`Ordered`].
    Unordered holds AsTheyCome gives (usize, Outcome<S::Item, B::Attempt>)
}

impl<S: Stream, B: Begin<S::Item>> Unordered<S, B> {
    /// The least number of items that the input says it has.
    pub(super) fn expected(&self) -> usize {
        self.engine.expected()
    }
}
