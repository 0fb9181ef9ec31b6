//! What a refusal of the service means: whether to repeat, which kind of error, what the user can do.

use std::time::Duration;

use oss_protocol::error::ServiceError;
use oss_protocol::operation::Operation;
use oss_protocol::time::UtcTime;

use crate::config::Proxy;
use crate::error::ErrorKind;
use crate::retry::Cause;

/// What besides the error document counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Circumstances<'a> {
    /// The request.
    pub(crate) operation: Option<Operation>,
    /// Region that was signed for.
    pub(crate) region: &'a str,
    /// Host that was asked.
    pub(crate) host: &'a str,
    /// Where the credentials came from.
    pub(crate) credentials: &'a str,
    /// `Location` of a redirect.
    pub(crate) location: Option<String>,
    /// `x-oss-storage-class` of the object.
    pub(crate) storage_class: Option<String>,
    /// The service named a time to wait.
    pub(crate) asked_to_wait: bool,
}

/// The reading of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Whether it is repeated.
    pub(crate) cause: Cause,
    /// What it is to the user.
    pub(crate) kind: ErrorKind,
    /// What happened and what to do.
    pub(crate) message: String,
}

impl Refusal {
    fn new(cause: Cause, kind: ErrorKind, message: impl Into<String>) -> Self {
        Refusal { cause, kind, message: message.into() }
    }
}

/// Reads an answer without OSS's request id where `proxy` may have given it; `None` = it may be OSS's all the same.
pub(crate) fn of_proxy(status: u16, proxy: Option<&Proxy>) -> Option<Refusal> {
    let place = proxy?.place();
    let (cause, what) = match status {
        407 => (Cause::Permanent, "it wants a user and a password; write http://user:password@host:port"),
        500..=599 | 408 | 429 => (Cause::Connect, "it cannot reach the endpoint"),
        _ => (Cause::Permanent, "it refuses to pass the request on; let it, or list the host in NO_PROXY"),
    };
    let text = format!("via proxy {place}: {what} (status {status}, and no answer of OSS)");
    Some(Refusal::new(cause, ErrorKind::ConnectionFailed, text))
}

/// Reads `answer`.
pub(crate) fn read(answer: &ServiceError, seen: &Circumstances<'_>) -> Refusal {
    match answer.status {
        200..=299 => inside_success(answer),
        301 | 302 | 303 | 307 | 308 => redirect(answer, seen),
        400 | 408 if is_transient(answer) => Refusal::new(
            Cause::Server,
            ErrorKind::RequestTimeout,
            said(answer, "the service waited too long for the request"),
        ),
        401 => credentials(answer, seen),
        403 => forbidden(answer, seen),
        404 => missing(answer),
        409 if answer.code == "FileAlreadyExists" => Refusal::new(
            Cause::Permanent,
            ErrorKind::AlreadyExists,
            "the object exists already and if_absent was asked; choose another key, or leave if_absent out",
        ),
        412 => Refusal::new(
            Cause::Permanent,
            ErrorKind::ObjectChanged,
            "the object is no longer the version that was pinned; list again",
        ),
        416 => Refusal::new(
            Cause::Permanent,
            ErrorKind::Service,
            said(answer, "the range lies outside the object: it shrank, or the size given was wrong"),
        ),
        429 => throttled(answer),
        503 if is_throttle(answer, seen) => throttled(answer),
        501 | 505 => {
            Refusal::new(Cause::Permanent, ErrorKind::Service, said(answer, "the service does not do this"))
        }
        500..=599 => Refusal::new(Cause::Server, ErrorKind::Service, said(answer, "the service failed")),
        _ => Refusal::new(
            Cause::Permanent,
            ErrorKind::Service,
            said(answer, "the service refused the request"),
        ),
    }
}

/// Adds what the service itself said.
fn said(answer: &ServiceError, ours: &str) -> String {
    if answer.message.is_empty() { ours.to_owned() } else { format!("{ours}: {}", answer.message) }
}

fn inside_success(answer: &ServiceError) -> Refusal {
    let text = said(answer, "the service answered 200 with an error inside");
    if answer.code == "InternalError" {
        Refusal::new(Cause::Server, ErrorKind::Service, text)
    } else {
        Refusal::new(Cause::Protocol, ErrorKind::Protocol, text)
    }
}

fn is_transient(answer: &ServiceError) -> bool {
    answer.status == 408 || matches!(answer.code.as_str(), "RequestTimeout" | "BadRequest")
}

fn redirect(answer: &ServiceError, seen: &Circumstances<'_>) -> Refusal {
    let target = seen.location.as_deref().and_then(host_of).unwrap_or("an unnamed place");
    let message = format!(
        "status {} points to {target}, and a signed request is never sent to another place; \
         the endpoint or region is wrong for this bucket, or a portal stands in between",
        answer.status
    );
    Refusal::new(Cause::Permanent, ErrorKind::Protocol, message)
}

