//! Settings of a tiered limiter.

use super::aliases::Aliases;
use super::bucket::nanos;
use super::engine::Engine;
use super::inner::Inner;
use super::queue::Queue;
use super::quotas::Quotas;
use super::routes::{ResourceTiers, Routes};
use super::shards::Shards;
use super::{Route, Tier, Tiered};
use crate::ConfigError;
use crate::limit::{Feedback, Quota};
use crate::time::{Clock, Epoch};
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Tiered`].
///
/// ```
/// use cofferdam::limit::tiered::{ResourceTiers, Route};
/// use cofferdam::limit::{Quota, Tiered};
///
/// let limiter = Tiered::builder()
///     .global(Quota::per_second(50))
///     .user(Quota::per_minute(30))
///     .resource_tiers(ResourceTiers::Each)
///     .route("GET /search", Quota::per_second(2))
///     .route_with(Route::new("POST /channels/{channel}/messages", Quota::per_second(1)).majors(["channel"]))
///     .build()?;
/// # Ok::<(), cofferdam::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct TieredBuilder {
    quotas: Quotas,
    routes: Vec<Route>,
    majors: Vec<Arc<str>>,
    resources: ResourceTiers,
    max_buckets: usize,
    bucket_life: Duration,
    max_waiting: usize,
    ageing: Duration,
    max_pause: Duration,
    preemptive: Option<f64>,
    clock: Clock,
    name: Option<Arc<str>>,
}

impl TieredBuilder {
    pub(super) fn new() -> Self {
        Self {
            quotas: Quotas { tiers: Quotas::DEFAULT, routes: Vec::new() },
            routes: Vec::new(),
            majors: Vec::new(),
            resources: ResourceTiers::First,
            max_buckets: 10_000,
            bucket_life: Duration::from_secs(3600),
            max_waiting: 1000,
            ageing: Duration::from_secs(10),
            max_pause: Feedback::MAX_WAIT,
            preemptive: None,
            clock: Clock::system(),
            name: None,
        }
    }

    fn tier(mut self, tier: Tier, quota: Quota) -> Self {
        if let Some(place) = self.quotas.tiers.get_mut(tier.index()) {
            *place = quota;
        }
        self
    }

    /// What everything together may do; without it, 100 a second.
    pub fn global(self, quota: Quota) -> Self {
        self.tier(Tier::Global, quota)
    }

    /// What each route may do that has no quota of its own; without it, 50 a second.
    pub fn default_route(self, quota: Quota) -> Self {
        self.tier(Tier::Route, quota)
    }

    /// What may be done with each resource; without it, 20 a second.
    pub fn resource(self, quota: Quota) -> Self {
        self.tier(Tier::Resource, quota)
    }

    /// What may be done with each part of a resource, where that is a tier; without it, 20 a second.
    pub fn sub_resource(self, quota: Quota) -> Self {
        self.tier(Tier::SubResource, quota)
    }

    /// What each user may do, where that is a tier; without it, 20 a second.
    pub fn user(self, quota: Quota) -> Self {
        self.tier(Tier::User, quota)
    }

    /// Whether resource, sub-resource and user are one tier or one each; without it,
    /// [one](ResourceTiers::First), by the quota for resources.
    pub fn resource_tiers(mut self, tiers: ResourceTiers) -> Self {
        self.resources = tiers;
        self
    }

    /// Gives a route a quota of its own; see [`Route`] for the patterns.
    pub fn route(self, pattern: impl Into<Arc<str>>, quota: Quota) -> Self {
        self.route_with(Route::new(pattern, quota))
    }

    /// Gives a route a quota and major parameters of its own.
    pub fn route_with(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Parameters by whose values the bucket of a route is split, in this order; for all routes that name none of their own.
    /// A value comes from the [request](super::Request::majors), else from the placeholder of this name; a parameter that a
    /// request does not have splits nothing.
    pub fn major_parameters<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.majors = names.into_iter().map(Into::into).collect();
        self
    }

    /// The most buckets in memory beside the global one, and the most associations with servers' buckets; without it,
    /// 10 000.
    pub fn max_buckets(mut self, buckets: usize) -> Self {
        self.max_buckets = buckets;
        self
    }

    /// How long a bucket that nobody uses is kept at least while there is room; without it, an hour.
    pub fn bucket_life(mut self, life: Duration) -> Self {
        self.bucket_life = life;
        self
    }

    /// The most requests that may wait; without it, 1000.
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = requests;
        self
    }

    /// How long a wait is worth one class of priority; without it, ten seconds.
    pub fn ageing(mut self, ageing: Duration) -> Self {
        self.ageing = ageing;
        self
    }

    /// The longest wait that a server is believed; without it, [`Feedback::MAX_WAIT`].
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// Acts before the server refuses: once at most this share of a limit remains (1 is always), what remains is spread
    /// evenly over the time until the server's reset. Without it, only what remains counts, and may go at once.
    pub fn preemptive(mut self, share: f64) -> Self {
        self.preemptive = Some(share);
        self
    }

    /// Where the time comes from; without it, [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// A name for people, shown by `Debug`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Builds it.
    ///
    /// # Errors
    /// A pattern that is none, or that matches the same requests as another one and is as specific; a major parameter without
    /// name or named twice; no room for any bucket; a life of zero; a share that is not above 0 and at most 1.
    pub fn build(self) -> Result<Tiered, ConfigError> {
        let Self { mut quotas, routes, majors, resources, max_buckets, bucket_life, .. } = self;
        let refuse = |knob, value: String, rule| Err(ConfigError::new("tiered limiter", knob, value, rule));
        if max_buckets == 0 {
            return refuse("max_buckets", "0".into(), "must be at least 1");
        }
        if bucket_life.is_zero() {
            return refuse("bucket_life", "0s".into(), "must be longer than zero");
        }
        if let Some(share) = self.preemptive.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return refuse("preemptive", share.to_string(), "must be above 0 and at most 1");
        }
        quotas.routes = routes.iter().map(|route| route.quota).collect();
        let life = nanos(bucket_life);
        let engine = Engine {
            shards: Shards::new(max_buckets, life, quotas),
            routes: Routes::new(&routes, majors, resources)?,
            aliases: Aliases::new(max_buckets),
            life,
            max_wait: self.max_pause,
            preemptive: self.preemptive,
        };
        let queue = Queue::new(self.max_waiting, nanos(self.ageing));
        let inner = Inner::new(engine, Epoch::new(self.clock), self.name, queue);
        Ok(Tiered { inner: Arc::new(inner) })
    }
}
