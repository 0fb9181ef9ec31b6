//! An epoll over one socket, driven as wrk drives its own.

use crate::Failure;
use std::io::Error;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What a connection waits for.
#[derive(Clone, Copy)]
pub(crate) enum Interest {
    /// Bytes to read.
    Read,
    /// Bytes to read, or room to write.
    Both,
}

impl Interest {
    const fn events(self) -> u32 {
        match self {
            Self::Read => libc::EPOLLIN.cast_unsigned(),
            Self::Both => (libc::EPOLLIN | libc::EPOLLOUT).cast_unsigned(),
        }
    }
}

/// Waits for one socket.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new(stream: &TcpStream) -> Result<Self, Failure> {
        // SAFETY: the call takes no pointer; its result is checked before it is owned.
        let descriptor = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if descriptor < 0 {
            return Err(Error::last_os_error().into());
        }
        // SAFETY: the descriptor is open, and nobody else has it.
        let epoll = Self(unsafe { OwnedFd::from_raw_fd(descriptor) });
        epoll.control(stream, libc::EPOLL_CTL_ADD, Interest::Read)?;
        Ok(epoll)
    }

    /// Changes what is waited for.
    pub(crate) fn watch(&self, stream: &TcpStream, interest: Interest) -> Result<(), Failure> {
        self.control(stream, libc::EPOLL_CTL_MOD, interest)
    }

    /// Waits for it, without end: the bench's own time limit stands above.
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: one event may be written, into one that lives.
        if unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, -1) } < 0 {
            return Err(Error::last_os_error().into());
        }
        Ok(())
    }

    fn control(&self, stream: &TcpStream, operation: libc::c_int, interest: Interest) -> Result<(), Failure> {
        let mut event = libc::epoll_event { events: interest.events(), u64: 0 };
        // SAFETY: both descriptors are open, and the event lives through the call.
        let done =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, stream.as_raw_fd(), &raw mut event) };
        if done < 0 { Err(Error::last_os_error().into()) } else { Ok(()) }
    }
}
