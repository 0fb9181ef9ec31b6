//! TLS as a raw client can have it: rustls, the server's certificate verified, nothing else of the answer looked at.

use crate::Failure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, IpAddr, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{BufReader, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Taken from the socket at once: rustls by itself asks for 4 KiB at a time, a quarter of a record.
const READ_BYTES: usize = 64 * 1024;

/// An encrypted stream.
pub(crate) struct Tls(StreamOwned<ClientConnection, Socket>);

impl Tls {
    /// Shakes hands with the server of that address, which must show a certificate of the authority in `ca_file`.
    pub(crate) fn open(stream: TcpStream, address: SocketAddr, ca_file: &str) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca_file)?)?;
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::IpAddress(IpAddr::from(address.ip()));
        let connection = ClientConnection::new(Arc::new(config), name)?;
        Ok(Self(StreamOwned::new(connection, Socket(BufReader::with_capacity(READ_BYTES, stream)))))
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes)?;
        Ok(self.0.flush()?)
    }

    /// Takes what has arrived, as far as there is room.
    pub(crate) fn receive(&mut self, memory: &mut [MaybeUninit<u8>]) -> Result<usize, Failure> {
        // SAFETY: the slice is live and this call's alone; rustls copies plain text into it and never reads it.
        let memory =
            unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), memory.len()) };
        Ok(self.0.read(memory)?)
    }
}

/// Reads in large pieces, writes through.
struct Socket(BufReader<TcpStream>);

impl Read for Socket {
    fn read(&mut self, memory: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(memory)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.get_mut().flush()
    }
}
