//! oss-protocol

mod excerpt;

pub mod crc64;
pub mod encoding;
pub mod error;
pub mod http1;
pub mod operation;
pub mod sign;
pub mod time;
pub mod uri;
pub mod xml;
