//! The queue of tasks: a ring, or, if it has no bound, a deque under a lock.

#![forbid(unsafe_code)]

use super::handle::TaskId;
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

    /// Adds a job at the end; `job` is called if, and only if, that succeeds.
    #[inline(always)]
    pub(super) fn push_with<F: FnOnce() -> Job>(&self, job: F) -> Result<TaskId, PushError<F>> {
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
        }
    }

    /// Takes the oldest job and puts it in the place of `job`, which must be empty.
    #[inline(always)]
    pub(super) fn pop(&self, job: Pin<&mut Job>) -> Result<TaskId, PopError> {
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
        }
    }

    /// Takes nothing in any more. False if that was so already.
    pub(super) fn close(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.close(),
            Self::Unbounded(deque) => !std::mem::replace(&mut deque.lock().closed, true),
        }
    }

    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_closed(),
            Self::Unbounded(deque) => deque.lock().closed,
        }
    }

    /// Whether a pop would find a job, or the end.
    #[inline]
    pub(super) fn is_poppable(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.poppable().is_some(),
            Self::Unbounded(deque) => {
                let deque = deque.lock();
                deque.closed || !deque.jobs.is_empty()
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bounded(ring) => ring.len(),
            Self::Unbounded(deque) => deque.lock().jobs.len(),
        }
    }

    /// How many jobs were ever pushed.
    pub(super) fn pushed(&self) -> u64 {
        match self {
            Self::Bounded(ring) => ring.pushed(),
            Self::Unbounded(deque) => deque.lock().pushed(),
        }
    }

    /// How many jobs were ever popped.
    pub(super) fn popped(&self) -> u64 {
        match self {
            Self::Bounded(ring) => ring.popped(),
            Self::Unbounded(deque) => deque.lock().popped,
        }
    }
}

impl Deque {
    fn pushed(&self) -> u64 {
        self.popped + self.jobs.len() as u64
    }
}
