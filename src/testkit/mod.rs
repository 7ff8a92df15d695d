//! Virtual time and instruments for tests, ours and yours.
//!
//! | to test | take |
//! |---|---|
//! | what one future does at one instant | [`Polled`], [`ManualClock`] |
//! | who is woken, and how often | [`WakeCounter`] |
//! | several tasks, timeouts, orders of events | [`Sim`], over many seeds |
//! | that a cancelled future leaks nothing | [`drop_at_every_await`], [`drop_at_every_await_in_sim`] |
//! | that a test has left nothing behind: permits, waiters, tasks, timers | [`LeakCheck`] |
//!
//! None of them sleeps: an hour of virtual time takes no longer than the polls in it. Everything that this crate offers
//! takes its time from a [`Clock`](crate::time::Clock), so a service that hands one down is tested by handing down
//! [`Sim::clock`]. A component that is built without `.clock(sim.clock())` reads the system's clock: its timers know
//! nothing of virtual time, and a world in which all that is left waits for one ends its run as in a deadlock.
//!
//! ```
//! use cofferdam::sync::Semaphore;
//! use cofferdam::testkit::Sim;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! // Ten requests of 100 ms through three permits take 400 ms, whatever the order in which they run.
//! Sim::for_seeds(0..50, |sim| {
//!     let permits = Arc::new(Semaphore::new(3));
//!     let requests: Vec<_> = (0..10)
//!         .map(|request| {
//!             let (permits, clock) = (permits.clone(), sim.clock());
//!             sim.spawn(format!("request {request}"), async move {
//!                 let _permit = permits.acquire().await?;
//!                 clock.sleep(Duration::from_millis(100)).await;
//!                 Ok::<(), cofferdam::sync::AcquireError>(())
//!             })
//!         })
//!         .collect();
//!     sim.run(async {
//!         for request in requests {
//!             request.await.unwrap();
//!         }
//!     });
//!     assert_eq!(sim.time().elapsed(), Duration::from_millis(400));
//! });
//! ```

#![forbid(unsafe_code)]

mod clock;
mod drops;
mod rest;
mod sim;
mod waker;

pub use clock::*;
pub use drops::*;
pub use rest::*;
pub use sim::*;
pub use waker::*;
