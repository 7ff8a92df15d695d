//! The state machine: who is let through, and what outcomes do.

use super::calm::Calm;
use super::config::Config;
use super::posted::Posted;
use super::transition::Control;
use super::window::{Noted, Shape, Windows};
use super::word::Word;
use super::{BreakerEvent, Open, Outcome, State};
use crate::observe::Observers;
use crate::resilience::{Reason, Rejection};
use crate::shim::{AtomicU32, AtomicU64, Mutex, Ordering, load_seq_cst_u64};
use crate::sync::striped::{Lane, Striped, lane};
use crate::time::{Clock, Epoch};
use crossbeam_utils::CachePadded;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub(super) const ADMITTED: usize = 0;
pub(super) const SUCCEEDED: usize = 1;
pub(super) const FAILED: usize = 2;
pub(super) const IGNORED: usize = 3;
pub(super) const CANCELLED: usize = 4;
pub(super) const LATE: usize = 5;
pub(super) const UNRECORDED: usize = 6;
pub(super) const REJECTED: usize = 7;
pub(super) const SLOW: usize = 8;
/// Counters in all, with the successes that are noted for the window, which are the last. (A line of counters is two lines of the
/// cache: who looks at what is noted does not disturb those who count.)
pub(super) const COUNTERS: usize = 10;

/// What the clones of a breaker share.
///
/// # What is written how
///
/// * The generation and the state in `word` change only under the lock of `control`, by `turn`. So do the `phases`, and
///   everything about trials, the word's fields for them included.
/// * The count of failures in a closed word changes by compare-and-swap, without the lock.
/// * The settings are under the lock, and what calls look at without it is [`Posted`] beside them. What a call concludes
///   from the posted ones is looked at again under the lock before the state changes.
/// * `phases[g % 2]` belongs to generation `g`. `turn` stores it *before* the word of `g`, while the word is still that
///   of `g - 1`, whose phase is the other one. A reader takes the word, then the phase, then the word again (or takes
///   the lock and looks): if the generation is the same both times, the phase is that generation's. (Had it been
///   overwritten for `g + 2`, the word would have moved to `g + 1` before that, and the reader, who has acquired the
///   overwriting store, would have seen it the second time.)
pub(super) struct Machine {
    pub(super) word: AtomicU64,
    phases: [Phase; 2],
    pub(super) name: &'static str,
    pub(super) posted: Posted,
    /// Whether successes in the window need not be judged.
    pub(super) calm: Calm,
    /// There once it is needed.
    pub(super) windows: OnceLock<Box<Windows>>,
    /// In metrics only: which rules are reached, and the generation.
    pub(super) reached: AtomicU64,
    /// When it was, plus one; 0: never, or not noted.
    pub(super) last_success: AtomicU64,
    pub(super) last_failure: AtomicU64,
    pub(super) epoch: Epoch,
    pub(super) tally: Striped<COUNTERS>,
    pub(super) observers: Observers<BreakerEvent>,
    pub(super) control: CachePadded<Mutex<Control>>,
}

/// What belongs to a generation besides its word.
struct Phase {
    /// The end of the break; in half-open, the time from which a refusal has to be thought over under the lock.
    due: AtomicU64,
    /// How often the breaker has opened since it was last closed.
    opens: AtomicU32,
    /// The shape of its window.
    shape: AtomicU64,
}

impl Phase {
    fn new(shape: Shape) -> Self {
        Self { due: AtomicU64::new(u64::MAX), opens: AtomicU32::new(0), shape: AtomicU64::new(shape.0) }
    }
}

/// A call that was let through. Two words, so that it travels in registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// The plain word of that time: equal to the breaker's word exactly if a success would change nothing.
    pub(super) word: Word,
    /// Of a trial: its `TrialId`. Of another call: when it began, if somebody will want to know, or else `u64::MAX`.
    pub(super) detail: u64,
}

impl Ticket {
    /// Of no call: no plain word is like this.
    pub(super) const NONE: Self = Self { word: Word(u64::MAX), detail: u64::MAX };

    #[inline(always)]
    pub(super) const fn is_none(self) -> bool {
        self.word.0 == Self::NONE.word.0
    }

