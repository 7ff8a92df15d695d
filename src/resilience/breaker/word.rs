//! The packed state.

use super::State;

/// The whole state that a decision needs, in one atomic word.
///
/// | bits | in closed, metrics only | in half-open | in the other states |
/// |---|---|---|---|
/// | 0..3 | the state | the state | the state |
/// | 3..12 | consecutive failures | trials out | 0 |
/// | 12..21 | (of these 27 bits) | trials judged | 0 |
/// | 21..30 | | of these, successes | 0 |
/// | 30 | whether successes are noted | 1 | 1 in disabled; in forced closed as in closed; else 0 |
/// | 31 | in metrics only: whether the threshold of failures in a row has been told of | 0 | 0 |
/// | 32..64 | generation: one more with each change of state and each reset; wraps | | |
///
/// A guard has the word of its call with bits 3..32 cleared: as long as that equals the word, a success has nothing to
/// change. Bit 30 says that it is never so: the success of a trial always has, a disabled breaker counts none, and where there
/// is a window, every success goes into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

const STATE: u64 = 0b111;
const PAYLOAD: u32 = 3;
const JUDGED: u32 = 12;
const SUCCESSES: u32 = 21;
const TRIALS: u64 = (1 << 9) - 1;
const NOT_PLAIN: u64 = 1 << 30;
const TOLD: u64 = 1 << 31;
const GENERATION: u32 = 32;

/// The most failures in a row that are counted.
pub(super) const MAX_FAILURES: u32 = (1 << 27) - 1;
/// The most trials of one half-open phase.
pub(super) const MAX_TRIALS: u32 = TRIALS as u32;

/// The trials of a half-open phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trials {
    /// Let through and not yet judged.
    pub(super) out: u32,
    /// Judged.
    pub(super) judged: u32,
    /// Of the judged, how many succeeded.
    pub(super) successes: u32,
}

/// State and bit 30.
const fn code(state: State) -> u64 {
    match state {
        State::Closed => 0,
        State::MetricsOnly => 1,
        State::ForcedClosed => 2,
        State::Disabled => 3 | NOT_PLAIN,
        State::Open => 4,
        State::HalfOpen => 5 | NOT_PLAIN,
        State::ForcedOpen => 6,
        State::ShutDown => 7,
    }
}

/// State and bit 30, where the settings say whether successes are `noted`.
const fn start(state: State, noted: bool) -> u64 {
    let counts = matches!(state, State::Closed | State::MetricsOnly | State::ForcedClosed);
    if counts && noted { code(state) | NOT_PLAIN } else { code(state) }
}

impl Word {
    pub(super) const fn new(state: State, noted: bool) -> Self {
        Self(start(state, noted))
    }

