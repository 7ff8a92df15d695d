//! What a generator and its emitter share.
//!
//! # The two ways of a value
//!
//! | way | for | cost |
//! |---|---|---|
//! | over the [tray](super::tray) | an emit inside the generator's poll of its producer, if its value is the last for which there is room, and nobody waits (`word` is `brim`) | plain loads and stores; with prefetch, a turn of the latch for those before it |
//! | through `values` | every other: as values are fetched ahead, in another task or thread, or where another value is in the way | two turns of the latch |
//!
//! What lies on the tray leaves it at the end of that very poll: between two polls nothing lies there. So emits elsewhere do not
//! count it: they have room by `values` alone, and one value more may lie there during a poll.
//!
//! # Why values come in order
//!
//! Without prefetch there are no `values` when one is laid down, and it is given out at the end of the poll, before any that
//! others push meanwhile. With prefetch there are just `ahead`, and none is popped during the poll: at its end the value goes
//! behind those, before what was pushed since, and the first is given out. After a panic likewise, and none is. An emit that knows
//! of a push by another thread sees its `word`, and so does not lay its value down before it.
//!
//! # State
//!
//! | | meaning |
//! |---|---|
//! | `values` | emitted and not yet given out, at most one more than may lie ready |
//! | `consumer` | who is to be woken by the next value, if `PARKED` |
//! | `waiting` | those emits that the generator's own polls would not reach |
//! | `word` | what a poll must know of all that at once, written under the latch and read without it |
//!
//! | bits of `word` | meaning |
//! |---|---|
//! | 0, `PARKED` | the generator has nothing to give, and waits |
//! | 1, `WAITING` | somebody is in `waiting` |
//! | 2, `CLOSED` | nothing is taken any more; for good |
//! | the rest | how many `values` there are |
//!
//! | transition | by | when |
//! |---|---|---|
//! | lay | an emit inside | `word` is `brim`, and nothing was emitted inside another way during this poll |
//! | take | the generator | at the end of its poll of the producer; with care (prefetch, or somebody inside waits) it also wakes those in `waiting` |
//! | push | an emit | no more values lie there than may, in `values` and, for who is inside, on the tray; it wakes `consumer`, if `PARKED` |
//! | pop | the generator | it is polled, and nothing was laid down; it then wakes those in `waiting` |
//! | park | the generator | it finds no value, in the same turn of the latch |
//! | unpark | the generator, polled again; or a push | |
//! | close | the generator | it finds no value and its producer is at its end, in the same turn of the latch; it is closed or dropped |
//!
//! An emit is most often inside the producer, which the generator polls itself when there is room: it needs no wake-up, and
//! leaves no waker. It knows by the tray that it is inside, and by the waker that it is polled with. Any other (in another task,
//! or below a combinator with wakers of its own) leaves its waker in `waiting`, in the turn of the latch in which it found no
//! room: a pop is either before that turn, and there was room, or after it, and finds the waker. That the tray is full holds up
//! only emits inside, which are on the thread that takes what lies there: they tell it to do so with care.
//!
//! Who goes on with an emit on another thread while the poll lasts in which it was begun may be told too early that it is done: that
//! its value lies on the tray shows only inside, that it was pushed since the poll began is not looked for there. It is one value,
//! and comes in its order all the same.

#![forbid(unsafe_code)]

use super::tray::{Taker, Tray};
use crate::shim::{AtomicUsize, Ordering};
use crate::wait::{Latch, Panicked, Turn};
use std::collections::VecDeque;
use std::task::{Poll, Waker};

const PARKED: usize = 1;
const WAITING: usize = 1 << 1;
const CLOSED: usize = 1 << 2;
/// One value.
const VALUE: usize = 1 << 3;

/// What the two ends share: a place in passing, and a queue for all that cannot go over it.
pub(crate) type Slot<T> = Tray<T, Queue<T>>;

/// The generator's end.
pub(crate) type Outlet<T> = Taker<T, Queue<T>>;

pub(crate) struct Queue<T> {
    /// How many values may lie ready besides the one that is asked for.
    ahead: usize,
    /// The word with so many values, and nothing else.
    brim: usize,
    word: AtomicUsize,
    state: Latch<State<T>>,
}

struct State<T> {
    values: VecDeque<T>,
    consumer: Option<Waker>,
    waiting: Waiting,
}

/// Wakers, the first of which needs no memory of its own: more than one emit at a time is rare.
#[derive(Default)]
struct Waiting {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Waiting {
    /// One for each task, however often it is polled. Gives back what is there already.
    fn add(&mut self, waker: Waker) -> Option<Waker> {
        if self.first.iter().chain(&self.more).any(|other| other.will_wake(&waker)) {
            return Some(waker);
        }
        if self.first.is_none() {
            self.first = Some(waker);
        } else {
            self.more.push(waker);
        }
        None
    }

    /// One that panics keeps nobody asleep.
    fn wake(self) {
        let mut panicked = Panicked::default();
        for waker in self.first.into_iter().chain(self.more) {
            panicked.catch(|| waker.wake());
        }
        panicked.resume();
    }
}

/// A value that goes back to where it was, unless it is taken out of this.
struct Back<'a, T>(&'a Queue<T>, Option<T>);

