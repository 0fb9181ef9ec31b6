//! What OSS says when it refuses a request.

use std::fmt;

use crate::encoding::base64_decode;
use crate::excerpt::printable;
use crate::xml::{Document, ErrorDocument};

/// Code of an answer that no OSS error document could be read from, as the official SDKs name it.
pub const BAD_ERROR_RESPONSE: &str = "BadErrorResponse";

/// Bytes of an error body worth receiving and looking at; the rest is left on the wire, and the
/// connection with it (fault F50).
pub const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;

/// Bytes of a message that may come from a body.
const MAX_MESSAGE_BYTES: usize = 512;

/// Bytes of the short fields; the longest known code has 35.
const MAX_FIELD_BYTES: usize = 128;

/// One refusal: the status line, and what the error document or the headers add to it.
///
/// Every text is printable and on one line, so that it can go into a log as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// HTTP status; 200 if the refusal came in the body of a success.
    pub status: u16,
    /// OSS code such as `NoSuchKey`; [`BAD_ERROR_RESPONSE`] if the answer had none.
    pub code: String,
    /// Text for people, at most 512 bytes; may be empty.
    pub message: String,
    /// `x-oss-request-id`, for a support ticket; may be empty.
    pub request_id: String,
    /// Diagnostic number such as `0002-00000226`; may change, so nothing branches on it.
    pub ec: String,
    /// Host that answered, as the document names it; may be empty.
    pub host_id: String,
}

impl ServiceError {
    /// Reads the refusal from an answer. Never fails: what cannot be read becomes
    /// [`BAD_ERROR_RESPONSE`] with an excerpt of the body as its message.
    ///
    /// `headers` looks a name up without case; `body` is what was received, of which the first
    /// [`MAX_ERROR_BODY_BYTES`] count. The document is XML, or JSON if `Content-Type` says so.
    /// An answer to HEAD (`is_head`), or one without body, has it in `x-oss-err`, as base64.
    pub fn from_response(
        status: u16,
        headers: impl Fn(&str) -> Option<String>,
        body: &[u8],
        is_head: bool,
    ) -> Self {
        let body = body.get(..MAX_ERROR_BODY_BYTES).unwrap_or(body);
        let content_type = headers("content-type").unwrap_or_default();
        let mut error = if is_head || body.is_empty() {
            Self::from_header(status, headers("x-oss-err").as_deref())
        } else {
            read_body(&content_type, body)
                .map(|document| Self::from_document(status, &document))
                .unwrap_or_else(|| Self::unreadable(status, &content_type, body))
        };
        fill(&mut error.request_id, || headers("x-oss-request-id"));
        fill(&mut error.ec, || headers("x-oss-ec"));
        error
    }

    /// Makes the texts of an error document fit to be shown.
    pub fn from_document(status: u16, document: &ErrorDocument) -> Self {
        let field = |text: &str| printable(text, MAX_FIELD_BYTES);
        Self {
            status,
            code: Some(field(&document.code))
                .filter(|code| !code.is_empty())
                .unwrap_or_else(|| BAD_ERROR_RESPONSE.to_owned()),
            message: printable(&document.message, MAX_MESSAGE_BYTES),
            request_id: field(&document.request_id),
            ec: field(&document.ec),
            host_id: field(&document.host_id),
        }
    }

    fn from_header(status: u16, x_oss_err: Option<&str>) -> Self {
        let nothing = || Self { status, code: BAD_ERROR_RESPONSE.to_owned(), ..Self::default() };
        let Some(bytes) = x_oss_err.and_then(|text| base64_decode(text.trim()).ok()) else {
            return nothing();
        };
        match ErrorDocument::decode(&bytes, MAX_ERROR_BODY_BYTES) {
            Ok(document) => Self::from_document(status, &document),
            Err(_) => nothing(),
        }
    }

    fn unreadable(status: u16, content_type: &str, body: &[u8]) -> Self {
        let lead = match printable(content_type, 64) {
            named if named.is_empty() => "not an OSS error document: ".to_owned(),
            named => format!("not an OSS error document ({named}): "),
        };
        let excerpt = printable(&String::from_utf8_lossy(body), MAX_MESSAGE_BYTES - lead.len());
        Self { status, code: BAD_ERROR_RESPONSE.to_owned(), message: lead + &excerpt, ..Self::default() }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (status {})", self.code, self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for ServiceError {}

fn fill(field: &mut String, header: impl FnOnce() -> Option<String>) {
    if field.is_empty() {
        *field = printable(&header().unwrap_or_default(), MAX_FIELD_BYTES);
    }
}

fn read_body(content_type: &str, body: &[u8]) -> Option<ErrorDocument> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        read_json(body)
    } else {
        ErrorDocument::decode(body, MAX_ERROR_BODY_BYTES).ok()
    }
}

