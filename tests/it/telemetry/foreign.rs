//! What sinks may do as they are made, told and dropped.

use super::SECOND;
use cofferdam::limit::{Quota, TokenBucket};
use cofferdam::pool::{PoolEvent, WorkerPool};
use cofferdam::resilience::CircuitBreaker;
use cofferdam::telemetry::{Collector, Counter, Gauge, Histogram, Metrics, Series, Telemetry};
use cofferdam::testkit::{ManualClock, Polled};
use std::future::ready;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A sink of closures: what it does when a handle is made, when one is told, and when one of a histogram is dropped.
struct Sink<M, T, D>(Arc<(M, T, D)>);

struct Handle<M, T, D: Fn()> {
    sink: Arc<(M, T, D)>,
    is_timing: bool,
}

fn sink<M: Fn(), T: Fn(), D: Fn()>(made: M, told: T, dropped: D) -> Sink<M, T, D> {
    Sink(Arc::new((made, told, dropped)))
}

impl<M: Fn(), T: Fn(), D: Fn()> Sink<M, T, D> {
    fn handle(&self, is_timing: bool) -> Handle<M, T, D> {
        self.0.0();
        Handle { sink: Arc::clone(&self.0), is_timing }
    }
}

impl<M, T: Fn(), D: Fn()> Handle<M, T, D> {
    fn tell(&self) {
        self.sink.1();
    }
}

impl<M, T, D: Fn()> Drop for Handle<M, T, D> {
    fn drop(&mut self) {
        if self.is_timing {
            self.sink.2();
        }
    }
}

macro_rules! told {
    ($($handle:ident $tell:ident $number:ty),*) => {$(
        impl<M: Send + Sync, T: Fn() + Send + Sync, D: Fn() + Send + Sync> $handle for Handle<M, T, D> {
            fn $tell(&self, _: $number) {
                self.tell();
            }
        }
    )*};
}

told!(Counter add u64, Gauge set f64, Histogram record f64);

impl<M, T, D> Metrics for Sink<M, T, D>
where
    M: Fn() + Send + Sync + 'static,
    T: Fn() + Send + Sync + 'static,
    D: Fn() + Send + Sync + 'static,
{
    fn counter(&self, _: &Series<'_>) -> Box<dyn Counter> {
        Box::new(self.handle(false))
    }

    fn gauge(&self, _: &Series<'_>) -> Box<dyn Gauge> {
        Box::new(self.handle(false))
    }

    fn histogram(&self, _: &Series<'_>) -> Box<dyn Histogram> {
        Box::new(self.handle(true))
    }
}

type Kept = Arc<Mutex<Option<Telemetry>>>;

fn keep(kept: &Kept, telemetry: &Telemetry) {
    *kept.lock().expect("not poisoned") = Some(telemetry.clone());
}

/// What the caller drops is dropped without the lock.
fn take(kept: &Kept) -> Option<Telemetry> {
    kept.lock().expect("not poisoned").take()
}

#[test]
fn a_sink_that_panics_as_it_makes_a_handle_keeps_nothing_from_the_others() {
    let (time, collector) = (ManualClock::new(), Collector::new());
    let telemetry = Telemetry::builder()
        .metrics(sink(|| resume_unwind(Box::new("no handle")), || (), || ()))
        .metrics(collector.clone())
        .build()
        .expect("a telemetry");
    let (breaker, bucket) = (CircuitBreaker::new(), TokenBucket::builder(Quota::per_second(1).burst(1)));
    let bucket = bucket.clock(time.clock()).build().expect("a bucket");
    telemetry.watch("shop", &breaker).expect("the first");
    telemetry.watch("rate", &bucket).expect("the first");
    breaker.try_acquire().expect("closed").success();
    bucket.try_acquire().expect("there");
    let mut waiting = Polled::new(bucket.acquire());
    assert!(waiting.poll().is_none());
    time.advance(SECOND);
    waiting.poll().expect("granted").expect("granted");
    assert!(telemetry.publish());
    assert_eq!(collector.counter("cofferdam_breaker_calls_total", &[("outcome", "success")]), 1);
    assert_eq!(collector.counter("cofferdam_limiter_requests_total", &[("outcome", "granted")]), 1);
    assert_eq!(collector.durations("cofferdam_limiter_wait_seconds", &[("outcome", "granted")]), [1.0]);
}

