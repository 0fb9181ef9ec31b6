//! One connection: its requests, one after the other.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use oss_protocol::http1::{Limits, head_is_complete, parse_request_head};

use crate::exchange::Exchange;
use crate::outflow::{OutPlan, Outflow};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::refuse;
use crate::shared::Shared;
use crate::tls::Tls;
use crate::wire::{Socket, Wire};

/// First byte of a TLS connection. On a plain port no head will follow it: the client is told
/// so at once, by bytes that are no TLS, instead of waiting for its own timeout.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// Serves a connection until either side ends it.
pub(crate) fn serve(shared: &Shared, stream: TcpStream) {
    let socket = Arc::new(stream);
    let number = shared.opened(&socket);
    // A stop that came before the socket was remembered must not leave it open.
    if !shared.stop.is_raised() {
        // What ends a connection is in the journal; there is nobody else to tell.
        let _ = requests(shared, Socket(Arc::clone(&socket)), number);
    }
    shared.closed(number);
}

fn requests(shared: &Shared, socket: Socket, number: u64) -> io::Result<()> {
    socket.0.set_nodelay(true)?;
    let tls = shared.tls.as_ref().map(Tls::accept).transpose()?;
    let mut wire = Wire::new(socket, tls, Arc::clone(&shared.stop));
    loop {
        wire.set_read_timeout(shared.shape().idle_close);
        if !await_head(&mut wire)? {
            return Ok(());
        }
        let is_bucket = |name: &str| shared.service.store.with(name, |_| ()).is_ok();
        let parsed = match parse_request_head(wire.buffered(), &Limits::default()) {
            Ok(Some((head, size))) => Ok((Request::read(&head, is_bucket), size)),
            Ok(None) => Err("the head is cut".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let (request, size) = match parsed {
            Ok(parsed) => parsed,
            Err(why) => return refuse_head(shared, &mut wire, &why),
        };
        wire.consume(size);
        if !Exchange::begin(shared, number, request).run(&mut wire) {
            return Ok(());
        }
    }
}

/// Reads until a whole head is there; false if the client ended between two requests.
pub(crate) fn await_head(wire: &mut Wire) -> io::Result<bool> {
    let limits = Limits::default();
    let mut searched = 0;
    loop {
        let bytes = wire.buffered();
        let is_tls_hello = bytes.first() == Some(&TLS_HANDSHAKE);
        if head_is_complete(bytes, searched) || is_tls_hello || bytes.len() > limits.max_head_bytes {
            return Ok(true);
        }
        searched = bytes.len();
        if wire.read_more()? == 0 {
            return Ok(searched > 0);
        }
    }
}

fn refuse_head(shared: &Shared, wire: &mut Wire, why: &str) -> io::Result<()> {
    let refusal = Refusal::new(400, "InvalidRequest", format!("The request cannot be understood: {why}."));
    let response = refuse(&refusal, "", &shared.request_id(), "");
    Outflow::new(wire, shared.clock(), OutPlan::default()).send(&response, false).map(drop)
}
