//! Orders of policies that are known to go wrong.

use super::{Kind, Layer};
use std::fmt;

/// One thing that is wrong with the order of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lint {
    code: LintCode,
    outer: Layer,
    inner: Layer,
}

/// Which known mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintCode {}

pub(super) fn lint(_: &[Layer]) -> Vec<Lint> {
    Vec::new()
}
