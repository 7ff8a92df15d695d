//! One run of a retry: from its first attempt to what comes out.

use super::{AttemptMark, DelaySource, Judge, Next, RetryEvent, Settings, Verdict};
use crate::resilience::budget::{Budget, Counted, Withdrawal};
use crate::resilience::timeout::{OutcomeOf, within};
use crate::resilience::{Attempt, Error, Exhausted, GaveUp, Rejection, Scope};
use crate::sync::{Context as TaskContext, ContextError, context};
use crate::time::{Alarm, Deadline, Sleep, Spread};
use crate::wait::Aside;
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// | state | `attempts` | `rest` | next |
/// |---|---|---|---|
/// | fresh | 0 | none | the first attempt begins |
/// | the first attempt, with something to do at its beginning | 0, and `begun` | none, or no sleep | it comes out |
/// | asleep | n > 0 | a sleep, what was paid | the sleep is over: attempt n + 1 |
/// | attempt n + 1 | n > 0 | none, or no sleep | it comes out |
///
/// Whatever comes out makes it fresh.
pub(super) struct Run<'a, E> {
    /// Attempts that have come out.
    attempts: u32,
    /// Whether what is to be done at the beginning has been done.
    begun: bool,
    /// The operation's own last error; with `Rest::earlier`, the last of those no longer there.
    before: Option<E>,
    rest: Aside<Box<Rest<'a, E>>>,
}

pub(super) struct Rest<'a, E> {
    /// The sleep before the next attempt; `None` while one is under way, or about to be.
    sleep: Option<Sleep>,
    /// Ends an attempt that takes too long.
    alarm: Alarm,
    /// For the jitter of the delays.
    spread: Option<Spread>,
    /// When the run began, where there is a longest duration.
    began: Option<Instant>,
    /// When the attempt began, where there is a quiet time.
    attempt_began: Option<Instant>,
    /// What the attempt that is slept for, or under way, has paid.
    paid: Option<Withdrawal<'a>>,
    /// The call, as the budget counts it. After what was paid: that is lent on the strength of this.
    call: Option<Counted<'a>>,
    /// What each attempt runs in, where attempts are marked.
    context: Option<TaskContext>,
    /// The errors before the last one, where they are kept.
    earlier: VecDeque<Error<E>>,
    /// The number of the next attempt.
    number: u32,
    /// Whether another retry further out does the repeating.
    yields: bool,
}

/// After so many attempts the others of the executor have a turn, even if there was nothing to wait for. A run without end of
/// an operation that fails at once would otherwise never let go of its thread, and nobody could end it.
const TURN: u32 = 64;

/// What follows an attempt that has come out, and not simply well.
pub(super) enum Step {
    /// Another attempt.
    Again,
    /// Its outcome comes out.
    Out,
    /// There is none left.
    GiveUp(GaveUp),
}

impl<'a, E> Run<'a, E> {
    pub(super) const FRESH: Self = Self { attempts: 0, begun: false, before: None, rest: Aside::none() };

    /// Whether it has nothing to do before an attempt, and has no more in hand than a count.
    #[inline]
    pub(super) fn is_simple(&self, settings: &Settings) -> bool {
        !settings.has_beginning && self.rest.is_none()
    }

    /// Whether another attempt can follow in a retry that is plain, without asking for more.
    #[inline]
    pub(super) fn may_go_on(&self, settings: &Settings) -> bool {
        self.attempts < settings.max_attempts - 1
            && self.attempts % TURN != TURN - 1
            && !context::can_end()
            && !settings.shared.observers.may_be_watched()
    }

    /// How many attempts have come out.
    #[inline]
    pub(super) fn retries(&self) -> u32 {
        self.attempts
    }

    /// Whether the attempt under way is not the first.
    #[inline]
    pub(super) fn has_retried(&self) -> bool {
        self.attempts > 0
    }

    /// An attempt has come out as this, and another one follows at once.
    #[inline]
    pub(super) fn failed(&mut self, error: E) {
        self.attempts += 1;
        self.before = Some(error);
    }

