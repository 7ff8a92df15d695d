//! What is compiled of the configuration, and what a request is by it: a ticket of fingerprints.

use super::key::{Key, Keyer, Kind};
use super::path::{Normal, normal, segments};
use super::route::{Pattern, Route};
use super::shards::{Naming, Place, Places};
use super::tier::Plan;
use super::trie::{RouteId, Trie};
use super::{Request, Tier};
use crate::ConfigError;
use std::fmt::Write as _;
use std::sync::Arc;

/// What resource, sub-resource and user of a request are to a limiter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceTiers {
    /// One tier: the resource; without it the sub-resource; without both the user.
    #[default]
    First,
    /// A tier each, of those that the request names.
    Each,
}

#[derive(Debug)]
pub(super) struct Routes {
    trie: Trie,
    compiled: Vec<Compiled>,
    /// Major parameters where a route names none of its own.
    majors: Vec<Arc<str>>,
    resources: ResourceTiers,
    keyer: Keyer,
}

#[derive(Debug)]
struct Compiled {
    name: Arc<str>,
    print: u128,
    majors: Vec<Major>,
}

#[derive(Debug)]
struct Major {
    name: Arc<str>,
    /// The segment that is its value, if the request names none.
    at: Option<usize>,
}

/// A request by its fingerprints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// Of the route, without what splits it.
    pub(super) route: u128,
    plan: Plan,
    majors: u128,
    /// Resource, sub-resource, user.
    ids: [Option<u128>; 3],
    pub(super) tokens: u64,
}

impl Ticket {
    /// Its buckets, where the route goes by `route` and `plan`: its own, or those of the server's bucket.
    pub(super) fn places(&self, route: u128, plan: Plan) -> Places {
        let [_, _, resource, sub_resource, user] = Tier::ALL;
        let [first, second, third] = self.ids;
        let of = |tier, print: Option<u128>| {
            let key = Key { tier, base: print?, majors: 0 };
            Some(Place { key, plan: Plan::Default(tier) })
        };
        let key = Key { tier: Tier::Route, base: route, majors: self.majors };
        [Some(Place { key, plan }), of(resource, first), of(sub_resource, second), of(user, third)]
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan
    }
}

impl Routes {
    pub(super) fn new(
        routes: &[Route],
        majors: Vec<Arc<str>>,
        resources: ResourceTiers,
    ) -> Result<Self, ConfigError> {
        check_names("major_parameters", &majors)?;
        let mut this =
            Self { trie: Trie::default(), compiled: Vec::new(), majors, resources, keyer: Keyer::default() };
        for route in routes {
            let pattern = Pattern::parse(&route.pattern)?;
            if let Some(majors) = &route.majors {
                check_names("majors", majors)?;
            }
            let majors = route.majors.as_ref().unwrap_or(&this.majors).iter();
            let majors =
                majors.map(|name| Major { name: Arc::clone(name), at: pattern.place_of(name) }).collect();
            let print = this.keyer.print(Kind::Pattern, |print| print.text(&route.pattern));
            if let Err(known) = this.trie.insert(&pattern, this.compiled.len()) {
                let known = this.compiled.get(known).map_or("", |known| &known.name);
                let both = format_args!("{:?} and {known:?}", &*route.pattern);
                let rule = "must not match the same requests as another one that is as specific";
                return Err(ConfigError::new("tiered limiter", "route", both, rule));
            }
            this.compiled.push(Compiled { name: Arc::clone(&route.pattern), print, majors });
        }
        Ok(this)
    }

    /// The route with this very pattern.
    pub(super) fn id_of(&self, pattern: &str) -> Option<RouteId> {
        self.compiled.iter().position(|route| *route.name == *pattern)
    }

    pub(super) fn ticket(&self, request: &Request<'_>) -> Ticket {
        let found = self.find(request);
        let (route, plan) = match found {
            Some((id, route)) => (route.print, Plan::Route(id)),
            None => (self.normal_print(request), Plan::Default(Tier::Route)),
        };
        let majors = self.majors_print(request, found.map(|(_, route)| route));
        let ids = if request.ids == [None; 3] { [None; 3] } else { self.ids_prints(request) };
        Ticket { route, plan, majors, ids, tokens: request.tokens }
    }

    fn ids_prints(&self, request: &Request<'_>) -> [Option<u128>; 3] {
        self.ids(request).map(|id| {
            let (kind, id) = id?;
            Some(self.keyer.print(kind, |print| {
                if let (Kind::SubResource, [Some(resource), ..]) = (kind, request.ids) {
                    print.text(resource);
                }
                print.text(id);
            }))
        })
    }

    fn find(&self, request: &Request<'_>) -> Option<(RouteId, &Compiled)> {
        let id = self.trie.find(request.method, request.path)?;
        Some((id, self.compiled.get(id)?))
    }

    fn normal_print(&self, request: &Request<'_>) -> u128 {
        self.keyer.print(Kind::Normal, |print| {
            print.method(request.method);
            segments(request.path).for_each(|segment| print.text(normal(segment)));
        })
    }

    /// The major parameters that a request has, in the order of their names in the configuration.
    fn each_major<'r>(
        &self,
        request: &Request<'r>,
        route: Option<&Compiled>,
        mut each: impl FnMut(&str, &'r str),
    ) {
        match route {
            Some(route) => {
                for Major { name, at } in &route.majors {
                    let value = request.major(name);
                    if let Some(value) = value.or_else(|| segments(request.path).nth((*at)?)) {
                        each(name, value);
                    }
                }
            }
            None => {
                for name in &self.majors {
                    if let Some(value) = request.major(name) {
                        each(name, value);
                    }
                }
            }
        }
    }

