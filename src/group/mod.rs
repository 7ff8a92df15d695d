//! L5. Work that belongs together: groups of tasks, and the same work for each of many items.
//!
//! | | runs | may borrow |
//! |---|---|---|
//! | [`TaskGroup`] | each member as a task, on an executor or a pool | no |
//! | [`InPlaceGroup`] | inside whoever waits for the group | yes |
//! | [`par_map`] and its kin | by a task for each worker | no |
//!
//! | operation | allocations |
//! |---|---|
//! | a member of a [`TaskGroup`] on an executor | 1, for the task |
//! | a member of an [`InPlaceGroup`] | none, where one before it has left its place; else 2 |
//! | an item of a [`FanOut`] | none in the steady state |

#![forbid(unsafe_code)]

#[cfg(feature = "testkit")]
mod at_rest;
mod error;
mod fan_out;
mod home;
mod in_place;
mod settings;
mod shared;
mod spawned;
mod stats;

pub use error::{GroupError, MemberError, Outcome, SpawnError};
pub use fan_out::{
    Always, Fallible, FanOut, ParOrdered, ParUnordered, Placed, Plain, Progress, Report, Work, par_for_each,
    par_map, par_map_stream, try_par_map, try_par_map_stream,
};
pub use in_place::InPlaceGroup;
pub use spawned::TaskGroup;
pub use stats::GroupStats;