/// The host of an absolute URL, without user information.
fn host_of(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
    (!host.is_empty()).then_some(host)
}

fn credentials(answer: &ServiceError, seen: &Circumstances<'_>) -> Refusal {
    let message = said(
        answer,
        &format!(
            "the service does not accept the key or token of {}; put valid ones there",
            seen.credentials
        ),
    );
    Refusal::new(Cause::Credentials, ErrorKind::Credentials, message)
}

fn forbidden(answer: &ServiceError, seen: &Circumstances<'_>) -> Refusal {
    let denied = |message: String| Refusal::new(Cause::Permanent, ErrorKind::PermissionDenied, message);
    match answer.code.as_str() {
        "RequestTimeTooSkewed" => Refusal::new(
            Cause::ClockSkew,
            ErrorKind::PermissionDenied,
            "this machine's clock differs from the service's by more than 15 minutes; set the clock",
        ),
        "SecurityTokenExpired" | "InvalidSecurityToken" | "InvalidAccessKeyId" => credentials(answer, seen),
        "SignatureDoesNotMatch" => denied(format!(
            "the signature was refused (signed: method, bucket, key, query, content-type, content-md5, \
             x-oss-* headers, for region {}); check the access key secret, and that endpoint {} belongs to \
             that region; finance and government zones may need region=... explicitly",
            seen.region, seen.host
        )),
        "InvalidObjectState" => {
            let class = seen.storage_class.as_deref().unwrap_or("an archive class");
            Refusal::new(
                Cause::Permanent,
                ErrorKind::ObjectArchived,
                format!(
                    "the object is archived ({class}) and cannot be read; restore it first (RestoreObject)"
                ),
            )
        }
        "InvalidArgument" if answer.message.contains("region") => denied(said(
            answer,
            &format!(
                "endpoint {} does not take signatures for region {}; pass the region of the bucket as region=...",
                seen.host, seen.region
            ),
        )),
        "SecondLevelDomainForbidden" => denied(said(
            answer,
            &format!("endpoint {} does not take path-style requests; pass addressing=\"virtual\"", seen.host),
        )),
        _ if answer.message.contains("endpoint") => denied(said(
            answer,
            &format!(
                "the bucket belongs to another region than endpoint {}; use that region's endpoint",
                seen.host
            ),
        )),
        _ => {
            let right = seen.operation.map_or("this", right_for);
            denied(said(answer, &format!("access denied; the right oss:{right} on this resource is needed")))
        }
    }
}

/// The name under which access policies grant an operation, where it is not the operation's own.
fn right_for(operation: Operation) -> &'static str {
    match operation {
        Operation::HeadObject | Operation::GetObjectMeta => "GetObject",
        Operation::ListObjectsV2 => "ListObjects",
        Operation::InitiateMultipartUpload
        | Operation::UploadPart
        | Operation::CompleteMultipartUpload
        | Operation::CopyObject
        | Operation::UploadPartCopy => "PutObject",
        Operation::DeleteMultipleObjects => "DeleteObject",
        other => other.name(),
    }
}

fn missing(answer: &ServiceError) -> Refusal {
    let message = match answer.code.as_str() {
        "NoSuchBucket" => "there is no such bucket; check its name, and the endpoint's region".to_owned(),
        "NoSuchKey" => "there is no such object; check its key".to_owned(),
        "NoSuchUpload" => {
            "there is no such multipart upload: it was completed, aborted, or never begun".to_owned()
        }
        "SymlinkTargetNotExist" => "the symbolic link points to an object that is not there".to_owned(),
        _ => said(answer, "it is not there"),
    };
    Refusal::new(Cause::Permanent, ErrorKind::NotFound, message)
}

/// Which 503 mean "slow down" and not "I am broken".
fn is_throttle(answer: &ServiceError, seen: &Circumstances<'_>) -> bool {
    seen.asked_to_wait || answer.code.ends_with("LimitExceeded")
}

fn throttled(answer: &ServiceError) -> Refusal {
    let message = said(
        answer,
        "the service asks to slow down; fewer processes, or larger objects (shards), need fewer requests",
    );
    Refusal::new(Cause::Throttled, ErrorKind::Throttled, message)
}

