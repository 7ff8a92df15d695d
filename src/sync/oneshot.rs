//! A channel for one value: a reply, a result, a signal.
//!
//! ```
//! use cofferdam::sync::oneshot;
//!
//! # futures_executor::block_on(async {
//! let (tx, rx) = oneshot::channel();
//! tx.send(42)?;
//! assert_eq!(rx.await, Ok(42));
//! # Ok::<(), i32>(())
//! # }).unwrap();
//! ```
//!
//! One allocation in all. Neither end ever takes a lock or waits for the other.

use crate::shim::{Arc, AtomicU8, AtomicWaker, Ordering, UnsafeCell};
use std::fmt;
use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The value is in the cell, and the receiver's.
const VALUE: u8 = 0b0000_0001;
/// The sender is gone: it has sent, or it never will.
const SENDER_GONE: u8 = 0b0000_0010;
/// The receiver wants nothing more.
const RECEIVER_CLOSED: u8 = 0b0000_0100;
/// The receiver has left a waker.
const RECEIVER_WAITS: u8 = 0b0000_1000;
/// The sender has left a waker, to hear of `RECEIVER_CLOSED`.
const SENDER_WAITS: u8 = 0b0001_0000;
/// The value has been taken out.
const TAKEN: u8 = 0b0010_0000;

