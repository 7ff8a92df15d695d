//! Buckets, routes and the servers' names for them: all that decides, without those who wait.

use super::aliases::{Alias, Aliases};
use super::bucket::{Bucket, fill_time, is_tighter, nanos};
use super::key::Key;
use super::routes::{ByRequest, Routes, Ticket};
use super::shards::{Naming, Place, Places, Shards};
use super::tier::Plan;
use super::{Request, Tier};
use crate::limit::{Feedback, Quota};
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Engine {
    pub(super) shards: Shards,
    pub(super) routes: Routes,
    pub(super) aliases: Aliases,
    pub(super) life: u64,
    pub(super) max_wait: Duration,
    pub(super) preemptive: Option<f64>,
}

impl Engine {
    /// The buckets of a request, and what the server calls that of its route.
    #[inline]
    pub(super) fn places(&self, ticket: &Ticket, now: u64) -> (Places, Option<Arc<str>>) {
        match self.aliases.of(ticket.route, now) {
            Some(alias) => (ticket.places(alias.base, alias.plan), Some(alias.name)),
            None => (ticket.places(ticket.route, ticket.plan()), None),
        }
    }

    /// Does what a server says of a request.
    pub(super) fn heed(&self, request: &Request<'_>, feedback: &Feedback, now: u64) {
        let ticket = self.routes.ticket(request);
        if !feedback.global {
            if let Some(bucket) = &feedback.bucket {
                self.share(&ticket, bucket, now);
            }
        }
        let ([route, ..], shared) = self.places(&ticket, now);
        let names = ByRequest { routes: &self.routes, request, shared };
        let place = if feedback.global { None } else { route };
        self.shards.with(place.as_ref(), now, &names, |bucket| {
            bucket.heed(feedback, now, nanos(self.max_wait), self.preemptive);
        });
    }

    /// The server keeps a route in a bucket of this name: the route's buckets go into those of the server's.
    fn share(&self, ticket: &Ticket, bucket: &str, now: u64) {
        let base = self.routes.server_print(bucket);
        let old = self.aliases.of(ticket.route, now).map_or(ticket.route, |alias| alias.base);
        if old == base {
            return;
        }
        // The slowest of the routes in it, as they are now.
        let quota = |plan| self.shards.quota(plan);
        let plan = match self.aliases.plan_of(base) {
            Some(known) if !is_tighter(quota(ticket.plan()), quota(known)) => known,
            _ => ticket.plan(),
        };
        let life = self.life.max(nanos(self.max_wait)).max(fill_time(quota(plan)));
        let name = format!("server bucket {bucket}").into();
        let alias = Alias { base, name, own: ticket.plan(), plan, life };
        // Before anybody goes there, all that is known is there; and once more what was charged meanwhile.
        self.pour(self.shards.of_route(old), &alias, now);
        if self.aliases.learn(ticket.route, &alias, now) {
            self.shards.adopt(base, plan, now);
            if old == ticket.route {
                self.pour(self.shards.take_route(old, now), &alias, now);
            }
        }
    }

    /// Changes a setting, of the buckets that go by it and of those that servers share among routes.
    pub(super) fn set_quota(&self, plan: Plan, quota: Quota, now: u64) {
        self.shards.set_quota(plan, quota, now);
        for (base, plan) in self.aliases.replan(&self.shards.quotas()) {
            self.shards.adopt(base, plan, now);
        }
    }

    fn pour(&self, buckets: Vec<(Key, Bucket)>, into: &Alias, now: u64) {
        for (key, bucket) in buckets {
            let place = Place { key: Key { base: into.base, ..key }, plan: into.plan };
            let name = Poured { name: &into.name, suffix: &bucket.suffix };
            self.shards.with(Some(&place), now, &name, |known| known.join(&bucket, now));
        }
    }
}

/// The name of a bucket that others are poured into: the server's, with the major parameters that it keeps.
struct Poured<'a> {
    name: &'a Arc<str>,
    suffix: &'a str,
}

impl Naming for Poured<'_> {
    fn name(&self, _: Tier) -> Arc<str> {
        Arc::clone(self.name)
    }

    fn suffix(&self) -> String {
        self.suffix.to_owned()
    }
}