    /// Leaves none.
    #[inline(always)]
    pub(super) fn take(&mut self) -> Self {
        let ticket = *self;
        self.word = Self::NONE.word;
        ticket
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Judged(Outcome),
    Cancelled,
}

/// The time of one decision: read once, and only if asked for.
pub(super) struct Now<'a> {
    pub(super) epoch: &'a Epoch,
    pub(super) nanos: Option<u64>,
}

impl Now<'_> {
    #[inline]
    pub(super) fn nanos(&mut self) -> u64 {
        *self.nanos.get_or_insert_with(|| self.epoch.nanos())
    }
}

/// For a path that is inlined into the user's code and seldom needs the time.
#[cold]
#[inline(never)]
fn nanos_out_of_line(epoch: &Epoch) -> u64 {
    epoch.nanos()
}

/// A refusal. Two words, as it is made where nobody should have to wait for it; [`Machine::refusal`] dresses it up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    state: State,
    /// `u64::MAX`: nobody knows for how long.
    remaining: u64,
}

impl Refused {
    fn retry_after(self) -> Option<Duration> {
        (self.remaining != u64::MAX).then(|| Duration::from_nanos(self.remaining))
    }
}

/// A ticket or a refusal in two words, so that it comes back in registers: one that goes through memory is waited for.
///
/// | word | of a ticket | of a refusal |
/// |---|---|---|
/// | first | its word (a plain one: bit 31 is 0) | a word in the state, with bit 31 |
/// | second | its detail | the remaining time |
#[derive(Clone, Copy)]
struct Packed(u64, u64);

impl Packed {
    const REFUSED: u64 = 1 << 31;

    #[inline]
    fn new(answer: Result<Ticket, Refused>) -> Self {
        match answer {
            Ok(Ticket { word, detail }) => Self(word.0, detail),
            Err(refused) => Self::refused(refused),
        }
    }

    #[inline]
    const fn refused(Refused { state, remaining }: Refused) -> Self {
        Self(Word::new(state, false).plain().0 | Self::REFUSED, remaining)
    }

    #[inline]
    fn open(self) -> Result<Ticket, Refused> {
        let Self(first, second) = self;
        let word = Word(first & !Self::REFUSED);
        if first & Self::REFUSED == 0 {
            Ok(Ticket { word, detail: second })
        } else {
            Err(Refused { state: word.state(), remaining: second })
        }
    }
}

/// From `now` to `due`. A break without end is still one that time ends; trials without a limit are not.
#[inline]
fn remaining(state: State, due: u64, now: u64) -> u64 {
    let remaining = due.saturating_sub(now);
    match state {
        State::Open => remaining.min(u64::MAX - 1),
        _ if due == u64::MAX => due,
        _ => remaining,
    }
}

impl Machine {
    pub(super) fn new(
        name: &'static str,
        config: Config,
        clock: Clock,
        observers: Observers<BreakerEvent>,
        state: State,
    ) -> Self {
        let shape = config.shape.numbered(1);
        let windows = OnceLock::new();
        if !shape.is_none() {
            let ready: &Windows = windows.get_or_init(|| Box::new(Windows::new(u32::MAX)));
            ready.prepare(shape);
        }
        Self {
            word: AtomicU64::new(Word::new(state, config.notes_successes()).0),
            phases: [Phase::new(shape), Phase::new(Shape::NONE)],
            name,
            posted: Posted::new(&config),
            calm: Calm::none(),
            windows,
            reached: AtomicU64::new(0),
            last_success: AtomicU64::new(0),
            last_failure: AtomicU64::new(0),
            epoch: Epoch::new(clock),
            tally: Striped::new(),
            observers,
            control: CachePadded::new(Mutex::new(Control::new(config, shape))),
        }
    }

