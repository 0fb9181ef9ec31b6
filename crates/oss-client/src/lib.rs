//! The OSS client: sockets, time, threads and the environment. Knows no Python.
//!
//! Arrows point down: `read`, `write`, `list` and `index` stand on `operations`, one method per OSS operation; those
//! on `transport`, the only place that repeats a request; that on `http`, `retry` and `credentials`; those on
//! `config` and `error`. `sync`, `clock` and `fork` are doors that any of them may use.

pub mod asker;
pub mod cancel;
pub mod client;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod crew;
mod delete;
pub mod error;
pub mod fork;
mod heap;
mod http;
pub mod index;
pub mod interrupt;
pub mod lend;
pub mod list;
pub mod logs;
#[cfg(all(test, shuttle))]
mod models;
pub mod objects;
pub mod operations;
pub mod panics;
#[doc(hidden)]
pub mod parsers;
mod progress;
mod random;
pub mod read;
mod refusal;
pub mod retry;
pub mod stats;
mod subject;
pub mod sync;
pub mod telling;
mod transport;
mod usual;
mod varint;
pub mod window;
pub mod workers;
pub mod write;
