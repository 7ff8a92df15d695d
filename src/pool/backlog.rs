//! The queue of tasks: a ring; or, without a bound, a deque under a lock; or, with priorities and delays, several lists.

#![forbid(unsafe_code)]

use super::handle::TaskId;
use super::managed::{Call, Managed, Terms, Ticket};
use super::slot::Job;
use crate::shim::Mutex;
use crate::sync::ring::{PopError, PushError, Ring};
use crossbeam_utils::CachePadded;
use std::collections::VecDeque;
use std::pin::Pin;

#[allow(clippy::large_enum_variant, reason = "one for each pool, and the ring is looked at for each task")]
pub(super) enum Backlog {
    Bounded(Ring<Job>),
    Unbounded(CachePadded<Mutex<Deque>>),
    Managed(Box<Managed>),
}

#[derive(Default)]
pub(super) struct Deque {
    jobs: VecDeque<Job>,
    popped: u64,
    closed: bool,
}

impl Backlog {
    pub(super) fn unbounded() -> Self {
        Self::Unbounded(CachePadded::new(Mutex::new(Deque::default())))
    }

    #[inline]
    pub(super) fn managed(&self) -> Option<&Managed> {
        match self {
            Self::Managed(managed) => Some(managed),
            Self::Bounded(_) | Self::Unbounded(_) => None,
        }
    }

    /// Adds a job at the end; `job` is called if, and only if, that succeeds. `heed` is told whom it concerns, where that
    /// is not simply a worker.
    #[inline(always)]
    pub(super) fn push_with<F: FnOnce() -> Job>(
        &self,
        job: F,
        heed: impl FnOnce(Call),
    ) -> Result<TaskId, PushError<F>> {
        match self {
            Self::Bounded(ring) => ring.push_with(job).map(|position| TaskId(ring.ordinal(position))),
            Self::Unbounded(deque) => {
                let mut deque = deque.lock();
                if deque.closed {
                    return Err(PushError::Closed(job));
                }
                let id = TaskId(deque.pushed());
                deque.jobs.push_back(job());
                Ok(id)
            }
            Self::Managed(managed) => {
                let (id, call) = managed.push_with(Terms::default(), job)?;
                heed(call);
                Ok(id)
            }
        }
    }

    /// Takes the job whose turn it is, for the worker of that number, and puts it in the place of `job`, which must be
    /// empty. The ticket is written, and `heed` called, by managed backlogs alone.
    #[inline(always)]
    pub(super) fn pop(
        &self,
        job: Pin<&mut Job>,
        worker: usize,
        ticket: &mut Ticket,
        heed: impl FnOnce(Call),
    ) -> Result<TaskId, PopError> {
        match self {
            Self::Bounded(ring) => ring
                .pop_with(|popped| job.refill_from(popped))
                .map(|((), position)| TaskId(ring.ordinal(position))),
            Self::Unbounded(deque) => {
                let mut deque = deque.lock();
                match deque.jobs.pop_front() {
                    Some(popped) => {
                        deque.popped += 1;
                        job.refill(popped);
                        Ok(TaskId(deque.popped - 1))
                    }
                    None if deque.closed => Err(PopError::Closed),
                    None => Err(PopError::Empty),
                }
            }
            Self::Managed(managed) => {
                let (popped, call) = managed.pop(job, worker, ticket);
                heed(call);
                popped
            }
        }
    }

    /// Takes any job out of an aborted pool, and puts it in the place of `job`, which must be empty.
    pub(super) fn sweep(&self, job: Pin<&mut Job>) -> Option<TaskId> {
        match self {
            Self::Managed(managed) => managed.sweep(job),
            _ => self.pop(job, 0, &mut Ticket::default(), |_| {}).ok(),
        }
    }

    /// Takes nothing in any more. False if that was so already.
    pub(super) fn close(&self, heed: impl FnOnce(Call)) -> bool {
        match self {
            Self::Bounded(ring) => ring.close(),
            Self::Unbounded(deque) => !std::mem::replace(&mut deque.lock().closed, true),
            Self::Managed(managed) => managed.close().map(heed).is_some(),
        }
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_closed(),
            Self::Unbounded(deque) => deque.lock().closed,
            Self::Managed(managed) => managed.is_closed(),
        }
    }

    /// Whether a pop would find a job, or the end; or a sleeper would have to keep the time.
    #[inline]
    pub(super) fn is_poppable(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.poppable().is_some(),
            Self::Unbounded(deque) => {
                let deque = deque.lock();
                deque.closed || !deque.jobs.is_empty()
            }
            Self::Managed(managed) => managed.calls(),
        }
    }

    /// Jobs that a worker could take, or could if it were their turn.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bounded(ring) => ring.len(),
            Self::Unbounded(deque) => deque.lock().jobs.len(),
            Self::Managed(managed) => managed.ready(),
        }
    }

    /// How many jobs were ever pushed.
    pub(super) fn pushed(&self) -> u64 {
        match self {
            Self::Bounded(ring) => ring.pushed(),
            Self::Unbounded(deque) => deque.lock().pushed(),
            Self::Managed(managed) => managed.pushed(),
        }
    }

    /// How many jobs were ever popped, less those that came back.
    pub(super) fn popped(&self) -> u64 {
        match self {
            Self::Bounded(ring) => ring.popped(),
            Self::Unbounded(deque) => deque.lock().popped,
            Self::Managed(managed) => managed.popped(),
        }
    }
}

impl Deque {
    fn pushed(&self) -> u64 {
        self.popped + self.jobs.len() as u64
    }
}
