//! The wire format of Alibaba Cloud OSS, sans-IO: values in, values out.
//!
//! No sockets, clock, environment, files or threads. Client and emulator both stand on this crate and meet nowhere
//! else, so what the wire looks like is written once: locations ([`uri`], [`encoding`]), signatures ([`sign`]),
//! HTTP/1.1 heads and framing ([`http1`]), documents ([`xml`]), refusals ([`error`]), checksums ([`crc64`]).

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
