//! Refusals as responses.

use super::ms;
use cofferdam::resilience::{
    Bulkhead, CircuitBreaker, Error, Exhausted, GaveUp, Reason, Rejection, Scope, Stack, Timeout,
};
use cofferdam::testkit::{ManualClock, Polled};
use cofferdam::tower::{PolicyLayer, RespondLayer};
use futures_executor::block_on;
use http::{Request, Response};
use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::{Layer as _, Service, ServiceBuilder, ServiceExt, service_fn};

#[test]
fn each_reason_has_its_status() {
    let after = Some(ms(1));
    for (rejection, status) in [
        (Rejection::rate_limited("x", after), 429),
        (Rejection::rate_limited("x", None), 429),
        (Rejection::paused("x"), 429),
        (Rejection::circuit_open("x", after), 503),
        (Rejection::full("x", 1, 0, ms(0)), 503),
        (Rejection::new("x", Reason::Shed), 503),
        (Rejection::new("x", Reason::Cancelled), 503),
        (Rejection::new("x", Reason::Closed), 503),
        (Rejection::new("x", Reason::DeadlineExceeded), 504),
        (Rejection::timed_out("x", ms(1), Scope::Total), 504),
    ] {
        assert_eq!(rejection.status(), status, "{rejection}");
        assert_eq!(rejection.response::<String>().status(), status);
        assert_eq!(Error::<()>::from(rejection).status().unwrap(), status);
    }
    assert_eq!(Error::Inner(()).status(), None);
}

#[test]
fn retry_after_is_in_whole_seconds_rounded_up_and_only_where_it_is_known() {
    for (after, text) in [
        (Some(Duration::ZERO), Some("0")),
        (Some(Duration::from_nanos(1)), Some("1")),
        (Some(ms(1000)), Some("1")),
        (Some(ms(1001)), Some("2")),
        (Some(Duration::MAX), Some("18446744073709551615")),
        (None, None),
    ] {
        for rejection in [Rejection::circuit_open("x", after), Rejection::rate_limited("x", after)] {
            let response = rejection.response::<()>();
            let header = response.headers().get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!(header, text, "{after:?}");
        }
    }
}

#[test]
fn refusals_are_answered_and_the_services_own_errors_stay() {
    let time = ManualClock::new();
    let bulkhead = Bulkhead::new(1).unwrap();
    let stack = Stack::new()
        .breaker(
            CircuitBreaker::builder()
                .failure_threshold(1)
                .clock(time.clock())
                .recovery_time(ms(2500))
                .build()
                .unwrap(),
        )
        .bulkhead(bulkhead.clone())
        .timeout(Timeout::attempt(ms(10)).clock(time.clock()));
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(PolicyLayer::once(stack))
        .service(service_fn(|request: Request<()>| {
            let path = request.uri().path().to_owned();
            async move {
                match path.as_str() {
                    "/hang" => pending().await,
                    "/fail" => Err("broken"),
                    _ => Ok(Response::new("fine".to_owned())),
                }
            }
        }));
    let request = |path: &str| Request::builder().uri(path).body(()).unwrap();
    assert_eq!(block_on(service.call(request("/"))).unwrap().body(), "fine");

    let mut hanging = Polled::new(service.call(request("/hang")));
    assert!(hanging.poll().is_none());
    let full = block_on(service.call(request("/"))).unwrap();
    assert_eq!((full.status().as_u16(), full.headers().len()), (503, 0));
    time.advance(ms(10));
    assert_eq!(hanging.poll().unwrap().unwrap().status(), 504);

    // That opened the breaker.
    let open = block_on(service.call(request("/"))).unwrap();
    assert_eq!((open.status().as_u16(), &open.headers()["retry-after"]), (503, &"3".parse().unwrap()));
    time.advance(ms(2500));
    assert_eq!(block_on(service.call(request("/fail"))).unwrap_err(), "broken");
}

