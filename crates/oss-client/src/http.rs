//! HTTP/1.1 over blocking sockets: the door to the network.
//!
//! A [`connection::Connection`] carries one exchange at a time: one send, one receive of the head and the
//! first bytes of the body, then the body straight into its destination. A worker waits in ticks
//! ([`watch::Watch`]): at each it looks at the cancel flag, the deadline, the stall and the floor; on a fast
//! stream there are no ticks and no clock calls. A body fills its slice exactly or is an error that says how
//! many bytes arrived; a connection about which there is any doubt is closed, never pooled.

pub(crate) mod ask;
pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod pool;
mod resolve;
pub(crate) mod socket;
pub(crate) mod stream;
mod tls;
pub(crate) mod tunnel;
pub(crate) mod watch;

use std::fmt;

/// Why an exchange ended without a whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer closed before the first byte of the answer.
    ClosedBeforeAnswer,
    /// The peer closed in the middle.
    ClosedEarly,
    /// The connection was reset or failed otherwise; the text is the system's.
    Reset(String),
    /// No first byte in time.
    SilentAfterRequest,
    /// No byte of the answer for too long.
    ReadStalled,
    /// The peer took no byte for too long.
    WriteStalled,
    /// Below the floor.
    TooSlow,
    /// The operation's deadline passed.
    Deadline,
    /// The operation was given up.
    Cancelled,
    /// The answer is not HTTP as we accept it.
    Malformed(String),
}

impl Broken {
    /// Whether the answer only ended, or stopped, too soon: what came of it is good.
    fn is_cut(&self) -> bool {
        matches!(self, Broken::ClosedEarly | Broken::Reset(_) | Broken::ReadStalled | Broken::TooSlow)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Broken::ClosedBeforeAnswer => "the connection was closed before the answer began",
            Broken::ClosedEarly => "the connection was closed before the answer was complete",
            Broken::Reset(why) => return write!(out, "the connection broke ({why})"),
            Broken::SilentAfterRequest => "no answer began in time",
            Broken::ReadStalled => "the answer stalled",
            Broken::WriteStalled => "the service stopped taking the request",
            Broken::TooSlow => "the transfer was slower than the floor",
            Broken::Deadline => "the deadline passed",
            Broken::Cancelled => "cancelled by the caller",
            Broken::Malformed(why) => return write!(out, "the answer is malformed ({why})"),
        })
    }
}
