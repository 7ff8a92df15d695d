//! The outcomes of a fan-out as streams.

use super::work::Work;
use super::worker::{Outcome, Placed, Present, Progress, Setup, Shared, Unplaced};
use super::{AHEAD_OF_NOBODY, FanOut};
use crate::panics::forget;
use crate::shim::Arc;
use crate::task::{AsTheyCome, BoxTask, Caught, InOrder, ItemError};
use futures_core::{FusedStream, Stream};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type Place<S, W> = Placed<<S as Stream>::Item, W>;

/// So many outcomes whoever takes them all is woken for, if more will come: at most half of what may be in hand besides what
/// is worked on.
const MANY: usize = AHEAD_OF_NOBODY / 2;

macro_rules! stream {
    ($(#[$doc:meta])+ $name:ident holds $finished:ident gives $out:ty, left $index:ident $outcome:ident: $left:expr) => {
        $(#[$doc])+
        #[must_use = "dropping it ends the workers"]
        pub struct $name<S, W>
        where
            S: Stream,
            W: Work<S::Item>,
        {
            shared: Option<Arc<Shared<S, W, $finished<Place<S, W>>>>>,
            /// Workers that a pool had no room for.
            waiting: Vec<BoxTask>,
            over: bool,
        }

        /// The source is in a box.
        impl<S, W> Unpin for $name<S, W>
        where
            S: Stream,
            W: Work<S::Item>,
        {
        }

        impl<S, W> $name<S, W>
        where
            S: Stream + Send + 'static,
            S::Item: Send + 'static,
            W: Work<S::Item> + Send + Sync + 'static,
            W::Future: Send + 'static,
            W::Ok: Send + 'static,
            W::Err: Send + 'static,
        {
            pub(super) fn start(fan_out: FanOut<S, W, super::Placed>) -> Self {
                let FanOut { source, work, home: super::Placed(home), options } = fan_out;
                let (context, limit) = options.context();
                // No more workers than items.
                let most = source.size_hint().1.unwrap_or(usize::MAX).max(1);
                let workers = options.width.min(most);
                let window = workers + options.ahead.unwrap_or(options.width);
                let setup = Setup { workers, window, fail_fast: options.fail_fast, limit, context };
                let Some(shared) = Shared::new(source, work, $finished::new(), setup) else {
                    return Self { shared: None, waiting: Vec::new(), over: true };
                };
                let shared = Arc::new(shared);
                // Made before it is complete: if the executor panics, the workers that there are end with it.
                let mut outcomes = Self { shared: Some(Arc::clone(&shared)), waiting: Vec::new(), over: false };
                for _ in 0..workers {
                    let present = Present::new(Arc::clone(&shared));
                    let worker = Caught::new(shared.context().run(present.work()));
                    outcomes.waiting.extend(home.start(Box::pin(async move {
                        // Work that panics as it is interrupted: its item has its outcome.
                        if let Err(panic) = worker.await {
                            panic.take_payload().into_iter().for_each(forget);
                        }
                    })));
                }
                outcomes
            }

            /// What `next` finds; after the last of that, what is left of the input.
            fn poll_by<R>(
                &mut self,
                cx: &mut Context<'_>,
                next: impl FnOnce(&Shared<S, W, $finished<Place<S, W>>>, &mut Context<'_>) -> Poll<Option<R>>,
                left: impl FnOnce(usize, Outcome<S::Item, W>) -> R,
            ) -> Poll<Option<R>> {
                self.waiting.retain_mut(|worker| worker.as_mut().poll(cx).is_pending());
                let (Some(shared), false) = (&self.shared, self.over) else { return Poll::Ready(None) };
                if let Some(out) = ready!(next(shared, cx)) {
                    return Poll::Ready(Some(out));
                }
                // Also if it goes on with a panic.
                self.over = true;
                let Some((index, outcome)) = shared.leave_one(cx) else { return Poll::Ready(None) };
                self.over = false;
                Poll::Ready(Some(left(index, outcome)))
            }

            /// How far it is, at this moment.
            pub fn progress(&self) -> Progress {
                self.shared.as_ref().map_or_else(Progress::default, |shared| shared.progress())
            }

            /// The next outcome, or `None` at the end.
            ///
            /// # Cancel safety
            /// Dropping the wait loses nothing.
            pub async fn next(&mut self) -> Option<$out> {
                std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
            }

            /// Ends it early: what is finished is still given out, the rest is reported as interrupted or not run.
            pub fn cancel(&self) -> bool {
                self.shared.as_ref().is_some_and(|shared| shared.context().cancel("the fan-out was cancelled"))
            }
        }

        impl<S, W> Stream for $name<S, W>
        where
            S: Stream + Send + 'static,
            S::Item: Send + 'static,
            W: Work<S::Item> + Send + Sync + 'static,
            W::Future: Send + 'static,
            W::Ok: Send + 'static,
            W::Err: Send + 'static,
        {
            type Item = $out;

            fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$out>> {
                let next = |shared: &Shared<_, _, $finished<_>>, cx: &mut Context<'_>| {
                    shared.poll_outcome(cx).map(|out| out.map(Unplaced::unplaced))
                };
                self.get_mut().poll_by(cx, next, |$index, $outcome| $left)
            }
        }

        impl<S, W> FusedStream for $name<S, W>
        where
            S: Stream + Send + 'static,
            S::Item: Send + 'static,
            W: Work<S::Item> + Send + Sync + 'static,
            W::Future: Send + 'static,
            W::Ok: Send + 'static,
            W::Err: Send + 'static,
        {
            fn is_terminated(&self) -> bool {
                self.over
            }
        }

        impl<S, W> Drop for $name<S, W>
        where
            S: Stream,
            W: Work<S::Item>,
        {
            fn drop(&mut self) {
                if let Some(shared) = &self.shared {
                    shared.cancel_all();
                }
            }
        }

        impl<S, W> fmt::Debug for $name<S, W>
        where
            S: Stream,
            W: Work<S::Item>,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("over", &self.over).finish_non_exhaustive()
            }
        }
    };
}