#[test]
fn a_retry_that_gave_up_is_what_happened_last() {
    let refused = Error::from(Rejection::circuit_open("x", None));
    let exhausted =
        |last, before| Error::Exhausted(Box::new(Exhausted::new("retry", 2, GaveUp::Attempts, last, before)));
    for (error, outcome) in [
        (exhausted(refused, Some("before")), Ok(503)),
        (exhausted(Error::Inner("last"), None), Err("last")),
        (Error::Inner("own"), Err("own")),
    ] {
        let inner = service_fn(move |(): ()| ready(Err::<Response<()>, _>(error.clone())));
        let answer = block_on(RespondLayer::new().layer(inner).oneshot(()));
        assert_eq!(answer.map(|response| response.status().as_u16()), outcome);
    }
}

#[test]
fn the_response_may_be_ones_own() {
    let answer = |rejection: &Rejection| {
        let mut response = Response::new(format!("sorry: {rejection}"));
        *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        response
    };
    let breaker = CircuitBreaker::new();
    breaker.force_open().unwrap();
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::with(answer))
        .layer(PolicyLayer::once(breaker))
        .service(service_fn(|(): ()| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    let Ok(response) = block_on(service.call(()));
    assert_eq!(response.status(), 418);
    assert_eq!(response.body(), "sorry: circuit breaker: circuit open");
}

/// Its readiness is what it is told.
#[derive(Clone, Debug)]
struct Readiness(Result<(), Error<&'static str>>);

impl Service<()> for Readiness {
    type Response = Response<()>;
    type Error = Error<&'static str>;
    type Future = Ready<Result<Response<()>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(self.0.clone())
    }

    fn call(&mut self, (): ()) -> Self::Future {
        assert!(self.0.is_ok(), "called when it was not ready");
        ready(Ok(Response::new(())))
    }
}

#[test]
fn a_refusal_to_get_ready_answers_the_next_call() {
    let poll = |service: &mut tower::util::MapErr<_, _>| -> Poll<Result<(), &'static str>> {
        Service::<()>::poll_ready(service, &mut Context::from_waker(Waker::noop()))
    };
    let layer = RespondLayer::new();
    let make = |readiness| layer.layer(Readiness(readiness)).map_err(|error: &'static str| error);
    let mut refusing = make(Err(Rejection::new("x", Reason::Shed).into()));
    assert_eq!(poll(&mut refusing), Poll::Ready(Ok(())));
    assert_eq!(block_on(refusing.call(())).unwrap().status(), 503);
    let mut failing = make(Err(Error::Inner("dead")));
    assert_eq!(poll(&mut failing), Poll::Ready(Err("dead")));
    let mut well = make(Ok(()));
    assert_eq!(poll(&mut well), Poll::Ready(Ok(())));
    assert_eq!(block_on(well.call(())).unwrap().status(), 200);
    // A refusal belongs to the instance that was polled.
    let mut polled = layer.layer(Readiness(Err(Rejection::new("x", Reason::Shed).into())));
    assert!(matches!(
        Service::<()>::poll_ready(&mut polled, &mut Context::from_waker(Waker::noop())),
        Poll::Ready(Ok(()))
    ));
    assert!(format!("{polled:?}").contains("refused: Some"));
    assert!(format!("{:?}", polled.clone()).contains("refused: None"));
}

/// Refuses to get ready the first time it is asked.
struct Hesitant(bool);

impl Service<()> for Hesitant {
    type Response = Response<()>;
    type Error = Error<&'static str>;
    type Future = Ready<Result<Response<()>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let refuses = std::mem::replace(&mut self.0, false);
        Poll::Ready(if refuses { Err(Rejection::new("x", Reason::Shed).into()) } else { Ok(()) })
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

#[test]
fn one_that_is_ready_after_all_is_called() {
    let mut service = RespondLayer::new().layer(Hesitant(true));
    for _ in 0..2 {
        let polled = Service::<()>::poll_ready(&mut service, &mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Ok(())));
    }
    assert_eq!(block_on(service.call(())).unwrap().status(), 200);
}
