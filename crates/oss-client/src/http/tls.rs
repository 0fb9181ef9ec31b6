//! TLS by rustls: 1.2 or newer, verification always on.
//!
//! The authorities are those of `ca_file` if one is given, else the system's (`SSL_CERT_FILE` and
//! `SSL_CERT_DIR` are honoured). No variable turns verification off. Length decides about the end of a body,
//! never close_notify.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use oss_protocol::crc64::Crc64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};

use super::dial::out_of_files;
use super::socket::Socket;
use super::stream::{Stream, is_tick, land, trickle};
use crate::cancel::Interrupt;
use crate::clock::Clock;
use crate::sync::Arc;

/// What came unasked is looked through in so many batches, which rustls takes by 4 KiB: servers send two tickets of some
/// 250 bytes.
const TICKET_BATCHES: usize = 4;

/// Encrypted bytes that are received at a time, two full records. rustls by itself asks for 4 KiB, and an object of
/// 110 KiB took 28 system calls.
const AHEAD_BYTES: usize = 32 * 1024;

/// Why there is no encrypted stream.
#[derive(Debug)]
pub(super) enum TlsFailure {
    /// The peer's certificate or protocol is not acceptable: fails closed, never repeated.
    Refused(String),
    /// The handshake was cut or took too long.
    Cut(String),
    /// The caller gave up.
    Cancelled,
}

/// Why encrypted connections cannot even be prepared.
#[derive(Debug)]
pub(super) enum SettingsFailure {
    /// This process may open no more files; with the system's number.
    Files(String, i32),
    /// There is no authority to trust.
    Unusable(String),
}

/// Makes the settings all connections share.
///
/// # Errors
/// When there is no authority to trust, or none can be read now.
pub(super) fn settings(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, SettingsFailure> {
    let roots = match ca_file {
        Some(path) => roots_of(path)?,
        None => roots_of_the_system()?,
    };
    if roots.is_empty() {
        let text = match ca_file {
            Some(path) => format!("network.caFile {} holds no certificate; correct it", path.display()),
            None => {
                "no certificate authority found in the system: set SSL_CERT_FILE or network.caFile".to_owned()
            }
        };
        return Err(SettingsFailure::Unusable(text));
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SettingsFailure::Unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn roots_of(path: &Path) -> Result<RootCertStore, SettingsFailure> {
    let unusable = |error: &dyn fmt::Display| {
        SettingsFailure::Unusable(format!("network.caFile {}: {error}; correct it", path.display()))
    };
    let text = fs::read(path).map_err(|error| match out_of_files(&error) {
        Some(errno) => SettingsFailure::Files(format!("network.caFile {}: {error}", path.display()), errno),
        None => unusable(&error),
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    Ok(roots)
}

/// The system's authorities: those of files that cannot be read are left out, unless no file can be opened at all.
fn roots_of_the_system() -> Result<RootCertStore, SettingsFailure> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        if let rustls_native_certs::ErrorKind::Io { inner, path } = &error.kind
            && let Some(errno) = out_of_files(inner)
        {
            return Err(SettingsFailure::Files(format!("{}: {inner}", path.display()), errno));
        }
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    Ok(roots)
}

/// An encrypted stream over a socket.
pub(super) struct TlsStream {
    connection: ClientConnection,
    socket: Socket,
    ahead: Ahead,
    clock: Arc<dyn Clock>,
    tick: Duration,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "TlsStream({:?})", self.socket)
    }
}

impl TlsStream {
    /// Shakes hands with `host` until `end`, asking `is_given_up` at every tick.
    pub(super) fn handshake(
        settings: &Arc<ClientConfig>,
        host: &str,
        mut socket: Socket,
        clock: Arc<dyn Clock>,
        (end, tick): (Instant, Duration),
        is_given_up: &mut dyn FnMut() -> bool,
    ) -> Result<TlsStream, TlsFailure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| TlsFailure::Refused(format!("{host} is no name for a certificate ({error})")))?;
        let mut connection = ClientConnection::new(Arc::clone(settings), name)
            .map_err(|error| TlsFailure::Refused(error.to_string()))?;
        while connection.is_handshaking() {
            if is_given_up() {
                return Err(TlsFailure::Cancelled);
            }
            if clock.now() >= end {
                return Err(TlsFailure::Cut("the TLS handshake took too long".to_owned()));
            }
            match step(&mut connection, &mut socket) {
                Ok(()) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(refusal(&error)),
            }
        }
        Ok(TlsStream { connection, socket, ahead: Ahead::default(), clock, tick })
    }

    /// Receives one batch of records; false after the peer's end.
    fn receive_records(&mut self) -> io::Result<bool> {
        if self.ahead.is_empty() {
            self.ahead.receive(&mut self.socket)?;
        }
        if self.connection.read_tls(&mut self.ahead)? == 0 {
            return Ok(false);
        }
        self.connection.process_new_packets().map_err(io::Error::other)?;
        Ok(true)
    }

    /// Sends what rustls has ready; `WouldBlock` after a tick.
    fn flush_records(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Plain(&mut self.socket))?;
        }
        Ok(())
    }
}

