//! V4 in its URL form: whoever has the URL may send the request until it expires.

use std::fmt;

use super::canonical::{
    Canonical, CanonicalQuery, Header, additional_names, keep_signed, payload_of, string_to_sign,
};
use super::request::RequestParts;
use super::v4::{ALGORITHM, Signer, Stamp};
use crate::encoding::{encode_query, write_query};
use crate::time::UtcTime;
use crate::uri::{Addressing, Endpoint};

pub(super) const VERSION: &str = "x-oss-signature-version";
pub(super) const DATE: &str = "x-oss-date";
pub(super) const EXPIRES: &str = "x-oss-expires";
pub(super) const CREDENTIAL: &str = "x-oss-credential";
pub(super) const SECURITY_TOKEN: &str = "x-oss-security-token";
pub(super) const ADDITIONAL_HEADERS: &str = "x-oss-additional-headers";
pub(super) const SIGNATURE: &str = "x-oss-signature";

/// Longest life of a V4 URL: seven days, the limit of the service (EC 0002-00000232).
pub const MAX_PRESIGN_SECONDS: u32 = 604_800;

/// A validity outside 1 to [`MAX_PRESIGN_SECONDS`] seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresignError {
    expires_seconds: u32,
}

impl fmt::Display for PresignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.expires_seconds;
        write!(f, "a presigned URL cannot be valid for {seconds} s; choose 1 to {MAX_PRESIGN_SECONDS}")
    }
}

impl std::error::Error for PresignError {}

/// A signed URL with every step on the way. The URL is a credential: do not log it.
#[derive(Clone)]
pub struct Presigned {
    /// The whole URL.
    pub url: String,
    /// The canonical request; "" for V1, which has none.
    pub canonical_request: String,
    /// The text under the signature.
    pub string_to_sign: String,
    /// Lower-case hexadecimal (V4) or base64 (V1), not encoded for the URL.
    pub signature: String,
}

impl fmt::Debug for Presigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presigned(hidden)")
    }
}

impl Signer {
    /// Sign a request into a URL that is valid for `expires_seconds` from `time` on.
    ///
    /// Headers of `parts` that V4 signs (and those named in `additional`) must be sent unchanged
    /// with the URL. Marks of an earlier signature among the query parameters are replaced.
    ///
    /// # Errors
    /// The validity is 0 or longer than [`MAX_PRESIGN_SECONDS`].
    pub fn presign(
        &self,
        destination: (&Endpoint, Addressing),
        parts: &RequestParts<'_>,
        additional: &[&str],
        time: UtcTime,
        expires_seconds: u32,
    ) -> Result<Presigned, PresignError> {
        if !(1..=MAX_PRESIGN_SECONDS).contains(&expires_seconds) {
            return Err(PresignError { expires_seconds });
        }
        let stamp = Stamp::new(time);
        let scope = self.scope(stamp.date());
        let mut headers: Vec<_> =
            parts.headers.iter().map(|(name, value)| Header::new(name, value.as_bytes())).collect();
        let additional = additional_names(additional, &headers);
        keep_signed(&mut headers, &additional);

        let credential = format!("{}/{scope}", self.credentials().access_key_id);
        let expires = expires_seconds.to_string();
        let names = additional.join(";");
        let mut query = UrlQuery::without(parts.query, &[SIGNATURE, SECURITY_TOKEN, ADDITIONAL_HEADERS]);
        query.set(VERSION, ALGORITHM);
        query.set(DATE, stamp.iso_basic());
        query.set(EXPIRES, &expires);
        query.set(CREDENTIAL, &credential);
        if let Some(token) = &self.credentials().security_token {
            query.set(SECURITY_TOKEN, token.expose());
        }
        if !additional.is_empty() {
            query.set(ADDITIONAL_HEADERS, &names);
        }

        let canonical_request = Canonical {
            method: parts.method,
            bucket: parts.bucket,
            key: parts.key,
            query: CanonicalQuery::from_pairs(query.0.iter().copied()),
            headers: &headers,
            additional: &additional,
            payload: payload_of(&headers),
        }
        .to_text();
        let string_to_sign = string_to_sign(&canonical_request, stamp.iso_basic(), &scope);
        let signature = self.sign_text(stamp.date(), &string_to_sign);
        let url = query.url(destination, parts, SIGNATURE, &signature);
        Ok(Presigned { url, canonical_request, string_to_sign, signature })
    }
}

/// The query of a URL under construction. As with the SDKs a name stands there once: setting it
/// again replaces the value and keeps the place.
pub(super) struct UrlQuery<'a>(pub(super) Vec<(&'a str, &'a str)>);

impl<'a> UrlQuery<'a> {
    pub(super) fn without(pairs: &[(&'a str, &'a str)], left_out: &[&str]) -> Self {
        let mut query = Self(Vec::with_capacity(pairs.len() + 6));
        for (name, value) in pairs.iter().filter(|(name, _)| !left_out.contains(name)) {
            query.set(name, value);
        }
        query
    }

    pub(super) fn set(&mut self, name: &'a str, value: &'a str) {
        match self.0.iter_mut().find(|(present, _)| *present == name) {
            Some(pair) => pair.1 = value,
            None => self.0.push((name, value)),
        }
    }

    pub(super) fn url(
        &self,
        (endpoint, addressing): (&Endpoint, Addressing),
        parts: &RequestParts<'_>,
        signature_name: &str,
        signature: &str,
    ) -> String {
        let target = endpoint.target(addressing, parts.bucket, parts.key);
        format!(
            "{}://{}{}?{}&{signature_name}={}",
            endpoint.scheme.as_str(),
            target.host_header,
            target.path,
            write_query(&self.0),
            encode_query(signature)
        )
    }
}
