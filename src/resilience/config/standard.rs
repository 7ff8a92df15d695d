//! The stack that settings make.

use super::error::{Problems, SettingsError};
use super::hedge::HedgeParts;
use super::hedge::sealed::Sealed;
use super::reload::Reload;
use super::{BudgetSettings, HedgeSettings, Hedging, NoHedge, StackSettings};
use crate::ConfigError;
use crate::limit::TokenBucket;
use crate::resilience::registry::static_name;
use crate::resilience::{Budget, Bulkhead, Chain, CircuitBreaker, Hedge, Retry, Stack, Throttle, Timeout};
use crate::time::Clock;
use std::fmt;
use std::ops::Deref;

type Outer<H> = Chain<Chain<Chain<(), Option<Timeout>>, Option<Retry>>, <H as Sealed>::Layer>;
type Inner<H> = Chain<Chain<Chain<Outer<H>, Option<CircuitBreaker>>, Option<Throttle>>, Option<Bulkhead>>;

/// The policies of a [`StandardStack`].
pub type StandardPolicies<H = NoHedge> = Chain<Inner<H>, Option<Timeout>>;

/// The stack that [`HedgedSettings`](super::HedgedSettings) make, for calls that can be run twice.
pub type HedgedStack = StandardStack<HedgeSettings>;

/// The stack that [`StackSettings`] make, and the parts that it is made of. It is used as a
/// [`Stack`], which it derefs to.
///
/// # What a change of the settings keeps
/// Given to a [`Reloadable`](super::Reloadable), a stack is replaced by a new one that shares with it:
///
/// | part | kept | when it is not |
/// |---|---|---|
/// | breaker: state, counts, window, those who observe it | the breaker itself, whose settings are [changed](CircuitBreaker::set): an open one opens for what the new break leaves of it, counted from when it opened; a half-open one begins its trials anew; the window is emptied if its kind or size is another; `enabled` disables it, or closes it | it was not there before |
/// | throttle: tokens, those who wait | the bucket, whose quota is changed; who waits is planned anew | it was not there before |
/// | bulkhead: who runs, who waits | the bulkhead, which is [changed](Bulkhead::set): who waits already keeps the wait limit with which it began | its order, or what it does without places, has changed: a new one, beside which the calls under way keep their places in the old |
/// | retry: the budget | the budget | its settings have changed: a new one |
/// | hedge: its own budget | the budget | its settings have changed: a new one |
/// | hedge: how long calls take | what is remembered | the quantile, its window or its least number of calls has changed: it begins empty |
/// | timeouts, backoff, numbers of attempts, wait limits, delays | nothing: they are values | calls under way go on with theirs |
///
/// With another [name](StackSettings::name) everything is new. What is shared is changed for the calls that are under way,
/// too: a smaller bulkhead waits for them to end, a lower rate holds them up where they wait for it. A breaker whose own
/// settings are as they were is left alone, whatever somebody has made of it by hand.
pub struct StandardStack<H: Hedging = NoHedge> {
    settings: StackSettings<H>,
    clock: Clock,
    parts: Parts,
    stack: Stack<StandardPolicies<H>>,
}

/// What a stack is made of.
#[derive(Clone, Default)]
pub(super) struct Parts {
    total_timeout: Option<Timeout>,
    budget: Option<Budget>,
    retry: Option<Retry>,
    hedge_parts: HedgeParts,
    hedge: Option<Hedge>,
    breaker: Option<CircuitBreaker>,
    bucket: Option<TokenBucket>,
    throttle: Option<Throttle>,
    bulkhead: Option<Bulkhead>,
    attempt_timeout: Option<Timeout>,
}

impl Parts {
    pub(super) fn new<H: Hedging>(
        settings: &StackSettings<H>,
        clock: &Clock,
        problems: &mut Problems,
    ) -> Self {
        if let Some(name) = settings.name.as_deref().filter(|name| static_name(name).is_none()) {
            let rule = "is one too many: the process has as many names as it keeps";
            problems.add("", ConfigError::new("stack", "name", format_args!("{name:?}"), rule));
        }
        let budget = budget_of(settings);
        let hedge = settings.hedge.as_ref().map(Sealed::settings);
        let mut parts = Self {
            budget: budget.and_then(|budget| budget.make("retry", clock, problems)),
            hedge_parts: hedge.map(|hedge| hedge.parts(clock, problems)).unwrap_or_default(),
            ..Self::default()
        };
        parts.add_values(settings, clock, problems);
        if let Some(breaker) = &settings.breaker {
            let builder = breaker.builder().and_then(|builder| {
                builder.name(name(settings, "circuit breaker")).clock(clock.clone()).build()
            });
            parts.breaker = problems.of("breaker", builder);
        }
        if let Some(throttle) = &settings.throttle {
            let bucket = TokenBucket::builder(throttle.quota).clock(clock.clone()).build();
            parts.bucket = problems.of("throttle", bucket);
            parts.add_throttle(settings, problems);
        }
        if let Some(bulkhead) = &settings.bulkhead {
            let builder = bulkhead.builder().name(name(settings, "bulkhead")).clock(clock.clone());
            let built = builder.build();
            let path = built.as_ref().err().map_or("bulkhead", |error| bulkhead.path_of(error));
            parts.bulkhead = problems.of(path, built);
        }
        parts
    }

