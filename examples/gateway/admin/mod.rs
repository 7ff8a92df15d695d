//! A second server, for those who look after the gateway: what it is doing, as a page, as JSON and as numbers for Prometheus;
//! and the knobs that may be turned while it runs.
//!
//! | path | |
//! |---|---|
//! | `GET /` | the page, which lives on `/debug` and turns knobs by `/control` |
//! | `GET /metrics` | all of the telemetry, as text for Prometheus, or OpenMetrics for those who ask for it |
//! | `GET /livez`, `/readyz` | for whoever starts and stops gateways; see [`health`] |
//! | `GET /debug?since=N` | everything as JSON; of what was seen second by second, what is newer |
//! | `POST /control` | see [`control`]; who may, see [`access`] |
//!
//! It costs the requests nothing unless it is asked for: only then is there a telemetry, and an instrument around the calls.

mod access;
mod control;
mod debug;
mod health;
mod metrics;
mod samples;

pub(crate) use access::{AdminAt, Token};
pub(crate) use health::checks;

use crate::http::{Body, BoxError, CollectError, collect};
use crate::proxy::Gateway;
use crate::runtime::Runtime;
use crate::server::Server;
use access::Access;
use cofferdam::health::Health;
use cofferdam::sync::CancelToken;
use cofferdam::telemetry::inspect::Inspector;
use cofferdam::telemetry::{PrometheusText, Telemetry};
use control::{Changes, Wrong};
use futures_util::future::join;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use samples::Samples;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAGE: &str = include_str!("../page.html");
/// What the page may do: itself, and ask this server.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Of a page, a few scrapers and a few terminals.
const CONNECTIONS: u32 = 64;
const BODY: usize = 16 << 10;
const BODY_TIME: Duration = Duration::from_secs(5);

const JSON: &str = "application/json";

/// The running admin server.
#[derive(Clone)]
pub(crate) struct Admin {
    server: Server,
    stop: CancelToken,
}

/// What it answers from.
struct Desk<R> {
    gateway: Arc<Gateway<R>>,
    /// The server of the gateway itself.
    front: Server,
    text: PrometheusText,
    samples: Samples,
    inspector: Inspector,
    health: Health,
    access: Access,
    started: Instant,
}

impl Admin {
    pub(crate) async fn start<R: Runtime>(
        runtime: &R,
        at: &AdminAt,
        telemetry: &Telemetry,
        health: &Health,
        gateway: &Arc<Gateway<R>>,
        front: &Server,
        started: Instant,
    ) -> Result<Self, BoxError> {
        let longest = metrics::watch_all(telemetry, gateway, front)?;
        let inspector = Inspector::new();
        for upstream in &gateway.upstreams {
            upstream.guard.inspected(&inspector, &upstream.name)?;
        }
        gateway.background.inspected(&inspector)?;
        if let Some(inside) = &gateway.inside {
            inspector.add("requests", inside)?;
        }
        let desk = Arc::new(Desk {
            gateway: Arc::clone(gateway),
            front: front.clone(),
            text: PrometheusText::new(telemetry),
            samples: Samples::new(gateway, longest),
            inspector,
            health: health.clone(),
            access: Access::new(at.address.ip(), at.token.clone()),
            started,
        });
        let handler = {
            let desk = Arc::clone(&desk);
            move |request, peer| Arc::clone(&desk).handle(request, peer)
        };
        let server = Server::start(runtime, at.address, CONNECTIONS, handler)
            .await
            .map_err(|error| format!("cannot listen on {}: {error}", at.address))?;
        // Any port may have done.
        desk.access.listens_on(server.address().port());
        let stop = CancelToken::new();
        let stopped = stop.clone();
        let clock = runtime.clock();
        let checking = health.run();
        runtime.spawn(async move {
            let looking = async {
                for second in 1.. {
                    clock.sleep_until(started + samples::PERIOD * second).await;
                    desk.samples.take(&desk.gateway, desk.uptime());
                }
            };
            let _ = stopped.run(join(looking, checking)).await;
        });
        Ok(Self { server, stop })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) async fn shutdown(&self, limit: Duration) {
        self.stop.cancel();
        self.server.shutdown(limit).await;
    }
}

impl<R: Runtime> Desk<R> {
    fn uptime(&self) -> Duration {
        self.gateway.clock.now().saturating_duration_since(self.started)
    }

