#[allow(dead_code)]
mod support;
mod semaphore;
mod telemetry;
