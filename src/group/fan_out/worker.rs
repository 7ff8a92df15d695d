//! Those who do the work, and what they share.
//!
//! # One item
//!
//! | step | by | under |
//! |---|---|---|
//! | a place in the window | the worker, waiting | nothing; the place is in its hands |
//! | its turn at the source | the worker, waiting | a place |
//! | drawn: the item has a number | the worker | its turn |
//! | at work | the worker | a place |
//! | finished | the worker, or whoever drops it | the lock of the state; the place goes with the outcome |
//! | given out | the consumer | the lock; then the place is free |
//!
//! The source is taken out of its lock to be polled, and put back after: foreign code runs under no lock. It is only the
//! one whose turn it is, or the consumer after the last worker has left, who takes it.
//!
//! An item that was drawn is finished exactly once: its [`Begun`] does it when it is dropped, if not before.

use super::work::Work;
use crate::shim::{Arc, AtomicWaker, Mutex, Spin};
use crate::sync::{self, OwnedPermit, Permit, Semaphore};
use crate::task::{AsTheyCome, Caught, Ended, Finished, ItemError, Panic};
use futures_core::Stream;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Tries before a worker waits for its turn at the source: together about a hundred pauses.
const TURNS_TO_TRY: u32 = 6;

/// What becomes of an item.
pub(super) type Outcome<I, W> = Result<<W as Work<I>>::Ok, ItemError<I, <W as Work<I>>::Err>>;

/// With the place that it takes until it is given out.
pub(super) type Placed<I, W> = (Outcome<I, W>, OwnedPermit);

pub(super) struct Shared<S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
{
    work: W,
    fail_fast: bool,
    /// How long it may take, if that is less than the work around it has.
    limit: Option<Duration>,
    context: sync::Context,
    turn: Semaphore,
    window: std::sync::Arc<Semaphore>,
    source: Mutex<Option<Pin<Box<S>>>>,
    state: Mutex<State<D>>,
    consumer: AtomicWaker,
}

pub(super) struct State<D> {
    finished: D,
    workers: usize,
    ended: Option<Ended>,
    /// The source panicked.
    panic: Option<Panic>,
    progress: Progress,
    given: usize,
    /// The consumer waits for so many outcomes; 0, if it does not.
    wanted: usize,
}

/// How far a fan-out is.
///
/// `drawn` is the sum of `running`, `done`, `failed`, `panicked` and `interrupted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Items drawn from the source to be worked on.
    pub drawn: usize,
    /// Items that are being worked on.
    pub running: usize,
    /// Items that gave a result.
    pub done: usize,
    /// Items that failed.
    pub failed: usize,
    /// Items whose work panicked.
    pub panicked: usize,
    /// Items whose work was dropped when the batch ended.
    pub interrupted: usize,
    /// Items that were drawn after the end, and given back without being worked on.
    pub not_run: usize,
}

impl Progress {
    fn count<T, I, E>(&mut self, outcome: &Result<T, ItemError<I, E>>) {
        self.running -= 1;
        *match outcome {
            Ok(_) => &mut self.done,
            Err(ItemError::Panicked(_)) => &mut self.panicked,
            Err(ItemError::Interrupted(_)) => &mut self.interrupted,
            Err(_) => &mut self.failed,
        } += 1;
    }
}

/// How it is set up.
pub(super) struct Setup {
    pub(super) workers: usize,
    pub(super) window: usize,
    pub(super) fail_fast: bool,
    pub(super) limit: Option<Duration>,
    pub(super) context: sync::Context,
}

impl<S, W, D> Shared<S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
{
    pub(super) fn cancel_all(&self) {
        self.context.cancel("the outcomes were dropped");
    }
}

