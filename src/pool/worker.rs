//! The workers: plain futures, each of which runs one task at a time, in place.
//!
//! # A task that gives way
//!
//! It wakes itself in its poll. Nothing else of the pool could run in its place, and a turn of the executor costs more than most
//! tasks do, so the first time it is polled again at once; the second time in a row the executor has its turn.
//!
//! | the job is pending, and | the worker |
//! |---|---|
//! | has given way, after another task or a turn of the executor | polls it again, which counts as [two tasks](SECOND_POLL) of its [turn](TURN) |
//! | has given way again; or the first time, but it asks for something, or its time or the pool's is over | wakes itself, and lets go of its thread unless that ends the job |
//! | has not | waits to be woken |

#![forbid(unsafe_code)]

mod idle;
mod steps;
mod stopwatch;

use super::crew::Rest;
use super::error::JoinError;
use super::event::Outcome;
use super::extras::{Extras, Watch};
use super::handle::TaskId;
use super::link::{Link, Request};
use super::load::amid;
use super::managed::Ticket;
use super::shared::{Shared, within};
use super::slot::{Job, Step};
use crate::panics::contain;
use crate::shim::Arc;
use crate::sync::ring::PopError;
use crate::sync::{Context as WorkContext, ContextError};
use crate::time::{Deadline, Sleep};
use crate::wait::{Slot, overhear};
use idle::Idle;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steps::{begin_with, cancelled, tell_started, tell_stopped};
use stopwatch::Stopwatch;

/// Tasks that a worker begins before it lets its executor run something else.
const TURN: u32 = if cfg!(any(cofferdam_loom, cofferdam_shuttle)) { 1 } else { 128 };

/// As so many of these counts the second poll of one that has given way, which has asked for that.
const SECOND_POLL: u32 = 2;

pin_project! {
    /// One worker of a pool: a future that runs the pool's tasks, one at a time, until the pool is closed and its queue
    /// is empty.
    ///
    /// How many tasks make progress at a time is how many workers are polled. Give each to the executor as a task of its
    /// own; or see [`Workers`](super::Workers), which is all of them in one future.
    ///
    /// # Cancel safety
    /// Dropping a worker drops the task that it runs, which its handle is told ([`JoinError::is_dropped`]); the others
    /// go on with the queue. Dropping the last one closes the pool and drops what is queued, each task likewise.
    #[must_use = "futures do nothing unless polled"]
    pub struct Worker {
        shared: Arc<Shared>,
        stage: Stage,
        #[pin]
        hand: Hand,
    }

    impl PinnedDrop for Worker {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if *this.stage != Stage::Done {
                let has_started = *this.stage == Stage::Working;
                this.hand.leave(this.shared, has_started);
            }
        }
    }
}

pin_project! {
    /// All of a worker but the pool that it belongs to.
    struct Hand {
        // For the few who must hold on to it; the rest is handed a reference.
        pool: Arc<Shared>,
        index: usize,
        #[pin]
        job: Job,
        task: Task,
        watch: Stopwatch,
        #[pin]
        rest: Slot<()>,
        // The waker by which the pool can reach this worker while its task is pending.
        reachable: Option<Waker>,
        // Fires when the pool's own context ends.
        base: Option<Watch>,
        idle: Idle,
        // Whether the job may be about to give way: it was not polled before, or did so the last time.
        may_yield: bool,
        // Places that became free, and times that the worker let go as its job gave way, since those in line were last told.
        untold: usize,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Never polled.
    Fresh,
    Working,
    Done,
}

/// Whether a worker in the list of sleepers has anything to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resting {
    Yes,
    /// It is out of the list.
    No,
    /// It is out of the list, and ends.
    Done,
}

