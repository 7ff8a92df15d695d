//! What keyed limiters and maps tell of themselves.

use crate::limit::Decided;
use std::time::Duration;

/// How things stand with a [`Keyed`](super::Keyed) limiter, and what it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStats {
    /// Keys that are remembered, and places of keys about to be.
    pub keys: usize,
    /// The most that there may be.
    pub capacity: usize,
    /// Keys with a limit of their own.
    pub overrides: usize,
    /// Requests admitted on the spot; and denied by the limit of their key, on the spot or while they waited.
    pub decided: Decided,
    /// Keys that came.
    pub inserted: u64,
    /// Keys forgotten when they were idle.
    pub expired: u64,
    /// Keys forgotten before they were.
    pub evicted: u64,
    /// Keys removed by hand.
    pub removed: u64,
    /// Requests waiting now, for all keys.
    pub waiting: usize,
    /// Requests that waited and got their tokens.
    pub granted: u64,
    /// Waits and grants that were given up before use.
    pub cancelled: u64,
    /// Requests refused for want of room.
    pub rejected: u64,
}

/// How one key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyState {
    /// What could be taken.
    pub available: u64,
    /// After how long it is idle if it is not used; `None` for never.
    pub idle_in: Option<Duration>,
    /// Whether it has a limit of its own.
    pub overridden: bool,
}

/// How things stand with a [`KeyedMap`](super::KeyedMap), and what it has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedMapStats {
    /// Values that are there or being made.
    pub keys: usize,
    /// The most that there may be.
    pub capacity: usize,
    /// Values that were made.
    pub created: u64,
    /// Values forgotten when they were idle.
    pub expired: u64,
    /// Values removed by hand.
    pub removed: u64,
    /// Requests refused for want of room.
    pub rejected: u64,
}
