//! `Range` and `Content-Range`, and the decimal numbers of HTTP.
//!
//! On the wire both ends of a range are inclusive; here every interval is half-open.

use std::fmt;

/// What `Content-Range: bytes a-b/total` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// First byte, counted from 0.
    pub start: u64,
    /// One past the last byte; `start < end <= total`.
    pub end: u64,
    /// Size of the whole object in bytes.
    pub total: u64,
}

impl fmt::Display for ContentRange {
    /// Writes the wire form, `bytes 0-9/100`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/{}", self.start, self.end.saturating_sub(1), self.total)
    }
}

/// What a `Range` header asks for, before the size of the object is known.
///
/// What each kind means for OSS (whole object, clamp, 416) is the caller's business: it depends
/// on `x-oss-range-behavior`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangeSpec {
    /// `bytes=a-b`: half-open `start..end`, never empty.
    Closed {
        /// First byte.
        start: u64,
        /// One past the last byte; 2^64-1 if the last byte asked for is beyond that.
        end: u64,
    },
    /// `bytes=a-`: everything from `start`.
    From {
        /// First byte.
        start: u64,
    },
    /// `bytes=-n`: the last `length` bytes; may be 0.
    Suffix {
        /// Number of bytes.
        length: u64,
    },
    /// `bytes=a-b,c-d`: two or more of the kinds above, in the order given.
    Multiple(Vec<RangeSpec>),
    /// Not a range of bytes, or `a > b`.
    Malformed,
}

/// Formats a `Range` header value for the half-open `start..end`.
///
/// # Panics
/// If the range is empty: an empty range cannot be asked for in HTTP.
pub fn format_range(start: u64, end: u64) -> String {
    assert!(start < end, "an empty range is never sent");
    format!("bytes={start}-{}", end - 1)
}

/// Parses a `Range` header value. The unit compares without case; blanks only around commas.
pub fn parse_range(value: &str) -> RangeSpec {
    let Some((unit, set)) = value.split_once('=') else { return RangeSpec::Malformed };
    if !unit.eq_ignore_ascii_case("bytes") {
        return RangeSpec::Malformed;
    }
    let mut specs = Vec::new();
    for item in set.split(',') {
        match parse_one(item.trim_matches([' ', '\t'])) {
            Some(spec) => specs.push(spec),
            None => return RangeSpec::Malformed,
        }
    }
    match specs.len() {
        1 => specs.remove(0),
        _ => RangeSpec::Multiple(specs),
    }
}

fn parse_one(item: &str) -> Option<RangeSpec> {
    let (first, last) = item.split_once('-')?;
    if first.is_empty() {
        return Some(RangeSpec::Suffix { length: parse_decimal(last.as_bytes())? });
    }
    let start = parse_decimal(first.as_bytes())?;
    if last.is_empty() {
        return Some(RangeSpec::From { start });
    }
    let last = parse_decimal(last.as_bytes())?;
    (start <= last && start < u64::MAX).then_some(RangeSpec::Closed { start, end: last.saturating_add(1) })
}

/// Parses a `Content-Range` value strictly: `bytes a-b/total` with `a <= b < total`.
///
/// `None` for everything else, also for an unknown total (`*`): a part whose place in the object
/// is uncertain must not be used.
pub fn parse_content_range(value: &str) -> Option<ContentRange> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let start = parse_decimal(first.as_bytes())?;
    let last = parse_decimal(last.as_bytes())?;
    let total = parse_decimal(total.as_bytes())?;
    (start <= last && last < total).then(|| ContentRange { start, end: last + 1, total })
}

/// Parses the `Content-Range: bytes */total` of a 416 and returns the total size in bytes.
pub fn parse_unsatisfied_range(value: &str) -> Option<u64> {
    parse_decimal(value.strip_prefix("bytes */")?.as_bytes())
}

/// Parses digits only: no sign, no blanks, no empty text, nothing at or above 2^64.
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_headers_are_told_apart() {
        let cases = [
            ("bytes=0-0", RangeSpec::Closed { start: 0, end: 1 }),
            ("Bytes=5-9", RangeSpec::Closed { start: 5, end: 10 }),
            ("bytes=0-18446744073709551615", RangeSpec::Closed { start: 0, end: u64::MAX }),
            ("bytes=7-", RangeSpec::From { start: 7 }),
            ("bytes=-0", RangeSpec::Suffix { length: 0 }),
            ("bytes=-42", RangeSpec::Suffix { length: 42 }),
            (
                "bytes=0-1, 5-",
                RangeSpec::Multiple(vec![
                    RangeSpec::Closed { start: 0, end: 2 },
                    RangeSpec::From { start: 5 },
                ]),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_range(text), expected, "{text}");
        }
        for text in [
            "",
            "bytes",
            "byte=0-1",
            "bytes=",
            "bytes=-",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=0-1,",
            "bytes=1-2-3",
            "bytes=0x1-2",
            "bytes=18446744073709551616-",
            "bytes= 0-1 x",
        ] {
            assert_eq!(parse_range(text), RangeSpec::Malformed, "{text}");
        }
    }

    #[test]
    fn content_range_is_read_strictly() {
        assert_eq!(
            parse_content_range("bytes 0-9/100"),
            Some(ContentRange { start: 0, end: 10, total: 100 })
        );
        for text in [
            "bytes 0-9/*",
            "bytes */100",
            "bytes 9-0/100",
            "bytes 0-100/100",
            "bytes 0-9",
            "0-9/100",
            "bytes  0-9/100",
            "bytes 0-9/100 ",
            "bytes=0-9/100",
            "Bytes 0-9/100",
            "bytes -1-9/100",
            "bytes 0-/1",
        ] {
            assert_eq!(parse_content_range(text), None, "{text}");
        }
        assert_eq!(parse_unsatisfied_range("bytes */100"), Some(100));
        assert_eq!(parse_unsatisfied_range("bytes 0-9/100"), None);
    }

    #[test]
    fn ranges_are_written_with_inclusive_ends() {
        assert_eq!(format_range(0, 1), "bytes=0-0");
        assert_eq!(ContentRange { start: 5, end: 10, total: 20 }.to_string(), "bytes 5-9/20");
    }
}
