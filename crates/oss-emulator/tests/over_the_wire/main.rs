//! The emulator seen from the other end of the wire: raw sockets, signed requests, every byte.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod control;
mod faults;
mod listings;
mod multipart;
mod objects;
mod peer;
mod persistence;
mod program;
mod signatures;
mod states;
