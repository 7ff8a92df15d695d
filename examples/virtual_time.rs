//! Testing an hour of policy in a few microseconds: a poller that waits for a report, with backoff, for at most an hour.
//! The same code runs on the system's clock in production; here the simulator lends it virtual time, and every run is
//! decided by its seed.
//!
//! Run: `cargo run --example virtual_time`
//!
//! Expected output:
//! ```text
//! ready at once:    1 request,  after 0s
//! after 20 minutes: 8 requests, after 1230s
//! never:            11 requests, gave up after 3600s: the deadline of the context has passed
//! a client that leaves after 10 minutes: 6 requests, cancelled: the client has left
//! ```

use cofferdam::sync::{Context, ContextError};
use cofferdam::testkit::Sim;
use cofferdam::time::{Backoff, Clock, Jitter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// The code under test: asks again and again, 10 s, 20 s, 40 s and so on apart, but never more than 10 minutes.
async fn poll_for_report<F: Future<Output = Option<u32>>>(
    context: &Context,
    mut ask: impl FnMut() -> F,
) -> Result<u32, ContextError> {
    let backoff = Backoff::exponential(Duration::from_secs(10)).cap(10 * MINUTE).jitter(Jitter::None);
    let clock = context.clock();
    let polling = async {
        for delay in backoff.delays() {
            if let Some(report) = ask().await {
                return report;
            }
            clock.sleep(delay).await;
        }
        unreachable!("delays have no end")
    };
    context.run(polling).await
}

/// A server that has the report after `ready`, answers in no time, and counts.
fn server(
    clock: &Clock,
    ready: Duration,
    requests: &Arc<AtomicU32>,
) -> impl FnMut() -> std::future::Ready<Option<u32>> {
    let (clock, start, requests) = (clock.clone(), clock.now(), Arc::clone(requests));
    move || {
        requests.fetch_add(1, Ordering::Relaxed);
        std::future::ready((clock.now() - start >= ready).then_some(42))
    }
}

fn main() {
    // Each case in a new world: (outcome, requests, seconds that have passed).
    let run = |ready: Duration, leaves: Option<Duration>| {
        let sim = Sim::new(7);
        let context = Context::background().with_clock(sim.clock()).with_timeout(60 * MINUTE);
        let requests = Arc::new(AtomicU32::new(0));
        if let Some(after) = leaves {
            let (clock, context) = (sim.clock(), context.clone());
            sim.spawn("client", async move {
                clock.sleep(after).await;
                context.cancel("the client has left");
            });
        }
        let outcome = sim.run(poll_for_report(&context, server(&sim.clock(), ready, &requests)));
        assert_eq!(sim.time().armed(), 0, "no timer is left behind");
        (outcome, requests.load(Ordering::Relaxed), sim.time().elapsed().as_secs())
    };

    let (outcome, requests, seconds) = run(Duration::ZERO, None);
    assert_eq!(outcome.ok(), Some(42));
    println!("ready at once:    {requests} request,  after {seconds}s");

    let (outcome, requests, seconds) = run(20 * MINUTE, None);
    assert_eq!(outcome.ok(), Some(42));
    println!("after 20 minutes: {requests} requests, after {seconds}s");

    let (outcome, requests, seconds) = run(Duration::MAX, None);
    println!("never:            {requests} requests, gave up after {seconds}s: {}", outcome.unwrap_err());

    let (outcome, requests, seconds) = run(Duration::MAX, Some(10 * MINUTE));
    assert_eq!(seconds, 600);
    println!("a client that leaves after 10 minutes: {requests} requests, {}", outcome.unwrap_err());
}
