//! Listings over the wire: pages, groups, tokens, uploads, versions.

use crate::peer::{Ask, Peer};
use oss_emulator::Options;

fn fill(peer: &mut Peer) {
    for key in ["a", "b/1", "b/2", "c", "d/x"] {
        peer.put(key, b"1");
    }
}

#[test]
fn the_second_version_pages_by_opaque_tokens() {
    let mut peer = Peer::start();
    fill(&mut peer);
    let base =
        Ask::on("GET", "bkt", "").query("list-type", "2").query("max-keys", "2").query("delimiter", "/");
    let first = peer.ask(&base);
    assert_eq!(first.elements("Key"), ["a"]);
    assert_eq!(first.element("KeyCount").as_deref(), Some("2"));
    assert!(!first.text().contains("<Owner>"));
    let token = first.element("NextContinuationToken").unwrap();
    let second = peer.ask(&base.clone().query("continuation-token", &token).query("fetch-owner", "true"));
    assert_eq!(second.elements("Key"), ["c"]);
    assert!(second.text().contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"));
    assert!(second.text().contains("<Owner>"));
    assert_eq!(second.element("IsTruncated").as_deref(), Some("false"));
    let bad = peer.ask(&base.query("continuation-token", "%%"));
    assert_eq!(bad.code(), "InvalidArgument");
}

#[test]
fn the_first_version_pages_by_markers() {
    let mut peer = Peer::start();
    fill(&mut peer);
    let first = peer.ask(&Ask::on("GET", "bkt", "").query("max-keys", "2"));
    assert_eq!(
        (first.elements("Key"), first.element("NextMarker").as_deref()),
        (vec!["a".into(), "b/1".into()], Some("b/1"))
    );
    let rest = peer.ask(&Ask::on("GET", "bkt", "").query("marker", "b/1"));
    assert_eq!(rest.elements("Key"), ["b/2", "c", "d/x"]);
    assert_eq!(rest.element("MaxKeys").as_deref(), Some("100"));
    assert_eq!(peer.ask(&Ask::on("GET", "bkt", "").query("max-keys", "1001")).code(), "InvalidArgument");
}

#[test]
fn a_start_is_exclusive_and_need_not_exist() {
    let mut peer = Peer::start();
    fill(&mut peer);
    let ask = |after| Ask::on("GET", "bkt", "").query("list-type", "2").query("start-after", after);
    assert_eq!(peer.ask(&ask("b/2")).elements("Key"), ["c", "d/x"]);
    assert_eq!(peer.ask(&ask("b/11")).elements("Key"), ["b/2", "c", "d/x"]);
}

#[test]
fn open_uploads_are_listed_by_key_and_id() {
    let mut peer = Peer::start();
    for key in ["k/1", "k/1", "k/2"] {
        assert_eq!(peer.ask(&Ask::on("POST", "bkt", key).query("uploads", "")).status, 200);
    }
    let first = peer.ask(&Ask::on("GET", "bkt", "").query("uploads", "").query("max-uploads", "1"));
    let (key, id) = (first.element("NextKeyMarker").unwrap(), first.element("NextUploadIdMarker").unwrap());
    let ask = Ask::on("GET", "bkt", "").query("uploads", "").query("key-marker", &key);
    let rest = peer.ask(&ask.clone().query("upload-id-marker", &id));
    assert_eq!(rest.elements("Key"), ["k/1", "k/2"]);
    assert_eq!(peer.ask(&ask).elements("Key"), ["k/2"]);
    let grouped = peer.ask(&Ask::on("GET", "bkt", "").query("uploads", "").query("delimiter", "/"));
    assert_eq!((grouped.elements("Key").len(), grouped.elements("CommonPrefixes").len()), (0, 1));
}

#[test]
fn versions_stay_until_they_are_deleted_one_by_one() {
    let mut peer = Peer::start();
    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    peer.put("k", b"0");
    peer.ask(&Ask::on("PUT", "bkt", "").query("versioning", "").body(on));
    peer.put("k", b"1");
    let deleted = peer.ask(&Ask::on("DELETE", "bkt", "k"));
    assert_eq!(deleted.header("x-oss-delete-marker"), Some("true"));
    assert_eq!(peer.get("k").header("x-oss-delete-marker"), Some("true"));
    let listed = peer.ask(&Ask::on("GET", "bkt", "").query("versions", ""));
    let ids = listed.elements("VersionId");
    assert_eq!((ids.len(), listed.elements("DeleteMarker").len(), ids[2].as_str()), (3, 1, "null"));
    assert_eq!(peer.ask(&Ask::on("GET", "bkt", "k").query("versionId", "null")).body, b"0");
    for id in &ids {
        assert_eq!(peer.ask(&Ask::on("DELETE", "bkt", "k").query("versionId", id)).status, 204);
    }
    assert_eq!(peer.ask(&Ask::on("DELETE", "bkt", "")).status, 204);
}

#[test]
fn buckets_are_listed_with_an_endpoint_that_can_be_reached() {
    let mut peer = Peer::start();
    let listed = peer.ask(&Ask { method: "GET", ..Ask::default() });
    assert_eq!(listed.element("ExtranetEndpoint"), Some(peer.server.endpoint()));
    let info = peer.ask(&Ask::on("GET", "bkt", "").query("bucketInfo", ""));
    assert_eq!(info.element("ExtranetEndpoint"), Some(peer.server.endpoint()));
}

#[test]
fn tokens_need_no_encoding_in_a_url() {
    let mut peer = Peer::start();
    for key in ["a", "k?~>>", "k?~>>b", "中", "中文"] {
        peer.put(key, b"1");
    }
    let base = Ask::on("GET", "bkt", "").query("list-type", "2").query("max-keys", "1");
    let (mut token, mut keys) = (None::<String>, Vec::new());
    loop {
        let ask = token.iter().fold(base.clone(), |ask, token| ask.query("continuation-token", token));
        let page = peer.ask(&ask);
        keys.extend(page.elements("Key"));
        let Some(next) = page.element("NextContinuationToken") else { break };
        assert!(next.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)), "{next}");
        token = Some(next);
    }
    assert_eq!(keys.len(), 5, "{keys:?}");
}

#[test]
fn there_are_always_several_regions() {
    let mut peer = Peer::with(Options { region: "cn-hangzhou".to_owned(), ..Options::default() });
    let all = peer.ask(&Ask { method: "GET", query: vec![("regions", "")], ..Ask::default() });
    assert_eq!(all.elements("Region"), ["oss-cn-hangzhou", "oss-cn-shanghai"]);
    let one = peer.ask(&Ask { method: "GET", query: vec![("regions", "oss-cn-hangzhou")], ..Ask::default() });
    assert_eq!(one.elements("Region"), ["oss-cn-hangzhou"]);
}
