//! Heads, framing, chunks and ranges: tables of what must be refused, and properties over
//! arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "the functions the tests share fail the test like the tests do")]

use oss_protocol::http1::RangeSpec;
use oss_protocol::http1::{
    BodyFraming, ChunkedDecoder, ContentRange, HttpError, Limits, RequestHead, ResponseHead, format_range,
    head_is_complete, parse_content_range, parse_range, parse_request_head, parse_response_head,
    parse_unsatisfied_range, write_chunk, write_last_chunk, write_request_head, write_response_head,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn response(text: &str) -> Result<Option<(ResponseHead<'_>, usize)>, HttpError> {
    parse_response_head(text.as_bytes(), &Limits::default())
}

fn head(text: &str) -> ResponseHead<'_> {
    response(text).unwrap().unwrap().0
}

fn request(text: &str) -> RequestHead<'_> {
    parse_request_head(text.as_bytes(), &Limits::default()).unwrap().unwrap().0
}

/// The head of an answer with these header lines, and of a GET with the same.
fn framings(headers: &str) -> [Result<BodyFraming, HttpError>; 2] {
    let answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    let question = format!("PUT / HTTP/1.1\r\n{headers}\r\n");
    [head(&answer).framing("GET"), request(&question).framing()]
}

#[test]
fn a_head_is_read_where_it_lies() {
    let text = "HTTP/1.1 206 Partial Content\r\nServer: AliyunOSS\r\nETag: \"5B3C1A2E\"\r\n\
        Content-Length: 10\r\ncontent-range: bytes 5-14/100\r\nx-oss-hash-crc64ecma: 18446744073709551615\r\n\
        x-oss-request-id: 64C0\r\nx-oss-meta-raw: \u{e4} \r\n\r\nbody";
    let (head, length) = response(text).unwrap().unwrap();
    assert_eq!(&text[length..], "body");
    assert_eq!((head.status, head.minor_version, head.headers.len()), (206, 1, 7));
    assert_eq!(head.etag(), Some("\"5B3C1A2E\""));
    assert_eq!(head.content_length(), Ok(Some(10)));
    assert_eq!(head.content_range(), Some(ContentRange { start: 5, end: 15, total: 100 }));
    assert_eq!(head.crc64(), Ok(Some(u64::MAX)));
    assert_eq!(head.request_id(), Some("64C0"));
    assert_eq!(head.header("X-OSS-META-RAW"), Some("\u{e4}"));
    assert_eq!(head.header("absent"), None);
    let value = head.headers.get_bytes("server").unwrap();
    assert!(text.as_bytes().as_ptr_range().contains(&value.as_ptr()), "values are borrowed, not copied");
}

#[test]
fn every_cut_of_a_head_asks_for_more() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nA: b\r\n\r\n";
    for length in 0..text.len() {
        assert_eq!(response(&text[..length]), Ok(None), "{length}");
        assert!(!head_is_complete(&text.as_bytes()[..length], 0));
    }
    for searched in 0..=text.len() - 1 {
        assert!(head_is_complete(text.as_bytes(), searched), "{searched}");
    }
}

#[test]
fn malformed_answers_are_refused() {
    for text in [
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.1 99 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "garbage\r\n\r\n",
        "<html>",
        "HTTP/1.1 200 OK\nA: b\n\n",
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: \u{1}\r\n\r\n",
    ] {
        assert!(matches!(response(text), Err(HttpError::Malformed(_))), "{text:?}: {:?}", response(text));
    }
}

#[test]
fn a_head_has_limits() {
    let many = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(head(&many(200)).headers.len(), 200);
    assert_eq!(response(&many(201)), Err(HttpError::TooManyHeaders(200)));
    assert_eq!(response(&many(10_000)), Err(HttpError::TooManyHeaders(200)));
    let roomy = Limits { max_headers: 1000, ..Limits::default() };
    assert!(matches!(parse_response_head(many(200).as_bytes(), &roomy), Ok(Some(_))));
    assert_eq!(parse_response_head(many(201).as_bytes(), &roomy), Err(HttpError::TooManyHeaders(200)));
    let long = |bytes: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(bytes - 24));
    assert_eq!(long(64 * 1024).len(), 64 * 1024);
    assert_eq!(response(&long(64 * 1024)).unwrap().unwrap().1, 64 * 1024);
    assert_eq!(response(&long(64 * 1024 + 1)), Err(HttpError::HeadTooLarge(64 * 1024)));
    let endless = "HTTP/1.1 200 OK\r\nA: ".to_owned() + &"b".repeat(10 << 20);
    assert_eq!(response(&endless), Err(HttpError::HeadTooLarge(64 * 1024)));
    assert_eq!(
        parse_request_head(
            endless.replace("HTTP/1.1 200 OK", "GET / HTTP/1.1").as_bytes(),
            &Limits::default()
        ),
        Err(HttpError::HeadTooLarge(64 * 1024))
    );
}

