//! What a connection needs of its byte stream.

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use oss_protocol::crc64::Crc64;

use crate::cancel::Interrupt;
use crate::sync::Arc;

/// A stream of bytes, plain or encrypted. Every call returns within a tick; one that has nothing to show
/// for it fails with `WouldBlock` or `TimedOut` (see [`is_tick`]), or with a [`trickle`].
pub(crate) trait Stream: Send + Debug {
    /// Receives some bytes; 0 = the peer closed.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize>;

    /// Receives until `into` is full, the peer closes or a tick has passed; the count is of the bytes at its
    /// front, each of which also went through `crc`. 0 = the peer closed.
    fn fill(&mut self, into: &mut [MaybeUninit<u8>], crc: Option<&mut Crc64>) -> io::Result<usize>;

    /// Sends some bytes from the front of `pieces`.
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether bytes that `send` took are still here; a `send` of nothing moves them on.
    fn has_unsent(&self) -> bool {
        false
    }

    /// Says that a request is out, and that its answer comes next.
    fn turn(&mut self) {}

    /// Whether an idle stream is still open and silent. Does not wait.
    fn is_quiet(&mut self) -> bool;

    /// Whether bytes of an answer wait to be read, while the request is still being sent.
    fn has_answer(&mut self) -> bool;

    /// The handle that wakes a blocked call from another thread.
    fn interrupt_handle(&self) -> Arc<dyn Interrupt>;
}

/// Whether an error only says that a tick passed.
pub(crate) fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Bytes came for a whole tick, and none of them can be used yet: a part of an encrypted record. That is no silence.
pub(crate) fn trickle() -> io::Error {
    io::ErrorKind::Interrupted.into()
}

/// Whether an error is a [`trickle`], and not the system's word for a signal.
pub(crate) fn is_trickle(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted && error.raw_os_error().is_none()
}

/// Copies as much of `from` as fits to the front of `into`, through `crc`; returns the count.
pub(crate) fn land(from: &[u8], into: &mut [MaybeUninit<u8>], crc: Option<&mut Crc64>) -> usize {
    let count = from.len().min(into.len());
    for (to, byte) in into.iter_mut().zip(&from[..count]) {
        to.write(*byte);
    }
    if let Some(crc) = crc {
        crc.update(&from[..count]);
    }
    count
}