/// What goes with the job.
struct Task {
    id: TaskId,
    /// Whether any of the following is of interest.
    has_more: bool,
    ticket: Ticket,
    extras: Option<Box<Extras>>,
    /// The limit that ends with the deadline.
    limit: Duration,
    deadline: Deadline,
    sleep: Option<Sleep>,
    /// Fires when the context of a tied task ends.
    watch: Option<Watch>,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            id: TaskId(0),
            has_more: false,
            ticket: Ticket::default(),
            extras: None,
            limit: Duration::ZERO,
            deadline: Deadline::NEVER,
            sleep: None,
            watch: None,
        }
    }
}

/// Why a worker stopped polling its job.
enum End {
    Step(Step),
    /// Boxed, so that the way of every task does not move it along.
    Error(Box<JoinError>),
    /// The pool was aborted.
    Cut,
    /// It is not over: it goes back into the queue for so long.
    Again(Duration),
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: usize) -> Self {
        let hand = Hand {
            pool: Arc::clone(&shared),
            index,
            job: Job::empty(),
            task: Task::default(),
            watch: Stopwatch::default(),
            rest: Slot::new(),
            reachable: None,
            base: None,
            idle: Idle::default(),
            may_yield: true,
            untold: 0,
        };
        Self { shared, stage: Stage::Fresh, hand }
    }
}

#[cfg(not(any(cofferdam_loom, cofferdam_shuttle)))]
impl Worker {
    pub(super) fn pool_name(&self) -> &str {
        &self.shared.settings.name
    }
}

impl Hand {
    /// The worker is dropped before its time.
    fn leave(mut self: Pin<&mut Self>, shared: &Shared, has_started: bool) {
        // Without a queue its place goes with it: the one that its task has, or else a free one.
        if self.job.is_empty() {
            shared.occupy();
        } else {
            self.as_mut().finish(shared, End::Error(Box::new(JoinError::dropped())));
        }
        let this = self.project();
        let rest = this.rest;
        if !rest.is_idle() && shared.crew.get_up(rest.as_ref()) == Rest::Woken {
            // Somebody counts on this worker to look at the queue.
            contain(|| shared.crew.stop_searching(|| shared.backlog.is_poppable()));
        }
        if let Some(managed) = shared.backlog.managed() {
            contain(|| shared.heed(managed.gone(*this.index)));
        }
        if has_started {
            tell_stopped(shared, *this.index);
        }
        // Those whom it was about to tell.
        contain(|| shared.admit());
        contain(|| shared.worker_left());
    }

    /// Takes up a job. False if it is too old to be run.
    #[inline(always)]
    fn begin(self: Pin<&mut Self>, shared: &Shared, id: TaskId) -> bool {
        if self.job.has_freight() {
            return self.begin_with_freight(shared, id);
        }
        let this = self.project();
        this.task.id = id;
        this.watch.pause();
        !shared.settings.has_terms || this.task.begin(shared)
    }

    /// As [`begin`](Self::begin), of a job that carries more than its future.
    #[inline(never)]
    fn begin_with_freight(self: Pin<&mut Self>, shared: &Shared, id: TaskId) -> bool {
        let mut this = self.project();
        this.task.id = id;
        let (extras, submitted) = this.job.as_mut().take_freight();
        let in_time = !shared.settings.has_terms || this.task.begin(shared);
        if let Some(mut extras) = extras {
            this.task.has_more = true;
            this.task.watch = extras.watch.take();
            if in_time {
                begin_with(shared, this.job.as_mut(), id, &mut extras, *this.index);
            }
            this.task.extras = Some(extras);
        }
        if submitted != 0 && in_time {
            this.watch.begin(shared, this.job, this.task, submitted);
        } else {
            this.watch.pause();
        }
        in_time
    }

