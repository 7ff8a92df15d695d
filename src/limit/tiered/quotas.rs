//! What is configured, and may be changed while the limiter runs.

use super::tier::{Plan, TIERS};
use crate::limit::Quota;

#[derive(Clone, Debug)]
pub(super) struct Quotas {
    pub(super) tiers: [Quota; TIERS],
    pub(super) routes: Vec<Quota>,
}

impl Quotas {
    /// 100 a second in all, 50 for each route, 20 for each resource, sub-resource and user.
    pub(super) const DEFAULT: [Quota; TIERS] = [
        Quota::per_second(100),
        Quota::per_second(50),
        Quota::per_second(20),
        Quota::per_second(20),
        Quota::per_second(20),
    ];

    pub(super) fn of(&self, plan: Plan) -> Quota {
        let quota = match plan {
            Plan::Default(tier) => self.tiers.get(tier.index()),
            Plan::Route(route) => self.routes.get(route),
        };
        quota.copied().unwrap_or(Quota::unlimited())
    }

    /// Says whether there is such a plan.
    pub(super) fn set(&mut self, plan: Plan, quota: Quota) -> bool {
        let place = match plan {
            Plan::Default(tier) => self.tiers.get_mut(tier.index()),
            Plan::Route(route) => self.routes.get_mut(route),
        };
        place.map(|place| *place = quota).is_some()
    }
}
