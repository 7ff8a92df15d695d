//! OB9: spans of `tracing` and contexts of OpenTelemetry go along with work that is handed over.

use cofferdam::pool::{RetryPolicy, WorkerPool};
use cofferdam::task::{Carrying, Spawn};
use cofferdam::telemetry::{OpenTelemetryCarrier, TracingCarrier};
use cofferdam::testkit::{ManualClock, Polled, yield_now};
use cofferdam::time::Backoff;
use std::collections::HashMap;
use std::future::{Future, IntoFuture, pending, ready};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, info_span};
use tracing_core::span::Current;

const SECOND: Duration = Duration::from_secs(1);

/// Notes what becomes of spans, with their parents. For one thread.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Its name, how often it is held.
    all: HashMap<u64, (&'static Metadata<'static>, usize)>,
    entered: Vec<Id>,
    lines: Vec<String>,
    /// Those of the crate are not wanted.
    deaf: bool,
}

impl Spans {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("not poisoned").lines)
    }

    fn note(&self, line: impl Into<String>) {
        self.0.lock().expect("not poisoned").lines.push(line.into());
    }
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Known {
    fn name(&self, id: &Id) -> &'static str {
        self.all.get(&id.into_u64()).map_or("?", |(metadata, _)| metadata.name())
    }
}

impl Subscriber for Spans {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !(metadata.target() == "cofferdam" && self.0.lock().expect("not poisoned").deaf)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut known = self.0.lock().expect("not poisoned");
        let id = Id::from_u64(known.all.len() as u64 + 1);
        let current = known.entered.last().cloned().filter(|_| span.is_contextual());
        let parent = span.parent().cloned().or(current).map_or("none", |parent| known.name(&parent));
        let mut fields = Fields(String::new());
        span.record(&mut fields);
        let line = format!("open {} in {parent}:{}", span.metadata().name(), fields.0);
        known.lines.push(line);
        known.all.insert(id.into_u64(), (span.metadata(), 1));
        id
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        let mut known = self.0.lock().expect("not poisoned");
        let line = format!("{}{}", known.name(span), fields.0);
        known.lines.push(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let mut known = self.0.lock().expect("not poisoned");
        let place = known.entered.iter().map(|id| known.name(id)).collect::<Vec<_>>().join("/");
        known.lines.push(format!("{place}:{}", fields.0));
    }

    fn enter(&self, span: &Id) {
        self.0.lock().expect("not poisoned").entered.push(span.clone());
    }

    fn exit(&self, span: &Id) {
        let left = self.0.lock().expect("not poisoned").entered.pop();
        assert_eq!(left.as_ref(), Some(span));
    }

    fn current_span(&self) -> Current {
        let known = self.0.lock().expect("not poisoned");
        let Some(id) = known.entered.last() else { return Current::none() };
        Current::new(id.clone(), known.all[&id.into_u64()].0)
    }

    fn clone_span(&self, id: &Id) -> Id {
        let mut known = self.0.lock().expect("not poisoned");
        known.all.get_mut(&id.into_u64()).expect("known").1 += 1;
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        let mut known = self.0.lock().expect("not poisoned");
        let held = &mut known.all.get_mut(&id.into_u64()).expect("known").1;
        *held -= 1;
        let closed = *held == 0;
        if closed {
            let line = format!("close {}", known.name(&id));
            known.lines.push(line);
        }
        closed
    }
}

/// Polls until nothing is left to be done.
fn settle<F: Future>(workers: &mut Polled<F>) {
    loop {
        let before = workers.wakes();
        if workers.poll().is_some() || workers.wakes() == before {
            return;
        }
    }
}

fn watched(body: impl FnOnce(&Spans)) {
    let spans = Spans::default();
    tracing::subscriber::with_default(spans.clone(), || body(&spans));
}

#[test]
fn a_task_runs_in_the_span_in_which_it_was_submitted() {
    watched(|spans| {
        let builder = WorkerPool::builder().workers(1).queue(4).carry(TracingCarrier::new());
        let (pool, workers) = builder.build().expect("a pool");
        let mut workers = Polled::new(workers.into_future());
        let request = info_span!("request");
        let handle = request.in_scope(|| {
            pool.try_submit(async {
                tracing::info!(step = 1);
                yield_now().await;
                tracing::info!(step = 2);
            })
        });
        drop(request);
        // It is polled in another one.
        info_span!("executor").in_scope(|| settle(&mut workers));
        drop(handle.expect("room"));
        pool.try_execute(async { tracing::info!(step = 3) }).expect("room");
        settle(&mut workers);
        assert_eq!(
            spans.take(),
            [
                "open request in none:",
                "open executor in none:",
                "executor/request: step=1",
                "executor/request: step=2",
                "close request",
                "close executor",
                ": step=3",
            ]
        );
    });
}