    /// Polls the job once, unless it must not be polled any more.
    #[inline(always)]
    fn run(self: Pin<&mut Self>, shared: &Shared, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.project();
        let mut job = this.job;
        let settings = &shared.settings;
        let extras = this.task.extras.as_deref();
        let mut context = extras.and_then(|extras| extras.context.as_ref());
        let load = extras.and_then(|extras| extras.load.as_ref());
        if let Some(context) = context.filter(|_| shared.heeds) {
            if let Err(error) = context.check() {
                return Poll::Ready(cancelled(shared, error));
            }
        }
        context = context.or(settings.base.as_ref());
        // Not each time: it costs futures that keep the waker a clone.
        let may_yield = this.may_yield;
        let mut poll = |cx: &mut Context<'_>| within(context, || amid(load, || job.as_mut().poll(cx)));
        let poll = || {
            if !*may_yield {
                return poll(cx);
            }
            let (polled, is_heard) = overhear(cx, poll);
            *may_yield = is_heard;
            polled
        };
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(step)) => Poll::Ready(End::Step(step)),
            Err(payload) => {
                shared.panicked(this.task.id, &*payload);
                Poll::Ready(End::Error(Box::new(JoinError::panicked(payload))))
            }
        }
    }

    /// The job is pending: sees to it that whatever else may end it wakes this worker.
    fn wait(self: Pin<&mut Self>, shared: &Shared, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.project();
        let task = this.task;
        if let Some(link) = task.link() {
            match link.asked() {
                Some(Request::Again(delay)) => return Poll::Ready(End::Again(delay)),
                Some(Request::Cancel) => {
                    return Poll::Ready(End::Error(Box::new(JoinError::cancelled(None))));
                }
                None => {}
            }
        }
        if let Some(at) = task.deadline.instant() {
            let sleep = task.sleep.get_or_insert_with(|| shared.settings.clock.sleep_until(at));
            if Pin::new(sleep).poll(cx).is_ready() {
                return Poll::Ready(End::Error(Box::new(JoinError::timed_out(task.limit))));
            }
        }
        let context = task.extras.as_ref().and_then(|extras| extras.context.as_ref());
        if let (true, Some(context)) = (shared.heeds, context) {
            let watch = task.watch.get_or_insert_with(|| Box::pin(context.run(pending())));
            if let Poll::Ready(Err(error)) = watch.as_mut().poll(cx) {
                return Poll::Ready(cancelled(shared, error));
            }
        }
        if !this.reachable.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *this.reachable = Some(cx.waker().clone());
            if let Some(seat) = shared.books.seats.get(*this.index) {
                seat.nudge.set(cx.waker());
            }
        }
        if shared.is_aborted() { Poll::Ready(End::Cut) } else { Poll::Pending }
    }

    /// Drops what is left of the job, counts it, and tells its handle; in this order.
    #[inline(always)]
    fn finish(mut self: Pin<&mut Self>, shared: &Shared, end: End) {
        let this = self.as_mut().project();
        if let (End::Step(Step::Completed), false) = (&end, this.task.has_more) {
            if this.watch.is_running() {
                this.watch.end(shared, Outcome::Completed);
            }
            shared.books.ended(*this.index, None);
            this.job.resolve(None);
            return;
        }
        self.as_mut().finish_with(shared, end);
        let this = self.project();
        if this.task.has_more {
            this.task.clear(shared);
        }
    }

    /// The pool's own context ends the pool.
    fn watch_base(self: Pin<&mut Self>, shared: &Shared, cx: &mut Context<'_>) -> Option<ContextError> {
        let this = self.project();
        let base = shared.settings.base.as_ref()?;
        let watch = this.base.get_or_insert_with(|| Box::pin(base.run(pending())));
        match watch.as_mut().poll(cx) {
            Poll::Ready(Err(error)) => Some(error),
            _ => None,
        }
    }

    /// In the list of sleepers: whether there is still nothing to do. If there is, the worker is out of the list, and
    /// searching if somebody had woken it.
    fn rest(
        mut self: Pin<&mut Self>,
        shared: &Shared,
        cx: &mut Context<'_>,
        searching: &mut bool,
    ) -> Resting {
        let calm = match shared.backlog.managed() {
            None => !shared.backlog.is_poppable(),
            Some(managed) => self.as_mut().keep_time(shared, managed, cx),
        };
        if calm {
            match self.as_mut().watch_base(shared, cx) {
                Some(error) => {
                    contain(|| shared.abort(Some(error)));
                }
                None if !self.as_mut().is_idle_for_long(shared, cx) => return Resting::Yes,
                None => return self.retire(shared, searching),
            }
        }
        self.get_up(shared, searching);
        Resting::No
    }

    /// Out of the list of sleepers.
    fn get_up(self: Pin<&mut Self>, shared: &Shared, searching: &mut bool) {
        let this = self.project();
        *searching = shared.crew.get_up(this.rest.as_ref()) == Rest::Woken;
        this.idle.clear();
    }
}

