//! What the tests of the client's core share: a client of an emulator, with timers at 1/100 scale.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses a part of this")]

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use oss_client::cancel::Cancel;
use oss_client::client::Client;
use oss_client::config::ClientConfig;
use oss_client::credentials::{CredentialsProvider, StaticProvider};
use oss_client::error::Error;
use oss_client::operations::{BodySink, GetObject, GotObject};
use oss_emulator::{EmulatorServer, Options};
use oss_protocol::sign::Credentials;
use oss_protocol::uri::{Endpoint, ObjectUri};
use serde_json::{Value, json};

pub(crate) const BUCKET: &str = "bucket";

/// An emulator and a client of it.
pub(crate) struct World {
    pub(crate) emulator: EmulatorServer,
    pub(crate) client: Client,
}

pub(crate) fn world() -> World {
    world_with(Options::default(), |_config| {})
}

pub(crate) fn world_with(options: Options, change: impl FnOnce(&mut ClientConfig)) -> World {
    let options = Options { buckets: vec![BUCKET.to_owned()], ..options };
    let emulator = EmulatorServer::start(options).unwrap();
    let mut config = config(&emulator.endpoint());
    config.ca_file = emulator.ca_file().map(Into::into);
    change(&mut config);
    let client = Client::new(config, Arc::new(StaticProvider::new(emulator.credentials()).unwrap())).unwrap();
    World { emulator, client }
}

/// Timers at 1/100: a tick of 10 ms, a stall of 100 ms, a deadline of 1.8 s. First bytes get more, because the
/// machine may be busy.
pub(crate) fn config(endpoint: &str) -> ClientConfig {
    let mut config = ClientConfig::new(Endpoint::parse(endpoint).unwrap(), "cn-local");
    config.timeouts = config.timeouts.scaled(0.01);
    config.timeouts.first_byte = Duration::from_millis(600);
    config.timeouts.complete = Duration::from_millis(900);
    config.timeouts.connect = Duration::from_secs(1);
    config.timeouts.tls_handshake = Duration::from_secs(2);
    config.timeouts.name_lookup = Duration::from_secs(1);
    config.timeouts.idle = Duration::from_secs(30);
    config.retry.base = Duration::from_millis(1);
    config.retry.cap = Duration::from_millis(100);
    config
}

pub(crate) fn client_of(address: SocketAddr) -> Client {
    client_with(&config(&format!("http://{address}")), Credentials::new("id", "secret", None))
}

pub(crate) fn client_with(config: &ClientConfig, credentials: Credentials) -> Client {
    Client::new(config.clone(), Arc::new(StaticProvider::new(credentials).unwrap())).unwrap()
}

pub(crate) fn client_by(config: &ClientConfig, provider: Arc<dyn CredentialsProvider>) -> Client {
    Client::new(config.clone(), provider).unwrap()
}

pub(crate) fn uri(key: &str) -> ObjectUri {
    ObjectUri::parse(&format!("oss://{BUCKET}/{key}")).unwrap()
}

/// Bytes that differ from their neighbours.
pub(crate) fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 31 + at / 251) % 251).unwrap()).collect()
}

/// Memory as a consumer lends it.
#[derive(Default)]
pub(crate) struct Memory {
    memory: Vec<MaybeUninit<u8>>,
    pub(crate) begun: Vec<u64>,
}

impl BodySink for Memory {
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        self.begun.push(body_bytes);
        self.memory = vec![MaybeUninit::new(0xEE); usize::try_from(body_bytes).unwrap()];
        Ok(())
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        &mut self.memory[usize::try_from(received).unwrap()..]
    }
}

impl Memory {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // SAFETY: `begin` wrote every byte.
        #[expect(unsafe_code, reason = "the memory is lent as uninitialised, as in the engines")]
        let bytes = self.memory.iter().map(|byte| unsafe { byte.assume_init() });
        bytes.collect()
    }
}

pub(crate) fn get(client: &Client, get: &GetObject<'_>) -> Result<(Vec<u8>, GotObject), Error> {
    let mut memory = Memory::default();
    let got = client.get_object(get, &mut memory, &Cancel::new())?;
    Ok((memory.bytes(), got))
}

pub(crate) fn get_whole(client: &Client, key: &str) -> Result<(Vec<u8>, GotObject), Error> {
    get(client, &GetObject::whole(&uri(key)))
}

impl World {
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        self.emulator.put_object(BUCKET, key, bytes).unwrap();
    }

    /// One rule, `times` times.
    pub(crate) fn rule(&self, matching: Value, action: Value, times: u64) {
        let rule = json!({"match": matching, "action": action, "times": times});
        self.emulator.set_rules(json!({"seed": 1, "rules": [rule]})).unwrap();
    }

    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.client.stats().get(name)
    }

    /// The requests of one operation, as the emulator saw them.
    pub(crate) fn requests(&self, operation: &str) -> Vec<Value> {
        let journal = self.emulator.journal(0);
        let entries = journal["entries"].as_array().unwrap();
        entries.iter().filter(|entry| entry["operation"] == operation).cloned().collect()
    }
}

/// What a scripted server does with one request.
pub(crate) enum Step {
    /// Sends these bytes and takes the next request on this connection.
    Answer(Vec<u8>),
    /// Sends these bytes and closes.
    Close(Vec<u8>),
}

/// A server that follows a script: one list of steps for each connection it accepts, then it is gone.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    thread: Option<JoinHandle<()>>,
    pub(crate) requests: Arc<AtomicUsize>,
    pub(crate) heads: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) fn start(script: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, heads) = (Arc::new(AtomicUsize::new(0)), Arc::default());
        let (counter, texts) = (Arc::clone(&requests), Arc::clone(&heads));
        let thread = std::thread::Builder::new()
            .spawn(move || {
                for steps in script {
                    let Ok((stream, _)) = listener.accept() else { return };
                    follow(stream, steps, &counter, &texts);
                }
            })
            .unwrap();
        Scripted { address, thread: Some(thread), requests, heads }
    }

    pub(crate) fn client(&self) -> Client {
        client_of(self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        // A script that was not used up waits in accept; connecting ends it.
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            drop(TcpStream::connect(self.address));
            std::thread::yield_now();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn follow(
    mut stream: TcpStream,
    steps: Vec<Step>,
    requests: &AtomicUsize,
    heads: &std::sync::Mutex<Vec<String>>,
) {
    for step in steps {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        requests.fetch_add(1, Ordering::SeqCst);
        heads.lock().unwrap().push(String::from_utf8_lossy(&head).into_owned());
        let (bytes, ends) = match step {
            Step::Answer(bytes) => (bytes, false),
            Step::Close(bytes) => (bytes, true),
        };
        if stream.write_all(&bytes).is_err() || ends {
            return;
        }
    }
}

/// A 200 with a body and an ETag.
pub(crate) fn ok(body: &[u8]) -> Vec<u8> {
    raw("200 OK", &format!("ETag: \"E\"\r\nContent-Length: {}\r\n", body.len()), body)
}

pub(crate) fn raw(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
