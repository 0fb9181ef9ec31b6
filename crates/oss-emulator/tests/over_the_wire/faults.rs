//! What rules do, seen from the other end of the wire.

use std::io::Write;

use crate::peer::{Ask, Peer, Reply};
use serde_json::{Value, json};

const BODY: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

fn spoiled(action: Value) -> Peer {
    let mut peer = Peer::start();
    peer.put("k", BODY);
    peer.server.set_rules(json!({"rules": [{"match": {"op": "GetObject"}, "action": action}]})).unwrap();
    peer
}

#[test]
fn unknown_names_are_refused_by_name() {
    let peer = Peer::start();
    for (rules, named) in [
        (json!({"rules": [{"match": {"opp": "GetObject"}, "action": {}}]}), "opp"),
        (json!({"rules": [{"action": {"resett": 1}}]}), "resett"),
        (json!({"rules": [{"match": {"op": "GetObjekt"}, "action": {}}]}), "GetObjekt"),
        (json!({"rules": [{"matches": {}, "action": {}}]}), "matches"),
        (json!({"rule": []}), "rule"),
        (json!({"rules": [{"match": {"probability": 2}, "action": {}}]}), "probability"),
    ] {
        let why = peer.server.set_rules(rules).unwrap_err();
        assert!(why.contains(named), "{named}: {why}");
    }
}

#[test]
fn answers_are_replaced() {
    let mut peer = spoiled(json!({"status": 503, "headers": {"Retry-After": "7"}, "drop_headers": "Server"}));
    let reply = peer.get("k");
    assert_eq!((reply.status, reply.code().as_str()), (503, "ServiceUnavailable"));
    assert_eq!((reply.header("Retry-After"), reply.header("Server")), (Some("7"), None));
    let mut html =
        spoiled(json!({"status": 502, "body": "<html>bad</html>", "headers": {"Content-Type": "text/html"}}));
    assert_eq!(html.get("k").text(), "<html>bad</html>");
    let mut moved = spoiled(json!({"redirect": {"status": 301, "location": "http://elsewhere/"}}));
    assert_eq!(moved.get("k").header("Location"), Some("http://elsewhere/"));
}

#[test]
fn headers_lie() {
    let mut peer = spoiled(json!({"wrong_etag": true, "wrong_crc": true, "content_range": "bytes 1-2/3"}));
    let right = peer.ask(&Ask::on("HEAD", "bkt", "k"));
    let wrong = peer.get("k");
    assert_ne!(right.header("ETag"), wrong.header("ETag"));
    assert_ne!(right.header("x-oss-hash-crc64ecma"), wrong.header("x-oss-hash-crc64ecma"));
    assert_eq!(wrong.header("Content-Range"), Some("bytes 1-2/3"));
    let mut whole = spoiled(json!({"ignore_range": true}));
    assert_eq!(whole.ask(&Ask::on("GET", "bkt", "k").header("Range", "bytes=0-0")).status, 200);
}

#[test]
fn bodies_end_early() {
    for (action, how) in [
        (json!({"reset_after_bytes": 10}), "reset"),
        (json!({"close_after_bytes": 10}), "unexpected end"),
        (json!({"truncate_body": 10}), "unexpected end"),
    ] {
        let error = spoiled(action).try_ask(&Ask::on("GET", "bkt", "k")).unwrap_err();
        assert!(error.contains("body after 10 bytes") && error.contains(how), "{how}: {error}");
    }
    let mut cut = spoiled(json!({"reset_after_bytes": 5, "count_from": "head"}));
    let error = cut.try_ask(&Ask::on("GET", "bkt", "k")).unwrap_err();
    assert!(error.contains("head: ") && error.contains("reset"), "{error}");
}

#[test]
fn a_stalled_body_goes_on_after_its_time() {
    let mut peer = spoiled(json!({"stall_after_bytes": 10, "stall_ms": 30}));
    assert_eq!(peer.get("k").body, BODY);
    let entry = peer.journal().pop().unwrap();
    assert!(entry["elapsed_ms"].as_u64().is_none_or(|elapsed| elapsed >= 30), "{entry}");
}

#[test]
fn one_bit_is_flipped_in_either_direction() {
    let got = spoiled(json!({"flip_bit": true})).get("k").body;
    let flipped: u32 = got.iter().zip(BODY).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((got.len(), flipped), (BODY.len(), 1));
    let mut peer = Peer::with_rules(
        json!({"rules": [{"match": {"op": "PutObject"}, "action": {"flip_bit": {"bit": 8, "direction": "in"}}}]}),
    );
    peer.put("k", b"ab");
    assert_eq!(peer.server.object("bkt", "k").unwrap(), b"ac");
}

#[test]
fn framing_lies() {
    let extra = spoiled(json!({"extra_bytes": 5, "headers": {}})).get("k");
    assert_eq!(extra.body, BODY);
    let error =
        spoiled(json!({"content_length": [36, 37]})).try_ask(&Ask::on("GET", "bkt", "k")).unwrap_err();
    assert!(!error.is_empty());
    let missing = spoiled(json!({"content_length": "missing"})).get("k");
    assert_eq!((missing.header("Content-Length"), missing.body.as_slice()), (None, BODY));
    let chunked = spoiled(json!({"chunked": 7})).get("k");
    assert_eq!((chunked.header("Transfer-Encoding"), chunked.body.as_slice()), (Some("chunked"), BODY));
    let bad = spoiled(json!({"bad_chunk": true})).try_ask(&Ask::on("GET", "bkt", "k")).unwrap_err();
    assert!(bad.contains("hexadecimal"), "{bad}");
}

