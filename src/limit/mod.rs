//! L4. Rate limiting: pure decisions over exact integers, and thin waiting faces.

#![forbid(unsafe_code)]

mod quota;
mod token_bucket;

pub use quota::*;
pub use token_bucket::*;
