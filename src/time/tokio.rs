//! The tokio runtime's time.

use super::{Sleep, Timer};
use std::time::Instant;
use tokio::runtime::{Handle, TryCurrentError};

/// Follows `tokio::time`, so also `tokio::time::pause` and `advance`.
pub(super) struct TokioTimer {
    runtime: Handle,
}

impl TokioTimer {
    pub(super) fn current() -> Result<Self, TryCurrentError> {
        Handle::try_current().map(|runtime| Self { runtime })
    }
}

impl Timer for TokioTimer {
    fn now(&self) -> Instant {
        let _context = self.runtime.enter();
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Sleep {
        let _context = self.runtime.enter();
        Sleep::new(tokio::time::sleep_until(tokio::time::Instant::from_std(deadline)))
    }
}
