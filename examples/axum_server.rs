//! An axum server that protects itself: a rate for each client, a bound on how much it does at once, and a limit on how long
//! anything takes, as `tower` layers. Refusals are answers: 429, 503 and 504, with `Retry-After` where it is known.
//!
//! ```sh
//! cargo run --release --example axum_server
//! ```
//!
//! It asks itself, over real sockets and a new connection for each request, checks that the sums come out, and ends.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use cofferdam::limit::{Keyed, Quota};
use cofferdam::resilience::{Bulkhead, KeyThrottle, Stack, Timeout};
use cofferdam::sync::Gate;
use cofferdam::tower::{PolicyLayer, RespondLayer};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tower::ServiceBuilder;

/// Requests of one client at once; after that, one each minute.
const BURST: u64 = 5;
/// Requests that are worked on at once.
const PLACES: u32 = 4;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

struct Work {
    begun: AtomicU32,
    slow: Gate,
}

fn app(work: Arc<Work>) -> Result<Router> {
    let by_client = Keyed::<String>::new(Quota::per_minute(1).burst(BURST));
    let rate = PolicyLayer::once_by_request(move |request: &Request<Body>| {
        let client = request.headers().get("x-client").and_then(|name| name.to_str().ok()).unwrap_or("");
        Arc::new(KeyThrottle::new(by_client.clone(), client.to_owned()).name("by client"))
    });
    let work_limits = Stack::new()
        .bulkhead(Bulkhead::builder(PLACES).name("requests").build()?)
        .timeout(Timeout::attempt(Duration::from_millis(300)));
    assert!(work_limits.lint().is_empty());

    Ok(Router::new()
        .route("/quick", get(|work: State<Arc<Work>>| async move { work.begun() }))
        .route(
            "/slow",
            get(|work: State<Arc<Work>>| async move {
                let number = work.begun();
                work.slow.wait().await;
                number
            }),
        )
        .route(
            "/hangs",
            get(|work: State<Arc<Work>>| async move {
                work.begun();
                std::future::pending::<String>().await
            }),
        )
        .layer(ServiceBuilder::new().layer(RespondLayer::new()).layer(rate))
        .layer(ServiceBuilder::new().layer(RespondLayer::new()).layer(PolicyLayer::once(work_limits)))
        .with_state(work))
}

impl Work {
    fn begun(&self) -> String {
        self.begun.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

/// Answers, by status.
type Sums = BTreeMap<StatusCode, u32>;

/// One request, on a connection of its own.
async fn ask(server: SocketAddr, client: String, path: &str) -> Result<Response<Incoming>> {
    let http = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let request =
        Request::get(format!("http://{server}{path}")).header("x-client", client).body(Body::empty())?;
    Ok(http.request(request).await?)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let work = Arc::new(Work { begun: AtomicU32::new(0), slow: Gate::new(false) });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let app = app(Arc::clone(&work))?;
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut sums = Sums::new();
    let mut count = |response: &Response<Incoming>| *sums.entry(response.status()).or_default() += 1;

    // One client asks too often. It has one limit, not one for each of its connections; others have their own.
    let mut refused = 0;
    for _ in 0..2 * BURST {
        let response = ask(server, "greedy".into(), "/quick").await?;
        count(&response);
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused += 1;
            let after: u64 = response.headers()["retry-after"].to_str()?.parse()?;
            assert!((50..=60).contains(&after), "{after} s");
        }
    }
    assert_eq!(refused, BURST);
    let response = ask(server, "modest".into(), "/quick").await?;
    count(&response);
    assert_eq!(response.status(), StatusCode::OK);
    println!("{refused} of {} requests of one client refused, another's served", 2 * BURST);

    // More at once than there are places: the others are told so at once, while those are still being served.
    let all = 3 * PLACES;
    let mut answers = tokio::task::JoinSet::new();
    for n in 0..all {
        answers.spawn(ask(server, format!("client {n}"), "/slow"));
    }
    for answered in 0..all {
        if answered == all - PLACES {
            work.slow.open();
        }
        let Some(response) = answers.join_next().await else { break };
        let response = response??;
        count(&response);
        let full = answered < all - PLACES;
        assert_eq!(response.status() == StatusCode::SERVICE_UNAVAILABLE, full, "answer {answered}");
    }
    println!("{} of {all} requests at once refused, {PLACES} served", all - PLACES);

    // What hangs is ended, and its place given to others.
    for n in 0..2 {
        let response = ask(server, format!("patient {n}"), "/hangs").await?;
        count(&response);
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }
    println!("2 requests that hang ended");

    let of = |status| sums.get(&status).copied().unwrap_or(0);
    let (ok, late) = (of(StatusCode::OK), of(StatusCode::GATEWAY_TIMEOUT));
    let sent = u32::try_from(2 * BURST + 1)? + all + 2;
    assert_eq!(sums.values().sum::<u32>(), sent, "{sums:?}");
    assert_eq!(of(StatusCode::TOO_MANY_REQUESTS), u32::try_from(BURST)?);
    assert_eq!(of(StatusCode::SERVICE_UNAVAILABLE), all - PLACES);
    // Whatever was refused was not begun, and all else was.
    assert_eq!(work.begun.load(Ordering::Relaxed), ok + late);
    println!("{sent} requests: {sums:?}");
    serving.abort();
    Ok(())
}
