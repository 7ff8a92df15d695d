//! The receiving end.

use super::error::Late;
use super::{RecvError, RecvTimeoutError, Sender, Shared, TryRecvError, forget};
use crate::shim::{Arc, Ordering};
use crate::sync::context;
use crate::sync::ring::PopError;
use crate::time::Sleep;
use crate::wait::Slot;
use futures_core::stream::{FusedStream, Stream};
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::iter::FusedIterator;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The receiving end of a [`channel`](super::channel). Clones receive from the same channel; each value goes to one.
///
/// It is also a [`Stream`] that ends when the channel is closed and empty. As a stream it keeps a small allocation of its
/// own from its first wait on, not one per value; and from a poll that found nothing until the next poll, or until it is
/// dropped, it stands in line for a value. To stop polling one receiver of several for good, drop it. (The future of
/// [`recv`](Self::recv) leaves the line when it is dropped.)
///
/// A stream cannot fail, so the current [`Context`](crate::sync::Context) does not end it.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// Where it waits as a stream. Boxed so that the receiver may be moved between polls.
    slot: Option<Pin<Box<Slot<()>>>>,
}

impl<T> Receiver<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, slot: None }
    }

    crate::observe::watchable!(shared, [T], super::ChannelLook, |shared| shared.look());

    pub(super) fn another(shared: &Arc<Shared<T>>) -> Self {
        // Relaxed: as in a reference count.
        shared.receivers.fetch_add(1, Ordering::Relaxed);
        Self::new(Arc::clone(shared))
    }

    /// Receives the oldest value, waiting for one.
    ///
    /// # Errors
    /// The channel is closed and empty; or the current [`Context`](crate::sync::Context) had ended before the first
    /// attempt. (To take what is left in an ended context use [`try_recv`](Self::try_recv) or [`drain`](Self::drain).)
    ///
    /// # Cancel safety
    /// Cancel safe: a value leaves the channel only in the poll that returns it.
    pub fn recv(&self) -> RecvFuture<'_, T> {
        RecvFuture { shared: &self.shared, slot: Slot::new() }
    }

    /// Receives the oldest value if there is one now.
    ///
    /// # Errors
    /// The channel is empty, or closed and empty.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.shared.try_recv().map_err(|why| TryRecvError(self.shared.now_or(why == PopError::Closed)))
    }

    /// Receives the oldest value, waiting no longer than `limit`, counted from the first poll that finds none. A limit of
    /// zero allows one attempt; one past the end of time is none.
    ///
    /// # Errors
    /// No value within the limit; or as [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, limit: Duration) -> RecvTimeoutFuture<'_, T> {
        RecvTimeoutFuture { recv: self.recv(), limit, sleep: None }
    }

    /// Waits for a value, then appends up to `limit` of the oldest to `values`, as many as are there; says how many. They
    /// are taken together, which costs less than one by one. A limit of 0 takes none and does not wait.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    ///
    /// # Cancel safety
    /// Cancel safe: values leave the channel only in the poll that returns.
    pub fn recv_many<'a>(&'a self, values: &'a mut Vec<T>, limit: usize) -> RecvManyFuture<'a, T> {
        RecvManyFuture { shared: &self.shared, values, limit: NonZeroUsize::new(limit), slot: Slot::new() }
    }

    /// Takes out what is in the channel now, oldest first, and ends at the first moment at which it is empty. Does not
    /// wait. After [`close`](Self::close) it takes all that was ever sent and not received.
    ///
    /// ```
    /// use cofferdam::sync::channel;
    ///
    /// let (tx, rx) = channel(16)?;
    /// tx.try_send(1)?;
    /// tx.try_send(2)?;
    /// rx.close();
    /// assert!(rx.drain().eq([1, 2]));
    /// assert!(rx.try_recv().unwrap_err().is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&self) -> Drain<'_, T> {
        Drain { shared: Some(&self.shared) }
    }

    /// Closes the channel for sends; what is in it is still received. False if it was closed already.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed for sends. There may still be values in it.
    pub fn is_closed(&self) -> bool {
        self.shared.ring.is_closed()
    }

    /// How many values are in the channel.
    pub fn len(&self) -> usize {
        self.shared.ring.len()
    }

    /// How many values can be in the channel.
    pub fn capacity(&self) -> usize {
        self.shared.ring.capacity()
    }

    /// Whether there is no value in the channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room in the channel.
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How many senders there are.
    pub fn sender_count(&self) -> usize {
        // Relaxed: a number to look at.
        self.shared.senders.load(Ordering::Relaxed)
    }

    /// How many receivers there are.
    pub fn receiver_count(&self) -> usize {
        // Relaxed: a number to look at.
        self.shared.receivers.load(Ordering::Relaxed)
    }

    /// Whether both receive from the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// A new sender of this channel. If the channel has closed, it stays closed.
    pub fn new_sender(&self) -> Sender<T> {
        // Relaxed: as in a reference count.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender::new(Arc::clone(&self.shared))
    }

    fn stop_waiting(&self) {
        if let Some(slot) = &self.slot {
            self.shared.receiving.leave(slot.as_ref(), false, || self.shared.work_for_receivers());
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::another(&self.shared)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.stop_waiting();
        if forget(&self.shared.receivers) {
            self.shared.close();
            // Nobody can want them any more, so they go now and not when the last sender is dropped.
            self.drain().for_each(drop);
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe(f, "Receiver")
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if this.slot.is_none() {
            // No slot until it has to wait.
            match this.shared.try_recv() {
                Ok(value) => return Poll::Ready(Some(value)),
                Err(PopError::Closed) => return Poll::Ready(None),
                Err(PopError::Empty) => {}
            }
        }
        let slot = this.slot.get_or_insert_with(|| Box::pin(Slot::new())).as_ref();
        this.shared.poll_take(slot, cx.waker(), Shared::try_recv).map(Result::ok)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // Other receivers may take what is there now.
        (0, self.is_closed().then(|| self.len()))
    }
}

impl<T> FusedStream for Receiver<T> {
    /// Closed and empty: nothing will ever come.
    fn is_terminated(&self) -> bool {
        self.is_closed() && self.is_empty()
    }
}

pin_project! {
    /// The future of [`Receiver::recv`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RecvFuture<'a, T> {
        shared: &'a Shared<T>,
        #[pin]
        slot: Slot<()>,
    }

    impl<T> PinnedDrop for RecvFuture<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            this.give_up();
        }
    }
}

