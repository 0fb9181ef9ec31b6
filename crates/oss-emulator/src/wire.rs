//! The bytes of one connection, plain or under TLS: buffered reading, whole writing, sudden ends.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

use crate::stop::Stop;

/// Bytes asked of the socket at once while a head is awaited.
const READ_BYTES: usize = 16 * 1024;

/// Pause before a reset, so that bytes already written reach the peer: a reset drops what the
/// kernel has not sent yet.
const BEFORE_RESET: Duration = Duration::from_millis(2);

/// How often a stalled connection looks whether the client has left.
const STALL_TICK: Duration = Duration::from_millis(20);

/// How long bytes are awaited that mean nothing, after the answer has gone out.
const STRAY_PATIENCE: Duration = Duration::from_millis(100);

/// A socket that other threads may also shut down.
#[derive(Clone, Debug)]
pub(crate) struct Socket(pub(crate) Arc<TcpStream>);

impl Read for Socket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(out)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.0).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
enum Stream {
    Plain(Socket),
    Tls(Box<StreamOwned<ServerConnection, Socket>>),
}

/// A connection's stream with what has been read ahead of it.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    socket: Socket,
    buffer: Vec<u8>,
    used: usize,
    stop: Arc<Stop>,
}

impl Wire {
    /// Takes over an accepted socket; `tls` makes it the server's side of a TLS connection.
    pub(crate) fn new(socket: Socket, tls: Option<ServerConnection>, stop: Arc<Stop>) -> Self {
        let stream = match tls {
            Some(connection) => Stream::Tls(Box::new(StreamOwned::new(connection, socket.clone()))),
            None => Stream::Plain(socket.clone()),
        };
        Self { stream, socket, buffer: Vec::new(), used: 0, stop }
    }

    /// Bytes that were read and not consumed yet.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    /// Gives back the first bytes of the buffer as used up.
    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
        if self.used >= self.buffer.len() {
            self.buffer.clear();
            self.used = 0;
        }
    }

    /// Reads more bytes behind those in the buffer; 0 means the client has ended its side.
    ///
    /// # Errors
    /// What the socket gives; `WouldBlock` when the read timeout ran out.
    pub(crate) fn read_more(&mut self) -> io::Result<usize> {
        if self.used > 0 {
            self.buffer.drain(..self.used);
            self.used = 0;
        }
        let before = self.buffer.len();
        self.buffer.resize(before + READ_BYTES, 0);
        let read = self.stream.read(self.buffer.get_mut(before..).unwrap_or_default());
        self.buffer.truncate(before + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// Reads body bytes into `out`: first those in the buffer, then from the socket.
    ///
    /// # Errors
    /// As [`Wire::read_more`].
    pub(crate) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.buffered();
        if ready.is_empty() {
            return self.stream.read(out);
        }
        let count = ready.len().min(out.len());
        let (taken, _) = ready.split_at(count);
        if let Some(place) = out.get_mut(..count) {
            place.copy_from_slice(taken);
        }
        self.consume(count);
        Ok(count)
    }

    /// Limits how long a read may wait; `None` waits for ever.
    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) {
        // A socket that refuses the option is gone, which the next read finds out.
        let _ = self.socket.0.set_read_timeout(timeout.filter(|timeout| !timeout.is_zero()));
    }

    /// Shrinks the receive buffer, so that a client soon feels that nobody reads.
    pub(crate) fn shrink_receive_buffer(&self) {
        let _ = SockRef::from(&*self.socket.0).set_recv_buffer_size(4096);
    }

    /// Writes two stretches whole, in one system call if the socket takes them.
    ///
    /// # Errors
    /// The client has gone.
    pub(crate) fn write(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => write_both(socket, first, second),
            Stream::Tls(stream) => {
                stream.write_all(first)?;
                stream.write_all(second)?;
                stream.flush()
            }
        }
    }

    /// Reads away up to `count` bytes that a client may still send, for a short while: bytes that
    /// lie unread when a socket closes turn into a reset, which may overtake the answer.
    pub(crate) fn skip(&mut self, count: u64) {
        self.set_read_timeout(Some(STRAY_PATIENCE));
        let mut left = count;
        let mut memory = [0; 4096];
        while left > 0 {
            match self.read(&mut memory) {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count as u64),
            }
        }
    }

    /// Sleeps, unless the emulator stops; then it is an error.
    ///
    /// # Errors
    /// `Interrupted` when the emulator stops.
    pub(crate) fn pause(&self, duration: Duration) -> io::Result<()> {
        if self.stop.pause(duration) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// Ends the connection by RST instead of FIN.
    pub(crate) fn reset(&self) {
        let _ = self.pause(BEFORE_RESET);
        let socket = SockRef::from(&*self.socket.0);
        let _ = socket.set_linger(Some(Duration::ZERO));
    }

    /// Falls silent: returns after `limit`, or fails when the client has left or the emulator
    /// stops.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn stall(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut left = limit.unwrap_or(Duration::MAX);
        while !left.is_zero() {
            let tick = left.min(STALL_TICK);
            self.pause(tick)?;
            self.check_client()?;
            left = left.saturating_sub(tick);
        }
        Ok(())
    }

    /// Fails if the client has left. While a request of it was not read to its end nobody can tell, as with a service.
    fn check_client(&self) -> io::Result<()> {
        self.socket.0.set_nonblocking(true)?;
        let seen = self.socket.0.peek(&mut [0]);
        self.socket.0.set_nonblocking(false)?;
        match seen {
            Ok(0) if self.buffered().is_empty() => Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Stream::Plain(socket) => socket.read(out),
                Stream::Tls(stream) => stream.read(out),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

fn write_both(socket: &mut Socket, first: &[u8], second: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < first.len() {
        let slices = [IoSlice::new(first.get(done..).unwrap_or_default()), IoSlice::new(second)];
        match socket.write_vectored(&slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    socket.write_all(second.get(done - first.len()..).unwrap_or_default())
}