/// Reads `{"Error": {"Code": ..., "Message": ...}}`, or the inner object alone.
fn read_json(body: &[u8]) -> Option<ErrorDocument> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = document.get("Error").unwrap_or(&document);
    let text = |name: &str| error.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let code = Some(text("Code")).filter(|code| !code.is_empty())?;
    Some(ErrorDocument {
        code,
        message: text("Message"),
        request_id: text("RequestId"),
        host_id: text("HostId"),
        ec: text("EC"),
        ..ErrorDocument::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::base64_encode;

    const NO_SUCH_KEY: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>\n  <Code>NoSuchKey</Code>\n  \
        <Message>The specified key does not exist.</Message>\n  <RequestId>64C0FFEE</RequestId>\n  \
        <HostId>b.oss-cn-hangzhou.aliyuncs.com</HostId>\n  <Key>a</Key>\n  <EC>0026-00000001</EC>\n</Error>\n";

    fn headers(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| pairs.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).to_owned())
    }

    fn no_such_key(status: u16) -> ServiceError {
        ServiceError {
            status,
            code: "NoSuchKey".to_owned(),
            message: "The specified key does not exist.".to_owned(),
            request_id: "64C0FFEE".to_owned(),
            ec: "0026-00000001".to_owned(),
            host_id: "b.oss-cn-hangzhou.aliyuncs.com".to_owned(),
        }
    }

    #[test]
    fn xml_is_read() {
        let error = ServiceError::from_response(404, headers(&[]), NO_SUCH_KEY.as_bytes(), false);
        assert_eq!(error, no_such_key(404));
        assert_eq!(error.to_string(), "NoSuchKey (status 404): The specified key does not exist.");
    }

    #[test]
    fn head_takes_the_document_from_a_header() {
        let encoded = base64_encode(NO_SUCH_KEY.as_bytes());
        let error = ServiceError::from_response(404, headers(&[("x-oss-err", &encoded)]), b"", true);
        assert_eq!(error, no_such_key(404));
    }

    #[test]
    fn a_head_without_document_keeps_what_the_headers_say() {
        let given =
            [("x-oss-request-id", "R1"), ("x-oss-ec", "0026-00000001"), ("x-oss-err", "!not base64!")];
        for count in [2, 3] {
            let error = ServiceError::from_response(404, headers(&given[..count]), b"", true);
            assert_eq!(error.code, BAD_ERROR_RESPONSE);
            assert_eq!((error.request_id.as_str(), error.ec.as_str()), ("R1", "0026-00000001"));
            assert_eq!(error.message, "");
        }
    }

    #[test]
    fn json_is_read_where_it_is_announced() {
        let inner = r#"{"Code":"InvalidArgument","Message":"no","RequestId":"R2","EC":"1","HostId":"h"}"#;
        let outer = format!("{{\"Error\":{inner}}}");
        for body in [inner, outer.as_str()] {
            let given = headers(&[("content-type", "application/json; charset=utf-8")]);
            let error = ServiceError::from_response(400, given, body.as_bytes(), false);
            assert_eq!(error.code, "InvalidArgument");
            assert_eq!((error.message.as_str(), error.request_id.as_str()), ("no", "R2"));
            assert_eq!(
                ServiceError::from_response(400, headers(&[]), body.as_bytes(), false).code,
                BAD_ERROR_RESPONSE
            );
        }
        let deep = "[".repeat(60_000);
        let given = headers(&[("content-type", "application/json")]);
        assert_eq!(ServiceError::from_response(400, given, deep.as_bytes(), false).code, BAD_ERROR_RESPONSE);
    }

    #[test]
    fn html_becomes_an_excerpt() {
        let page = format!("<html>\r\n<title>502 Bad\u{1b}[2J Gateway</title>{}</html>", "x".repeat(100_000));
        let given = headers(&[("content-type", "text/html")]);
        let error = ServiceError::from_response(502, given, page.as_bytes(), false);
        assert_eq!(error.code, BAD_ERROR_RESPONSE);
        assert!(
            error
                .message
                .starts_with("not an OSS error document (text/html): <html> <title>502 Bad [2J Gateway")
        );
        assert!(error.message.len() <= 512 && !error.message.contains(char::is_control), "{}", error.message);
    }

    #[test]
    fn no_text_of_a_document_can_forge_a_line() {
        let body = format!(
            "<Error><Code>A&#10;B</Code><Message>{}</Message><EC>&#27;[1m</EC></Error>",
            "m\n".repeat(9_000)
        );
        let error = ServiceError::from_response(
            500,
            headers(&[("x-oss-request-id", "a\nb")]),
            body.as_bytes(),
            false,
        );
        assert_eq!(
            (error.code.as_str(), error.ec.as_str(), error.request_id.as_str()),
            ("A B", "[1m", "a b")
        );
        assert_eq!(error.message.len(), 512);
    }

    #[test]
    fn a_document_without_code_is_unreadable() {
        for body in ["<Error/>", "<Error><Code/></Error>", "<Error><Code>x</Code>", "\u{0}\u{1}", "<Erro"] {
            assert_eq!(
                ServiceError::from_response(500, headers(&[]), body.as_bytes(), false).code,
                BAD_ERROR_RESPONSE
            );
        }
    }
}