    fn majors_print(&self, request: &Request<'_>, route: Option<&Compiled>) -> u128 {
        if route.map_or(self.majors.is_empty(), |route| route.majors.is_empty()) {
            return 0;
        }
        let mut any = false;
        let print = self.keyer.print(Kind::Majors, |print| {
            self.each_major(request, route, |name, value| {
                any = true;
                print.text(name);
                print.text(value);
            });
        });
        if any { print } else { 0 }
    }

    /// Resource, sub-resource and user, as far as they are tiers of the request.
    fn ids<'r>(&self, request: &Request<'r>) -> [Option<(Kind, &'r str)>; 3] {
        let [resource, sub_resource, user] = request.ids;
        let all = [
            resource.map(|id| (Kind::Resource, id)),
            sub_resource.map(|id| (Kind::SubResource, id)),
            user.map(|id| (Kind::User, id)),
        ];
        match self.resources {
            ResourceTiers::First => [all.into_iter().flatten().next(), None, None],
            ResourceTiers::Each => all,
        }
    }

    /// The fingerprint of a server's name for a bucket.
    pub(super) fn server_print(&self, bucket: &str) -> u128 {
        self.keyer.print(Kind::Server, |print| print.text(bucket))
    }

    pub(super) fn name(&self, request: &Request<'_>) -> Arc<str> {
        match self.find(request) {
            Some((_, route)) => Arc::clone(&route.name),
            None => Normal { method: request.method, path: request.path }.to_string().into(),
        }
    }

    /// The values of the major parameters, as they stand behind the name of a route.
    fn suffix(&self, request: &Request<'_>) -> String {
        let mut suffix = String::new();
        let route = self.find(request).map(|(_, route)| route);
        self.each_major(request, route, |name, value| {
            // Into a string it cannot fail.
            let _ = write!(suffix, " {name}={value}");
        });
        suffix
    }

    fn id_name(&self, request: &Request<'_>, tier: Tier) -> Arc<str> {
        let ids = self.ids(request);
        let id = tier.index().checked_sub(Tier::Resource.index()).and_then(|at| ids.get(at).copied()?);
        match (id, request.ids) {
            (Some((Kind::SubResource, id)), [Some(resource), ..]) => {
                format!("sub-resource {resource}/{id}").into()
            }
            (Some((Kind::SubResource, id)), _) => format!("sub-resource {id}").into(),
            (Some((Kind::User, id)), _) => format!("user {id}").into(),
            (Some((_, id)), _) => format!("resource {id}").into(),
            (None, _) => Arc::from("global"),
        }
    }
}

fn check_names(knob: &'static str, names: &[Arc<str>]) -> Result<(), ConfigError> {
    for (at, name) in names.iter().enumerate() {
        let refuse = |rule| Err(ConfigError::new("tiered limiter", knob, format_args!("{name:?}"), rule));
        if name.is_empty() {
            return refuse("must have a name");
        }
        if names.iter().take(at).any(|earlier| earlier == name) {
            return refuse("must be named once");
        }
    }
    Ok(())
}

/// Names made from the request, when a bucket is.
pub(super) struct ByRequest<'a> {
    pub(super) routes: &'a Routes,
    pub(super) request: &'a Request<'a>,
    /// What the server calls the bucket of its route.
    pub(super) shared: Option<Arc<str>>,
}

impl Naming for ByRequest<'_> {
    fn name(&self, tier: Tier) -> Arc<str> {
        let Self { routes, request, shared } = self;
        match (tier, shared) {
            (Tier::Route, Some(shared)) => Arc::clone(shared),
            (Tier::Route, None) => routes.name(request),
            _ => routes.id_name(request, tier),
        }
    }

    fn suffix(&self) -> String {
        self.routes.suffix(self.request)
    }
}

/// Names that outlive their request.
#[derive(Clone, Debug)]
pub(super) struct Names {
    route: Arc<str>,
    suffix: String,
    ids: [Option<Arc<str>>; 3],
    pub(super) shared: Option<Arc<str>>,
}

impl Names {
    pub(super) fn new(routes: &Routes, request: &Request<'_>) -> Self {
        let [_, _, resource, sub_resource, user] = Tier::ALL;
        let [first, second, third] = routes.ids(request);
        let name = |tier, id: Option<_>| id.map(|_| routes.id_name(request, tier));
        Self {
            route: routes.name(request),
            suffix: routes.suffix(request),
            ids: [name(resource, first), name(sub_resource, second), name(user, third)],
            shared: None,
        }
    }

    /// The route's bucket is called what the server calls it.
    pub(super) fn shared(self, shared: Option<Arc<str>>) -> Self {
        Self { shared, ..self }
    }
}

impl Naming for Names {
    fn name(&self, tier: Tier) -> Arc<str> {
        if tier == Tier::Route {
            return Arc::clone(self.shared.as_ref().unwrap_or(&self.route));
        }
        let id = tier.index().checked_sub(Tier::Resource.index()).and_then(|at| self.ids.get(at));
        id.cloned().flatten().unwrap_or_else(|| Arc::from("global"))
    }
    fn suffix(&self) -> String {
        self.suffix.clone()
    }
}