    #[inline]
    pub(super) fn rest(&mut self) -> Option<&mut Rest<'a, E>> {
        self.rest.as_deref_mut()
    }

    fn rest_or_new(&mut self) -> &mut Rest<'a, E> {
        let number = self.attempts.saturating_add(1);
        self.rest.get_or_insert_with(|| Box::new(Rest { number, ..Rest::default() }))
    }

    /// Does what is to be done at the beginning, if this is the beginning and there is anything.
    pub(super) fn begin(&mut self, settings: &'a Settings) {
        if !settings.has_beginning || std::mem::replace(&mut self.begun, true) {
            return;
        }
        let call = settings.budget.as_ref().and_then(Budget::call);
        // Nothing is allocated for a budget that does not ask when a call ends.
        let asks = call.is_some() || settings.max_duration.is_some() || settings.reset_after.is_some();
        if !(asks || settings.attempt_timeout.is_some() || settings.marks || settings.yields) {
            return;
        }
        let rest = self.rest_or_new();
        rest.call = call;
        if settings.max_duration.is_some() {
            rest.began = Some(settings.clock.now());
        }
        rest.yields = settings.yields && TaskContext::current().value::<AttemptMark>().is_some();
        rest.begin(settings, 1);
    }

    /// An attempt has come out well, though not all was as simple as that.
    #[inline(never)]
    pub(super) fn succeeded(&mut self, settings: &Settings) {
        // The attempts before this one.
        let retries = self.attempts;
        if retries > 0 {
            settings.shared.counters.recovered(retries);
            let attempts = retries.saturating_add(1);
            settings.shared.observers.emit(|| RetryEvent::Recovered { policy: settings.name, attempts });
            if let Some(paid) = self.rest().and_then(|rest| rest.paid.take()) {
                paid.succeeded();
            }
        } else if let Some(budget) = &settings.budget {
            budget.reward();
        }
        *self = Self::FRESH;
    }

    /// An attempt has come out, and not simply well. If its outcome is what comes out, the run is over. `delay` is what the
    /// judge has said of it, if it has been asked and has said something.
    #[inline(never)]
    pub(super) fn next<T, J: Judge<T, E>>(
        &mut self,
        settings: &'a Settings,
        judge: &J,
        outcome: &Result<T, Error<E>>,
        verdict: Verdict,
        delay: Option<Duration>,
    ) -> Step {
        self.came_out(settings);
        let rejection = match outcome {
            Err(Error::Rejected(rejection)) => Some(rejection),
            _ => None,
        };
        let server = match (verdict, rejection) {
            (Verdict::Retry, _) => None,
            (Verdict::RetryAfter(after), _) => Some(after.min(settings.server_delay_cap)),
            (Verdict::Done, Some(open)) if open.is_circuit_open() && settings.wait_for_breaker => {
                open.retry_after().map(|after| after.min(settings.server_delay_cap))
            }
            (Verdict::Done, Some(_)) if self.attempts > 1 => return Step::GiveUp(GaveUp::NotRetryable),
            (Verdict::Done, _) => {
                self.aborted(settings, outcome);
                return Step::Out;
            }
        };
        match self.schedule(settings, judge, outcome, server, delay) {
            Ok(next) => {
                settings.shared.observers.emit(|| RetryEvent::Scheduled {
                    policy: settings.name,
                    attempt: next.attempt,
                    delay: next.delay,
                    source: next.source,
                    rejection: rejection.copied(),
                });
                judge.retrying(outcome, next);
                Step::Again
            }
            Err(reason) => Step::GiveUp(reason),
        }
    }

    /// An attempt has come out.
    fn came_out(&mut self, settings: &Settings) {
        if let Some(rest) = self.rest.as_deref_mut() {
            rest.alarm.disarm();
            // What was spent is gone, what was lent is given back.
            rest.paid = None;
            if let (Some(quiet), Some(began)) = (settings.reset_after, rest.attempt_began) {
                let now = settings.clock.now();
                if now.saturating_duration_since(began) >= quiet {
                    rest.began = rest.began.and(Some(now));
                    rest.spread = None;
                    rest.earlier.clear();
                    self.before = None;
                    settings.shared.counters.reset(self.attempts);
                    self.attempts = 0;
                }
            }
        }
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Pays for the next attempt and begins to sleep for it.
    fn schedule<T, J: Judge<T, E>>(
        &mut self,
        settings: &'a Settings,
        judge: &J,
        outcome: &Result<T, Error<E>>,
        server: Option<Duration>,
        delay: Option<Duration>,
    ) -> Result<Next, GaveUp> {
        let attempt = self.attempts;
        let most = self.max_attempts(settings);
        if attempt >= most && most != u32::MAX {
            return Err(GaveUp::Attempts);
        }
        context::check(|| settings.clock.now()).map_err(|ended| reason_of(&ended))?;
        let index = attempt.saturating_sub(1);
        let (own, mut source) = match delay.or_else(|| judge.delay(outcome, index)) {
            Some(delay) => (delay, DelaySource::Outcome),
            None => (self.backoff(settings, index), DelaySource::Backoff),
        };
        let mut delay = own;
        if let Some(server) = server {
            if server > own {
                (delay, source) = (server, DelaySource::Server);
            }
        }
        let mut now = None;
        let mut read = || *now.get_or_insert_with(|| settings.clock.now());
        let began = self.rest.as_ref().and_then(|rest| rest.began);
        if let (Some(most), Some(began)) = (settings.max_duration, began) {
            let left = most.saturating_sub(read().saturating_duration_since(began));
            if delay > left {
                // A callee that wants us later than there is time is not visited sooner.
                if !settings.trim || left.is_zero() || server.is_some_and(|server| server > left) {
                    return Err(GaveUp::Duration);
                }
                (delay, source) = (left, DelaySource::Trim);
            }
        }
        let deadline = context::deadline();
        if deadline != Deadline::NEVER && Deadline::after(read(), delay) >= deadline {
            return Err(GaveUp::Deadline);
        }
        let after_timeout = || outcome.as_ref().is_err_and(Error::is_timeout);
        let paid = match &settings.budget {
            Some(budget) => Some(budget.withdraw(after_timeout()).ok_or(GaveUp::Budget)?),
            None => None,
        };
        let number = attempt.saturating_add(1);
        let is_turn = attempt % TURN == 0;
        if delay.is_zero() && !is_turn {
            if paid.is_some() || self.rest.is_some() {
                let rest = self.rest_or_new();
                rest.paid = paid;
                rest.begin(settings, number);
            }
        } else {
            let mut sleep =
                read().checked_add(delay).map_or_else(Sleep::never, |at| settings.clock.sleep_until(at));
            if is_turn {
                sleep = pending_once(sleep);
            }
            let rest = self.rest_or_new();
            rest.paid = paid;
            rest.number = number;
            rest.sleep = Some(match TaskContext::current().token().cloned() {
                None => sleep,
                // Whoever is cancelled does not sleep on.
                Some(token) => Sleep::new(async move { drop(token.run(sleep).await) }),
            });
        }
        Ok(Next { attempt, delay, source })
    }

    fn backoff(&mut self, settings: &Settings, index: u32) -> Duration {
        if !settings.backoff.has_jitter() {
            return settings.backoff.delay(index);
        }
        let spread = self.rest_or_new().spread.get_or_insert_with(|| settings.spread());
        settings.backoff.spread_delay(index, spread)
    }

    fn max_attempts(&self, settings: &Settings) -> u32 {
        let yields = self.rest.as_ref().is_some_and(|rest| rest.yields);
        if yields { 1 } else { settings.max_attempts }
    }

    /// Keeps what an attempt came out as, for the error of the run.
    #[inline]
    pub(super) fn keep<T>(&mut self, settings: &Settings, outcome: Result<T, Error<E>>) {
        match outcome {
            Ok(_) => {}
            Err(error) if settings.keep_errors > 0 => self.keep_earlier(settings, error),
            Err(Error::Inner(inner)) => self.before = Some(inner),
            Err(Error::Rejected(_)) => {}
            Err(error) => self.keep_own(error),
        }
    }

    #[cold]
    fn keep_own(&mut self, error: Error<E>) {
        self.before = error.into_inner().or(self.before.take());
    }

    #[cold]
    fn keep_earlier(&mut self, settings: &Settings, error: Error<E>) {
        let earlier = &mut self.rest_or_new().earlier;
        earlier.push_back(error);
        if earlier.len() > settings.keep_errors {
            if let Some(oldest) = earlier.pop_front() {
                self.keep_own(oldest);
            }
        }
    }

    /// The outcome is an error that is not to be tried again.
    #[cold]
    fn aborted<T>(&mut self, settings: &Settings, outcome: &Result<T, Error<E>>) {
        if let Err(error) = outcome {
            let attempts = self.attempts;
            settings.shared.counters.aborted(attempts.saturating_sub(1));
            let rejection = error.rejection().copied();
            let event = || RetryEvent::Aborted { policy: settings.name, attempts, rejection };
            settings.shared.observers.emit(event);
        }
        *self = Self::FRESH;
    }

    /// The surrounding work has ended in the sleep.
    #[cold]
    pub(super) fn interrupted<T, J: Judge<T, E>>(
        &mut self,
        settings: &Settings,
        judge: &J,
        ended: &ContextError,
    ) -> Error<E> {
        self.exhausted::<T, J>(
            settings,
            judge,
            Rejection::ended(settings.name, ended).into(),
            reason_of(ended),
        )
    }

    /// There is no further attempt: what comes out.
    #[cold]
    pub(super) fn give_up<T, J: Judge<T, E>>(
        &mut self,
        settings: &Settings,
        judge: &J,
        outcome: Result<T, Error<E>>,
        reason: GaveUp,
    ) -> Result<T, Error<E>> {
        if self.max_attempts(settings) == 1 {
            *self = Self::FRESH;
            return outcome;
        }
        match outcome {
            Err(last) => Err(self.exhausted(settings, judge, last, reason)),
            Ok(value) => {
                self.say_so(settings, reason);
                *self = Self::FRESH;
                Ok(value)
            }
        }
    }

    fn exhausted<T, J: Judge<T, E>>(
        &mut self,
        settings: &Settings,
        judge: &J,
        last: Error<E>,
        reason: GaveUp,
    ) -> Error<E> {
        self.say_so(settings, reason);
        let mut run = std::mem::replace(self, Self::FRESH);
        let before = if last.inner().is_some() { None } else { run.before };
        let earlier =
            run.rest.take().map_or_else(VecDeque::new, |mut rest| std::mem::take(&mut rest.earlier));
        let exhausted =
            Exhausted::new(settings.name, run.attempts, reason, last, before).with_earlier(earlier);
        let error = Error::Exhausted(Box::new(exhausted));
        judge.gave_up(&error);
        error
    }

    fn say_so(&self, settings: &Settings, reason: GaveUp) {
        let attempts = self.attempts;
        settings.shared.counters.gave_up(attempts.saturating_sub(1), reason);
        settings.shared.observers.emit(|| RetryEvent::GaveUp { policy: settings.name, attempts, reason });
    }
}