impl<S, W, D> Shared<S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
    D: Finished<Placed<S::Item, W>>,
{
    /// `None`, if there are more places than a semaphore can have.
    pub(super) fn new(source: S, work: W, finished: D, setup: Setup) -> Option<Self> {
        let places = u32::try_from(setup.window).ok()?;
        let progress = Progress::default();
        let state = State {
            finished,
            workers: setup.workers,
            ended: None,
            panic: None,
            progress,
            given: 0,
            wanted: 0,
        };
        Some(Self {
            work,
            fail_fast: setup.fail_fast,
            limit: setup.limit,
            context: setup.context,
            turn: Semaphore::builder(1).order(sync::Order::Barging).build().ok()?,
            window: std::sync::Arc::new(Semaphore::builder(places).order(sync::Order::Barging).build().ok()?),
            source: Mutex::new(Some(Box::pin(source))),
            state: Mutex::new(state),
            consumer: AtomicWaker::new(),
        })
    }

    pub(super) fn context(&self) -> &sync::Context {
        &self.context
    }

    pub(super) fn progress(&self) -> Progress {
        self.state.lock().progress
    }

    /// Why it has ended, asked when it has.
    fn why(&self) -> Ended {
        if let Some(ended) = self.state.lock().ended {
            return ended;
        }
        match self.context.check() {
            Ok(()) => Ended::Closed,
            Err(error) if error.is_cancelled() => Ended::Cancelled,
            Err(_) => self.limit.map_or(Ended::DeadlineExceeded, |limit| Ended::TimeLimit { limit }),
        }
    }

    /// Polls the source, whose turn it is the caller's. A panic of it is kept for the consumer.
    fn poll_source(&self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let Some(mut source) = self.source.lock().take() else { return Poll::Ready(None) };
        let polled = Panic::catch(|| source.as_mut().poll_next(cx));
        if let Ok(polled @ (Poll::Pending | Poll::Ready(Some(_)))) = polled {
            *self.source.lock() = Some(source);
            return polled;
        }
        // It is at its end, and gone before the workers are.
        let dropped = Panic::catch(|| drop(source));
        if let Some(panic) = polled.err().or(dropped.err()) {
            self.state.lock().panic.get_or_insert(panic);
        }
        Poll::Ready(None)
    }

    /// Items are finished in the way of `D`.
    fn finish(&self, index: usize, outcome: Outcome<S::Item, W>, place: OwnedPermit) {
        let failed = matches!(&outcome, Err(error) if error.is_failed() || error.is_panic());
        let (ends, wakes) = {
            let mut state = self.state.lock();
            state.progress.count(&outcome);
            let given = state.given;
            state.finished.put(index, given, (outcome, place));
            let ends = failed && self.fail_fast;
            if ends {
                state.ended.get_or_insert(Ended::Failed { index });
            }
            let wakes = state.wanted > 0 && state.finished.has(state.wanted);
            if wakes {
                state.wanted = 0;
            }
            (ends, wakes)
        };
        if ends {
            self.context.cancel("an item failed");
        }
        if wakes {
            self.consumer.wake();
        }
    }

    /// The next outcome for the consumer, who is woken if there is none yet.
    pub(super) fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Option<D::Out>>
    where
        D::Out: Unplaced,
    {
        self.poll_state(cx, 1, |state| {
            let taken = state.finished.take();
            state.given += usize::from(taken.is_some());
            taken
        })
    }

    /// What `take` finds, for the consumer; who is woken, if that is nothing yet, when there are `enough` outcomes or no more
    /// will come.
    fn poll_state<R>(
        &self,
        cx: &mut Context<'_>,
        enough: usize,
        mut take: impl FnMut(&mut State<D>) -> Option<R>,
    ) -> Poll<Option<R>> {
        let taken = take(&mut self.state.lock());
        if taken.is_some() {
            return Poll::Ready(taken);
        }
        // Before the look: whoever finishes an item after it finds that it is wanted, and this waker.
        self.consumer.register(cx.waker());
        let mut state = self.state.lock();
        match take(&mut state) {
            None if state.workers > 0 => {
                state.wanted = enough;
                Poll::Pending
            }
            taken => Poll::Ready(taken),
        }
    }

    /// After the last worker has left: goes on with a panic of the source, or gives back an item that the source has without
    /// waiting.
    pub(super) fn leave_one(&self, cx: &mut Context<'_>) -> Option<(usize, Outcome<S::Item, W>)> {
        let polled = self.poll_source(cx);
        let panic = self.state.lock().panic.take();
        if let Some(panic) = panic {
            panic.resume();
        }
        let Poll::Ready(Some(item)) = polled else {
            let source = self.source.lock().take();
            drop(source);
            return None;
        };
        let ended = self.why();
        let mut state = self.state.lock();
        let index = state.progress.drawn + state.progress.not_run;
        state.progress.not_run += 1;
        Some((index, Err(ItemError::not_run(item, ended))))
    }
}

