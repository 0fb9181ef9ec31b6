//! What a peer says: heads, bodies, documents, refusals.

use std::time::Duration;

use oss_client::parsers;
use oss_protocol::error::ServiceError;
use oss_protocol::http1::{
    ChunkedDecoder, Headers, HttpError, Limits, head_is_complete, parse_request_head, parse_response_head,
    write_chunk, write_last_chunk, write_request_head, write_response_head,
};
use oss_protocol::sign::{Credentials, VerifyPolicy, VerifyRequest, verify};
use oss_protocol::time::UtcTime;
use oss_protocol::xml::*;

use super::Parser;

const SMALL: Limits = Limits { max_head_bytes: 300, max_headers: 4, max_chunk_line_bytes: 8 };

/// The headers as text, if all of them are; nobody writes others.
fn texts<'b>(headers: &Headers<'b>) -> Option<Vec<(&'b str, &'b str)>> {
    headers.iter().map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?))).collect()
}

pub(crate) fn response_heads() -> Parser {
    Parser::new(|bytes| {
        let _ = parse_response_head(bytes, &SMALL).map_err(|error| error.to_string());
        let Ok(Some((head, length))) = parse_response_head(bytes, &Limits::default()) else { return false };
        assert!(head_is_complete(&bytes[..length], 0));
        assert_eq!(
            parse_response_head(&bytes[..length], &Limits::default()),
            Ok(Some((head.clone(), length)))
        );
        for method in ["GET", "HEAD", "CONNECT"] {
            let _ = head.framing(method).map_err(|error| error.to_string());
        }
        let _ = (head.keep_alive(), head.etag(), head.request_id(), head.crc64(), head.content_length());
        if let Some(range) = head.content_range() {
            assert!(range.start < range.end && range.end <= range.total, "{range:?}");
        }
        let mut out = Vec::new();
        if let Some(headers) = texts(&head.headers)
            && write_response_head(&mut out, head.status, headers.iter().copied()).is_ok()
        {
            let again = parse_response_head(&out, &Limits { max_head_bytes: out.len(), ..Limits::default() });
            let (again, _) = again.expect("we read what we write").expect("whole");
            assert_eq!((again.status, texts(&again.headers)), (head.status, Some(headers)));
        }
        true
    })
}

pub(crate) fn request_heads() -> Parser {
    Parser::new(|bytes| {
        let _ = parse_request_head(bytes, &SMALL).map_err(|error| error.to_string());
        let Ok(Some((head, length))) = parse_request_head(bytes, &Limits::default()) else { return false };
        assert!(length <= bytes.len());
        let _ = head.framing().map_err(|error| error.to_string());
        let _ = (head.keep_alive(), head.expects_continue(), head.host());
        is_judged(head.method, head.path(), head.query().unwrap_or(""), &head.headers);
        let mut out = Vec::new();
        if let Some(headers) = texts(&head.headers)
            && write_request_head(&mut out, head.method, head.target, headers.iter().copied()).is_ok()
        {
            let (again, _) =
                parse_request_head(&out, &Limits { max_head_bytes: out.len(), ..Limits::default() })
                    .expect("we read what we write")
                    .expect("whole");
            assert_eq!(
                (again.method, again.target, texts(&again.headers)),
                (head.method, head.target, Some(headers))
            );
        }
        true
    })
}

/// Whoever wrote a damaged request does not know the secret: at no time is it taken for signed.
fn is_judged(method: &str, path: &str, raw_query: &str, headers: &Headers<'_>) {
    let headers: Vec<_> = headers.iter().collect();
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    let request =
        VerifyRequest { method, bucket: Some(bucket), key: Some(key), raw_query, headers: &headers };
    let policy = VerifyPolicy { region: "cn-hangzhou", product: "oss", now: UtcTime(1_702_743_657) };
    let look_up = |_id: &str| Some(Credentials::new("id", "a secret that no sample was signed with", None));
    verify(&request, &policy, look_up).expect_err("nobody signed this");
}

fn decoded(bytes: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, usize, bool), HttpError> {
    let (mut decoder, mut data, mut taken) = (ChunkedDecoder::new(&Limits::default()), Vec::new(), 0);
    for piece in bytes.chunks(piece_bytes) {
        let mut at = 0;
        while at < piece.len() && !decoder.is_done() {
            let step = decoder.step(&piece[at..])?;
            assert!(step.consumed > 0, "a step over bytes takes at least one of them");
            data.extend_from_slice(step.data);
            at += step.consumed;
        }
        taken += at;
    }
    Ok((data, taken, decoder.is_done()))
}

pub(crate) fn chunked_bodies() -> Parser {
    Parser::new(|bytes| {
        let whole = decoded(bytes, usize::MAX);
        assert_eq!(whole, decoded(bytes, 7), "how the bytes arrive changes nothing");
        let Ok((data, taken, true)) = whole else { return false };
        assert!(data.len() <= taken && taken <= bytes.len());
        let mut out = Vec::new();
        write_chunk(&mut out, &data);
        write_last_chunk(&mut out);
        let length = out.len();
        assert_eq!(decoded(&out, usize::MAX), Ok((data, length, true)));
        true
    })
}