#[test]
fn lengths_are_read_strictly() {
    assert_eq!(framings("Content-Length: 0\r\n"), [Ok(BodyFraming::Length(0)), Ok(BodyFraming::Length(0))]);
    let largest = BodyFraming::Length(u64::MAX);
    assert_eq!(framings("Content-Length: 18446744073709551615\r\n"), [Ok(largest), Ok(largest)]);
    assert_eq!(framings(""), [Ok(BodyFraming::UntilClose), Ok(BodyFraming::None)]);
    for bad in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 1e3\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n",
    ] {
        for framing in framings(bad) {
            assert!(matches!(framing, Err(HttpError::ContentLength(_))), "{bad}: {framing:?}");
        }
    }
}

#[test]
fn only_plain_chunked_coding_is_taken() {
    assert_eq!(
        framings("Transfer-Encoding: Chunked\r\n"),
        [Ok(BodyFraming::Chunked), Ok(BodyFraming::Chunked)]
    );
    for bad in [
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "chunked\r\nTransfer-Encoding: chunked",
        "xchunked",
        "",
    ] {
        for framing in framings(&format!("Transfer-Encoding: {bad}\r\n")) {
            assert!(matches!(framing, Err(HttpError::TransferEncoding(_))), "{bad}: {framing:?}");
        }
    }
    let old = head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").framing("GET");
    assert!(matches!(old, Err(HttpError::TransferEncoding(_))));
}

#[test]
fn answers_without_body_are_known() {
    let with_length = |status: &str| format!("HTTP/1.1 {status} X\r\nContent-Length: 7\r\n\r\n");
    for (status, method, expected) in [
        ("200", "HEAD", BodyFraming::None),
        ("404", "HEAD", BodyFraming::None),
        ("100", "PUT", BodyFraming::None),
        ("204", "DELETE", BodyFraming::None),
        ("304", "GET", BodyFraming::None),
        ("200", "CONNECT", BodyFraming::None),
        ("407", "CONNECT", BodyFraming::Length(7)),
        ("200", "GET", BodyFraming::Length(7)),
        ("206", "GET", BodyFraming::Length(7)),
    ] {
        assert_eq!(head(&with_length(status)).framing(method), Ok(expected), "{status} {method}");
    }
    assert!(head("HTTP/1.1 204 X\r\nContent-Length: x\r\n\r\n").framing("GET").is_err());
}

#[test]
fn connections_are_kept_as_both_versions_say() {
    for (version, connection, kept) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: Close\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: a\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: close, keep-alive\r\n", false),
    ] {
        assert_eq!(
            head(&format!("HTTP/{version} 200 OK\r\n{connection}\r\n")).keep_alive(),
            kept,
            "{version} {connection}"
        );
        assert_eq!(request(&format!("GET / HTTP/{version}\r\n{connection}\r\n")).keep_alive(), kept);
    }
}

#[test]
fn repeated_or_unreadable_values_are_no_values() {
    let twice = head(
        "HTTP/1.1 206 OK\r\nETag: \"a\"\r\nETag: \"b\"\r\nContent-Range: bytes 0-1/2\r\n\
        Content-Range: bytes 0-1/2\r\nx-oss-hash-crc64ecma: 1\r\nx-oss-hash-crc64ecma: 1\r\n\r\n",
    );
    assert_eq!((twice.etag(), twice.content_range()), (None, None));
    assert_eq!(twice.crc64(), Err(HttpError::HeaderValue("x-oss-hash-crc64ecma")));
    for bad in ["-1", "0xFF", "18446744073709551616", ""] {
        let text = format!("HTTP/1.1 200 OK\r\nx-oss-hash-crc64ecma: {bad}\r\n\r\n");
        assert_eq!(head(&text).crc64(), Err(HttpError::HeaderValue("x-oss-hash-crc64ecma")), "{bad}");
    }
    let raw = b"HTTP/1.1 200 OK\r\nETag: \xff\r\n\r\n";
    let (head, _) = parse_response_head(raw, &Limits::default()).unwrap().unwrap();
    assert_eq!((head.etag(), head.headers.get_bytes("etag")), (None, Some(&b"\xff"[..])));
    assert_eq!(head.crc64(), Ok(None));
}

