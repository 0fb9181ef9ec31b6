//! The socket: connect that can be given up, ticks, and `recv` straight into memory nobody has written yet.

use std::io::{self, IoSlice, Read, Write};
use std::mem::{self, MaybeUninit};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use oss_protocol::crc64::Crc64;

use super::stream::Stream;
use crate::cancel::Interrupt;
use crate::clock::Clock;
use crate::fork::Registered;
use crate::sync::Arc;

/// How long a connect waits before it looks around.
const CONNECT_SLICE: Duration = Duration::from_millis(50);

/// What a connection may hold for its reader from the start, as the kernel counts without its own expenses: a part of a
/// large object (`read/plan.rs`). The kernel's own start, 64 KiB, grows in steps that wait for the reader, so that a
/// quick sender and its reader take turns.
const ROOM_BYTES: i32 = 4 * 1024 * 1024;

/// A connected TCP socket that closes itself quietly, and not at all in a forked child.
#[derive(Debug)]
pub(super) struct Socket {
    shared: Arc<SharedSocket>,
}

#[derive(Debug)]
struct SharedSocket {
    /// Taken only when dropped.
    stream: Option<TcpStream>,
    entry: Registered,
}

impl Drop for SharedSocket {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if self.entry.is_ours() {
            self.entry.clear();
            drop(stream);
        } else {
            // A child's copy: its number was closed by the fork hook and may be somebody else's by now.
            mem::forget(stream);
        }
    }
}