/// Decodes; what is taken can be written and read again without a difference.
fn is_stable<D: Document + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
    match D::decode(bytes, D::MAX_BYTES) {
        Ok(document) => {
            assert_eq!(D::decode(&document.encode(), usize::MAX).as_ref(), Ok(&document));
            true
        }
        Err(error) => {
            assert!(!error.to_string().contains('\n'), "{error}");
            false
        }
    }
}

pub(crate) fn documents() -> Parser {
    Parser::new(|bytes| {
        let taken = [
            is_stable::<ListBucketResult>(bytes),
            is_stable::<ListPartsResult>(bytes),
            is_stable::<ListMultipartUploadsResult>(bytes),
            is_stable::<InitiateMultipartUploadResult>(bytes),
            is_stable::<CompleteMultipartUpload>(bytes),
            is_stable::<CompleteMultipartUploadResult>(bytes),
            is_stable::<Delete>(bytes),
            is_stable::<DeleteResult>(bytes),
            is_stable::<CopyObjectResult>(bytes),
            is_stable::<CopyPartResult>(bytes),
            is_stable::<LocationConstraint>(bytes),
            is_stable::<BucketInfo>(bytes),
            is_stable::<ListAllMyBucketsResult>(bytes),
            is_stable::<AccessControlPolicy>(bytes),
            is_stable::<RestoreRequest>(bytes),
            is_stable::<ErrorDocument>(bytes),
        ];
        taken.contains(&true)
    })
}

pub(crate) fn refusals() -> Parser {
    Parser::new(|bytes| {
        // The first line is the content type, what follows is the body.
        let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let content_type = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let body = &bytes[bytes.len().min(at + 1)..];
        let header = |name: &str| match name {
            "content-type" => Some(content_type.clone()),
            "x-oss-err" => Some(String::from_utf8_lossy(body).into_owned()),
            _ => None,
        };
        for is_head in [false, true] {
            let error = ServiceError::from_response(403, header, body, is_head);
            let shown = [&error.code, &error.message, &error.request_id, &error.ec, &error.host_id];
            for text in shown {
                assert!(text.len() <= 512 && !text.chars().any(char::is_control), "{text:?}");
            }
            assert!(!error.code.is_empty());
        }
        true
    })
}

/// How long a service asks to be left alone: `x-oss-qos-delay-time` on the first line, `Retry-After` on the next.
pub(crate) fn pauses() -> Parser {
    const LONGEST: Duration = Duration::from_secs(30);
    const NOW: UtcTime = UtcTime(1_702_743_657);
    Parser::new(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
        let asked = [
            parsers::pause(Some(first), Some(second), NOW, LONGEST),
            parsers::pause(Some(first), None, NOW, LONGEST),
            parsers::pause(None, Some(second), NOW, LONGEST),
            parsers::pause(None, Some(&text), NOW, Duration::MAX),
        ];
        assert!(asked[..3].iter().flatten().all(|pause| *pause <= LONGEST && !pause.is_zero()), "{asked:?}");
        // The first of the two is the service's own, and finer.
        if asked[1].is_some() {
            assert_eq!(asked[0], asked[1]);
        }
        asked.iter().any(Option::is_some)
    })
}

/// Answers of proxies to CONNECT, as they arrive: only a clean 2xx is a way.
pub(crate) fn tunnel_heads() -> Parser {
    Parser::new(|bytes| {
        let verdict = parsers::tunnel_answer(bytes);
        match &verdict {
            None => assert!(bytes.len() <= 16 << 10, "an endless head is refused"),
            Some(Ok(())) => {
                let head = parse_response_head(bytes, &Limits::default()).expect("a head").expect("whole");
                assert!((200..300).contains(&head.0.status) && head.1 == bytes.len());
            }
            Some(Err(why)) => {
                assert!(!why.contains(['\n', '\r']) && why.len() < 200 && !why.contains("CANARY"), "{why}");
            }
        }
        // A proxy is trusted with the connection for nothing that came before the end of its head.
        if verdict == Some(Ok(())) {
            let mut ends = (0..bytes.len()).rev().step_by(1 + bytes.len() / 64);
            assert!(ends.all(|end| parsers::tunnel_answer(&bytes[..end]).is_none()));
            let more = [bytes, b"HTTP/1.1 200 OK"].concat();
            assert!(parsers::tunnel_answer(&more).is_some_and(|verdict| verdict.is_err()));
        }
        verdict.is_some()
    })
}

/// Lines at the socket of `ossconnector dump`.
pub(crate) fn questions() -> Parser {
    Parser::new(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let times: Vec<_> =
            text.lines().take(100).chain([&*text]).filter_map(parsers::dump_question).collect();
        assert!(times.iter().all(|time| *time <= Duration::from_secs(600)), "{times:?}");
        !times.is_empty()
    })
}
