//! What is signed, and what signing gives back.

use std::fmt;

/// The parts of a request that a signature covers, as values: nothing is encoded yet.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// The bucket; `None` for operations on the service.
    pub bucket: Option<&'a str>,
    /// The key, raw; `None` or "" for operations on the bucket.
    pub key: Option<&'a str>,
    /// Query parameters, decoded; "" for a bare name.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers in any order and case. Those that signing adds need not be here.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Names only: values may hold a security token.
impl fmt::Debug for RequestParts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestParts")
            .field("method", &self.method)
            .field("bucket", &self.bucket)
            .field("key", &self.key)
            .field("query", &self.query.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("headers", &self.headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish()
    }
}

/// The outcome of signing with every step on the way.
#[derive(Clone)]
pub struct Signed {
    /// Headers to send besides those of the request, `Authorization` last.
    pub headers_to_add: Vec<(&'static str, String)>,
    /// The canonical request; "" for V1, which has none.
    pub canonical_request: String,
    /// The text under the signature.
    pub string_to_sign: String,
    /// Lower-case hexadecimal (V4) or base64 (V1).
    pub signature: String,
}

/// Neither the token nor the signature is shown.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed")
            .field("headers_to_add", &self.headers_to_add.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
