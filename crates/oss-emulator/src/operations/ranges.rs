//! Which bytes of an object a `Range` header gets, with OSS's own idea of it.

use std::ops::Range;

use oss_protocol::http1::{RangeSpec, parse_range};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// 200 and the whole object.
    Whole,
    /// 206 and this half-open range.
    Part(Range<u64>),
    /// 416.
    Unsatisfiable,
}

/// Chooses the bytes of an object of `size` bytes.
///
/// By default whatever OSS does not like is answered with the whole object; with
/// `x-oss-range-behavior: standard` as RFC 9110 says. Of several ranges the first counts.
///
/// Wire: OSS "obtain resources by segmenting HTTP range requests"; oss-protocol section 4.
pub(crate) fn choose(header: Option<&str>, size: u64, standard: bool) -> Chosen {
    let Some(header) = header else { return Chosen::Whole };
    let spec = match parse_range(header) {
        RangeSpec::Multiple(specs) => specs.into_iter().next().unwrap_or(RangeSpec::Malformed),
        spec => spec,
    };
    match spec {
        RangeSpec::Closed { start, end } if end <= size => Chosen::Part(start..end),
        RangeSpec::Closed { start, .. } if start < size && standard => Chosen::Part(start..size),
        RangeSpec::From { start } if start < size => Chosen::Part(start..size),
        RangeSpec::Suffix { length } if length > 0 && length <= size => Chosen::Part(size - length..size),
        RangeSpec::Suffix { length } if length > 0 && size > 0 && standard => Chosen::Part(0..size),
        RangeSpec::Closed { .. } | RangeSpec::From { .. } | RangeSpec::Suffix { .. } if standard => {
            Chosen::Unsatisfiable
        }
        _ => Chosen::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_answers_odd_ranges_with_the_whole_object() {
        for (range, chosen) in [
            ("bytes=0-0", Chosen::Part(0..1)),
            ("bytes=0-9", Chosen::Part(0..10)),
            ("bytes=3-", Chosen::Part(3..10)),
            ("bytes=-4", Chosen::Part(6..10)),
            ("bytes=-10", Chosen::Part(0..10)),
            ("bytes=0-10", Chosen::Whole),
            ("bytes=10-11", Chosen::Whole),
            ("bytes=10-", Chosen::Whole),
            ("bytes=-11", Chosen::Whole),
            ("bytes=-0", Chosen::Whole),
            ("byte=0-1", Chosen::Whole),
            ("bytes=5-2", Chosen::Whole),
            ("bytes=0-1,4-5", Chosen::Part(0..2)),
        ] {
            assert_eq!(choose(Some(range), 10, false), chosen, "{range}");
        }
        assert_eq!(choose(Some("bytes=0-0"), 0, false), Chosen::Whole);
        assert_eq!(choose(None, 10, true), Chosen::Whole);
    }

    #[test]
    fn the_standard_clamps_and_refuses() {
        for (range, chosen) in [
            ("bytes=0-9", Chosen::Part(0..10)),
            ("bytes=0-10", Chosen::Part(0..10)),
            ("bytes=9-100", Chosen::Part(9..10)),
            ("bytes=10-11", Chosen::Unsatisfiable),
            ("bytes=10-", Chosen::Unsatisfiable),
            ("bytes=-11", Chosen::Part(0..10)),
            ("bytes=-0", Chosen::Unsatisfiable),
            ("byte=0-1", Chosen::Whole),
        ] {
            assert_eq!(choose(Some(range), 10, true), chosen, "{range}");
        }
        assert_eq!(choose(Some("bytes=0-0"), 0, true), Chosen::Unsatisfiable);
    }
}
