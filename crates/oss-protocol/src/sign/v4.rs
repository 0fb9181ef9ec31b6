//! V4 in its header form: the key of the day, the stamp of the second, the signer.

use std::fmt;
use std::sync::RwLock;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::canonical::{
    CONTENT_SHA256, Canonical, CanonicalQuery, Header, UNSIGNED_PAYLOAD, additional_names, keep_signed,
    string_to_sign,
};
use super::credentials::{Credentials, Secret};
use super::mac;
use super::request::{RequestParts, Signed};
use crate::encoding::{hex, hex_into};
use crate::time::UtcTime;

pub(super) const ALGORITHM: &str = "OSS4-HMAC-SHA256";
pub(super) const DATE: &str = "x-oss-date";
pub(super) const SECURITY_TOKEN: &str = "x-oss-security-token";
pub(super) const SCOPE_END: &str = "aliyun_v4_request";

/// What a key of the day is good for; written `20240517/cn-hangzhou/oss/aliyun_v4_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// Day in UTC, `20240517`.
    pub date: &'a str,
    /// Region without `oss-`, `cn-hangzhou`.
    pub region: &'a str,
    /// `oss`, or `oss-cloudbox`.
    pub product: &'a str,
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{SCOPE_END}", self.date, self.region, self.product)
    }
}

/// The key derived from a secret for one day, region and product.
#[derive(Clone)]
pub struct SigningKey {
    keyed: Hmac<Sha256>,
    bytes: Zeroizing<[u8; 32]>,
}

impl SigningKey {
    /// Derive the key; costs five HMACs.
    #[must_use]
    pub fn derive(secret: &Secret, scope: &Scope<'_>) -> Self {
        let start = Zeroizing::new(["aliyun_v4", secret.expose()].concat());
        let of_date = mac::sha256(start.as_bytes(), scope.date.as_bytes());
        let of_region = mac::sha256(of_date.as_slice(), scope.region.as_bytes());
        let of_product = mac::sha256(of_region.as_slice(), scope.product.as_bytes());
        let bytes = mac::sha256(of_product.as_slice(), SCOPE_END.as_bytes());
        Self { keyed: mac::sha256_keyed(bytes.as_slice()), bytes }
    }

    /// The key in hexadecimal: for tests against vectors, never for logs.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.bytes.as_slice())
    }

    /// Sign a string to sign; lower-case hexadecimal.
    #[must_use]
    pub fn sign(&self, string_to_sign: &[u8]) -> String {
        hex(&self.mac(string_to_sign))
    }

    fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut keyed = self.keyed.clone();
        keyed.update(message);
        keyed.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

/// A second, written in the forms that signing needs; made once a second, not once a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    time: UtcTime,
    iso_basic: String,
}

impl Stamp {
    /// Write down a second.
    #[must_use]
    pub fn new(time: UtcTime) -> Self {
        Self { time, iso_basic: time.to_iso_basic() }
    }

    /// The second this stamp is for.
    #[must_use]
    pub fn time(&self) -> UtcTime {
        self.time
    }

    /// `20240517T083005Z`.
    #[must_use]
    pub fn iso_basic(&self) -> &str {
        &self.iso_basic
    }

    /// `20240517`.
    #[must_use]
    pub fn date(&self) -> &str {
        self.iso_basic.split_once('T').map_or("", |(date, _)| date)
    }
}

/// The key of a day with the texts that go with it.
struct DayKey {
    date: String,
    scope: String,
    key: SigningKey,
}

/// Signs requests with one set of credentials for one region, keeping the key of the day.
///
/// The key is kept behind a lock that is only ever tried: whoever does not get it derives the key
/// once more (microseconds). So signing never waits, also not in a process that was forked while
/// another thread held the lock.
pub struct Signer {
    credentials: Credentials,
    region: String,
    product: String,
    day: RwLock<Option<DayKey>>,
}

impl Signer {
    /// Make a signer for the product `oss`; `region` is the plain id, `cn-hangzhou`.
    #[must_use]
    pub fn new(credentials: Credentials, region: impl Into<String>) -> Self {
        Self::for_product(credentials, region, "oss")
    }

    /// Make a signer for another product, `oss-cloudbox`.
    #[must_use]
    pub fn for_product(
        credentials: Credentials,
        region: impl Into<String>,
        product: impl Into<String>,
    ) -> Self {
        Self { credentials, region: region.into(), product: product.into(), day: RwLock::new(None) }
    }

    /// The credentials this signer signs with.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The region this signer signs for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Sign a request and keep every step on the way; `additional` names further headers to sign.
    ///
    /// `x-oss-date`, `x-oss-content-sha256` and, with temporary keys, `x-oss-security-token` among
    /// `parts.headers` are replaced. Header values must be sent trimmed, as they are signed.
    #[must_use]
    pub fn sign_headers(&self, parts: &RequestParts<'_>, additional: &[&str], time: UtcTime) -> Signed {
        let stamp = Stamp::new(time);
        let mut headers = self.headers(parts, &stamp);
        let additional = additional_names(additional, &headers);
        keep_signed(&mut headers, &additional);
        let canonical_request = canonical_of(parts, &headers, &additional).to_text();
        let scope = self.scope(stamp.date());
        let string_to_sign = string_to_sign(&canonical_request, stamp.iso_basic(), &scope);
        let signature = self.sign_text(stamp.date(), &string_to_sign);
        let authorization = self.authorization(&scope, &additional, &signature);
        let mut headers_to_add = vec![
            ("Date", time.to_http_date()),
            (CONTENT_SHA256, UNSIGNED_PAYLOAD.to_owned()),
            (DATE, stamp.iso_basic.clone()),
        ];
        if let Some(token) = &self.credentials.security_token {
            headers_to_add.push((SECURITY_TOKEN, token.expose().to_owned()));
        }
        headers_to_add.push(("Authorization", authorization));
        Signed { headers_to_add, canonical_request, string_to_sign, signature }
    }

