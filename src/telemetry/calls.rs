//! Calls through a stack, measured and traced.

use super::hub::Outlets;
use super::watch::while_there;
use super::{CallOutcome, Metric, Readings, Scope, Source, Span, Telemetry, Timing, Watch, WatchError};
use crate::panics::contain;
use crate::resilience::{Attempt, Component, Error, Fork, Layer, Policy, Reason, Rejection, Single, relay};
use crate::shim::{AtomicBool, AtomicU64, Ordering};
use crate::time::Epoch;
use crossbeam_utils::CachePadded;
use pin_project_lite::pin_project;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

static CALLS: Metric = Metric::counter(
    "call_ended",
    "Calls that have ended, by how: success, failure, rejected, timed_out or cancelled.",
)
.labels(&["outcome"]);
static REJECTIONS: Metric = Metric::counter(
    "call_rejections",
    "Calls that a policy refused or ended, by why: timed_out, circuit_open, rate_limited, full, shed, cancelled, \
     deadline_exceeded, closed or other.",
)
.labels(&["reason"]);
static RUNNING: Metric = Metric::gauge("call_running", "Calls that have begun and not ended.");
static DURATION: Metric =
    Metric::histogram("call_duration", "How long calls took, by how they ended.").labels(&["outcome"]);

pub(super) static METRICS: [&Metric; 4] = [&CALLS, &REJECTIONS, &RUNNING, &DURATION];

const REASONS: [&str; 9] = [
    "timed_out",
    "circuit_open",
    "rate_limited",
    "full",
    "shed",
    "cancelled",
    "deadline_exceeded",
    "closed",
    "other",
];

fn number(rejection: &Rejection) -> usize {
    match rejection.reason() {
        Reason::TimedOut { .. } => 0,
        Reason::CircuitOpen { .. } => 1,
        Reason::RateLimited { .. } => 2,
        Reason::Full { .. } => 3,
        Reason::Shed => 4,
        Reason::Cancelled => 5,
        Reason::DeadlineExceeded => 6,
        Reason::Closed => 7,
    }
}

/// How a call with this result has ended.
fn outcome_of<T, E>(result: &Result<T, Error<E>>) -> CallOutcome {
    match result {
        Ok(_) => CallOutcome::Success,
        Err(error) => match error.rejection() {
            None => CallOutcome::Failure,
            Some(rejection) if rejection.is_timeout() => CallOutcome::TimedOut,
            Some(rejection) if rejection.is_cancelled() => CallOutcome::Cancelled,
            Some(_) => CallOutcome::Rejected,
        },
    }
}

/// A policy that changes nothing about calls: it measures how long they take, counts how they end, and gives each a span with
/// its true outcome. Made by [`Telemetry::instrument`].
///
/// Where it stands is what it sees: outermost, whole calls as their callers do; inside a retry, each attempt.
///
/// # Cost
/// Two looks at the clock and a few additions for each call; a span besides, where there is a [`Tracer`](super::Tracer).
/// Switched off, one load.
///
/// # Examples
/// ```
/// use cofferdam::resilience::{Retry, Stack};
/// use cofferdam::telemetry::Telemetry;
///
/// # futures_executor::block_on(async {
/// let telemetry = Telemetry::new();
/// let retry = Retry::builder().max_attempts(3).build()?;
/// let stack = Stack::new().layer(telemetry.instrument("checkout")?).layer(retry);
/// let outcome = stack.call(|| async { Ok::<_, std::io::Error>(7) }).await;
/// assert_eq!(outcome?, 7);
/// let samples = telemetry.samples();
/// assert!(samples.iter().any(|sample| sample.name == "cofferdam_call_duration_seconds"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # });
/// ```
#[derive(Clone)]
pub struct Instrument {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    books: Arc<Books>,
    on: Arc<AtomicBool>,
    outlets: Arc<Outlets>,
    /// Of the times at which calls begin and end.
    epoch: Epoch,
    /// In the order of [`CallOutcome::ALL`].
    timings: [Timing; 5],
}

/// Relaxed, all of it: these numbers guard no memory.
#[derive(Default)]
struct Books {
    begun: CachePadded<AtomicU64>,
    /// Those that no histogram has counted.
    ended: CachePadded<[AtomicU64; 5]>,
    rejections: [AtomicU64; 9],
}

/// To be watched before there is a policy around it.
struct Making {
    books: Arc<Books>,
    timings: std::cell::RefCell<[Timing; 5]>,
}

impl Watch for Making {
    const COMPONENT: &'static str = "call";

    fn watch(&self, scope: &mut Scope<'_>) -> Box<dyn Source> {
        let timings = CallOutcome::ALL.map(|outcome| scope.timing(&DURATION, &[outcome.as_str()]));
        self.timings.replace(timings);
        let (books, timings) = (Arc::downgrade(&self.books), self.timings.borrow().clone());
        while_there(move || books.upgrade(), move |books, readings| read(books, &timings, readings))
    }
}

fn read(books: &Books, timings: &[Timing; 5], readings: &mut Readings<'_>) {
    let mut all = 0;
    for ((outcome, ended), timing) in CallOutcome::ALL.iter().zip(&*books.ended).zip(timings) {
        let ended = ended.load(Ordering::Acquire) + timing.counted();
        all += ended;
        readings.counter(&CALLS, &[outcome.as_str()], ended);
    }
    for (reason, rejections) in REASONS.iter().zip(&books.rejections) {
        readings.counter(&REJECTIONS, &[reason], rejections.load(Ordering::Relaxed));
    }
    // Last: what has ended had begun.
    readings.count(&RUNNING, &[], books.begun.load(Ordering::Relaxed).saturating_sub(all));
}