    #[inline]
    pub(super) fn now(&self) -> Now<'_> {
        Now { epoch: &self.epoch, nanos: None }
    }

    pub(super) fn at(&self, now: Instant) -> Now<'_> {
        Now { epoch: &self.epoch, nanos: Some(self.epoch.nanos_at(now)) }
    }

    pub(super) fn at_nanos(&self, nanos: u64) -> Now<'_> {
        Now { epoch: &self.epoch, nanos: Some(nanos) }
    }

    /// The instant of a time that has been, as far as instants reach.
    pub(super) fn instant(&self, nanos: u64) -> Instant {
        self.epoch.instant(nanos).unwrap_or_else(|| self.epoch.clock().now())
    }

    #[inline]
    pub(super) fn load(&self) -> Word {
        // ORDERING: Acquire pairs with the swap in `turn`: who sees a generation sees its due time.
        Word(self.word.load(Ordering::Acquire))
    }

    /// The due time that belongs to the word; `None` if that has changed.
    pub(super) fn due(&self, word: Word) -> Option<u64> {
        // ORDERING: Acquire pairs with the Release in `set_due`: whoever reads the due time of a later generation, or of a
        // trial that ended, sees that the word has changed.
        let due = self.phase(word).due.load(Ordering::Acquire);
        // Relaxed: coherence alone forbids it to be older than what the line above has acquired.
        (self.word.load(Ordering::Relaxed) == word.0).then_some(due)
    }

    /// As far as the word's generation lasts, how often it has opened.
    pub(super) fn opens(&self, word: Word) -> u32 {
        // ORDERING: as in `due`, where the second look is the caller's, under the lock.
        self.phase(word).opens.load(Ordering::Acquire)
    }

    /// The shape of the window of the word's generation, for one who makes sure of that afterwards.
    #[inline]
    pub(super) fn shape(&self, word: Word) -> Shape {
        // ORDERING: as in `opens`.
        Shape(self.phase(word).shape.load(Ordering::Acquire))
    }

    #[inline]
    fn phase(&self, word: Word) -> &Phase {
        let [even, odd] = &self.phases;
        if word.parity() == 0 { even } else { odd }
    }

    /// Under the lock, before the word is stored.
    pub(super) fn set_due(&self, word: Word, due: u64) {
        // ORDERING: Release pairs with the Acquire in `due`.
        self.phase(word).due.store(due, Ordering::Release);
    }

    /// As [`set_due`](Self::set_due).
    pub(super) fn set_opens(&self, word: Word, opens: u32) {
        // ORDERING: Release pairs with the Acquire in `opens`.
        self.phase(word).opens.store(opens, Ordering::Release);
    }

    /// As [`set_due`](Self::set_due).
    pub(super) fn set_shape(&self, word: Word, shape: Shape) {
        // ORDERING: Release pairs with the Acquire in `shape`.
        self.phase(word).shape.store(shape.0, Ordering::Release);
    }

    #[inline]
    pub(super) fn noted(&self) -> Noted<'_, COUNTERS> {
        Noted(&self.tally)
    }

    /// Lets a call through, or not. Without the lock where the breaker is in a state that lets everything through, and
    /// where it refuses.
    ///
    /// The way through a closed breaker is inlined down to the user's code, so that the ticket stays in registers.
    #[inline(always)]
    pub(super) fn admit(&self, now: Now<'_>) -> Result<Ticket, Refused> {
        // Relaxed: a first look, to refuse without a write; what counts is the look in `let_through`.
        if Word(self.word.load(Ordering::Relaxed)).lets_through() {
            if let Some(ticket) = self.let_through(&now) {
                return Ok(ticket);
            }
        }
        self.admit_or_refuse(now.nanos).open()
    }

    #[inline(always)]
    fn let_through(&self, now: &Now<'_>) -> Option<Ticket> {
        let lane = lane();
        self.tally.add_then_look::<ADMITTED>(lane);
        // ORDERING: SeqCst, after the sequentially consistent addition: either this sees that the breaker is shut down,
        // or `is_drained`, which sums behind a fence, sees the addition.
        let word = Word(load_seq_cst_u64(&self.word));
        if !word.lets_through() {
            self.take_back(lane);
            return None;
        }
        let detail = match now.nanos {
            _ if !self.posted.times_calls() => u64::MAX,
            Some(nanos) => nanos,
            None => nanos_out_of_line(now.epoch),
        };
        Some(Ticket { word: word.plain(), detail })
    }

    #[cold]
    #[inline(never)]
    fn take_back(&self, lane: Lane) {
        self.tally.take_back::<ADMITTED>(lane);
    }

    #[inline(never)]
    fn admit_or_refuse(&self, nanos: Option<u64>) -> Packed {
        // What the loop below would come to in most cases, without its detours.
        let word = self.load();
        if word.is(State::Open) {
            let now = match nanos {
                Some(now) => now,
                None => self.epoch.nanos(),
            };
            return match self.due(word) {
                Some(due) if now < due => {
                    Packed::refused(self.refuse(State::Open, remaining(State::Open, due, now)))
                }
                _ => Packed::new(self.admit_with_care(Some(now))),
            };
        }
        Packed::new(self.admit_with_care(nanos))
    }

    #[cold]
    #[inline(never)]
    fn admit_with_care(&self, nanos: Option<u64>) -> Result<Ticket, Refused> {
        let mut now = Now { epoch: &self.epoch, nanos };
        loop {
            let word = self.load();
            if word.lets_through() {
                match self.let_through(&now) {
                    Some(ticket) => return Ok(ticket),
                    None => continue,
                }
            }
            match word.state() {
                state @ (State::Open | State::HalfOpen) => {
                    let Some(due) = self.due(word) else { continue };
                    let nanos = now.nanos();
                    if nanos < due && (state == State::Open || self.is_full(word)) {
                        return Err(self.refuse(state, remaining(state, due, nanos)));
                    }
                    if let Some(answer) = self.admit_on_trial(word, nanos) {
                        let state = State::HalfOpen;
                        return answer.map_err(|due| self.refuse(state, remaining(state, due, nanos)));
                    }
                }
                state => return Err(self.refuse(state, u64::MAX)),
            }
        }
    }

    fn is_full(&self, word: Word) -> bool {
        let trials = word.trials();
        trials.out + trials.judged >= self.posted.half_open_requests()
    }

    #[inline]
    fn refuse(&self, state: State, remaining: u64) -> Refused {
        self.tally.add::<REJECTED>(lane());
        let refused = Refused { state, remaining };
        self.observers.emit(|| BreakerEvent::NotPermitted {
            name: self.name,
            state,
            retry_after: refused.retry_after(),
        });
        refused
    }

    /// The refusal as the user of a policy gets it.
    #[inline]
    pub(super) fn rejection(&self, refused: Refused) -> Rejection {
        match refused.state {
            State::ShutDown => Rejection::new(self.name, Reason::Closed),
            _ => Rejection::circuit_open(self.name, refused.retry_after()),
        }
    }

    /// The refusal as who asks the breaker itself gets it.
    #[inline]
    pub(super) fn refusal(&self, refused: Refused) -> Open {
        Open { name: self.name, state: refused.state, retry_after: refused.retry_after() }
    }

    /// Takes note of how a call ended.
    #[inline(always)]
    pub(super) fn settle(&self, ticket: Ticket, end: End, now: Now<'_>) {
        match end {
            // Relaxed: nothing is read on the strength of it.
            End::Judged(Outcome::Success) if self.word.load(Ordering::Relaxed) == ticket.word.0 => {
                self.tally.add::<SUCCEEDED>(lane());
            }
            End::Judged(Outcome::Success) => self.settle_success(ticket, now.nanos),
            End::Judged(Outcome::Failure) => self.settle_failure(ticket, now.nanos),
            _ => self.settle_with_effect(ticket, end, now.nanos),
        }
    }

    /// Calls that have ended, and calls let through, in this order: the first is never greater.
    pub(super) fn ended_and_admitted(&self) -> (u64, u64) {
        let tally = &self.tally;
        let ended = tally.sum::<SUCCEEDED>()
            + tally.sum::<FAILED>()
            + tally.sum::<IGNORED>()
            + tally.sum::<CANCELLED>()
            + tally.sum::<LATE>()
            + tally.sum::<UNRECORDED>();
        // (A slow call is in one of these besides.)
        (ended, tally.sum::<ADMITTED>())
    }
}
