//! The control port: JSON over HTTP, for tests. Loopback only, unsigned.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use oss_protocol::encoding::base64_decode;
use oss_protocol::http1::{Limits, parse_request_head};
use oss_protocol::sign::{Credentials, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::await_head;
use crate::halt::Halt;
use crate::inflow::{InPlan, Inflow};
use crate::outflow::{OutPlan, Outflow};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::{Payload, Response};
use crate::shaping::ShapeText;
use crate::shared::Shared;
use crate::store::body::Body;
use crate::store::multitude::Multitude;
use crate::store::object::Object;
use crate::store::synthetic;
use crate::tls::CertificateKind;
use crate::wire::{Socket, Wire};

/// Longest wait for journal entries that a request may ask for.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Ends the emulator.
const STOP: &str = "/_emulator/stop";

/// Why the control port refuses: a status and a line.
type Complaint = (u16, String);

/// Serves a connection of the control port until either side ends it.
pub(crate) fn serve(shared: &Shared, stream: TcpStream) {
    let socket = Arc::new(stream);
    let number = shared.opened(&socket);
    // Nobody is there to hear of a broken control connection.
    let _ = requests(shared, Socket(Arc::clone(&socket)));
    shared.closed(number);
}

fn requests(shared: &Shared, socket: Socket) -> io::Result<()> {
    socket.0.set_nodelay(true)?;
    let mut wire = Wire::new(socket, None, Arc::clone(&shared.stop));
    while await_head(&mut wire)? {
        let parsed = parse_request_head(wire.buffered(), &Limits::default());
        let (head, size) = parsed.ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
        let (request, _) = Request::read(&head, |_| false);
        let path = head.path().to_owned();
        wire.consume(size);
        let answer = match read_body(shared, &mut wire, &request) {
            Ok(body) => act(shared, &path, &request, &body),
            Err(Halt::Refuse(refusal)) => Err((400, refusal.message.clone())),
            Err(Halt::Gone) => return Ok(()),
        };
        let (status, value) = match answer {
            Ok(value) => (200, value),
            Err((status, error)) => (status, json!({"error": error})),
        };
        let payload = Payload::Bytes(value.to_string().into_bytes());
        let response =
            Response { payload, ..Response::empty(status) }.header("Content-Type", "application/json");
        let mut out = Outflow::new(&mut wire, shared.clock(), OutPlan::default());
        let goes_on = out.send(&response, request.keep_alive)?;
        // Only now, so that whoever asked hears that it was heard.
        if path == STOP {
            shared.stop.raise();
        }
        if !goes_on {
            return Ok(());
        }
    }
    Ok(())
}

fn read_body(shared: &Shared, wire: &mut Wire, request: &Request) -> Result<Vec<u8>, Halt> {
    let (framing, continues) = (request.framing, request.expects_continue);
    let mut body = Inflow::new(wire, framing, continues, InPlan::default(), shared.clock());
    let mut all = Vec::new();
    body.receive(&mut |bytes| {
        all.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(all)
}

/// Carries out one control request.
///
/// # Errors
/// 400 for JSON that is not understood, naming what; 404 for an unknown path.
pub(crate) fn act(shared: &Shared, path: &str, request: &Request, body: &[u8]) -> Result<Value, Complaint> {
    match (request.method.as_str(), path) {
        ("GET", "/_emulator/rules") => Ok(shared.rules.render()),
        ("GET", "/_emulator/journal") => journal(shared, request),
        ("POST", "/_emulator/rules") => {
            shared.set_rules(read(body)?).map_err(|why| (400, why))?;
            Ok(shared.rules.render())
        }
        ("POST", "/_emulator/reset") => reset(shared, &read(body)?),
        ("POST", "/_emulator/clock") => {
            let Offset { offset_seconds } = read(body)?;
            shared.clock().set_offset_seconds(offset_seconds.round() as i64);
            Ok(json!({"now": shared.clock().utc().to_http_date()}))
        }
        ("POST", "/_emulator/objects") => objects(shared, &read(body)?),
        ("POST", "/_emulator/shape") => {
            shared.set_shape(read::<ShapeText>(body)?);
            Ok(json!({}))
        }
        ("POST", "/_emulator/credentials") => credentials(shared, read(body)?),
        ("POST", "/_emulator/credentials/expire") => {
            let Expire { access_key_id, security_token } = read(body)?;
            let (id, token) = (access_key_id.as_deref(), security_token.as_deref());
            let now_ms = shared.clock().unix_millis();
            Ok(json!({"expired": shared.service.accounts.expire(id, token, now_ms)}))
        }
        ("GET", "/_emulator/identity") => Ok(shared.identity.render()),
        ("POST", "/_emulator/identity") => {
            shared.identity.behave(read(body)?);
            Ok(shared.identity.render())
        }
        ("GET", "/_emulator/proxy") => Ok(shared.proxy.render()),
        ("POST", "/_emulator/proxy") => {
            shared.proxy.behave(read(body)?);
            Ok(shared.proxy.render())
        }
        ("POST", "/_emulator/tls") => certificate(shared, &read(body)?),
        ("POST", STOP) => Ok(json!({})),
        (method, path) => Err((404, format!("the control port knows no {method} {path}"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Offset {
    offset_seconds: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expire {
    access_key_id: Option<String>,
    security_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Certificate {
    certificate: CertificateKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    access_key_id: String,
    access_key_secret: String,
    security_token: Option<String>,
    expires_in_seconds: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Reset {
    keep_objects: bool,
}

/// Objects to be made: one of `key`, or `count` of them below `prefix`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fill {
    bucket: String,
    key: Option<String>,
    prefix: Option<String>,
    suffix: String,
    count: u64,
    size: u64,
    seed: u64,
    body_base64: Option<String>,
    content_type: Option<String>,
    storage_class: Option<String>,
    no_crc64: bool,
    /// The objects below `prefix` are computed when they are listed or read: millions cost nothing.
    synthetic: bool,
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, Complaint> {
    let text = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| (400, error.to_string()))
}

fn number(request: &Request, name: &str) -> Result<Option<u64>, Complaint> {
    let text = request.parameter(name);
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|_| (400, format!("{name} must be a number")))
}

fn journal(shared: &Shared, request: &Request) -> Result<Value, Complaint> {
    if let Some(count) = number(request, "wait_for")? {
        let timeout = number(request, "timeout_ms")?.map_or(MAX_WAIT, Duration::from_millis);
        shared.journal().wait_for(count, timeout.min(MAX_WAIT));
    }
    Ok(shared.journal().render(number(request, "since")?.unwrap_or(0)))
}

fn reset(shared: &Shared, reset: &Reset) -> Result<Value, Complaint> {
    shared.rules.clear();
    shared.identity.reset();
    shared.proxy.reset();
    shared.set_shape(ShapeText::default());
    shared.clock().set_offset_seconds(0);
    if !reset.keep_objects {
        shared.service.store.clear_objects().map_err(|refusal| (500, refusal.message.clone()))?;
    }
    shared.journal().clear();
    Ok(json!({}))
}

fn credentials(shared: &Shared, keys: Keys) -> Result<Value, Complaint> {
    let now_ms = shared.clock().unix_millis();
    let expires_ms =
        keys.expires_in_seconds.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1000)));
    let token = keys.security_token.map(Secret::new);
    let credentials = Credentials::new(keys.access_key_id, keys.access_key_secret, token);
    shared.service.accounts.add(credentials, expires_ms);
    Ok(json!({}))
}

fn certificate(shared: &Shared, wanted: &Certificate) -> Result<Value, Complaint> {
    let tls =
        shared.tls.as_ref().ok_or_else(|| (400, "the emulator was started without --tls".to_owned()))?;
    tls.authority.set_kind(wanted.certificate);
    Ok(json!({}))
}

fn objects(shared: &Shared, fill: &Fill) -> Result<Value, Complaint> {
    let store = &shared.service.store;
    if store.with(&fill.bucket, |_| ()).is_err() {
        store.create_bucket(&fill.bucket, None, "Standard").map_err(complaint)?;
    }
    if let Some(key) = &fill.key {
        let now_ms = shared.clock().unix_millis();
        let object = match &fill.body_base64 {
            Some(text) => {
                let bytes = base64_decode(text).map_err(|error| (400, error.to_string()))?;
                store.plain_object(key, &bytes).map_err(complaint)?
            }
            None => synthetic::object(Body::pattern(fill.seed, fill.size), fill.seed, now_ms),
        };
        return Ok(json!({"objects": [put(shared, fill, key, object)?]}));
    }
    let prefix = fill.prefix.as_deref().ok_or_else(|| (400, "key or prefix is needed".to_owned()))?;
    if fill.synthetic {
        return compute(shared, fill, prefix);
    }
    for index in 0..fill.count {
        let seed = fill.seed.wrapping_add(index);
        let key = format!("{prefix}{index:08}{}", fill.suffix);
        let object = synthetic::object(Body::pattern(seed, fill.size), seed, shared.clock().unix_millis());
        put(shared, fill, &key, object)?;
    }
    Ok(json!({"count": fill.count}))
}

/// Most objects of a multitude: as many as eight digits number.
const MAX_COMPUTED: u64 = 100_000_000;

fn compute(shared: &Shared, fill: &Fill, prefix: &str) -> Result<Value, Complaint> {
    if fill.count > MAX_COMPUTED {
        return Err((400, format!("count may be {MAX_COMPUTED} at most")));
    }
    let multitude = Multitude {
        prefix: prefix.to_owned(),
        suffix: fill.suffix.clone(),
        count: fill.count,
        size: fill.size,
        seed: fill.seed,
        made_ms: shared.clock().unix_millis(),
    };
    let added = shared.service.store.alter(&fill.bucket, |bucket| {
        bucket.multitudes.push(multitude);
        Ok(())
    });
    added.map_err(complaint)?;
    Ok(json!({"count": fill.count}))
}

fn put(shared: &Shared, fill: &Fill, key: &str, mut object: Object) -> Result<Value, Complaint> {
    if let Some(content_type) = &fill.content_type {
        object.headers = vec![("content-type".to_owned(), content_type.clone())];
    }
    if let Some(storage_class) = &fill.storage_class {
        object.storage_class.clone_from(storage_class);
    }
    if fill.no_crc64 {
        object.crc64 = None;
    }
    let stored = shared.service.store.put((&fill.bucket, key), false, object).map_err(complaint)?;
    let object = &stored.object;
    Ok(json!({"key": key, "etag": object.etag, "size": object.body.size_bytes(), "crc64": object.crc64}))
}

fn complaint(refusal: Refusal) -> Complaint {
    (refusal.status, refusal.message.clone())
}
