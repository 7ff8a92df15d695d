//! The tiers, and which of their settings a bucket goes by.

use super::trie::RouteId;
use std::fmt;

/// How many tiers there are.
pub(super) const TIERS: usize = 5;

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// Everything.
    Global,
    /// A route, by its major parameters.
    Route,
    /// A resource; also the sub-resource or the user that stands for it where resources are
    /// [one tier](super::ResourceTiers::First).
    Resource,
    /// A part of a resource.
    SubResource,
    /// A user.
    User,
}

impl Tier {
    /// All of them, the widest first.
    pub const ALL: [Self; TIERS] = [Self::Global, Self::Route, Self::Resource, Self::SubResource, Self::User];

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Route => "route",
            Self::Resource => "resource",
            Self::SubResource => "sub-resource",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whose quota a bucket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The default of its tier.
    Default(Tier),
    /// That of a route with a pattern.
    Route(RouteId),
}
