//! The load of the self-contained run: clients that send on a schedule, whatever becomes of what they sent before.
//!
//! The load is open: a request is due at its own time, and its latency counts from then, so that a gateway that stalls is
//! charged for every request that it held up, not only for the one that it was asked.

use crate::clients::{CLIENT_SCOPE, SCOPE};
use crate::connections::Connections;
use crate::demo::Demo;
use crate::histogram::Histogram;
use crate::http::collect;
use crate::runtime::Runtime;
use crate::tally::lock;
use crate::upstreams::{BODY_LENGTH, NAMES, REQUEST_ID};
use bytes::Bytes;
use cofferdam::sync::{CancelToken, Semaphore};
use cofferdam::time::Clock;
use fastrand::Rng;
use http_body_util::Full;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How far behind its schedule the load may end.
const GRACE: Duration = Duration::from_secs(1);
/// Requests under way at once of all clients, divided by shares, each on a connection of its own. Both ends of all these
/// connections, and of those to the services, are in one process, which often may have no more than 1024 open files.
const IN_FLIGHT: u64 = 256;
/// After this long a client gives a request up; the gateway's own limits are far below.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the clients saw of one upstream.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// The 429s that speak of the client's own rate; the others are an upstream's.
    pub(crate) limited: u64,
    /// Of responses that are neither 429 nor 503: those waited for the upstream.
    pub(crate) waited: Histogram,
    /// Of 429 and 503.
    pub(crate) refused: Histogram,
    /// Responses that belong to another request, or miss a part of their body.
    pub(crate) wrong: u64,
}

/// What all clients saw.
pub(crate) struct LoadReport {
    pub(crate) upstreams: Vec<Seen>,
    pub(crate) clients: Vec<ClientReport>,
    pub(crate) planned: u64,
    /// The first of the reasons why a request got no response.
    pub(crate) complaint: Option<String>,
}

pub(crate) struct ClientReport {
    pub(crate) name: String,
    pub(crate) sent: u64,
    pub(crate) limited: u64,
}

/// Live numbers, for the screen.
#[derive(Default)]
pub(crate) struct Progress {
    received: AtomicU64,
}

impl Progress {
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

struct Client<R> {
    name: String,
    requests: u64,
    seed: u64,
    clock: Clock,
    authority: HeaderValue,
    connections: Connections<R>,
    room: Arc<Semaphore>,
    seen: Mutex<Vec<Seen>>,
    complaint: Mutex<Option<String>>,
    progress: Arc<Progress>,
}

/// Sends the whole load to the gateway at `address`, until all is sent, the time is over, or `stop`.
pub(crate) async fn run<R: Runtime>(
    runtime: &R,
    demo: &Demo,
    address: SocketAddr,
    progress: &Arc<Progress>,
    stop: &CancelToken,
) -> LoadReport {
    let clock = runtime.clock();
    let started = clock.now();
    let authority =
        HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("gateway"));
    let running = Arc::new(Semaphore::new(demo.clients));
    let mut clients = Vec::new();
    for (index, requests) in plan(demo).into_iter().enumerate() {
        let shares = if index == 0 { 3 } else { 1 };
        let in_flight = (IN_FLIGHT * shares / demo.shares()).max(4) as u32;
        let client = Arc::new(Client {
            name: if index == 0 { "greedy".to_owned() } else { format!("client-{index}") },
            requests,
            seed: demo.seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index as u64 + 1)),
            clock: clock.clone(),
            authority: authority.clone(),
            connections: Connections::new(runtime, address.to_string(), in_flight as usize),
            room: Arc::new(Semaphore::new(in_flight)),
            seen: Mutex::new(vec![Seen::default(); NAMES.len()]),
            complaint: Mutex::new(None),
            progress: Arc::clone(progress),
        });
        clients.push(Arc::clone(&client));
        let Ok(permit) = running.acquire_owned().await else { continue };
        let (runtime, stop, length) = (runtime.clone(), stop.clone(), demo.length);
        runtime.clone().spawn(async move {
            // What was sent is waited for also after a stop.
            drop(stop.run(send_all(&runtime, &client, started, length)).await);
            drop(client.room.acquire_all().await);
            client.connections.close_idle();
            drop(permit);
        });
    }
    drop(running.acquire_all().await);
    let mut report = LoadReport {
        upstreams: vec![Seen::default(); NAMES.len()],
        clients: Vec::new(),
        planned: demo.requests,
        complaint: None,
    };
    for client in &clients {
        let seen = lock(&client.seen);
        for (all, one) in report.upstreams.iter_mut().zip(seen.iter()) {
            all.sent += one.sent;
            all.received += one.received;
            all.wrong += one.wrong;
            all.limited += one.limited;
            all.waited.merge(&one.waited);
            all.refused.merge(&one.refused);
            for (status, count) in &one.statuses {
                *all.statuses.entry(*status).or_default() += count;
            }
        }
        let limited = seen.iter().map(|seen| seen.limited).sum();
        let sent = seen.iter().map(|seen| seen.sent).sum();
        report.clients.push(ClientReport { name: client.name.clone(), sent, limited });
        report.complaint = report.complaint.or_else(|| lock(&client.complaint).clone());
    }
    report
}

