//! The ends of tasks as a stream.

#![forbid(unsafe_code)]

use super::event::TaskReport;
use super::ledger::Ledger;
use super::shared::Shared;
use crate::shim::Arc;
use crate::sync::Receiver;
use futures_core::Stream;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A stream of the reports of a pool's tasks, in the order in which they ended; see
/// [`WorkerPool::reports`](super::WorkerPool::reports). It ends when the pool has.
///
/// The pool keeps a bounded number of reports for it. When there are more, the oldest is lost, and counted in
/// [`missed`](Self::missed): workers do not wait for who reads.
///
/// # Cancel safety
/// Dropping a wait (`reports.next()`) loses nothing.
#[must_use = "streams do nothing unless polled"]
pub struct Reports {
    receiver: Receiver<TaskReport>,
    shared: Arc<Shared>,
}

impl Reports {
    pub(super) fn new(receiver: Receiver<TaskReport>, shared: Arc<Shared>) -> Self {
        Self { receiver, shared }
    }

    /// A report that is there now.
    pub fn try_next(&self) -> Option<TaskReport> {
        self.receiver.try_recv().ok()
    }

    /// Reports that were lost, of all readers.
    pub fn missed(&self) -> u64 {
        self.shared.settings.ledger.as_deref().map_or(0, Ledger::displaced)
    }
}

impl Stream for Reports {
    type Item = TaskReport;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TaskReport>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports")
            .field("waiting", &self.receiver.len())
            .field("missed", &self.missed())
            .finish()
    }
}
