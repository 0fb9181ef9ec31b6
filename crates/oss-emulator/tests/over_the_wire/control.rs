//! The control port.

use crate::peer::{Ask, Peer};
use serde_json::json;

#[test]
fn rules_journal_and_reset_go_over_the_control_port() {
    let mut peer = Peer::start();
    let rules = json!({"seed": 1, "rules": [{"action": {"status": 500}}]});
    assert_eq!(peer.control("POST", "/_emulator/rules", &rules).0, 200);
    assert_eq!(peer.get("k").status, 500);
    let (_, known) = peer.control("GET", "/_emulator/rules", &json!({}));
    assert_eq!(known["rules"][0]["hits"], 1);
    let bad = peer.control("POST", "/_emulator/rules", &json!({"rules": [{"action": {"nonsense": 1}}]}));
    assert_eq!(bad.0, 400);
    assert!(bad.1["error"].as_str().unwrap().contains("nonsense"));
    let (_, journal) = peer.control("GET", "/_emulator/journal?wait_for=1&timeout_ms=5000", &json!({}));
    let entry = &journal["entries"][0];
    assert_eq!(
        (&entry["operation"], &entry["status"], &entry["fault"]),
        (&json!("GetObject"), &json!(500), &json!("rule 0: status"))
    );
    assert_eq!(peer.control("POST", "/_emulator/reset", &json!({})).0, 200);
    assert_eq!(peer.get("k").status, 404);
    assert_eq!(peer.control("GET", "/_emulator/journal?since=0", &json!({})).1["next"], 1);
    assert_eq!(peer.control("GET", "/_emulator/nothing", &json!({})).0, 404);
}

#[test]
fn objects_are_filled_in_bulk_and_readable() {
    let mut peer = Peer::start();
    let fill =
        json!({"bucket": "bulk", "prefix": "p/", "suffix": ".bin", "count": 250, "size": 5000, "seed": 9});
    assert_eq!(peer.control("POST", "/_emulator/objects", &fill).1, json!({"count": 250}));
    let listed = peer.ask(&Ask::on("GET", "bulk", "").query("list-type", "2").query("max-keys", "1000"));
    assert_eq!(listed.elements("Key").len(), 250);
    let one = peer.ask(&Ask::on("GET", "bulk", "p/00000007.bin"));
    let crc = oss_protocol::crc64::crc64(&one.body).to_string();
    assert_eq!((one.body.len(), one.header("x-oss-hash-crc64ecma")), (5000, Some(crc.as_str())));
    let body = json!({"bucket": "bulk", "key": "k", "body_base64": "aGk=", "no_crc64": true});
    assert_eq!(peer.control("POST", "/_emulator/objects", &body).0, 200);
    let plain = peer.ask(&Ask::on("GET", "bulk", "k"));
    assert_eq!((plain.body.as_slice(), plain.header("x-oss-hash-crc64ecma")), (&b"hi"[..], None));
}

#[test]
fn keys_and_tokens_come_and_expire() {
    let mut peer = Peer::start();
    let keys = json!({"access_key_id": "tmp", "access_key_secret": "s", "security_token": "t"});
    assert_eq!(peer.control("POST", "/_emulator/credentials", &keys).0, 200);
    let with_token = |token: &str| {
        let token = Some(oss_protocol::sign::Secret::new(token));
        let credentials =
            oss_protocol::sign::Credentials::new("tmp", oss_protocol::sign::Secret::new("s"), token);
        oss_protocol::sign::Signer::new(credentials, "cn-local")
    };
    peer.signer = with_token("t");
    assert_eq!(peer.get("k").code(), "NoSuchKey");
    peer.signer = with_token("other");
    assert_eq!(peer.get("k").code(), "InvalidSecurityToken");
    peer.signer = with_token("t");
    let expired = peer.control("POST", "/_emulator/credentials/expire", &json!({"security_token": "t"}));
    assert_eq!(expired.1, json!({"expired": 1}));
    assert_eq!(peer.get("k").code(), "SecurityTokenExpired");
}

#[test]
fn the_shape_slows_every_answer() {
    let mut peer = Peer::start();
    peer.put("k", &[0; 3000]);
    let shape = json!({"first_byte_ms": 40, "rate_bytes_per_second": 100_000});
    assert_eq!(peer.control("POST", "/_emulator/shape", &shape).0, 200);
    assert_eq!(peer.get("k").body.len(), 3000);
    peer.server.wait_for_journal(3, std::time::Duration::from_secs(5));
    // The next request is read only after the one before is written down as done.
    peer.get("other");
    let entries = peer.journal();
    let slow = entries.iter().find(|entry| entry["operation"] == "GetObject").unwrap();
    assert!(slow["elapsed_ms"].as_u64().unwrap() >= 70, "{slow}");
}
