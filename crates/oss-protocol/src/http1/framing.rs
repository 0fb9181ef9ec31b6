//! Where a body ends, and whether another message may follow it.

use super::error::HttpError;
use super::headers::Headers;

/// Where a body ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body, whatever the headers say.
    None,
    /// Exactly this many bytes follow the head.
    Length(u64),
    /// Chunks follow; see [`super::ChunkedDecoder`].
    Chunked,
    /// Answers only: everything until the peer closes, so a cut cannot be told from the end.
    UntilClose,
}

/// The length or chunked coding that the headers announce; `None` if neither.
pub(super) fn announced(headers: &Headers<'_>, minor_version: u8) -> Result<Option<BodyFraming>, HttpError> {
    let length = headers.content_length()?;
    if !headers.is_chunked()? {
        return Ok(length.map(BodyFraming::Length));
    }
    if length.is_some() {
        return Err(HttpError::ContentLength("stands beside Transfer-Encoding"));
    }
    if minor_version == 0 {
        return Err(HttpError::TransferEncoding("is not known to HTTP/1.0"));
    }
    Ok(Some(BodyFraming::Chunked))
}

/// What HTTP/1.0 and 1.1 say about another message on the same connection (RFC 9112 §9.3).
pub(super) fn keep_alive(headers: &Headers<'_>, minor_version: u8) -> bool {
    if headers.has_token("connection", "close") {
        return false;
    }
    minor_version >= 1 || headers.has_token("connection", "keep-alive")
}
