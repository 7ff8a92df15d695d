//! What several quotas remember: an arrival time for each.

use std::fmt;

/// How many are kept inline.
const INLINE: usize = 4;

/// The arrival time of each quota.
#[derive(Clone, PartialEq, Eq)]
pub struct SeveralState {
    times: Times,
}

#[derive(Clone, PartialEq, Eq)]
enum Times {
    Few(u8, [u128; INLINE]),
    Many(Box<[u128]>),
}

impl SeveralState {
    pub(super) fn new(times: impl ExactSizeIterator<Item = u128>) -> Self {
        let count = times.len();
        if count > INLINE {
            return Self { times: Times::Many(times.collect()) };
        }
        let mut few = [0; INLINE];
        for (to, from) in few.iter_mut().zip(times) {
            *to = from;
        }
        Self { times: Times::Few(count as u8, few) }
    }

    pub(super) fn times(&self) -> &[u128] {
        match &self.times {
            Times::Few(count, times) => times.get(..usize::from(*count)).unwrap_or(times),
            Times::Many(times) => times,
        }
    }

    /// Changes every time by what belongs to it, or none if `change` does not want to.
    #[inline]
    pub(super) fn change_all<T>(&mut self, of: &[T], change: impl Fn(&T, u128) -> Option<u128>) -> bool {
        match &mut self.times {
            Times::Few(_, times) => {
                let mut next = *times;
                for (of, time) in of.iter().zip(&mut next) {
                    let Some(changed) = change(of, *time) else { return false };
                    *time = changed;
                }
                *times = next;
            }
            // Asked twice, which is cheaper than another box.
            Times::Many(times) => {
                if of.iter().zip(&**times).any(|(of, time)| change(of, *time).is_none()) {
                    return false;
                }
                for (of, time) in of.iter().zip(&mut **times) {
                    *time = change(of, *time).unwrap_or(*time);
                }
            }
        }
        true
    }

    pub(super) fn times_mut(&mut self) -> &mut [u128] {
        match &mut self.times {
            Times::Few(count, times) => {
                let count = usize::from(*count).min(INLINE);
                times.split_at_mut(count).0
            }
            Times::Many(times) => times,
        }
    }
}

impl fmt::Debug for SeveralState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.times()).finish()
    }
}
