//! L2. The waiter kernel: one hard algorithm that every waiting component has in common.
//!
//! A [`Slot`] is a node that lives inside a waiting future. A [`List`] links slots; it is always guarded by a mutex of
//! the component it belongs to. A [`Wakes`] collects wakers under that mutex and wakes them after it is released. A [`Latch`] is
//! a lock for those who hardly ever wait, and [`prefetch`] asks for what its holder will touch. [`Places`] hold what is polled in
//! one task, each polled only when [`Ready`] says that it was woken. An [`Aside`] holds what waits in a future that seldom does, and [`overhear`] finds
//! out whether what is polled wakes its own task.
//!
//! # States of a slot
//!
//! | state | linked | who may touch the node | next |
//! |---|---|---|---|
//! | `IDLE` | no | its future | `LINKED`, by the future, under the lock |
//! | `LINKED` | yes | whoever holds the lock | an outcome, by [`List::pop_front`] or [`List::settle`]; `IDLE`, by [`List::unlink`]; both under the lock |
//! | an [`Outcome`] | no | its future, without the lock | `IDLE`, by the future |
//!
//! The transition out of `LINKED` happens exactly once and under the lock: a grant and a cancellation cannot both win.
//!
//! # Invariants, named by the `SAFETY` comments
//!
//! * **W1** A linked slot is pinned: it was linked through `Pin<&Slot>`, and its `Drop` aborts the process rather than
//!   let a linked node's memory go. (No face does that: each unlinks in its own `Drop`.)
//! * **W2** Links, waker and value of a linked slot are touched only with the list's `&mut` in hand, that is under the
//!   component's mutex.
//! * **W3** Storing an outcome is the last touch of a slot by anybody but its future, which may free it the moment it
//!   reads the outcome. The store is `Release`, the read `Acquire`.
//! * **W4** A slot is unlinked through the list in which it was linked.

#[allow(dead_code, reason = "used by the rooms behind features")]
mod aside;
#[allow(dead_code, reason = "as above")]
mod latch;
mod list;
#[allow(dead_code, reason = "as above")]
mod overhear;
#[allow(dead_code, reason = "as above")]
mod places;
#[allow(dead_code, reason = "as above")]
mod prefetch;
#[allow(dead_code, reason = "as above")]
mod ready;
mod wakes;

#[allow(unused_imports, reason = "used by the rooms behind features")]
pub(crate) use aside::{Aside, Outlined};
#[allow(unused_imports, reason = "as above")]
pub(crate) use latch::{Latch, Turn};
#[allow(unused_imports, reason = "as above")]
pub(crate) use list::{List, Outcome, Slot};
#[allow(unused_imports, reason = "as above")]
pub(crate) use overhear::{is_overheard, overhear};
#[allow(unused_imports, reason = "as above")]
pub(crate) use places::Places;
#[allow(unused_imports, reason = "as above")]
pub(crate) use prefetch::{PREFETCHES, prefetch};
#[allow(unused_imports, reason = "as above")]
pub(crate) use ready::Ready;
#[allow(unused_imports, reason = "as above")]
pub(crate) use wakes::{Panicked, Wakes, wake_all, wake_and_go_on};
