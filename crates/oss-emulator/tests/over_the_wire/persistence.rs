//! What lies below `--root` outlives the emulator.

use std::path::PathBuf;

use crate::peer::{Ask, Peer};
use oss_emulator::Options;

/// A directory that is removed with the test.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("oss-emulator-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn start(&self) -> Peer {
        let (root, buckets) = (Some(self.0.clone()), vec!["bkt".to_owned()]);
        Peer::with(Options { root, buckets, ..Options::default() })
    }

    fn data_files(&self) -> usize {
        std::fs::read_dir(self.0.join("data")).unwrap().count()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn objects_are_there_again_with_all_they_had() {
    let root = Root::new("again");
    let keys = ["plain", "a/b//c/", "..", "é\n\u{1}", &"long".repeat(250)];
    let mut before = Vec::new();
    {
        let mut peer = root.start();
        for key in keys {
            let ask = Ask::on("PUT", "bkt", key).header("x-oss-meta-a", "1").header("Content-Type", "text/x");
            assert_eq!(peer.ask(&ask.body(key.as_bytes())).status, 200);
            before.push(peer.get(key));
        }
        assert_eq!(
            peer.ask(&Ask::on("PUT", "bkt", "copy").header("x-oss-copy-source", "/bkt/plain")).status,
            200
        );
    }
    let mut peer = root.start();
    for (key, old) in keys.iter().zip(&before) {
        let new = peer.get(key);
        assert_eq!((new.status, new.body.as_slice()), (200, key.as_bytes()), "{key:?}");
        for name in ["ETag", "Last-Modified", "x-oss-hash-crc64ecma", "x-oss-meta-a", "Content-Type"] {
            assert_eq!(new.header(name), old.header(name), "{name} of {key:?}");
        }
    }
    assert_eq!(peer.ask(&Ask::on("DELETE", "bkt", "plain")).status, 204);
    assert_eq!(peer.get("copy").body, b"plain", "a copy shares the file of its source");
}

#[test]
fn files_that_nobody_names_are_removed() {
    let root = Root::new("orphans");
    {
        let mut peer = root.start();
        peer.put("k", b"old");
        peer.put("k", b"new");
        assert_eq!(root.data_files(), 1);
        let id = peer.ask(&Ask::on("POST", "bkt", "k").query("uploads", "")).element("UploadId").unwrap();
        let part = Ask::on("PUT", "bkt", "k").query("partNumber", "1").query("uploadId", &id).body(b"part");
        assert_eq!(peer.ask(&part).status, 200);
        assert_eq!(root.data_files(), 2);
    }
    let mut peer = root.start();
    assert_eq!((root.data_files(), peer.get("k").body.as_slice()), (1, &b"new"[..]));
    assert_eq!(peer.ask(&Ask::on("DELETE", "bkt", "k")).status, 204);
    assert_eq!(root.data_files(), 0);
}
