//! What can be wrong with a message, and how large one may be.

use std::fmt;

/// Bounds on what a peer may make us read before a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head (start line, headers and the empty line), and of a trailer section.
    pub max_head_bytes: usize,
    /// Header lines of a head, and of a trailer section; at most [`Limits::HEADER_SLOTS`].
    pub max_headers: usize,
    /// Bytes of one chunk-size line, extensions and line end included.
    pub max_chunk_line_bytes: usize,
}

impl Limits {
    /// Header lines for which the parser has room: more are refused whatever `max_headers` says.
    pub const HEADER_SLOTS: usize = 200;
}

impl Default for Limits {
    /// 64 KiB, 200 headers, 1 KiB.
    ///
    /// OSS lets user metadata take 8 KiB, so a real head stays below 16 KiB; the rest is slack
    /// for proxies, and small enough to keep per connection.
    fn default() -> Self {
        Self { max_head_bytes: 64 * 1024, max_headers: Self::HEADER_SLOTS, max_chunk_line_bytes: 1024 }
    }
}

/// Why bytes are not an HTTP/1.1 message we accept, or why one will not be written.
///
/// The text never repeats header values or targets: they may hold credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpError {
    /// A head or a trailer section is larger than the limit, in bytes.
    HeadTooLarge(usize),
    /// A head or a trailer section has more lines than the limit.
    TooManyHeaders(usize),
    /// The head breaks the grammar (RFC 9112); the text says where.
    Malformed(&'static str),
    /// `Content-Length` is repeated, negative, not a number, or beside `Transfer-Encoding`.
    ContentLength(&'static str),
    /// `Transfer-Encoding` is anything but a single `chunked` of HTTP/1.1.
    TransferEncoding(&'static str),
    /// A chunk-size line, a chunk's end or a trailer breaks the grammar.
    Chunk(&'static str),
    /// A known header holds a value that cannot be read; the text names the header.
    HeaderValue(&'static str),
    /// We were asked to write a name, value, method or target with a byte that could split the
    /// message; the text names the part (user: fix the key or header).
    Forbidden(&'static str),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadTooLarge(limit) => write!(f, "the HTTP head is larger than {limit} bytes"),
            Self::TooManyHeaders(limit) => write!(f, "the HTTP head has more than {limit} header lines"),
            Self::Malformed(what) => write!(f, "the HTTP head is malformed: {what}"),
            Self::ContentLength(what) => write!(f, "Content-Length {what}"),
            Self::TransferEncoding(what) => write!(f, "Transfer-Encoding {what}"),
            Self::Chunk(what) => write!(f, "the chunked body is malformed: {what}"),
            Self::HeaderValue(name) => write!(f, "the value of the header {name} cannot be read"),
            Self::Forbidden(part) => {
                write!(
                    f,
                    "the {part} holds a character that is not allowed there (control characters, \
                           line breaks or blanks)"
                )
            }
        }
    }
}

impl std::error::Error for HttpError {}
