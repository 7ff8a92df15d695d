//! What caused an error, and a mark that says not to try again.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::iter::successors;

/// An error and what caused it, one by one: its source, the source of that, and so on. It sees also what [`io::Error`] and
/// [`NotRetryable`] wrap, which their sources leave out.
///
/// ```
/// use cofferdam::resilience::causes;
/// use std::io;
///
/// type Boxed = Box<dyn std::error::Error + Send + Sync>;
///
/// let is_timed_out = |error: &Boxed| {
///     causes(&**error).any(|cause| {
///         cause.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::TimedOut)
///     })
/// };
/// let retry = cofferdam::resilience::Retry::builder().when(is_timed_out).build()?;
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
pub fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> + use<'a> {
    successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        let wrapped = match (error.downcast_ref::<io::Error>(), error.downcast_ref::<NotRetryable>()) {
            (Some(io), _) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
            (_, Some(NotRetryable(inner))) => Some(&**inner as &(dyn StdError + 'static)),
            _ => None,
        };
        wrapped.or_else(|| error.source())
    })
}

/// Marks an error as one that must not be tried again: as the error itself, or anywhere among its causes.
///
/// A [`Retry`](super::Retry) or a [`Hedge`](super::Hedge) that [heeds](super::RetryBuilder::heed_not_retryable) it lets it
/// out at once.
///
/// ```
/// use cofferdam::resilience::{NotRetryable, Retry};
/// use std::io;
///
/// # fn main() -> Result<(), cofferdam::ConfigError> {
/// # futures_executor::block_on(async {
/// let retry = Retry::builder().heed_not_retryable().build()?;
/// let mut calls = 0;
/// let outcome = retry.call(|| {
///     calls += 1;
///     async { Err::<(), _>(io::Error::other(NotRetryable::new("charged already"))) }
/// });
/// assert_eq!(outcome.await.unwrap_err().to_string(), "charged already");
/// assert_eq!(calls, 1);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug)]
pub struct NotRetryable(Box<dyn StdError + Send + Sync>);

impl NotRetryable {
    /// Marks this error, or this message.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The error that is marked.
    pub fn inner(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }

    /// The error that is marked, by value.
    pub fn into_inner(self) -> Box<dyn StdError + Send + Sync> {
        self.0
    }
}

impl fmt::Display for NotRetryable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The mark stands for what is marked: the message is its message, the source its source.
impl StdError for NotRetryable {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
