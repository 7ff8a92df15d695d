//! The sending end.

use super::error::Late;
use super::{Receiver, SendError, SendTimeoutError, Shared, TrySendError, forget};
use crate::shim::{Arc, Ordering};
use crate::sync::context;
use crate::sync::ring::PushError;
use crate::time::Sleep;
use crate::wait::Slot;
use pin_project_lite::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The sending end of a [`channel`](super::channel). Clones send into the same channel.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    pub(super) fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared }
    }

    crate::observe::watchable!(shared, [T], super::ChannelLook, |shared| shared.look());

    /// Sends a value, waiting for room.
    ///
    /// # Errors
    /// The channel is closed, or the current [`Context`](crate::sync::Context) had ended before the first attempt; the
    /// error gives the value back.
    ///
    /// # Cancel safety
    /// The value is in the channel if and only if the future was ready with `Ok`; it is never sent half-way or
    /// later. A future dropped before that takes the value with it. To keep the value, wait by
    /// [`send_timeout`](Self::send_timeout), which gives it back, or offer it by [`try_send`](Self::try_send).
    pub fn send(&self, value: T) -> SendFuture<'_, T> {
        SendFuture { shared: &self.shared, value: Some(value), slot: Slot::new() }
    }

    /// Sends a value if there is room now.
    ///
    /// # Errors
    /// The channel is full or closed; the error gives the value back.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.shared.try_send(value).map_err(|refused| {
            let closed = matches!(refused, PushError::Closed(_));
            let (PushError::Full(value) | PushError::Closed(value)) = refused;
            TrySendError { value, why: self.shared.now_or(closed) }
        })
    }

    /// Sends a value, waiting for room no longer than `limit`, counted from the first poll that finds none. A limit of zero
    /// allows one attempt; one past the end of time is none.
    ///
    /// # Errors
    /// No room within the limit; or as [`send`](Self::send). The error gives the value back.
    ///
    /// # Cancel safety
    /// As [`send`](Self::send).
    pub fn send_timeout(&self, value: T, limit: Duration) -> SendTimeoutFuture<'_, T> {
        SendTimeoutFuture { send: self.send(value), limit, sleep: None }
    }

    /// Sends a value without waiting. If there is no room, the oldest value in the channel makes room for it, and is
    /// returned.
    ///
    /// For values that grow stale: positions, prices, sensor readings.
    ///
    /// # Errors
    /// The channel is closed; the error gives the value back.
    pub fn force_send(&self, value: T) -> Result<Option<T>, SendError<T>> {
        match self.shared.ring.displace(value) {
            Ok((at, displaced)) => {
                self.shared.receiving.notify(at);
                Ok(displaced)
            }
            Err(PushError::Full(value) | PushError::Closed(value)) => Err(SendError { value, ended: None }),
        }
    }

    /// Closes the channel for sends; what is in it is still received. False if it was closed already.
    pub fn close(&self) -> bool {
        self.shared.close()
    }

    /// Whether the channel is closed: by [`close`](Self::close), or because all receivers or all senders are gone.
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

    /// Whether both send into the same channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// A new receiver of this channel. If the channel has closed, it stays closed.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver::another(&self.shared)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // Relaxed: as in a reference count; we have a handle, so it cannot be 0.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if forget(&self.shared.senders) {
            self.shared.close();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe(f, "Sender")
    }
}

pin_project! {
    /// The future of [`Sender::send`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SendFuture<'a, T> {
        shared: &'a Shared<T>,
        value: Option<T>,
        #[pin]
        slot: Slot<()>,
    }

    impl<T> PinnedDrop for SendFuture<'_, T> {
        fn drop(this: Pin<&mut Self>) {
            this.give_up();
        }
    }
}

impl<T> SendFuture<'_, T> {
    /// Stops waiting. The value, if it was not sent.
    fn give_up(self: Pin<&mut Self>) -> Option<T> {
        let this = self.project();
        let shared = *this.shared;
        shared.sending.leave(this.slot.as_ref(), false, || shared.work_for_senders());
        this.value.take()
    }
}

impl<T> Future for SendFuture<'_, T> {
    type Output = Result<(), SendError<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // All that a send does which need not wait; the rest is kept out of the caller's code.
        if this.slot.is_idle() && !context::can_end() {
            if let Some(value) = this.value.take() {
                match this.shared.ring.push(value) {
                    Ok(at) => {
                        this.shared.receiving.notify(at);
                        return Poll::Ready(Ok(()));
                    }
                    Err(PushError::Full(value) | PushError::Closed(value)) => *this.value = Some(value),
                }
            }
        }
        this.shared.poll_send(this.value, this.slot.as_ref(), cx.waker())
    }
}

impl<T> fmt::Debug for SendFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendFuture").field("sent", &self.value.is_none()).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of [`Sender::send_timeout`].
    #[must_use = "futures do nothing unless polled"]
    pub struct SendTimeoutFuture<'a, T> {
        #[pin]
        send: SendFuture<'a, T>,
        limit: Duration,
        sleep: Option<Sleep>,
    }
}

impl<T> Future for SendTimeoutFuture<'_, T> {
    type Output = Result<(), SendTimeoutError<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(sent) = this.send.as_mut().poll(cx) {
            *this.sleep = None;
            return Poll::Ready(
                sent.map_err(|SendError { value, ended }| SendTimeoutError { value, why: Late::from(ended) }),
            );
        }
        let shared = this.send.shared;
        let sleep = this.sleep.get_or_insert_with(|| shared.clock.sleep(*this.limit));
        if Pin::new(sleep).poll(cx).is_pending() {
            return Poll::Pending;
        }
        match this.send.give_up() {
            Some(value) => {
                let why = Late::Timeout { limit: *this.limit, capacity: shared.ring.capacity() };
                Poll::Ready(Err(SendTimeoutError { value, why }))
            }
            // Polled after its end.
            None => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for SendTimeoutFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTimeoutFuture").field("limit", &self.limit).finish_non_exhaustive()
    }
}