impl<T> RecvFuture<'_, T> {
    fn give_up(self: Pin<&mut Self>) {
        let this = self.project();
        let shared = *this.shared;
        shared.receiving.leave(this.slot.as_ref(), false, || shared.work_for_receivers());
    }
}

impl<T> Future for RecvFuture<'_, T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // All that a receive does which need not wait; the rest is kept out of the caller's code.
        if this.slot.is_idle() && !context::can_end() {
            if let Ok((value, at)) = this.shared.ring.pop() {
                this.shared.sending.notify(at);
                return Poll::Ready(Ok(value));
            }
        }
        this.shared.poll_recv(this.slot.as_ref(), cx.waker())
    }
}

impl<T> fmt::Debug for RecvFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Receiver::recv_timeout`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RecvTimeoutFuture<'a, T> {
        #[pin]
        recv: RecvFuture<'a, T>,
        limit: Duration,
        sleep: Option<Sleep>,
    }
}

impl<T> Future for RecvTimeoutFuture<'_, T> {
    type Output = Result<T, RecvTimeoutError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(received) = this.recv.as_mut().poll(cx) {
            *this.sleep = None;
            return Poll::Ready(received.map_err(|error| RecvTimeoutError(Late::from(error.ended))));
        }
        let shared = this.recv.shared;
        let sleep = this.sleep.get_or_insert_with(|| shared.clock.sleep(*this.limit));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.recv.give_up();
        let why = Late::Timeout { limit: *this.limit, capacity: shared.ring.capacity() };
        Poll::Ready(Err(RecvTimeoutError(why)))
    }
}

impl<T> fmt::Debug for RecvTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvTimeoutFuture").field("limit", &self.limit).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Receiver::recv_many`].
    #[must_use = "futures do nothing unless polled"]
    pub struct RecvManyFuture<'a, T> {
        shared: &'a Shared<T>,
        values: &'a mut Vec<T>,
        limit: Option<NonZeroUsize>,
        #[pin]
        slot: Slot<()>,
    }

    impl<T> PinnedDrop for RecvManyFuture<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let shared = *this.shared;
            shared.receiving.leave(this.slot.as_ref(), false, || shared.work_for_receivers());
        }
    }
}

impl<T> Future for RecvManyFuture<'_, T> {
    type Output = Result<usize, RecvError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (values, Some(limit)) = (this.values, *this.limit) else { return Poll::Ready(Ok(0)) };
        if let Some(ended) = this.shared.refuses(&this.slot) {
            return Poll::Ready(Err(RecvError { ended: Some(ended) }));
        }
        this.shared.poll_take(this.slot.as_ref(), cx.waker(), |shared| shared.try_recv_many(values, limit))
    }
}

impl<T> fmt::Debug for RecvManyFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvManyFuture").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// The iterator of [`Receiver::drain`]. What it has not yet taken when it is dropped stays in the channel.
#[must_use = "iterators do nothing unless consumed"]
pub struct Drain<'a, T> {
    shared: Option<&'a Shared<T>>,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let value = self.shared?.try_recv().ok();
        if value.is_none() {
            self.shared = None;
        }
        value
    }
}

impl<T> FusedIterator for Drain<'_, T> {}

impl<T> fmt::Debug for Drain<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("ended", &self.shared.is_none()).finish()
    }
}
