//! The write engine: bytes cut into parts, uploaded under a window, published or aborted.

pub mod parts;
pub mod settle;