    /// Sign a request on the hot path: append the header lines that signing adds to `out`.
    ///
    /// The lines are `x-oss-date`, `x-oss-content-sha256`, with temporary keys
    /// `x-oss-security-token`, and `Authorization`, each ended by CR LF; none of them may be among
    /// `parts.headers`. The intermediate texts are written behind the end of `out` and removed
    /// again, so that a buffer that is used anew for every request costs no allocation for them.
    pub fn sign_into(&self, parts: &RequestParts<'_>, stamp: &Stamp, out: &mut Vec<u8>) {
        let mut headers = self.headers(parts, stamp);
        keep_signed(&mut headers, &[]);
        let start = out.len();
        canonical_of(parts, &headers, &[]).write(out);
        let digest = Sha256::digest(&out[start..]);
        out.truncate(start);
        self.with_day_key(stamp.date(), |day| {
            for text in [ALGORITHM, "\n", stamp.iso_basic(), "\n", &day.scope, "\n"] {
                out.extend_from_slice(text.as_bytes());
            }
            hex_into(out, &digest);
            let signature = day.key.mac(&out[start..]);
            out.truncate(start);
            self.write_lines(stamp, &day.scope, &signature, out);
        });
    }

    fn write_lines(&self, stamp: &Stamp, scope: &str, signature: &[u8], out: &mut Vec<u8>) {
        let mut line =
            |pieces: &[&str]| pieces.iter().for_each(|piece| out.extend_from_slice(piece.as_bytes()));
        line(&[DATE, ": ", stamp.iso_basic(), "\r\n", CONTENT_SHA256, ": ", UNSIGNED_PAYLOAD, "\r\n"]);
        if let Some(token) = &self.credentials.security_token {
            line(&[SECURITY_TOKEN, ": ", token.expose(), "\r\n"]);
        }
        let id = self.credentials.access_key_id.as_str();
        line(&["Authorization: ", ALGORITHM, " Credential=", id, "/", scope, ",Signature="]);
        hex_into(out, signature);
        out.extend_from_slice(b"\r\n");
    }

    /// The headers of the request with those that signing sets, unsorted.
    fn headers<'a>(&'a self, parts: &RequestParts<'a>, stamp: &'a Stamp) -> Vec<Header<'a>> {
        let mut headers = Vec::with_capacity(parts.headers.len() + 3);
        let replaced = |name: &str| {
            name.eq_ignore_ascii_case(DATE)
                || name.eq_ignore_ascii_case(CONTENT_SHA256)
                || (self.credentials.security_token.is_some() && name.eq_ignore_ascii_case(SECURITY_TOKEN))
        };
        let own = parts.headers.iter().filter(|(name, _)| !replaced(name));
        headers.extend(own.map(|(name, value)| Header::new(name, value.as_bytes())));
        headers.push(Header::new(CONTENT_SHA256, UNSIGNED_PAYLOAD.as_bytes()));
        headers.push(Header::new(DATE, stamp.iso_basic.as_bytes()));
        if let Some(token) = &self.credentials.security_token {
            headers.push(Header::new(SECURITY_TOKEN, token.expose().as_bytes()));
        }
        headers
    }

    pub(super) fn scope<'a>(&'a self, date: &'a str) -> Scope<'a> {
        Scope { date, region: &self.region, product: &self.product }
    }

    pub(super) fn sign_text(&self, date: &str, string_to_sign: &str) -> String {
        self.with_day_key(date, |day| day.key.sign(string_to_sign.as_bytes()))
    }

    fn authorization(&self, scope: &Scope<'_>, additional: &[String], signature: &str) -> String {
        let id = &self.credentials.access_key_id;
        let additional = match additional {
            [] => String::new(),
            names => format!(",AdditionalHeaders={}", names.join(";")),
        };
        format!("{ALGORITHM} Credential={id}/{scope}{additional},Signature={signature}")
    }

    fn with_day_key<R>(&self, date: &str, sign: impl FnOnce(&DayKey) -> R) -> R {
        if let Ok(kept) = self.day.try_read()
            && let Some(day) = kept.as_ref().filter(|day| day.date == date)
        {
            return sign(day);
        }
        let scope = self.scope(date);
        let key = SigningKey::derive(&self.credentials.access_key_secret, &scope);
        let day = DayKey { date: date.to_owned(), scope: scope.to_string(), key };
        let result = sign(&day);
        if let Ok(mut kept) = self.day.try_write() {
            *kept = Some(day);
        }
        result
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("access_key_id", &self.credentials.access_key_id)
            .field("region", &self.region)
            .field("product", &self.product)
            .finish_non_exhaustive()
    }
}

fn canonical_of<'a>(
    parts: &RequestParts<'a>,
    headers: &'a [Header<'a>],
    additional: &'a [String],
) -> Canonical<'a> {
    Canonical {
        method: parts.method,
        bucket: parts.bucket,
        key: parts.key,
        query: CanonicalQuery::from_pairs(parts.query.iter().copied()),
        headers,
        additional,
        payload: UNSIGNED_PAYLOAD.as_bytes(),
    }
}
