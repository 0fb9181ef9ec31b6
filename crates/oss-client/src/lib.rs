//! oss-client

pub mod cancel;
pub mod client;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod error;
pub mod fork;
mod http;
pub mod index;
pub mod interrupt;
pub mod list;
pub mod logs;
pub mod objects;
pub mod operations;
mod refusal;
pub mod retry;
pub mod stats;
pub mod sync;
mod transport;
pub mod write;
