//! A bucket: an arrival time, a pause, what its server has said, and the decisions over them. Pure in (state, now, n).
//!
//! The only file of the limiter that knows by which arithmetic it decides.

use super::tier::Plan;
use crate::limit::{Algorithm, Feedback, Gcra, Quota, Rate};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) name: Arc<str>,
    /// The part of the name that the major parameters make.
    pub(super) suffix: Box<str>,
    /// Whose quota it has.
    pub(super) plan: Plan,
    configured: Quota,
    /// What the server says is its limit, and for how long it is good.
    cap: Option<(u64, Option<Duration>)>,
    gcra: Gcra,
    state: u128,
    pub(super) paused_until: u64,
    pace: Option<Pace>,
}

/// What remains, spread over the time until it is there again.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// When the next may go.
    next: u64,
    interval: u64,
    until: u64,
}

/// Tokens that are there, to be taken by [`Bucket::commit`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready(u128);

impl Ready {
    /// Of a refusal: never committed.
    pub(super) const NOTHING: Self = Self(0);
}

/// How far off the tokens are, in nanoseconds: `None` is never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short(pub(super) Option<u64>);

/// What will be left of a bucket when those ahead have been served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promised {
    gcra: Gcra,
    state: u128,
    held_until: u64,
}

impl Promised {
    /// The earliest instant at which `n` more tokens may be taken; `None` is never, and takes nothing.
    pub(super) fn charge(&mut self, now: u64, n: u64) -> Option<u64> {
        let due = self.gcra.charge(&mut self.state, now, n).ok()?;
        Some(due.max(self.held_until))
    }
}

impl Bucket {
    pub(super) fn new(name: Arc<str>, plan: Plan, quota: Quota, now: u64) -> Self {
        let gcra = Gcra::new(quota);
        let state = gcra.fresh(now);
        let suffix = Box::default();
        Self { name, suffix, plan, configured: quota, cap: None, gcra, state, paused_until: 0, pace: None }
    }

    /// With what the major parameters add to its name.
    pub(super) fn split_by(mut self, suffix: &str) -> Self {
        if !suffix.is_empty() {
            self.name = format!("{}{suffix}", self.name).into();
            self.suffix = suffix.into();
        }
        self
    }

    /// Whether `n` tokens may be taken now.
    #[inline]
    pub(super) fn check(&self, now: u64, n: u64) -> Result<Ready, Short> {
        let mut next = self.state;
        let short = match self.gcra.take(&mut next, now, n) {
            Ok(()) => 0,
            Err(denied) => denied.retry_nanos().ok_or(Short(None))?,
        };
        match short.max(self.held_until(now).saturating_sub(now)) {
            0 => Ok(Ready(next)),
            short => Err(Short(Some(short))),
        }
    }

    /// Until when nothing goes, however full it is.
    fn held_until(&self, now: u64) -> u64 {
        let pace = self.pace.filter(|pace| now < pace.until);
        self.paused_until.max(pace.map_or(0, |pace| pace.next.min(pace.until)))
    }

    /// Takes what was found to be there.
    #[inline]
    pub(super) fn commit(&mut self, ready: Ready, now: u64, n: u64) {
        self.state = ready.0;
        match &mut self.pace {
            Some(pace) if now < pace.until => {
                pace.next = pace.next.max(now).saturating_add(pace.interval.saturating_mul(n));
            }
            pace => *pace = None,
        }
    }

    pub(super) fn refund(&mut self, now: u64, n: u64) {
        self.gcra.refund(&mut self.state, now, n);
        if let Some(pace) = &mut self.pace {
            pace.next = pace.next.saturating_sub(pace.interval.saturating_mul(n));
        }
    }

    /// The bucket as others see it who stand behind those that [`promised`](Promised::charge) tokens are kept for.
    pub(super) fn promise(&self, now: u64) -> Promised {
        Promised { gcra: self.gcra, state: self.state, held_until: self.held_until(now) }
    }

    pub(super) fn available(&self, now: u64) -> u64 {
        self.gcra.available(&self.state, now)
    }

    pub(super) fn limit(&self) -> u64 {
        self.gcra.capacity()
    }

    pub(super) fn quota(&self) -> Quota {
        self.gcra.quota()
    }

    pub(super) fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// Whether it is of any use: a fresh one would decide otherwise.
    pub(super) fn is_active(&self, now: u64) -> bool {
        self.gcra.fresh_at(&self.state) > now || self.held_until(now) > now
    }

