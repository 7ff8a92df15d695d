//! One call: its first attempt, and those beside it.

use super::{Delay, HedgeEvent, HedgeMark, OnFailure, Settings, Suppressed};
use crate::resilience::budget::{Budget, Counted, Withdrawal};
use crate::resilience::retry::{Judge, Verdict};
use crate::resilience::{Attempt, Error, Fork};
use crate::shim::Ordering;
use crate::sync::{Context as TaskContext, context};
use crate::time::{Alarm, Deadline};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// | state | `begun` | `primary_runs` | `rest` | `left` |
/// |---|---|---|---|---|
/// | fresh | no | no | none | |
/// | the first attempt alone | yes | yes | none | > 0: the alarm is armed |
/// | with hedges | yes | yes or no | those that run | so many may follow |
/// | all have failed | yes | no | a failure, none that runs | > 0: until the alarm; 0: the failure comes out |
///
/// Whatever comes out makes it fresh, and has all others dropped before.
pub(super) struct Race<'a, A, T, E> {
    begun: bool,
    primary_runs: bool,
    /// An attempt has failed, and the next hedge need not wait for the delay.
    start_now: bool,
    /// Hedges that have begun.
    started: u32,
    /// Hedges that may still begin.
    left: u32,
    /// The time to wait for each; `None`: none is started for slowness.
    delay: Option<Duration>,
    alarm: Alarm,
    /// No hedge before this: the callee has said so.
    not_before: Option<Instant>,
    /// When the call began, where it is timed.
    began: Option<Instant>,
    rest: Option<Box<Rest<'a, A, T, E>>>,
}

struct Rest<'a, A, T, E> {
    hedges: Vec<Hedged<'a, A>>,
    /// What the first attempt runs in, where attempts are marked.
    context: Option<TaskContext>,
    /// The failure that comes out if all fail, and whose it is.
    failure: Option<(u32, Result<T, Error<E>>)>,
    /// The call, as the budget counts it. After the hedges: their places are lent on the strength of this.
    call: Option<Counted<'a>>,
}

/// An attempt beside the first.
struct Hedged<'a, A> {
    // Before what it has paid: it is over before its place is given to another.
    attempt: Pin<Box<A>>,
    number: u32,
    context: Option<TaskContext>,
    _paid: Option<Withdrawal<'a>>,
}

impl<A: Attempt> Hedged<'_, A> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<A::Ok, Error<A::Err>>> {
        let attempt = self.attempt.as_mut();
        match &self.context {
            None => attempt.poll_attempt(cx),
            Some(context) => context.scope_sync(|| attempt.poll_attempt(cx)),
        }
    }
}

impl<'a, A, T, E> Race<'a, A, T, E> {
    pub(super) const FRESH: Self = Self {
        begun: false,
        primary_runs: false,
        start_now: false,
        started: 0,
        left: 0,
        delay: None,
        alarm: Alarm::UNARMED,
        not_before: None,
        began: None,
        rest: None,
    };

    #[inline]
    pub(super) fn is_fresh(&self) -> bool {
        !self.begun
    }

