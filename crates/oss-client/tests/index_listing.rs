//! An index of a prefix: one listing, in byte order, complete or an error.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oss_client::client::Client;
use oss_client::clock::SystemClock;
use oss_client::config::ClientConfig;
use oss_client::credentials::StaticProvider;
use oss_client::error::{Error, ErrorKind};
use oss_client::index::{BuildOutcome, Index, Patience, build_from_listing};
use oss_client::list::Progress;
use oss_emulator::{EmulatorServer, Options};
use oss_protocol::uri::{Endpoint, ObjectUri};
use serde_json::{Value, json};

/// An emulator with a bucket, and a client.
struct Scene {
    server: EmulatorServer,
    client: Client,
}

impl Scene {
    fn new() -> Self {
        let options = Options { buckets: vec!["bucket".to_owned()], ..Options::default() };
        let server = EmulatorServer::start(options).expect("an emulator");
        let endpoint = Endpoint::parse(&server.endpoint()).expect("an endpoint");
        let config = ClientConfig::new(endpoint, server.region());
        let provider = StaticProvider::new(server.credentials()).expect("credentials");
        let client = Client::new(config, Arc::new(provider)).expect("a client");
        Scene { server, client }
    }

    fn rules(&self, rules: Value) {
        self.server.set_rules(json!({ "rules": rules })).expect("rules");
    }

    fn listings(&self) -> usize {
        let journal = self.server.journal(0);
        let entries = journal["entries"].as_array().expect("entries");
        entries.iter().filter(|entry| entry["operation"] == "ListObjectsV2").count()
    }
}

fn uri(key: &str) -> ObjectUri {
    ObjectUri { bucket: "bucket".to_owned(), key: key.to_owned() }
}

fn place(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("oss-listing-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory");
    path
}

fn list(scene: &Scene, prefix: &str, path: &Path, include_empty: bool) -> Result<BuildOutcome, Error> {
    let mut watch = || Ok(());
    let mut patience = Patience { clock: &SystemClock, deadline: Duration::from_secs(60), watch: &mut watch };
    build_from_listing(&scene.client, &uri(prefix), path, include_empty, &Progress::default(), &mut patience)
}

fn keys(path: &Path) -> Vec<String> {
    let index = Index::open(path).expect("an index");
    (0..index.rows()).map(|position| index.row(position).expect("a row").key.to_owned()).collect()
}

#[test]
fn a_listing_becomes_rows_in_byte_order() {
    let scene = Scene::new();
    let here = place("order");
    let mut expected: Vec<String> = (0..2500).map(|n| format!("train/{n}.jpg")).collect();
    for key in &expected {
        scene.server.put_object("bucket", key, key.as_bytes()).expect("an object");
    }
    scene.server.put_object("bucket", "valid/1.jpg", b"x").expect("an object");
    expected.sort();
    let outcome = list(&scene, "train/", &here.join("index"), false).expect("listed");
    assert_eq!((outcome.rows, outcome.left_out_empty, outcome.is_new), (2500, 0, true));
    assert_eq!(keys(&here.join("index")), expected);
    assert_eq!(scene.listings(), 3);
    let index = Index::open(&here.join("index")).expect("an index");
    let row = index.row(0).expect("a row");
    assert_eq!((row.bucket, row.size), ("bucket", Some("train/0.jpg".len() as u64)));
    assert!(row.etag.is_some_and(|etag| etag.starts_with('"')), "{row:?}");
    let again = list(&scene, "train/", &here.join("index"), false).expect("found");
    assert!(!again.is_new && scene.listings() == 3, "one sweep for all");
    fs::remove_dir_all(here).expect("removed");
}

#[test]
fn test_f53_empty_objects_are_left_out_and_counted() {
    let scene = Scene::new();
    let here = place("empty");
    for (key, data) in [("d/", ""), ("d/a", "1"), ("d/b", ""), ("d/sub/", "")] {
        scene.server.put_object("bucket", key, data.as_bytes()).expect("an object");
    }
    let outcome = list(&scene, "d/", &here.join("without"), false).expect("listed");
    assert_eq!((outcome.rows, outcome.left_out_empty), (1, 3));
    let outcome = list(&scene, "d/", &here.join("with"), true).expect("listed");
    assert_eq!((outcome.rows, outcome.left_out_empty), (2, 2));
    assert_eq!(keys(&here.join("with")), ["d/a", "d/b"]);
    fs::remove_dir_all(here).expect("removed");
}

#[test]
fn a_listing_that_fails_builds_nothing() {
    let scene = Scene::new();
    let here = place("failed");
    let path = here.join("index");
    for n in 0..1500 {
        scene.server.put_object("bucket", &format!("k{n:04}"), b"x").expect("an object");
    }
    scene.rules(json!([{"match": {"op": "ListObjectsV2", "nth": 2}, "action": {"status": 403, "code": "AccessDenied"}}]));
    assert_eq!(list(&scene, "k", &path, false).expect_err("refused").kind, ErrorKind::PermissionDenied);
    assert!(!path.exists());
    scene.rules(json!([{"match": {"op": "ListObjectsV2"}, "action": {"repeat_token": "not_rising"}}]));
    assert_eq!(list(&scene, "k", &path, false).expect_err("a circle").kind, ErrorKind::Listing);
    assert!(!path.exists());
    scene.rules(json!([]));
    assert_eq!(list(&scene, "k", &path, false).expect("listed").rows, 1500);
    fs::remove_dir_all(here).expect("removed");
}

#[test]
fn ctrl_c_ends_a_listing() {
    let scene = Scene::new();
    let here = place("signal");
    scene.rules(json!([{"match": {"op": "ListObjectsV2"}, "action": {"delay_ms": 60_000}}]));
    let mut looks = 0;
    let mut watch = || {
        looks += 1;
        if looks < 4 { Ok(()) } else { Err(Error::new(ErrorKind::Internal, "signal", "KeyboardInterrupt")) }
    };
    let mut patience = Patience { clock: &SystemClock, deadline: Duration::from_secs(60), watch: &mut watch };
    let built = build_from_listing(
        &scene.client,
        &uri(""),
        &here.join("index"),
        false,
        &Progress::default(),
        &mut patience,
    );
    assert_eq!(built.expect_err("interrupted").operation, "signal");
    fs::remove_dir_all(here).expect("removed");
}
