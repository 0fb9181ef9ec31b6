//! Reads objects through the read engine, as a dataset does: `benches/counting.py` counts the instructions of it, and
//! how many of them only count.
//!
//! ```text
//! reading HOST:PORT OBJECTS SIZE_BYTES
//! ```
//!
//! The server has `bucket` with `train/00000000.bin` and its like.

use std::error::Error;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use oss_client::client::Client;
use oss_client::config::ClientConfig;
use oss_client::credentials::StaticProvider;
use oss_client::lend::Lend;
use oss_client::objects::{ObjectRef, ObjectSource};
use oss_client::read::engine::ReadEngine;
use oss_client::read::prefetch::{Missing, Next, Prefetch};
use oss_protocol::sign::Credentials;
use oss_protocol::uri::Endpoint;

/// How long a look for the next object waits.
const SLICE: Duration = Duration::from_millis(50);

/// Objects of one size.
#[derive(Debug)]
struct Train {
    keys: Vec<String>,
    size_bytes: u64,
}

impl ObjectSource for Train {
    fn count(&self) -> u64 {
        self.keys.len() as u64
    }

    fn object(&self, position: u64) -> Option<ObjectRef<'_>> {
        let key = self.keys.get(usize::try_from(position).ok()?)?;
        Some(ObjectRef { bucket: "bucket", key, size: Some(self.size_bytes), etag: None })
    }
}

struct Memory(Box<[MaybeUninit<u8>]>);

impl Lend for Memory {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.0
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, count, size_bytes] = arguments.as_slice() else {
        return Err("reading HOST:PORT OBJECTS SIZE_BYTES".into());
    };
    let config = ClientConfig::new(Endpoint::parse(&format!("http://{address}"))?, "cn-hangzhou");
    let keys = StaticProvider::new(Credentials::new("id", "secret".to_owned(), None))?;
    let engine = ReadEngine::new(Client::new(config, Arc::new(keys))?, 16);
    let keys: Vec<_> = (0..count.parse()?).map(|number: usize| format!("train/{number:08}.bin")).collect();
    let positions = Box::new(0..keys.len() as u64);
    let train = Arc::new(Train { keys, size_bytes: size_bytes.parse()? });
    let mut prefetch = Prefetch::new(&engine, train, positions, Missing::Raise)?;
    loop {
        prefetch.top_up(|bytes| Ok::<_, oss_client::error::Error>(Memory(Box::new_uninit_slice(bytes))))?;
        match prefetch.try_next() {
            Next::Ready(_, outcome) => drop(outcome?),
            Next::Pending => {
                prefetch.wait(SLICE);
            }
            Next::End => return Ok(()),
        }
    }
}
