//! An instant as a number.
//!
//! The standard library tells the difference of two instants only by a call with its operands in memory, which takes a tenth of the
//! time that reading the clock takes. But to a hasher an instant says what it is made of: whole seconds, and nanoseconds. That
//! it does is not promised, so it is [found out](start) for the first instant of each component, and where it is otherwise,
//! differences are taken as they are elsewhere.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// What was written to it, as a number of nanoseconds.
#[derive(Default)]
struct Parts {
    seconds: u64,
    nanos: u32,
    /// As many as were expected, and nothing else.
    seconds_seen: u8,
    nanos_seen: u8,
    others_seen: bool,
}

impl Hasher for Parts {
    fn write(&mut self, _: &[u8]) {
        self.others_seen = true;
    }

    #[inline(always)]
    fn write_u32(&mut self, nanos: u32) {
        self.nanos = nanos;
        self.nanos_seen = self.nanos_seen.saturating_add(1);
    }

    #[inline(always)]
    fn write_u64(&mut self, seconds: u64) {
        self.seconds = seconds;
        self.seconds_seen = self.seconds_seen.saturating_add(1);
    }

    #[inline(always)]
    fn write_i64(&mut self, seconds: i64) {
        self.write_u64(seconds as u64);
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        self.seconds.wrapping_mul(1_000_000_000).wrapping_add(self.nanos.into())
    }
}

#[inline(always)]
fn parts(instant: &impl Hash) -> Parts {
    let mut parts = Parts::default();
    instant.hash(&mut parts);
    parts
}

/// Numbers from here on are not made: so none overflows, nor does the sum of a number and a step of years.
const LAST: u64 = u64::MAX / 1_000_000_000 / 2;

/// An instant as a number of nanoseconds, if there was a [`start`] for its kind; `None` before the first number and after the last.
#[inline(always)]
pub(super) fn number(instant: &impl Hash) -> Option<u64> {
    let parts = parts(instant);
    (parts.seconds < LAST).then(|| parts.finish())
}

/// The number of the instant from which is counted; `None` if instants are not such as can be read.
pub(super) fn start<T: Hash>(instant: &T, later: impl Fn(&T, Duration) -> Option<T>) -> Option<u64> {
    let read = |instant: &T| {
        let parts = parts(instant);
        let is_known = (parts.seconds_seen, parts.nanos_seen, parts.others_seen) == (1, 1, false);
        number(instant).filter(|_| is_known)
    };
    let start = read(instant)?;
    // The next nanosecond, the next second, and far from here.
    let steps = [(0, 1), (0, 999_999_999), (1, 0), (3, 700_000_000), (1_000_000_007, 1)];
    let is_linear = steps.into_iter().all(|(seconds, nanos)| {
        let step = Duration::new(seconds, nanos);
        let number = later(instant, step).as_ref().and_then(read);
        number.is_some_and(|number| u128::from(number.wrapping_sub(start)) == step.as_nanos())
    });
    is_linear.then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn instants_of_the_standard_library_are_read() {
        let now = super::super::system::now();
        let start = start(&now, |at: &Instant, step| at.checked_add(step))
            .expect("read as it was when this was written");
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..10_000 {
            let step = Duration::from_nanos(random.u64(..1 << 62) >> random.u32(0..62));
            assert_eq!(number(&(now + step)).map(|number| u128::from(number - start)), Some(step.as_nanos()));
        }
    }

    #[test]
    fn what_is_made_of_anything_else_is_not_read() {
        let of = |hash: fn(&Duration) -> Made| {
            start(&hash(&Duration::new(7, 8)), |at, step| Some(hash(&(at.at + step))))
        };
        let plain = |at: &Duration| Made {
            at: *at,
            parts: vec![Part::Long(at.as_secs()), Part::Short(at.subsec_nanos())],
        };
        assert_eq!(of(plain), Some(7_000_000_008));
        let others: [fn(&Duration) -> Made; 5] = [
            |at| Made { at: *at, parts: vec![Part::Long(at.as_nanos() as u64)] },
            |at| Made { at: *at, parts: vec![Part::Long(at.as_secs()), Part::Short(at.subsec_micros())] },
            |at| Made { at: *at, parts: vec![Part::Long(!at.as_secs()), Part::Short(at.subsec_nanos())] },
            |at| Made {
                at: *at,
                parts: vec![Part::Long(1), Part::Long(at.as_secs()), Part::Short(at.subsec_nanos())],
            },
            |at| Made {
                at: *at,
                parts: vec![Part::Long(at.as_secs()), Part::Short(at.subsec_nanos()), Part::Byte],
            },
        ];
        for (place, other) in others.into_iter().enumerate() {
            assert_eq!(of(other), None, "{place}");
        }
    }

    enum Part {
        Long(u64),
        Short(u32),
        Byte,
    }

    struct Made {
        at: Duration,
        parts: Vec<Part>,
    }

    impl Hash for Made {
        fn hash<H: Hasher>(&self, state: &mut H) {
            for part in &self.parts {
                match part {
                    Part::Long(long) => state.write_u64(*long),
                    Part::Short(short) => state.write_u32(*short),
                    Part::Byte => state.write_u8(1),
                }
            }
        }
    }
}
