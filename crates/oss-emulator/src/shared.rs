//! What all connections of one emulator share.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};

use serde_json::Value;
use socket2::SockRef;

use crate::clock::Clock;
use crate::identity::Identity;
use crate::journal::Journal;
use crate::locks::{lock, read, write};
use crate::proxy::Proxy;
use crate::random::mix;
use crate::rules::Rules;
use crate::service::Service;
use crate::shaping::{Shape, ShapeText};
use crate::stop::Stop;
use crate::tls::Tls;

/// The state behind all listeners and connections.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The service itself.
    pub(crate) service: Service,
    /// Who hands out temporary keys.
    pub(crate) identity: Identity,
    /// The proxy in front.
    pub(crate) proxy: Proxy,
    /// Where the proxy leads.
    pub(crate) proxy_to: SocketAddr,
    /// Rules in force.
    pub(crate) rules: Rules,
    /// Raised when the emulator ends.
    pub(crate) stop: Arc<Stop>,
    /// TLS, where it is on.
    pub(crate) tls: Option<Tls>,
    /// Seed of rules that bring none.
    pub(crate) seed: u64,
    shape: RwLock<Arc<Shape>>,
    connections: AtomicU64,
    requests: AtomicU64,
    open: Mutex<HashMap<u64, Weak<TcpStream>>>,
}

impl Shared {
    /// Puts the state together.
    pub(crate) fn new(service: Service, tls: Option<Tls>, seed: u64, proxy_to: SocketAddr) -> Self {
        Self {
            service,
            identity: Identity::default(),
            proxy: Proxy::default(),
            proxy_to,
            rules: Rules::default(),
            stop: Arc::default(),
            tls,
            seed,
            shape: RwLock::default(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &Clock {
        self.service.store.clock()
    }

    /// The journal.
    pub(crate) fn journal(&self) -> &Journal {
        self.service.store.journal()
    }

    /// The shape in force.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        Arc::clone(&read(&self.shape))
    }

    /// Changes the shape; requests already begun keep theirs.
    pub(crate) fn set_shape(&self, text: ShapeText) {
        *write(&self.shape) = Arc::new(Shape::from(text));
    }

    /// Replaces the rules.
    ///
    /// # Errors
    /// A line that names what is wrong.
    pub(crate) fn set_rules(&self, document: Value) -> Result<(), String> {
        let connections = self.connections.load(Ordering::Relaxed);
        self.rules.replace(document, self.seed, connections, self.clock().elapsed_ms())
    }

    /// Draws the id of an answer: 24 hexadecimal digits.
    pub(crate) fn request_id(&self) -> String {
        let serial = self.requests.fetch_add(1, Ordering::Relaxed);
        let seconds = self.clock().utc().0 & 0xFFFF_FFFF;
        format!("{seconds:08X}{:016X}", mix(serial))
    }

    /// Counts a new connection and remembers its socket, so that the end can reach it.
    pub(crate) fn opened(&self, socket: &Arc<TcpStream>) -> u64 {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.open).insert(number, Arc::downgrade(socket));
        number
    }

    /// Forgets a connection.
    pub(crate) fn closed(&self, number: u64) {
        lock(&self.open).remove(&number);
    }

    /// Raises the stop flag and wakes every thread that waits for a socket.
    pub(crate) fn end(&self) {
        self.stop.raise();
        for socket in lock(&self.open).values().filter_map(Weak::upgrade) {
            // A socket that is already gone needs no waking.
            let _ = SockRef::from(&*socket).shutdown(Shutdown::Both);
        }
    }
}
