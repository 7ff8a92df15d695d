//! The end of a service, phase by phase.

use super::Finding;
use super::component::{Healthy, Reading};
use super::crowd::{Crowd, Work, told};
use crate::shim::Mutex;
use crate::sync::{self, CancelToken, Gate};
use crate::time::{Clock, Sleep};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

type Action = Box<dyn FnOnce() -> Work<Finding> + Send>;

/// Several steps of a shutdown that run together, and how long they may take.
#[must_use = "a phase is run by the shutdown that it is given to"]
pub struct Phase {
    name: Arc<str>,
    limit: Duration,
    steps: Vec<(Arc<str>, Action)>,
}

impl Phase {
    /// A phase without steps yet, which may take so long.
    pub fn new(name: impl Into<Arc<str>>, limit: Duration) -> Self {
        Self { name: name.into(), limit, steps: Vec::new() }
    }

    /// One more step. What it returns is as what a [`Check`](super::Check) returns: a `Result`, or nothing.
    pub fn step<F, Fut>(mut self, name: impl Into<Arc<str>>, action: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: Into<Finding>> + Send + 'static,
    {
        let action: Action = Box::new(move || {
            let work = action();
            Box::pin(async move { work.await.into() })
        });
        self.steps.push((name.into(), action));
        self
    }
}

impl fmt::Debug for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.steps.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Phase")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("steps", &steps)
            .finish()
    }
}

/// Settings and phases of a [`GracefulShutdown`].
#[derive(Debug)]
#[must_use = "a builder makes nothing until it is built"]
pub struct GracefulShutdownBuilder {
    clock: Clock,
    limit: Duration,
    phases: VecDeque<Phase>,
}

impl GracefulShutdownBuilder {
    /// The clock of all limits.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// How long all of it may take: 30 s unless said otherwise, which is what Kubernetes gives before it kills. Choose less than
    /// what is given.
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The next phase.
    pub fn phase(mut self, phase: Phase) -> Self {
        self.phases.push_back(phase);
        self
    }

    /// The next phase, of one step, which gives it its name.
    pub fn step<F, Fut>(self, name: impl Into<Arc<str>>, limit: Duration, action: F) -> Self
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output: Into<Finding>> + Send + 'static,
    {
        let name = name.into();
        self.phase(Phase::new(Arc::clone(&name), limit).step(name, action))
    }

    /// Makes it. Nothing is run yet.
    pub fn build(self) -> GracefulShutdown {
        let engine =
            Engine { began: None, phases: self.phases, current: None, limit: self.limit, steps: Vec::new() };
        GracefulShutdown(Arc::new(Inner {
            clock: self.clock,
            token: CancelToken::new(),
            stir: Arc::new(Stir(Gate::new(false))),
            state: Mutex::new(State::At(Box::new(engine))),
        }))
    }
}

/// Ends a service in order: phase after phase, each with its limit, all of them within one.
///
/// # The order
/// From where work comes in to where it ends up, so that nobody is cut off from what he still needs:
///
/// 1. be not ready any more, so that no new requests are sent ([`take_out_of_service`](super::Health::take_out_of_service));
/// 2. the emitter: what makes events, or takes requests in;
/// 3. the bus: what passes them on;
/// 4. the listeners: what handles them;
/// 5. the store: what they write to;
/// 6. the pool: what all of them run on ([`WorkerPool::shutdown`](crate::pool::WorkerPool::shutdown)).
///
/// # Limits
/// Work that is not done when the limit of its phase, or that of the whole, has passed is dropped and reported, and the next phase
/// begins. (Steps run in no [`Context`](crate::sync::Context), as that of the caller may have ended by then.) No phase is left out: where no time is left, each step is polled once, which is enough for what need not wait.
///
/// # Several calls
/// Whoever calls [`run`](Self::run) while it runs, or later, waits for the same report. The work is done in the tasks of all who
/// wait, whichever is polled; so it goes on when one of them is dropped, or held and not polled.
///
/// A cheap handle: clones are the same. Something that a [`Check`](super::Check) can be made of: unhealthy from its beginning on.
///
/// ```
/// use cofferdam::health::GracefulShutdown;
/// use std::time::Duration;
///
/// # futures_executor::block_on(async {
/// let shutdown = GracefulShutdown::builder()
///     .limit(Duration::from_secs(25))
///     .step("intake", Duration::from_secs(5), || async { /* stop listening */ })
///     .step("store", Duration::from_secs(10), || async { Err::<(), _>("disk full") })
///     .build();
/// // After the signal:
/// let report = shutdown.run().await;
/// assert!(!report.is_clean());
/// assert_eq!(report.steps[1].to_string(), "store: failed: disk full");
/// # });
/// ```
#[derive(Clone)]
pub struct GracefulShutdown(Arc<Inner>);

