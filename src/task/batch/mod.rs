//! What is common to all that does the same work for each of many items.

#![forbid(unsafe_code)]

mod finished;
mod items;
mod outcome;

pub(crate) use finished::{AsTheyCome, Finished, InOrder};
pub use items::Items;
pub use outcome::{Ended, ItemError};
