//! A timer for a time of the backlog.

use super::Managed;
use crate::panics::contain;
use crate::time::Sleep;
use std::pin::Pin;
use std::task::Context;

/// The timer of who looks at the backlog at some time, if nobody wakes it before.
#[derive(Default)]
pub(in crate::pool) struct Alarm(Option<(u64, Sleep)>);

impl Alarm {
    pub(in crate::pool) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// Sets it for that time, or for none.
    pub(in crate::pool) fn set(&mut self, until: Option<u64>, managed: &Managed) {
        if self.0.as_ref().map(|(at, _)| *at) == until {
            return;
        }
        let clock = managed.epoch().clock();
        let arm = |at| managed.instant(at).map_or_else(Sleep::never, |at| clock.sleep_until(at));
        let old = std::mem::replace(&mut self.0, until.map(|at| (at, arm(at))));
        // Timers may be the user's.
        contain(|| drop(old));
    }

    /// Whether it has gone off, and is not set any more; if it is, it wakes the task then.
    pub(in crate::pool) fn has_gone_off(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((_, sleep)) = &mut self.0 else { return false };
        let fired = Pin::new(sleep).poll(cx).is_ready();
        if fired {
            self.0 = None;
        }
        fired
    }
}
