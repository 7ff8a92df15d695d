//! Windows of time, and three ways to count in them: apart, blended, and one by one.

mod counter;
mod fixed;
mod log;

pub use counter::{CounterState, SlidingCounter, SlidingWindow};
pub use fixed::{Fixed, FixedState, FixedWindow};
pub use log::{LogState, SlidingLog, SlidingWindowLog};

use crate::ConfigError;
use crate::limit::limiter::WORD_BITS;
use std::num::NonZeroU64;
use std::time::Duration;

/// The length of a window in nanoseconds.
fn length(component: &'static str, window: Duration) -> Result<NonZeroU64, ConfigError> {
    let refuse = |rule| Err(ConfigError::new(component, "window", format_args!("{window:?}"), rule));
    match u64::try_from(window.as_nanos()).map(NonZeroU64::new) {
        Ok(Some(nanos)) => Ok(nanos),
        Ok(None) => refuse("must be longer than zero"),
        Err(_) => refuse("must be under 584 years"),
    }
}

/// Windows of one length, edge to edge, numbered from the one that holds the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edges {
    length: NonZeroU64,
    /// How far into its window the epoch is; less than the length.
    phase: u64,
}

impl Edges {
    const fn new(length: NonZeroU64) -> Self {
        Self { length, phase: 0 }
    }

    /// With the epoch so far into a window.
    fn with_phase(self, into: u128) -> Self {
        let phase = into % u128::from(self.length.get());
        Self { phase: u64::try_from(phase).unwrap_or(0), ..self }
    }

    /// The window that holds `now`, and how far into it that is.
    fn locate(self, now: u64) -> (u64, u64) {
        let length = self.length;
        match now.checked_add(self.phase) {
            Some(since) => (since / length, since % length),
            None => {
                // With a phase the length is above 1, so the number fits.
                let since = u128::from(now) + u128::from(self.phase);
                let (number, into) = (since / u128::from(length.get()), since % u128::from(length.get()));
                (u64::try_from(number).unwrap_or(u64::MAX), u64::try_from(into).unwrap_or(0))
            }
        }
    }

    /// `into` a window, in nanoseconds since the epoch, or since before it if the window begins there.
    fn instant(self, number: u64, into: u64) -> u128 {
        let since = u128::from(number) * u128::from(self.length.get()) + u128::from(into);
        since.saturating_sub(u128::from(self.phase))
    }

    /// The beginning of a window; `u64::MAX` past the end of time.
    fn start(self, number: u64) -> u64 {
        nanos(self.instant(number, 0))
    }

    /// For how many nanoseconds from any base the number of a window, counted from the one that holds the base, fits into so
    /// many bits; 0 if no instant of the last one and the two behind it should be added to.
    fn span(self, bits: u32) -> u64 {
        let windows = 1u128 << bits.min(WORD_BITS);
        let length = u128::from(self.length.get());
        match windows.checked_sub(2) {
            Some(windows) if windows > 0 && length < 1 << 60 => nanos((windows * length).min(1 << 61)),
            _ => 0,
        }
    }

    /// Whether the number of a window, so counted, fits into so many bits, and the instants of that window and of the next
    /// two into 64.
    fn fits(self, number: u64, bits: u32) -> bool {
        let last = number.saturating_add(3);
        number >> bits.min(WORD_BITS) == 0 && last.checked_mul(self.length.get()).is_some()
    }

    fn duration(self) -> Duration {
        Duration::from_nanos(self.length.get())
    }
}

/// An instant, or `u64::MAX` past the end of time.
fn nanos(instant: u128) -> u64 {
    u64::try_from(instant).unwrap_or(u64::MAX)
}

/// How many bits numbers up to this need.
const fn bits(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}
