//! The reverse proxy: from a client's request, through the guards, to an upstream's answer or a refusal that says why.
//!
//! **Bodies.** A request's body is read whole before the first attempt (at most 1 MiB, else 413), because an attempt may
//! have to be repeated. A response of known length up to 256 KiB is read whole inside the attempt, so that one that breaks
//! off half-way is a failed attempt and not a broken answer. Everything else is passed on as it comes, outside the attempt's
//! limits, and cut when nothing has come for 30 s.
//!
//! **Limits.** What a response says about the upstream's limits goes to the guard, and not on to the client. A 429 of the
//! upstream is its answer, no failure: it is passed on, and the next requests of that bucket are refused here.
//!
//! **Retries and hedges.** Only idempotent methods are sent again (RFC 9110, 9.2.2): after a broken connection, a timeout or a
//! 5xx; and beside an attempt that is slow.
//!
//! **Panics.** One that comes out of a call (chaos can inject it) is a 500 for its client, and nothing more.

use crate::background::Background;
use crate::clients::Clients;
use crate::connections::{Connections, SendError};
use crate::guard::Guard;
use crate::http::{Body, CollectError, Streamed, append_to_list, collect, strip_hop_by_hop, strip_limits};
use crate::runtime::Runtime;
use crate::tally::{Counters, Outcome, Record};
use bytes::Bytes;
use cofferdam::limit::tiered::{Refusal, Tier};
use cofferdam::resilience::{Error, Rejection};
use cofferdam::telemetry::inspect::Roster;
use cofferdam::time::Clock;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use std::error::Error as _;
use std::fmt;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Who a client says it is. (A gateway of the open internet would put this header in itself, after authentication.)
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-client");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const REQUEST_BODY: usize = 1 << 20;
const REQUEST_BODY_TIME: Duration = Duration::from_secs(10);
const WHOLE_RESPONSE: u64 = 256 << 10;
/// Said of a rate of zero.
const NEVER: Duration = Duration::from_secs(3600);
const STREAM_PAUSE: Duration = Duration::from_secs(30);

/// A service behind the gateway.
pub(crate) struct Upstream<R> {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) guard: Guard,
    pub(crate) connections: Connections<R>,
    pub(crate) counters: Counters,
}

/// The gateway's request handler.
pub(crate) struct Gateway<R> {
    pub(crate) upstreams: Vec<Upstream<R>>,
    pub(crate) clients: Clients,
    pub(crate) background: Background,
    pub(crate) clock: Clock,
    /// Requests that fit no upstream's prefix.
    pub(crate) unrouted: Counters,
    /// Whose turn it is among upstreams of one prefix.
    pub(crate) turn: AtomicUsize,
    /// The requests that are being dealt with, if somebody looks.
    pub(crate) inside: Option<Roster>,
}

/// What an attempt sends.
struct Outgoing {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// An attempt that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    Send(SendError),
    Body(CollectError),
    /// A 5xx: a failure for the breaker and the retry, and an answer for the client if it stays the last word.
    Status(Box<Response<Body>>),
    /// Chaos, in the upstream's place.
    Injected,
}

/// Whether the upstream is in trouble, as opposed to a request that it does not support.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
        && !matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => error.fmt(f),
            Self::Body(CollectError::TooLarge) => f.write_str("the answer is longer than it says"),
            Self::Body(CollectError::TooSlow) => f.write_str("the answer is too slow"),
            Self::Body(CollectError::Broken(error)) => write!(f, "the answer broke off: {error}"),
            Self::Status(response) => write!(f, "answered {}", response.status()),
            Self::Injected => f.write_str("an error was injected"),
        }
    }
}

impl std::error::Error for Failure {}

