//! Written with its component.
