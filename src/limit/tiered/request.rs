//! What is asked for.

use crate::sync::Priority;

/// A request, as far as a limiter has to know it: where it goes, on whose behalf, and how much it is worth.
///
/// ```
/// use cofferdam::limit::tiered::Request;
/// use cofferdam::sync::Priority;
///
/// let request = Request::new("GET", "/orders/17").resource("17").user("ann").priority(Priority::High);
/// # let _ = request;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a request does nothing until it is made"]
pub struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Resource, sub-resource, user.
    pub(super) ids: [Option<&'a str>; 3],
    pub(super) majors: &'a [(&'a str, &'a str)],
    pub(super) tokens: u64,
    pub(super) priority: Priority,
}

impl<'a> Request<'a> {
    /// To a path, which may have a query: it is cut off. One token, of normal priority.
    pub const fn new(method: &'a str, path: &'a str) -> Self {
        Self { method, path, ids: [None; 3], majors: &[], tokens: 1, priority: Priority::Normal }
    }

    /// The resource that it is about.
    pub const fn resource(self, id: &'a str) -> Self {
        let [_, sub_resource, user] = self.ids;
        Self { ids: [Some(id), sub_resource, user], ..self }
    }

    /// The part of the resource. One of the same name in another resource is another one.
    pub const fn sub_resource(self, id: &'a str) -> Self {
        let [resource, _, user] = self.ids;
        Self { ids: [resource, Some(id), user], ..self }
    }

    /// The user on whose behalf it is made.
    pub const fn user(self, id: &'a str) -> Self {
        let [resource, sub_resource, _] = self.ids;
        Self { ids: [resource, sub_resource, Some(id)], ..self }
    }

    /// Major parameters, as pairs of name and value in any order. They go before the placeholders of the route's pattern.
    pub const fn majors(self, majors: &'a [(&'a str, &'a str)]) -> Self {
        Self { majors, ..self }
    }

    /// What it costs in each tier. None at all are always there.
    pub const fn tokens(self, tokens: u64) -> Self {
        Self { tokens, ..self }
    }

    /// Its class among those who wait.
    pub const fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    pub(super) fn major(&self, name: &str) -> Option<&'a str> {
        self.majors.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}