impl Interrupt for SharedSocket {
    #[expect(clippy::disallowed_methods, reason = "this is the cancel path")]
    fn interrupt(&self) {
        if let Some(stream) = self.stream.as_ref()
            && self.entry.is_ours()
        {
            // A socket that the peer reset meanwhile cannot be shut down; it wakes its reader by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Socket {
    /// Connects to `address` until `end`, asking `is_given_up` every 50 ms, and sets the ticks.
    ///
    /// # Errors
    /// The system's; `TimedOut` at `end`, `Interrupted` when given up.
    pub(super) fn connect(
        address: &SocketAddr,
        end: Instant,
        tick: Duration,
        clock: &dyn Clock,
        is_given_up: &mut dyn FnMut() -> bool,
    ) -> io::Result<Socket> {
        let stream = TcpStream::from(start_connect(address)?);
        let entry = Registered::new(stream.as_raw_fd());
        let socket = SharedSocket { stream: Some(stream), entry };
        let Some(stream) = socket.stream.as_ref() else { return Err(io::ErrorKind::NotConnected.into()) };
        loop {
            if is_given_up() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let left = end.saturating_duration_since(clock.now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if is_ready(stream.as_raw_fd(), libc::POLLOUT, left.min(CONNECT_SLICE))? {
                break;
            }
        }
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(tick))?;
        stream.set_write_timeout(Some(tick))?;
        stream.set_nodelay(true)?;
        make_room(stream.as_raw_fd());
        Ok(Socket { shared: Arc::new(socket) })
    }

    fn stream(&self) -> io::Result<&TcpStream> {
        self.shared.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Looks at the next byte without taking it and without waiting: `None` = nothing there,
    /// `Some(0)` = closed, `Some(1)` = a byte.
    fn peek(&self) -> io::Result<Option<usize>> {
        let mut byte = [MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        match receive(self.stream()?.as_raw_fd(), &mut byte, flags) {
            Ok(seen) => Ok(Some(seen.len())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Stream for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream()?.read(into)
    }

    fn fill(&mut self, into: &mut [MaybeUninit<u8>], crc: Option<&mut Crc64>) -> io::Result<usize> {
        let received = receive(self.stream()?.as_raw_fd(), into, libc::MSG_WAITALL)?;
        if let Some(crc) = crc {
            crc.update(received);
        }
        Ok(received.len())
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream()?.write_vectored(pieces)
    }

    /// Has what its reader took acknowledged at once, until the next request goes.
    ///
    /// A socket that has sent something is taken for one side of a dialogue, and keeps its acknowledgements for what it
    /// will say next, 40 ms and more. A sender who may not have more on the way waits for them: one of 16 ranges that
    /// ended 80 ms after the others (`docs/decisions/0022`).
    #[cfg(target_os = "linux")]
    fn turn(&mut self) {
        use std::os::linux::net::TcpStreamExt;
        if let Ok(stream) = self.stream() {
            // A socket that cannot be told is broken, and says so when it is read.
            let _ = stream.set_quickack(true);
        }
    }

    fn is_quiet(&mut self) -> bool {
        matches!(self.peek(), Ok(None))
    }

    fn has_answer(&mut self) -> bool {
        !matches!(self.peek(), Ok(None))
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.shared) as Arc<dyn Interrupt>
    }
}

/// Asks for [`ROOM_BYTES`], of which the kernel gives half of `tcp_rmem`'s largest at most.
///
/// `SO_RCVBUF` would do it too, but bounds the buffer by `rmem_max`, 208 KiB on most machines, and ends its growth.
/// `SO_RCVLOWAT` (`socket(7)`; since Linux 4.18) makes the room for what it is to wait for, and leaves it there when it
/// is to wait for a byte again.
#[cfg(target_os = "linux")]
fn make_room(descriptor: RawFd) {
    for least_bytes in [ROOM_BYTES, 1] {
        // SAFETY: the option is one int, of which the pointer and the size are given, and it lives through the call.
        #[expect(unsafe_code, reason = "std has no SO_RCVLOWAT")]
        let _unheeded = unsafe {
            let size = size_of::<i32>() as libc::socklen_t;
            libc::setsockopt(
                descriptor,
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const least_bytes).cast(),
                size,
            )
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn make_room(_descriptor: RawFd) {}

/// One `recv(2)`; returns the bytes at the front of `into` that it wrote.
fn receive(descriptor: RawFd, into: &mut [MaybeUninit<u8>], flags: i32) -> io::Result<&[u8]> {
    // SAFETY: the pointer and length are those of `into`, which nothing else can reach while it is borrowed;
    // recv writes at most that many bytes and returns how many it wrote, so that front part is initialised.
    #[expect(unsafe_code, reason = "std's read cannot write into uninitialised memory or pass flags")]
    unsafe {
        let count = libc::recv(descriptor, into.as_mut_ptr().cast(), into.len(), flags);
        match usize::try_from(count) {
            Ok(count) => Ok(std::slice::from_raw_parts(into.as_ptr().cast(), count)),
            Err(_negative) => Err(io::Error::last_os_error()),
        }
    }
}

/// Makes a non-blocking, close-on-exec socket and starts to connect it.
fn start_connect(address: &SocketAddr) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    const KIND: i32 = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    #[cfg(not(target_os = "linux"))]
    const KIND: i32 = libc::SOCK_STREAM;

    // SAFETY: a sockaddr_storage of zeroes is valid and large enough for either family, whose fields are
    // written before connect reads them; the descriptor is new and owned by nobody else.
    #[expect(unsafe_code, reason = "std's connect can neither be cancelled nor waited for in slices")]
    unsafe {
        let mut storage: libc::sockaddr_storage = mem::zeroed();
        let (family, size) = match address {
            SocketAddr::V4(v4) => {
                let name = (&raw mut storage).cast::<libc::sockaddr_in>();
                (*name).sin_port = v4.port().to_be();
                (*name).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                let name = (&raw mut storage).cast::<libc::sockaddr_in6>();
                (*name).sin6_port = v6.port().to_be();
                (*name).sin6_addr.s6_addr = v6.ip().octets();
                (*name).sin6_scope_id = v6.scope_id();
                (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
            }
        };
        storage.ss_family = family as libc::sa_family_t;
        let descriptor = libc::socket(family, KIND, 0);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        let owned = OwnedFd::from_raw_fd(descriptor);
        #[cfg(not(target_os = "linux"))]
        {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
            libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK);
        }
        let started = libc::connect(descriptor, (&raw const storage).cast(), size as libc::socklen_t);
        if started == 0 {
            return Ok(owned);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(owned),
            error => Err(error),
        }
    }
}

/// Waits until there is something to be read, or its end, for `wait` at most.
///
/// # Errors
/// The system's.
pub(crate) fn is_readable(file: &impl AsRawFd, wait: Duration) -> io::Result<bool> {
    is_ready(file.as_raw_fd(), libc::POLLIN, wait)
}

/// Waits until one of `events` has come, for `wait` at most.
fn is_ready(descriptor: RawFd, events: i16, wait: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: descriptor, events, revents: 0 };
    let milliseconds = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX).max(1);
    // SAFETY: `entry` is one pollfd, as the count says, and lives through the call.
    #[expect(unsafe_code, reason = "std has no poll")]
    let ready = unsafe { libc::poll(&raw mut entry, 1, milliseconds) };
    match ready {
        0 => Ok(false),
        1.. => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::clock::SystemClock;

    const TICK: Duration = Duration::from_millis(20);

    fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let end = SystemClock.now() + Duration::from_secs(5);
        let socket = Socket::connect(&address, end, TICK, &SystemClock, &mut || false).expect("connected");
        (socket, listener.accept().expect("a peer").0)
    }

    #[test]
    fn filling_returns_at_the_tick_with_what_came() {
        let (mut socket, mut peer) = pair();
        peer.write_all(b"12345").expect("sent");
        let mut memory = [const { MaybeUninit::<u8>::uninit() }; 9];
        let mut crc = Crc64::new();
        assert_eq!(socket.fill(&mut memory, Some(&mut crc)).expect("some"), 5);
        let tick = socket.fill(&mut memory[5..], None).expect_err("nothing came");
        assert!(super::super::stream::is_tick(&tick));
        peer.write_all(b"6789").expect("sent");
        assert_eq!(socket.fill(&mut memory[5..], Some(&mut crc)).expect("the rest"), 4);
        assert_eq!(crc.value(), 0x995D_C9BB_DF19_39FA);
        drop(peer);
        assert_eq!(socket.fill(&mut memory, None).expect("the end"), 0);
    }

    #[test]
    fn an_idle_socket_is_looked_at_without_waiting() {
        let (mut socket, mut peer) = pair();
        assert!(socket.is_quiet() && !socket.has_answer());
        peer.write_all(b"x").expect("sent");
        while socket.is_quiet() {
            std::thread::yield_now();
        }
        assert!(socket.has_answer());
        drop(peer);
        assert!(!socket.is_quiet());
    }

    /// What the kernel holds for a reader at most, its own expenses included.
    #[cfg(target_os = "linux")]
    fn room_bytes(stream: &TcpStream) -> i32 {
        let (mut bytes, mut size) = (0_i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: `bytes` is one int, as `size` says, and both live through the call.
        #[expect(unsafe_code, reason = "std has no SO_RCVBUF")]
        let outcome = unsafe {
            let into = (&raw mut bytes).cast();
            libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, into, &raw mut size)
        };
        assert_eq!(outcome, 0);
        bytes
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_room_for_a_part_from_the_start_and_every_byte_is_read_at_once() {
        let (mut socket, mut peer) = pair();
        let limits = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").expect("a Linux");
        let largest: i32 =
            limits.split_whitespace().nth(2).expect("three numbers").parse().expect("a number");
        assert!(room_bytes(socket.stream().expect("open")) >= ROOM_BYTES.min(largest / 2));
        peer.write_all(b"x").expect("sent");
        assert_eq!(socket.read(&mut [0; 8]).expect("no waiting for more"), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_read_after_a_request_is_acknowledged_at_once() {
        use std::os::linux::net::TcpStreamExt;
        let (mut socket, mut peer) = pair();
        let mut byte = [0; 1];
        let is_dialogue = (0..100).any(|_| {
            peer.write_all(b"x").expect("sent");
            assert_eq!(socket.read(&mut byte).expect("a byte"), 1);
            socket.send(&[IoSlice::new(b"y")]).expect("sent");
            peer.read_exact(&mut byte).expect("a byte");
            !socket.stream().expect("open").quickack().expect("open")
        });
        assert!(is_dialogue, "the kernel has stopped to tell a dialogue from a download");
        socket.turn();
        assert!(socket.stream().expect("open").quickack().expect("open"));
    }

    #[test]
    fn a_refused_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let end = SystemClock.now() + Duration::from_secs(5);
        let error =
            Socket::connect(&address, end, TICK, &SystemClock, &mut || false).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_interrupt_wakes_a_blocked_receive() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let far = SystemClock.now() + Duration::from_secs(60);
        let mut socket = Socket::connect(&address, far, Duration::from_secs(60), &SystemClock, &mut || false)
            .expect("connected");
        let handle = socket.interrupt_handle();
        let waker = crate::sync::spawn("waker", move || handle.interrupt()).expect("a thread");
        assert_eq!(socket.read(&mut [0; 8]).expect("an end"), 0);
        waker.join().expect("no panic");
    }
}