#[test]
fn request_targets_come_apart_undecoded() {
    for (target, path, query, host) in [
        ("/b/k%2F..//x?a=%20&b", "/b/k%2F..//x", Some("a=%20&b"), Some("h:1")),
        ("/?", "/", Some(""), Some("h:1")),
        ("/b?x=http://y/", "/b", Some("x=http://y/"), Some("h:1")),
        ("http://other:80/b/k?acl", "/b/k", Some("acl"), Some("other:80")),
        ("http://other", "/", None, Some("other")),
        ("http://other?acl", "/", Some("acl"), Some("other")),
        ("*", "*", None, Some("h:1")),
    ] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: h:1\r\n\r\n");
        let head = request(&text);
        assert_eq!((head.path(), head.query(), head.host()), (path, query, host), "{target}");
    }
    assert_eq!(request("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").host(), None);
    assert!(request("PUT / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n").expects_continue());
    let (_, length) =
        parse_request_head(b"\r\nGET / HTTP/1.1\r\n\r\nx", &Limits::default()).unwrap().unwrap();
    assert_eq!(length, 20);
    for text in
        ["GET /a b HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nA: b\n\n", "GE T / HTTP/1.1\r\n\r\n", "GET /\r\n\r\n"]
    {
        let parsed = parse_request_head(text.as_bytes(), &Limits::default());
        assert!(matches!(parsed, Err(HttpError::Malformed(_))), "{text:?}: {parsed:?}");
    }
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}"
}

/// Header values as they arrive: no blanks at the ends, which are not part of a value.
fn value() -> impl Strategy<Value = String> {
    "([!-~\u{e4}\u{4e00}]([ \t!-~\u{e4}]{0,30}[!-~\u{1f600}])?)?"
}

fn header_list() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((token(), value()), 0..20)
}

fn pairs(headers: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Bytes that get further into a parser than random ones.
fn http_like() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n".to_owned()),
        Just("GET /b/k?acl HTTP/1.1\r\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("Content-Length: 5\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        Just("5\r\nhello\r\n".to_owned()),
        Just("0\r\n\r\n".to_owned()),
        Just(";".to_owned()),
        Just(": ".to_owned()),
        token(),
        value(),
    ];
    (vec(word, 0..12), vec(any::<u8>(), 0..8), any::<prop::sample::Index>()).prop_map(|(words, noise, at)| {
        let mut bytes = words.concat().into_bytes();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        bytes
    })
}

fn feed(decoder: &mut ChunkedDecoder, piece: &[u8], data: &mut Vec<u8>) -> Result<usize, HttpError> {
    let mut taken = 0;
    while taken < piece.len() && !decoder.is_done() {
        let step = decoder.step(&piece[taken..])?;
        prop_assert_progress(step.consumed);
        data.extend_from_slice(step.data);
        taken += step.consumed;
    }
    Ok(taken)
}

fn prop_assert_progress(consumed: usize) {
    assert!(consumed > 0, "a step over bytes takes at least one of them");
}

