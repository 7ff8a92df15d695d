//! The bounded channel.

#![forbid(unsafe_code)]

mod error;
mod linger;
mod receiver;
mod sender;
mod waiters;

pub use error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
pub use receiver::{Drain, Receiver, RecvFuture, RecvManyFuture, RecvTimeoutFuture};
pub use sender::{SendFuture, SendTimeoutFuture, Sender};

use crate::ConfigError;
use crate::shim::{Arc, AtomicUsize, Ordering};
use crate::sync::context::{self, ContextError};
use crate::sync::ring::{PopError, PushError, Ring};
use crate::time::Clock;
use crate::wait::Slot;
use crossbeam_utils::CachePadded;
use error::Refused;
use std::fmt;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Poll, Waker};
use waiters::Waiters;

/// A bounded channel for any number of senders and receivers, each value going to one receiver, in the order in which
/// they were sent.
///
/// A send waits while the channel is full, so a slow receiver slows its senders down: that is its backpressure. To
/// answer at once use [`Sender::try_send`], to give up after a while [`Sender::send_timeout`], to keep only the newest
/// values [`Sender::force_send`].
///
/// The channel closes when its last sender or its last receiver is dropped, or by [`Sender::close`] or
/// [`Receiver::close`]. What was sent before is still received; then receivers fail. Once the last receiver is
/// gone, values still in the channel are dropped.
///
/// For one value use [`oneshot`](crate::sync::oneshot); it is smaller. When values must reach *every* receiver, this is
/// the wrong channel.
///
/// # Capacity
/// The memory for `capacity` values is taken at once and kept, and is all that the channel ever takes: neither a send nor
/// a receive allocates, waiting or not.
///
/// # Fairness
/// Who waits is woken in order, but a woken future finds what it waited for only if no other has come before it: the
/// channel prefers throughput ("barging"). Values of one sender are received in the order of its sends.
///
/// # Lock freedom
/// | operation | lock |
/// |---|---|
/// | send and receive that need not wait, while nobody waits on the other side | none: one compare-and-swap; a thread stopped in the middle of one can make the others spin |
/// | the same while somebody waits | a short one to take one waiter out, but not per value: see "Wake-ups" |
/// | starting to wait, giving up | a short one |
/// | `len`, `is_full` and so on | none |
///
/// # Wake-ups
/// A value wakes one waiting receiver unless a woken one is on its way already; a woken one that finds more wakes the
/// next. The same holds for room and senders. A future that was woken and then dropped passes its wake-up on. One
/// that was woken and is not polled holds the others of its side up for at most sixteen more operations of the other
/// side, or until that side is about to wait itself. (In a channel of capacity 1 there is only the one value or the one
/// place for which it was woken, and it keeps it from the others until it is polled or dropped, or somebody comes who
/// has not waited.)
///
/// # Errors
/// Capacity 0, and a capacity for which there is no memory.
///
/// # Examples
///
/// ```
/// use cofferdam::sync::channel;
///
/// # futures_executor::block_on(async {
/// let (tx, rx) = channel(16)?;
/// tx.send("hello").await?;
/// assert_eq!(rx.recv().await?, "hello");
///
/// tx.try_send("last")?;
/// drop(tx);
/// assert_eq!(rx.recv().await?, "last");
/// assert!(rx.recv().await.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// A receiver is a stream:
///
/// ```
/// use cofferdam::sync::channel;
/// use futures_util::StreamExt;
///
/// # futures_executor::block_on(async {
/// let (tx, rx) = channel(16)?;
/// for n in 1..=4 {
///     tx.send(n).await?;
/// }
/// drop(tx);
/// assert_eq!(rx.fold(0, |sum, n| async move { sum + n }).await, 10);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub fn channel<T>(capacity: usize) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
    channel_on(Clock::system(), capacity)
}

/// As [`channel`], with the timers of `clock` for [`Sender::send_timeout`] and [`Receiver::recv_timeout`].
///
/// # Errors
/// As [`channel`].
pub fn channel_on<T>(clock: Clock, capacity: usize) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
    let refuse = |rule| ConfigError::new("channel", "capacity", capacity, rule);
    let places = NonZeroUsize::new(capacity).ok_or_else(|| refuse("must be at least 1"))?;
    let ring = Ring::new(places).map_err(|_| refuse("must fit into memory"))?;
    let shared = Arc::new(Shared {
        ring,
        receiving: CachePadded::new(Waiters::new()),
        sending: CachePadded::new(Waiters::new()),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        clock,
    });
    Ok((Sender::new(Arc::clone(&shared)), Receiver::new(shared)))
}

/// What the two ends share.
struct Shared<T> {
    ring: Ring<T>,
    /// Receivers that wait for a value.
    receiving: CachePadded<Waiters>,
    /// Senders that wait for room.
    sending: CachePadded<Waiters>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    clock: Clock,
}

/// A look at a channel.
#[cfg(any(feature = "telemetry", feature = "health"))]
#[allow(dead_code, reason = "of those that nobody watches")]
pub(crate) struct ChannelLook {
    pub(crate) values: usize,
    pub(crate) capacity: usize,
    pub(crate) senders: usize,
    pub(crate) receivers: usize,
}

impl<T> Shared<T> {
    #[cfg(any(feature = "telemetry", feature = "health"))]
    fn look(&self) -> ChannelLook {
        ChannelLook {
            values: self.ring.len(),
            capacity: self.ring.capacity(),
            // Relaxed: numbers to look at.
            senders: self.senders.load(Ordering::Relaxed),
            receivers: self.receivers.load(Ordering::Relaxed),
        }
    }

