//! The emulator as a value: listeners, threads, and the handle that ends them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use oss_protocol::sign::{Credentials, Secret};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::journal::Journal;
use crate::service::Service;
use crate::shared::Shared;
use crate::store::Store;
use crate::store::disk::Disk;
use crate::tls::Tls;
use crate::{connection, control, identity, proxy};

/// Connections the kernel keeps waiting for us: a loader opens hundreds at once.
const BACKLOG: i32 = 4096;

/// Stack of a connection's thread.
const STACK_BYTES: usize = 512 * 1024;

/// Pause after a failed accept, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How an emulator is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on.
    pub host: String,
    /// Port of the service; 0 takes a free one.
    pub port: u16,
    /// Port of the control interface, on loopback; 0 takes a free one.
    pub control_port: u16,
    /// Port of the identity services, on loopback; 0 takes a free one.
    pub identity_port: u16,
    /// Port of the proxy, on loopback; 0 takes a free one.
    pub proxy_port: u16,
    /// Directory of persisting objects; `None` keeps all in memory.
    pub root: Option<PathBuf>,
    /// Access key that is accepted.
    pub access_key_id: String,
    /// Its secret.
    pub access_key_secret: String,
    /// Region that signatures must name, without `oss-`.
    pub region: String,
    /// Buckets to create.
    pub buckets: Vec<String>,
    /// Rules from the start, as `POST /_emulator/rules` takes them.
    pub rules: Option<Value>,
    /// Whether ETags are no MD5 of the bytes.
    pub opaque_etags: bool,
    /// Seed of rules that bring none.
    pub seed: u64,
    /// Whether the service speaks TLS, with an authority made at the start.
    pub tls: bool,
    /// Where the authority's certificate is written; by default a directory for temporary files.
    pub tls_ca_dir: Option<PathBuf>,
}

impl Default for Options {
    /// In memory, on loopback, on free ports.
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
            control_port: 0,
            identity_port: 0,
            proxy_port: 0,
            root: None,
            access_key_id: "emulator-key-id".to_owned(),
            access_key_secret: "emulator-key-secret".to_owned(),
            region: "cn-local".to_owned(),
            buckets: Vec::new(),
            rules: None,
            opaque_etags: false,
            seed: 0,
            tls: false,
            tls_ca_dir: None,
        }
    }
}

/// A running emulator; dropping it ends it.
#[derive(Debug)]
pub struct EmulatorServer {
    shared: Arc<Shared>,
    options: Options,
    address: SocketAddr,
    control_address: SocketAddr,
    identity_address: SocketAddr,
    proxy_address: SocketAddr,
    listeners: Vec<JoinHandle<()>>,
}

