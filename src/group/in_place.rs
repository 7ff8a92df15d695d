//! A group whose members run where the group is polled.

use super::error::{GroupError, Outcome, Refusal, SpawnError};
use super::settings::{Crowd, Numbered, Settings, join_all, next, outcome, try_join_all};
use super::stats::GroupStats;
use crate::sync::{Cause, RunInContext};
use crate::task::Caught;
use crate::time::Clock;
use crate::wait::Places;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

/// Outcomes that come without waiting in one poll, before others on the thread get their turn.
const AT_ONCE: usize = 256;

/// Several pieces of work under one roof, without an executor: they run inside whoever waits for the group, and may borrow.
///
/// ```
/// use cofferdam::group::InPlaceGroup;
///
/// async fn length(text: &str) -> usize {
///     text.len()
/// }
///
/// # futures_executor::block_on(async {
/// let texts = [String::from("one"), String::from("three")];
/// let mut group = InPlaceGroup::new();
/// for text in &texts {
///     group.spawn(length(text)).await.unwrap();
/// }
/// assert_eq!(group.next().await.map(|(index, length)| (index, length.unwrap())), Some((0, 3)));
/// assert_eq!(group.join_all().await.len(), 1);
/// # });
/// ```
///
/// Members of several types go in as `Pin<Box<dyn Future<Output = T> + '_>>`.
///
/// # How it runs
/// A member is polled by [`next`](Self::next), [`join_all`](Self::join_all), [`try_join_all`](Self::try_join_all), and by
/// [`spawn`](Self::spawn) while it waits, and only when it was woken: a wake-up costs one poll, however many members there are.
/// While none of these is polled nothing gets on, and one member that takes its time holds all the others up. For work that
/// keeps a processor busy, a [`TaskGroup`](super::TaskGroup).
///
/// # The end
/// As with a [`TaskGroup`](super::TaskGroup); what is cancelled is dropped by the next of these waits, and dropping the group
/// drops its members on the spot. A group that is used inside a [`Context`](crate::sync::Context) ends with it.
///
/// # Panics
/// A panic of a member is its outcome; it does not reach whoever polls.
pub struct InPlaceGroup<F: Future> {
    members: Places<Caught<RunInContext<F>>>,
    /// By place, the number of the member.
    numbers: Vec<usize>,
    finished: VecDeque<Numbered<F::Output>>,
    kept: VecDeque<Numbered<F::Output>>,
    settings: Settings,
    stats: GroupStats,
}

/// Members are in boxes, and outcomes are not pinned.
impl<F: Future> Unpin for InPlaceGroup<F> {}

impl<F: Future> InPlaceGroup<F> {
    /// Without members yet.
    pub fn new() -> Self {
        Self {
            members: Places::new(),
            numbers: Vec::new(),
            finished: VecDeque::new(),
            kept: VecDeque::new(),
            settings: Settings::new(),
            stats: GroupStats::default(),
        }
    }

    /// How many members run at once: with so many, [`spawn`](Self::spawn) waits, and lets them run. Zero is one. Default: any
    /// number.
    pub fn width(mut self, members: usize) -> Self {
        self.settings.width = members.max(1);
        self
    }

    /// How long all of it may take, from the first use of the group. What is not done by then is dropped, and its outcome
    /// says so. Default: without limit.
    ///
    /// No effect after the first use.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// The clock of the time limit. Default: that of the surrounding [`Context`](crate::sync::Context), which is the system's
    /// if there is none.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// Takes a member in, having waited until there are fewer than may run; its number, counted from 0. It begins when the
    /// group is polled.
    ///
    /// # Errors
    /// The group has ended. The future comes back in the error.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken nothing in; the members that it let run keep their outcomes.
    pub async fn spawn(&mut self, future: F) -> Result<usize, SpawnError<F>> {
        if let Err(reason) = self.settings.check() {
            return Err(SpawnError { future, reason });
        }
        poll_fn(|cx| {
            self.run(cx);
            if self.members.taken() < self.settings.width { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.try_spawn(future)
    }

    /// Takes a member in, if there are fewer than may run.
    ///
    /// # Errors
    /// There are as many as may run, or the group has ended. The future comes back in the error.
    pub fn try_spawn(&mut self, future: F) -> Result<usize, SpawnError<F>> {
        if let Err(reason) = self.settings.check() {
            return Err(SpawnError { future, reason });
        }
        let width = self.settings.width;
        if self.members.taken() >= width {
            return Err(SpawnError { future, reason: Refusal::Full { width } });
        }
        let index = self.stats.spawned;
        self.stats.spawned += 1;
        let at = self.members.insert(Caught::new(self.settings.context().run(future)));
        match self.numbers.get_mut(at) {
            Some(number) => *number = index,
            // Places are numbered as they are made.
            None => self.numbers.push(index),
        }
        self.members.wake_place(at);
        Ok(index)
    }

    /// Polls the members that were woken, a number of them at a time.
    fn run(&mut self, cx: &mut Context<'_>) {
        self.members.look(cx.waker());
        for _ in 0..AT_ONCE {
            let Some(at) = self.members.next_woken() else { return };
            let Some(Poll::Ready(ended)) = self.members.poll(at, Future::poll) else { continue };
            self.members.remove(at);
            let ended = outcome(ended);
            self.stats.count(&ended);
            if let Some(index) = self.numbers.get(at) {
                self.finished.push_back((*index, ended));
            }
        }
        cx.waker().wake_by_ref();
    }

    /// The next outcome as they come, with the number of its member; `None` when no member is left.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<(usize, Outcome<F::Output>)> {
        next(self).await
    }

    /// Waits for all members; those outcomes that were not given out yet, in the order of the members.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing.
    pub async fn join_all(&mut self) -> Vec<Outcome<F::Output>> {
        join_all(self).await
    }

    /// Cancels all members, and refuses further ones; says whether it was this call that did. They are dropped by the next wait
    /// for the group.
    pub fn cancel(&mut self, cause: impl Into<Cause>) -> bool {
        self.settings.cancel(cause.into())
    }

    /// The books.
    pub fn stats(&self) -> GroupStats {
        GroupStats {
            running: self.members.taken(),
            unread: self.finished.len() + self.kept.len(),
            ..self.stats
        }
    }
}

impl<F, T, E> InPlaceGroup<F>
where
    F: Future<Output = Result<T, E>>,
{
    /// Waits for all members, in the order of which their values are given, or for the first failure in time: an error, a
    /// panic, or any other [`MemberError`](super::MemberError). It cancels the others, and drops them.
    ///
    /// # Errors
    /// The first failure, with what became of the others.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing.
    pub async fn try_join_all(&mut self) -> Result<Vec<T>, GroupError<T, E>> {
        try_join_all(self).await
    }
}

impl<F: Future> Crowd for InPlaceGroup<F> {
    type Output = F::Output;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Numbered<F::Output>>> {
        self.run(cx);
        match self.finished.pop_front() {
            Some(numbered) => Poll::Ready(Some(numbered)),
            None if self.members.taken() == 0 => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn kept(&mut self) -> &mut VecDeque<Numbered<F::Output>> {
        &mut self.kept
    }

    fn cancel_with(&mut self, cause: Cause) {
        self.settings.cancel(cause);
    }
}

impl<F: Future> Default for InPlaceGroup<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Future> fmt::Debug for InPlaceGroup<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InPlaceGroup").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