    /// As [`is_active`](Self::is_active), of one that was idle for so long and may be forgotten after `life`: until then what
    /// a server has said about its limit counts.
    pub(super) fn is_worth_keeping(&self, now: u64, idle: u64, life: u64) -> bool {
        let paced = self.pace.is_some_and(|pace| now < pace.until);
        self.is_active(now) || paced || self.cap.is_some() && idle < life
    }

    pub(super) fn pause_until(&mut self, until: u64) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = 0;
        self.pace = None;
    }

    pub(super) fn drain_to(&mut self, now: u64, n: u64) {
        self.gcra.drain_to(&mut self.state, now, n);
    }

    pub(super) fn reset(&mut self, now: u64) {
        let suffix = std::mem::take(&mut self.suffix);
        *self = Self { suffix, ..Self::new(Arc::clone(&self.name), self.plan, self.configured, now) };
    }

    /// Goes by another quota from now on; what has come in until now stays.
    pub(super) fn set_quota(&mut self, quota: Quota, now: u64) {
        self.configured = quota;
        self.settle(now);
    }

    /// Goes by another plan from now on.
    pub(super) fn adopt(&mut self, plan: Plan, quota: Quota, now: u64) {
        self.plan = plan;
        self.set_quota(quota, now);
    }

    /// Puts what is configured and what the server says into effect: the tighter of both.
    fn settle(&mut self, now: u64) {
        let mut quota = self.configured;
        if let Some((limit, window)) = self.cap {
            let rate = window.and_then(|window| Rate::per(limit, window).ok());
            let rate = rate.filter(|rate| is_slower(*rate, quota.rate())).unwrap_or(quota.rate());
            quota = Quota::new(rate, quota.burst_size().min(limit));
        }
        if quota != self.gcra.quota() {
            let next = Gcra::new(quota);
            self.state = self.gcra.carry(&next, &self.state, now);
            self.gcra = next;
        }
    }

    /// Takes over what another bucket knows that is about the same requests from now on: its charges count here, and its
    /// pause holds here.
    pub(super) fn join(&mut self, other: &Self, now: u64) {
        self.cap = self.cap.or(other.cap);
        self.settle(now);
        self.state = self.state.max(other.gcra.carry(&self.gcra, &other.state, now));
        self.pause_until(other.paused_until);
        self.pace = self.pace.or(other.pace);
    }

    /// Does what the server says, no wait longer than `longest`. `preemptive` is the share of the limit from which on what
    /// remains is spread.
    pub(super) fn heed(&mut self, feedback: &Feedback, now: u64, longest: u64, preemptive: Option<f64>) {
        if let Some(limit) = feedback.limit.filter(|limit| *limit > 0) {
            self.cap = Some((limit, feedback.window.filter(|window| !window.is_zero())));
            self.settle(now);
        }
        if let Some(remaining) = feedback.remaining {
            self.drain_to(now, remaining);
        }
        if let Some(wait) = feedback.wait() {
            self.pause_until(now.saturating_add(nanos(wait).min(longest)));
        } else if let (Some(share), Some(remaining), Some(reset)) =
            (preemptive, feedback.remaining, feedback.reset_after)
        {
            self.spread(share, remaining, nanos(reset).min(longest), now);
        }
    }

    fn spread(&mut self, share: f64, remaining: u64, reset: u64, now: u64) {
        let limit = self.cap.map_or(self.limit(), |(limit, _)| limit);
        let Some(interval) = reset.checked_div(remaining).filter(|interval| *interval > 0) else { return };
        if remaining as f64 > share * limit as f64 {
            // There is plenty again.
            self.pace = None;
            return;
        }
        // An earlier pace goes on from where it was; of the two intervals the new one counts.
        let next = match self.pace {
            Some(pace) if now < pace.until => pace.next.min(now.saturating_add(interval)),
            _ => now,
        };
        self.pace = Some(Pace { next, interval, until: now.saturating_add(reset) });
    }
}

/// In nanoseconds, 584 years at most.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn is_slower(rate: Rate, than: Rate) -> bool {
    if rate.is_unlimited() || than.is_unlimited() {
        return !rate.is_unlimited();
    }
    let product = |a: Rate, b: Rate| u128::from(a.count()) * u128::from(b.period_nanos());
    product(rate, than) < product(than, rate)
}

pub(super) fn is_tighter(quota: Quota, than: Quota) -> bool {
    let (rate, other) = (quota.rate(), than.rate());
    is_slower(rate, other) || rate == other && quota.burst_size() < than.burst_size()
}

/// How long an empty bucket takes to be full.
pub(super) fn fill_time(quota: Quota) -> u64 {
    let gcra = Gcra::new(quota);
    let mut state = gcra.fresh(0);
    let _ = gcra.charge(&mut state, 0, gcra.capacity());
    gcra.fresh_at(&state)
}
