//! Turns on the scheduler's types for this package alone; no `RUSTFLAGS`, so dependencies are untouched.
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=cofferdam_shuttle");
}