impl<'a, E> Rest<'a, E> {
    /// Drives the sleep, and then the attempt. The error is that the surrounding work has ended in the sleep.
    #[inline(never)]
    pub(super) fn poll<A: Attempt<Err = E>>(
        &mut self,
        settings: &Settings,
        mut inner: Pin<&mut A>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<OutcomeOf<A>, ContextError>> {
        if let Some(sleep) = &mut self.sleep {
            ready!(Pin::new(sleep).poll(cx));
            self.sleep = None;
            if let Err(ended) = context::check(|| settings.clock.now()) {
                return Poll::Ready(Err(ended));
            }
            self.begin(settings, self.number);
        }
        let alarm = &mut self.alarm;
        let poll = || match settings.attempt_timeout {
            None => inner.poll_attempt(cx),
            Some(limit) => match ready!(within(alarm, &settings.clock, limit, inner.as_mut(), cx)) {
                Some(outcome) => Poll::Ready(outcome),
                None => {
                    inner.cancel();
                    let rejection = Rejection::timed_out(settings.name, limit, Scope::Attempt);
                    Poll::Ready(Err(rejection.into()))
                }
            },
        };
        let polled = match &self.context {
            None => poll(),
            Some(context) => context.scope_sync(poll),
        };
        polled.map(Ok)
    }

    /// Attempt `number` begins.
    fn begin(&mut self, settings: &Settings, number: u32) {
        if let Some(paid) = &mut self.paid {
            paid.begin();
        }
        if settings.reset_after.is_some() {
            self.attempt_began = Some(settings.clock.now());
        }
        if settings.marks {
            let mark = AttemptMark { policy: settings.name, number };
            self.context = Some(TaskContext::current().with_value(mark));
        }
    }
}

impl<E> Default for Rest<'_, E> {
    fn default() -> Self {
        Self {
            sleep: None,
            alarm: Alarm::default(),
            spread: None,
            began: None,
            attempt_began: None,
            paid: None,
            call: None,
            context: None,
            earlier: VecDeque::new(),
            number: 1,
            yields: false,
        }
    }
}

/// The same sleep, pending at least once.
fn pending_once(sleep: Sleep) -> Sleep {
    let (mut sleep, mut was_pending) = (Some(sleep), false);
    Sleep::new(poll_fn(move |cx| {
        if let Some(running) = &mut sleep {
            if Pin::new(running).poll(cx).is_pending() {
                was_pending = true;
                return Poll::Pending;
            }
            sleep = None;
        }
        if std::mem::replace(&mut was_pending, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }))
}

fn reason_of(ended: &ContextError) -> GaveUp {
    if ended.is_cancelled() { GaveUp::Cancelled } else { GaveUp::Deadline }
}

impl<E> fmt::Debug for Run<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("attempts", &self.attempts)
            .field("sleeping", &self.rest.as_ref().is_some_and(|rest| rest.sleep.is_some()))
            .finish_non_exhaustive()
    }
}