    /// Of the generation, the number.
    #[inline]
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> GENERATION) as u32
    }

    /// Whether it is of a closed breaker, and of the generation in which the call was let through that has `ticket`.
    #[inline]
    pub(super) fn is_closed_as(self, ticket: Self) -> bool {
        self.is(State::Closed) && self.plain() == ticket
    }

    /// The same, or of one in metrics only.
    #[inline]
    pub(super) const fn judges_as(self, ticket: Self) -> bool {
        const { assert!(code(State::Closed) == 0 && code(State::MetricsOnly) == 1) };
        self.0 & STATE <= code(State::MetricsOnly) && self.plain().0 == ticket.0
    }

    /// The same of a closed breaker or one in metrics only whose settings changed.
    pub(super) const fn noting(self, noted: bool) -> Self {
        Self(self.0 & !NOT_PLAIN | start(self.state(), noted) & NOT_PLAIN)
    }

    pub(super) const fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Closed,
            1 => State::MetricsOnly,
            2 => State::ForcedClosed,
            3 => State::Disabled,
            4 => State::Open,
            5 => State::HalfOpen,
            6 => State::ForcedOpen,
            _ => State::ShutDown,
        }
    }

    /// Whether the state lets every call through.
    #[inline]
    pub(super) const fn lets_through(self) -> bool {
        self.0 & STATE < code(State::Open)
    }

    pub(super) const fn is(self, state: State) -> bool {
        self.0 & STATE == code(state) & STATE
    }

    pub(super) const fn same_generation(self, other: Self) -> bool {
        self.0 >> GENERATION == other.0 >> GENERATION
    }

    /// Which of the two due times belongs to this generation.
    pub(super) const fn parity(self) -> usize {
        (self.0 >> GENERATION & 1) as usize
    }

    /// The next generation, fresh, in `state`.
    pub(super) const fn next(self, state: State, noted: bool) -> Self {
        let generation = (self.0 >> GENERATION).wrapping_add(1) << GENERATION;
        Self(generation | start(state, noted))
    }

    /// State and generation: what the word of a closed breaker is as long as all goes well.
    #[inline]
    pub(super) const fn plain(self) -> Self {
        Self(self.0 >> GENERATION << GENERATION | self.0 & STATE)
    }

    pub(super) const fn failures(self) -> u32 {
        (self.0 >> PAYLOAD) as u32 & MAX_FAILURES
    }

    pub(super) const fn with_failures(self, failures: u32) -> Self {
        let failures = if failures > MAX_FAILURES { MAX_FAILURES } else { failures };
        Self(self.plain().0 | self.0 & NOT_PLAIN | (failures as u64) << PAYLOAD)
    }

    /// Whether it has been told that the failures in a row are too many.
    pub(super) const fn told(self) -> bool {
        self.0 & TOLD != 0
    }

    /// The same, told of (which another count of failures is not).
    pub(super) const fn telling(self) -> Self {
        Self(self.0 | TOLD)
    }

    pub(super) const fn trials(self) -> Trials {
        Trials {
            out: (self.0 >> PAYLOAD & TRIALS) as u32,
            judged: (self.0 >> JUDGED & TRIALS) as u32,
            successes: (self.0 >> SUCCESSES & TRIALS) as u32,
        }
    }

    pub(super) const fn with_trials(self, trials: Trials) -> Self {
        let Trials { out, judged, successes } = trials;
        let payload = (out as u64) << PAYLOAD | (judged as u64) << JUDGED | (successes as u64) << SUCCESSES;
        Self(self.plain().0 | payload | NOT_PLAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that let everything through first.
    const STATES: [State; 8] = [
        State::Closed,
        State::MetricsOnly,
        State::ForcedClosed,
        State::Disabled,
        State::Open,
        State::HalfOpen,
        State::ForcedOpen,
        State::ShutDown,
    ];

    #[test]
    fn fields_do_not_overlap() {
        for (state, noted) in STATES.into_iter().flat_map(|state| [(state, false), (state, true)]) {
            let mut word = Word::new(State::Closed, false);
            for _ in 0..5 {
                word = word.next(state, noted);
                assert_eq!(word.state(), state);
                assert!(STATES.iter().all(|other| word.is(*other) == (*other == state)));
                assert_eq!(word.lets_through(), STATES[..4].contains(&state));
                let trials = Trials { out: MAX_TRIALS, judged: 0, successes: MAX_TRIALS };
                let full = word.with_trials(trials);
                assert_eq!((full.trials(), full.state()), (trials, state));
                assert!(full.same_generation(word) && !full.same_generation(word.next(state, noted)));
                let none = word.with_trials(Trials { out: 0, judged: 0, successes: 0 });
                assert_ne!(none.plain(), none, "a trial's success has an effect");
                let full = word.with_failures(u32::MAX);
                assert_eq!((full.failures(), full.state()), (MAX_FAILURES, state));
                let judges = matches!(state, State::Closed | State::MetricsOnly | State::ForcedClosed);
                let attends = matches!(state, State::HalfOpen | State::Disabled) || judges && noted;
                let is_plain = !attends;
                assert_eq!((full.plain() == word, word.plain() == word), (is_plain, is_plain));
                assert_eq!(full.with_failures(0), word);
                let told = full.telling();
                assert_eq!(
                    (told.failures(), told.state(), told.plain()),
                    (MAX_FAILURES, state, full.plain())
                );
                assert!(told.told() && !full.told() && !told.with_failures(7).told());
                assert!(told.noting(!noted).told());
                assert_eq!(word.noting(!noted) == word, !judges);
                assert_eq!(word.noting(!noted).noting(noted), word);
                assert_eq!(word.generation().wrapping_add(1), word.next(state, noted).generation());
                assert_ne!(word.parity(), word.next(state, noted).parity());
            }
        }
        let last = Word(u64::MAX << GENERATION | code(State::Open));
        assert_eq!(last.next(State::Closed, false), Word(0), "the generation wraps");
    }
}
