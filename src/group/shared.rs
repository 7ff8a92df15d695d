//! What a group and its spawned members share.
//!
//! | transition | by | what changes |
//! |---|---|---|
//! | offer | the group, below its width | `running` + 1; the member is not accepted yet |
//! | accept | the group, when the executor has taken it | `spawned` + 1 |
//! | withdraw | the member, dropped while it is offered | `running` - 1: it never was one |
//! | report | the member, at its end; or dropped by the executor | `running` - 1, one outcome more, the group is woken |
//!
//! All of it under one lock, in which nothing of anybody else runs. A member reports exactly once: `report` and
//! `withdraw` are both its last act.

use super::error::{MemberError, Outcome};
use super::settings::{Numbered, outcome};
use super::stats::GroupStats;
use crate::panics::contain;
use crate::shim::{Arc, AtomicWaker, Mutex};
use crate::sync::{Context as WorkContext, RunInContext};
use crate::task::Caught;
use pin_project_lite::pin_project;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
    group: AtomicWaker,
}

struct State<T> {
    finished: VecDeque<Numbered<T>>,
    discards: bool,
    running: usize,
    offer: Offer,
    stats: GroupStats,
}

/// How the handing over of a member is going.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// Nobody is being handed over, or the one that is has ended already.
    None,
    /// This one is.
    Open(usize),
    /// This one was dropped before it was accepted.
    Withdrawn(usize),
}

impl<T> Shared<T> {
    pub(super) fn new() -> Self {
        let state = State {
            finished: VecDeque::new(),
            discards: false,
            running: 0,
            offer: Offer::None,
            stats: GroupStats::default(),
        };
        Self { state: Mutex::new(state), group: AtomicWaker::new() }
    }

    pub(super) fn discard(&self) {
        self.state.lock().discards = true;
    }

    /// Nobody will take outcomes any more: those that are there come back, to be dropped.
    pub(super) fn abandon(&self) -> VecDeque<Numbered<T>> {
        let mut state = self.state.lock();
        state.discards = true;
        std::mem::take(&mut state.finished)
    }

    /// The number of the next member, if fewer than `width` run. It must be offered by nobody else meanwhile.
    pub(super) fn offer(&self, width: usize) -> Option<usize> {
        let mut state = self.state.lock();
        if state.running >= width {
            return None;
        }
        state.running += 1;
        let index = state.stats.spawned;
        state.offer = Offer::Open(index);
        Some(index)
    }

    /// The executor has taken the member that was offered. (It may have dropped it since.)
    pub(super) fn accept(&self, index: usize) {
        let mut state = self.state.lock();
        state.stats.spawned += 1;
        if state.offer == Offer::Withdrawn(index) {
            // It is a member all the same.
            state.finish(index, Err(MemberError::dropped()));
        }
        state.offer = Offer::None;
    }

    fn report(&self, index: usize, outcome: Outcome<T>) {
        let discarded = {
            let mut state = self.state.lock();
            state.running -= 1;
            if state.offer == Offer::Open(index) {
                state.offer = Offer::None;
            }
            state.finish(index, outcome)
        };
        self.group.wake();
        // What a member made may panic as it is dropped: no affair of its executor.
        contain(|| drop(discarded));
    }

    /// A member is dropped before its end: while it is offered, it never was one.
    fn leave(&self, index: usize, ended: MemberError) {
        {
            let mut state = self.state.lock();
            if state.offer == Offer::Open(index) {
                state.offer = Offer::Withdrawn(index);
                state.running -= 1;
                return;
            }
        }
        self.report(index, Err(ended));
    }

    /// Whether one more may run; if not, who is woken when one ends.
    pub(super) fn poll_room(&self, width: usize, waker: &Waker) -> Poll<()> {
        self.group.register(waker);
        if self.state.lock().running < width { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The next outcome; `None` when no member is left.
    pub(super) fn poll_next(&self, waker: &Waker) -> Poll<Option<Numbered<T>>> {
        self.group.register(waker);
        let mut state = self.state.lock();
        match state.finished.pop_front() {
            Some(numbered) => Poll::Ready(Some(numbered)),
            None if state.running == 0 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    pub(super) fn stats(&self) -> GroupStats {
        let state = self.state.lock();
        GroupStats { running: state.running, unread: state.finished.len(), ..state.stats }
    }
}

impl<T> State<T> {
    /// Counts an outcome, and keeps it, or gives it back to be dropped without the lock.
    fn finish(&mut self, index: usize, outcome: Outcome<T>) -> Option<Outcome<T>> {
        self.stats.count(&outcome);
        if self.discards {
            return Some(outcome);
        }
        self.finished.push_back((index, outcome));
        None
    }
}

pin_project! {
    /// A member, as its executor has it.
    pub(super) struct Member<F, T>
    where
        F: Future<Output = T>,
    {
        shared: Option<Arc<Shared<T>>>,
        index: usize,
        #[pin]
        running: Option<Caught<RunInContext<F>>>,
    }

    impl<F, T> PinnedDrop for Member<F, T>
    where
        F: Future<Output = T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let Some(shared) = this.shared.take() else { return };
            let mut ended = MemberError::dropped();
            if let Some(running) = this.running.as_mut().as_pin_mut() {
                // Before it is reported: what has an outcome does not run any more.
                if let Err(panic) = running.end() {
                    ended = MemberError::panicked(panic);
                }
            }
            shared.leave(*this.index, ended);
        }
    }
}

impl<F, T> Member<F, T>
where
    F: Future<Output = T>,
{
    pub(super) fn new(shared: Arc<Shared<T>>, index: usize, context: &WorkContext, future: F) -> Self {
        let running = Some(Caught::new(context.run(future)));
        Self { shared: Some(shared), index, running }
    }

    /// The future, of a member that was refused. It is withdrawn.
    #[cfg_attr(not(feature = "pool"), allow(dead_code, reason = "only a pool refuses"))]
    pub(super) fn into_inner(mut self) -> Option<F> {
        self.running.take().and_then(Caught::into_inner).and_then(RunInContext::into_inner)
    }
}

impl<F, T> Future for Member<F, T>
where
    F: Future<Output = T>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(running) = this.running.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        let ended = outcome(ready!(running.poll(cx)));
        this.running.set(None);
        if let Some(shared) = this.shared.take() {
            shared.report(*this.index, ended);
        }
        Poll::Ready(())
    }
}
