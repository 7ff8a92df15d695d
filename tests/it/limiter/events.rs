//! What a limiter tells.

use cofferdam::limit::{Limiter, LimiterEvent, Quota, SlidingLog, SlidingWindowLog, TokenBucket};
use cofferdam::testkit::ManualClock;
use futures_util::FutureExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

type Told = Arc<Mutex<Vec<String>>>;

fn text(event: &LimiterEvent) -> String {
    match event {
        LimiterEvent::Allowed { tokens, .. } => format!("allowed {tokens}"),
        LimiterEvent::Denied { denied, .. } => {
            format!("denied {} {:?}", denied.wanted(), denied.retry_after())
        }
        LimiterEvent::QueueFull { tokens, .. } => format!("queue full {tokens}"),
        LimiterEvent::Queued { tokens, .. } => format!("queued {tokens}"),
        LimiterEvent::Granted { tokens, waited, .. } => format!("granted {tokens} {waited:?}"),
        LimiterEvent::Cancelled { tokens, waited, .. } => format!("cancelled {tokens} {waited:?}"),
        LimiterEvent::Changed => "changed".to_owned(),
        LimiterEvent::Paused { pause, .. } => format!("paused {pause:?}"),
        LimiterEvent::Resumed => "resumed".to_owned(),
        LimiterEvent::Drained { to, .. } => format!("drained {to}"),
        _ => "something else".to_owned(),
    }
}

fn observed(per_second: u64, burst: u64) -> (ManualClock, TokenBucket, Told) {
    let time = ManualClock::new();
    let bucket = TokenBucket::builder(Quota::per_second(per_second).burst(burst))
        .clock(time.clock())
        .queue(2)
        .build()
        .expect("a bucket");
    let told = Told::default();
    let seen = Arc::clone(&told);
    bucket.observe(move |event: &LimiterEvent| seen.lock().expect("not poisoned").push(text(event)));
    (time, bucket, told)
}

fn told(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().expect("not poisoned"))
}

#[test]
fn decisions_are_told_of() {
    let (_, bucket, events) = observed(1, 2);
    bucket.try_acquire_many(2).expect("there");
    assert!(bucket.try_acquire().is_err() && bucket.try_acquire_many(3).is_err());
    assert!(bucket.peek(1).is_err(), "that is no request");
    assert_eq!(told(&events), ["allowed 2", "denied 1 Some(1s)", "denied 3 None"]);
    assert_eq!(bucket.stats().decided, None, "observed is not counted");
}

#[test]
fn waits_are_told_of_with_their_length() {
    let (time, bucket, events) = observed(1, 1);
    bucket.acquire().now_or_never().expect("there").expect("there");
    let mut granted = Box::pin(bucket.acquire());
    let mut dropped = Box::pin(bucket.acquire());
    assert!(granted.as_mut().now_or_never().is_none() && dropped.as_mut().now_or_never().is_none());
    assert!(bucket.acquire().now_or_never().expect("full").is_err());
    assert!(bucket.acquire_timeout(SECOND / 2).now_or_never().expect("too long").is_err());
    assert_eq!(told(&events), ["allowed 1", "queued 1", "queued 1", "queue full 1", "denied 1 Some(3s)"]);
    time.advance(SECOND);
    granted.as_mut().now_or_never().expect("granted").expect("granted");
    drop(dropped);
    assert_eq!(told(&events), ["granted 1 1s", "cancelled 1 1s"]);
}

#[test]
fn a_wait_that_new_settings_make_impossible_is_denied() {
    let (_, bucket, events) = observed(1, 5);
    bucket.try_acquire_many(5).expect("there");
    let mut waiting = Box::pin(bucket.acquire_many(5));
    assert!(waiting.as_mut().now_or_never().is_none());
    bucket.set(Quota::per_second(1).burst(2));
    assert!(waiting.as_mut().now_or_never().expect("never").is_err());
    assert_eq!(told(&events), ["allowed 5", "queued 5", "changed", "denied 5 None"]);
}

#[test]
fn what_is_done_to_it_is_told_of() {
    let (_, bucket, events) = observed(1, 2);
    bucket.set_temporarily(Quota::per_second(5).burst(2), SECOND);
    bucket.clear_temporary();
    bucket.resume();
    bucket.pause_for(SECOND);
    bucket.resume();
    bucket.pause();
    bucket.resume();
    bucket.drain_to(1);
    let wanted = ["changed", "changed", "paused Some(1s)", "resumed", "paused None", "resumed", "drained 1"];
    assert_eq!(told(&events), wanted);
}

#[test]
fn an_algorithm_that_decides_under_a_lock_tells_the_same() {
    let time = ManualClock::new();
    let log: SlidingWindowLog = Limiter::builder(SlidingLog::new(1, SECOND).expect("a window"))
        .clock(time.clock())
        .build()
        .expect("a limiter");
    let told = Told::default();
    let seen = Arc::clone(&told);
    let again = log.clone();
    log.observe(move |event: &LimiterEvent| {
        // Neither lock is held.
        let _ = again.available();
        seen.lock().expect("not poisoned").push(text(event));
    });
    log.try_acquire().expect("there");
    assert!(log.try_acquire().is_err());
    assert_eq!(*told.lock().expect("not poisoned"), ["allowed 1", "denied 1 Some(1s)"]);
}
