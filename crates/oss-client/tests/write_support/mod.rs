//! An emulator and a client that writes to it, with timers at a twentieth of their real length.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

use std::sync::Arc;
use std::time::Duration;

use oss_client::cancel::Cancel;
use oss_client::client::Client;
use oss_client::config::ClientConfig;
use oss_client::credentials::StaticProvider;
use oss_client::error::Error;
use oss_client::write::{Upload, UploadOptions};
use oss_emulator::{EmulatorServer, Options};
use oss_protocol::uri::{Endpoint, ObjectUri};
use serde_json::{Value, json};

/// The smallest part OSS takes; uploads of a few hundred KiB have several.
pub(crate) const PART: usize = 100 * 1024;

/// One emulator with one bucket, and one client.
pub(crate) struct Scene {
    pub(crate) server: EmulatorServer,
    pub(crate) client: Client,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Scene::with(|_| {})
    }

    /// A scene whose client is configured further.
    pub(crate) fn with(configure: impl FnOnce(&mut ClientConfig)) -> Self {
        let options = Options { buckets: vec!["bucket".to_owned()], ..Options::default() };
        let server = EmulatorServer::start(options).expect("an emulator");
        let endpoint = Endpoint::parse(&server.endpoint()).expect("an endpoint");
        let mut config = ClientConfig::new(endpoint, server.region());
        config.timeouts = config.timeouts.scaled(0.05);
        config.timeouts.abort = Duration::from_secs(5);
        config.retry.base = Duration::from_millis(5);
        config.limits.part_size_bytes = PART as u64;
        configure(&mut config);
        let provider = StaticProvider::new(server.credentials()).expect("credentials");
        let client = Client::new(config, Arc::new(provider)).expect("a client");
        Scene { server, client }
    }

    pub(crate) fn rules(&self, rules: Value) {
        self.server.set_rules(json!({ "seed": 7, "rules": rules })).expect("rules");
    }

    pub(crate) fn upload(&self, key: &str) -> Upload {
        self.upload_with(key, UploadOptions::default())
    }

    pub(crate) fn upload_with(&self, key: &str, options: UploadOptions) -> Upload {
        Upload::new(&self.client, uri(key), options)
    }

    /// Writes `data` in pieces of an odd size and publishes.
    pub(crate) fn save(
        &self,
        key: &str,
        data: &[u8],
        options: UploadOptions,
    ) -> Result<Upload, Box<(Upload, Error)>> {
        let mut upload = self.upload_with(key, options);
        let saved = data
            .chunks(33_333)
            .try_for_each(|piece| upload.write(piece, &mut || Ok(())))
            .and_then(|()| upload.publish(&mut || Ok(())));
        match saved {
            Ok(_) => Ok(upload),
            Err(error) => Err(Box::new((upload, error))),
        }
    }

    pub(crate) fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.server.object("bucket", key)
    }

    /// How many requests of this operation arrived.
    pub(crate) fn count(&self, operation: &str) -> usize {
        let journal = self.server.journal(0);
        let entries = journal["entries"].as_array().expect("entries");
        entries.iter().filter(|entry| entry["operation"] == operation).count()
    }

    /// Uploads that the service keeps open.
    pub(crate) fn open_uploads(&self) -> usize {
        let page = self.client.list_multipart_uploads(&uri(""), None, &Cancel::new()).expect("a listing");
        page.uploads.len()
    }
}

pub(crate) fn uri(key: &str) -> ObjectUri {
    ObjectUri { bucket: "bucket".to_owned(), key: key.to_owned() }
}

/// Bytes that differ everywhere.
pub(crate) fn bytes(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..size).map(|_| step()).collect()
}