impl<T> Drop for Back<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.1.take() {
            let mut state = self.0.state.brief();
            state.values.push_front(value);
            self.0.set_word(&state, self.0.word(&state) + VALUE);
        }
    }
}

/// What an emit finds, having put its value in if it could.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pushed {
    /// As few values lie there as may.
    Done,
    /// It must wait, for room or until others are taken.
    Full,
    Closed,
}

/// What the generator finds.
pub(crate) enum Popped<T> {
    Value(T),
    /// Nothing; it is woken by the next value.
    Parked,
    /// Nothing, and nothing will come.
    Over,
}

impl<T> Queue<T> {
    fn new(ahead: usize) -> Self {
        let state = State {
            // And one for what may be put in before those that another thread has pushed.
            values: VecDeque::with_capacity(ahead + 2),
            consumer: None,
            waiting: Waiting::default(),
        };
        Self { ahead, brim: ahead * VALUE, word: AtomicUsize::new(0), state: Latch::new(state) }
    }

    /// Under the latch.
    #[inline(always)]
    fn word(&self, _turn: &State<T>) -> usize {
        // Relaxed: it is written under the latch.
        self.word.load(Ordering::Relaxed)
    }

    /// Under the latch, together with what it says.
    #[inline(always)]
    fn set_word(&self, _turn: &State<T>, word: usize) {
        // ORDERING: Release pairs with the Acquire in `length`.
        self.word.store(word, Ordering::Release);
    }

    /// How many values there are.
    #[inline]
    fn length(&self) -> usize {
        // ORDERING: Acquire: who goes on behind a pop sees all that came before it, as if he had taken the latch.
        self.word.load(Ordering::Acquire) / VALUE
    }

    /// Whether there is room for just one value more, and nobody waits for anything: it may go over the tray.
    #[inline(always)]
    fn is_quiet(&self) -> bool {
        // Relaxed: nothing is read behind it. Whoever emits after another emit sees what that one has pushed, which is all that
        // their order needs; and what has been left inside, this thread has left.
        self.word.load(Ordering::Relaxed) == self.brim
    }

    /// Where what lies on the tray belongs: behind what was there when it was laid down, before what was pushed since.
    fn insert(&self, state: &mut State<T>, value: T) {
        if state.values.len() <= self.ahead {
            state.values.push_back(value);
        } else {
            state.values.insert(self.ahead, value);
        }
        self.set_word(state, self.word(state) + VALUE);
    }

    /// What was laid down before the producer panicked is given out later.
    fn rescue(&self, value: T) {
        self.insert(&mut self.state.brief(), value);
    }

    /// What was laid down has others before it, or others wait until it is gone. The oldest value.
    #[inline(never)]
    fn settle(&self, value: T) -> Option<T> {
        let mut state = self.state.brief();
        self.insert(&mut state, value);
        self.pop(state, false).ok()
    }

