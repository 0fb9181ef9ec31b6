//! The header lines of one head, borrowed from the receive buffer.

use super::error::HttpError;
use super::range::parse_decimal;

/// Header lines in the order they came; names compare without case.
///
/// Only the list itself is allocated: names and values point into the bytes that were parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers<'b>(Vec<(&'b str, &'b [u8])>);

impl<'b> Headers<'b> {
    pub(super) fn from_parsed(parsed: &[httparse::Header<'b>]) -> Self {
        Self(parsed.iter().map(|header| (header.name, header.value)).collect())
    }

    /// Iterates over `(name, value)` as they were sent, outer blanks of the value removed.
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + '_ {
        self.0.iter().copied()
    }

    /// Counts the header lines.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is no header line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the first value of `name`, as text; `None` if absent or not UTF-8.
    pub fn get(&self, name: &str) -> Option<&'b str> {
        std::str::from_utf8(self.get_bytes(name)?).ok()
    }

    /// Returns the first value of `name`, as bytes.
    pub fn get_bytes(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// Iterates over every value of `name`.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        self.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Returns the only value of `name`; `None` if it is absent, repeated or not UTF-8.
    pub fn single(&self, name: &str) -> Option<&'b str> {
        let mut values = self.all(name);
        let first = values.next()?;
        if values.next().is_some() { None } else { std::str::from_utf8(first).ok() }
    }

    /// Says whether a comma-separated header such as `Connection` lists `token`, without case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Reads an unsigned decimal header such as `x-oss-hash-crc64ecma`.
    ///
    /// # Errors
    /// `HeaderValue(name)` if it is repeated or not a decimal number below 2^64.
    pub fn decimal(&self, name: &'static str) -> Result<Option<u64>, HttpError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(only), None) => parse_decimal(only).map(Some).ok_or(HttpError::HeaderValue(name)),
            (Some(_), Some(_)) => Err(HttpError::HeaderValue(name)),
        }
    }

    /// Reads `Content-Length`.
    ///
    /// RFC 9110 §8.6 lets a reader fold equal repetitions; we refuse them, because two lengths
    /// mean that somebody between us and OSS edits messages.
    ///
    /// # Errors
    /// `ContentLength` if it is repeated, or not a plain decimal number below 2^64.
    pub fn content_length(&self) -> Result<Option<u64>, HttpError> {
        let mut values = self.all("content-length");
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(only), None) => {
                parse_decimal(only).map(Some).ok_or(HttpError::ContentLength("is not a decimal number"))
            }
            (Some(_), Some(_)) => Err(HttpError::ContentLength("is given twice")),
        }
    }

    /// Says whether the body is chunked.
    ///
    /// # Errors
    /// `TransferEncoding` for any other coding, a list or a repetition: we never ask for one,
    /// and guessing the end of such a body is how requests get smuggled (RFC 9112 §6.1).
    pub fn is_chunked(&self) -> Result<bool, HttpError> {
        let mut values = self.all("transfer-encoding");
        match (values.next(), values.next()) {
            (None, _) => Ok(false),
            (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => Ok(true),
            (Some(_), None) => Err(HttpError::TransferEncoding("is not \"chunked\"")),
            (Some(_), Some(_)) => Err(HttpError::TransferEncoding("is given twice")),
        }
    }
}