    fn close(&self) -> bool {
        let first = self.ring.close();
        if first {
            self.receiving.close();
            self.sending.close();
        }
        first
    }

    /// What a receiver can take or be told.
    fn work_for_receivers(&self) -> Option<usize> {
        self.ring.poppable()
    }

    /// Where a sender can put a value or be told that it cannot.
    fn work_for_senders(&self) -> Option<usize> {
        self.ring.pushable()
    }

    #[inline]
    fn try_send(&self, value: T) -> Result<(), PushError<T>> {
        match self.ring.push(value) {
            Ok(at) => {
                self.receiving.notify(at);
                Ok(())
            }
            Err(PushError::Full(value)) => {
                self.wake_for_full();
                Err(PushError::Full(value))
            }
            Err(closed) => Err(closed),
        }
    }

    #[inline]
    fn try_recv(&self) -> Result<T, PopError> {
        match self.ring.pop() {
            Ok((value, at)) => {
                self.sending.notify(at);
                Ok(value)
            }
            Err(PopError::Empty) => {
                self.wake_for_empty();
                Err(PopError::Empty)
            }
            Err(PopError::Closed) => Err(PopError::Closed),
        }
    }

    /// Full, and receivers sleep: the one that was woken is not enough, or does not act.
    #[inline]
    fn wake_for_full(&self) {
        if self.ring.capacity() > 1 {
            self.receiving.nudge();
        }
    }

    /// Empty, and senders sleep.
    #[inline]
    fn wake_for_empty(&self) {
        if self.ring.capacity() > 1 {
            self.sending.nudge();
        }
    }

    /// Why the first attempt must not even be made: the current context has ended. One that has waited goes on.
    #[inline]
    fn refuses(&self, slot: &Slot<()>) -> Option<Box<ContextError>> {
        if context::can_end() && slot.is_idle() {
            return context::check(|| self.clock.now()).err().map(Box::new);
        }
        None
    }

    /// Sends what is in `value`, which is empty when this is ready.
    #[inline(never)]
    fn poll_send(
        &self,
        value: &mut Option<T>,
        slot: Pin<&Slot<()>>,
        waker: &Waker,
    ) -> Poll<Result<(), SendError<T>>> {
        if let Some(ended) = self.refuses(&slot) {
            if let Some(value) = value.take() {
                return Poll::Ready(Err(SendError { value, ended: Some(ended) }));
            }
        }
        let mut owing = false;
        loop {
            // A future polled after its end waits for ever.
            let Some(unsent) = value.take() else { return Poll::Pending };
            let sent = match self.try_send(unsent) {
                Ok(()) => Ok(()),
                Err(PushError::Closed(value)) => Err(SendError { value, ended: None }),
                Err(PushError::Full(unsent)) => {
                    *value = Some(unsent);
                    if self.sending.enter(slot, waker, &mut owing, || self.work_for_senders().is_none()) {
                        return Poll::Pending;
                    }
                    continue;
                }
            };
            self.sending.leave(slot, owing, || self.work_for_senders());
            return Poll::Ready(sent);
        }
    }

    /// Receives one value.
    #[inline(never)]
    fn poll_recv(&self, slot: Pin<&Slot<()>>, waker: &Waker) -> Poll<Result<T, RecvError>> {
        if let Some(ended) = self.refuses(&slot) {
            return Poll::Ready(Err(RecvError { ended: Some(ended) }));
        }
        self.poll_take(slot, waker, Self::try_recv)
    }

    /// Receives by `take`, which is one of the ways to pop.
    fn poll_take<R>(
        &self,
        slot: Pin<&Slot<()>>,
        waker: &Waker,
        mut take: impl FnMut(&Self) -> Result<R, PopError>,
    ) -> Poll<Result<R, RecvError>> {
        let mut owing = false;
        loop {
            let received = match take(self) {
                Ok(value) => Ok(value),
                Err(PopError::Closed) => Err(RecvError { ended: None }),
                Err(PopError::Empty) => {
                    if self.receiving.enter(slot, waker, &mut owing, || self.work_for_receivers().is_none()) {
                        return Poll::Pending;
                    }
                    continue;
                }
            };
            self.receiving.leave(slot, owing, || self.work_for_receivers());
            return Poll::Ready(received);
        }
    }

    /// Takes several at once.
    fn try_recv_many(&self, values: &mut Vec<T>, limit: NonZeroUsize) -> Result<usize, PopError> {
        // Room first: once values are claimed nothing may fail.
        values.reserve(self.ring.len().clamp(1, limit.get()));
        match self.ring.pop_many(values, limit) {
            Ok((count, at)) => {
                self.sending.notify(at);
                Ok(count)
            }
            Err(PopError::Empty) => {
                self.wake_for_empty();
                Err(PopError::Empty)
            }
            Err(PopError::Closed) => Err(PopError::Closed),
        }
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("len", &self.ring.len())
            .field("capacity", &self.ring.capacity())
            .field("closed", &self.ring.is_closed())
            .finish_non_exhaustive()
    }

    fn now_or(&self, closed: bool) -> Refused {
        if closed { Refused::Closed } else { Refused::Now(self.ring.capacity()) }
    }
}

/// One handle less. True if it was the last.
fn forget(handles: &AtomicUsize) -> bool {
    // ORDERING: AcqRel, as a reference count: what the other handles did comes before the close.
    handles.fetch_sub(1, Ordering::AcqRel) == 1
}
