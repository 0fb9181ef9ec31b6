//! Reading the heads of requests and answers, and saying where their bodies end.
//!
//! A head is parsed again from its first byte when more of it arrives; that is cheap because a
//! head nearly always comes in one piece. A caller that receives in small pieces asks
//! [`head_is_complete`] first, which looks at the new bytes only.

use std::mem::MaybeUninit;

use super::error::{HttpError, Limits};
use super::framing::{BodyFraming, announced, keep_alive};
use super::headers::Headers;
use super::range::{ContentRange, parse_content_range};

/// The head of an answer, borrowed from the receive buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead<'b> {
    /// Status code, 100..=599.
    pub status: u16,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The header lines.
    pub headers: Headers<'b>,
}

/// The head of a request, borrowed from the receive buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead<'b> {
    /// Method as sent; methods are case-sensitive.
    pub method: &'b str,
    /// Request target as sent: not decoded, nothing normalised.
    pub target: &'b str,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor_version: u8,
    /// The header lines.
    pub headers: Headers<'b>,
}

type Slots<'b> = [MaybeUninit<httparse::Header<'b>>; Limits::HEADER_SLOTS];

/// Parses the head of an answer from the start of `bytes`.
///
/// Returns the head and its length in bytes (the body begins there), or `None` while more bytes
/// are needed. Lines must end in CR LF; folded lines and HTTP/2 or 0.9 are refused.
///
/// # Errors
/// `HeadTooLarge`, `TooManyHeaders` or `Malformed`; close the connection.
pub fn parse_response_head<'b>(
    bytes: &'b [u8],
    limits: &Limits,
) -> Result<Option<(ResponseHead<'b>, usize)>, HttpError> {
    if bytes.first().is_some_and(|first| *first != b'H') {
        // A blank line here would be left over from the message before: the framing is lost.
        return Err(HttpError::Malformed("the status line does not begin with HTTP/"));
    }
    let window = window(bytes, limits);
    let mut slots: Slots<'b> = [const { MaybeUninit::uninit() }; Limits::HEADER_SLOTS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let room = &mut slots[..limits.max_headers.min(Limits::HEADER_SLOTS)];
    let outcome = config.parse_response_with_uninit_headers(&mut parsed, window, room);
    let Some(length) = finished(outcome, window, limits)? else { return Ok(None) };
    let status = parsed.code.filter(|code| (100..=599).contains(code));
    let status = status.ok_or(HttpError::Malformed("the status is not between 100 and 599"))?;
    let minor_version = parsed.version.unwrap_or(0);
    Ok(Some((ResponseHead { status, minor_version, headers: Headers::from_parsed(parsed.headers) }, length)))
}

/// Parses the head of a request from the start of `bytes`.
///
/// Returns the head and its length in bytes, or `None` while more bytes are needed. Empty lines
/// before the request line are skipped (RFC 9112 §2.2) and count in the length.
///
/// # Errors
/// `HeadTooLarge`, `TooManyHeaders` or `Malformed`; answer 400 and close the connection.
pub fn parse_request_head<'b>(
    bytes: &'b [u8],
    limits: &Limits,
) -> Result<Option<(RequestHead<'b>, usize)>, HttpError> {
    let window = window(bytes, limits);
    let mut slots: Slots<'b> = [const { MaybeUninit::uninit() }; Limits::HEADER_SLOTS];
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let room = &mut slots[..limits.max_headers.min(Limits::HEADER_SLOTS)];
    let outcome = config.parse_request_with_uninit_headers(&mut parsed, window, room);
    let Some(length) = finished(outcome, window, limits)? else { return Ok(None) };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(HttpError::Malformed("the request line is incomplete"));
    };
    let minor_version = parsed.version.unwrap_or(0);
    Ok(Some((
        RequestHead { method, target, minor_version, headers: Headers::from_parsed(parsed.headers) },
        length,
    )))
}

/// Says whether `bytes` holds the empty line that ends a head.
///
/// `searched` is how many bytes an earlier call with the same buffer has seen, so that a head
/// that trickles in byte by byte costs one pass in all. A `true` may be early (the empty line
/// can stand before a request line); only the parser decides.
pub fn head_is_complete(bytes: &[u8], searched: usize) -> bool {
    // The four bytes may straddle the border of the two calls.
    let from = searched.saturating_sub(3).min(bytes.len());
    bytes[from..].windows(4).any(|four| four == b"\r\n\r\n")
}

fn window<'b>(bytes: &'b [u8], limits: &Limits) -> &'b [u8] {
    bytes.get(..limits.max_head_bytes).unwrap_or(bytes)
}

fn finished(
    outcome: httparse::Result<usize>,
    window: &[u8],
    limits: &Limits,
) -> Result<Option<usize>, HttpError> {
    match outcome {
        Ok(httparse::Status::Complete(length)) => only_crlf(&window[..length]).map(|()| Some(length)),
        Ok(httparse::Status::Partial) if window.len() >= limits.max_head_bytes => {
            Err(HttpError::HeadTooLarge(limits.max_head_bytes))
        }
        Ok(httparse::Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            Err(HttpError::TooManyHeaders(limits.max_headers.min(Limits::HEADER_SLOTS)))
        }
        Err(error) => Err(HttpError::Malformed(describe(error))),
    }
}

/// Refuses a bare LF as line end, which httparse accepts.
///
/// Two readers that disagree on line ends disagree on where a message ends. Inside a head that
/// httparse took, CR occurs only before LF, so counting is enough.
fn only_crlf(head: &[u8]) -> Result<(), HttpError> {
    if count(head, b'\n') == count(head, b'\r') {
        Ok(())
    } else {
        Err(HttpError::Malformed("a line ends without CR"))
    }
}

