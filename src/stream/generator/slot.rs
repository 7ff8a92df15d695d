//! What a generator and its emitter share.
//!
//! # State
//!
//! | | meaning | written |
//! |---|---|---|
//! | `values` | emitted and not yet given out, at most one more than may lie ready | under the latch |
//! | `length` | how many those are | under the latch; read without it |
//! | `polling` | the generator is polling its producer | by the generator alone |
//! | `parked` | the generator has nothing to give, and `consumer` is to be woken by the next value | under the latch |
//! | `waiting` | those emits that the generator's own polls would not reach | under the latch |
//! | `closed` | nothing is taken any more | under the latch, once |
//!
//! | transition | by | when |
//! |---|---|---|
//! | push | an emit | no more values lie there than may; it then wakes `consumer`, if `parked` |
//! | pop | the generator | it is polled; it then wakes those in `waiting` |
//! | park | the generator | it finds no value, in the same turn of the latch |
//! | unpark | the generator, polled again; or a push | |
//!
//! An emit is most often inside the producer, which the generator polls itself when there is room: it needs no wake-up, and
//! leaves no waker. It knows by `polling` and by the waker that it is polled with. Any other (in another task, or below a
//! combinator with wakers of its own) leaves its waker in `waiting`, in the turn of the latch in which it found no room: a
//! pop is either before that turn, and there was room, or after it, and finds the waker.

use crate::shim::{AtomicBool, AtomicUsize, Ordering};
use crate::wait::Latch;
use std::collections::VecDeque;
use std::task::{Poll, Waker};

pub(crate) struct Slot<T> {
    /// How many values may lie ready besides the one that is asked for.
    ahead: usize,
    length: AtomicUsize,
    polling: AtomicBool,
    state: Latch<State<T>>,
}

struct State<T> {
    values: VecDeque<T>,
    consumer: Option<Waker>,
    parked: bool,
    waiting: Waiting,
    closed: bool,
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

    fn wake(self) {
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
}

/// What the generator finds.
pub(crate) enum Popped<T> {
    Value(T),
    /// Nothing; it is woken by the next value.
    Parked,
    /// Nothing, and nothing will come.
    Over,
}

impl<T> Slot<T> {
    pub(crate) fn new(ahead: usize) -> Self {
        let state = State {
            values: VecDeque::with_capacity(ahead + 1),
            consumer: None,
            parked: false,
            waiting: Waiting::default(),
            closed: false,
        };
        Self { ahead, length: AtomicUsize::new(0), polling: AtomicBool::new(false), state: Latch::new(state) }
    }

    /// Whether one more value may be put in.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        // ORDERING: Acquire: who goes on behind a pop sees all that came before it, as if he had taken the latch.
        self.length.load(Ordering::Acquire) <= self.ahead
    }

    /// The generator is to be woken by `waker`, and is not waiting now.
    pub(crate) fn announce(&self, waker: Waker) {
        let before = {
            let mut state = self.state.brief();
            state.parked = false;
            state.consumer.replace(waker)
        };
        drop(before);
    }

    /// Around the generator's poll of its producer.
    #[inline]
    pub(crate) fn set_polling(&self, polling: bool) {
        // Relaxed: it is for emits on this very thread.
        self.polling.store(polling, Ordering::Relaxed);
    }

    /// The oldest value; without one, parks unless the producer is at its `end`.
    #[inline]
    pub(crate) fn pop(&self, end: bool) -> Popped<T> {
        let mut state = self.state.brief();
        let Some(value) = state.values.pop_front() else {
            if end || state.closed {
                return Popped::Over;
            }
            state.parked = true;
            return Popped::Parked;
        };
        // ORDERING: Release: see `has_room`.
        self.length.store(state.values.len(), Ordering::Release);
        // There are no more without a first.
        if state.waiting.first.is_some() {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            waiting.wake();
        }
        Popped::Value(value)
    }

    /// One poll of an emit: puts the value in if there is room, and is ready once as few lie there as may.
    #[inline]
    pub(crate) fn poll_emit(&self, value: &mut Option<T>, waker: &Waker) -> Poll<()> {
        if value.is_none() && self.has_room() {
            return Poll::Ready(());
        }
        let mut mine = None;
        loop {
            let mut state = self.state.brief();
            if state.closed {
                return Poll::Pending;
            }
            let mut woken = None;
            if state.values.len() <= self.ahead {
                if let Some(value) = value.take() {
                    state.values.push_back(value);
                    // ORDERING: Release, as in `pop`, which alone needs it.
                    self.length.store(state.values.len(), Ordering::Release);
                    if state.parked {
                        state.parked = false;
                        woken = state.consumer.take();
                    }
                }
            }
            let done = value.is_none() && state.values.len() <= self.ahead;
            let reached = self.polling.load(Ordering::Relaxed)
                && state.consumer.as_ref().is_some_and(|consumer| consumer.will_wake(waker));
            let stays = done || reached;
            if let (false, Some(mine)) = (stays, mine.take()) {
                let known = state.waiting.add(mine);
                drop(state);
                drop(known);
                woken.map(Waker::wake).unwrap_or_default();
                return Poll::Pending;
            }
            drop(state);
            woken.map(Waker::wake).unwrap_or_default();
            if stays {
                return if done { Poll::Ready(()) } else { Poll::Pending };
            }
            // Cloned without the latch; then all is looked at anew.
            mine = Some(waker.clone());
        }
    }

    /// Nothing is taken any more. What lies there stays.
    pub(crate) fn close(&self) {
        let (consumer, waiting) = {
            let mut state = self.state.brief();
            state.closed = true;
            (state.consumer.take(), std::mem::take(&mut state.waiting))
        };
        drop((consumer, waiting));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.brief().closed
    }

    /// Values that lie ready.
    pub(crate) fn length(&self) -> usize {
        self.length.load(Ordering::Relaxed)
    }
}