/// How many requests each client sends: three shares for the first, one for each other, and nothing lost in rounding.
fn plan(demo: &Demo) -> Vec<u64> {
    let share = demo.requests / demo.shares();
    let mut plan = vec![share; demo.clients as usize];
    plan[0] = demo.requests - share * (u64::from(demo.clients) - 1);
    plan
}

async fn send_all<R: Runtime>(runtime: &R, client: &Arc<Client<R>>, started: Instant, length: Duration) {
    let mut random = Rng::with_seed(client.seed);
    let end = started + length + GRACE;
    for number in 0..client.requests {
        // One request in each slice of the time, anywhere in it.
        let due = started + length.mul_f64((number as f64 + random.f64()) / client.requests as f64);
        if client.clock.now() < due {
            client.clock.sleep_until(due).await;
        }
        let Ok(permit) = client.room.acquire_owned().await else { return };
        if client.clock.now() >= end {
            return;
        }
        let (upstream, request) = client.request(number, &mut random);
        let client = Arc::clone(client);
        runtime.spawn(async move {
            client.send(upstream, request, due).await;
            drop(permit);
        });
    }
}

impl<R: Runtime> Client<R> {
    fn request(&self, number: u64, random: &mut Rng) -> (usize, Request<Full<Bytes>>) {
        let upstream = match random.u32(0..10) {
            0..3 => 0,
            3..5 => 1,
            5..7 => 2,
            _ => 3,
        };
        // One item is everybody's favourite.
        let item = if random.u32(0..4) == 0 { 0 } else { random.u32(1..32) };
        let item = format!("items/{item}");
        let (method, path, body) = match random.u32(0..100) {
            0..80 => (Method::GET, item.as_str(), 0),
            80..84 => (Method::GET, "pieces", 0),
            84..88 => (Method::HEAD, item.as_str(), 0),
            88..91 => (Method::PUT, item.as_str(), random.usize(1..4096)),
            _ => (Method::POST, "items", random.usize(1..4096)),
        };
        let body = Bytes::from(vec![b'x'; body]);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("/{}/{path}?n={number}", NAMES[upstream]).parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        // Now and then somebody passes by who is never seen again.
        let guest = random.u32(0..20) == 0;
        let name = if guest { format!("guest-{}-{number}", self.name) } else { self.name.clone() };
        if let Ok(name) = HeaderValue::from_str(&name) {
            headers.insert(crate::proxy::CLIENT, name);
        }
        if let Ok(id) = HeaderValue::from_str(&format!("{}-{number}", self.name)) {
            headers.insert(REQUEST_ID, id);
        }
        (upstream, request)
    }

    async fn send(&self, upstream: usize, request: Request<Full<Bytes>>, due: Instant) {
        let id = request.headers().get(REQUEST_ID).cloned();
        let head = request.method() == Method::HEAD;
        lock(&self.seen)[upstream].sent += 1;
        let exchange = async {
            let (response, lease) =
                self.connections.send(request).await.map_err(|error| error.to_string())?;
            let (parts, body) = response.into_parts();
            let body = collect(body, 1 << 20, &self.clock, PATIENCE).await;
            drop(lease);
            match body {
                Ok(body) => Ok((parts, body)),
                Err(error) => Err(format!("{error:?}")),
            }
        };
        let outcome = match self.clock.timeout(PATIENCE, exchange).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(elapsed.to_string()),
        };
        let latency = self.clock.now().saturating_duration_since(due);
        let (parts, body) = match outcome {
            Ok(received) => received,
            Err(complaint) => {
                lock(&self.complaint).get_or_insert(complaint);
                return;
            }
        };
        self.progress.received.fetch_add(1, Ordering::Relaxed);
        let mut seen = lock(&self.seen);
        let seen = &mut seen[upstream];
        seen.received += 1;
        *seen.statuses.entry(parts.status.as_u16()).or_default() += 1;
        let scope = parts.headers.get(SCOPE);
        let limited = parts.status == StatusCode::TOO_MANY_REQUESTS;
        seen.limited += u64::from(limited && scope.is_some_and(|scope| scope == CLIENT_SCOPE));
        match parts.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => seen.refused.record(latency),
            _ => seen.waited.record(latency),
        }
        if parts.status == StatusCode::OK {
            let length = parts.headers.get(BODY_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let whole = head || length == Some(body.len());
            if !whole || parts.headers.get(REQUEST_ID) != id.as_ref() {
                seen.wrong += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_holds_every_request_and_three_shares_for_the_first() {
        let demo = |requests, clients| Demo { requests, clients, seed: 1, length: Duration::from_secs(20) };
        assert_eq!(plan(&demo(1000, 8)), [300, 100, 100, 100, 100, 100, 100, 100]);
        for (requests, clients) in [(1, 1), (7, 3), (40_003, 8), (5, 64)] {
            assert_eq!(plan(&demo(requests, clients)).iter().sum::<u64>(), requests);
        }
    }
}
