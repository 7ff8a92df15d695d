//! An HTTP client that bears with a bad server: retry, breaker and timeouts as `tower` layers around hyper's client.
//!
//! ```sh
//! cargo run --release --example http_client
//! ```
//!
//! The server is its own and is flaky on purpose, on real sockets. It checks that the sums come out, and ends.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response as Answer};
use axum::routing::get;
use bytes::Bytes;
use cofferdam::resilience::breaker::Outcome;
use cofferdam::resilience::{CircuitBreaker, Error, Retry, Scope, Stack, Timeout, Verdict};
use cofferdam::time::Backoff;
use cofferdam::tower::PolicyLayer;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tower::{Service, ServiceBuilder, ServiceExt as _};

type Outcomes = Result<Response<Incoming>, Error<legacy::Error>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

const ATTEMPT: Duration = Duration::from_millis(250);
const BREAK: Duration = Duration::from_millis(300);

/// How often each path was asked for.
type Seen = Arc<Mutex<BTreeMap<String, u32>>>;

fn see(seen: &Seen, path: String) -> u32 {
    let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let times = seen.entry(path).or_default();
    *times += 1;
    *times
}

/// `/flaky/n` is unavailable for the first `n % 3` times, `/hangs/n` hangs for the first `n % 2`; `/broken` always fails.
fn server(seen: Seen) -> Router {
    let flaky = |Path(n): Path<u32>, State(seen): State<Seen>| async move {
        if see(&seen, format!("flaky {n}")) <= n % 3 {
            return (StatusCode::SERVICE_UNAVAILABLE, "not now").into_response();
        }
        Answer::new(format!("flaky {n}").into())
    };
    let hangs = |Path(n): Path<u32>, State(seen): State<Seen>| async move {
        if see(&seen, format!("hangs {n}")) <= n % 2 {
            std::future::pending::<()>().await;
        }
        format!("hangs {n}")
    };
    let broken = |State(seen): State<Seen>| async move {
        see(&seen, "broken".into());
        (StatusCode::INTERNAL_SERVER_ERROR, "broken")
    };
    Router::new()
        .route("/flaky/{n}", get(flaky))
        .route("/hangs/{n}", get(hangs))
        .route("/broken", get(broken))
        .with_state(seen)
}

/// Sends a request and reads the answer.
async fn ask<S>(client: &S, server: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), Failure>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Incoming>, Error = Error<legacy::Error>> + Clone,
{
    let request = Request::get(format!("http://{server}{path}")).body(Empty::new())?;
    let response = client.clone().oneshot(request).await?;
    let status = response.status();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let seen = Seen::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = server(Arc::clone(&seen));
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    // What is unavailable is asked for again; a status of 500 or more is a failure of the server to the breaker.
    let retry = Retry::builder()
        .max_attempts(3)
        .backoff(Backoff::exponential(Duration::from_millis(2)))
        .judge(|outcome: &Outcomes| match outcome {
            Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => Verdict::Retry,
            Ok(_) => Verdict::Done,
            Err(error) if error.is_retryable() => Verdict::Retry,
            Err(_) => Verdict::Done,
        })
        .build()?;
    let breaker = CircuitBreaker::builder().failure_threshold(5).recovery_time(BREAK).build()?;
    let by_status = breaker.classify(|outcome: &Outcomes| match outcome {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        other => Outcome::of(other),
    });
    let stack = Stack::new()
        .timeout(Timeout::builder(Duration::from_secs(5)).scope(Scope::Total).name("call").build())
        .retry(retry)
        .layer(by_status)
        .timeout(Timeout::attempt(ATTEMPT).name("attempt"));
    assert!(stack.lint().is_empty());
    let http = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let client = ServiceBuilder::new().layer(PolicyLayer::new(stack)).service(http);

    // Sometimes unavailable: nobody notices.
    let mut wanted = 0;
    for n in 0..30 {
        let (status, body) = ask(&client, address, &format!("/flaky/{n}")).await?;
        assert_eq!((status, body), (StatusCode::OK, Bytes::from(format!("flaky {n}"))));
        wanted += 1 + n % 3;
    }
    let asked = |what: &str| {
        let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.iter().filter(|(path, _)| path.starts_with(what)).map(|(_, times)| times).sum::<u32>()
    };
    assert_eq!(asked("flaky"), wanted);
    println!("30 answers of a server that was unavailable {} times", wanted - 30);

    // It hangs: the attempt is ended, the next one is answered. All at once, on clones of the client.
    let answers = (0..6).map(|n| {
        let client = client.clone();
        async move { ask(&client, address, &format!("/hangs/{n}")).await }
    });
    for (n, answer) in futures_util::future::join_all(answers).await.into_iter().enumerate() {
        assert_eq!(answer?.1, format!("hangs {n}"));
    }
    assert_eq!(asked("hangs"), 6 + 3);
    println!("6 answers of a server that hung 3 times");

    // It is broken: after five failures in a row it is left alone.
    let mut outcomes = (0, 0);
    for _ in 0..20 {
        match ask(&client, address, "/broken").await {
            Ok((status, _)) => {
                assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
                outcomes.0 += 1;
            }
            Err(failure) => {
                let error = failure.downcast::<Error<legacy::Error>>()?;
                assert!(error.is_circuit_open() && error.retry_after() <= Some(BREAK), "{error}");
                outcomes.1 += 1;
            }
        }
    }
    assert_eq!((outcomes, asked("broken")), ((5, 15), 5));
    println!("20 calls of a broken server: it was asked 5 times");

    // After the break it is tried again.
    tokio::time::sleep(BREAK).await;
    assert_eq!(ask(&client, address, "/flaky/0").await?.0, StatusCode::OK);
    let stats = breaker.stats();
    assert_eq!((stats.running, stats.rejected), (0, 15));
    println!("and then it is well again: {stats:?}");
    serving.abort();
    Ok(())
}
