//! HTTP/1.1 without sockets: heads, framing, chunked bodies, ranges.
//!
//! Client and emulator share this room. The reading side takes whatever bytes have arrived and
//! says "more", "this is the head, so many bytes long" or "this is not HTTP"; the writing side
//! appends to a `Vec<u8>` and refuses what could split a request. Every size has a limit
//! ([`Limits`]), and after any [`HttpError`] the connection must be closed, never pooled: nobody
//! knows any more where the next message begins.

mod chunked;
mod error;
mod framing;
mod head;
mod headers;
mod range;
mod write;

pub use self::chunked::{ChunkStep, ChunkedDecoder, write_chunk, write_last_chunk};
pub use self::error::{HttpError, Limits};
pub use self::framing::BodyFraming;
pub use self::head::{RequestHead, ResponseHead, head_is_complete, parse_request_head, parse_response_head};
pub use self::headers::Headers;
pub use self::range::{
    ContentRange, RangeSpec, format_range, parse_content_range, parse_range, parse_unsatisfied_range,
};
pub use self::write::{
    end_head, reason_phrase, write_header, write_request_head, write_request_line, write_response_head,
    write_status_line,
};
