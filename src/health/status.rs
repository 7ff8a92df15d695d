//! How something is, and why.

use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

/// How something is. Ordered from well to bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// As it should be.
    #[default]
    Healthy,
    /// It works, and not as it should.
    Degraded,
    /// A circuit breaker keeps calls away from it.
    CircuitOpen,
    /// It does not work.
    Unhealthy,
}

impl Status {
    /// Whether it works: healthy or degraded.
    pub fn is_working(self) -> bool {
        self <= Self::Degraded
    }

    /// The status of the whole of many parts: circuit-open if one of them is; else healthy if at least 80 percent of them are
    /// healthy; degraded if at least 50 percent are; else unhealthy. Of no parts: healthy.
    ///
    /// ```
    /// use cofferdam::health::Status::{self, *};
    ///
    /// assert_eq!(Status::of_parts([Healthy, Healthy, Healthy, Healthy, Unhealthy]), Healthy);
    /// assert_eq!(Status::of_parts([Healthy, Unhealthy]), Degraded);
    /// assert_eq!(Status::of_parts([Healthy, CircuitOpen]), CircuitOpen);
    /// assert_eq!(Status::of_parts([]), Healthy);
    /// ```
    pub fn of_parts(parts: impl IntoIterator<Item = Self>) -> Self {
        let (mut all, mut healthy, mut open) = (0_u64, 0_u64, false);
        for part in parts {
            all += 1;
            healthy += u64::from(part == Self::Healthy);
            open |= part == Self::CircuitOpen;
        }
        // In whole numbers, so that 80 percent are 80 percent.
        match () {
            () if open => Self::CircuitOpen,
            () if healthy * 100 >= all * 80 => Self::Healthy,
            () if healthy * 100 >= all * 50 => Self::Degraded,
            () => Self::Unhealthy,
        }
    }

    /// The status of a chain that is as good as its weakest link: the worst of them. Of none: healthy.
    pub fn worst(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().max().unwrap_or_default()
    }

    /// The status code of an HTTP answer that says so: 200 if it [works](Self::is_working), else 503.
    pub fn http_status(self) -> u16 {
        if self.is_working() { 200 } else { 503 }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::CircuitOpen => "circuit-open",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// What a check has found: a status and, if there is something to say, the reason.
///
/// A check may return one of these, a [`Status`], `()` for healthy, or a `Result` of any of them: an error is unhealthy, and
/// its text the reason.
///
/// ```
/// use cofferdam::health::{Finding, Status};
///
/// let failed: Finding = Err::<(), _>("no route to host").into();
/// assert_eq!(failed, Finding::unhealthy("no route to host"));
/// assert_eq!(Finding::from(Status::Degraded).reason(), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    status: Status,
    reason: Option<Cow<'static, str>>,
}

impl Finding {
    /// All is well.
    pub fn healthy() -> Self {
        Self::default()
    }

    /// It works, and not as it should.
    pub fn degraded(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Degraded, reason)
    }

    /// It does not work.
    pub fn unhealthy(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Unhealthy, reason)
    }

    /// This status for this reason.
    pub fn new(status: Status, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason: Some(reason.into()) }
    }

    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// The reason.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The worse of two; of two that are as bad, this one.
    pub fn or_worse(self, other: Self) -> Self {
        if other.status > self.status { other } else { self }
    }

    pub(super) fn into_reason(self) -> Option<Cow<'static, str>> {
        self.reason
    }
}

impl From<()> for Finding {
    fn from((): ()) -> Self {
        Self::healthy()
    }
}

impl From<Status> for Finding {
    fn from(status: Status) -> Self {
        Self { status, reason: None }
    }
}

impl<T: Into<Self>, E: fmt::Display> From<Result<T, E>> for Finding {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(found) => found.into(),
            Err(error) => Self::unhealthy(error.to_string()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{}: {reason}", self.status),
            None => self.status.fmt(f),
        }
    }
}
