//! For calls to a service.

use crate::resilience::breaker::Window;
use crate::resilience::config::{
    BackoffSettings, BreakerSettings, BudgetSettings, BulkheadSettings, RetrySettings, StackSettings,
};
use std::time::Duration;

/// Settings for calls to a service by somebody who waits for the answer: a page, a request of one's own.
///
/// | setting | value | why |
/// |---|---|---|
/// | `total_timeout` | 30 s | as Polly's standard handler; after that nobody who waits is still there |
/// | `retry.max_attempts` | 3 | "up to three attempts" (SRE, 21), as the AWS SDKs: what fails three times fails for a reason that a fourth does not remove |
/// | `retry.backoff` | 100 ms, doubling, at most 2 s, full jitter | short beside the attempts, since somebody waits; jitter spreads those who failed together (Brooker) |
/// | `retry.budget` | a tenth of the calls of 10 s, and 10 a second in any case | a tenth (SRE, 21) holds the load of a callee in trouble to 1.1 times the usual, where three attempts make it 3 times; the floor lets small clients retry at all (Finagle) |
/// | `retry.server_delay_cap` | 10 s | who is sent away for longer has no time left |
/// | `breaker.failure_rate` | 0.5 | half (Hystrix, resilience4j). A callee that is broken for a few calls is worth calling for the rest; a tenth, as Polly has it, cuts off those, too |
/// | `breaker.window`, `.minimum_calls` | 30 s, 20 | Polly's window, Hystrix' minimum: fewer say little about a share |
/// | `breaker.failure_threshold` | 10 | a callee that is gone is seen by clients that make fewer calls, too |
/// | `breaker.slow_call`, `.slow_rate` | 5 s, 0.8 | half of the limit: a callee that needs that for most calls is overloaded, and every call to it costs us a place |
/// | `breaker.count_cancelled_slow` | yes | calls that the total timeout ends, or whose caller goes away, are evidence, too, once they are slow |
/// | `breaker.recovery_time`, `.recovery_growth`, `.recovery_cap` | 5 s, 2, 60 s | 5 s (Hystrix, Polly) is a short outage; one that lasts is asked less and less often |
/// | `bulkhead.running` | 100 | of a thousand calls a second that take 100 ms each, so many run at once (Little's law); a callee that hangs takes 100 tasks, and not all |
/// | `bulkhead.queue`, `.wait_limit` | 50, 1 s | half of the places (SRE, 22): takes up a burst, and does not stand |
/// | `attempt_timeout` | 10 s | as Polly's; better: the 99.9th percentile of what the callee needs (Brooker) |
///
/// Whoever shortens `attempt_timeout` to less than `breaker.slow_call` should shorten that, too: no call lives to be slow
/// then, and it is the failure rate alone that sees them.
///
/// The operation is made anew for each attempt, and should be harmless when repeated. One that is not wants `retry(None)`.
///
/// ```
/// use cofferdam::resilience::presets;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stack = presets::standard_client("inventory").attempt_timeout(Duration::from_secs(6)).build()?;
/// # Ok(())
/// # }
/// ```
pub fn standard_client(name: impl Into<String>) -> StackSettings {
    let retry = RetrySettings {
        max_attempts: 3,
        backoff: BackoffSettings {
            base: Duration::from_millis(100),
            cap: Some(Duration::from_secs(2)),
            ..BackoffSettings::default()
        },
        budget: Some(BudgetSettings::Ratio {
            ratio: 0.1,
            window: Duration::from_secs(10),
            min_per_second: 10.0,
        }),
        server_delay_cap: Duration::from_secs(10),
        ..RetrySettings::default()
    };

    let breaker = BreakerSettings {
        window: Some(Window::time(Duration::from_secs(30))),
        minimum_calls: Some(20),
        failure_rate: Some(0.5),
        failure_threshold: Some(10),
        slow_call: Some(Duration::from_secs(5)),
        slow_rate: Some(0.8),
        count_cancelled_slow: true,
        recovery_time: Duration::from_secs(5),
        recovery_growth: 2.0,
        recovery_cap: Some(Duration::from_secs(60)),
        ..BreakerSettings::default()
    };

    let mut bulkhead = BulkheadSettings::new(100);
    bulkhead.queue = 50;
    bulkhead.wait_limit = Some(Duration::from_secs(1));

    StackSettings::default()
        .name(name)
        .total_timeout(Duration::from_secs(30))
        .retry(retry)
        .breaker(breaker)
        .bulkhead(bulkhead)
        .attempt_timeout(Duration::from_secs(10))
}