impl<R: Runtime> Gateway<R> {
    /// Deals with one request. Always answers.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<Body> {
        let began = self.clock.now();
        let (parts, body) = request.into_parts();
        let Some(upstream) = self.route(parts.uri.path()) else {
            let arrival = self.unrouted.arrive();
            let response = refusal(StatusCode::NOT_FOUND, None, "no upstream for this path");
            arrival.end(Outcome::Refused);
            return response;
        };
        let inside = self.inside.as_ref();
        let inside = inside.map(|roster| roster.enter(format!("{} {}", parts.method, parts.uri.path())));
        let arrival = upstream.counters.arrive();
        let client = parts.headers.get(CLIENT).and_then(|name| name.to_str().ok());
        let (response, outcome) = match self.clients.admit(client, peer.ip()) {
            Ok(()) => {
                // What is shared is behind locks that do not mind, or gone with the call.
                let forwarded = AssertUnwindSafe(self.forward(upstream, parts, body, peer)).catch_unwind();
                forwarded.await.unwrap_or_else(|_| {
                    let response =
                        refusal(StatusCode::INTERNAL_SERVER_ERROR, None, "the gateway has panicked");
                    (response, Outcome::Panicked)
                })
            }
            Err(above) => {
                let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, Some(above.wait), &above.text);
                above.say(response.headers_mut());
                (response, Outcome::Limited)
            }
        };
        arrival.end(outcome);
        drop(inside);
        let latency = self.clock.now().saturating_duration_since(began);
        self.background.log(Record { upstream: upstream.index, outcome, latency });
        response
    }

    /// The upstream of the longest prefix that fits. Those of one prefix take turns; one whose circuit is open is passed
    /// over while another's is not.
    fn route(&self, path: &str) -> Option<&Upstream<R>> {
        let fits = |upstream: &&Upstream<R>| {
            path.strip_prefix(upstream.prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let longest = self.upstreams.iter().filter(fits).map(|upstream| upstream.prefix.len()).max()?;
        let equals =
            || self.upstreams.iter().filter(fits).filter(|upstream| upstream.prefix.len() == longest);
        let count = equals().count();
        if count == 1 {
            return equals().next();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let in_turn = || equals().cycle().skip(turn).take(count);
        in_turn().find(|upstream| !upstream.guard.is_open()).or_else(|| in_turn().next())
    }

    async fn forward(
        &self,
        upstream: &Upstream<R>,
        parts: Parts,
        body: Incoming,
        peer: SocketAddr,
    ) -> (Response<Body>, Outcome) {
        if parts.method == Method::CONNECT {
            let response = refusal(StatusCode::NOT_IMPLEMENTED, None, "CONNECT is not forwarded");
            return (response, Outcome::Refused);
        }
        let body = match collect(body, REQUEST_BODY, &self.clock, REQUEST_BODY_TIME).await {
            Ok(body) => body,
            Err(error) => {
                let (status, text) = match error {
                    CollectError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "request body above 1 MiB"),
                    CollectError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "request body took too long"),
                    CollectError::Broken(_) => (StatusCode::BAD_REQUEST, "request body broke off"),
                };
                return (refusal(status, None, text), Outcome::Refused);
            }
        };
        let Some(outgoing) = Outgoing::new(parts, body, peer, upstream.connections.authority()) else {
            return (refusal(StatusCode::BAD_REQUEST, None, "bad target"), Outcome::Refused);
        };
        let idempotent = outgoing.method.is_idempotent();
        let outgoing = &outgoing;
        let pace = upstream.guard.pace(outgoing.method.as_str(), outgoing.uri.path());
        let result = upstream.guard.call(idempotent, &pace, || self.attempt(upstream, outgoing)).await;
        match result {
            Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
                (response, Outcome::Throttled)
            }
            Ok(response) => (response, Outcome::Answered),
            Err(error) => conclude(&upstream.name, error, pace.refusal()),
        }
    }

    async fn attempt(&self, upstream: &Upstream<R>, outgoing: &Outgoing) -> Result<Response<Body>, Failure> {
        let sent = upstream.connections.send(outgoing.request()).await;
        let (response, lease) = sent.map_err(Failure::Send)?;
        let (mut parts, body) = response.into_parts();
        let (method, path) = (outgoing.method.as_str(), outgoing.uri.path());
        upstream.guard.heed(method, path, parts.status, &parts.headers);
        strip_limits(&mut parts.headers);
        strip_hop_by_hop(&mut parts.headers);
        let body = match body.size_hint().exact() {
            Some(length) if length <= WHOLE_RESPONSE => {
                // The attempt's own limit is the limit of time.
                let whole = collect(body, WHOLE_RESPONSE as usize, &self.clock, Duration::MAX).await;
                drop(lease);
                Body::whole(whole.map_err(Failure::Body)?)
            }
            _ => Body::Stream(Streamed::new(body, lease, &self.clock, STREAM_PAUSE)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = parts.status;
        *response.headers_mut() = parts.headers;
        if is_failure(parts.status) {
            return Err(Failure::Status(Box::new(response)));
        }
        Ok(response)
    }
}

impl Outgoing {
    fn new(parts: Parts, body: Bytes, peer: SocketAddr, authority: &str) -> Option<Self> {
        let Parts { method, uri, mut headers, .. } = parts;
        strip_hop_by_hop(&mut headers);
        // hyper sets the length again, and has already answered an expectation.
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::EXPECT);
        let host = headers.insert(header::HOST, HeaderValue::from_str(authority).ok()?);
        if let Some(host) = host {
            headers.entry(FORWARDED_HOST).or_insert(host);
        }
        headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
        append_to_list(&mut headers, FORWARDED_FOR, &peer.ip().to_canonical().to_string());
        append_to_list(&mut headers, header::VIA, "1.1 cofferdam");
        // In origin form, whatever form it came in.
        let uri = match uri.path_and_query() {
            Some(path) => Uri::from(path.clone()),
            None => Uri::from_static("/"),
        };
        Some(Self { method, uri, headers, body })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// The response to a call that did not succeed. `limits` is what the limits said of its last attempt, if they refused it.
fn conclude(upstream: &str, error: Error<Failure>, limits: Option<Refusal>) -> (Response<Body>, Outcome) {
    let rejection = error.rejection().copied();
    // A refusal behind a real answer (the circuit opened between two attempts) does not hide the answer. A timeout does:
    // the last attempt did run.
    if !rejection.is_some_and(|rejection| rejection.is_timeout()) {
        let text = format!("{upstream}: {}", full_text(&error));
        match error.into_inner() {
            Some(Failure::Status(response)) => return (*response, Outcome::Failed),
            Some(_) => return (refusal(StatusCode::BAD_GATEWAY, None, &text), Outcome::NoAnswer),
            None => {}
        }
    }
    match rejection {
        Some(rejection) if rejection.is_rate_limited() => {
            let text = match limits {
                Some(refusal) => no_turn(&refusal),
                None => rejection.to_string(),
            };
            let (status, text) = (StatusCode::SERVICE_UNAVAILABLE, format!("{upstream}: {text}"));
            (refusal(status, Some(rejection.retry_after().unwrap_or(NEVER)), &text), Outcome::Paced)
        }
        Some(rejection) => refused(upstream, &rejection),
        None => (refusal(StatusCode::BAD_GATEWAY, None, "no answer"), Outcome::NoAnswer),
    }
}

/// What the limits say, in a client's words.
fn no_turn(refusal: &Refusal) -> String {
    let whose = match refusal.tier() {
        Tier::Global => "the upstream".to_owned(),
        tier => format!("{tier} {:?}", refusal.bucket()),
    };
    match refusal.is_paused() {
        true => format!("{whose} is paused, as the upstream has asked"),
        false => format!("{whose} is above its rate"),
    }
}

/// The error with its causes.
fn full_text(error: &Error<Failure>) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn refused(upstream: &str, rejection: &Rejection) -> (Response<Body>, Outcome) {
    let text = format!("{upstream}: {rejection}");
    if rejection.is_timeout() {
        return (refusal(StatusCode::GATEWAY_TIMEOUT, None, &text), Outcome::TimedOut);
    }
    let outcome = if rejection.is_circuit_open() { Outcome::CircuitOpen } else { Outcome::Full };
    let wait = rejection.retry_after().unwrap_or(Duration::from_secs(1));
    (refusal(StatusCode::SERVICE_UNAVAILABLE, Some(wait), &text), outcome)
}

/// An answer of the gateway's own. `Retry-After` is in whole seconds, so it is rounded up.
fn refusal(status: StatusCode, retry_after: Option<Duration>, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::whole(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some(wait) = retry_after {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// What a call that did not succeed comes to.
#[cfg(test)]
pub(crate) fn outcome(error: Error<Failure>) -> Outcome {
    conclude("upstream", error, None).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam::resilience::{Exhausted, GaveUp, Scope};

    fn answer(status: StatusCode) -> Failure {
        let mut response = Response::new(Body::whole("sorry"));
        *response.status_mut() = status;
        Failure::Status(Box::new(response))
    }

    fn circuit_open() -> Error<Failure> {
        Rejection::circuit_open("breaker", Some(Duration::from_millis(1200))).into()
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let (response, outcome) = conclude("shop", circuit_open(), None);
        assert_eq!((response.status(), outcome), (StatusCode::SERVICE_UNAVAILABLE, Outcome::CircuitOpen));
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        let no_turn = Rejection::rate_limited("tiers", Some(Duration::from_millis(2100)));
        let (response, outcome) = conclude("shop", no_turn.into(), None);
        assert_eq!((response.status(), outcome), (StatusCode::SERVICE_UNAVAILABLE, Outcome::Paced));
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        let full = Rejection::full("bulkhead", 4, 1, Duration::ZERO);
        let (response, outcome) = conclude("shop", full.into(), None);
        assert_eq!((response.status(), outcome), (StatusCode::SERVICE_UNAVAILABLE, Outcome::Full));
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn the_upstreams_own_error_is_passed_on_also_when_the_circuit_opened_behind_it() {
        let (response, outcome) = conclude("shop", Error::Inner(answer(StatusCode::BAD_GATEWAY)), None);
        assert_eq!((response.status(), outcome), (StatusCode::BAD_GATEWAY, Outcome::Failed));
        let before = Some(answer(StatusCode::INTERNAL_SERVER_ERROR));
        let exhausted = Exhausted::new("retry", 2, GaveUp::NotRetryable, circuit_open(), before);
        let (response, outcome) = conclude("shop", Error::Exhausted(Box::new(exhausted)), None);
        assert_eq!((response.status(), outcome), (StatusCode::INTERNAL_SERVER_ERROR, Outcome::Failed));
    }

    #[test]
    fn a_timeout_behind_an_answer_is_a_timeout() {
        let last = Rejection::timed_out("timeout", Duration::from_secs(1), Scope::Attempt);
        let before = Some(answer(StatusCode::INTERNAL_SERVER_ERROR));
        let exhausted = Exhausted::new("retry", 2, GaveUp::Attempts, last.into(), before);
        let (response, outcome) = conclude("shop", Error::Exhausted(Box::new(exhausted)), None);
        assert_eq!((response.status(), outcome), (StatusCode::GATEWAY_TIMEOUT, Outcome::TimedOut));
    }

    #[test]
    fn a_request_that_is_not_supported_is_no_failure_of_the_upstream() {
        assert!(is_failure(StatusCode::SERVICE_UNAVAILABLE));
        assert!(!is_failure(StatusCode::NOT_IMPLEMENTED));
        assert!(!is_failure(StatusCode::NOT_FOUND));
    }
}
