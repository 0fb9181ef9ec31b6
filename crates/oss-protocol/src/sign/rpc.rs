//! Signatures of the RPC-style services of Alibaba Cloud, of which STS is one: HMAC-SHA1, version 1.0.

use super::Credentials;
use super::mac;
use crate::encoding::{base64_encode, encode_query, write_query};

/// Sign `parameters` of a `method` request to `/`, and write them as a form or a query.
///
/// `nonce` must never repeat, `timestamp` is `YYYY-MM-DDTHH:MM:SSZ`. A security token is added.
///
/// Wire: "RPC style requests and signatures" of the Alibaba Cloud SDK pages.
#[must_use]
pub fn sign(
    credentials: &Credentials,
    method: &str,
    parameters: &[(&str, &str)],
    nonce: &str,
    timestamp: &str,
) -> String {
    let mut all = parameters.to_vec();
    all.extend([
        ("AccessKeyId", credentials.access_key_id.as_str()),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", timestamp),
    ]);
    if let Some(token) = &credentials.security_token {
        all.push(("SecurityToken", token.expose()));
    }
    all.sort_unstable();
    let signature = signature_of(credentials.access_key_secret.expose(), method, &all);
    all.push(("Signature", &signature));
    write_query(&all)
}

/// Say whether a form carries the signature of `secret` over its other parameters.
#[must_use]
pub fn verify(secret: &str, method: &str, form: &[(String, String)]) -> bool {
    let pairs = form.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let (given, mut signed): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| *name == "Signature");
    signed.sort_unstable();
    let right = signature_of(secret, method, &signed);
    given.first().is_some_and(|(_, value)| mac::equal(value.as_bytes(), right.as_bytes()))
}

/// The signature of sorted parameters; values must not be empty.
fn signature_of(secret: &str, method: &str, sorted: &[(&str, &str)]) -> String {
    let canonical = write_query(sorted);
    let text = format!("{method}&%2F&{}", encode_query(&canonical));
    let key = format!("{}&", secret);
    base64_encode(&mac::sha1(key.as_bytes(), text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_met() {
        let credentials = Credentials::new("testid", "testsecret", None);
        let parameters = [("Format", "XML"), ("Action", "DescribeRegions"), ("Version", "2014-05-26")];
        let nonce = "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf";
        let signed = sign(&credentials, "GET", &parameters, nonce, "2016-02-23T12:46:24Z");
        assert!(signed.ends_with("Signature=OLeaidS1JvxuMvnyHOwuJ%2BuX5qY%3D"), "{signed}");
        assert!(!signed.contains("testsecret"));
        let form = crate::encoding::parse_query(&signed).expect("a form");
        assert!(verify("testsecret", "GET", &form));
        assert!(!verify("other", "GET", &form) && !verify("testsecret", "POST", &form));
    }
}