stream! {
    /// The outcomes of a fan-out in the order of its input; see [`FanOut::ordered`].
    ///
    /// # Cancel safety
    /// Waiting for the next outcome loses nothing when it is dropped. Dropping the stream ends the workers.
    ParOrdered holds InOrder gives Result<W::Ok, ItemError<S::Item, W::Err>>, left _index outcome: outcome
}

stream! {
    /// The outcomes of a fan-out as they come, each with the place of its item in the input, counted from 0; see
    /// [`FanOut::unordered`].
    ///
    /// # Cancel safety
    /// As [`ParOrdered`].
    ParUnordered holds AsTheyCome gives (usize, Result<W::Ok, ItemError<S::Item, W::Err>>),
    left index outcome: (index, outcome)
}

impl<S, W> ParUnordered<S, W>
where
    S: Stream + Send + 'static,
    S::Item: Send + 'static,
    W: Work<S::Item> + Send + Sync + 'static,
    W::Future: Send + 'static,
    W::Ok: Send + 'static,
    W::Err: Send + 'static,
{
    /// Calls `each` for all outcomes, of which it is woken for many at a time.
    pub(super) async fn for_each(&mut self, mut each: impl FnMut(usize, Outcome<S::Item, W>)) {
        let mut all = VecDeque::new();
        while poll_fn(|cx| {
            let many =
                |shared: &Shared<_, _, _>, cx: &mut Context<'_>| shared.poll_outcomes(cx, MANY, &mut all);
            self.poll_by(cx, many, &mut each)
        })
        .await
        .is_some()
        {
            // An outcome that is left over has been told of already.
            for (index, (outcome, _place)) in all.drain(..) {
                each(index, outcome);
            }
        }
    }
}
