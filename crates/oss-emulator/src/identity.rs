//! The services that hand out temporary keys: the metadata service of a machine, STS, and a credentials URI.
//!
//! They share a port of their own, plain or TLS by the first byte a client sends, and never share a state with the
//! service itself but for the keys: what is handed out here is accepted there until it expires.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oss_protocol::encoding::parse_query;
use oss_protocol::http1::{Limits, parse_request_head};
use oss_protocol::sign::{Credentials, Secret, rpc};
use oss_protocol::time::UtcTime;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::{TLS_HANDSHAKE, await_head};
use crate::halt::Halt;
use crate::inflow::{InPlan, Inflow};
use crate::locks::lock;
use crate::outflow::{OutPlan, Outflow};
use crate::request::Request;
use crate::response::{Payload, Response};
use crate::shared::Shared;
use crate::tls::Tls;
use crate::wire::{Socket, Wire};

/// The role of the machine.
const ROLE: &str = "emulator-role";
/// Where the metadata service keeps its keys.
const KEYS: &str = "/latest/meta-data/ram/security-credentials/";
/// The shortest life that STS gives keys; the emulator allows less.
const LIFETIME_SECONDS: i64 = 3600;

/// How the services behave; what is absent is as it should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    /// How long keys live.
    lifetime_seconds: Option<i64>,
    /// How many of the keys handed out last are accepted; the older ones expire.
    accepted: Option<usize>,
    /// Silence before an answer.
    delay_ms: u64,
    /// A status in place of the answer.
    status: Option<u16>,
    /// A body in place of the answer's.
    body: Option<String>,
    /// How many answers are spoiled so; none given = all.
    times: Option<u64>,
    /// The metadata service knows no tokens.
    without_token: bool,
    /// The only OIDC token that STS takes.
    oidc_token: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    issued: u64,
    newest: VecDeque<String>,
    /// Questions by kind.
    asked: Vec<(&'static str, u64)>,
}

/// What the identity services know.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    state: Mutex<State>,
}

/// An answer: status and body.
type Answer = (u16, Vec<u8>);

impl Identity {
    /// Behaves otherwise from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        lock(&self.state).behaviour = behaviour;
    }

    /// Forgets counts and behaviour; numbers of keys go on, so that none comes twice.
    pub(crate) fn reset(&self) {
        let mut state = lock(&self.state);
        state.behaviour = Behaviour::default();
        state.asked.clear();
    }

    /// How often each service was asked, and the key that was handed out last.
    pub(crate) fn render(&self) -> Value {
        let state = lock(&self.state);
        let asked: serde_json::Map<String, Value> =
            state.asked.iter().map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect();
        json!({"asked": asked, "newest": state.newest.back()})
    }

    fn count(&self, kind: &'static str) -> Behaviour {
        let mut state = lock(&self.state);
        match state.asked.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => state.asked.push((kind, 1)),
        }
        let behaviour = state.behaviour.clone();
        match &mut state.behaviour.times {
            Some(0) => Behaviour { delay_ms: 0, status: None, body: None, ..behaviour },
            Some(left) => {
                *left -= 1;
                behaviour
            }
            None => behaviour,
        }
    }

    /// New keys, accepted from now on: id, secret, token, expiry.
    fn issue(&self, shared: &Shared, lifetime_seconds: Option<i64>) -> Value {
        let now_ms = shared.clock().unix_millis();
        let mut state = lock(&self.state);
        state.issued += 1;
        let number = state.issued;
        let (id, secret, token) =
            (format!("STS.{number}"), format!("canary-secret-{number}"), format!("canary-token-{number}"));
        let lifetime = state.behaviour.lifetime_seconds.or(lifetime_seconds).unwrap_or(LIFETIME_SECONDS);
        // In whole seconds, as it is written.
        let expires_s = now_ms / 1000 + lifetime;
        let credentials = Credentials::new(id.clone(), secret.clone(), Some(Secret::new(token.clone())));
        shared.service.accounts.add(credentials, Some(expires_s * 1000));
        state.newest.push_back(id.clone());
        let accepted = state.behaviour.accepted.unwrap_or(usize::MAX);
        while state.newest.len() > accepted {
            let old = state.newest.pop_front();
            shared.service.accounts.expire(old.as_deref(), None, now_ms);
        }
        json!({
            "AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token,
            "Expiration": UtcTime(expires_s).to_iso_extended(),
        })
    }
}

/// Serves a connection until either side ends it.
pub(crate) fn serve(shared: &Shared, stream: TcpStream) {
    let socket = Arc::new(stream);
    let number = shared.opened(&socket);
    if !shared.stop.is_raised() {
        // A client that leaves early has nobody to be told to.
        let _ = requests(shared, Socket(Arc::clone(&socket)));
    }
    shared.closed(number);
}

