//! Tasks that have failed for good.

#![forbid(unsafe_code)]

use super::attempts::Revive;
use crate::pool::error::{JoinError, Refusal};
use crate::pool::event::{Outcome, PoolEvent};
use crate::pool::handle::TaskId;
use crate::pool::link::{Failure, Link};
use crate::pool::managed::{Terms, Ticket};
use crate::pool::shared::Shared;
use crate::shim::Mutex;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// A task that was given up: it failed for good, panicked, or was timed out. Only tasks that can be made anew are kept:
/// those of [`WorkerPool::retry_task`](crate::pool::WorkerPool::retry_task).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The task.
    pub task: TaskId,
    /// How it ended.
    pub outcome: Outcome,
    /// How often it was begun.
    pub attempts: u32,
    /// The text of its last error, or of its panic, if it has one.
    pub error: Option<Arc<str>>,
    /// When it ended.
    pub at: SystemTime,
}

/// A letter with the means to send it again.
struct Burial {
    letter: DeadLetter,
    revive: Arc<dyn Revive>,
    terms: Terms,
}

/// The letters of a pool: a bounded list, the oldest first.
pub(in crate::pool) struct Letters {
    capacity: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    list: VecDeque<Burial>,
    displaced: u64,
}

impl Letters {
    pub(in crate::pool) fn new(capacity: usize) -> Self {
        Self { capacity, kept: Mutex::default() }
    }

    /// Keeps a letter. With no capacity at all nothing is kept, and nothing was displaced.
    fn keep(&self, burial: Burial) -> Option<Option<TaskId>> {
        if self.capacity == 0 {
            return None;
        }
        let mut kept = self.kept.lock();
        let oldest = if kept.list.len() < self.capacity { None } else { kept.list.pop_front() };
        kept.displaced += u64::from(oldest.is_some());
        kept.list.push_back(burial);
        drop(kept);
        // Its factory is the user's: dropped outside the lock.
        Some(oldest.map(|oldest| oldest.letter.task))
    }

    fn take(&self, task: TaskId) -> Option<Burial> {
        let mut kept = self.kept.lock();
        let at = kept.list.iter().position(|burial| burial.letter.task == task)?;
        kept.list.remove(at)
    }

    /// Puts a letter back that could not be sent. It was there, so it is older than what came meanwhile.
    fn put_back(&self, burial: Burial) {
        let mut kept = self.kept.lock();
        let at = kept.list.partition_point(|other| other.letter.at <= burial.letter.at);
        let refused = if kept.list.len() < self.capacity {
            kept.list.insert(at, burial);
            None
        } else {
            kept.displaced += 1;
            Some(burial)
        };
        drop(kept);
        drop(refused);
    }
}

impl Shared {
    /// Keeps a task that has ended, if it can be made anew and has not ended well, and tells of it.
    pub(in crate::pool) fn bury(
        &self,
        task: TaskId,
        attempts: u32,
        link: &Link,
        ticket: &Ticket,
        error: Option<&JoinError>,
    ) {
        let Some(revive) = link.revive() else { return };
        let (outcome, error) = match (error, link.failure()) {
            (None, Some(Failure::Dead(text))) => (Outcome::Failed, Some(text)),
            (Some(error), _) if error.is_panic() => {
                (Outcome::Panicked, error.panic_message().map(Into::into))
            }
            (Some(error), _) if error.is_timeout() => (Outcome::TimedOut, Some(error.to_string().into())),
            _ => return,
        };
        let letter = DeadLetter { task, outcome, attempts, error, at: self.settings.clock.wall() };
        let burial = Burial { letter, revive: Arc::clone(revive), terms: ticket.terms };
        if let (Some(displaced), Some(ledger)) = (self.settings.letters.keep(burial), &self.settings.ledger) {
            ledger.tell(|| PoolEvent::DeadLettered { task, displaced });
        }
    }
}

/// The dead letters of a pool; see [`WorkerPool::dead_letters`](crate::pool::WorkerPool::dead_letters).
#[derive(Clone, Copy)]
pub struct DeadLetters<'a> {
    shared: &'a Shared,
}

impl<'a> DeadLetters<'a> {
    pub(in crate::pool) fn new(shared: &'a Shared) -> Self {
        Self { shared }
    }

    fn letters(self) -> &'a Letters {
        &self.shared.settings.letters
    }

    /// The letters, the oldest first.
    pub fn list(self) -> Vec<DeadLetter> {
        self.letters().kept.lock().list.iter().map(|burial| burial.letter.clone()).collect()
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.letters().kept.lock().list.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// How many were lost because there were too many.
    pub fn displaced(self) -> u64 {
        self.letters().kept.lock().displaced
    }

    /// Submits the task of a letter once more, with all its attempts before it, if there is room; its result is of no
    /// interest to anybody then. It keeps its priority, its queue and its limit, and is due at once. The letter is gone;
    /// if the task fails again, there is a new one, under the new number.
    ///
    /// # Errors
    /// There is no such letter, no room, the pool is closed, or the current context has ended. The letter stays.
    pub fn requeue(self, task: TaskId) -> Result<TaskId, RequeueError> {
        let Some(burial) = self.letters().take(task) else { return Err(RequeueError(Why::Unknown(task))) };
        let terms = Terms { due: 0, expires: u64::MAX, deadline: u64::MAX, ..burial.terms };
        Arc::clone(&burial.revive).revive(self.shared, terms).map_err(|refusal| {
            self.letters().put_back(burial);
            RequeueError(Why::Refused(refusal, Arc::clone(&self.shared.settings.name)))
        })
    }

    /// [Requeues](Self::requeue) all letters that there are now, the oldest first, until one is refused. Says how many
    /// there were, and why the next was refused, if one was.
    pub fn requeue_all(self) -> (usize, Option<RequeueError>) {
        let tasks = self.list();
        let mut requeued = 0;
        for letter in tasks {
            match self.requeue(letter.task) {
                Ok(_) => requeued += 1,
                // Somebody else has taken it.
                Err(error) if error.is_unknown() => {}
                Err(error) => return (requeued, Some(error)),
            }
        }
        (requeued, None)
    }

    /// Forgets a letter. False if there is no such letter.
    pub fn discard(self, task: TaskId) -> bool {
        self.letters().take(task).is_some()
    }

    /// Forgets all letters; says how many.
    pub fn clear(self) -> usize {
        let list = std::mem::take(&mut self.letters().kept.lock().list);
        list.len()
    }
}

impl fmt::Debug for DeadLetters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("pool", &self.shared.settings.name)
            .field("capacity", &self.letters().capacity)
            .finish_non_exhaustive()
    }
}

/// Why a dead letter was not requeued.
pub struct RequeueError(Why);

enum Why {
    Unknown(TaskId),
    Refused(Refusal, Arc<str>),
}

impl RequeueError {
    /// Whether there is no such letter.
    pub fn is_unknown(&self) -> bool {
        matches!(self.0, Why::Unknown(_))
    }

    /// Whether there was no room for it.
    pub fn is_full(&self) -> bool {
        matches!(self.0, Why::Refused(Refusal::Full { .. }, _))
    }

    /// Whether the pool takes nothing in any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Why::Refused(Refusal::Closed, _))
    }
}

impl fmt::Display for RequeueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Why::Unknown(task) => write!(f, "dead letters: there is none of task {task}"),
            Why::Refused(refusal, pool) => refusal.write(f, pool),
        }
    }
}

impl fmt::Debug for RequeueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequeueError({self})")
    }
}

impl Error for RequeueError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Why::Refused(Refusal::Context(error), _) => Some(error),
            _ => None,
        }
    }
}
