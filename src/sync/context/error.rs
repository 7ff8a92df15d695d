//! How a context ends.

use crate::sync::{Cancelled, Cause};
use std::error::Error;
use std::fmt;

/// The context has ended: cancelled by somebody, or out of time.
///
/// A cause that is a text is part of the message; one that is an error is the [`source`](Error::source).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ContextError {
    /// Somebody cancelled it.
    Cancelled {
        /// Why.
        cause: Cause,
    },
    /// Its deadline has passed.
    DeadlineExceeded,
}

impl ContextError {
    /// Whether somebody cancelled the context.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// Whether the deadline has passed.
    pub fn is_deadline_exceeded(&self) -> bool {
        matches!(self, Self::DeadlineExceeded)
    }

    /// Why it was cancelled, if it was.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Cancelled { cause } => Some(cause),
            Self::DeadlineExceeded => None,
        }
    }
}

impl From<Cancelled> for ContextError {
    fn from(cancelled: Cancelled) -> Self {
        Self::Cancelled { cause: cancelled.into_cause() }
    }
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled { cause } => match cause.text() {
                Some(text) => write!(f, "cancelled: {text}"),
                None => f.write_str("cancelled"),
            },
            Self::DeadlineExceeded => f.write_str("the deadline of the context has passed"),
        }
    }
}

impl Error for ContextError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause()?.error().map(|error| error as &(dyn Error + 'static))
    }
}