proptest! {
    #[test]
    fn request_heads_round_trip(method in token(), target in "/[!-~]{0,40}", headers in header_list(), body in vec(any::<u8>(), 0..9)) {
        let mut out = Vec::new();
        write_request_head(&mut out, &method, &target, pairs(&headers)).unwrap();
        let written = out.len();
        out.extend_from_slice(&body);
        let (head, length) = parse_request_head(&out, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!(length, written);
        prop_assert_eq!((head.method, head.target), (method.as_str(), target.as_str()));
        let read: Vec<_> = head.headers.iter().map(|(name, value)| (name, std::str::from_utf8(value).unwrap())).collect();
        prop_assert_eq!(read, pairs(&headers).collect::<Vec<_>>());
    }

    #[test]
    fn response_heads_round_trip(status in 100u16..600, headers in header_list()) {
        let mut out = Vec::new();
        write_response_head(&mut out, status, pairs(&headers)).unwrap();
        let (head, length) = parse_response_head(&out, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!((head.status, length, head.headers.len()), (status, out.len(), headers.len()));
    }

    /// Whatever text a name, value, target or method holds: exactly one request, or none.
    #[test]
    fn nobody_smuggles_a_request(method in ".{0,6}", target in ".{0,20}", name in ".{0,10}", value in "(.|\r|\n|\0|[\r\n]{2}){0,20}") {
        let mut out = Vec::new();
        if write_request_head(&mut out, &method, &target, [(name.as_str(), value.as_str())]).is_err() {
            prop_assert!(out.is_empty());
        } else {
            let (head, length) = parse_request_head(&out, &Limits::default()).unwrap().unwrap();
            prop_assert_eq!((length, head.headers.len()), (out.len(), 1));
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 3);
            prop_assert_eq!((head.method, head.target), (method.as_str(), target.as_str()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop_oneof![vec(any::<u8>(), 0..300), http_like()]) {
        for limits in [Limits::default(), Limits { max_head_bytes: 20, max_headers: 2, max_chunk_line_bytes: 4 }] {
            if let Ok(Some((head, length))) = parse_response_head(&bytes, &limits) {
                prop_assert!(length <= bytes.len().min(limits.max_head_bytes));
                let _ = (head.framing("GET"), head.keep_alive(), head.crc64(), head.content_range());
            }
            if let Ok(Some((head, length))) = parse_request_head(&bytes, &limits) {
                prop_assert!(length <= bytes.len().min(limits.max_head_bytes));
                let _ = (head.framing(), head.keep_alive(), head.path(), head.query(), head.host());
            }
            let mut data = Vec::new();
            if let Ok(taken) = feed(&mut ChunkedDecoder::new(&limits), &bytes, &mut data) {
                prop_assert!(taken <= bytes.len() && data.len() <= taken);
            }
        }
    }

    /// What the parser says does not depend on how the bytes arrive.
    #[test]
    fn a_longer_buffer_never_changes_a_head(bytes in http_like(), cut in any::<prop::sample::Index>()) {
        let shorter = &bytes[..cut.index(bytes.len() + 1)];
        if let Ok(Some(head)) = parse_response_head(shorter, &Limits::default()) {
            prop_assert_eq!(parse_response_head(&bytes, &Limits::default()), Ok(Some(head)));
        }
        if let Ok(Some(head)) = parse_request_head(shorter, &Limits::default()) {
            prop_assert_eq!(parse_request_head(&bytes, &Limits::default()), Ok(Some(head)));
        }
    }

    #[test]
    fn chunked_bodies_round_trip(chunks in vec(vec(any::<u8>(), 0..600), 0..8), sizes in vec(1usize..200, 1..20), tail in vec(any::<u8>(), 0..5)) {
        let mut wire = Vec::new();
        chunks.iter().for_each(|chunk| write_chunk(&mut wire, chunk));
        write_last_chunk(&mut wire);
        let end = wire.len();
        wire.extend_from_slice(&tail);
        let (mut decoder, mut data, mut at) = (ChunkedDecoder::new(&Limits::default()), Vec::new(), 0);
        for size in sizes.iter().cycle() {
            let piece = &wire[at..wire.len().min(at + size)];
            at += feed(&mut decoder, piece, &mut data).unwrap();
            if decoder.is_done() { break; }
        }
        prop_assert_eq!((data, at), (chunks.concat(), end));
    }

    #[test]
    fn chunked_decoding_does_not_depend_on_the_pieces(bytes in http_like(), size in 1usize..9) {
        let run = |size: usize| {
            let (mut decoder, mut data, mut at) = (ChunkedDecoder::new(&Limits::default()), Vec::new(), 0);
            for piece in bytes.chunks(size) {
                at += feed(&mut decoder, piece, &mut data)?;
                if decoder.is_done() { break; }
            }
            Ok::<_, HttpError>((data, at))
        };
        prop_assert_eq!(run(size), run(bytes.len().max(1)));
    }

    #[test]
    fn ranges_round_trip(start in 0u64..u64::MAX - 1, length in 1u64..1 << 40, rest in 0u64..1 << 40) {
        let end = start.saturating_add(length).min(u64::MAX - 1);
        let total = end.saturating_add(rest);
        prop_assert_eq!(parse_range(&format_range(start, end)), RangeSpec::Closed { start, end });
        let range = ContentRange { start, end, total };
        prop_assert_eq!(parse_content_range(&range.to_string()), Some(range));
        prop_assert_eq!(parse_unsatisfied_range(&format!("bytes */{total}")), Some(total));
    }

    #[test]
    fn range_texts_never_panic(text in "(bytes)?[= ]?([0-9]{0,21}|-|,|/|\\*| |.){0,12}") {
        if let RangeSpec::Closed { start, end } = parse_range(&text) {
            prop_assert!(start < end);
        }
        if let Some(range) = parse_content_range(&text) {
            prop_assert!(range.start < range.end && range.end <= range.total);
            prop_assert!(text.starts_with("bytes "));
        }
    }
}
