//! L2. Virtual time and instruments for tests, ours and yours.

#![forbid(unsafe_code)]

mod clock;
mod drops;
mod sim;
mod waker;

pub use clock::*;
pub use drops::*;
pub use sim::*;
pub use waker::*;
