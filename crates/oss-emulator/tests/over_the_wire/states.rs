//! Rules that change the state of the service, and shapes that end connections.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use oss_protocol::sign::{Credentials, Secret, Signer};
use serde_json::json;

use crate::peer::{Ask, Peer};

#[test]
fn a_token_expires_at_the_nth_request() {
    let mut peer = Peer::start();
    peer.accept(&json!({"access_key_id": "tmp", "access_key_secret": "s", "security_token": "t"}));
    let credentials = Credentials::new("tmp", Secret::new("s"), Some(Secret::new("t")));
    peer.signer = Signer::new(credentials, "cn-local");
    peer.server
        .set_rules(json!({"rules": [{"match": {"nth": 2}, "action": {"expire_token": true}}]}))
        .unwrap();
    assert_eq!(peer.get("k").code(), "NoSuchKey");
    assert_eq!(peer.get("k").code(), "SecurityTokenExpired");
    assert_eq!(peer.get("k").code(), "SecurityTokenExpired");
}

#[test]
fn the_clock_jumps_at_a_request() {
    let rules = json!({"rules": [{"action": {"clock_offset_seconds": 1200}, "times": 1}]});
    let mut peer = Peer::with_rules(rules);
    assert_eq!(peer.get("k").code(), "RequestTimeTooSkewed");
    peer.clock_shift = 1200;
    assert_eq!(peer.get("k").code(), "NoSuchKey");
}

#[test]
fn an_upload_is_not_read_for_a_while() {
    let action = json!({"stop_reading": 1000, "stall_ms": 30});
    let mut peer = Peer::with_rules(json!({"rules": [{"match": {"op": "PutObject"}, "action": action}]}));
    peer.put("k", &[7; 5000]);
    let entry = peer.journal().into_iter().next().unwrap();
    assert_eq!((&entry["status"], &entry["fault"]), (&json!(200), &json!("rule 0: stall_ms, stop_reading")));
    assert_eq!(peer.server.object("bkt", "k").unwrap(), [7; 5000]);
}

#[test]
fn an_upload_is_cut_at_a_byte() {
    let action = json!({"reset_after_bytes": 1000, "direction": "in"});
    let mut peer = Peer::with_rules(json!({"rules": [{"match": {"op": "PutObject"}, "action": action}]}));
    assert!(peer.try_ask(&Ask::on("PUT", "bkt", "k").body(&[7; 5000])).is_err());
    assert_eq!(peer.server.object("bkt", "k"), None);
}

#[test]
fn a_stalled_connection_ends_when_the_client_leaves() {
    let mut peer = Peer::start();
    peer.put("k", &[7; 5000]);
    peer.server.set_rules(json!({"rules": [{"action": {"stall_after_bytes": 10}, "times": 1}]})).unwrap();
    let head = peer.head(&Ask::on("GET", "bkt", "k"));
    peer.stream.write_all(&head).unwrap();
    peer.more().unwrap();
    peer.reconnect();
    // A later request shows that the emulator lives; the stalled one is completed by then or soon.
    assert_eq!(peer.get("k").body.len(), 5000);
    let mut tries = 0;
    while peer.journal().iter().any(|entry| entry["fault"].is_string() && entry["elapsed_ms"].is_null()) {
        tries += 1;
        peer.server.wait_for_journal(u64::MAX, Duration::from_millis(5));
        assert!(tries < 2000, "the stalled request never ended");
    }
}

#[test]
fn a_process_is_killed_at_a_request() {
    let mut victim = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    let kill = json!({"pid": victim.id(), "signal": 15, "after": true});
    let rules =
        json!({"rules": [{"match": {"op": "PutObject", "nth": 2}, "action": {"kill_client_at": kill}}]});
    let mut peer = Peer::with_rules(rules);
    peer.put("k", b"1");
    assert!(victim.try_wait().unwrap().is_none());
    peer.put("k", b"2");
    assert!(!victim.wait().unwrap().success());
}

#[test]
fn an_idle_connection_is_closed_by_the_shape() {
    let mut peer = Peer::start();
    peer.shape(&json!({"idle_close_ms": 20}));
    assert_eq!(peer.get("k").status, 404);
    assert_eq!(peer.rest(), b"");
}
