//! The stack that settings make.

use super::error::{Problems, SettingsError};
use super::reload::Reload;
use super::{BudgetSettings, StackSettings};
use crate::limit::TokenBucket;
use crate::resilience::registry::static_name;
use crate::resilience::{Budget, Bulkhead, Chain, CircuitBreaker, Retry, Stack, Throttle, Timeout};
use crate::time::Clock;
use std::fmt;
use std::ops::Deref;

type Outer = Chain<Chain<(), Option<Timeout>>, Option<Retry>>;
type Inner = Chain<Chain<Chain<Outer, Option<CircuitBreaker>>, Option<Throttle>>, Option<Bulkhead>>;

/// The policies of a [`StandardStack`].
pub type StandardPolicies = Chain<Inner, Option<Timeout>>;

/// The stack that [`StackSettings`] make, and the parts that it is made of. It is used as a
/// [`Stack`], which it derefs to.
///
/// # What a change of the settings keeps
/// Given to a [`Reloadable`](super::Reloadable), a stack is replaced by a new one that shares with it:
///
/// | part | kept | when it is not |
/// |---|---|---|
/// | breaker: state, counts | the breaker itself | its settings have changed: a new, closed one |
/// | throttle: tokens, those who wait | the bucket, whose quota is changed; who waits is planned anew | it was not there before |
/// | bulkhead: who runs, who waits | the bulkhead, which is resized | its queue or wait limit has changed: a new one, beside which the calls under way keep their places in the old |
/// | retry: the budget | the budget | its settings have changed: a new one |
/// | timeouts, backoff, numbers of attempts, wait limits | nothing: they are values | calls under way go on with theirs |
///
/// With another [name](StackSettings::name) everything is new. What is shared is changed for the calls that are under way,
/// too: a smaller bulkhead waits for them to end, a lower rate holds them up where they wait for it.
pub struct StandardStack {
    settings: StackSettings,
    clock: Clock,
    parts: Parts,
    stack: Stack<StandardPolicies>,
}

/// What a stack is made of.
#[derive(Clone, Default)]
pub(super) struct Parts {
    total_timeout: Option<Timeout>,
    budget: Option<Budget>,
    retry: Option<Retry>,
    breaker: Option<CircuitBreaker>,
    bucket: Option<TokenBucket>,
    throttle: Option<Throttle>,
    bulkhead: Option<Bulkhead>,
    attempt_timeout: Option<Timeout>,
}

impl Parts {
    pub(super) fn new(settings: &StackSettings, clock: &Clock, problems: &mut Problems) -> Self {
        let budget = settings.retry.as_ref().and_then(|retry| retry.budget.as_ref());
        let mut parts = Self {
            budget: budget.and_then(|budget| problems.of(budget.path(), budget.build(clock))),
            ..Self::default()
        };
        parts.add_values(settings, clock, problems);
        if let Some(breaker) = &settings.breaker {
            let builder = breaker.builder().name(name(settings, "circuit breaker")).clock(clock.clone());
            parts.breaker = problems.of("breaker", builder.build());
        }
        if let Some(throttle) = &settings.throttle {
            let bucket = TokenBucket::builder(throttle.quota).clock(clock.clone()).build();
            parts.bucket = problems.of("throttle", bucket);
            parts.add_throttle(settings, problems);
        }
        if let Some(bulkhead) = &settings.bulkhead {
            let builder = bulkhead.builder().name(name(settings, "bulkhead")).clock(clock.clone());
            parts.bulkhead = problems.of("bulkhead", builder.build());
        }
        parts
    }

    /// Those that are plain values, but for what they share.
    fn add_values(&mut self, settings: &StackSettings, clock: &Clock, problems: &mut Problems) {
        let timeout = |timeout: Timeout| timeout.name(name(settings, "timeout")).clock(clock.clone());
        self.total_timeout = settings.total_timeout.map(|limit| timeout(Timeout::total(limit)));
        self.attempt_timeout = settings.attempt_timeout.map(|limit| timeout(Timeout::attempt(limit)));
        self.retry = settings
            .retry
            .as_ref()
            .and_then(|retry| retry.make(name(settings, "retry"), clock, self.budget.clone(), problems));
    }