/// The pause a service asked for: `x-oss-qos-delay-time` in milliseconds, or `Retry-After` in seconds or as
/// a date. What cannot be read, or lies in the past, is no pause.
pub(crate) fn pause(
    qos_delay_ms: Option<&str>,
    retry_after: Option<&str>,
    server_now: UtcTime,
    longest: Duration,
) -> Option<Duration> {
    if let Some(delay) = qos_delay_ms.and_then(|text| text.trim().parse::<u64>().ok()) {
        return Some(Duration::from_millis(delay).min(longest)).filter(|pause| !pause.is_zero());
    }
    let text = retry_after?.trim();
    let seconds = match text.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_not_a_number) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => u64::MAX,
        Err(_not_a_number) => {
            let date = UtcTime::parse_http_date(text).ok()?;
            u64::try_from(date.0.saturating_sub(server_now.0)).ok()?
        }
    };
    Some(Duration::from_secs(seconds).min(longest)).filter(|pause| !pause.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        let answer = ServiceError { status, code: code.to_owned(), ..ServiceError::default() };
        let seen = Circumstances {
            operation: Some(Operation::GetObject),
            region: "cn-beijing",
            host: "oss-cn-hangzhou.aliyuncs.com",
            credentials: "the test",
            location: Some("http://user:pw@portal.example:8080/login?x=1".to_owned()),
            ..Circumstances::default()
        };
        read(&answer, &seen)
    }

    #[test]
    fn every_status_has_its_cause_and_kind() {
        let cases = [
            (200, "InternalError", Cause::Server, ErrorKind::Service),
            (302, "", Cause::Permanent, ErrorKind::Protocol),
            (304, "", Cause::Permanent, ErrorKind::Service),
            (400, "InvalidArgument", Cause::Permanent, ErrorKind::Service),
            (400, "RequestTimeout", Cause::Server, ErrorKind::RequestTimeout),
            (401, "", Cause::Credentials, ErrorKind::Credentials),
            (403, "AccessDenied", Cause::Permanent, ErrorKind::PermissionDenied),
            (403, "InvalidAccessKeyId", Cause::Credentials, ErrorKind::Credentials),
            (403, "InvalidObjectState", Cause::Permanent, ErrorKind::ObjectArchived),
            (403, "RequestTimeTooSkewed", Cause::ClockSkew, ErrorKind::PermissionDenied),
            (403, "SecurityTokenExpired", Cause::Credentials, ErrorKind::Credentials),
            (404, "NoSuchKey", Cause::Permanent, ErrorKind::NotFound),
            (404, "BadErrorResponse", Cause::Permanent, ErrorKind::NotFound),
            (408, "", Cause::Server, ErrorKind::RequestTimeout),
            (409, "FileAlreadyExists", Cause::Permanent, ErrorKind::AlreadyExists),
            (412, "PreconditionFailed", Cause::Permanent, ErrorKind::ObjectChanged),
            (416, "InvalidRange", Cause::Permanent, ErrorKind::Service),
            (429, "QpsLimitExceeded", Cause::Throttled, ErrorKind::Throttled),
            (500, "InternalError", Cause::Server, ErrorKind::Service),
            (501, "NotImplemented", Cause::Permanent, ErrorKind::Service),
            (502, "BadErrorResponse", Cause::Server, ErrorKind::Service),
            (503, "DownloadTrafficRateLimitExceeded", Cause::Throttled, ErrorKind::Throttled),
            (503, "ServiceUnavailable", Cause::Server, ErrorKind::Service),
            (505, "", Cause::Permanent, ErrorKind::Service),
        ];
        for (status, code, cause, kind) in cases {
            let refusal = refusal(status, code);
            assert_eq!((refusal.cause, refusal.kind), (cause, kind), "{status} {code}");
        }
    }

    #[test]
    fn texts_name_the_remedy() {
        let cases = [
            (302, "", "portal.example:8080"),
            (403, "SignatureDoesNotMatch", "region cn-beijing"),
            (403, "SignatureDoesNotMatch", "oss-cn-hangzhou.aliyuncs.com"),
            (403, "AccessDenied", "the right oss:GetObject"),
            (403, "SecurityTokenExpired", "the test"),
            (403, "RequestTimeTooSkewed", "set the clock"),
            (404, "NoSuchBucket", "bucket"),
            (404, "NoSuchKey", "object"),
            (403, "InvalidObjectState", "RestoreObject"),
        ];
        for (status, code, expected) in cases {
            let message = refusal(status, code).message;
            assert!(message.contains(expected), "{message}");
            assert!(!message.contains("pw") && !message.contains("x=1"));
        }
    }

    #[test]
    fn pauses_are_read_and_capped() {
        let longest = Duration::from_secs(30);
        let pause = |qos, retry| pause(qos, retry, UtcTime(784_111_777), longest);
        assert_eq!(pause(Some("250"), Some("7")), Some(Duration::from_millis(250)));
        assert_eq!(pause(None, Some("7")), Some(Duration::from_secs(7)));
        assert_eq!(pause(None, Some("1000000000")), Some(longest));
        assert_eq!(pause(None, Some("99999999999999999999999")), Some(longest));
        assert_eq!(pause(None, Some("-5")), None);
        assert_eq!(pause(None, Some("soon")), None);
        assert_eq!(pause(None, Some("Sun, 06 Nov 1994 08:49:47 GMT")), Some(Duration::from_secs(10)));
        assert_eq!(pause(None, Some("Sun, 06 Nov 1994 08:49:27 GMT")), None);
        assert_eq!(pause(None, None), None);
    }
}