impl EmulatorServer {
    /// Starts an emulator in this process.
    ///
    /// # Errors
    /// The address is taken or unknown, the root cannot be read, a bucket's name or a rule is
    /// refused; the text says which.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = listen(&options.host, options.port)?;
        let control_listener = listen("127.0.0.1", options.control_port)?;
        let identity_listener = listen("127.0.0.1", options.identity_port)?;
        let (address, control_address) = (listener.local_addr()?, control_listener.local_addr()?);
        let proxy_listener = listen("127.0.0.1", options.proxy_port)?;
        let proxy_address = proxy_listener.local_addr()?;
        let identity_address = identity_listener.local_addr()?;
        let shared = Arc::new(prepare(&options, address)?);
        let listeners = vec![
            accept_on(listener, Arc::clone(&shared), connection::serve)?,
            accept_on(control_listener, Arc::clone(&shared), control::serve)?,
            accept_on(proxy_listener, Arc::clone(&shared), proxy::serve)?,
            accept_on(identity_listener, Arc::clone(&shared), identity::serve)?,
        ];
        Ok(Self { shared, options, address, control_address, identity_address, proxy_address, listeners })
    }

    /// URL of the service, as `http://127.0.0.1:41001`.
    pub fn endpoint(&self) -> String {
        endpoint_of(&self.options, self.address)
    }

    /// URL of the control interface.
    pub fn control_endpoint(&self) -> String {
        format!("http://{}", self.control_address)
    }

    /// URL of the metadata service, STS and `/credentials`; it speaks plain HTTP, and TLS where TLS is on.
    pub fn identity_endpoint(&self) -> String {
        format!("http://{}", self.identity_address)
    }

    /// URL of a proxy that leads to the service, whatever host it is asked for.
    pub fn proxy_endpoint(&self) -> String {
        format!("http://{}", self.proxy_address)
    }

    /// Lets the proxy behave as `POST /_emulator/proxy` does.
    ///
    /// # Errors
    /// A line that names what is not understood.
    pub fn set_proxy(&self, behaviour: Value) -> Result<(), String> {
        let behaviour = serde_json::from_value(behaviour).map_err(|error| error.to_string())?;
        self.shared.proxy.behave(behaviour);
        Ok(())
    }

    /// What the proxy was asked for: `{"targets": ["CONNECT host:443"]}`.
    pub fn proxy(&self) -> Value {
        self.shared.proxy.render()
    }

    /// Lets the identity services behave as `POST /_emulator/identity` does.
    ///
    /// # Errors
    /// A line that names what is not understood.
    pub fn set_identity(&self, behaviour: Value) -> Result<(), String> {
        let behaviour = serde_json::from_value(behaviour).map_err(|error| error.to_string())?;
        self.shared.identity.behave(behaviour);
        Ok(())
    }

    /// How often each identity service was asked: `{"asked": {"sts": 1}, "newest": "STS.1"}`.
    pub fn identity(&self) -> Value {
        self.shared.identity.render()
    }

    /// Lets a key expire now.
    pub fn expire_key(&self, access_key_id: &str) {
        let now_ms = self.shared.clock().unix_millis();
        self.shared.service.accounts.expire(Some(access_key_id), None, now_ms);
    }

    /// Region that signatures must name.
    pub fn region(&self) -> &str {
        &self.options.region
    }

    /// The key that was accepted at the start.
    pub fn credentials(&self) -> Credentials {
        let secret = Secret::new(self.options.access_key_secret.clone());
        Credentials::new(self.options.access_key_id.clone(), secret, None)
    }

    /// Certificate of the authority, as PEM, where TLS is on.
    pub fn ca_file(&self) -> Option<&Path> {
        self.shared.tls.as_ref().map(|tls| tls.authority.ca_file())
    }

    /// Creates a bucket, if it is not there.
    ///
    /// # Errors
    /// The root cannot be written.
    pub fn create_bucket(&self, name: &str) -> io::Result<()> {
        self.shared.service.store.create_bucket(name, None, "Standard").map_err(to_io)
    }

    /// Puts an object, as a client would; its bucket is created if need be.
    ///
    /// # Errors
    /// The root cannot be written.
    pub fn put_object(&self, bucket: &str, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.create_bucket(bucket)?;
        let object = self.shared.service.store.plain_object(key, bytes).map_err(to_io)?;
        self.shared.service.store.put((bucket, key), false, object).map(drop).map_err(to_io)
    }

    /// The bytes of an object; `None` if it is not there.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        let (object, _) = self.shared.service.store.find(bucket, key, None).ok()?;
        object.body.to_vec().ok()
    }

    /// Replaces the rules.
    ///
    /// # Errors
    /// A line that names what is wrong.
    pub fn set_rules(&self, rules: Value) -> Result<(), String> {
        self.shared.set_rules(rules)
    }

    /// The rules in force, with how often each matched and fired.
    pub fn rules(&self) -> Value {
        self.shared.rules.render()
    }

    /// The journal from entry `since` on: `{"next": n, "entries": [...]}`.
    pub fn journal(&self, since: u64) -> Value {
        self.shared.journal().render(since)
    }

    /// Waits until the journal has at least `count` entries, or the time is up.
    pub fn wait_for_journal(&self, count: u64, timeout: Duration) {
        self.shared.journal().wait_for(count, timeout);
    }

    /// Shifts the service's clock.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.shared.clock().set_offset_seconds(seconds);
    }

    /// Waits until somebody asks the emulator to stop.
    pub fn wait(&self) {
        self.shared.stop.wait();
    }

    /// A way to ask it to stop from another thread.
    pub(crate) fn stopper(&self) -> Arc<crate::stop::Stop> {
        Arc::clone(&self.shared.stop)
    }
}

