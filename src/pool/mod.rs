//! L5. The worker pool.

mod builder;
mod error;
mod handle;
mod slot;
mod worker;

pub use builder::*;
pub use error::*;
pub use handle::*;
pub use worker::*;