/// What both ends share; a building block for others that hand over one value.
///
/// # State
///
/// | bit | set by | meaning |
/// |---|---|---|
/// | 0 `VALUE` | sender | the cell is initialised and the receiver's |
/// | 1 `SENDER_GONE` | sender | nothing more will come; set together with `VALUE`, or alone |
/// | 2 `RECEIVER_CLOSED` | receiver | a value sent after this goes back to the sender |
/// | 3 `RECEIVER_WAITS` | receiver | there is a waker to be woken when bit 1 is set |
/// | 4 `SENDER_WAITS` | sender | there is a waker to be woken when bit 2 is set |
/// | 5 `TAKEN` | receiver | bit 0 is cleared for the second time: the value is out |
///
/// # Who owns the cell
///
/// Before `SENDER_GONE` the sender does. From `VALUE` on the receiver does, until it takes the value. `VALUE` and
/// `RECEIVER_CLOSED` race by compare-and-swap: `VALUE` is never set after `RECEIVER_CLOSED`.
///
/// # Waking
///
/// "There is a waker" and "there is something to wake for" are bits of one word, set by read-modify-writes, so one of
/// the two ends sees both.
///
/// # Contract
///
/// One thread at a time acts as the sender, one as the receiver; [`send`](Self::send) or
/// [`sender_gone`](Self::sender_gone) is called once.
pub(crate) struct Core<T> {
    state: AtomicU8,
    receiver: AtomicWaker,
    sender: AtomicWaker,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value moves from the sender's thread to the receiver's, hence `T: Send`; the cell has one owner at a time.
unsafe impl<T: Send> Send for Core<T> {}
// SAFETY: as above; no `&T` is ever handed out.
unsafe impl<T: Send> Sync for Core<T> {}

impl<T> Core<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU8::new(0),
            receiver: AtomicWaker::new(),
            sender: AtomicWaker::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The sender's last act: hands the value over, or gets it back if the receiver wants none.
    ///
    /// # Safety
    /// The caller acts as the sender (see "Contract"), and neither this nor `sender_gone` was called before.
    pub(crate) unsafe fn send(&self, value: T) -> Result<(), T> {
        // SAFETY: `SENDER_GONE` is not set, so the cell is the sender's, which the caller is.
        self.value.with_mut(|cell| unsafe { (*cell).write(value) });
        // ORDERING: Release on success: the receiver that sees `VALUE` sees the value. Acquire: we see the waker of whoever
        // set `RECEIVER_WAITS`. On failure Relaxed: only the bit matters.
        let sent = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
            (state & RECEIVER_CLOSED == 0).then_some(state | VALUE | SENDER_GONE)
        });
        match sent {
            Ok(before) => {
                if before & RECEIVER_WAITS != 0 {
                    self.receiver.wake();
                }
                Ok(())
            }
            Err(_) => {
                // SAFETY: written above, and `VALUE` was not set, so nobody else looks at it.
                let value = self.value.with_mut(|cell| unsafe { (*cell).assume_init_read() });
                // Relaxed: there is nothing behind this bit, and the receiver has said that it does not wait.
                self.state.fetch_or(SENDER_GONE, Ordering::Relaxed);
                Err(value)
            }
        }
    }

    /// The sender's last act if it has nothing to send.
    pub(crate) fn sender_gone(&self) {
        // ORDERING: Acquire: we see the waker of whoever set `RECEIVER_WAITS`. Release: what the sender did before it went
        // is seen by the receiver that is told.
        if self.state.fetch_or(SENDER_GONE, Ordering::AcqRel) & RECEIVER_WAITS != 0 {
            self.receiver.wake();
        }
    }

    /// Whether the receiver wants nothing more.
    pub(crate) fn is_receiver_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `close_receiver`.
        self.state.load(Ordering::Acquire) & RECEIVER_CLOSED != 0
    }

    /// Ready when the receiver wants nothing more. Called by the sender.
    pub(crate) fn poll_receiver_closed(&self, waker: &Waker) -> Poll<()> {
        if self.is_receiver_closed() {
            return Poll::Ready(());
        }
        self.sender.register(waker);
        // ORDERING: Release: who sees the bit sees the waker. Acquire as in `is_receiver_closed`.
        let state = self.state.fetch_or(SENDER_WAITS, Ordering::AcqRel);
        if state & RECEIVER_CLOSED != 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What has come, if anything: the value, or `Err` if none is here and none will come.
    ///
    /// # Safety
    /// The caller acts as the receiver (see "Contract").
    pub(crate) unsafe fn try_recv(&self) -> Option<Result<T, RecvError>> {
        // ORDERING: Acquire pairs with the Release in `send`: the value is there, and the sender touches nothing more.
        let state = self.state.load(Ordering::Acquire);
        // SAFETY: the caller's.
        unsafe { self.settled(state) }
    }

    /// As [`try_recv`](Self::try_recv), leaving `waker` if nothing has come.
    ///
    /// # Safety
    /// The caller acts as the receiver (see "Contract").
    pub(crate) unsafe fn poll_recv(&self, waker: &Waker) -> Poll<Result<T, RecvError>> {
        // SAFETY: the caller's.
        if let Some(settled) = unsafe { self.try_recv() } {
            return Poll::Ready(settled);
        }
        self.receiver.register(waker);
        // ORDERING: Release: who sees the bit sees the waker. Acquire as in `try_recv`.
        let state = self.state.fetch_or(RECEIVER_WAITS, Ordering::AcqRel);
        // SAFETY: the caller's.
        match unsafe { self.settled(state) } {
            Some(settled) => Poll::Ready(settled),
            None => Poll::Pending,
        }
    }

    /// # Safety
    /// The caller acts as the receiver, and has read `state` with Acquire.
    unsafe fn settled(&self, state: u8) -> Option<Result<T, RecvError>> {
        if state & VALUE != 0 {
            // Relaxed: after `VALUE` the receiver alone changes the state; the last owner of the cell learns of it by
            // the way in which it became the last.
            self.state.store(SENDER_GONE | RECEIVER_CLOSED | TAKEN, Ordering::Relaxed);
            // SAFETY: `VALUE` makes the cell initialised and the receiver's; the store above gives this up exactly once.
            return Some(Ok(self.value.with_mut(|cell| unsafe { (*cell).assume_init_read() })));
        }
        // Closed by the receiver with no value in it: there will be none.
        (state & (SENDER_GONE | RECEIVER_CLOSED) != 0).then_some(Err(RecvError(())))
    }

    /// Says that the receiver wants nothing more than what has come already.
    pub(crate) fn close_receiver(&self) {
        // ORDERING: Release pairs with the Acquire in `is_receiver_closed`. Acquire: we see the waker of whoever set
        // `SENDER_WAITS`.
        let before = self.state.fetch_or(RECEIVER_CLOSED, Ordering::AcqRel);
        if before & (SENDER_WAITS | RECEIVER_CLOSED | SENDER_GONE) == SENDER_WAITS {
            self.sender.wake();
        }
    }
}

impl<T> Drop for Core<T> {
    fn drop(&mut self) {
        // Relaxed: `&mut self`.
        if self.state.load(Ordering::Relaxed) & VALUE != 0 {
            // SAFETY: initialised, and not taken out, which clears the bit.
            self.value.with_mut(|cell| unsafe { (*cell).assume_init_drop() });
        }
    }
}

