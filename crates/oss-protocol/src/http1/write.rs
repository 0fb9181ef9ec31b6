//! Writing heads, refusing every byte that could end a line early.
//!
//! Keys are percent-encoded long before they come here; this is the last door, so that no
//! header value, metadata entry or key can ever add a header or a second request (S12).

use super::error::HttpError;

/// Appends a whole request head, empty line included.
///
/// `target` is the encoded path and query. Nothing is appended on an error.
///
/// # Errors
/// `Forbidden` if the method, the target, a name or a value holds a byte that is not allowed.
pub fn write_request_head<'h>(
    out: &mut Vec<u8>,
    method: &str,
    target: &str,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Result<(), HttpError> {
    let before = out.len();
    let written = write_request_line(out, method, target).and_then(|()| write_headers(out, headers));
    finish_or_undo(out, before, written)
}

/// Appends a whole answer head, empty line included, with the usual phrase for `status`.
///
/// # Errors
/// `Forbidden` if a name or a value holds a byte that is not allowed; nothing is appended then.
pub fn write_response_head<'h>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Result<(), HttpError> {
    let before = out.len();
    write_status_line(out, status);
    let written = write_headers(out, headers);
    finish_or_undo(out, before, written)
}

/// Appends `METHOD target HTTP/1.1`.
///
/// # Errors
/// `Forbidden` if the method is not a token, or the target is empty or holds a blank, a control
/// character or anything beyond ASCII.
pub fn write_request_line(out: &mut Vec<u8>, method: &str, target: &str) -> Result<(), HttpError> {
    if !is_token(method) {
        return Err(HttpError::Forbidden("request method"));
    }
    if target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HttpError::Forbidden("request target"));
    }
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// Appends `HTTP/1.1 status phrase`.
pub fn write_status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).as_bytes());
}

/// Appends one header line.
///
/// # Errors
/// `Forbidden` if the name is not a token, or the value holds a control character other than a
/// tab. Text beyond ASCII passes as UTF-8.
pub fn write_header(out: &mut Vec<u8>, name: &str, value: &str) -> Result<(), HttpError> {
    if !is_token(name) {
        return Err(HttpError::Forbidden("header name"));
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(HttpError::Forbidden("header value"));
    }
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(())
}

/// Appends the empty line that ends a head.
pub fn end_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Returns the phrase RFC 9110 gives for `status`, or `Status` for others.
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

fn write_headers<'h>(
    out: &mut Vec<u8>,
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> Result<(), HttpError> {
    headers.into_iter().try_for_each(|(name, value)| write_header(out, name, value))
}

/// A head is written whole or not at all: half of one would be completed by the next.
fn finish_or_undo(out: &mut Vec<u8>, before: usize, written: Result<(), HttpError>) -> Result<(), HttpError> {
    match written {
        Ok(()) => end_head(out),
        Err(_) => out.truncate(before),
    }
    written
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_whole() {
        let mut out = Vec::new();
        write_request_head(&mut out, "GET", "/b/k?acl", [("Host", "h"), ("x-oss-meta-a", "ä\tb")]).unwrap();
        write_response_head(&mut out, 206, [("Content-Length", "0")]).unwrap();
        let expected = "GET /b/k?acl HTTP/1.1\r\nHost: h\r\nx-oss-meta-a: ä\tb\r\n\r\n\
                        HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn nothing_that_splits_a_message_is_written() {
        for byte in (0..32).chain([127]).filter(|byte| *byte != b'\t') {
            let text = format!("a{}b", char::from(byte));
            let mut out = b"before".to_vec();
            let value = [("Host", "h"), ("x-oss-meta-a", text.as_str())];
            assert_eq!(
                write_request_head(&mut out, "PUT", "/", value),
                Err(HttpError::Forbidden("header value"))
            );
            assert_eq!(write_response_head(&mut out, 200, value), Err(HttpError::Forbidden("header value")));
            let name = [(text.as_str(), "v")];
            assert_eq!(
                write_request_head(&mut out, "PUT", "/", name),
                Err(HttpError::Forbidden("header name"))
            );
            assert_eq!(
                write_request_head(&mut out, "PUT", &text, []),
                Err(HttpError::Forbidden("request target"))
            );
            assert_eq!(
                write_request_head(&mut out, &text, "/", []),
                Err(HttpError::Forbidden("request method"))
            );
            assert_eq!(out, b"before");
        }
        let mut out = Vec::new();
        for target in ["", "/a b", "/ä", "/a\tb"] {
            assert_eq!(
                write_request_line(&mut out, "GET", target),
                Err(HttpError::Forbidden("request target"))
            );
        }
        for name in ["", "a b", "a:b", "ä"] {
            assert_eq!(write_header(&mut out, name, "v"), Err(HttpError::Forbidden("header name")));
        }
        assert!(out.is_empty());
    }
}
