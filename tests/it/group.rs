//! Groups of tasks, and fan-out.

mod fan_out;
mod in_place;
mod spawned;
