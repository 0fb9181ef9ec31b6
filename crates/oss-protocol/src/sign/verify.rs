//! The server's side: does the request that arrived carry a signature of a known key?

use std::fmt;

use super::credentials::Credentials;
use crate::time::UtcTime;

/// How far the clock of a client may be off: 15 minutes, then it is 403 `RequestTimeTooSkewed`.
pub const CLOCK_WINDOW_SECONDS: i64 = 900;

/// A request as it arrived on the wire.
#[derive(Clone, Copy)]
pub struct VerifyRequest<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// The bucket, from the host or from the path.
    pub bucket: Option<&'a str>,
    /// The key, percent-decoded.
    pub key: Option<&'a str>,
    /// The query as it stood in the request line, without the `?`.
    pub raw_query: &'a str,
    /// All headers in the order of the wire.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Names only: values hold signatures and tokens.
impl fmt::Debug for VerifyRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("method", &self.method)
            .field("bucket", &self.bucket)
            .field("key", &self.key)
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What the server expects.
#[derive(Clone, Copy, Debug)]
pub struct VerifyPolicy<'a> {
    /// Region that a V4 scope must name, without `oss-`.
    pub region: &'a str,
    /// Product that a V4 scope must name, `oss`.
    pub product: &'a str,
    /// The server's clock.
    pub now: UtcTime,
}

/// What is known about an access key id.
#[derive(Clone, Debug)]
pub enum KeyLookup {
    /// The key, with its token if it is a temporary one.
    Found(Credentials),
    /// No such key.
    Unknown,
    /// A temporary key whose time is over.
    Expired,
}

impl From<Option<Credentials>> for KeyLookup {
    fn from(found: Option<Credentials>) -> Self {
        found.map_or(Self::Unknown, Self::Found)
    }
}

/// Which signature a request carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureVersion {
    /// HMAC-SHA-1.
    V1,
    /// `OSS4-HMAC-SHA256`.
    V4,
}

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The key that signed.
    pub access_key_id: String,
    /// How it signed.
    pub version: SignatureVersion,
    /// Whether the signature stood in the URL.
    pub presigned: bool,
}

/// Why a request is refused; all that the error document of the service needs.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureProblem {
    /// HTTP status, 400 or 403.
    pub status: u16,
    /// Code of the service.
    pub code: &'static str,
    /// One line for the user.
    pub message: String,
    /// Diagnostic number of the service, "" where none is known.
    pub ec: &'static str,
    /// The key id the request named.
    pub access_key_id: Option<String>,
    /// For `SignatureDoesNotMatch`: what the server signed.
    pub string_to_sign: Option<String>,
    /// For `SignatureDoesNotMatch` of V4: what the server hashed.
    pub canonical_request: Option<String>,
    /// For `SignatureDoesNotMatch`: the signature the request carried.
    pub signature_provided: Option<String>,
}

/// Without the texts that were signed: they may hold a token.
impl fmt::Debug for SignatureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureProblem")
            .field("status", &self.status)
            .field("code", &self.code)
            .field("message", &self.message)
            .field("ec", &self.ec)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SignatureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for SignatureProblem {}

/// Check the signature of a request: V4 or V1, in the header or in the URL.
///
/// `lookup` is asked for the key id the request names, at most once.
///
/// # Errors
/// A boxed [`SignatureProblem`] with the code of the service.
pub fn verify<L: Into<KeyLookup>>(
    _request: &VerifyRequest<'_>,
    _policy: &VerifyPolicy<'_>,
    _lookup: impl FnOnce(&str) -> L,
) -> Result<Identity, Box<SignatureProblem>> {
    unimplemented!()
}
