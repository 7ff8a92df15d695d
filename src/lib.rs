#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod panics;
mod shim;
mod wait;

pub use error::ConfigError;

pub mod observe;
pub mod sync;
pub mod task;
pub mod time;

#[cfg(feature = "group")]
pub mod group;
#[cfg(feature = "health")]
pub mod health;
#[cfg(feature = "limit")]
pub mod limit;
#[cfg(all(doc, feature = "resilience", feature = "pool", feature = "quanta"))]
#[doc = include_str!("migration.md")]
pub mod migration {}
#[cfg(feature = "parallel")]
pub mod parallel;
#[cfg(feature = "pool")]
pub mod pool;
#[cfg(feature = "resilience")]
pub mod resilience;
#[cfg(feature = "stream")]
pub mod stream;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(feature = "tower")]
pub mod tower;
