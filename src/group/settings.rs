//! What both kinds of group have in common: their settings, their context, and what was collected and not given out.

use super::error::{Failure, GroupError, MemberError, Outcome, Refusal};
use crate::sync::Context as WorkContext;
use crate::sync::{Cause, ContextError};
use crate::task::Panic;
use crate::time::Clock;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

/// What members run under.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) width: usize,
    pub(super) time_limit: Duration,
    /// That of the context around it, if it is not set.
    pub(super) clock: Option<Clock>,
    context: Option<WorkContext>,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self { width: usize::MAX, time_limit: Duration::MAX, clock: None, context: None }
    }

    /// The context of all members: below that of the work which uses the group first, and cancelled with it.
    pub(super) fn context(&mut self) -> &WorkContext {
        self.context.get_or_insert_with(|| {
            let around = WorkContext::current();
            if self.time_limit == Duration::MAX {
                return around.child();
            }
            let around = self.clock.clone().map_or_else(|| around.clone(), |clock| around.with_clock(clock));
            around.with_timeout(self.time_limit)
        })
    }

    pub(super) fn check(&mut self) -> Result<(), Refusal> {
        self.context().check().map_err(Refusal::Ended)
    }

    pub(super) fn cancel(&mut self, cause: Cause) -> bool {
        self.context().cancel(cause)
    }
}

/// How the poll of a member's future ended it.
pub(super) fn outcome<T>(ended: Result<Result<T, ContextError>, Panic>) -> Outcome<T> {
    ended.map_err(MemberError::panicked)?.map_err(MemberError::ended)
}

/// The outcomes of members, with their numbers.
pub(super) type Numbered<T> = (usize, Outcome<T>);

/// A group, for what works the same in both kinds.
pub(super) trait Crowd {
    type Output;

    /// The next outcome as they come; `None` when no member is left.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Numbered<Self::Output>>>;

    /// What was collected by a wait that was dropped.
    fn kept(&mut self) -> &mut VecDeque<Numbered<Self::Output>>;

    fn cancel_with(&mut self, cause: Cause);
}

pub(super) async fn next<C: Crowd>(crowd: &mut C) -> Option<Numbered<C::Output>> {
    poll_fn(|cx| match crowd.kept().pop_front() {
        Some(kept) => Poll::Ready(Some(kept)),
        None => crowd.poll_next(cx),
    })
    .await
}

/// Waits until no member is left; stops before, if `stop` says so of an outcome.
async fn gather<C: Crowd>(crowd: &mut C, mut stop: impl FnMut(&Numbered<C::Output>) -> bool) {
    poll_fn(|cx| {
        loop {
            match crowd.poll_next(cx) {
                Poll::Ready(Some(numbered)) => {
                    let stops = stop(&numbered);
                    crowd.kept().push_back(numbered);
                    if stops {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// What was collected, in the order of the numbers.
fn sorted<C: Crowd>(crowd: &mut C) -> Vec<Numbered<C::Output>> {
    let mut all = Vec::from(std::mem::take(crowd.kept()));
    all.sort_unstable_by_key(|(index, _)| *index);
    all
}

pub(super) async fn join_all<C: Crowd>(crowd: &mut C) -> Vec<Outcome<C::Output>> {
    gather(crowd, |_| false).await;
    sorted(crowd).into_iter().map(|(_, outcome)| outcome).collect()
}

pub(super) async fn try_join_all<C, T, E>(crowd: &mut C) -> Result<Vec<T>, GroupError<T, E>>
where
    C: Crowd<Output = Result<T, E>>,
{
    let failed = |numbered: &Numbered<Result<T, E>>| !matches!(numbered.1, Ok(Ok(_)));
    // What a wait that was dropped has collected comes first: in time, it was.
    let first =
        |crowd: &mut C| crowd.kept().iter().find(|numbered| failed(numbered)).map(|numbered| numbered.0);
    if first(crowd).is_none() {
        gather(crowd, failed).await;
    }
    let Some(index) = first(crowd) else {
        return Ok(sorted(crowd).into_iter().filter_map(|(_, outcome)| outcome.ok()?.ok()).collect());
    };
    crowd.cancel_with(Cause::from(format!("member {index} failed")));
    gather(crowd, |_| false).await;
    let mut failure = Failure::Member(MemberError::dropped());
    let mut others = sorted(crowd);
    if let Some(at) = others.iter().position(|numbered| numbered.0 == index) {
        failure = match others.remove(at).1 {
            Ok(Ok(_)) => failure,
            Ok(Err(error)) => Failure::Failed(error),
            Err(error) => Failure::Member(error),
        };
    }
    Err(GroupError { index, failure, others })
}
