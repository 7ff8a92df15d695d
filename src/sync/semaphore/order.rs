//! Who goes first, and what is asked for.

use std::time::Duration;

/// Who goes first when permits come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// Strict first come, first served: permits are handed to the head of the queue, nobody overtakes it, and a large
    /// request at the head holds back smaller ones behind it. The default.
    ///
    /// Its price: every contended transfer is a task switch (a convoy), and a future that was queued and is then not
    /// polled any more (in a `select!` that has moved on, say) keeps what it is handed until it is dropped.
    #[default]
    Fifo,
    /// Strict last come, first served. Old requests may starve; useful where a late answer is worthless.
    Lifo,
    /// Whoever comes while permits are free takes them; waiters are woken in order to compete for them. A woken waiter
    /// that comes too late keeps its place at the front.
    ///
    /// The fastest order under contention, and immune to queued futures that nobody polls: what is not taken stays
    /// free for others, and after every eighth release at the latest the next waiter is woken as well. Its price: a
    /// waiter, a large request above all, may be overtaken any number of times.
    Barging,
    /// Strict, by [`Priority`], and first come, first served within a class. Waiting ages: after `ageing` a request
    /// counts as one class higher than one that comes then, so none starves while permits flow.
    Priority {
        /// How long a wait is worth one class.
        ageing: Duration,
    },
}

/// An [`Order`] as the engine looks at it: one byte, the ageing apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Fifo,
    Lifo,
    Barging,
    Priority,
}

impl Order {
    pub(super) fn rule(self) -> Rule {
        match self {
            Self::Fifo => Rule::Fifo,
            Self::Lifo => Rule::Lifo,
            Self::Barging => Rule::Barging,
            Self::Priority { .. } => Rule::Priority,
        }
    }

    /// In nanoseconds.
    pub(super) fn ageing(self) -> u64 {
        match self {
            Self::Priority { ageing } => u64::try_from(ageing.as_nanos()).unwrap_or(u64::MAX),
            _ => 0,
        }
    }
}

/// The class of a request in [`Order::Priority`]; without effect in other orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Work that can wait.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal work.
    High,
    /// Before everything.
    Critical,
}

/// What to acquire, and how to wait for it: for [`Semaphore::acquire_with`](super::Semaphore::acquire_with).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a request does nothing until it is made"]
pub struct Request {
    /// Unused where `all` is set.
    pub(super) permits: u32,
    pub(super) max_waiting: u32,
    pub(super) all: bool,
    pub(super) priority: Priority,
}

impl Request {
    /// `permits` permits.
    pub const fn new(permits: u32) -> Self {
        Self { permits, max_waiting: u32::MAX, all: false, priority: Priority::Normal }
    }

    /// The whole capacity, as it is when the request is granted.
    pub const fn all() -> Self {
        Self { all: true, ..Self::new(0) }
    }

    /// The class, for [`Order::Priority`].
    pub const fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// Refuses at once, instead of waiting, where `others` requests wait already.
    pub const fn max_waiting(self, others: u32) -> Self {
        Self { max_waiting: others, ..self }
    }
}
