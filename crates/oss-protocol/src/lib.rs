//! oss-protocol

pub mod error;
pub mod http1;
pub mod operation;