impl Stream for TlsStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut end = None;
        loop {
            match self.connection.reader().read(into) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
            let now = self.clock.now();
            if now >= *end.get_or_insert(now + self.tick) {
                return Err(trickle());
            }
            if !self.receive_records()? {
                return Ok(0);
            }
        }
    }

    fn fill(&mut self, into: &mut [MaybeUninit<u8>], mut crc: Option<&mut Crc64>) -> io::Result<usize> {
        let mut filled = 0;
        let end = self.clock.now() + self.tick;
        loop {
            let mut reader = self.connection.reader();
            let landed = match reader.fill_buf() {
                Ok(plain) => land(plain, &mut into[filled..], crc.as_deref_mut()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if filled > 0 || error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(filled);
                }
                Err(error) => return Err(error),
            };
            if landed > 0 {
                reader.consume(landed);
                filled += landed;
            }
            if filled == into.len() {
                return Ok(filled);
            }
            if self.clock.now() >= end {
                return if filled > 0 { Ok(filled) } else { Err(trickle()) };
            }
            if landed > 0 {
                continue;
            }
            match self.receive_records() {
                Ok(true) => {}
                Ok(false) => return Ok(filled),
                // What has landed counts, also in the checksum; whatever broke shows again at the next call.
                Err(_) if filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // What an earlier call encrypted and could not send goes first.
        self.flush_records()?;
        let mut taken = 0;
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let count = self.connection.writer().write(rest)?;
                taken += count;
                rest = &rest[count..];
                match self.flush_records() {
                    Ok(()) => {}
                    // It is encrypted already, so it counts: a second time it would be sent twice.
                    Err(error) if is_passing(&error) => return Ok(taken),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(taken)
    }

    fn has_unsent(&self) -> bool {
        self.connection.wants_write()
    }

    fn turn(&mut self) {
        self.socket.turn();
    }

    fn is_quiet(&mut self) -> bool {
        !self.connection.wants_write() && self.ahead.is_empty() && self.socket.is_quiet()
    }

    fn has_answer(&mut self) -> bool {
        // After a handshake of TLS 1.3 session tickets come unasked: only what they hide says anything.
        for _ in 0..TICKET_BATCHES {
            let shown = self.connection.reader().fill_buf().map(drop);
            if !shown.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return true;
            }
            if self.ahead.is_empty() && !self.socket.has_answer() {
                return false;
            }
            match self.receive_records() {
                Ok(true) => {}
                Err(error) if is_passing(&error) => {}
                Ok(false) | Err(_) => return true,
            }
        }
        false
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        self.socket.interrupt_handle()
    }
}

/// Encrypted bytes that were received and that rustls has not taken yet.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    left: Range<usize>,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Receives what there is, once all before it is taken; nothing at the peer's end.
    fn receive(&mut self, socket: &mut Socket) -> io::Result<()> {
        self.bytes.resize(AHEAD_BYTES, 0);
        self.left = 0..socket.read(&mut self.bytes)?;
        Ok(())
    }
}

impl Read for Ahead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let taken = (&self.bytes[self.left.clone()]).read(into)?;
        self.left.start += taken;
        Ok(taken)
    }
}

/// A tick or a signal is no failure.
fn is_passing(error: &io::Error) -> bool {
    is_tick(error) || error.kind() == io::ErrorKind::Interrupted
}

/// Takes one step of a handshake: one send or one receive, so that whoever is in between looks around at every byte of
/// a peer that says them one by one.
fn step(connection: &mut ClientConnection, socket: &mut Socket) -> io::Result<()> {
    if connection.wants_write() {
        return connection.write_tls(&mut Plain(socket)).map(drop);
    }
    let received = connection.read_tls(&mut Plain(socket))?;
    connection.process_new_packets().map_err(|error| {
        // The alert that tells the peer what it did wrong goes if it can.
        let _ = connection.write_tls(&mut Plain(socket));
        io::Error::new(io::ErrorKind::InvalidData, error)
    })?;
    if received == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The socket as rustls wants it.
struct Plain<'s>(&'s mut Socket);

impl Read for Plain<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which check a certificate failed, and what to do.
fn objection(why: &CertificateError) -> String {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    match why {
        Expired | ExpiredContext { .. } => {
            "it has expired; look at this machine's clock, or renew it".to_owned()
        }
        NotValidYet | NotValidYetContext { .. } => {
            "it is not valid yet; look at this machine's clock".to_owned()
        }
        NotValidForName | NotValidForNameContext { .. } => {
            "it is for another name; correct the endpoint, or look what is in between".to_owned()
        }
        UnknownIssuer => {
            "no trusted authority signed it; name yours in network.caFile or SSL_CERT_FILE".to_owned()
        }
        other => other.to_string(),
    }
}

/// Tells a peer that must not be trusted from a connection that broke.
fn refusal(error: &io::Error) -> TlsFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => {
            TlsFailure::Refused(format!("the certificate is not acceptable: {}", objection(why)))
        }
        Some(rustls::Error::PeerIncompatible(why)) => {
            TlsFailure::Refused(format!("the peer speaks no TLS that we accept (1.2 or newer): {why:?}"))
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            TlsFailure::Refused(format!("the peer refused the TLS handshake: {alert:?}"))
        }
        Some(rustls::Error::NoCertificatesPresented) => {
            TlsFailure::Refused("the peer showed no certificate".to_owned())
        }
        _ => TlsFailure::Cut(format!("the TLS handshake broke ({error})")),
    }
}