    /// Those that are plain values, but for what they share.
    fn add_values<H: Hedging>(
        &mut self,
        settings: &StackSettings<H>,
        clock: &Clock,
        problems: &mut Problems,
    ) {
        let timeout = |timeout: Timeout| timeout.name(name(settings, "timeout")).clock(clock.clone());
        self.total_timeout = settings.total_timeout.map(|limit| timeout(Timeout::total(limit)));
        self.attempt_timeout = settings.attempt_timeout.map(|limit| timeout(Timeout::attempt(limit)));
        self.retry = settings
            .retry
            .as_ref()
            .and_then(|retry| retry.make(name(settings, "retry"), clock, self.budget.clone(), problems));
        self.hedge = settings.hedge.as_ref().map(Sealed::settings).and_then(|hedge| {
            let shared = self.budget.as_ref();
            hedge.make(name(settings, "hedge"), clock, &self.hedge_parts, shared, problems)
        });
    }

    /// The throttle in front of the bucket.
    fn add_throttle<H>(&mut self, settings: &StackSettings<H>, problems: &mut Problems) {
        let (Some(throttle), Some(bucket)) = (&settings.throttle, &self.bucket) else { return };
        let builder = Throttle::builder(bucket.clone())
            .tokens(throttle.tokens)
            .wait_limit(throttle.wait_limit)
            .name(name(settings, "throttle"));
        self.throttle = problems.of("throttle", builder.build());
    }
}

fn budget_of<H>(settings: &StackSettings<H>) -> Option<&BudgetSettings> {
    settings.retry.as_ref()?.budget.as_ref()
}

/// What the policies are called.
fn name<H>(settings: &StackSettings<H>, kind: &'static str) -> &'static str {
    settings.name.as_deref().and_then(static_name).unwrap_or(kind)
}

impl<H: Hedging> StandardStack<H> {
    pub(super) fn new(settings: StackSettings<H>, clock: Clock, parts: Parts) -> Self {
        let all = parts.clone();
        let stack = Stack::new()
            .layer(all.total_timeout)
            .layer(all.retry)
            .layer(H::layer(all.hedge))
            .layer(all.breaker)
            .layer(all.throttle)
            .layer(all.bulkhead)
            .layer(all.attempt_timeout);
        Self { settings, clock, parts, stack }
    }

    /// What it was made from.
    pub fn settings(&self) -> &StackSettings<H> {
        &self.settings
    }

    /// The stack.
    pub fn stack(&self) -> &Stack<StandardPolicies<H>> {
        &self.stack
    }

    /// The circuit breaker, if there is one.
    pub fn breaker(&self) -> Option<&CircuitBreaker> {
        self.parts.breaker.as_ref()
    }

    /// The bucket of the throttle, if there is one.
    pub fn bucket(&self) -> Option<&TokenBucket> {
        self.parts.bucket.as_ref()
    }

    /// The bulkhead, if there is one.
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.parts.bulkhead.as_ref()
    }

    /// The budget of the retry, if there is one.
    pub fn budget(&self) -> Option<&Budget> {
        self.parts.budget.as_ref()
    }
}

impl HedgedStack {
    /// The hedge, if there is one.
    pub fn hedge(&self) -> Option<&Hedge> {
        self.parts.hedge.as_ref()
    }
}

impl<H: Hedging> Deref for StandardStack<H> {
    type Target = Stack<StandardPolicies<H>>;

    fn deref(&self) -> &Self::Target {
        &self.stack
    }
}

/// See the table at the [type](StandardStack).
impl<H: Hedging> Reload for StandardStack<H> {
    type Settings = StackSettings<H>;
    type Error = SettingsError;

    fn check(&self, settings: &StackSettings<H>) -> Result<(), SettingsError> {
        settings.build_on(&self.clock).map(drop)
    }

    fn reload(&self, settings: StackSettings<H>) -> Result<Self, SettingsError> {
        // All that can fail comes first.
        let fresh = settings.build_on(&self.clock)?;
        let (old, new) = (&self.settings, &settings);
        if old.name != new.name {
            return Ok(fresh);
        }
        let mut parts = fresh.parts;
        let fresh_throttle = (parts.bucket.clone(), parts.throttle.clone());
        if budget_of(old) == budget_of(new) {
            parts.budget.clone_from(&self.parts.budget);
        }
        if let (Some(old), Some(new)) = (&old.hedge, &new.hedge) {
            new.settings().keep(old.settings(), &mut parts.hedge_parts, &self.parts.hedge_parts);
        }
        // From here on it is changed what the present stack shares.
        if let (Some(breaker), Some(old), Some(new)) = (&self.parts.breaker, &old.breaker, &new.breaker) {
            // They were good a moment ago.
            if new.put_in_force(breaker, old).is_ok() {
                parts.breaker = Some(breaker.clone());
            }
        }
        if let (Some(bucket), Some(old), Some(new)) = (&self.parts.bucket, &old.throttle, &new.throttle) {
            if old.quota != new.quota {
                bucket.set_quota(new.quota);
            }
            parts.bucket = Some(bucket.clone());
        }
        if let (Some(bulkhead), Some(old), Some(new)) = (&self.parts.bulkhead, &old.bulkhead, &new.bulkhead) {
            if new.put_in_force(bulkhead, old) {
                parts.bulkhead = Some(bulkhead.clone());
            }
        }
        // Only the bucket may be smaller than its settings, while something temporary is in force: then the throttle begins
        // anew.
        let mut problems = Problems::default();
        parts.add_values(new, &self.clock, &mut problems);
        parts.add_throttle(new, &mut problems);
        if parts.throttle.is_none() {
            (parts.bucket, parts.throttle) = fresh_throttle;
        }
        Ok(Self::new(settings, self.clock.clone(), parts))
    }
}

impl<H: Hedging> fmt::Debug for StandardStack<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardStack").field("settings", &self.settings).finish_non_exhaustive()
    }
}
