//! One keep-alive connection: a GET out, a head in, a body straight into memory; or a PUT out, and a head in.

use crate::Failure;
use crate::epoll::{Epoll, Interest};
use crate::tls::Tls;
use std::io::{Error, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Bytes asked with the first `recv`: the head, and what comes of the body with it.
const HEAD_BYTES: usize = 4096;

/// A connection to the server under test.
pub(crate) struct Connection {
    stream: TcpStream,
    tls: Option<Tls>,
    host: String,
    request: Vec<u8>,
    receive: Receive,
    epoll: Option<Epoll>,
}

/// How a body is taken from the socket.
#[derive(Clone, Copy)]
pub(crate) enum Receive {
    /// As much as there is room for, in one call: the fewest calls that a client can make.
    Whole,
    /// At most so many bytes a call, all into the same memory, with the system calls that wrk makes around them: an
    /// epoll to wait for room and for bytes, and after each full piece the question whether more has arrived.
    AsWrk(usize),
}

impl Connection {
    /// Connects to `host:port`, or over TLS to `host:port,ca.pem`, trusting that authority.
    pub(crate) fn open(address: &str, receive: Receive) -> Result<Self, Failure> {
        let (address, ca_file) = address.split_once(',').map_or((address, None), |(to, ca)| (to, Some(ca)));
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let tls = match ca_file {
            None => None,
            Some(ca_file) => Some(Tls::open(stream.try_clone()?, stream.peer_addr()?, ca_file)?),
        };
        let epoll = match receive {
            Receive::Whole => None,
            Receive::AsWrk(_) => Some(Epoll::new(&stream)?),
        };
        Ok(Self { stream, tls, host: address.to_owned(), request: Vec::with_capacity(512), receive, epoll })
    }

    /// Gets `path`, or the inclusive `range` of it, into exactly `body`.
    pub(crate) fn get(
        &mut self,
        path: &str,
        range: Option<(u64, u64)>,
        body: &mut [MaybeUninit<u8>],
    ) -> Result<(), Failure> {
        self.request.clear();
        write!(self.request, "GET {path} HTTP/1.1\r\nHost: {}\r\n", self.host)?;
        if let Some((first, last)) = range {
            write!(self.request, "Range: bytes={first}-{last}\r\n")?;
        }
        self.request.extend_from_slice(b"\r\n");
        if let Some(epoll) = &self.epoll {
            epoll.watch(&self.stream, Interest::Both)?;
            epoll.wait()?;
        }
        match &mut self.tls {
            None => self.stream.write_all(&self.request)?,
            Some(tls) => tls.send(&self.request)?,
        }
        if let Some(epoll) = &self.epoll {
            epoll.watch(&self.stream, Interest::Read)?;
            epoll.wait()?;
        }
        let wanted_status = if range.is_some() { b"HTTP/1.1 206 " } else { b"HTTP/1.1 200 " };
        let early = self.head(wanted_status, body)?;
        self.receive(&mut body[early..])
    }

    /// Puts `body` at `path`, and waits for an answer without a body.
    pub(crate) fn put(&mut self, path: &str, body: &[u8]) -> Result<(), Failure> {
        if self.tls.is_some() {
            return Err("parts are put over plain connections only".into());
        }
        self.request.clear();
        write!(
            self.request,
            "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        )?;
        let head = self.request.len();
        let sent = self.stream.write_vectored(&[IoSlice::new(&self.request), IoSlice::new(body)])?;
        self.stream.write_all(&self.request[sent.min(head)..])?;
        self.stream.write_all(&body[sent.saturating_sub(head)..])?;
        let mut memory = [MaybeUninit::<u8>::uninit(); HEAD_BYTES];
        let mut filled = 0;
        loop {
            filled += self.recv(&mut memory[filled..], 0)?;
            // SAFETY: `recv` has written the first `filled` bytes.
            let seen = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), filled) };
            if !seen.ends_with(b"\r\n\r\n") {
                continue;
            }
            let is_done = seen.starts_with(b"HTTP/1.1 201 ") || seen.starts_with(b"HTTP/1.1 204 ");
            return if is_done { Ok(()) } else { Err(String::from_utf8_lossy(seen).into_owned().into()) };
        }
    }

    /// Reads the head, and returns how many bytes of the body came with it and lie in `body`.
    fn head(&mut self, wanted_status: &[u8], body: &mut [MaybeUninit<u8>]) -> Result<usize, Failure> {
        let mut memory = [MaybeUninit::<u8>::uninit(); HEAD_BYTES];
        let mut filled = 0;
        loop {
            filled += self.recv(&mut memory[filled..], 0)?;
            // SAFETY: `recv` has written the first `filled` bytes.
            let seen = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), filled) };
            let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            if !seen.starts_with(wanted_status) {
                return Err(String::from_utf8_lossy(&seen[..end]).into_owned().into());
            }
            let length = content_length(&seen[..end])?;
            if length != body.len() {
                return Err(format!("{length} bytes announced, {} wanted", body.len()).into());
            }
            let early = &memory[end + 4..filled];
            body[..early.len()].copy_from_slice(early);
            return Ok(early.len());
        }
    }

    /// Takes exactly as many bytes as `memory` has room for.
    fn receive(&mut self, memory: &mut [MaybeUninit<u8>]) -> Result<(), Failure> {
        let mut received = 0;
        while received < memory.len() {
            received += match self.receive {
                Receive::Whole => self.recv(&mut memory[received..], libc::MSG_WAITALL)?,
                Receive::AsWrk(bytes) => {
                    let room = bytes.min(memory.len() - received);
                    let got = self.recv(&mut memory[..room], 0)?;
                    if received + got < memory.len() && (got < bytes || self.arrived_bytes()? == 0) {
                        self.epoll.as_ref().map_or(Ok(()), Epoll::wait)?;
                    }
                    got
                }
            };
        }
        Ok(())
    }

    /// How much lies in the socket unread.
    fn arrived_bytes(&self) -> Result<usize, Failure> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, into one that lives.
        if unsafe { libc::ioctl(self.stream.as_raw_fd(), libc::FIONREAD, &raw mut bytes) } < 0 {
            return Err(Error::last_os_error().into());
        }
        Ok(usize::try_from(bytes)?)
    }

    fn recv(&mut self, memory: &mut [MaybeUninit<u8>], flags: i32) -> Result<usize, Failure> {
        let got = match &mut self.tls {
            Some(tls) => tls.receive(memory)?,
            None => self.recv_plain(memory, flags)?,
        };
        if got == 0 {
            return Err("the server closed the connection, or a head is larger than 4 KiB".into());
        }
        Ok(got)
    }

    fn recv_plain(&self, memory: &mut [MaybeUninit<u8>], flags: i32) -> Result<usize, Failure> {
        // SAFETY: the pointer and length are of one live slice that this call alone may write.
        let got =
            unsafe { libc::recv(self.stream.as_raw_fd(), memory.as_mut_ptr().cast(), memory.len(), flags) };
        usize::try_from(got).map_err(|_| Error::last_os_error().into())
    }
}

/// The value of `Content-Length` as nginx writes it.
fn content_length(head: &[u8]) -> Result<usize, Failure> {
    let name = b"Content-Length: ";
    let at = head.windows(name.len()).position(|part| part == name).ok_or("no Content-Length")?;
    let value = head[at + name.len()..].split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(std::str::from_utf8(value)?.parse()?)
}
