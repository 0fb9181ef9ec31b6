//! The object index: which objects, in which order, written once and mapped by every process of a node.
//!
//! The process that comes first takes a lock, writes the rows under another name and renames the file;
//! the others wait and then map it. No Python object per key, and pickling a dataset costs a path.

pub mod build;
mod builder;
mod fingerprint;
pub mod format;
pub mod listing;
pub mod map;
pub mod order;
mod pack;
pub mod tail;

pub use build::{Patience, build, build_from_rows};
pub use builder::{BuildOutcome, Builder};
pub use format::Row;
pub use listing::build_from_listing;
pub use map::Index;
pub use pack::{pack, unpack};
pub use tail::{Piece, Tail};
