//! Watching what components do: telemetry.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]

#[allow(dead_code, reason = "each binary uses its part of it")]
mod support;
mod telemetry;