/// A channel for one value. See the [module](self).
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let core = Arc::new(Core::new());
    (Sender { core: Some(Arc::clone(&core)) }, Receiver { core })
}

/// The end that sends, once. Dropped without, it leaves the receiver an error.
pub struct Sender<T> {
    /// Taken by `send`.
    core: Option<Arc<Core<T>>>,
}

impl<T> Sender<T> {
    /// Sends the value. Does not wait: there is always room for it.
    ///
    /// # Errors
    /// The receiver is gone, or has closed; the value comes back. (The receiver may still drop a value that was sent
    /// successfully, without looking at it.)
    pub fn send(mut self, value: T) -> Result<(), T> {
        match self.core.take() {
            // SAFETY: the one sender, which this consumes; its `Drop` finds the core gone.
            Some(core) => unsafe { core.send(value) },
            None => Err(value),
        }
    }

    /// Waits until nobody wants the value any more: the receiver is dropped, or closed.
    ///
    /// # Cancel safety
    /// Cancel safe: it only looks.
    pub fn closed(&mut self) -> Closed<'_, T> {
        Closed { sender: self }
    }

    /// Whether the receiver is dropped, or closed.
    pub fn is_closed(&self) -> bool {
        self.core.as_ref().is_none_or(|core| core.is_receiver_closed())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(core) = &self.core {
            core.sender_gone();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

/// The future of [`Sender::closed`].
#[must_use = "futures do nothing unless polled"]
pub struct Closed<'a, T> {
    sender: &'a mut Sender<T>,
}

impl<T> Future for Closed<'_, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.sender.core.as_ref().map_or(Poll::Ready(()), |core| core.poll_receiver_closed(cx.waker()))
    }
}

impl<T> fmt::Debug for Closed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closed").finish_non_exhaustive()
    }
}

/// The end that receives: a future of the value.
///
/// # Errors
/// The sender was dropped without sending, or the receiver was [closed](Self::close) first. A receiver that has given the
/// value away answers with the same error.
///
/// # Cancel safety
/// Dropping it drops a value that has been sent. To be able to come back, poll it by reference (`(&mut receiver).await`).
#[must_use = "futures do nothing unless polled"]
pub struct Receiver<T> {
    core: Arc<Core<T>>,
}

impl<T> Receiver<T> {
    /// The value if it has come.
    ///
    /// # Errors
    /// It has not come yet; or it never will, or has been given away.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        // SAFETY: the one receiver, by `&mut`.
        match unsafe { self.core.try_recv() } {
            Some(settled) => settled.map_err(|_| TryRecvError { closed: true }),
            None => Err(TryRecvError { closed: false }),
        }
    }

    /// Tells the sender that the value is not wanted any more. What has been sent before can still be received.
    pub fn close(&mut self) {
        self.core.close_receiver();
    }

    /// Whether the value has been given away or will never come: polling is of no use.
    pub fn is_terminated(&self) -> bool {
        // Relaxed: only bits, no value is read on the strength of them.
        let state = self.core.state.load(Ordering::Relaxed);
        state & VALUE == 0 && state & (SENDER_GONE | RECEIVER_CLOSED) != 0
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the one receiver, by `&mut`.
        unsafe { self.core.poll_recv(cx.waker()) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.core.close_receiver();
        // What was sent goes now and not when the sender is dropped.
        // SAFETY: the one receiver, by `&mut`.
        drop(unsafe { self.core.try_recv() });
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("terminated", &self.is_terminated()).finish()
    }
}

/// No value: the sender is gone, the receiver was closed first, or the value was given away before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError(());

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("oneshot: closed without a value")
    }
}

impl std::error::Error for RecvError {}

/// Why [`Receiver::try_recv`] has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryRecvError {
    closed: bool,
}

impl TryRecvError {
    /// The value has not come yet.
    pub fn is_empty(&self) -> bool {
        !self.closed
    }

    /// The value will not come.
    pub fn is_closed(&self) -> bool {
        self.closed
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.closed { "oneshot: closed without a value" } else { "oneshot: no value yet" })
    }
}

impl std::error::Error for TryRecvError {}
