//! Why something was cancelled.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why something was cancelled: a text, an error, or nothing in particular. Cheap to clone.
///
/// ```
/// use cofferdam::sync::Cause;
///
/// assert_eq!(Cause::from("shutting down").to_string(), "shutting down");
/// assert_eq!(Cause::from(format!("lost {}", "db-3")).text(), Some("lost db-3"));
///
/// let cause = Cause::new(std::io::Error::other("disk full"));
/// assert_eq!(cause.to_string(), "disk full");
/// assert!(cause.error().is_some_and(|error| error.is::<std::io::Error>()));
/// ```
#[derive(Clone, Default)]
pub struct Cause(Repr);

#[derive(Clone, Default)]
enum Repr {
    #[default]
    Unspecified,
    Text(&'static str),
    Owned(Arc<str>),
    Error(Arc<dyn Error + Send + Sync>),
}

impl Cause {
    /// The error that made going on pointless.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Repr::Error(Arc::new(error)))
    }

    /// The error, if one was given.
    pub fn error(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        match &self.0 {
            Repr::Error(error) => Some(&**error),
            Repr::Unspecified | Repr::Text(_) | Repr::Owned(_) => None,
        }
    }

    /// The text, if one was given.
    pub fn text(&self) -> Option<&str> {
        match &self.0 {
            Repr::Text(text) => Some(text),
            Repr::Owned(text) => Some(text),
            Repr::Unspecified | Repr::Error(_) => None,
        }
    }

    /// Whether neither an error nor a text was given.
    pub fn is_unspecified(&self) -> bool {
        matches!(self.0, Repr::Unspecified)
    }
}

impl From<&'static str> for Cause {
    fn from(text: &'static str) -> Self {
        Self(Repr::Text(text))
    }
}

impl From<String> for Cause {
    fn from(text: String) -> Self {
        Self(Repr::Owned(text.into()))
    }
}

impl From<Arc<dyn Error + Send + Sync>> for Cause {
    fn from(error: Arc<dyn Error + Send + Sync>) -> Self {
        Self(Repr::Error(error))
    }
}

impl From<Box<dyn Error + Send + Sync>> for Cause {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Repr::Error(error.into()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Unspecified => f.write_str("no cause given"),
            Repr::Text(text) => f.write_str(text),
            Repr::Owned(text) => f.write_str(text),
            Repr::Error(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Unspecified => f.write_str("Cause(unspecified)"),
            Repr::Text(text) => f.debug_tuple("Cause").field(text).finish(),
            Repr::Owned(text) => f.debug_tuple("Cause").field(text).finish(),
            Repr::Error(error) => f.debug_tuple("Cause").field(error).finish(),
        }
    }
}

/// The work was cancelled.
///
/// A text is part of the message; an error is the [`source`](Error::source).
#[derive(Clone, Debug)]
pub struct Cancelled {
    cause: Cause,
}

impl Cancelled {
    pub(crate) fn new(cause: Cause) -> Self {
        Self { cause }
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Why.
    pub fn into_cause(self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause.text() {
            Some(text) => write!(f, "cancelled: {text}"),
            None => f.write_str("cancelled"),
        }
    }
}

impl Error for Cancelled {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.error().map(|error| error as &(dyn Error + 'static))
    }
}