/// Counts `wanted`. Sums of single bytes let the compiler compare sixteen at a time: ten times
/// as fast as `filter().count()`, which took longer than the parsing.
fn count(bytes: &[u8], wanted: u8) -> usize {
    let in_chunk = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(*byte == wanted)).sum::<u8>();
    bytes.chunks(usize::from(u8::MAX)).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "invalid header name",
        httparse::Error::HeaderValue => "invalid header value",
        httparse::Error::NewLine => "invalid line end",
        httparse::Error::Status => "invalid status line",
        httparse::Error::Token => "invalid start line",
        httparse::Error::TooManyHeaders => "too many headers",
        httparse::Error::Version => "not HTTP/1.0 or HTTP/1.1",
    }
}

impl<'b> ResponseHead<'b> {
    /// Returns the first value of `name` as text; `None` if absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.headers.get(name)
    }

    /// Reads `Content-Length`; see [`Headers::content_length`].
    ///
    /// # Errors
    /// `ContentLength` if it is repeated or not a decimal number.
    pub fn content_length(&self) -> Result<Option<u64>, HttpError> {
        self.headers.content_length()
    }

    /// Says whether the body is chunked; see [`Headers::is_chunked`].
    ///
    /// # Errors
    /// `TransferEncoding` for any other coding.
    pub fn is_chunked(&self) -> Result<bool, HttpError> {
        self.headers.is_chunked()
    }

    /// Says where the body of this answer to a `method` request ends.
    ///
    /// HEAD, 1xx, 204 and 304 have no body, and so has a 2xx to CONNECT.
    ///
    /// # Errors
    /// `ContentLength` or `TransferEncoding` if the headers contradict each other; they are
    /// checked even where there is no body.
    pub fn framing(&self, method: &str) -> Result<BodyFraming, HttpError> {
        let announced = announced(&self.headers, self.minor_version)?;
        let bodiless = method == "HEAD"
            || matches!(self.status, 100..=199 | 204 | 304)
            || (method == "CONNECT" && matches!(self.status, 200..=299));
        if bodiless { Ok(BodyFraming::None) } else { Ok(announced.unwrap_or(BodyFraming::UntilClose)) }
    }

    /// Says whether the peer will take another request on this connection.
    ///
    /// A body framed by [`BodyFraming::UntilClose`] rules that out in any case.
    pub fn keep_alive(&self) -> bool {
        keep_alive(&self.headers, self.minor_version)
    }

    /// Reads `Content-Range: bytes a-b/total`; `None` if absent, repeated or malformed.
    pub fn content_range(&self) -> Option<ContentRange> {
        parse_content_range(self.headers.single("content-range")?)
    }

    /// Returns the `ETag` as sent, quotes included; `None` if absent or repeated.
    pub fn etag(&self) -> Option<&'b str> {
        self.headers.single("etag")
    }

    /// Reads `x-oss-hash-crc64ecma`: of the whole object, also on a 206.
    ///
    /// # Errors
    /// `HeaderValue` if it is repeated or not an unsigned decimal: a checksum that cannot be
    /// read must not pass as one that is absent.
    pub fn crc64(&self) -> Result<Option<u64>, HttpError> {
        self.headers.decimal("x-oss-hash-crc64ecma")
    }

    /// Returns `x-oss-request-id`.
    pub fn request_id(&self) -> Option<&'b str> {
        self.headers.get("x-oss-request-id")
    }
}

impl<'b> RequestHead<'b> {
    /// Returns the first value of `name` as text; `None` if absent or not UTF-8.
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.headers.get(name)
    }

    /// Returns the raw path of the target, `*` for `OPTIONS *`.
    pub fn path(&self) -> &'b str {
        let (_, rest) = self.split_authority();
        let path = rest.split_once('?').map_or(rest, |(path, _)| path);
        if path.is_empty() { "/" } else { path }
    }

    /// Returns the raw query, without `?`; `None` if there is no `?`.
    pub fn query(&self) -> Option<&'b str> {
        self.split_authority().1.split_once('?').map(|(_, query)| query)
    }

    /// Returns the host the request names: of an absolute target, else of the `Host` header.
    ///
    /// `None` if there is none, or the `Host` header is repeated.
    pub fn host(&self) -> Option<&'b str> {
        self.split_authority().0.or_else(|| self.headers.single("host"))
    }

    /// Says where the body ends; a request without length and coding has none.
    ///
    /// # Errors
    /// `ContentLength` or `TransferEncoding` if the headers are unreadable or contradict each
    /// other: answer 400 and close.
    pub fn framing(&self) -> Result<BodyFraming, HttpError> {
        Ok(announced(&self.headers, self.minor_version)?.unwrap_or(BodyFraming::None))
    }

    /// Says whether the client will read an answer and send another request.
    pub fn keep_alive(&self) -> bool {
        keep_alive(&self.headers, self.minor_version)
    }

    /// Says whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.minor_version >= 1 && self.headers.has_token("expect", "100-continue")
    }

    /// Splits `http://host/path?query`, as a client of a proxy sends it, into host and rest.
    fn split_authority(&self) -> (Option<&'b str>, &'b str) {
        if self.target.starts_with('/') {
            return (None, self.target);
        }
        let Some((_, after)) = self.target.split_once("://") else { return (None, self.target) };
        let end = after.find(['/', '?']).unwrap_or(after.len());
        (Some(&after[..end]), &after[end..])
    }
}
