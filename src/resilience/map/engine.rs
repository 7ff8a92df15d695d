//! Draws items, runs as many of them as it may, and ends when it must.

use super::operation::Begin;
use super::outcome::ItemError;
use super::slots::Slots;
use crate::resilience::{Attempt, Error};
use crate::sync::{self, CancelToken, UntilCancelled, context};
use crate::task::{Ended, Finished};
use crate::time::{Alarm, Clock, Deadline};
use futures_core::Stream;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Items that are drawn between two looks at the clock, while nothing has to be waited for.
const BETWEEN_LOOKS: usize = 32;

/// What a batch may do.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) concurrency: usize,
    pub(super) ahead: Option<usize>,
    pub(super) time_limit: Duration,
    pub(super) fail_fast: bool,
    pub(super) clock: Clock,
}

impl Options {
    /// How many items may be running, or finished and not yet given out.
    fn window(&self) -> usize {
        self.concurrency.saturating_add(self.ahead.unwrap_or(self.concurrency))
    }
}

/// What becomes of an item.
pub(super) type Outcome<I, A> = Result<<A as Attempt>::Ok, ItemError<I, <A as Attempt>::Err>>;

/// Puts what items have come out as among the `finished`, and says which of them `failed`.
#[inline(always)]
fn put_in<I, T, E>(
    finished: &mut impl Finished<Result<T, ItemError<I, E>>>,
    given: usize,
    failed: &mut Option<usize>,
) -> impl FnMut(usize, Result<T, Error<E>>) {
    move |index, result| match result {
        Ok(value) => finished.put(index, given, Ok(value)),
        Err(error) => {
            *failed = Some(index);
            finished.put(index, given, Err(ItemError::Failed(error)));
        }
    }
}

pin_project! {
    pub(super) struct Engine<S, B>
    where
        S: Stream,
        B: Begin<S::Item>,
    {
        // Before the source: what runs may borrow of what the source owns.
        slots: Slots<B::Attempt>,
        begin: B,
        #[pin]
        source: S,
        options: Options,
        state: State,
        // Boxed, so that the streams need no pinning where their source needs none.
        cancelled: Option<Pin<Box<UntilCancelled>>>,
    }
}

#[derive(Default)]
struct State {
    /// Items drawn, each of which gets an outcome; and outcomes given out.
    drawn: usize,
    given: usize,
    started: bool,
    /// The source has no more, or is not asked any more.
    exhausted: bool,
    ended: Option<Ended>,
    /// A poll is under way, or was when something panicked.
    broken: bool,
    over: bool,
    alarm: Alarm,
    token: Option<CancelToken>,
    deadline: Deadline,
    /// The deadline is that of the surrounding work.
    ambient: bool,
}

impl State {
    /// Why it ends at its deadline.
    fn timed_out(&self, limit: Duration) -> Ended {
        if self.ambient { Ended::DeadlineExceeded } else { Ended::TimeLimit { limit } }
    }
}