    async fn handle(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let is_control = parts.uri.path() == "/control";
        let mut response = if parts.method == Method::POST && is_control {
            match self.access.check(peer.ip(), &parts.headers) {
                Ok(()) => {
                    let body = collect(body, BODY, &self.gateway.clock, BODY_TIME).await;
                    self.control(&parts.headers, body.as_deref())
                }
                Err(why) => refusal(StatusCode::FORBIDDEN, why),
            }
        } else if is_control || !parts.method.is_safe() {
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, "GET, or POST /control");
            let allowed = if is_control { "POST" } else { "GET, HEAD" };
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            response
        } else {
            let query = parts.uri.query().unwrap_or_default();
            self.look(parts.uri.path(), query, &parts.headers).await
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // What is here is for nobody's page but its own.
        let same_origin = HeaderValue::from_static("same-origin");
        headers.insert(HeaderName::from_static("cross-origin-resource-policy"), same_origin);
        response
    }

    async fn look(&self, path: &str, query: &str, headers: &HeaderMap) -> Response<Body> {
        match path {
            "/" => {
                let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", PAGE);
                response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
                response
            }
            "/metrics" if wants_openmetrics(headers) => answer(
                StatusCode::OK,
                PrometheusText::OPENMETRICS_CONTENT_TYPE,
                self.text.render_openmetrics(),
            ),
            "/metrics" => answer(StatusCode::OK, PrometheusText::CONTENT_TYPE, self.text.render()),
            "/livez" => {
                let (live, value) = health::liveness(&self.health);
                said(probed(live), &value)
            }
            "/readyz" => {
                let (ready, value) = health::readiness(&self.health, &self.gateway, &self.front).await;
                said(probed(ready), &value)
            }
            "/debug" => {
                let since = query.split('&').find_map(|pair| pair.strip_prefix("since="));
                match since.unwrap_or("0").parse() {
                    Ok(since) => said(StatusCode::OK, &self.debug(since).await),
                    Err(_) => wrong(&Wrong::new("since", since.unwrap_or_default(), "must be a number")),
                }
            }
            _ => refusal(StatusCode::NOT_FOUND, "there is /, /metrics, /livez, /readyz, /debug and /control"),
        }
    }

    fn control(&self, headers: &HeaderMap, body: Result<&[u8], &CollectError>) -> Response<Body> {
        let body = match body {
            Ok(body) => body,
            Err(CollectError::TooLarge) => return refusal(StatusCode::PAYLOAD_TOO_LARGE, "above 16 KiB"),
            Err(_) => return refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come"),
        };
        let upstreams = &self.gateway.upstreams;
        let names = || upstreams.iter().map(|upstream| upstream.name.as_str());
        let changes = match Changes::read(headers, body, names()) {
            Ok(changes) => changes,
            Err(error) => return wrong(&error),
        };
        let upstream = &upstreams[changes.upstream];
        match changes.make(&upstream.guard) {
            Ok(()) => said(StatusCode::OK, &debug::knobs(upstream)),
            // It is shut down.
            Err(error) => refusal(StatusCode::CONFLICT, &error.to_string()),
        }
    }
}

/// Whether the first of the two formats that it names is OpenMetrics. (Prometheus names what it likes best first.)
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges =
        accepted.flat_map(|value| value.split(',')).map(|range| range.split(';').next().unwrap_or(""));
    let mut known = ranges.map(str::trim).filter(|range| {
        ["application/openmetrics-text", "text/plain", "text/*", "*/*"]
            .iter()
            .any(|known| range.eq_ignore_ascii_case(known))
    });
    known.next().is_some_and(|range| range.eq_ignore_ascii_case("application/openmetrics-text"))
}

/// The status of an answer to a probe.
fn probed(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn answer(status: StatusCode, media_type: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn said(status: StatusCode, value: &Value) -> Response<Body> {
    answer(status, JSON, format!("{value}\n"))
}

fn wrong(error: &Wrong) -> Response<Body> {
    said(StatusCode::BAD_REQUEST, &error.said())
}

fn refusal(status: StatusCode, why: &str) -> Response<Body> {
    said(status, &json!({ "error": why }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it_first() {
        let wants = |accept: &'static str| {
            wants_openmetrics(&[(header::ACCEPT, HeaderValue::from_static(accept))].into_iter().collect())
        };
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(
            wants(prometheus)
                && wants("Application/OpenMetrics-Text")
                && wants("text/html, application/openmetrics-text")
        );
        for other in ["*/*", "text/plain", "text/plain, application/openmetrics-text", "text/html", ""] {
            assert!(!wants(other), "{other}");
        }
        assert!(!wants_openmetrics(&HeaderMap::new()));
    }

    /// A browser asks for nothing that the page's policy forbids: it is one file.
    #[test]
    fn the_page_is_one_file() {
        for outside in ["src=", "@import", "url(", "http://", "https://"] {
            let found = PAGE.match_indices(outside).find(|(at, _)| {
                // The name of a vocabulary is no address.
                !PAGE[*at..].starts_with("http://www.w3.org/2000/svg")
            });
            assert_eq!(found, None);
        }
    }
}
