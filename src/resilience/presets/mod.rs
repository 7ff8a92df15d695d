//! Settings to begin with, for the four kinds of calls that most programs have.
//!
//! | preset | for | layers, outermost first |
//! |---|---|---|
//! | [`standard_client`] | calls to a service, by somebody who waits | timeout > retry > breaker > bulkhead > timeout |
//! | [`hedged_client`] | the same, where a call may be made twice | timeout > retry > hedge > breaker > bulkhead > timeout |
//! | [`server`] | requests that come in | timeout > bulkhead |
//! | [`background_job`] | work for which nobody waits | retry > breaker > bulkhead > timeout |
//!
//! A preset is a value of [`StackSettings`](super::config::StackSettings): change what does not suit, and build it. It is no
//! other than what a configuration file makes, so it can be written to one, checked, and
//! [reloaded](super::config::Reloadable).
//!
//! ```
//! use cofferdam::resilience::presets;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # futures_executor::block_on(async {
//! let mut settings = presets::standard_client("inventory")
//!     .total_timeout(Duration::from_secs(5))
//!     .attempt_timeout(Duration::from_secs(2));
//! if let Some(retry) = &mut settings.retry {
//!     retry.max_attempts = 2;
//! }
//! let stack = settings.build()?;
//! assert_eq!(stack.lint(), []);
//! let stock = stack.call(|| async { Ok::<_, std::io::Error>(7) }).await?;
//! assert_eq!(stock, 7);
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # How far to trust the numbers
//! They are what is published as working for many, and no more: what is said below of each is why it is not ten times
//! more or less. Two of them nobody can guess: how long a call to your callee may take, and how many it can take at once. Set
//! `attempt_timeout` and `bulkhead.running` from what you measure.
//!
//! # Sources
//! * B. Beyer et al. (eds.), *Site Reliability Engineering* (Google, 2016), chapters 21, "Handling Overload", and 22,
//!   "Addressing Cascading Failures".
//! * M. Brooker, "Timeouts, retries, and backoff with jitter", and D. Yanacek, "Using load shedding to avoid overload"
//!   (Amazon Builders' Library).
//! * The standard resilience and hedging handlers of `Microsoft.Extensions.Http.Resilience`, which are made of Polly.
//! * The defaults of Hystrix, resilience4j, Finagle's `RetryBudget` and the AWS SDKs.
//! * J. Dean and L. Barroso, "The Tail at Scale", CACM 56/2, 2013.
//! * B. Maurer, "Fail at Scale", ACM Queue 13/8, 2015.

mod background_job;
mod hedged_client;
mod server;
mod standard_client;

pub use background_job::background_job;
pub use hedged_client::hedged_client;
pub use server::server;
pub use standard_client::standard_client;
