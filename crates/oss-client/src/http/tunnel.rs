//! A way through an HTTP proxy: CONNECT (RFC 9110, 9.3.6).

use std::io::{self, IoSlice};
use std::time::Instant;

use oss_protocol::http1::{Limits, parse_response_head};

use super::dial::DialFailure;
use super::stream::{Stream, is_tick};
use crate::clock::Clock;
use crate::config::Proxy;

/// Longest answer of a proxy that is looked at: 16 KiB of head.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Asks `proxy` at the other end of `stream` for a way to `host` and `port`, until `end`, asking `is_given_up` at every
/// tick.
pub(super) fn open(
    stream: &mut dyn Stream,
    proxy: &Proxy,
    (host, port): (&str, u16),
    end: Instant,
    clock: &dyn Clock,
    is_given_up: &mut dyn FnMut() -> bool,
) -> Result<(), DialFailure> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(authorization) = &proxy.authorization {
        head.push_str(&format!("Proxy-Authorization: {}\r\n", authorization.expose()));
    }
    head.push_str("\r\n");
    let mut look = || match is_given_up() {
        true => Err(DialFailure::Cancelled),
        false if clock.now() >= end => Err(cut("it was silent for too long", libc::ETIMEDOUT)),
        false => Ok(()),
    };
    let mut rest = head.as_bytes();
    while !rest.is_empty() {
        look()?;
        match stream.send(&[IoSlice::new(rest)]) {
            Ok(count) => rest = &rest[count..],
            Err(error) => passing(&error)?,
        }
    }
    let mut answer = Vec::new();
    let mut memory = [0; 2048];
    loop {
        look()?;
        match stream.read(&mut memory) {
            Ok(0) => return Err(cut("it closed the connection", libc::ECONNRESET)),
            Ok(count) => answer.extend_from_slice(&memory[..count]),
            Err(error) => passing(&error)?,
        }
        if let Some(verdict) = verdict(&answer) {
            return verdict;
        }
    }
}

/// What `answer`, as far as it has come, says of the way; `None` while nothing can be said.
pub(crate) fn verdict(answer: &[u8]) -> Option<Result<(), DialFailure>> {
    match parse_response_head(answer, &Limits { max_head_bytes: MAX_HEAD_BYTES, ..Limits::default() }) {
        // The server behind it speaks second, so whatever follows the head is the proxy's own.
        Ok(Some((head, length))) if length < answer.len() && (200..300).contains(&head.status) => {
            Some(Err(no_proxy()))
        }
        Ok(Some((head, _length))) => Some(judge(head.status)),
        Ok(None) => None,
        Err(_) => Some(Err(no_proxy())),
    }
}

/// What the status of the answer means.
fn judge(status: u16) -> Result<(), DialFailure> {
    match status {
        200..=299 => Ok(()),
        407 => Err(DialFailure::Refused(
            "it wants a user and a password (status 407); write http://user:password@host:port".to_owned(),
        )),
        408 | 429 | 500..=599 => {
            Err(cut(&format!("it cannot reach the endpoint (status {status})"), libc::EHOSTUNREACH))
        }
        _ => Err(DialFailure::Refused(format!(
            "it refuses to pass the connection on (status {status}); let it, or list the host in NO_PROXY"
        ))),
    }
}

fn no_proxy() -> DialFailure {
    DialFailure::Refused("what answers there is no HTTP proxy; correct the proxy's host and port".to_owned())
}

fn cut(why: &str, errno: i32) -> DialFailure {
    DialFailure::Connect(why.to_owned(), errno)
}

/// A tick or a signal is no failure.
fn passing(error: &io::Error) -> Result<(), DialFailure> {
    if is_tick(error) || error.kind() == io::ErrorKind::Interrupted {
        return Ok(());
    }
    Err(cut(&format!("the connection to it broke ({error})"), libc::ECONNRESET))
}