#[test]
fn a_task_has_a_span_of_its_own_with_its_true_outcome() {
    watched(|spans| {
        let time = ManualClock::new();
        let builder = WorkerPool::builder().workers(1).queue(8).managed().clock(time.clock()).name("mill");
        let (pool, workers) = builder.carry(TracingCarrier::with_span()).build().expect("a pool");
        let mut workers = Polled::new(workers.into_future());
        let mut settle = || settle(&mut workers);
        let request = info_span!("request");
        let mut task = |future: futures_util::future::BoxFuture<'static, ()>| {
            let handle = request.in_scope(|| pool.task(future).timeout(SECOND).try_submit().expect("room"));
            info_span!("executor").in_scope(&mut settle);
            handle
        };
        let opened = |number| format!("open pool.task in request: name=\"mill\" number={number} attempts=1");
        let ended = |attempts, outcome| {
            vec![
                format!("pool.task attempts={attempts}"),
                format!("pool.task outcome=\"{outcome}\""),
                "close pool.task".to_owned(),
            ]
        };
        drop(task(Box::pin(async { tracing::info!(step = 1) })));
        let lines = spans.take();
        assert_eq!(lines[2..4], [opened(0), "executor/pool.task: step=1".to_owned()]);
        assert_eq!(lines[4..7], ended(1, "completed"));
        drop(task(Box::pin(async { resume_unwind(Box::new("oh")) })));
        assert_eq!(spans.take()[2..5], ended(1, "panicked"));
        let handle = task(Box::pin(pending()));
        assert_eq!(spans.take(), ["open executor in none:", &opened(2), "close executor"]);
        time.advance(SECOND);
        settle();
        drop(handle);
        assert_eq!(spans.take(), ended(1, "timed out"));
        // Repeated: one span.
        let policy = RetryPolicy::new(2).expect("above zero").backoff(Backoff::fixed(SECOND));
        let retried = request.in_scope(|| {
            pool.retry_task(&policy, || {
                tracing::info!("once");
                ready(Err::<(), _>("no"))
            })
            .try_execute()
        });
        retried.expect("room");
        settle();
        assert_eq!(spans.take(), [opened(3), "pool.task: message=once".to_owned()]);
        time.advance(SECOND);
        settle();
        let lines = spans.take();
        assert_eq!(lines[0], "pool.task: message=once");
        assert_eq!(lines[1..], ended(2, "failed"));
        // One that is too old when its turn comes was never taken up: it has one for its outcome alone.
        request.in_scope(|| pool.task(ready(())).expires_in(SECOND).try_execute()).expect("room");
        time.advance(SECOND);
        settle();
        let lines = spans.take();
        assert_eq!(lines[0], "open pool.task in request: name=\"mill\" number=4 attempts=0");
        assert_eq!(lines[1..], ended(0, "expired"));
        // Without a span around it is a root, whatever is current where it runs.
        pool.try_execute(ready(())).expect("room");
        info_span!("executor").in_scope(&mut settle);
        assert!(spans.take()[1].starts_with("open pool.task in none: "));
    });
}

#[test]
fn where_its_own_spans_are_not_wanted_a_task_runs_in_that_of_its_submitter() {
    watched(|spans| {
        spans.0.lock().expect("not poisoned").deaf = true;
        let builder = WorkerPool::builder().workers(1).queue(8).carry(TracingCarrier::with_span());
        let (pool, workers) = builder.build().expect("a pool");
        let mut workers = Polled::new(workers.into_future());
        let request = info_span!("request");
        request.in_scope(|| pool.try_execute(async { tracing::info!("here") })).expect("room");
        drop(request);
        settle(&mut workers);
        assert_eq!(spans.take(), ["open request in none:", "request: message=here", "close request"]);
    });
}

#[test]
fn the_span_is_made_by_the_subscriber_that_knows_its_parent() {
    watched(|spans| {
        let builder = WorkerPool::builder().workers(1).queue(8).carry(TracingCarrier::with_span());
        let (pool, workers) = builder.build().expect("a pool");
        let mut workers = Polled::new(workers.into_future());
        let request = info_span!("request");
        request.in_scope(|| pool.try_execute(ready(()))).expect("room");
        watched(|others| {
            settle(&mut workers);
            assert_eq!(others.take(), [""; 0]);
        });
        assert!(spans.take()[1].starts_with("open pool.task in request: "));
    });
}

#[test]
fn spawned_work_has_a_span_too() {
    watched(|spans| {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let tasks = Arc::clone(&kept);
        let executor = move |task| tasks.lock().expect("not poisoned").push(task);
        let spawner = Carrying::new(executor, TracingCarrier::with_span()).name("late");
        let request = info_span!("request");
        let note = spans.clone();
        request.in_scope(|| spawner.spawn(Box::pin(async move { note.note("runs") })));
        let mut task = Polled::new(kept.lock().expect("not poisoned").pop().expect("one"));
        assert!(task.poll().is_some());
        assert_eq!(
            spans.take()[1..],
            [
                "open task in request: name=\"late\" attempts=1",
                "runs",
                "task attempts=1",
                "task outcome=\"completed\"",
                "close task",
            ]
        );
    });
}

#[test]
fn a_task_runs_in_the_context_of_opentelemetry_in_which_it_was_submitted() {
    #[derive(Debug, PartialEq)]
    struct Tenant(u32);
    let tenant = || opentelemetry::Context::current().get::<Tenant>().map_or(0, |tenant| tenant.0);
    let builder = WorkerPool::builder().workers(1).queue(8).carry(OpenTelemetryCarrier);
    let (pool, workers) = builder.build().expect("a pool");
    let mut workers = Polled::new(workers.into_future());
    let handle = {
        let _here = opentelemetry::Context::current_with_value(Tenant(7)).attach();
        pool.try_submit(async move {
            let first = tenant();
            yield_now().await;
            (first, tenant())
        })
    };
    settle(&mut workers);
    assert_eq!(tenant(), 0);
    assert_eq!(Polled::new(handle.expect("room")).poll().expect("ready").expect("ok"), (7, 7));
}
