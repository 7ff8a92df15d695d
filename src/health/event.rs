//! What a registry of checks tells.

use super::Status;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What has happened to the health of a service. Observers see each once, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthEvent {
    /// A check has another status than before.
    #[non_exhaustive]
    Changed {
        /// Its name.
        check: Arc<str>,
        /// Whether it is critical.
        critical: bool,
        /// What it was; nothing before its first status.
        from: Option<Status>,
        /// What it is.
        to: Status,
        /// Why.
        reason: Option<String>,
        /// When.
        at: Instant,
    },
    /// The whole has another status than before.
    #[non_exhaustive]
    OverallChanged {
        /// What it was.
        from: Status,
        /// What it is.
        to: Status,
        /// When.
        at: Instant,
    },
    /// A recovery has been tried.
    #[non_exhaustive]
    RecoveryEnded {
        /// The check that fails.
        check: Arc<str>,
        /// Which attempt it was since the check worked last, from 1.
        attempt: u32,
        /// What was wrong with the recovery, if something was. (Whether it has helped, the check says.)
        error: Option<String>,
        /// How long it took.
        took: Duration,
    },
}
