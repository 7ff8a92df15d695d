//! A group whose members are spawned.

use super::error::{GroupError, Outcome, Refusal, SpawnError};
use super::home::Home;
use super::settings::{Crowd, Numbered, Settings, join_all, next, try_join_all};
use super::shared::{Member, Shared};
use super::stats::GroupStats;
use crate::panics::contain;
#[cfg(feature = "pool")]
use crate::pool::WorkerPool;
use crate::shim::Arc;
use crate::sync::Cause;
use crate::task::Spawn;
use crate::time::Clock;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

/// Several pieces of work under one roof, each a task of its own on an executor or a pool.
///
/// ```
/// use cofferdam::group::TaskGroup;
/// use cofferdam::task::BoxTask;
///
/// # smol::block_on(async {
/// let mut group = TaskGroup::new(|task: BoxTask| smol::spawn(task).detach()).width(4);
/// for number in 0..10_u64 {
///     group.spawn(async move { number * number }).await.unwrap();
/// }
/// let squares: Vec<u64> = group.join_all().await.into_iter().map(Result::unwrap).collect();
/// assert_eq!(squares[9], 81);
/// # });
/// ```
///
/// # The end
/// No member outlives the group's interest in it. Each runs in a [`Context`](crate::sync::Context) below the one in which the
/// group was first used: it ends with that one, with the group's [time](Self::time_limit), when the group is
/// [cancelled](Self::cancel), and when the group is dropped. A member that is suspended is then woken and dropped; one that is
/// being polled is dropped in place of its next poll; one that has not begun never does. The `join` methods wait for that:
/// when they return, no member runs.
///
/// A member that blocks its thread, or never gives way, cannot be ended from outside.
///
/// # Outcomes
/// Each member has one outcome, its output or a [`MemberError`](super::MemberError). They can be taken one by one as they come, by
/// [`next`](Self::next); all at once in the order of the members, by [`join_all`](Self::join_all); or up to the first
/// failure, by [`try_join_all`](Self::try_join_all). What nobody takes is kept, one for each member; a group that lives
/// long and whose outcomes are of no interest should [discard](Self::discard_outcomes) them.
///
/// # Panics
/// A panic of a member is its outcome.
///
/// # When to use something else
/// To borrow what the members work on, or without an executor, an [`InPlaceGroup`](super::InPlaceGroup). For the same work on each
/// of many items, [`par_map`](super::par_map), which spawns a task for each worker instead of one for each item.
pub struct TaskGroup<T> {
    shared: Arc<Shared<T>>,
    home: Home,
    settings: Settings,
    kept: VecDeque<Numbered<T>>,
}

