//! Small things of HTTP that every side of the gateway shares: bodies, hyper's timer, header hygiene.

use crate::connections::Lease;
use bytes::Bytes;
use cofferdam::time::{Clock, Sleep};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::HeaderMap;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use std::collections::VecDeque;
use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// A body that is all here, one that is passed on as it comes, or one sent in pieces without a length.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Full<Bytes>),
    Stream(Streamed),
    Pieces(VecDeque<Bytes>),
}

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Full::new(bytes.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Stream(body) => body.poll_frame(cx),
            Self::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(body) => body.incoming.is_end_stream(),
            Self::Pieces(pieces) => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(body) => body.incoming.size_hint(),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A peer's body, passed on frame by frame; a pause longer than `pause` ends it.
#[derive(Debug)]
pub(crate) struct Streamed {
    incoming: Incoming,
    clock: Clock,
    pause: Duration,
    /// Armed while a frame is awaited.
    waiting: Option<Sleep>,
    /// The connection that the body comes from; dropped behind `incoming`.
    _lease: Lease,
}

impl Streamed {
    pub(crate) fn new(incoming: Incoming, lease: Lease, clock: &Clock, pause: Duration) -> Self {
        Self { incoming, clock: clock.clone(), pause, waiting: None, _lease: lease }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let sleep = self.waiting.get_or_insert_with(|| self.clock.sleep(self.pause));
        ready!(Pin::new(sleep).poll(cx));
        Poll::Ready(Some(Err(format!("no data for {:?}", self.pause).into())))
    }
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(crate) enum CollectError {
    TooLarge,
    TooSlow,
    Broken(BoxError),
}

/// The whole of a body of at most `limit` bytes, within `time`.
pub(crate) async fn collect(
    body: Incoming,
    limit: usize,
    clock: &Clock,
    time: Duration,
) -> Result<Bytes, CollectError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limit as u64 {
        return Err(CollectError::TooLarge);
    }
    match clock.timeout(time, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(CollectError::TooLarge),
        Ok(Err(error)) => Err(CollectError::Broken(error)),
        Err(_) => Err(CollectError::TooSlow),
    }
}

/// Headers that concern one connection and are never passed on (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes the hop-by-hop headers, and those that `connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Removes what a server says about its limits, but for `retry-after`: it was said to the gateway.
pub(crate) fn strip_limits(headers: &mut HeaderMap) {
    let about_limits = |name: &&HeaderName| {
        let name = name.as_str();
        name.starts_with("ratelimit") || name.starts_with("x-ratelimit-") || name.starts_with("x-rate-limit-")
    };
    let names: Vec<HeaderName> = headers.keys().filter(about_limits).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Appends to a comma-separated header.
pub(crate) fn append_to_list(headers: &mut HeaderMap, name: HeaderName, entry: &str) {
    let mut all: Vec<&str> = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok()).collect();
    all.push(entry);
    if let Ok(value) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(name, value);
    }
}

/// The crate's clock as hyper's timer (for the limit on reading a request's head).
#[derive(Clone)]
pub(crate) struct HyperTimer(pub(crate) Clock);

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep(Mutex::new(self.0.sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep(Mutex::new(self.0.sleep_until(deadline))))
    }

    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// hyper wants its sleeps `Sync`; the mutex is never locked.
struct HyperSleep(Mutex<Sleep>);

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner)).poll(cx)
    }
}

impl hyper::rt::Sleep for HyperSleep {}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_and_those_named_by_connection_are_stripped() {
        let mut headers = headers(&[
            ("connection", "close, X-Private"),
            ("connection", "x-other,, bad name"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn what_was_said_of_limits_is_not_passed_on() {
        let mut headers = headers(&[
            ("ratelimit", "\"a\";r=1;t=2"),
            ("ratelimit-policy", "\"a\";q=1;w=2"),
            ("x-ratelimit-limit", "5"),
            ("x-rate-limit-reset", "5"),
            ("retry-after", "3"),
        ]);
        strip_limits(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["retry-after"]);
    }

    #[test]
    fn an_entry_goes_to_the_end_of_all_lists_of_its_name() {
        let mut headers = headers(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "3.3.3.3")]);
        let name = HeaderName::from_static("x-forwarded-for");
        append_to_list(&mut headers, name.clone(), "4.4.4.4");
        let all: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(all, ["1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4"]);
    }
}
