//! Routes of their own: a pattern, a quota, and what splits the bucket.

use super::path::segments;
use crate::ConfigError;
use crate::limit::Quota;
use std::sync::Arc;

/// Deeper than any route is; what bounds the work of matching.
const MOST_SEGMENTS: usize = 64;

/// A route with a quota of its own, for [`TieredBuilder::route`](super::TieredBuilder::route).
///
/// # Patterns
/// `[METHOD ]/segment/segment/...`, where a segment is
///
/// | segment | matches |
/// |---|---|
/// | `users` | itself, in this letter case |
/// | `{id}` or `:id` | any one segment, which the route may be split by |
/// | `*` | any one segment |
/// | `**`, only as the last | all the rest, be it nothing |
///
/// Empty segments fall away, in patterns as in paths. Methods are compared in any letter case; a pattern without one matches
/// all methods, and they share its bucket.
///
/// # The most specific wins
/// Of the patterns that match a request, the first segment in which they differ decides, from the left: a literal goes before
/// a placeholder or `*`, and those before `**`; the end of the path goes before `**`. Of patterns that are the same by this, one
/// with the request's method goes before one without. Two that are the same in all of this are refused when the limiter is
/// built.
///
/// ```
/// use cofferdam::limit::{Quota, Tiered};
///
/// let limiter = Tiered::builder()
///     .route("POST /channels/{channel}/messages", Quota::per_second(5))
///     .route("/channels/**", Quota::per_second(50))
///     .build()?;
/// assert_eq!(&*limiter.route_name("POST", "/channels/7/messages"), "POST /channels/{channel}/messages");
/// assert_eq!(&*limiter.route_name("GET", "/channels/7/messages"), "/channels/**");
/// assert_eq!(&*limiter.route_name("GET", "/users/7"), "GET /users/{id}");
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a route does nothing until it is given to a limiter"]
pub struct Route {
    pub(super) pattern: Arc<str>,
    pub(super) quota: Quota,
    pub(super) majors: Option<Vec<Arc<str>>>,
}

impl Route {
    /// The pattern, and what it admits. The pattern is checked when the limiter is built.
    pub fn new(pattern: impl Into<Arc<str>>, quota: Quota) -> Self {
        Self { pattern: pattern.into(), quota, majors: None }
    }

    /// The major parameters of this route, in place of the limiter's: placeholders of the pattern, or names that requests
    /// bring along. Each combination of their values has a bucket of its own.
    pub fn majors<N: Into<Arc<str>>>(self, names: impl IntoIterator<Item = N>) -> Self {
        Self { majors: Some(names.into_iter().map(Into::into).collect()), ..self }
    }
}

/// A segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    Literal(&'a str),
    /// Any one; without a name it is empty.
    One(&'a str),
}

/// A pattern, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    pub(super) method: Option<&'a str>,
    pub(super) segments: Vec<Segment<'a>>,
    /// Whether all the rest matches.
    pub(super) rest: bool,
}

impl<'a> Pattern<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, ConfigError> {
        let refuse = |rule| Err(ConfigError::new("tiered limiter", "route", format_args!("{text:?}"), rule));
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path.trim_start()),
            None => (None, text),
        };
        if method.is_some_and(|method| method.is_empty() || !method.bytes().all(is_token)) {
            return refuse("a method must be letters, as in GET /users");
        }
        if !path.starts_with('/') {
            return refuse("must be a path from /, perhaps behind a method and a space");
        }
        if path.contains(['?', '#', ' ']) {
            return refuse("must be a path alone, without query, fragment or spaces");
        }
        let mut pattern = Self { method, segments: Vec::new(), rest: false };
        for segment in segments(path) {
            if pattern.rest {
                return refuse("** must be the last segment");
            }
            if segment == "**" {
                pattern.rest = true;
                continue;
            }
            let braced = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let name = if segment == "*" { Some("") } else { braced.or(segment.strip_prefix(':')) };
            match name {
                Some(name) => {
                    if segment != "*" && (name.is_empty() || !name.bytes().all(is_token)) {
                        return refuse("a placeholder must have a name of letters, digits, - and _");
                    }
                    if !name.is_empty() && pattern.place_of(name).is_some() {
                        return refuse("each placeholder must have a name of its own");
                    }
                    pattern.segments.push(Segment::One(name));
                }
                None if segment.contains(['{', '}', '*']) => {
                    return refuse("a placeholder or wildcard must be a whole segment");
                }
                None => pattern.segments.push(Segment::Literal(segment)),
            }
            if pattern.segments.len() > MOST_SEGMENTS {
                return refuse("must have at most 64 segments");
            }
        }
        Ok(pattern)
    }

    /// Where the placeholder of this name is.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.segments.iter().position(|segment| *segment == Segment::One(name))
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}
