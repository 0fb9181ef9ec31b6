//! An emulator, a read engine that reads from it, and memory to lend.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use oss_client::client::Client;
use oss_client::config::{ClientConfig, Verify};
use oss_client::credentials::StaticProvider;
use oss_client::error::Error;
use oss_client::lend::Lend;
use oss_client::read::engine::ReadEngine;
use oss_client::read::object::ObjectReader;
use oss_emulator::{EmulatorServer, Options};
use oss_protocol::uri::{Endpoint, ObjectUri};

pub(crate) const BUCKET: &str = "data";

pub(crate) struct World {
    pub(crate) emulator: EmulatorServer,
    pub(crate) engine: ReadEngine,
}

pub(crate) fn world() -> World {
    world_with(Verify::Check)
}

pub(crate) fn world_with(verify: Verify) -> World {
    world_by(|config| config.verify = verify)
}

pub(crate) fn world_by(change: impl FnOnce(&mut ClientConfig)) -> World {
    let emulator =
        EmulatorServer::start(Options { buckets: vec![BUCKET.to_owned()], ..Options::default() }).unwrap();
    let mut config = ClientConfig::new(Endpoint::parse(&emulator.endpoint()).unwrap(), emulator.region());
    config.timeouts = config.timeouts.scaled(0.05);
    config.retry.base = Duration::from_millis(2);
    change(&mut config);
    let provider = Arc::new(StaticProvider::new(emulator.credentials()).unwrap());
    let client = Client::new(config, provider).unwrap();
    World { emulator, engine: ReadEngine::new(client, 16) }
}

/// Bytes that differ from one another and from object to object.
pub(crate) fn content(seed: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from((at * 31 + at / 251 + seed * 7) % 251).unwrap()).collect()
}

impl World {
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        self.emulator.put_object(BUCKET, key, bytes).unwrap();
    }

    pub(crate) fn reader(&self, key: &str) -> ObjectReader {
        ObjectReader::new(&self.engine, uri(key), None, None).unwrap()
    }

    /// How many requests of `operation` the emulator saw.
    pub(crate) fn requests(&self, operation: &str) -> usize {
        let journal = self.emulator.journal(0);
        journal["entries"].as_array().unwrap().iter().filter(|entry| entry["operation"] == operation).count()
    }
}

pub(crate) fn uri(key: &str) -> ObjectUri {
    ObjectUri { bucket: BUCKET.to_owned(), key: key.to_owned() }
}

/// Memory that a test lends; it starts as zeroes, so reading it back is sound whatever was received.
#[derive(Debug)]
pub(crate) struct Loan(Vec<MaybeUninit<u8>>);

impl Lend for Loan {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0
    }
}

pub(crate) fn lend(size_bytes: usize) -> Result<Loan, Error> {
    Ok(Loan(vec![MaybeUninit::new(0); size_bytes]))
}

pub(crate) fn bytes_of(loan: Loan) -> Vec<u8> {
    #[expect(unsafe_code, reason = "the loan was made of zeroes")]
    // SAFETY: every byte was initialised by `lend`, and receiving writes initialised bytes only.
    loan.0.into_iter().map(|byte| unsafe { byte.assume_init() }).collect()
}

pub(crate) struct Tracked {
    pub(crate) loan: Loan,
    pub(crate) _alive: Arc<()>,
}

impl Lend for Tracked {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        self.loan.memory()
    }
}
