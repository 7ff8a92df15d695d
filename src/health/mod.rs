//! L8. How a service is: its checks, its reports, and its end.
//!
//! | question | answer |
//! |---|---|
//! | is it alive, ready, started? | [`Health`]: checks by name, run by a [`Driver`] or on demand; a [`Report`] as JSON, with the status code that goes with it |
//! | is this component well? | [`Check::of`] it, if it is [`Healthy`]: breakers, pools, semaphores, limiters, bulkheads are |
//! | do its calls go well? | a [`CallsRule`] |
//! | is it as it used to be? | a [`Baseline`] |
//! | what does it take of its machine? | [`Resources`], and a check with [`ResourceLimits`] |
//! | how does it end? | a [`GracefulShutdown`]: phase by phase, each with its limit |
//!
//! # A handler
//! In any framework, for a probe of readiness:
//!
//! ```
//! use cofferdam::health::{Check, Health};
//!
//! # fn answer(status: u16, body: String) {}
//! # fn main() -> Result<(), cofferdam::ConfigError> {
//! let health = Health::new();
//! health.add(Check::new("database", || async { Ok::<(), String>(()) }))?;
//! // Give `health.run()` to your executor.
//!
//! let handler = || {
//!     let report = health.readiness();
//!     answer(report.http_status(), report.to_json())
//! };
//! # handler();
//! # Ok(())
//! # }
//! ```
//!
//! # Which check belongs to which probe
//! A process that is not *alive* is killed and started anew. So its liveness must depend on nothing but itself: were it to depend
//! on a database, a database that is down would have all of its clients killed. A check therefore is one of *readiness*, unless
//! it is told otherwise; who is not ready gets no requests until it is.

#![forbid(unsafe_code)]

mod baseline;
mod baton;
mod calls;
mod check;
mod component;
mod course;
mod crowd;
mod driver;
mod event;
mod flight;
mod registry;
mod report;
mod resources;
mod shutdown;
mod state;
mod status;

pub use baseline::{Baseline, BaselineBuilder, BaselineStats};
pub use calls::CallsRule;
pub use check::{Check, Kind};
pub use component::{Healthy, Reading};
pub use driver::Driver;
pub use event::HealthEvent;
pub use registry::{Health, HealthBuilder};
pub use report::{CheckReport, Report};
pub use resources::{ResourceLimits, Resources};
pub use shutdown::{
    GracefulShutdown, GracefulShutdownBuilder, Phase, ShutdownReport, StepOutcome, StepReport,
};
pub use status::{Finding, Status};
