//! One run of a check, by whoever comes first.

use super::Finding;
use super::check::{Probe, Recovery};
use super::crowd::{Work, told};
use super::state::{Item, Shared, Turn};
use crate::sync::Context;
use crate::task::Caught;
use crate::time::Deadline;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// A run that is under way. Dropped before it has landed it is given up, and somebody who waits for it begins anew.
struct Flight<'a> {
    shared: &'a Shared,
    item: &'a Item,
    number: u64,
    landed: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.shared.give_up(self.item, self.number);
        }
    }
}

/// Runs a check, or waits for the run that is under way.
pub(super) async fn run(shared: &Shared, item: &Item) {
    let number = loop {
        match shared.begin(item) {
            Turn::Gone => return,
            Turn::Ours(number) => break number,
            Turn::Theirs(wait, flying) => {
                // Until it is lost, and so ours.
                let waited = shared.clock.timeout_at(flying.lost.map_or(Deadline::NEVER, Deadline::at), wait);
                let _ = waited.await;
                if shared.has_landed(item, flying.flight) {
                    return;
                }
            }
        }
    };
    let mut flight = Flight { shared, item, number, landed: false };
    let began = shared.clock.now();
    let found = match &item.check.probe {
        Probe::Ask(ask) => contained(shared, item.check.timeout, ask).await,
        Probe::Read(read) => match crate::panics::contain(read) {
            Some(Some(finding)) => finding,
            None => Finding::unhealthy("panicked"),
            Some(None) => {
                drop(flight);
                shared.remove(|other| other.serial == item.serial);
                return;
            }
        },
    };
    let took = shared.clock.now().saturating_duration_since(began);
    flight.landed = true;
    shared.land(item, number, found, took);
}

/// What the work comes to within a limit. In no context: that of whoever asks may end, and is nothing to those who share the run. A panic of it is a finding, too: of the call that makes it, of its polls, and of its
/// drop.
async fn contained(shared: &Shared, limit: Duration, make: impl Fn() -> Work<Finding>) -> Finding {
    let context = Context::background().with_clock(shared.clock.clone());
    let mut work = pin!(Caught::new(context.scope(async { make().await })));
    match shared.clock.timeout(limit, work.as_mut()).await {
        Ok(Ok(finding)) => finding,
        Ok(Err(panic)) => Finding::unhealthy(told(&panic)),
        Err(_) => match work.end() {
            Ok(()) => Finding::unhealthy(format!("no answer within {limit:?}")),
            Err(panic) => {
                Finding::unhealthy(format!("no answer within {limit:?}, and dropped: {}", told(&panic)))
            }
        },
    }
}

/// What the driver does about a check that is due: a run, a recovery if that is called for, and then another run.
pub(super) async fn round(shared: Arc<Shared>, item: Arc<Item>) {
    run(&shared, &item).await;
    let Some(Recovery { action, timeout, .. }) = &item.check.recovery else { return };
    let Some(attempt) = shared.next_recovery(&item) else { return };
    let began = shared.clock.now();
    let finding = contained(&shared, *timeout, action).await;
    let took = shared.clock.now().saturating_duration_since(began);
    let worked = finding.status().is_working();
    shared.recovered(&item, attempt, finding, took);
    if worked {
        run(&shared, &item).await;
    }
}