#[test]
fn raw_bytes_are_sent_as_given() {
    let mut peer = spoiled(json!({"raw": "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nxx"}));
    let head = peer.head(&Ask::on("GET", "bkt", "k"));
    peer.stream.write_all(&head).unwrap();
    assert_eq!(peer.rest(), b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nxx");
}

#[test]
fn a_commit_may_be_lost_on_the_way_back() {
    let put = Ask::on("PUT", "bkt", "k").body(b"new");
    for action in [json!({"commit_then_reset": true}), json!({"commit_then_status": 500})] {
        let mut peer = Peer::with_rules(json!({"rules": [{"match": {"op": "PutObject"}, "action": action}]}));
        assert!(is_lost(peer.try_ask(&put)));
        assert_eq!(peer.server.object("bkt", "k").as_deref(), Some(&b"new"[..]));
    }
    for action in [json!({"fail_without_commit": true}), json!({"fail_without_commit": "reset"})] {
        let mut peer = Peer::with_rules(json!({"rules": [{"match": {"op": "PutObject"}, "action": action}]}));
        assert!(is_lost(peer.try_ask(&put)));
        assert_eq!(peer.server.object("bkt", "k"), None);
    }
}

fn is_lost(answer: Result<Reply, String>) -> bool {
    answer.is_err() || answer.is_ok_and(|reply| reply.status == 500)
}

#[test]
fn the_object_changes_under_the_reader() {
    let mut peer = spoiled(json!({"replace_object": true}));
    let before = peer.ask(&Ask::on("HEAD", "bkt", "k"));
    let got = peer.get("k");
    assert_ne!(before.header("ETag"), got.header("ETag"));
    assert_eq!((got.body.len(), got.body == BODY), (BODY.len(), false));
    assert_eq!(peer.changes(), ["put k", "put k"]);
    assert_eq!(spoiled(json!({"delete_object": true})).get("k").code(), "NoSuchKey");
    assert_eq!(spoiled(json!({"archive": true})).get("k").code(), "InvalidObjectState");
    let mut large = spoiled(json!({"virtual_object": {"size": 1_u64 << 40}}));
    let ask = Ask::on("GET", "bkt", "k").header("Range", "bytes=1099511627775-");
    assert_eq!(
        large.ask(&ask).header("Content-Range"),
        Some("bytes 1099511627775-1099511627775/1099511627776")
    );
}

#[test]
fn listings_go_in_circles() {
    let mut peer = Peer::start();
    for key in ["a", "b", "c"] {
        peer.put(key, b"1");
    }
    let list = Ask::on("GET", "bkt", "").query("list-type", "2").query("max-keys", "1");
    let mut token_of = |fault: &str, token: Option<&str>| {
        let rules = json!({"rules": [{"match": {"op": "ListObjectsV2"}, "action": {"repeat_token": fault}}]});
        peer.server.set_rules(rules).unwrap();
        let ask = token.map_or(list.clone(), |token| list.clone().query("continuation-token", token));
        let page = peer.ask(&ask);
        (page.elements("Key").join(","), page.element("NextContinuationToken"))
    };
    let (_, first) = token_of("same", None);
    let first = first.unwrap();
    assert_eq!(token_of("same", Some(&first)), ("b".into(), Some(first.clone())));
    assert_eq!(token_of("missing", None), ("a".into(), None));
    let (keys, fresh) = token_of("not_rising", Some(&first));
    assert!(keys == "a" && fresh != Some(first));
}

#[test]
fn rules_choose_by_count_key_range_and_connection() {
    let mut peer = Peer::start();
    peer.put("train/1", b"1");
    peer.put("test/1", b"1");
    peer.server
        .set_rules(json!({"rules": [
            {"name": "third", "match": {"key": "train/*", "range": "any", "nth": [3]}, "action": {"status": 500}},
            {"match": {"key": "test/?", "connection": 2}, "action": {"status": 429}, "times": 1},
        ]}))
        .unwrap();
    let ranged = Ask::on("GET", "bkt", "train/1").header("Range", "bytes=0-0");
    let seen: Vec<u16> = (0..4).map(|_| peer.ask(&ranged).status).collect();
    assert_eq!(seen, [206, 206, 500, 206]);
    assert_eq!(peer.get("test/1").status, 200);
    peer.reconnect();
    assert_eq!(peer.get("test/1").status, 200);
    peer.reconnect();
    assert_eq!((peer.get("test/1").status, peer.get("test/1").status), (429, 200));
    let rules = peer.server.rules();
    assert_eq!((&rules["rules"][0]["hits"], &rules["rules"][0]["matched"]), (&json!(1), &json!(4)));
}

#[test]
fn the_same_seed_spoils_the_same_requests() {
    let run = |seed: u64| -> Vec<u16> {
        let rules = json!({"seed": seed, "rules": [{"match": {"op": "GetObject", "probability": 0.3}, "action": {"status": 500}}]});
        let mut peer = Peer::start();
        for n in 0..40 {
            peer.put(&format!("k{n}"), b"1");
        }
        peer.server.set_rules(rules).unwrap();
        (0..40).map(|n| peer.get(&format!("k{n}")).status).collect()
    };
    let spoiled = |statuses: &[u16]| statuses.iter().filter(|status| **status == 500).count();
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
    assert!((4..22).contains(&spoiled(&run(7))));
}

#[test]
fn admission_and_its_answers() {
    let rules = json!({"rules": [{"action": {"admit_rps": {"rps": 0.001, "burst": 2, "qos_delay_ms": 90}}}]});
    let mut peer = Peer::with_rules(rules);
    let seen: Vec<u16> = (0..3).map(|_| peer.get("k").status).collect();
    assert_eq!(seen, [404, 404, 503]);
    assert_eq!(peer.get("k").header("x-oss-qos-delay-time"), Some("90"));
    assert_eq!(peer.get("k").code(), "TotalQpsLimitExceeded");
}