impl Task {
    /// By which it asks for something: after each poll, then, and before the next one.
    #[inline]
    fn link(&self) -> Option<&Link> {
        self.extras.as_ref().and_then(|extras| extras.link.as_deref())
    }

    /// Whether there is nothing that [`Hand::wait`] would have to heed before the next poll. (At its own context and its
    /// cancellation each poll looks.)
    #[inline]
    fn may_go_on(&self, shared: &Shared) -> bool {
        let is_late = |at| Deadline::at(at).has_passed(shared.settings.clock.now());
        self.link().is_none()
            && !self.deadline.instant().is_some_and(is_late)
            && !shared.is_aborted()
            && shared.settings.base.as_ref().is_none_or(|base| base.check().is_ok())
    }

    fn context(&self) -> Option<&WorkContext> {
        self.extras.as_ref().and_then(|extras| extras.context.as_ref())
    }

    /// The limits of a task that is taken up. False if it is too late for it.
    #[inline(never)]
    fn begin(&mut self, shared: &Shared) -> bool {
        self.has_more = true;
        let terms = &self.ticket.terms;
        let limit = terms.timeout.or(shared.settings.task_timeout).filter(|limit| !limit.is_zero());
        let end = Some(terms.deadline).filter(|&deadline| deadline != u64::MAX);
        if limit.is_some() || end.is_some() {
            let now = shared.settings.clock.now();
            let limited = limit.map_or(Deadline::NEVER, |limit| Deadline::after(now, limit));
            let end = end.and_then(|end| shared.backlog.managed()?.instant(end));
            let ended = end.map_or(Deadline::NEVER, Deadline::at);
            self.deadline = limited.min(ended);
            self.limit = match limit {
                Some(limit) if limited <= ended => limit,
                _ => ended.remaining(now).unwrap_or_default(),
            };
        }
        !self.ticket.is_expired
    }

    /// The task is over.
    #[inline(never)]
    fn clear(&mut self, shared: &Shared) {
        if let Some(managed) = shared.backlog.managed() {
            managed.release(&self.ticket);
        }
        // Contexts hold values of the user's, timers may be the user's.
        contain(|| *self = Self::default());
    }
}