struct Inner {
    clock: Clock,
    token: CancelToken,
    stir: Arc<Stir>,
    state: Mutex<State>,
}

enum State {
    At(Box<Engine>),
    /// Somebody polls it; and perhaps somebody else would have.
    Out {
        missed: bool,
    },
    Over(ShutdownReport),
}

/// Wakes all who wait for the report: each of them can go on with the work.
struct Stir(Gate);

impl Wake for Stir {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.pulse();
    }
}

/// Where a shutdown is.
struct Engine {
    began: Option<Instant>,
    limit: Duration,
    phases: VecDeque<Phase>,
    current: Option<Current>,
    steps: Vec<StepReport>,
}

/// The phase that runs.
struct Current {
    began: Instant,
    deadline: Option<Instant>,
    alarm: Option<Sleep>,
    /// By where in `steps` it is reported.
    crowd: Crowd<usize, Finding>,
}

impl Engine {
    fn poll(&mut self, clock: &Clock, cx: &mut Context<'_>) -> Poll<ShutdownReport> {
        let began = *self.began.get_or_insert_with(|| clock.now());
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                empty => {
                    let Some(phase) = self.phases.pop_front() else { break };
                    let last = began.checked_add(self.limit);
                    empty.insert(begin(phase, last, clock, &mut self.steps))
                }
            };
            if current.poll(&mut self.steps, clock, cx).is_pending() {
                return Poll::Pending;
            }
            self.current = None;
        }
        let took = clock.now().saturating_duration_since(began);
        Poll::Ready(ShutdownReport { took, steps: std::mem::take(&mut self.steps) })
    }
}

fn begin(phase: Phase, last: Option<Instant>, clock: &Clock, steps: &mut Vec<StepReport>) -> Current {
    let (now, mut crowd) = (clock.now(), Crowd::new());
    let context = sync::Context::background().with_clock(clock.clone());
    for (step, action) in phase.steps {
        // Called in there, so that a panic of it is its own; and in no context, as that of the caller may have ended.
        crowd.add(steps.len(), Box::pin(context.scope(async move { action().await })));
        let (phase, outcome, took) = (Arc::clone(&phase.name), StepOutcome::OverLimit, Duration::ZERO);
        steps.push(StepReport { phase, step, outcome, took });
    }
    let deadline = [now.checked_add(phase.limit), last].into_iter().flatten().min();
    Current { began: now, deadline, alarm: None, crowd }
}

impl Current {
    fn poll(&mut self, steps: &mut [StepReport], clock: &Clock, cx: &mut Context<'_>) -> Poll<()> {
        let mut report = |at: usize, outcome| {
            if let Some(step) = steps.get_mut(at) {
                step.outcome = outcome;
                step.took = clock.now().saturating_duration_since(self.began);
            }
        };
        while let Some((at, outcome)) = self.crowd.poll(cx) {
            report(
                at,
                match outcome {
                    Ok(finding) if finding.status().is_working() => StepOutcome::Done,
                    Ok(finding) => {
                        let status = finding.status();
                        StepOutcome::Failed(
                            finding.into_reason().map_or_else(|| status.to_string(), String::from),
                        )
                    }
                    Err(panic) => StepOutcome::Panicked(told(&panic)),
                },
            );
        }
        if self.crowd.is_empty() {
            return Poll::Ready(());
        }
        let deadline = self.deadline;
        let alarm =
            self.alarm.get_or_insert_with(|| deadline.map_or_else(Sleep::never, |at| clock.sleep_until(at)));
        if Pin::new(alarm).poll(cx).is_pending() {
            return Poll::Pending;
        }
        while let Some((at, dropped)) = self.crowd.drop_next() {
            report(
                at,
                match dropped {
                    Ok(()) => StepOutcome::OverLimit,
                    Err(panic) => StepOutcome::Panicked(told(&panic)),
                },
            );
        }
        Poll::Ready(())
    }
}