#[test]
fn a_publisher_without_an_interval_publishes_once_for_each_poll() {
    let (kept, told) = (Kept::default(), Arc::new(Mutex::new(0)));
    let (last, count) = (Arc::clone(&kept), Arc::clone(&told));
    let count = move || {
        let mut told = count.lock().expect("not poisoned");
        *told += 1;
        if *told == 5 {
            // Ends the publisher.
            drop(take(&last));
        }
    };
    let telemetry = Telemetry::builder().metrics(sink(|| (), count, || ())).clock(ManualClock::new().clock());
    let telemetry = telemetry.build().expect("a telemetry");
    let (sender, _receiver) = cofferdam::sync::channel::<()>(1).expect("a channel");
    telemetry.watch("it", &sender).expect("the first");
    let each = telemetry.samples().len();
    keep(&kept, &telemetry);
    let mut publisher = Polled::new(telemetry.publish_every(Duration::ZERO));
    drop(telemetry);
    assert!(publisher.poll().is_none(), "others have their turn");
    assert_eq!((publisher.wakes(), *told.lock().expect("not poisoned")), (1, each));
    assert!(publisher.poll().is_none());
    assert!(publisher.poll().is_some(), "the telemetry is gone");
}

#[test]
fn a_sink_that_a_worker_was_the_last_to_hold_may_have_the_pool_watched_as_it_is_dropped() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let builder = WorkerPool::builder().workers(1).queue(4).observed();
        let (pool, mut workers) = builder.build().expect("a pool");
        let (other, again) = (Telemetry::new(), pool.clone());
        let watch = move || drop(other.watch("again", &again));
        let telemetry = Telemetry::builder().metrics(sink(|| (), || (), watch)).build();
        let telemetry = telemetry.expect("a telemetry");
        telemetry.watch("it", &pool).expect("the first");
        pool.try_execute(async move { drop(telemetry) }).expect("room");
        let mut worker = Polled::new(workers.next().expect("one"));
        assert!(worker.poll().is_none());
        done.send(()).expect("somebody waits");
    });
    assert_eq!(is_done.recv_timeout(Duration::from_secs(20)), Ok(()), "no lock is held as it is dropped");
}

#[test]
fn a_sink_that_goes_as_it_is_told_and_panics_keeps_no_event_of_the_pool_from_others() {
    let kept = Kept::default();
    let (last, once) = (Arc::clone(&kept), Mutex::new(Some(())));
    let go = move || drop(take(&last));
    let panic = move || {
        if once.lock().expect("not poisoned").take().is_some() {
            resume_unwind(Box::new("it goes"));
        }
    };
    let (pool, mut workers) = WorkerPool::builder().workers(1).queue(4).observed().build().expect("a pool");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    pool.observers().expect("it is observed").add(move |event: &PoolEvent| {
        note.lock().expect("not poisoned").push(match event {
            PoolEvent::Submitted { .. } => "submitted",
            PoolEvent::Started { .. } => "started",
            PoolEvent::Ended(_) => "ended",
            _ => "else",
        });
    });
    let telemetry = Telemetry::builder().metrics(sink(|| (), go, panic)).build().expect("a telemetry");
    telemetry.watch("it", &pool).expect("the first");
    keep(&kept, &telemetry);
    drop(telemetry);
    let mut worker = Polled::new(workers.next().expect("one"));
    for _ in 0..2 {
        pool.try_execute(ready(())).expect("room");
        assert!(worker.poll().is_none());
    }
    assert!(take(&kept).is_none(), "the sink was told");
    let seen = seen.lock().expect("not poisoned");
    assert_eq!(*seen, ["submitted", "else", "started", "ended", "submitted", "started", "ended"]);
}