impl Future for Worker {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (shared, mut hand) = (&**this.shared, this.hand);
        hand.as_mut().project().watch.pause();
        if *this.stage != Stage::Working {
            if *this.stage == Stage::Done {
                return Poll::Ready(());
            }
            *this.stage = Stage::Working;
            tell_started(shared, hand.index);
        }
        // Woken, and has not found anything to do yet.
        let mut searching = false;
        if !hand.rest.is_idle() {
            searching = shared.crew.poll(hand.as_mut().project().rest.as_ref(), cx.waker()) == Rest::Woken;
            if searching {
                hand.as_mut().project().idle.clear();
            } else {
                match hand.as_mut().rest(shared, cx, &mut searching) {
                    Resting::Yes => return Poll::Pending,
                    Resting::No => {}
                    Resting::Done => {
                        *this.stage = Stage::Done;
                        tell_stopped(shared, hand.index);
                        contain(|| shared.worker_left());
                        return Poll::Ready(());
                    }
                }
            }
        }
        if !hand.job.is_empty() && shared.is_aborted() {
            hand.as_mut().finish(shared, End::Cut);
        }
        let mut left = TURN;
        // Whether the job was polled again at once, as it gave way.
        let mut again = false;
        loop {
            if !hand.job.is_empty() {
                let mut polled = hand.as_mut().run(shared, cx);
                if polled.is_pending() {
                    if hand.may_yield {
                        if !std::mem::replace(&mut again, true) && hand.task.may_go_on(shared) {
                            left = left.saturating_sub(SECOND_POLL);
                            continue;
                        }
                        cx.waker().wake_by_ref();
                    }
                    polled = hand.as_mut().wait(shared, cx);
                }
                let end = match polled {
                    Poll::Ready(end) => end,
                    Poll::Pending => {
                        hand.as_mut().tell_unless_back_soon(shared);
                        match hand.as_mut().watch_base(shared, cx) {
                            None => return Poll::Pending,
                            Some(error) => {
                                contain(|| shared.abort(Some(error)));
                            }
                        }
                        End::Cut
                    }
                };
                hand.as_mut().finish(shared, end);
                again = false;
                if shared.leave() {
                    shared.admit();
                }
            }
            if left == 0 && shared.backlog.len() > 0 {
                // It was woken just as it lay down at the end of its turn. Nobody may count on a search that ends here.
                if searching {
                    contain(|| shared.crew.stop_searching(|| shared.backlog.is_poppable()));
                }
                shared.admit();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let place = hand.as_mut().project();
            let heed = |call| {
                contain(|| shared.heed(call));
            };
            match shared.backlog.pop(place.job, *place.index, &mut place.task.ticket, heed) {
                Ok(id) => {
                    if searching {
                        searching = false;
                        contain(|| shared.crew.stop_searching(|| shared.backlog.is_poppable()));
                    }
                    let hand_now = hand.as_mut().project();
                    *hand_now.may_yield = true;
                    *hand_now.untold += 1;
                    if *hand_now.untold >= shared.batch {
                        *hand_now.untold = 0;
                        shared.admit();
                    }
                    if shared.is_aborted() {
                        let place = hand.as_mut().project();
                        shared.sweep(place.job, id);
                        place.task.clear(shared);
                        continue;
                    }
                    left = left.saturating_sub(1);
                    if !hand.as_mut().begin(shared, id) {
                        hand.as_mut().finish(shared, End::Error(Box::new(JoinError::expired())));
                    }
                }
                Err(PopError::Empty) => {
                    shared.admit();
                    let hand_now = hand.as_mut().project();
                    hand_now.watch.rest();
                    shared.crew.lie_down(hand_now.rest.as_ref(), cx.waker(), searching);
                    searching = false;
                    match hand.as_mut().rest(shared, cx, &mut searching) {
                        Resting::Yes => return Poll::Pending,
                        Resting::No => {}
                        Resting::Done => {
                            *this.stage = Stage::Done;
                            tell_stopped(shared, hand.index);
                            contain(|| shared.worker_left());
                            return Poll::Ready(());
                        }
                    }
                }
                Err(PopError::Closed) => {
                    if searching {
                        contain(|| shared.crew.stop_searching(|| true));
                    }
                    *this.stage = Stage::Done;
                    if let Some(managed) = shared.backlog.managed() {
                        contain(|| shared.heed(managed.gone(hand.index)));
                    }
                    tell_stopped(shared, hand.index);
                    contain(|| shared.worker_left());
                    return Poll::Ready(());
                }
            }
        }
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("pool", &self.shared.settings.name)
            .field("index", &self.hand.index)
            .field("running", &!self.hand.job.is_empty())
            .field("done", &(self.stage == Stage::Done))
            .finish_non_exhaustive()
    }
}
