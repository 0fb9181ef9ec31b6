//! Who may ask: signatures, clocks, regions, tokens, hosts.

use crate::peer::{Ask, Peer};
use oss_protocol::sign::{Credentials, Secret, Signer};

#[test]
fn a_changed_request_does_not_match_its_signature() {
    let mut peer = Peer::start();
    peer.put("k", b"1");
    let other = Credentials::new("emulator-key-id", Secret::new("wrong"), None);
    peer.signer = Signer::new(other, "cn-local");
    let refused = peer.get("k");
    assert_eq!((refused.status, refused.code().as_str()), (403, "SignatureDoesNotMatch"));
    assert!(refused.element("StringToSign").unwrap().starts_with("OSS4-HMAC-SHA256"));
}

#[test]
fn unknown_keys_and_missing_signatures_are_told_apart() {
    let mut peer = Peer::start();
    assert_eq!(peer.ask(&Ask::on("GET", "bkt", "k").unsigned()).code(), "AccessDenied");
    peer.signer = Signer::new(Credentials::new("nobody", Secret::new("x"), None), "cn-local");
    assert_eq!(peer.get("k").code(), "InvalidAccessKeyId");
    // OSS looks for the bucket before it looks at the key.
    assert_eq!(peer.ask(&Ask::on("GET", "nobucket", "k")).code(), "NoSuchBucket");
}

#[test]
fn the_region_of_the_scope_must_be_ours() {
    let mut peer = Peer::start();
    for region in ["cn-hangzhou", "oss-cn-local"] {
        peer.signer = Signer::new(peer.server.credentials(), region);
        let refused = peer.get("k");
        assert_eq!(refused.status, 403, "{region}: {}", refused.text());
        assert!(
            ["0002-00000226", "0002-00000228"].contains(&refused.header("x-oss-ec").unwrap()),
            "{region}"
        );
    }
}

#[test]
fn a_clock_that_is_off_is_refused_with_the_date_to_correct_it() {
    let mut peer = Peer::start();
    peer.put("k", b"1");
    peer.server.set_clock_offset(3600);
    let refused = peer.get("k");
    assert_eq!((refused.status, refused.code().as_str()), (403, "RequestTimeTooSkewed"));
    let date = oss_protocol::time::UtcTime::parse_http_date(refused.header("Date").unwrap()).unwrap();
    assert!((date.0 - crate::peer::unix_seconds() - 3600).abs() <= 2);
    peer.clock_shift = 3600;
    assert_eq!(peer.get("k").status, 200);
}

#[test]
fn what_everybody_may_needs_no_signature() {
    let mut peer = Peer::start();
    peer.put("k", b"1");
    let open = Ask::on("PUT", "bkt", "").query("acl", "").header("x-oss-acl", "public-read");
    assert_eq!(peer.ask(&open).status, 200);
    assert_eq!(peer.ask(&Ask::on("GET", "bkt", "k").unsigned()).body, b"1");
    assert_eq!(peer.ask(&Ask::on("PUT", "bkt", "k").unsigned().body(b"2")).code(), "AccessDenied");
}

#[test]
fn any_host_may_carry_the_bucket() {
    let mut peer = Peer::start();
    peer.put("a/b", b"1");
    for host in ["bkt.localhost:9000", "bkt.oss-cn-local.emulator.test", "bkt.example.com"] {
        let head = peer.head(&Ask::on("GET", "bkt", "a/b"));
        let text = String::from_utf8(head).unwrap().replace("/bkt/a/b", "/a%2Fb");
        let text = text.replace("Host: 127.0.0.1", &format!("Host: {host}"));
        std::io::Write::write_all(&mut peer.stream, text.as_bytes()).unwrap();
        assert_eq!(peer.reply("GET").unwrap().body, b"1", "{host}");
    }
}
