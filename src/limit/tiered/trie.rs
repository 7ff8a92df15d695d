//! The patterns of all routes, compiled: which one is a request's.
//!
//! A tree by segments, walked depth first in the order of specificity, so that the first route found is the most specific
//! one. Each node is visited at most once, whatever the path is: a request can cost no more than the configuration has
//! segments. Nothing is allocated.

use super::path::{Segments, segments};
use super::route::{Pattern, Segment};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// The number of a route.
pub(super) type RouteId = usize;

#[derive(Debug, Default)]
pub(super) struct Trie {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node, FixedState>,
    one: Option<Box<Node>>,
    /// What ends here.
    end: Ends,
    /// What takes all the rest.
    rest: Ends,
}

/// Routes of one shape, by method.
#[derive(Debug, Default)]
struct Ends {
    methods: Vec<(Box<str>, RouteId)>,
    any: Option<RouteId>,
}

impl Trie {
    /// Adds a route.
    ///
    /// # Errors
    /// The route that is there already and is not to be told from this one.
    pub(super) fn insert(&mut self, pattern: &Pattern<'_>, route: RouteId) -> Result<(), RouteId> {
        let mut node = &mut self.root;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry_ref(*text).or_default(),
                Segment::One(_) => node.one.get_or_insert_default(),
            };
        }
        let ends = if pattern.rest { &mut node.rest } else { &mut node.end };
        ends.insert(pattern.method, route)
    }

    /// The most specific route that matches.
    pub(super) fn find(&self, method: &str, path: &str) -> Option<RouteId> {
        self.root.find(method, segments(path))
    }
}

impl Node {
    // As deep as the deepest pattern, which is bounded.
    fn find(&self, method: &str, mut path: Segments<'_>) -> Option<RouteId> {
        let deeper = match path.next() {
            None => self.end.find(method),
            Some(segment) => {
                let literal = self.literals.get(segment).and_then(|node| node.find(method, path));
                literal.or_else(|| self.one.as_ref().and_then(|node| node.find(method, path)))
            }
        };
        deeper.or_else(|| self.rest.find(method))
    }
}

impl Ends {
    fn insert(&mut self, method: Option<&str>, route: RouteId) -> Result<(), RouteId> {
        let known = match method {
            Some(method) => self.of_method(method),
            None => self.any,
        };
        match (known, method) {
            (Some(known), _) => return Err(known),
            (None, Some(method)) => self.methods.push((method.into(), route)),
            (None, None) => self.any = Some(route),
        }
        Ok(())
    }

    fn find(&self, method: &str) -> Option<RouteId> {
        self.of_method(method).or(self.any)
    }

    fn of_method(&self, method: &str) -> Option<RouteId> {
        let same = |known: &str| known == method || known.eq_ignore_ascii_case(method);
        let of_method = self.methods.iter().find(|(known, _)| same(known));
        of_method.map(|(_, route)| *route)
    }
}
