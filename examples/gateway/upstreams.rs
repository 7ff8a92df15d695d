//! The four services of the self-contained run: steady, flaky, mortal (healthy, slow, dead, healed), and metered.

use crate::demo::Demo;
use crate::http::{Body, collect};
use crate::meter::{Meter, MeterStats};
use crate::runtime::Runtime;
use crate::server::Server;
use crate::tally::lock;
use bytes::Bytes;
use cofferdam::sync::CancelToken;
use cofferdam::time::Clock;
use fastrand::Rng;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) const NAMES: [&str; 4] = ["steady", "flaky", "mortal", "metered"];

/// Sent with every request and given back in its response, so that the client can see that they belong together.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The length of the response's body, so that the client can see that nothing of it is missing.
pub(crate) const BODY_LENGTH: HeaderName = HeaderName::from_static("x-body-length");

/// When the mortal service changes, in parts of the run.
const SLOW_FROM: f64 = 0.25;
const DEAD_FROM: f64 = 0.40;
const HEALED_FROM: f64 = 0.60;

const PIECES: usize = 32;
const PIECE: usize = 1024;

#[derive(Clone, Copy)]
enum Character {
    Steady,
    Flaky,
    Mortal,
    Metered,
}

struct Service {
    character: Character,
    clock: Clock,
    started: Instant,
    run: Duration,
    random: Mutex<Rng>,
    requests: AtomicU64,
    /// Of the metered one.
    meter: Option<Meter>,
}

/// What one service has seen.
#[derive(Clone, Copy)]
pub(crate) struct ServiceSaw {
    pub(crate) requests: u64,
    pub(crate) meter: MeterStats,
}

/// The running services.
pub(crate) struct Services {
    servers: Vec<Arc<Server>>,
    services: Vec<Arc<Service>>,
}

impl Services {
    /// Starts them on ports of the system's choice; the mortal one lives its life until `stop`.
    pub(crate) async fn start<R: Runtime>(runtime: &R, demo: &Demo, stop: &CancelToken) -> io::Result<Self> {
        let clock = runtime.clock();
        let (started, run) = (clock.now(), demo.length);
        let mut this = Self { servers: Vec::new(), services: Vec::new() };
        let characters = [Character::Steady, Character::Flaky, Character::Mortal, Character::Metered];
        for (index, character) in characters.into_iter().enumerate() {
            // Somewhat less than comes: of reads some 22 %, of writes some 3 %.
            let metered = matches!(character, Character::Metered);
            let meter = || Meter::new(&clock, started, demo.per_second(18.0), demo.per_second(1.5));
            let service = Arc::new(Service {
                character,
                clock: clock.clone(),
                started,
                run,
                random: Mutex::new(Rng::with_seed(demo.seed.wrapping_add(index as u64))),
                requests: AtomicU64::new(0),
                meter: metered.then(meter),
            });
            let handler = {
                let service = Arc::clone(&service);
                move |request, _peer| Arc::clone(&service).answer(request)
            };
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let server = Arc::new(Server::start(runtime, address, 4096, handler).await?);
            if matches!(character, Character::Mortal) {
                runtime.spawn(live(Arc::clone(&server), clock.clone(), started, run, stop.clone()));
            }
            this.servers.push(server);
            this.services.push(service);
        }
        Ok(this)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.servers.iter().map(|server| server.address())
    }

    /// What each has seen.
    pub(crate) fn saw(&self) -> Vec<ServiceSaw> {
        let saw = |service: &Arc<Service>| ServiceSaw {
            requests: service.requests.load(Ordering::Relaxed),
            meter: service.meter.as_ref().map(Meter::stats).unwrap_or_default(),
        };
        self.services.iter().map(saw).collect()
    }

    /// Ends them all; returns how many connections had to be cut.
    pub(crate) async fn shutdown(&self, limit: Duration) -> u32 {
        let mut cut = 0;
        for server in &self.servers {
            cut += server.shutdown(limit).await;
        }
        cut
    }
}

/// The mortal service's death and resurrection.
async fn live(server: Arc<Server>, clock: Clock, started: Instant, run: Duration, stop: CancelToken) {
    for (part, down) in [(DEAD_FROM, true), (HEALED_FROM, false)] {
        let at = clock.sleep_until(started + run.mul_f64(part));
        if stop.run(at).await.is_err() {
            return;
        }
        server.set_down(down);
    }
}

impl Service {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (mut status, mut delay) = self.mood();
        let metered = self.meter.as_ref().map(|meter| meter.admit(request.method()));
        if let Some((false, _)) = metered {
            (status, delay) = (StatusCode::TOO_MANY_REQUESTS, Duration::ZERO);
        }
        let (mut parts, body) = request.into_parts();
        let body = match collect(body, 1 << 20, &self.clock, Duration::from_secs(5)).await {
            Ok(body) => body,
            Err(_) => return Response::new(Body::whole("no body")),
        };
        self.clock.sleep(delay).await;
        let id = parts.headers.remove(REQUEST_ID);
        let mut response = if parts.method == Method::HEAD {
            Response::new(Body::whole(""))
        } else if status != StatusCode::OK {
            with_length(Bytes::from_static(b"not today\n"))
        } else if parts.uri.path().ends_with("/pieces") {
            let pieces = (0..PIECES).map(|_| Bytes::from_static(&[b'.'; PIECE])).collect();
            let mut response = Response::new(Body::Pieces(pieces));
            response.headers_mut().insert(BODY_LENGTH, (PIECES * PIECE).into());
            response
        } else if body.is_empty() {
            with_length(Bytes::from_static(&[b'.'; 512]))
        } else {
            with_length(body)
        };
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let Some((_, fields)) = metered {
            response.headers_mut().extend(fields);
        }
        if let Some(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    /// How the service feels about the next request: its status, and how long it takes.
    fn mood(&self) -> (StatusCode, Duration) {
        let mut random = lock(&self.random);
        let percent = random.f64() * 100.0;
        let mut millis =
            |low: f64, high: f64| Duration::from_secs_f64((low + random.f64() * (high - low)) / 1e3);
        match self.character {
            Character::Steady | Character::Metered => (StatusCode::OK, millis(0.5, 1.5)),
            Character::Flaky if percent < 5.0 => (StatusCode::SERVICE_UNAVAILABLE, millis(0.5, 3.0)),
            Character::Flaky if percent < 6.0 => (StatusCode::INTERNAL_SERVER_ERROR, millis(0.5, 3.0)),
            Character::Flaky if percent < 8.0 => (StatusCode::OK, millis(60.0, 500.0)),
            Character::Flaky => (StatusCode::OK, millis(1.0, 4.0)),
            Character::Mortal => {
                let lived = self.clock.now().saturating_duration_since(self.started);
                let part = lived.as_secs_f64() / self.run.as_secs_f64();
                if (SLOW_FROM..DEAD_FROM).contains(&part) {
                    // From 100 ms to 600 ms while it lasts.
                    let worse = (part - SLOW_FROM) / (DEAD_FROM - SLOW_FROM) * 500.0;
                    (StatusCode::OK, millis(80.0 + worse, 120.0 + worse))
                } else {
                    (StatusCode::OK, millis(1.0, 3.0))
                }
            }
        }
    }
}

fn with_length(body: Bytes) -> Response<Body> {
    let length = body.len();
    let mut response = Response::new(Body::whole(body));
    response.headers_mut().insert(BODY_LENGTH, length.into());
    response
}