impl Telemetry {
    /// A policy that measures and traces the calls that go through it, as `name`.
    ///
    /// # Errors
    /// There is one of this name already.
    pub fn instrument(&self, name: impl Into<Arc<str>>) -> Result<Instrument, WatchError> {
        let name = name.into();
        let making = Making {
            books: Arc::default(),
            timings: std::cell::RefCell::new(std::array::from_fn(|_| Timing(None))),
        };
        self.watch(Arc::clone(&name), &making)?;
        let shared = Shared {
            name,
            books: making.books,
            on: Arc::clone(&self.hub.on),
            outlets: Arc::clone(&self.hub.outlets),
            epoch: Epoch::new(self.hub.clock.clone()),
            timings: making.timings.into_inner(),
        };
        Ok(Instrument { shared: Arc::new(shared) })
    }
}

impl fmt::Debug for Instrument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrument").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

impl Component for Instrument {
    fn describe(&self, layers: &mut Vec<Layer>) {
        layers.push(Layer::custom("instrument"));
    }
}

impl Single for Instrument {}

impl<'a, A: Attempt> Policy<A> for &'a Instrument {
    type Attempt = Instrumented<'a, A>;

    #[inline]
    fn around(self, inner: A) -> Instrumented<'a, A> {
        Instrumented { inner, call: Watched::new(&self.shared) }
    }
}

pin_project! {
    /// What is inside an [`Instrument`].
    pub struct Instrumented<'a, A> {
        #[pin]
        inner: A,
        call: Watched<'a>,
    }
}

/// One call, from outside. Dropped while it runs, it was cancelled.
struct Watched<'a> {
    shared: &'a Shared,
    stage: Stage,
    span: Option<Box<dyn Span>>,
}

#[derive(Clone, Copy)]
enum Stage {
    Idle,
    /// Switched off when it began.
    Unseen,
    /// Since that nanosecond.
    Running(u64),
}

impl Stage {
    #[inline]
    fn is_running(self) -> bool {
        matches!(self, Self::Running(_))
    }
}

impl<'a> Watched<'a> {
    #[inline]
    fn new(shared: &'a Shared) -> Self {
        Self { shared, stage: Stage::Idle, span: None }
    }

    #[inline]
    fn begin(&mut self) {
        if self.shared.on.load(Ordering::Relaxed) {
            self.run();
        } else {
            self.stage = Stage::Unseen;
        }
    }

    #[inline(never)]
    fn run(&mut self) {
        let shared = self.shared;
        let tracer = shared.outlets.tracer.as_ref();
        self.span = tracer.and_then(|tracer| contain(|| tracer.span(&shared.name)));
        // A clock may be the user's, and panic: then nothing has begun.
        self.stage = Stage::Running(shared.epoch.nanos());
        shared.books.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// How it has ended, and that it may begin again.
    #[inline]
    fn end_with<T, E>(&mut self, result: &Result<T, Error<E>>) {
        if self.stage.is_running() {
            let rejection = result.as_ref().err().and_then(Error::rejection);
            let text = rejection.map(|rejection| rejection as &dyn fmt::Display);
            self.end(outcome_of(result), rejection, text);
        }
        self.stage = Stage::Idle;
    }

    #[inline(never)]
    fn end(&mut self, outcome: CallOutcome, rejection: Option<&Rejection>, error: Option<&dyn fmt::Display>) {
        let Stage::Running(since) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        let Shared { books, timings, epoch, .. } = self.shared;
        let took = epoch.nanos().saturating_sub(since);
        let at = outcome as usize;
        if let Some(count) = rejection.and_then(|rejection| books.rejections.get(number(rejection))) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // What a histogram counts need not be counted once more.
        if !timings.get(at).is_some_and(|timing| timing.count(took)) {
            if let Some(ended) = books.ended.get(at) {
                // ORDERING: Release: who sees that it has ended sees that it had begun; see `read`.
                ended.fetch_add(1, Ordering::Release);
            }
        }
        if let Some(span) = self.span.take() {
            contain(move || span.end(outcome, error));
        }
    }
}

impl Drop for Watched<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.stage.is_running() {
            self.end(CallOutcome::Cancelled, None, None);
        }
    }
}

/// Inside the span of a call, until it is dropped.
struct Inside<'a>(Option<&'a dyn Span>);

impl<'a> Inside<'a> {
    fn new(span: Option<&'a dyn Span>) -> Self {
        if let Some(span) = span {
            contain(|| span.enter());
        }
        Self(span)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(span) = self.0 {
            contain(|| span.exit());
        }
    }
}

impl<A: Attempt> Attempt for Instrumented<'_, A> {
    type Ok = A::Ok;
    type Err = A::Err;

    #[inline]
    fn poll_attempt(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let this = self.project();
        if matches!(this.call.stage, Stage::Idle) {
            this.call.begin();
        }
        let polled = {
            let _inside = Inside::new(this.call.span.as_deref());
            this.inner.poll_attempt(cx)
        };
        relay(polled, |result| this.call.end_with(result))
    }

    fn cancel(self: Pin<&mut Self>) {
        let this = self.project();
        this.inner.cancel();
        this.call.end(CallOutcome::Cancelled, None, None);
    }
}

impl<A: Fork> Fork for Instrumented<'_, A> {
    fn fork(&self) -> Option<Self> {
        Some(Self { inner: self.inner.fork()?, call: Watched::new(self.call.shared) })
    }
}

impl<A: fmt::Debug> fmt::Debug for Instrumented<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instrumented")
            .field("name", &self.call.shared.name)
            .field("inner", &self.inner)
            .finish()
    }
}