impl<S, B> Engine<S, B>
where
    S: Stream,
    B: Begin<S::Item>,
{
    pub(super) fn new(source: S, begin: B, options: Options) -> Self {
        let state = State::default();
        Self { slots: Slots::new(), begin, source, options, state, cancelled: None }
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.over || self.state.broken
    }

    pub(super) fn running(&self) -> usize {
        self.slots.running()
    }

    /// How many items will be reported on, as far as is known.
    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        if self.is_over() {
            return (0, Some(0));
        }
        let in_hand = self.state.drawn - self.state.given;
        let more = if self.state.exhausted { (0, Some(0)) } else { self.source.size_hint() };
        // A source that makes us wait may be left when the batch ends: nothing is sure but what was drawn.
        (in_hand, more.1.and_then(|most| most.checked_add(in_hand)))
    }

    /// The least that the source says it has.
    pub(super) fn expected(&self) -> usize {
        self.source.size_hint().0
    }

    pub(super) fn poll_next<D>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        finished: &mut D,
    ) -> Poll<Option<D::Out>>
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        if self.is_over() {
            return Poll::Ready(None);
        }
        // A panic of foreign code leaves it so, and what it interrupted is not polled again.
        *self.as_mut().broken() = true;
        let next = self.as_mut().advance(cx, finished);
        *self.as_mut().broken() = false;
        if matches!(next, Poll::Ready(None)) {
            let this = self.project();
            this.state.over = true;
            this.state.alarm.disarm();
            *this.cancelled = None;
        }
        next
    }

    fn broken(self: Pin<&mut Self>) -> &mut bool {
        &mut self.project().state.broken
    }

    fn advance<D>(mut self: Pin<&mut Self>, cx: &mut Context<'_>, finished: &mut D) -> Poll<Option<D::Out>>
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        if !self.state.started {
            self.as_mut().start(finished);
        }
        self.as_mut().run_woken(cx, finished);
        self.as_mut().fill(cx, finished);
        loop {
            // Given out as it is: taken apart and put together it would be moved twice.
            let next = finished.take();
            if next.is_some() {
                self.as_mut().project().state.given += 1;
                return Poll::Ready(next);
            }
            if self.state.ended.is_some() {
                if self.as_mut().leave_one(cx, finished) {
                    continue;
                }
                return Poll::Ready(None);
            }
            if self.state.exhausted && self.slots.running() == 0 {
                return Poll::Ready(None);
            }
            match self.as_mut().poll_end(cx) {
                Poll::Ready(ended) => self.as_mut().end(ended, finished),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The first poll: the time begins, and the surrounding work is looked at.
    fn start<D>(mut self: Pin<&mut Self>, finished: &mut D)
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        let this = self.as_mut().project();
        let (state, options) = (this.state, this.options);
        state.started = true;
        if options.time_limit < Duration::MAX {
            state.deadline = Deadline::after(options.clock.now(), options.time_limit);
        }
        if !context::can_end() {
            return;
        }
        let surrounding = sync::Context::current();
        state.ambient = surrounding.deadline() < state.deadline;
        state.deadline = state.deadline.min(surrounding.deadline());
        state.token = surrounding.token().cloned();
        *this.cancelled = surrounding.token().map(|token| Box::pin(token.cancelled()));
        if let Err(error) = surrounding.check() {
            let ended = if error.is_cancelled() { Ended::Cancelled } else { Ended::DeadlineExceeded };
            self.end(ended, finished);
        }
    }

    /// Polls the items that were woken.
    fn run_woken<D>(mut self: Pin<&mut Self>, cx: &mut Context<'_>, finished: &mut D)
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        self.as_mut().project().slots.look(cx.waker());
        let mut failed = None;
        while self.state.ended.is_none() {
            let this = self.as_mut().project();
            if !this.slots.poll_woken(put_in(finished, this.state.given, &mut failed)) {
                return;
            }
            self.as_mut().look_at_failure(&mut failed, finished);
        }
    }

    /// Draws items and starts them, while there is room.
    fn fill<D>(mut self: Pin<&mut Self>, cx: &mut Context<'_>, finished: &mut D)
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        let (concurrency, window) = (self.options.concurrency, self.options.window());
        loop {
            let state = &self.state;
            let stopped = state.exhausted || state.ended.is_some();
            if stopped || self.slots.running() >= concurrency || state.drawn - state.given >= window {
                return;
            }
            if let Some(ended) = self.has_ended() {
                return self.end(ended, finished);
            }
            let this = self.as_mut().project();
            let item = match this.source.poll_next(cx) {
                Poll::Ready(Some(item)) => item,
                Poll::Ready(None) => {
                    this.state.exhausted = true;
                    return;
                }
                Poll::Pending => return,
            };
            let index = this.state.drawn;
            this.state.drawn += 1;
            let mut failed = None;
            let attempt = this.begin.begin(item);
            this.slots.start(index, attempt, put_in(finished, this.state.given, &mut failed));
            self.as_mut().look_at_failure(&mut failed, finished);
        }
    }

    /// Ends it where the first failure does, if there was one.
    #[inline]
    fn look_at_failure<D>(self: Pin<&mut Self>, failed: &mut Option<usize>, finished: &mut D)
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        if let Some(index) = failed.take() {
            if self.options.fail_fast {
                self.end(Ended::Failed { index }, finished);
            }
        }
    }

    /// Whether it must end, as far as can be seen without waiting.
    fn has_ended(&self) -> Option<Ended> {
        let Self { state, options, .. } = self;
        if state.token.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Some(Ended::Cancelled);
        }
        let looks = state.deadline != Deadline::NEVER && state.drawn % BETWEEN_LOOKS == 0;
        (looks && state.deadline.has_passed(options.clock.now())).then(|| state.timed_out(options.time_limit))
    }

    /// Waits for what ends it.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = self.project();
        if this.cancelled.as_mut().is_some_and(|cancelled| cancelled.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ended::Cancelled);
        }
        let State { alarm, deadline, .. } = this.state;
        if *deadline == Deadline::NEVER {
            return Poll::Pending;
        }
        alarm
            .poll(&this.options.clock, cx, |_| *deadline)
            .map(|()| this.state.timed_out(this.options.time_limit))
    }

    /// No item is begun any more, and those that run are dropped.
    fn end<D>(self: Pin<&mut Self>, ended: Ended, finished: &mut D)
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        let this = self.project();
        this.state.ended = Some(ended);
        this.state.alarm.disarm();
        *this.cancelled = None;
        let given = this.state.given;
        this.slots.interrupt(|index| finished.put(index, given, Err(ItemError::Interrupted(ended))));
    }

    /// After the end: reports on an item that is not run, if the source has one without waiting.
    fn leave_one<D>(self: Pin<&mut Self>, cx: &mut Context<'_>, finished: &mut D) -> bool
    where
        D: Finished<Outcome<S::Item, B::Attempt>>,
    {
        let this = self.project();
        let (Some(ended), false) = (this.state.ended, this.state.exhausted) else { return false };
        let Poll::Ready(Some(item)) = this.source.poll_next(cx) else {
            this.state.exhausted = true;
            return false;
        };
        finished.put(this.state.drawn, this.state.given, Err(ItemError::not_run(item, ended)));
        this.state.drawn += 1;
        true
    }
}