impl Drop for EmulatorServer {
    fn drop(&mut self) {
        self.shared.end();
        for address in [self.address, self.control_address, self.identity_address, self.proxy_address] {
            // Wakes the listener, which then sees that it is to end.
            drop(TcpStream::connect_timeout(&reachable(address), Duration::from_secs(1)));
        }
        for listener in self.listeners.drain(..) {
            // A listener that panicked has ended too.
            let _ = listener.join();
        }
        self.shared.end();
    }
}

fn prepare(options: &Options, address: SocketAddr) -> io::Result<Shared> {
    let clock = Arc::new(Clock::start());
    let disk = options.root.as_deref().map(Disk::open).transpose()?;
    let store = Store::open(Arc::new(Journal::default()), Arc::clone(&clock), disk, options.opaque_etags)?;
    let accounts = Accounts::default();
    let secret = Secret::new(options.access_key_secret.clone());
    accounts.add(Credentials::new(options.access_key_id.clone(), secret, None), None);
    let region = oss_protocol::uri::normalize_region(&options.region).map_err(io::Error::other)?;
    let service = Service { store, accounts, region, endpoint: endpoint_of(options, address) };
    for bucket in &options.buckets {
        if !oss_protocol::uri::is_valid_bucket_name(bucket) {
            return Err(io::Error::other(format!(
                "`{bucket}` is no name for a bucket: it takes 3 to 63 lower-case letters, digits and hyphens"
            )));
        }
        service.store.create_bucket(bucket, None, "Standard").map_err(to_io)?;
    }
    let temporary = || std::env::temp_dir().join(format!("oss-emulator-{}", std::process::id()));
    let ca_dir = options.tls_ca_dir.clone().unwrap_or_else(temporary);
    let tls = options.tls.then(|| Tls::create(&ca_dir)).transpose()?;
    let shared = Shared::new(service, tls, options.seed, proxy::way(address));
    if let Some(rules) = &options.rules {
        shared.set_rules(rules.clone()).map_err(io::Error::other)?;
    }
    Ok(shared)
}

fn endpoint_of(options: &Options, address: SocketAddr) -> String {
    let scheme = if options.tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses.next().ok_or_else(|| io::Error::other(format!("`{host}` has no address")))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}"));
    socket.bind(&address.into()).map_err(named)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn accept_on(
    listener: TcpListener,
    shared: Arc<Shared>,
    serve: fn(&Shared, TcpStream),
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("oss-accept".to_owned()).spawn(move || {
        loop {
            let accepted = listener.accept();
            if shared.stop.is_raised() {
                return;
            }
            if !shared.shape().accept_pause.is_zero() {
                shared.stop.pause(shared.shape().accept_pause);
            }
            let Ok((stream, _)) = accepted else {
                shared.stop.pause(ACCEPT_PAUSE);
                continue;
            };
            let shared = Arc::clone(&shared);
            let thread = Builder::new().name("oss-connection".to_owned()).stack_size(STACK_BYTES);
            // Without a thread the connection is closed; the client will come again.
            let _ = thread.spawn(move || serve(&shared, stream));
        }
    })
}

/// The address under which a listener on all interfaces is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
    loopback.parse().map_or(address, |ip| SocketAddr::new(ip, address.port()))
}

fn to_io(refusal: crate::refusal::Refusal) -> io::Error {
    io::Error::other(refusal.to_string())
}
