//! What each operation can fail with.

use crate::sync::ContextError;
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// Why [`Sender::send`](super::Sender::send) or [`Sender::force_send`](super::Sender::force_send) did not send: the channel
/// is closed, or the current context has ended. Gives the value back.
#[derive(Clone)]
pub struct SendError<T> {
    pub(super) value: T,
    /// Closed if `None`. On the heap, so that the result of a send stays small.
    pub(super) ended: Option<Box<ContextError>>,
}

/// Why [`Sender::try_send`](super::Sender::try_send) did not send. Gives the value back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TrySendError<T> {
    pub(super) value: T,
    pub(super) why: Refused,
}

/// Why [`Sender::send_timeout`](super::Sender::send_timeout) did not send. Gives the value back.
#[derive(Clone)]
pub struct SendTimeoutError<T> {
    pub(super) value: T,
    pub(super) why: Late,
}

/// Why [`Receiver::recv`](super::Receiver::recv) did not receive: the channel is closed and empty, for ever; or the current
/// context has ended.
#[derive(Clone, Debug)]
pub struct RecvError {
    /// Closed if `None`.
    pub(super) ended: Option<Box<ContextError>>,
}

/// Why [`Receiver::try_recv`](super::Receiver::try_recv) did not receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryRecvError(pub(super) Refused);

/// Why [`Receiver::recv_timeout`](super::Receiver::recv_timeout) did not receive.
#[derive(Clone, Debug)]
pub struct RecvTimeoutError(pub(super) Late);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Full, or empty; of this capacity.
    Now(usize),
    Closed,
}

#[derive(Clone, Debug)]
pub(super) enum Late {
    Timeout { limit: Duration, capacity: usize },
    Closed,
    Ended(Box<ContextError>),
}

impl From<Option<Box<ContextError>>> for Late {
    fn from(ended: Option<Box<ContextError>>) -> Self {
        ended.map_or(Self::Closed, Self::Ended)
    }
}

impl Late {
    fn context_error(&self) -> Option<&ContextError> {
        match self {
            Self::Ended(error) => Some(error),
            _ => None,
        }
    }
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The channel is closed and stays so.
    pub fn is_closed(&self) -> bool {
        self.ended.is_none()
    }

    /// The current [`Context`](crate::sync::Context) was cancelled or past its deadline before the first attempt.
    pub fn context_error(&self) -> Option<&ContextError> {
        self.ended.as_deref()
    }
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// There was no room; there may be later.
    pub fn is_full(&self) -> bool {
        matches!(self.why, Refused::Now(_))
    }

    /// The channel is closed and stays so.
    pub fn is_closed(&self) -> bool {
        self.why == Refused::Closed
    }
}

impl<T> SendTimeoutError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// There was no room within the limit; there may be later.
    pub fn is_timeout(&self) -> bool {
        matches!(self.why, Late::Timeout { .. })
    }

    /// The channel is closed and stays so.
    pub fn is_closed(&self) -> bool {
        matches!(self.why, Late::Closed)
    }

    /// The current [`Context`](crate::sync::Context) was cancelled or past its deadline before the first attempt.
    pub fn context_error(&self) -> Option<&ContextError> {
        self.why.context_error()
    }
}

impl RecvError {
    /// The channel is closed and empty, and stays so.
    pub fn is_closed(&self) -> bool {
        self.ended.is_none()
    }

    /// The current [`Context`](crate::sync::Context) was cancelled or past its deadline before the first attempt.
    pub fn context_error(&self) -> Option<&ContextError> {
        self.ended.as_deref()
    }
}

impl TryRecvError {
    /// There was no value; there may be later.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Refused::Now(_))
    }

    /// The channel is closed and empty, and stays so.
    pub fn is_closed(&self) -> bool {
        self.0 == Refused::Closed
    }
}

impl RecvTimeoutError {
    /// There was no value within the limit; there may be later.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Late::Timeout { .. })
    }

    /// The channel is closed and empty, and stays so.
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Late::Closed)
    }

    /// The current [`Context`](crate::sync::Context) was cancelled or past its deadline before the first attempt.
    pub fn context_error(&self) -> Option<&ContextError> {
        self.0.context_error()
    }
}

const SEND_CLOSED: &str = "channel: closed: the value was not sent";
const RECV_CLOSED: &str = "channel: closed and empty";

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ended {
            Some(error) => write!(f, "channel: {error}"),
            None => f.write_str(SEND_CLOSED),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Refused::Now(capacity) => write!(f, "channel: full: all {capacity} places are taken"),
            Refused::Closed => f.write_str(SEND_CLOSED),
        }
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Late::Timeout { limit, capacity } => {
                write!(f, "channel: full: none of {capacity} places came free within {limit:?}")
            }
            Late::Closed => f.write_str(SEND_CLOSED),
            Late::Ended(error) => write!(f, "channel: {error}"),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ended {
            Some(error) => write!(f, "channel: {error}"),
            None => f.write_str(RECV_CLOSED),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refused::Now(capacity) => write!(f, "channel: empty: none of {capacity} places is taken"),
            Refused::Closed => f.write_str(RECV_CLOSED),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Late::Timeout { limit, .. } => write!(f, "channel: empty: no value came within {limit:?}"),
            Late::Closed => f.write_str(RECV_CLOSED),
            Late::Ended(error) => write!(f, "channel: {error}"),
        }
    }
}

// The value need not be printable to unwrap a result.

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrySendError").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendTimeoutError").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> Error for SendError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context_error().map(|error| error as _)
    }
}

impl<T> Error for SendTimeoutError<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context_error().map(|error| error as _)
    }
}

impl Error for RecvError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context_error().map(|error| error as _)
    }
}

impl Error for RecvTimeoutError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.context_error().map(|error| error as _)
    }
}

impl<T> Error for TrySendError<T> {}
impl Error for TryRecvError {}