    /// The throttle in front of the bucket.
    fn add_throttle(&mut self, settings: &StackSettings, problems: &mut Problems) {
        let (Some(throttle), Some(bucket)) = (&settings.throttle, &self.bucket) else { return };
        let builder = Throttle::builder(bucket.clone())
            .tokens(throttle.tokens)
            .wait_limit(throttle.wait_limit)
            .name(name(settings, "throttle"));
        self.throttle = problems.of("throttle", builder.build());
    }
}

/// What the policies are called.
fn name(settings: &StackSettings, kind: &'static str) -> &'static str {
    settings.name.as_deref().map_or(kind, static_name)
}

impl StandardStack {
    pub(super) fn new(settings: StackSettings, clock: Clock, parts: Parts) -> Self {
        let all = parts.clone();
        let stack = Stack::new()
            .layer(all.total_timeout)
            .layer(all.retry)
            .layer(all.breaker)
            .layer(all.throttle)
            .layer(all.bulkhead)
            .layer(all.attempt_timeout);
        Self { settings, clock, parts, stack }
    }

    /// What it was made from.
    pub fn settings(&self) -> &StackSettings {
        &self.settings
    }

    /// The stack.
    pub fn stack(&self) -> &Stack<StandardPolicies> {
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

impl Deref for StandardStack {
    type Target = Stack<StandardPolicies>;

    fn deref(&self) -> &Self::Target {
        &self.stack
    }
}

/// See the table at the [type](StandardStack).
impl Reload for StandardStack {
    type Settings = StackSettings;
    type Error = SettingsError;

    fn check(&self, settings: &StackSettings) -> Result<(), SettingsError> {
        settings.build_on(&self.clock).map(drop)
    }

    fn reload(&self, settings: StackSettings) -> Result<Self, SettingsError> {
        // All that can fail comes first.
        let fresh = settings.build_on(&self.clock)?;
        let (old, new) = (&self.settings, &settings);
        if old.name != new.name {
            return Ok(fresh);
        }
        let mut parts = fresh.parts;
        let fresh_throttle = (parts.bucket.clone(), parts.throttle.clone());
        if old.breaker == new.breaker {
            parts.breaker.clone_from(&self.parts.breaker);
        }
        let budget =
            |settings: &StackSettings| -> Option<BudgetSettings> { settings.retry.as_ref()?.budget.clone() };
        if budget(old) == budget(new) {
            parts.budget.clone_from(&self.parts.budget);
        }
        if let (Some(old), Some(new)) = (&old.bulkhead, &new.bulkhead) {
            if (old.queue, old.wait_limit) == (new.queue, new.wait_limit) {
                parts.bulkhead.clone_from(&self.parts.bulkhead);
            }
        }
        if old.throttle.is_some() && new.throttle.is_some() {
            parts.bucket.clone_from(&self.parts.bucket);
        }
        // From here on it is changed what the present stack shares.
        if let (Some(bucket), Some(old), Some(new)) = (&parts.bucket, &old.throttle, &new.throttle) {
            if old.quota != new.quota {
                bucket.set_quota(new.quota);
            }
        }
        if let (Some(bulkhead), Some(old), Some(new)) = (&parts.bulkhead, &old.bulkhead, &new.bulkhead) {
            if old.running != new.running {
                bulkhead.resize(new.running);
            }
        }
        // They were good a moment ago. Only the bucket may be smaller than its settings, while something temporary is in
        // force: then the throttle begins anew.
        let mut problems = Problems::default();
        parts.add_values(new, &self.clock, &mut problems);
        parts.add_throttle(new, &mut problems);
        if parts.throttle.is_none() {
            (parts.bucket, parts.throttle) = fresh_throttle;
        }
        Ok(Self::new(settings, self.clock.clone(), parts))
    }
}

impl fmt::Debug for StandardStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardStack").field("settings", &self.settings).finish_non_exhaustive()
    }
}