    fn rest(&mut self) -> &mut Rest<'a, A, T, E> {
        self.rest.get_or_insert_with(|| {
            Box::new(Rest { hedges: Vec::new(), context: None, failure: None, call: None })
        })
    }

    #[inline(never)]
    pub(super) fn begin(&mut self, settings: &'a Settings) {
        self.begun = true;
        self.primary_runs = true;
        self.left = settings.max_hedges;
        self.delay = settings.delay();
        if matches!(settings.delay, Delay::Quantile { .. }) {
            self.began = Some(settings.clock.now());
        }
        // (Nothing is allocated for a budget that does not ask when a call ends.)
        if let Some(call) = settings.budget.as_ref().and_then(Budget::call) {
            self.rest().call = Some(call);
        }
        if settings.marks {
            self.rest().context = Some(marked(settings, 0));
        }
    }

    /// Drives all attempts: results are looked at before the clock. `first` is what the first poll of the first attempt has
    /// brought, where that has been.
    #[inline(never)]
    pub(super) fn poll<J: Judge<T, E>>(
        &mut self,
        settings: &'a Settings,
        judge: &J,
        mut primary: Pin<&mut A>,
        cx: &mut Context<'_>,
        first: Option<Poll<Result<T, Error<E>>>>,
    ) -> Poll<Result<T, Error<E>>>
    where
        A: Fork<Ok = T, Err = E>,
    {
        let mut out = None;
        if self.primary_runs {
            let polled =
                first.unwrap_or_else(|| match self.rest.as_ref().and_then(|rest| rest.context.as_ref()) {
                    None => primary.as_mut().poll_attempt(cx),
                    Some(context) => context.scope_sync(|| primary.as_mut().poll_attempt(cx)),
                });
            if let Poll::Ready(outcome) = polled {
                self.primary_runs = false;
                out = self.came_out(settings, judge, 0, outcome);
            }
        }
        let mut at = 0;
        while out.is_none() {
            let Some(rest) = self.rest.as_deref_mut() else { break };
            let Some(hedge) = rest.hedges.get_mut(at) else { break };
            match hedge.poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(outcome) => {
                    let number = rest.hedges.remove(at).number;
                    out = self.came_out(settings, judge, number, outcome);
                }
            }
        }
        while out.is_none() && self.left > 0 && self.is_due(settings, cx) {
            let Some(mut hedge) = self.start(settings, primary.as_ref().get_ref()) else { break };
            match hedge.poll(cx) {
                Poll::Pending => self.rest().hedges.push(hedge),
                Poll::Ready(outcome) => {
                    let number = hedge.number;
                    drop(hedge);
                    out = self.came_out(settings, judge, number, outcome);
                }
            }
        }
        if out.is_none() && !self.goes_on() {
            out = self.rest.as_mut().and_then(|rest| rest.failure.take());
        }
        match out {
            None => Poll::Pending,
            Some((number, outcome)) => {
                // Nobody sees the outcome before the losers are gone.
                let hedges = self.rest.as_mut().map(|rest| std::mem::take(&mut rest.hedges));
                drop(hedges);
                if self.primary_runs {
                    primary.cancel();
                }
                self.end(settings, number, outcome.is_ok());
                Poll::Ready(outcome)
            }
        }
    }

    /// Whether anything runs, or will.
    fn goes_on(&self) -> bool {
        let runs = self.primary_runs || self.rest.as_ref().is_some_and(|rest| !rest.hedges.is_empty());
        runs || self.left > 0 && (self.start_now || self.delay.is_some())
    }

    /// An attempt has come out. If that ends the call, it is given back.
    fn came_out<J: Judge<T, E>>(
        &mut self,
        settings: &Settings,
        judge: &J,
        number: u32,
        outcome: Result<T, Error<E>>,
    ) -> Option<(u32, Result<T, Error<E>>)> {
        let refused = outcome.as_ref().is_err_and(|error| matches!(error, Error::Rejected(_)));
        match judge.judge(&outcome) {
            Verdict::Done if !refused => return Some((number, outcome)),
            // A policy inside has no use for another attempt now.
            Verdict::Done => self.left = 0,
            // A hedge that was not let in is none: what runs is not given up for it.
            Verdict::Retry | Verdict::RetryAfter(_)
                if settings.on_failure == OnFailure::ReturnNow && (number == 0 || !is_refusal(&outcome)) =>
            {
                return Some((number, outcome));
            }
            Verdict::Retry => self.failed(settings, None),
            Verdict::RetryAfter(after) => self.failed(settings, Some(after)),
        }
        let rest = self.rest();
        let takes_its_place = match &rest.failure {
            None => true,
            // What the callee said says more than a refusal of ours.
            Some((_, Ok(_) | Err(Error::Inner(_) | Error::Exhausted(_) | Error::FallbackFailed(_))))
                if refused =>
            {
                false
            }
            Some(_) => number == 0 || settings.last_error,
        };
        if takes_its_place {
            rest.failure = Some((number, outcome));
        }
        None
    }

    fn failed(&mut self, settings: &Settings, after: Option<Duration>) {
        if settings.on_failure == OnFailure::StartNext {
            self.start_now = true;
        }
        if let Some(at) = after.and_then(|after| settings.clock.now().checked_add(after)) {
            self.not_before = self.not_before.max(Some(at));
        }
        if self.start_now {
            // What it is armed for has changed.
            self.alarm.disarm();
        }
    }

    /// Whether the next hedge is to begin now.
    fn is_due(&mut self, settings: &Settings, cx: &mut Context<'_>) -> bool {
        let wait = match (self.start_now, self.delay) {
            (true, _) => Duration::ZERO,
            (false, Some(delay)) => delay,
            (false, None) => return false,
        };
        if !wait.is_zero() || self.not_before.is_some() {
            let not_before = self.not_before;
            let deadline = |now: Instant| {
                let deadline = Deadline::after(now, wait);
                not_before.map_or(deadline, |at| deadline.max(at.into()))
            };
            if self.alarm.poll(&settings.clock, cx, |clock| deadline(clock.now())).is_pending() {
                return false;
            }
            self.alarm.disarm();
            // The callee may have said so when the alarm was armed for the delay already.
            if let Some(at) = not_before.filter(|at| settings.clock.now() < *at) {
                if self.alarm.poll(&settings.clock, cx, |_| at.into()).is_pending() {
                    return false;
                }
            }
        }
        self.alarm.disarm();
        self.not_before = None;
        true
    }

    /// Begins the next hedge, unless something is against it: then there is none any more.
    #[cold]
    fn start(&mut self, settings: &'a Settings, primary: &A) -> Option<Hedged<'a, A>>
    where
        A: Fork<Ok = T, Err = E>,
    {
        let number = self.started + 1;
        let for_failure = std::mem::take(&mut self.start_now);
        let begun = (|| {
            context::check(|| settings.clock.now()).map_err(|_| Suppressed::Ended)?;
            let attempt = primary.fork().ok_or(Suppressed::RunsOnce)?;
            let paid = match &settings.budget {
                Some(budget) => {
                    let mut paid = budget.withdraw(false).ok_or(Suppressed::Budget)?;
                    paid.begin();
                    Some(paid)
                }
                None => None,
            };
            let context = settings.marks.then(|| marked(settings, number));
            Ok(Hedged { attempt: Box::pin(attempt), number, context, _paid: paid })
        })();
        let super::Shared { observers, counters } = &*settings.shared;
        let policy = settings.name;
        match begun {
            Ok(hedge) => {
                self.started = number;
                self.left -= 1;
                // Relaxed, here and below: counts order nothing.
                counters.started.fetch_add(1, Ordering::Relaxed);
                let delay = if for_failure { None } else { self.delay };
                observers.emit(|| HedgeEvent::Started { policy, number, delay });
                Some(hedge)
            }
            Err(reason) => {
                self.left = 0;
                counters.suppressed.fetch_add(1, Ordering::Relaxed);
                observers.emit(|| HedgeEvent::Suppressed { policy, number, reason });
                None
            }
        }
    }

    /// The outcome of attempt `number` comes out.
    #[cold]
    fn end(&mut self, settings: &Settings, number: u32, is_ok: bool) {
        let race = std::mem::replace(self, Self::FRESH);
        if let (Delay::Quantile { latencies, .. }, Some(began), true) = (&settings.delay, race.began, is_ok) {
            // The first attempt has succeeded, or has run until now; one that had failed says nothing.
            if number == 0 || race.primary_runs {
                latencies.record(settings.clock.now().saturating_duration_since(began));
            }
        }
        if race.started == 0 {
            if let (Some(budget), true) = (&settings.budget, is_ok) {
                budget.reward();
            }
            return;
        }
        let super::Shared { observers, counters } = &*settings.shared;
        let policy = settings.name;
        match number {
            _ if !is_ok => {}
            0 => {
                counters.primary_won.fetch_add(1, Ordering::Relaxed);
                observers.emit(|| HedgeEvent::PrimaryWon { policy, hedges: race.started });
            }
            _ => {
                counters.won.fetch_add(1, Ordering::Relaxed);
                observers.emit(|| HedgeEvent::Won { policy, number });
            }
        }
    }
}

/// Whether a policy did not let it begin. What an inner timeout has ended had begun.
fn is_refusal<T, E>(outcome: &Result<T, Error<E>>) -> bool {
    matches!(outcome, Err(Error::Rejected(rejection)) if !rejection.is_timeout())
}

fn marked(settings: &Settings, number: u32) -> TaskContext {
    TaskContext::current().with_value(HedgeMark { policy: settings.name, number })
}

impl<A, T, E> fmt::Debug for Race<'_, A, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Race")
            .field("primary_runs", &self.primary_runs)
            .field("hedges", &self.rest.as_ref().map_or(0, |rest| rest.hedges.len()))
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