/// Somebody who polls it. In a panic, too, it goes back for the next one.
struct Driving<'a> {
    inner: &'a Inner,
    engine: Option<Box<Engine>>,
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        let Some(engine) = self.engine.take() else { return };
        let before = std::mem::replace(&mut *self.inner.state.lock(), State::At(engine));
        if let State::Out { missed: true } = before {
            // What he was woken for may be left undone by us.
            self.inner.stir.0.pulse();
        }
    }
}

impl Inner {
    /// Goes on with the work as far as it goes. The report, if it is done.
    fn drive(&self) -> Option<ShutdownReport> {
        let engine = {
            let mut state = self.state.lock();
            match std::mem::replace(&mut *state, State::Out { missed: false }) {
                State::At(engine) => engine,
                State::Out { .. } => {
                    *state = State::Out { missed: true };
                    return None;
                }
                State::Over(report) => {
                    *state = State::Over(report.clone());
                    return Some(report);
                }
            }
        };
        let mut driving = Driving { inner: self, engine: Some(engine) };
        let waker = Waker::from(Arc::clone(&self.stir));
        let polled = driving.engine.as_mut()?.poll(&self.clock, &mut Context::from_waker(&waker));
        let Poll::Ready(report) = polled else { return None };
        *self.state.lock() = State::Over(report.clone());
        // Nothing foreign is left of it.
        driving.engine = None;
        self.stir.0.pulse();
        Some(report)
    }
}

impl GracefulShutdown {
    /// Without phases yet.
    pub fn builder() -> GracefulShutdownBuilder {
        GracefulShutdownBuilder {
            clock: Clock::system(),
            limit: Duration::from_secs(30),
            phases: VecDeque::new(),
        }
    }

    /// Is cancelled when the shutdown begins: for what is to end by itself then.
    pub fn token(&self) -> &CancelToken {
        &self.0.token
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// Runs the phases, or waits for who does, and gives the report.
    ///
    /// # Cancel safety
    /// Dropped in the midst of it, it leaves the work where it is, for the others who wait for it, or until `run` is called again.
    /// Limits count on.
    pub async fn run(&self) -> ShutdownReport {
        let inner = &*self.0;
        inner.token.cancel_with("shutdown");
        loop {
            // Made before the work goes on, so that nothing stirs unseen.
            let stirred = inner.stir.0.wait();
            if let Some(report) = inner.drive() {
                return report;
            }
            stirred.await;
            // What wakes itself, or is woken by us, goes on after others on this thread have had their turn.
            let mut paused = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut paused, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }
}

impl Healthy for GracefulShutdown {
    fn reading(&self) -> Reading {
        let weak = Arc::downgrade(&self.0);
        Box::new(move || {
            let begun = weak.upgrade()?.token.is_cancelled();
            Some(if begun { Finding::unhealthy("shutting down") } else { Finding::healthy() })
        })
    }
}

impl fmt::Debug for GracefulShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GracefulShutdown").field("begun", &self.has_begun()).finish_non_exhaustive()
    }
}

/// How a shutdown went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How long all of it took.
    pub took: Duration,
    /// Each step, in order.
    pub steps: Vec<StepReport>,
}

impl ShutdownReport {
    /// Whether every step was done.
    pub fn is_clean(&self) -> bool {
        self.steps.iter().all(|step| step.outcome == StepOutcome::Done)
    }
}

/// One step a line.
impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            let end = if at > 0 { "\n" } else { "" };
            write!(f, "{end}{step}")?;
        }
        Ok(())
    }
}

/// How one step of a shutdown went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepReport {
    /// The name of its phase.
    pub phase: Arc<str>,
    /// Its name.
    pub step: Arc<str>,
    /// How it ended.
    pub outcome: StepOutcome,
    /// How long it took, from the beginning of its phase.
    pub took: Duration,
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.phase != self.step {
            write!(f, "{}, ", self.phase)?;
        }
        write!(f, "{}: {}", self.step, self.outcome)
    }
}

/// How a step of a shutdown ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepOutcome {
    /// It is done.
    Done,
    /// It is done, and says that something was wrong.
    Failed(String),
    /// It panicked, or its drop did.
    Panicked(String),
    /// It was not done in time, and was dropped.
    OverLimit,
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Panicked(panic) => f.write_str(panic),
            Self::OverLimit => f.write_str("not done in time"),
        }
    }
}
