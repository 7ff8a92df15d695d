//! Filled in with the component.
fn main() {}
