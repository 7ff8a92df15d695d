//! L3. Primitives that wait.

mod cancel;
mod channel;
pub(crate) mod context;
mod counters;
mod gate;
pub mod oneshot;
mod ring;
mod semaphore;

pub use cancel::*;
pub use channel::*;
pub use context::*;
pub use counters::*;
pub use gate::*;
pub use semaphore::*;
