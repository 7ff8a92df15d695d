//! Groups of tasks, and fan-out.

mod carried;
mod fan_out;
mod in_place;
mod spawned;
