//! Percent-encoding as OSS wants it, hexadecimal and base64.
//!
//! OSS keeps `A-Z a-z 0-9 - . _ ~` and encodes every other byte of the UTF-8 text with upper-case
//! digits; in a path `/` is kept too. A blank is `%20`, never `+`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The text is not percent-encoded UTF-8, or not base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

/// Which bytes stay as they are: 1 = in a path and in a query, 2 = in a path only.
const KEPT: [u8; 256] = kept_bytes();

const fn kept_bytes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~') {
            table[byte] = 1;
        }
        byte += 1;
    }
    table[b'/' as usize] = 2;
    table
}

/// Encode a key or a whole path; `/` is kept.
#[must_use]
pub fn encode_path(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    encode_path_into(&mut out, text.as_bytes());
    into_text(out)
}

/// Encode the name or the value of a query parameter; `/` becomes `%2F`.
#[must_use]
pub fn encode_query(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    encode_query_into(&mut out, text.as_bytes());
    into_text(out)
}

/// Append `bytes`, encoded as a path, to `out`.
pub fn encode_path_into(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_into(out, bytes, |byte| KEPT[usize::from(byte)] != 0);
}

/// Append `bytes`, encoded as a part of a query, to `out`.
pub fn encode_query_into(out: &mut Vec<u8>, bytes: &[u8]) {
    encode_into(out, bytes, |byte| KEPT[usize::from(byte)] == 1);
}

fn encode_into(out: &mut Vec<u8>, mut bytes: &[u8], kept: impl Fn(u8) -> bool) {
    while let Some(at) = bytes.iter().position(|&byte| !kept(byte)) {
        out.extend_from_slice(&bytes[..at]);
        let byte = bytes[at];
        out.extend_from_slice(&[b'%', UPPER[usize::from(byte >> 4)], UPPER[usize::from(byte & 15)]]);
        bytes = &bytes[at + 1..];
    }
    out.extend_from_slice(bytes);
}

/// Join decoded parameters to a query for a URL: `name=value&bare-name`, without the `?`.
#[must_use]
pub fn write_query(pairs: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(b'&');
        }
        encode_query_into(&mut out, name.as_bytes());
        if !value.is_empty() {
            out.push(b'=');
            encode_query_into(&mut out, value.as_bytes());
        }
    }
    into_text(out)
}

/// Undo percent-encoding; `+` stays `+` (as in keys of list answers and in paths).
///
/// # Errors
/// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
pub fn decode(text: &str) -> Result<String, DecodeError> {
    decode_strictly(text, false)
}

/// Split a raw query into decoded names and values; a bare name has the value "".
///
/// `+` is a blank, as OSS reads it: the old Python SDK sends blanks that way. Empty pieces
/// between two `&` are left out.
///
/// # Errors
/// As [`decode`].
pub fn parse_query(raw: &str) -> Result<Vec<(String, String)>, DecodeError> {
    query_pieces(raw)
        .map(|(name, value)| Ok((decode_strictly(name, true)?, decode_strictly(value, true)?)))
        .collect()
}

/// The raw pieces of a query, still encoded.
pub(crate) fn query_pieces(raw: &str) -> impl Iterator<Item = (&str, &str)> {
    raw.split('&').filter(|piece| !piece.is_empty()).map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

fn decode_strictly(text: &str, plus_is_blank: bool) -> Result<String, DecodeError> {
    let (bytes, well_formed) = decode_bytes(text, plus_is_blank);
    if !well_formed {
        return Err(DecodeError(format!("{text:?} has a % without two hexadecimal digits")));
    }
    String::from_utf8(bytes).map_err(|_| DecodeError(format!("{text:?} does not decode to UTF-8")))
}

/// Decode to bytes, keeping malformed `%` as they are; the flag says whether there were none.
pub(crate) fn decode_bytes(text: &str, plus_is_blank: bool) -> (Vec<u8>, bool) {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut well_formed = true;
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1).zip(bytes.get(at + 2));
        match (bytes[at], pair.and_then(|(&high, &low)| Some(hex_digit(high)? << 4 | hex_digit(low)?))) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) if plus_is_blank => out.push(b' '),
            (byte, _) => {
                well_formed &= byte != b'%';
                out.push(byte);
            }
        }
        at += 1;
    }
    (out, well_formed)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Write lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    hex_into(&mut out, bytes);
    into_text(out)
}

/// Append lower-case hexadecimal to `out`.
pub fn hex_into(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&[LOWER[usize::from(byte >> 4)], LOWER[usize::from(byte & 15)]]);
    }
}

/// Write base64 with padding.
#[must_use]
pub fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Read base64 with padding.
///
/// # Errors
/// The text is not base64.
pub fn base64_decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    STANDARD.decode(text).map_err(|error| DecodeError(format!("not base64: {error}")))
}

/// Everything written here is ASCII; the lossy form only spares a panic.
fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_unreserved_bytes_are_kept() {
        assert_eq!(encode_path("目/a b+c%~"), "%E7%9B%AE/a%20b%2Bc%25~");
        assert_eq!(encode_query("a/b c"), "a%2Fb%20c");
        assert_eq!(encode_path("a/../b/./c//"), "a/../b/./c//");
        assert_eq!(encode_path("a\tb\nc\x7f"), "a%09b%0Ac%7F");
        assert_eq!(write_query(&[("acl", ""), ("p", "a/b")]), "acl&p=a%2Fb");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["%", "%2", "%zz", "a%", "%ff", "%E7%9B"] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert_eq!(decode("a+b%2fc"), Ok("a+b/c".to_owned()));
    }

    #[test]
    fn a_query_is_split_as_oss_reads_it() {
        let pairs = parse_query("p=2&&q&a+b=%2B=&q=").unwrap();
        let expected = [("p", "2"), ("q", ""), ("a b", "+="), ("q", "")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(parse_query(""), Ok(Vec::new()));
    }

    #[test]
    fn hex_and_base64_go_there_and_back() {
        assert_eq!(hex(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(base64_encode(b"\x00\xffab"), "AP9hYg==");
        assert_eq!(base64_decode("AP9hYg=="), Ok(b"\x00\xffab".to_vec()));
        assert!(base64_decode("AP9hYg").is_err());
    }

    proptest! {
        #[test]
        fn decode_undoes_both_encodings(text in any::<String>()) {
            prop_assert_eq!(decode(&encode_path(&text)), Ok(text.clone()));
            prop_assert_eq!(decode(&encode_query(&text)), Ok(text));
        }

        #[test]
        fn a_query_survives_the_wire(pairs in proptest::collection::vec(("[^\u{0}]{1,8}", any::<String>()), 0..6)) {
            let borrowed: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            prop_assert_eq!(parse_query(&write_query(&borrowed)), Ok(pairs.clone()));
        }

        #[test]
        fn decoding_never_panics(text in any::<String>()) {
            let _ = decode(&text);
            let _ = parse_query(&text);
        }
    }
}
