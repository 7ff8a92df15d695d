//! The producer's end.

#![forbid(unsafe_code)]

use super::slot::Slot;
use crate::shim::Arc;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a producer emits its values with; see [`generator`](super::generator).
///
/// It belongs into the producer. One that was moved into another task works too: its values arrive, in the order in which
/// they are emitted. But nothing drops that task when the stream is dropped or has ended: from then on its `emit`s wait for
/// ever, and [`is_closed`](Self::is_closed) says so.
pub struct Emitter<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Emitter<T> {
    pub(super) fn new(slot: Arc<Slot<T>>) -> Self {
        Self { slot }
    }

    /// Gives a value to the stream, and waits until another one is wanted.
    ///
    /// Where the stream is dropped meanwhile, the producer is dropped at this await and what stands behind it never runs.
    ///
    /// # Cancel safety
    /// Not polled, it has emitted nothing. Once polled the value may have been taken, and dropping the future does not take it
    /// back; a value for which there was no room yet is dropped with it.
    pub fn emit(&self, value: T) -> Emit<'_, T> {
        Emit { slot: &self.slot, value: Some(value) }
    }

    /// Whether the stream is gone, closed or over. The producer itself never sees that: it is dropped first.
    pub fn is_closed(&self) -> bool {
        self.slot.is_closed()
    }
}

impl<T> fmt::Debug for Emitter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").field("ready", &self.slot.length()).finish_non_exhaustive()
    }
}

/// The future of [`Emitter::emit`].
#[must_use = "futures do nothing unless polled"]
pub struct Emit<'a, T> {
    slot: &'a Slot<T>,
    value: Option<T>,
}

/// The value is not pinned.
impl<T> Unpin for Emit<'_, T> {}

impl<T> Future for Emit<'_, T> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let slot = self.slot;
        slot.poll_emit(&mut self.value, cx.waker())
    }
}

impl<T> fmt::Debug for Emit<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit").field("taken", &self.value.is_none()).finish_non_exhaustive()
    }
}