fn requests(shared: &Shared, socket: Socket) -> io::Result<()> {
    socket.0.set_nodelay(true)?;
    let mut first = [0];
    let is_tls = socket.0.peek(&mut first)? == 1 && first == [TLS_HANDSHAKE];
    let tls = shared.tls.as_ref().filter(|_| is_tls).map(Tls::accept).transpose()?;
    let mut wire = Wire::new(socket, tls, Arc::clone(&shared.stop));
    while await_head(&mut wire)? {
        let parsed = parse_request_head(wire.buffered(), &Limits::default());
        let (head, size) = parsed.ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
        let (request, _) = Request::read(&head, |_| false);
        let path = head.path().to_owned();
        wire.consume(size);
        let mut body = Inflow::new(&mut wire, request.framing, false, InPlan::default(), shared.clock());
        let mut sent = Vec::new();
        let received = body.receive(&mut |bytes| {
            sent.extend_from_slice(bytes);
            Ok(())
        });
        if let Err(Halt::Gone) = received {
            return Ok(());
        }
        let (status, answer) = act(shared, &path, &request, &sent);
        let response = Response { payload: Payload::Bytes(answer), ..Response::empty(status) };
        let mut out = Outflow::new(&mut wire, shared.clock(), OutPlan::default());
        if !out.send(&response, request.keep_alive)? {
            return Ok(());
        }
    }
    Ok(())
}

fn act(shared: &Shared, path: &str, request: &Request, body: &[u8]) -> Answer {
    let kind = match (request.method.as_str(), path) {
        ("PUT", "/latest/api/token") => "token",
        ("GET", KEYS) => "role",
        ("GET", path) if path.starts_with(KEYS) => "keys",
        ("POST", "/") => "sts",
        ("GET", "/credentials") => "uri",
        _ => return (404, b"there is nothing here".to_vec()),
    };
    let behaviour = shared.identity.count(kind);
    if behaviour.delay_ms > 0 {
        shared.stop.pause(Duration::from_millis(behaviour.delay_ms));
    }
    let spoiled = behaviour.body.as_ref().map(|body| body.clone().into_bytes());
    if let Some(status) = behaviour.status {
        return (status, spoiled.unwrap_or_else(|| br#"{"Code":"InternalError"}"#.to_vec()));
    }
    let answer = match kind {
        "token" => token(&behaviour, request),
        "role" | "keys" => metadata(shared, kind, path, &behaviour, request),
        "sts" => sts(shared, body, &behaviour),
        _ => (200, with_success(shared.identity.issue(shared, None))),
    };
    spoiled.map_or(answer, |body| (200, body))
}

fn token(behaviour: &Behaviour, request: &Request) -> Answer {
    match request.header("x-aliyun-ecs-metadata-token-ttl-seconds") {
        _ if behaviour.without_token => (404, Vec::new()),
        Some(_lifetime) => (200, b"emulator-metadata-token".to_vec()),
        None => (400, Vec::new()),
    }
}

fn metadata(shared: &Shared, kind: &str, path: &str, behaviour: &Behaviour, request: &Request) -> Answer {
    let token = request.header("x-aliyun-ecs-metadata-token");
    if !behaviour.without_token && token != Some("emulator-metadata-token") {
        return (403, Vec::new());
    }
    match kind {
        "role" => (200, ROLE.as_bytes().to_vec()),
        _ if path.strip_prefix(KEYS) == Some(ROLE) => {
            (200, with_success(shared.identity.issue(shared, None)))
        }
        _ => (404, Vec::new()),
    }
}

fn with_success(mut keys: Value) -> Vec<u8> {
    keys["Code"] = json!("Success");
    keys.to_string().into_bytes()
}

fn sts(shared: &Shared, body: &[u8], behaviour: &Behaviour) -> Answer {
    let refused = |status: u16, code: &str| {
        let body = json!({"Code": code, "RequestId": shared.request_id(), "Message": "no"});
        (status, body.to_string().into_bytes())
    };
    let text = String::from_utf8_lossy(body).into_owned();
    let Ok(form) = parse_query(&text) else { return refused(400, "InvalidParameter") };
    let field = |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let refusal = match field("Action") {
        Some("AssumeRoleWithOIDC") => {
            let token = field("OIDCToken").unwrap_or_default();
            let wanted = behaviour.oidc_token.as_deref().unwrap_or(token);
            (token.is_empty() || token != wanted).then_some((400, "AuthenticationFail.OIDCToken.Invalid"))
        }
        Some("AssumeRole") => signed_wrongly(shared, &form),
        _ => Some((400, "InvalidAction.NotFound")),
    };
    if let Some((status, code)) = refusal {
        return refused(status, code);
    }
    if field("RoleArn").is_none_or(|arn| !arn.starts_with("acs:ram::")) {
        return refused(404, "EntityNotExist.Role");
    }
    let lifetime = field("DurationSeconds").and_then(|text| text.parse().ok());
    let keys = shared.identity.issue(shared, lifetime);
    (200, json!({"RequestId": shared.request_id(), "Credentials": keys}).to_string().into_bytes())
}

/// Why a form is not signed by a key that is accepted.
fn signed_wrongly(shared: &Shared, form: &[(String, String)]) -> Option<(u16, &'static str)> {
    let id = form.iter().find(|(name, _)| name == "AccessKeyId").map_or("", |(_, id)| id.as_str());
    let Some(credentials) = shared.service.accounts.known(id, shared.clock().unix_millis()) else {
        return Some((404, "InvalidAccessKeyId.NotFound"));
    };
    let is_right = rpc::verify(credentials.access_key_secret.expose(), "POST", form);
    (!is_right).then_some((400, "SignatureDoesNotMatch"))
}
