//! L5. Streams that are made, and streams that are brought together.
//!
//! | | |
//! |---|---|
//! | [`generator`] | a stream written as an async function that emits |
//! | [`merge`] | several streams as one, each in its turn |
//! | [`merge_all`] | the same for streams that come by a stream |
//!
//! All of them run inside whoever polls: no task, no thread, any executor. While nobody polls, nothing gets on; for
//! work that is to go on meanwhile, see `group::par_map`.
//!
//! | operation | lock-free | allocations |
//! |---|---|---|
//! | an item of a generator | yes, if it is emitted where the producer runs; with prefetch, or by an emitter that was taken elsewhere, a lock of a few instructions | none; three at the start |
//! | an item of a merge | yes | none; two for each source, when it is added |

mod collect;
mod generator;
mod merge;
mod next;
mod one_of;

pub use collect::{Collect, CollectN};
pub use generator::{Blocking, Emit, Emitter, Generator, Produced, generator};
pub use merge::{Merge, MergeAll, Sources, merge, merge_all};
pub use next::Next;
pub use one_of::{OneOf2, OneOf3, OneOf4, OneOf5, OneOf6};
