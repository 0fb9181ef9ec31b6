//! Parsers that lie behind private doors, for `tests/corpus` and `fuzz/`: bytes in, values out. No part of the client.

use std::time::Duration;

use oss_protocol::time::UtcTime;
use oss_protocol::uri::Endpoint;

use crate::config::proxy;
use crate::credentials::{Fetched, document, ecs, process, sts, uri};
use crate::error::Error;
use crate::http::ask::Reply;
use crate::http::dial::DialFailure;
use crate::http::tunnel;
use crate::refusal;
use crate::telling::door::{self, Question};

/// Keys, as the metadata service or an agent answers them.
///
/// # Errors
/// `Credentials`.
pub fn service_answer(body: &[u8]) -> Result<Fetched, Error> {
    document::answered(body, "a service")
}

/// Keys, as STS answers them.
///
/// # Errors
/// `Credentials`, with STS's code.
pub fn sts_answer(status: u16, body: Vec<u8>) -> Result<Fetched, Error> {
    sts::read(&Reply { status, body }, "sts.aliyuncs.com", "a role")
}

/// Keys, as a program writes them.
///
/// # Errors
/// `Credentials`.
pub fn process_output(output: &[u8]) -> Result<Fetched, Error> {
    process::keys_in(output, "output of a program")
}

/// The token of an OIDC token file, or of the metadata service.
#[must_use]
pub fn token(content: &[u8]) -> Option<&str> {
    document::word(content)
}

/// The RAM role that the metadata service names.
#[must_use]
pub fn role(answer: &[u8]) -> Option<&str> {
    ecs::role_in(answer)
}

/// Endpoint, and path with query, of a credentials URI.
///
/// # Errors
/// `Credentials`, without any of the text.
pub fn credentials_uri(text: &str) -> Result<(Endpoint, String), Error> {
    uri::split(text)
}

/// Whether a list of `NO_PROXY` names the endpoint.
#[must_use]
pub fn no_proxy_names(list: &str, endpoint: &Endpoint) -> bool {
    proxy::names(list, endpoint)
}

/// The pause that `x-oss-qos-delay-time` or `Retry-After` asks for.
#[must_use]
pub fn pause(
    qos_delay_ms: Option<&str>,
    retry_after: Option<&str>,
    server_now: UtcTime,
    longest: Duration,
) -> Option<Duration> {
    refusal::pause(qos_delay_ms, retry_after, server_now, longest)
}

/// What a proxy's answer to CONNECT says, as far as it has come: `None` while nothing can be said.
#[must_use]
pub fn tunnel_answer(answer: &[u8]) -> Option<Result<(), String>> {
    Some(tunnel::verdict(answer)?.map_err(|failure| match failure {
        DialFailure::Refused(why) => why,
        other => format!("{other:?}"),
    }))
}

/// For how long a line at the socket of `ossconnector dump` asks for a trace, zero for the state; `None` = no question.
#[must_use]
pub fn dump_question(line: &str) -> Option<Duration> {
    Some(match door::understand(line)? {
        Question::State => Duration::ZERO,
        Question::Trace(time) => time,
    })
}
