//! What goes into the check of a signature, and what comes out of it.

use std::fmt;

use crate::sign::credentials::Credentials;
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
