//! A faithful local OSS, that can misbehave on request.
//!
//! One thread serves one connection, on the wire format of `oss-protocol`:
//!
//! ```text
//! server ── connection ── exchange ─┬─ rules, shaping         which fault, how slow
//!                │                  ├─ accounts               who signed
//!              wire                 ├─ service ── operations  one function per OSS operation
//!          inflow, outflow          │                └─ store (body, slot, upload, disk)
//!                                   └─ journal                what happened
//! control ── the same state, over JSON
//! proxy ── the way to the service through an HTTP proxy
//! identity ── metadata service, STS and credentials URI: temporary keys
//! ```
//! It runs as a program ([`main_with_args`]) or, for tests in Rust, inside a process
//! ([`EmulatorServer`]). A client written in Python should use the program: a server in the same
//! process could wait for a lock that its client holds.

mod accounts;
mod address;
mod arguments;
mod clock;
mod command;
mod connection;
mod control;
mod exchange;
mod halt;
mod identity;
mod inflow;
mod journal;
mod locks;
mod operations;
mod outflow;
mod proxy;
mod random;
mod refusal;
mod request;
mod response;
mod rules;
mod server;
mod service;
mod shaping;
mod shared;
mod stop;
mod store;
mod tls;
mod wire;

pub use crate::command::main_with_args;
pub use crate::server::{EmulatorServer, Options};