impl<S, W> Shared<S, W, AsTheyCome<Placed<S::Item, W>>>
where
    S: Stream,
    W: Work<S::Item>,
{
    /// All outcomes that there are, if there are `enough` or no more will come, into `all`, which is empty; none at the end.
    pub(super) fn poll_outcomes(
        &self,
        cx: &mut Context<'_>,
        enough: usize,
        all: &mut VecDeque<(usize, Placed<S::Item, W>)>,
    ) -> Poll<Option<()>> {
        self.poll_state(cx, enough, |state| {
            let is_enough = state.finished.has(if state.workers > 0 { enough } else { 1 });
            is_enough.then(|| state.finished.swap(all))
        })
    }
}

/// An outcome as the consumer gets it, which frees its place.
pub(super) trait Unplaced {
    type Out;

    fn unplaced(self) -> Self::Out;
}

impl<R> Unplaced for (R, OwnedPermit) {
    type Out = R;

    fn unplaced(self) -> R {
        self.0
    }
}

impl<R> Unplaced for (usize, (R, OwnedPermit)) {
    type Out = (usize, R);

    fn unplaced(self) -> (usize, R) {
        (self.0, self.1.0)
    }
}

/// An item at work: dropped, it is interrupted.
struct Begun<'a, S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
    D: Finished<Placed<S::Item, W>>,
{
    shared: &'a Shared<S, W, D>,
    index: usize,
    place: Option<OwnedPermit>,
}

impl<S, W, D> Begun<'_, S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
    D: Finished<Placed<S::Item, W>>,
{
    fn finish(mut self, outcome: Outcome<S::Item, W>) {
        if let Some(place) = self.place.take() {
            self.shared.finish(self.index, outcome, place);
        }
    }
}

impl<S, W, D> Drop for Begun<'_, S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
    D: Finished<Placed<S::Item, W>>,
{
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let ended = self.shared.why();
            self.shared.finish(self.index, Err(ItemError::Interrupted(ended)), place);
        }
    }
}

/// Counts the worker out when it is dropped, wherever that is: at its end, or never polled.
pub(super) struct Present<S, W, D>(Arc<Shared<S, W, D>>)
where
    S: Stream,
    W: Work<S::Item>;

impl<S, W, D> Present<S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
    D: Finished<Placed<S::Item, W>>,
{
    /// One of the workers that were counted when `shared` was made.
    pub(super) fn new(shared: Arc<Shared<S, W, D>>) -> Self {
        Self(shared)
    }

    /// Draws and works until there is no more.
    pub(super) async fn work(self) {
        let shared = &*self.0;
        loop {
            let Ok(place) = shared.window.acquire_owned().await else { return };
            let Some((index, item)) = draw(shared).await else { return };
            let begun = Begun { shared, index, place: Some(place) };
            let work = async { shared.work.start(item).await };
            begun.finish(match Caught::new(work).await {
                Ok(result) => result.map_err(ItemError::Failed),
                Err(panic) => Err(ItemError::Panicked(panic)),
            });
        }
    }
}

impl<S, W, D> Drop for Present<S, W, D>
where
    S: Stream,
    W: Work<S::Item>,
{
    fn drop(&mut self) {
        self.0.state.lock().workers -= 1;
        self.0.consumer.wake();
    }
}

/// Tries for the turn a few times: most sources give an item in less time than it takes to wait.
fn turn_at_once(turn: &Semaphore) -> Option<Permit<&Semaphore>> {
    let mut spin = Spin::new();
    for _ in 0..TURNS_TO_TRY {
        if let Ok(turn) = turn.try_acquire() {
            return Some(turn);
        }
        spin.lost();
    }
    None
}

/// Waits for a turn at the source, and for an item.
async fn draw<S, W, D>(shared: &Shared<S, W, D>) -> Option<(usize, S::Item)>
where
    S: Stream,
    W: Work<S::Item>,
    D: Finished<Placed<S::Item, W>>,
{
    let _turn = match turn_at_once(&shared.turn) {
        Some(turn) => turn,
        None => shared.turn.acquire().await.ok()?,
    };
    poll_fn(|cx| {
        if shared.context.is_cancelled() {
            return Poll::Ready(None);
        }
        let Some(item) = ready!(shared.poll_source(cx)) else { return Poll::Ready(None) };
        let mut state = shared.state.lock();
        let index = state.progress.drawn;
        state.progress.drawn += 1;
        state.progress.running += 1;
        Poll::Ready(Some((index, item)))
    })
    .await
}
