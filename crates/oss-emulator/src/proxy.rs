//! An HTTP proxy in front of the service: CONNECT, and requests with a whole URL.
//!
//! Whatever host a client names, the way leads to the emulator itself: names need not exist, so that endpoints and
//! virtual hosts of any kind can be tried. It may refuse, ask for a user, hang, or answer as web pages do.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use oss_protocol::encoding::base64_encode;
use oss_protocol::http1::{Limits, parse_request_head};
use serde::Deserialize;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::connection::await_head;
use crate::locks::lock;
use crate::shared::Shared;
use crate::wire::{Socket, Wire};

/// Targets remembered.
const MAX_TARGETS: usize = 1000;

/// How the proxy behaves; what is absent is as it should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    /// `user:password` that it wants.
    user: Option<String>,
    /// A status in place of the way.
    status: Option<u16>,
    /// The body that follows the status: a web page, say.
    body: Option<String>,
    /// Bytes in place of any answer.
    raw: Option<String>,
    /// Nothing is answered at all.
    hangs: bool,
    /// What happens to the bytes from the service, on the next connections.
    damage: Option<Damage>,
}

/// Harm to the bytes on their way to the client, encrypted or not.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Damage {
    /// How many bytes pass before.
    after_bytes: u64,
    /// One bit is turned over; else the connection is closed.
    #[serde(default)]
    flip: bool,
    /// On how many connections.
    times: u64,
}

#[derive(Debug, Default)]
struct State {
    behaviour: Behaviour,
    targets: Vec<String>,
}

/// What the proxy knows.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    state: Mutex<State>,
}

impl Proxy {
    /// Behaves otherwise from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        lock(&self.state).behaviour = behaviour;
    }

    /// Behaves and forgets.
    pub(crate) fn reset(&self) {
        *lock(&self.state) = State::default();
    }

    /// What it was asked for: `CONNECT host:port`, `GET http://host/path`.
    pub(crate) fn render(&self) -> Value {
        json!({"targets": lock(&self.state).targets})
    }

    fn asked(&self, target: String) -> Behaviour {
        let mut state = lock(&self.state);
        if state.targets.len() < MAX_TARGETS {
            state.targets.push(target);
        }
        let behaviour = state.behaviour.clone();
        if let Some(damage) = &mut state.behaviour.damage {
            damage.times = damage.times.saturating_sub(1);
        }
        behaviour
    }
}

/// Serves a connection until either side ends it; the way leads to `service`.
pub(crate) fn serve(shared: &Shared, stream: TcpStream) {
    let socket = Arc::new(stream);
    let number = shared.opened(&socket);
    if !shared.stop.is_raised() {
        // A client or a service that leaves early has nobody to be told to.
        let _ = pass(shared, Socket(Arc::clone(&socket)));
    }
    shared.closed(number);
}

fn pass(shared: &Shared, socket: Socket) -> io::Result<()> {
    socket.0.set_nodelay(true)?;
    let mut wire = Wire::new(socket.clone(), None, Arc::clone(&shared.stop));
    if !await_head(&mut wire)? {
        return Ok(());
    }
    let parsed = parse_request_head(wire.buffered(), &Limits::default());
    let (head, size) = parsed.ok().flatten().ok_or(io::ErrorKind::InvalidData)?;
    let is_tunnel = head.method == "CONNECT";
    let url = head.target.split('?').next().unwrap_or_default();
    let behaviour = shared.proxy.asked(format!("{} {url}", head.method));
    let given = head.header("proxy-authorization").map(str::to_owned);
    if behaviour.hangs {
        return wire.stall(None);
    }
    if let Some(answer) = refusal(&behaviour, given.as_deref()) {
        return wire.write(answer.as_bytes(), b"");
    }
    let service = TcpStream::connect(shared.proxy_to)?;
    service.set_nodelay(true)?;
    if is_tunnel {
        wire.consume(size);
        wire.write(b"HTTP/1.1 200 Connection established\r\n\r\n", b"")?;
    }
    // Of a request in clear everything goes on as it came; the service reads a whole URL as well.
    (&service).write_all(wire.buffered())?;
    both_ways(shared, &socket.0, Arc::new(service), behaviour.damage.filter(|damage| damage.times > 0))
}

/// What is answered in place of the way.
fn refusal(behaviour: &Behaviour, given: Option<&str>) -> Option<String> {
    if let Some(raw) = &behaviour.raw {
        return Some(raw.clone());
    }
    let wanted = behaviour.user.as_ref().map(|user| format!("Basic {}", base64_encode(user.as_bytes())));
    let is_known = wanted.is_none() || wanted.as_deref() == given;
    let status = behaviour.status.or((!is_known).then_some(407))?;
    let body = behaviour.body.as_deref().unwrap_or_default();
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} No\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// Copies until both sides have ended.
fn both_ways(
    shared: &Shared,
    client: &Arc<TcpStream>,
    service: Arc<TcpStream>,
    damage: Option<Damage>,
) -> io::Result<()> {
    let number = shared.opened(&service);
    let (from, to) = (Arc::clone(&service), Arc::clone(client));
    let back = Builder::new().name("oss-proxy".to_owned()).spawn(move || copy(&from, &to, damage))?;
    copy(client, &service, None);
    // A thread that panicked has ended too.
    let _ = back.join();
    shared.closed(number);
    Ok(())
}

/// Copies one way, and ends the other side's reading when it ends.
fn copy(from: &Arc<TcpStream>, to: &Arc<TcpStream>, damage: Option<Damage>) {
    let mut memory = vec![0; 64 * 1024];
    let mut left = damage.as_ref().map_or(u64::MAX, |damage| damage.after_bytes);
    loop {
        let count = match (&**from).read(&mut memory) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let whole = count;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        let is_reached = count < whole;
        let flips = is_reached && damage.as_ref().is_some_and(|damage| damage.flip);
        if let Some(byte) = memory.get_mut(count).filter(|_| flips) {
            *byte ^= 1;
        }
        let passed = if flips { whole } else { count };
        let is_sent = (&**to).write_all(memory.get(..passed).unwrap_or_default()).is_ok();
        if !is_sent || (is_reached && !flips) {
            break;
        }
        left = if flips || left == u64::MAX { u64::MAX } else { left - count as u64 };
    }
    // Both directions: a side that has gone has nothing to hear either, and nobody waits for ever.
    let _ = SockRef::from(&**to).shutdown(Shutdown::Both);
    let _ = SockRef::from(&**from).shutdown(Shutdown::Both);
}

/// Where the way leads: the service's own address.
pub(crate) fn way(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address }
}
