//! L5. Work that belongs together: groups of tasks, and the same work for each of many items.
//!
//! | | runs | may borrow |
//! |---|---|---|
//! | [`TaskGroup`] | each member as a task, on an executor or a pool | no |
//! | [`InPlaceGroup`] | inside whoever waits for the group | yes |
//!
//! | operation | allocations |
//! |---|---|
//! | a member of a [`TaskGroup`] on an executor | 1, for the task |
//! | a member of an [`InPlaceGroup`] | none, where one before it has left its place; else 2 |

#![forbid(unsafe_code)]

mod error;
mod home;
mod in_place;
mod settings;
mod shared;
mod spawned;
mod stats;

pub use error::{GroupError, MemberError, Outcome, SpawnError};
pub use in_place::InPlaceGroup;
pub use spawned::TaskGroup;
pub use stats::GroupStats;