    /// The oldest value, at the end of the turn; or the word, without one. If that is the `end`, nothing is taken from this very
    /// turn on: it would not be given out.
    #[inline(always)]
    fn pop(&self, mut state: Turn<'_, State<T>>, end: bool) -> Result<T, usize> {
        let word = self.word(&state);
        let Some(value) = state.values.pop_front() else {
            if !end {
                return Err(word);
            }
            self.set_word(&state, word | CLOSED);
            return Err(word | CLOSED);
        };
        self.set_word(&state, (word & !WAITING) - VALUE);
        if word & WAITING == 0 {
            return Ok(value);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // They are foreign code, and may panic.
        let mut back = Back(self, Some(value));
        waiting.wake();
        back.1.take().ok_or(word)
    }
}

impl<T> Slot<T> {
    /// Values that lie ready, as far as this thread may know.
    pub(crate) fn length(&self) -> usize {
        self.shared.length() + usize::from(self.look(Waker::noop()).is_some_and(|found| found.is_full))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// One poll of an emit: puts the value in if there is room, and is ready once as few lie there as may.
    #[inline(always)]
    pub(crate) fn poll_emit(&self, value: &mut Option<T>, waker: &Waker) -> Poll<()> {
        if value.is_none() {
            if self.is_clear() {
                return Poll::Ready(());
            }
        } else if self.shared.is_quiet() && self.lay(value, waker) {
            return Poll::Pending;
        }
        self.emit(value, waker)
    }

    /// As [`poll_emit`](Self::poll_emit), through the queue.
    #[inline(never)]
    fn emit(&self, value: &mut Option<T>, waker: &Waker) -> Poll<()> {
        // Nobody but this thread lays anything down or takes it while this is inside.
        let inside = self.look(waker);
        let laid = usize::from(inside.is_some_and(|inside| inside.is_full));
        if value.is_none() && self.shared.length() + laid <= self.shared.ahead {
            return Poll::Ready(());
        }
        let mut state = self.shared.state.brief();
        let (pushed, woken) = self.push(&mut state, value, laid);
        drop(state);
        woken.map(Waker::wake).unwrap_or_default();
        match pushed {
            Pushed::Closed => Poll::Pending,
            Pushed::Done => Poll::Ready(()),
            Pushed::Full if inside.is_some_and(|inside| inside.is_known) => Poll::Pending,
            Pushed::Full => self.wait(value, waker),
        }
    }

    /// Puts the value in, if there is room. Whom to wake afterwards.
    #[inline(always)]
    fn push(&self, state: &mut State<T>, value: &mut Option<T>, laid: usize) -> (Pushed, Option<Waker>) {
        let queue = &self.shared;
        let mut word = queue.word(state);
        if word & CLOSED != 0 {
            return (Pushed::Closed, None);
        }
        if word / VALUE + laid > queue.ahead {
            return (Pushed::Full, None);
        }
        let mut woken = None;
        if let Some(value) = value.take() {
            self.take_care();
            state.values.push_back(value);
            if word & PARKED != 0 {
                woken = state.consumer.take();
            }
            word = (word & !PARKED) + VALUE;
            queue.set_word(state, word);
        }
        let is_done = word / VALUE + laid <= queue.ahead;
        (if is_done { Pushed::Done } else { Pushed::Full }, woken)
    }

    /// Leaves the waker, unless there is room by now.
    #[cold]
    fn wait(&self, value: &mut Option<T>, waker: &Waker) -> Poll<()> {
        // Cloned without the latch, and before the look: it is foreign code, which may emit.
        let mut mine = Some(waker.clone());
        let laid = usize::from(self.look(waker).is_some_and(|inside| inside.is_full));
        let mut state = self.shared.state.brief();
        let (pushed, woken) = self.push(&mut state, value, laid);
        if pushed == Pushed::Full {
            self.take_care();
            mine = mine.take().and_then(|mine| state.waiting.add(mine));
            self.shared.set_word(&state, self.shared.word(&state) | WAITING);
        }
        drop(state);
        // First, as the other's drop may panic.
        woken.map(Waker::wake).unwrap_or_default();
        drop(mine);
        if pushed == Pushed::Done { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T> Outlet<T> {
    pub(crate) fn with(ahead: usize) -> Self {
        Self::new(Queue::new(ahead), ahead > 0)
    }

    /// Whether the producer may be run at once, and nothing but the tray need be looked at.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.shared().is_quiet()
    }

    /// Polls the producer, by `poll`, with that waker. What it has laid down is to be given out.
    #[inline(always)]
    pub(crate) fn run(&mut self, waker: &Waker, poll: impl FnOnce()) -> Option<T> {
        match self.during(waker, poll, Queue::rescue) {
            (Some(value), true) => self.shared().settle(value),
            (value, _) => value,
        }
    }

    /// The generator is polled, and so is not to be woken. Whether the producer may be run, as there is room.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        let queue = self.shared();
        // Relaxed: what this end has not popped is room that is not there. It alone sets `PARKED`; who has cleared that meanwhile
        // has pushed, which the pop sees under the latch.
        let word = queue.word.load(Ordering::Relaxed);
        if word & PARKED != 0 {
            let state = queue.state.brief();
            queue.set_word(&state, queue.word(&state) & !PARKED);
        }
        word / VALUE <= queue.ahead
    }

    /// The oldest value; without one, parks unless the producer is at its `end`.
    #[inline]
    pub(crate) fn pop(&self, waker: &Waker, end: bool) -> Popped<T> {
        let queue = self.shared();
        match queue.pop(queue.state.brief(), end) {
            Ok(value) => Popped::Value(value),
            Err(word) if word & CLOSED != 0 => Popped::Over,
            Err(_) => self.park(waker),
        }
    }

    /// Leaves the waker, unless there is a value by now.
    #[inline(never)]
    fn park(&self, waker: &Waker) -> Popped<T> {
        let queue = self.shared();
        let mut mine = None;
        loop {
            let mut state = queue.state.brief();
            let word = queue.word(&state);
            if word >= VALUE {
                drop(state);
                return self.pop(waker, false);
            }
            let is_known = state.consumer.as_ref().is_some_and(|known| known.will_wake(waker));
            if is_known || mine.is_some() {
                let stale = if is_known { mine } else { std::mem::replace(&mut state.consumer, mine) };
                queue.set_word(&state, word | PARKED);
                drop(state);
                drop(stale);
                return Popped::Parked;
            }
            drop(state);
            // Cloned without the latch; then all is looked at anew.
            mine = Some(waker.clone());
        }
    }

    /// Nothing is taken any more. What lies there stays.
    pub(crate) fn close(&self) {
        let queue = self.shared();
        let (consumer, waiting) = {
            let mut state = queue.state.brief();
            queue.set_word(&state, queue.word(&state) & !(PARKED | WAITING) | CLOSED);
            (state.consumer.take(), std::mem::take(&mut state.waiting))
        };
        drop((consumer, waiting));
    }

    /// Values that lie ready.
    pub(crate) fn length(&self) -> usize {
        self.shared().length()
    }
}
