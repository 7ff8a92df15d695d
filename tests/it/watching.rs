//! Watching what components do: telemetry and health.

#![allow(dropping_copy_types, reason = "what a call returns is dropped in one word, whatever it is")]

mod health;
#[allow(dead_code, reason = "each binary uses its part of it")]
mod support;
mod telemetry;