impl<T: Send + 'static> TaskGroup<T> {
    /// A group on an executor.
    pub fn new(spawner: impl Spawn + 'static) -> Self {
        Self::at(Home::spawner(spawner))
    }

    /// A group on a pool: members wait in its queue, and hold a worker while they run.
    ///
    /// A task of the same pool that waits for such a group holds a worker, too: if all workers wait so, none is left for
    /// the members. Where that can be, take an [`InPlaceGroup`](super::InPlaceGroup).
    #[cfg(feature = "pool")]
    pub fn on_pool(pool: &WorkerPool) -> Self {
        Self::at(Home::Pool(pool.clone()))
    }

    crate::observe::watchable!(shared, [T], GroupStats, |shared| shared.stats());

    fn at(home: Home) -> Self {
        Self { shared: Arc::new(Shared::new()), home, settings: Settings::new(), kept: VecDeque::new() }
    }

    /// How many members run at once: with so many, [`spawn`](Self::spawn) waits. Zero is one. Default: any number.
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

    /// Outcomes are counted in [`stats`](Self::stats) and dropped: however long the group lives, it does not grow. Nobody is told
    /// of them then, not even [`try_join_all`](Self::try_join_all) of a failure.
    pub fn discard_outcomes(self) -> Self {
        self.shared.discard();
        self
    }

    /// Starts a member, having waited until fewer run than may, and on a pool, for room in its queue; its number, counted
    /// from 0.
    ///
    /// # Errors
    /// The group has ended, or the pool is closed. The future comes back in the error.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has started nothing.
    pub async fn spawn<F>(&mut self, future: F) -> Result<usize, SpawnError<F>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let width = self.settings.width;
        if let Err(reason) = self.settings.check() {
            return Err(SpawnError { future, reason });
        }
        poll_fn(|cx| self.shared.poll_room(width, cx.waker())).await;
        // It may have ended meanwhile.
        let (index, member) = self.offer(future)?;
        match &self.home {
            Home::Spawner(spawner) => spawner.spawn(Box::pin(member)),
            #[cfg(feature = "pool")]
            Home::Pool(pool) => {
                if let Err(refused) = pool.execute(member).await {
                    return self.refused(index, refused);
                }
            }
        }
        self.shared.accept(index);
        Ok(index)
    }

    /// Starts a member if it need not wait.
    ///
    /// # Errors
    /// As many members run as may, the group has ended, or the pool has no room or is closed. The future comes back in the
    /// error.
    pub fn try_spawn<F>(&mut self, future: F) -> Result<usize, SpawnError<F>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (index, member) = self.offer(future)?;
        match &self.home {
            Home::Spawner(spawner) => spawner.spawn(Box::pin(member)),
            #[cfg(feature = "pool")]
            Home::Pool(pool) => {
                if let Err(refused) = pool.try_execute(member) {
                    return self.refused(index, refused);
                }
            }
        }
        self.shared.accept(index);
        Ok(index)
    }

    /// A member, and its number, if the group has not ended and has room for it.
    fn offer<F>(&mut self, future: F) -> Result<(usize, Member<F, T>), SpawnError<F>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let width = self.settings.width;
        if let Err(reason) = self.settings.check() {
            return Err(SpawnError { future, reason });
        }
        let Some(index) = self.shared.offer(width) else {
            return Err(SpawnError { future, reason: Refusal::Full { width } });
        };
        let member = Member::new(Arc::clone(&self.shared), index, self.settings.context(), future);
        Ok((index, member))
    }

    #[cfg(feature = "pool")]
    fn refused<F>(
        &self,
        index: usize,
        refused: crate::pool::SubmitError<Member<F, T>>,
    ) -> Result<usize, SpawnError<F>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let reason = Refusal::Pool(refused.to_string());
        if let Some(future) = refused.into_inner().into_inner() {
            return Err(SpawnError { future, reason });
        }
        // Whoever refused it has run it to its end: it was a member.
        self.shared.accept(index);
        Ok(index)
    }

    /// The next outcome as they come, with the number of its member; `None` when no member is left.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing.
    pub async fn next(&mut self) -> Option<(usize, Outcome<T>)> {
        next(self).await
    }

    /// Waits for all members; those outcomes that were not given out yet, in the order of the members.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing: the members run on.
    pub async fn join_all(&mut self) -> Vec<Outcome<T>> {
        join_all(self).await
    }

    /// Cancels all members, and refuses further ones; says whether it was this call that did. They are told by their wakers,
    /// and dropped when they are polled next.
    pub fn cancel(&mut self, cause: impl Into<Cause>) -> bool {
        self.settings.cancel(cause.into())
    }

    /// The books.
    pub fn stats(&self) -> GroupStats {
        let stats = self.shared.stats();
        GroupStats { unread: stats.unread + self.kept.len(), ..stats }
    }
}

impl<T: Send + 'static, E: Send + 'static> TaskGroup<Result<T, E>> {
    /// Waits for all members, in the order of which their values are given, or for the first failure in time: an error, a
    /// panic, or any other [`MemberError`](super::MemberError). It cancels the others, and waits until none of them runs.
    ///
    /// # Errors
    /// The first failure, with what became of the others.
    ///
    /// # Cancel safety
    /// Dropping the wait loses nothing: the members run on, if none has failed.
    pub async fn try_join_all(&mut self) -> Result<Vec<T>, GroupError<T, E>> {
        try_join_all(self).await
    }
}

impl<T: Send + 'static> Crowd for TaskGroup<T> {
    type Output = T;

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Numbered<T>>> {
        self.shared.poll_next(cx.waker())
    }

    fn kept(&mut self) -> &mut VecDeque<Numbered<T>> {
        &mut self.kept
    }

    fn cancel_with(&mut self, cause: Cause) {
        self.settings.cancel(cause);
    }
}

impl<T> Drop for TaskGroup<T> {
    fn drop(&mut self) {
        self.settings.cancel(Cause::from("the group was dropped"));
        // Not with its last member, which may take its time.
        for outcome in self.shared.abandon() {
            contain(|| drop(outcome));
        }
    }
}

impl<T> fmt::Debug for TaskGroup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("home", &self.home)
            .field("width", &self.settings.width)
            .finish_non_exhaustive()
    }
}
