//! Groups of tasks, and fan-out.

mod in_place;
mod spawned;
