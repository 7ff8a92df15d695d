//! What a server says about its limits, in the fields of a response.
//!
//! | field | from | read as |
//! |---|---|---|
//! | `Retry-After` | RFC 9110, section 10.2.3 | seconds (a fraction is taken too), or a date in the three forms of section 5.6.7 |
//! | `RateLimit`, `RateLimit-Policy` | draft-ietf-httpapi-ratelimit-headers, 08 and later | lists of `"name";r=..;t=..` and `"name";q=..;w=..` |
//! | the same | drafts 03 to 07 | `limit=.., remaining=.., reset=..`; `100;w=60`; names without quotes; `l` for `q` |
//! | `RateLimit-Limit`, `-Remaining`, `-Reset` | drafts up to 06 | a count, which policies may follow; a count; seconds |
//! | `X-RateLimit-Limit`, `-Remaining`, `-Reset`, `-Reset-After`, `-Global`, `-Bucket`, `-Scope` | custom | counts; see below; seconds; `true` or `false`; a name; a name |
//!
//! Names in any letter case; `X-Rate-Limit-` is taken for `X-RateLimit-`.
//!
//! # Rules
//! * **What a reset counts**: less than 10^9 is seconds from now, from there on seconds since 1970, and from 10^11 on
//!   milliseconds since 1970; each with a fraction or without. `-Reset-After` goes before `-Reset`: it needs no clock of the
//!   server's.
//! * **Which of many**: of several limits in `RateLimit` the one with the least left, and of those the one that takes longest
//!   to reset; its policy is the one of the same name. Quotas of other units than requests are left out. Of several policies
//!   without a limit beside them, the slowest. Where the same field comes twice, the tighter value.
//! * **Which goes first**: each value is taken from `RateLimit`, else from `RateLimit-*`, else from `X-RateLimit-*`.
//! * **Absurd values** are clamped and counted: what is negative to zero, what is too large to the largest count, a wait to
//!   the longest that the caller believes in. A date or a reset in the past is no wait.
//! * **Garbage** is ignored value by value, and counted.

mod fields;
mod number;
mod structured;

use fields::Fields;
use std::time::{Duration, SystemTime};

/// What a response said about the server's limits. Whatever it did not say is `None`.
///
/// ```
/// use cofferdam::limit::Feedback;
/// use std::time::{Duration, SystemTime};
///
/// let response = [("Content-Type", "text/plain"), ("RateLimit", r#""default";r=0;t=30"#), ("retry-after", "120")];
/// let feedback = Feedback::read(response, SystemTime::now());
/// assert_eq!((feedback.remaining, feedback.reset_after), (Some(0), Some(Duration::from_secs(30))));
/// assert_eq!(feedback.wait(), Some(Duration::from_secs(120)));
/// ```
///
/// What a server says in a body of its own form is filled in by hand:
///
/// ```
/// # use cofferdam::limit::Feedback;
/// # use std::time::Duration;
/// let mut feedback = Feedback::default();
/// feedback.retry_after = Some(Duration::from_millis(650));
/// feedback.global = true;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feedback {
    /// Requests in each window.
    pub limit: Option<u64>,
    /// Requests that are left of them.
    pub remaining: Option<u64>,
    /// Until they are there again.
    pub reset_after: Option<Duration>,
    /// How long to stay away; goes before [`reset_after`](Self::reset_after).
    pub retry_after: Option<Duration>,
    /// How long the [`limit`](Self::limit) is good for.
    pub window: Option<Duration>,
    /// The name of the policy that the numbers belong to.
    pub policy: Option<Box<str>>,
    /// The server's name of the bucket, which several routes may share.
    pub bucket: Option<Box<str>>,
    /// Whose limit it is, in the server's word.
    pub scope: Option<Box<str>>,
    /// Whether it is the limit of everything, not of a route.
    pub global: bool,
    /// Values that could not be read.
    pub ignored: u32,
    /// Values that were taken down, or up to zero, to what can be believed.
    pub clamped: u32,
}

impl Feedback {
    /// The longest wait that is believed where nothing else is said: an hour.
    pub const MAX_WAIT: Duration = Duration::from_secs(3600);

    /// Reads the fields of a response, given as pairs of name and value; other fields are passed over.
    ///
    /// `wall` is the time by which dates are read: that of the response's arrival, as
    /// [`Clock::wall`](crate::time::Clock::wall) tells it. No wait is longer than [`MAX_WAIT`](Self::MAX_WAIT).
    pub fn read<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>, wall: SystemTime) -> Self {
        Self::read_within(Self::MAX_WAIT, fields, wall)
    }

    /// As [`read`](Self::read), with waits of at most `max_wait`.
    pub fn read_within<'a>(
        max_wait: Duration,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
        wall: SystemTime,
    ) -> Self {
        let mut read = Fields::new(max_wait, wall);
        for (name, value) in fields {
            read.field(name, Some(value));
        }
        read.finish()
    }

    /// As [`read`](Self::read), from the `http` crate's map.
    #[cfg(feature = "http")]
    pub fn read_headers(headers: &http::HeaderMap, wall: SystemTime) -> Self {
        Self::read_headers_within(Self::MAX_WAIT, headers, wall)
    }

    /// As [`read_within`](Self::read_within), from the `http` crate's map.
    #[cfg(feature = "http")]
    pub fn read_headers_within(max_wait: Duration, headers: &http::HeaderMap, wall: SystemTime) -> Self {
        let mut read = Fields::new(max_wait, wall);
        for (name, value) in headers {
            read.field(name.as_str(), value.to_str().ok());
        }
        read.finish()
    }

    /// Whether nothing at all was said that can be heeded.
    pub fn is_empty(&self) -> bool {
        let Self { limit, remaining, reset_after, retry_after, window, bucket, global, .. } = self;
        let numbers = limit.is_some() || remaining.is_some();
        let times = reset_after.is_some() || retry_after.is_some() || window.is_some();
        !(numbers || times || bucket.is_some() || *global)
    }

    /// How long nothing should be sent: as long as `Retry-After` says, which goes first (so the draft demands), or until the
    /// reset if nothing remains. `None` if it may go on.
    pub fn wait(&self) -> Option<Duration> {
        let until_reset = if self.remaining == Some(0) { self.reset_after } else { None };
        self.retry_after.or(until_reset).filter(|wait| !wait.is_zero())
    }
}
