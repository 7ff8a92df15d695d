//! For work for which nobody waits.

use crate::resilience::config::{
    BackoffSettings, BreakerSettings, BudgetSettings, BulkheadSettings, RetrySettings, StackSettings,
};
use std::time::Duration;

/// Settings for work for which nobody waits, and which has to be done in the end: an upload, a mail, an entry in another
/// system. It spares the callee, and outlives an outage of a quarter of an hour.
///
/// | setting | value | why |
/// |---|---|---|
/// | `retry.max_attempts` | 15 | with these delays, an outage of a quarter of an hour on average, of 33 minutes at most |
/// | `retry.backoff` | 1 s, doubling, at most 5 min, full jitter | those who come for the user's sake come first; jobs that an outage has stopped come back spread over minutes (Brooker) |
/// | `retry.max_duration` | 1 h | waits for breaker and callee counted: then the queue or the schedule that the job is from had better have it back |
/// | `retry.budget` | a fifth of the jobs of a minute, and one a second in any case | a callee that comes back is not met by all that has piled up. A job without a retry to be had fails at once; its queue has it again later |
/// | `retry.server_delay_cap` | 10 min | there is time to do as one is told |
/// | `retry.wait_for_breaker` | yes | an open circuit is a reason to wait, not to give up |
/// | `breaker` | 10 failures in a row, 60 s, 5 trials, 3 successes | [conservative](crate::resilience::CircuitBreaker::conservative): jobs are few, and a rate would have to wait for them |
/// | `breaker.recovery_growth`, `.recovery_cap` | 2, 10 min | no hurry |
/// | `bulkhead.running`, `.queue` | 8, 1000 | jobs leave the callee to those who wait; they themselves can wait |
/// | `attempt_timeout` | 5 min | long enough for a large job, short enough that one that hangs is tried again |
///
/// There is no total timeout. A place in the bulkhead is not held between attempts.
///
/// ```
/// use cofferdam::resilience::presets;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # futures_executor::block_on(async {
/// let stack = presets::background_job("invoices").build()?;
/// stack.call(|| async { Ok::<_, std::io::Error>(()) }).await?;
/// # Ok(())
/// # })
/// # }
/// ```
pub fn background_job(name: impl Into<String>) -> StackSettings {
    let retry = RetrySettings {
        max_attempts: 15,
        backoff: BackoffSettings {
            base: Duration::from_secs(1),
            cap: Some(Duration::from_secs(300)),
            ..BackoffSettings::default()
        },
        max_duration: Some(Duration::from_secs(3600)),
        budget: Some(BudgetSettings::Ratio {
            ratio: 0.2,
            window: Duration::from_secs(60),
            min_per_second: 1.0,
        }),
        server_delay_cap: Duration::from_secs(600),
        wait_for_breaker: true,
        ..RetrySettings::default()
    };

    let breaker = BreakerSettings {
        failure_threshold: Some(10),
        recovery_time: Duration::from_secs(60),
        recovery_growth: 2.0,
        recovery_cap: Some(Duration::from_secs(600)),
        half_open_requests: 5,
        success_threshold: Some(3),
        ..BreakerSettings::default()
    };

    let mut bulkhead = BulkheadSettings::new(8);
    bulkhead.queue = 1000;

    StackSettings::default()
        .name(name)
        .retry(retry)
        .breaker(breaker)
        .bulkhead(bulkhead)
        .attempt_timeout(Duration::from_secs(300))
}
