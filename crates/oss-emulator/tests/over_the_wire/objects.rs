//! Objects over the wire: reads, writes, conditions, copies, links, and how OSS refuses.

use crate::peer::{Ask, Peer};
use oss_protocol::encoding::base64_decode;

#[test]
fn a_put_object_comes_back_with_its_checksums() {
    let mut peer = Peer::start();
    let put = peer.put("dir/k", b"123456789");
    assert_eq!(put.header("ETag"), Some("\"25F9E794323B453885F5181F1B624D0B\""));
    assert_eq!(put.header("x-oss-hash-crc64ecma"), Some("11051210869376104954"));
    let got = peer.get("dir/k");
    assert_eq!((got.status, got.body.as_slice()), (200, &b"123456789"[..]));
    for name in ["x-oss-request-id", "Date", "Last-Modified", "x-oss-server-time"] {
        assert!(got.header(name).is_some(), "{name}");
    }
    assert_eq!(got.header("Server"), Some("AliyunOSS"));
    assert_eq!(got.header("x-oss-object-type"), Some("Normal"));
    assert_eq!(got.header("x-oss-hash-crc64ecma"), Some("11051210869376104954"));
    assert_eq!(got.header("x-oss-request-id").map(str::len), Some(24));
}

#[test]
fn ranges_follow_the_asked_behaviour() {
    let mut peer = Peer::start();
    peer.put("k", b"0123456789");
    let mut ask = |range, standard: bool| {
        let ask = Ask::on("GET", "bkt", "k").header("Range", range);
        let ask = if standard { ask.header("x-oss-range-behavior", "standard") } else { ask };
        let reply = peer.ask(&ask);
        let range = reply.header("Content-Range").map(str::to_owned);
        (reply.status, range, String::from_utf8(reply.body).unwrap())
    };
    assert_eq!(ask("bytes=2-4", false), (206, Some("bytes 2-4/10".into()), "234".into()));
    assert_eq!(ask("bytes=5-99", false), (200, None, "0123456789".into()));
    assert_eq!(ask("bytes=5-99", true), (206, Some("bytes 5-9/10".into()), "56789".into()));
    assert_eq!(ask("bytes=10-", false).0, 200);
    let refused = ask("bytes=10-", true);
    assert_eq!((refused.0, refused.1.as_deref()), (416, Some("bytes */10")));
    assert!(refused.2.contains("<Code>InvalidRange</Code>"));
    assert_eq!(ask("bytes=-3", false).2, "789");
}

#[test]
fn the_crc_of_a_range_is_that_of_the_whole_object() {
    let mut peer = Peer::start();
    peer.put("k", b"123456789");
    let part = peer.ask(&Ask::on("GET", "bkt", "k").header("Range", "bytes=0-1"));
    assert_eq!(part.header("x-oss-hash-crc64ecma"), Some("11051210869376104954"));
}

#[test]
fn conditions_answer_412_and_304() {
    let mut peer = Peer::start();
    let etag = peer.put("k", b"1").header("ETag").unwrap().to_owned();
    let mut ask = |name, value| peer.ask(&Ask::on("GET", "bkt", "k").header(name, value));
    assert_eq!(ask("If-Match", &etag).status, 200);
    let refused = ask("If-Match", "\"other\"");
    assert_eq!((refused.status, refused.code().as_str()), (412, "PreconditionFailed"));
    let same = ask("If-None-Match", &etag);
    assert_eq!((same.status, same.body.len()), (304, 0));
    assert_eq!(ask("If-Modified-Since", "Wed, 21 Oct 2099 07:28:00 GMT").status, 304);
    assert_eq!(ask("If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT").status, 412);
    assert_eq!(ask("If-Modified-Since", "nonsense").status, 200);
}

#[test]
fn a_refused_head_carries_its_document_in_a_header() {
    let mut peer = Peer::start();
    let reply = peer.ask(&Ask::on("HEAD", "bkt", "missing"));
    assert_eq!((reply.status, reply.body.len()), (404, 0));
    let xml = base64_decode(reply.header("x-oss-err").unwrap()).unwrap();
    assert!(String::from_utf8(xml).unwrap().contains("<Code>NoSuchKey</Code>"));
    assert_eq!(reply.header("x-oss-ec"), Some("0026-00000001"));
    assert_eq!(peer.ask(&Ask::on("GET", "nobucket", "k")).code(), "NoSuchBucket");
}

#[test]
fn a_put_is_checked_before_it_is_stored() {
    let mut peer = Peer::start();
    let wrong = Ask::on("PUT", "bkt", "k").header("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==").body(b"x");
    assert_eq!(peer.ask(&wrong).code(), "InvalidDigest");
    assert_eq!(peer.ask(&Ask::on("PUT", "bkt", "/k").body(b"x")).code(), "InvalidObjectName");
    let bad_class = Ask::on("PUT", "bkt", "k").header("x-oss-storage-class", "Nonsense").body(b"x");
    assert_eq!(peer.ask(&bad_class).code(), "InvalidArgument");
    let large = "v".repeat(8 * 1024);
    let meta = Ask::on("PUT", "bkt", "k").header("x-oss-meta-a", &large).body(b"x");
    assert_eq!(peer.ask(&meta).code(), "InvalidArgument");
    assert_eq!(peer.get("k").status, 404);
    let no_length = peer.ask(&Ask::on("PUT", "bkt", "k").header("x-no-length", "1"));
    assert_eq!((no_length.status, no_length.code().as_str()), (411, "MissingContentLength"));
    assert_eq!(peer.changes(), Vec::<String>::new());
}

#[test]
fn a_body_that_stops_short_is_not_stored() {
    use std::io::Write;
    let mut peer = Peer::start();
    let head = peer.head(&Ask::on("PUT", "bkt", "k").header("Content-Length", "10"));
    peer.stream.write_all(&head).unwrap();
    peer.stream.write_all(b"12345").unwrap();
    let half_closed = socket_end(&peer.stream);
    assert!(half_closed.is_ok());
    let reply = peer.reply("PUT").unwrap();
    assert_eq!((reply.status, reply.code().as_str()), (400, "RequestTimeout"));
    assert_eq!(peer.server.object("bkt", "k"), None);
}

#[expect(clippy::disallowed_methods, reason = "the client ends its side, as a broken sender does")]
fn socket_end(stream: &std::net::TcpStream) -> std::io::Result<()> {
    stream.shutdown(std::net::Shutdown::Write)
}

#[test]
fn a_chunked_body_is_stored_without_its_framing() {
    let mut peer = Peer::start();
    let ask = Ask::on("PUT", "bkt", "k").header("Transfer-Encoding", "chunked");
    let reply = peer.ask(&ask.body(b"4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nTrailer: 1\r\n\r\n"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(peer.get("k").body, b"wikipedia");
}

#[test]
fn overwriting_can_be_forbidden() {
    let mut peer = Peer::start();
    peer.put("k", b"old");
    let ask = Ask::on("PUT", "bkt", "k").header("x-oss-forbid-overwrite", "true").body(b"new");
    let refused = peer.ask(&ask);
    assert_eq!((refused.status, refused.code().as_str()), (409, "FileAlreadyExists"));
    assert_eq!(peer.get("k").body, b"old");
    let on = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    assert_eq!(peer.ask(&Ask::on("PUT", "bkt", "").query("versioning", "").body(on)).status, 200);
    assert_eq!(peer.ask(&ask).status, 200, "under versioning OSS ignores the header");
    assert_eq!(peer.get("k").body, b"new");
}

#[test]
fn keys_are_raw_text() {
    let mut peer = Peer::start();
    let keys = ["a b+c%?#&=é😀", "x//y", "a/./b/../c", "\u{1}", "\n", "dir/", "..", &"k".repeat(1023)];
    for key in keys {
        peer.put(key, key.as_bytes());
        assert_eq!(peer.get(key).body, key.as_bytes(), "{key:?}");
    }
    let listed = peer.ask(&Ask::on("GET", "bkt", "").query("list-type", "2").query("encoding-type", "url"));
    let decoded: Vec<String> =
        listed.elements("Key").iter().map(|key| oss_protocol::encoding::decode(key).unwrap()).collect();
    let mut sorted = keys.map(str::to_owned).to_vec();
    sorted.sort_unstable();
    assert_eq!(decoded, sorted);
}

#[test]
fn appends_need_the_right_position() {
    let mut peer = Peer::start();
    let append = |position| Ask::on("POST", "bkt", "k").query("append", "").query("position", position);
    assert_eq!(peer.ask(&append("0").body(b"12345")).header("x-oss-next-append-position"), Some("5"));
    let refused = peer.ask(&append("0").body(b"x"));
    assert_eq!((refused.status, refused.code().as_str()), (409, "PositionNotEqualToLength"));
    assert_eq!(refused.header("x-oss-next-append-position"), Some("5"));
    let whole = peer.ask(&append("5").body(b"6789"));
    assert_eq!(whole.header("x-oss-hash-crc64ecma"), Some("11051210869376104954"));
    peer.put("plain", b"x");
    let plain = Ask::on("POST", "bkt", "plain").query("append", "").query("position", "1").body(b"y");
    assert_eq!(peer.ask(&plain).code(), "ObjectNotAppendable");
}

#[test]
fn copies_and_links_show_their_source() {
    let mut peer = Peer::start();
    peer.put("src", b"123456789");
    let copy = Ask::on("PUT", "bkt", "copy").header("x-oss-copy-source", "/bkt/src");
    assert_eq!(peer.ask(&copy).status, 200);
    assert_eq!(peer.get("copy").body, b"123456789");
    let link =
        |key, target| Ask::on("PUT", "bkt", key).query("symlink", "").header("x-oss-symlink-target", target);
    assert_eq!(peer.ask(&link("link", "src")).status, 200);
    assert_eq!(peer.ask(&link("chain", "link")).status, 200);
    assert_eq!(peer.ask(&link("loose", "gone")).status, 200);
    let through = peer.get("link");
    assert_eq!(
        (through.body.as_slice(), through.header("x-oss-object-type")),
        (&b"123456789"[..], Some("Symlink"))
    );
    assert_eq!(peer.get("chain").code(), "InvalidTargetType");
    assert_eq!(peer.get("loose").code(), "SymlinkTargetNotExist");
    let target = peer.ask(&Ask::on("GET", "bkt", "link").query("symlink", ""));
    assert_eq!(target.header("x-oss-symlink-target"), Some("src"));
    assert_eq!(peer.ask(&Ask::on("GET", "bkt", "src").query("symlink", "")).code(), "NotSymlink");
}

#[test]
fn archived_objects_have_to_be_restored() {
    let mut peer = Peer::start();
    let put = Ask::on("PUT", "bkt", "k").header("x-oss-storage-class", "Archive").body(b"cold");
    assert_eq!(peer.ask(&put).status, 200);
    assert_eq!(peer.get("k").code(), "InvalidObjectState");
    assert_eq!(peer.ask(&Ask::on("HEAD", "bkt", "k")).status, 200);
    let restore = Ask::on("POST", "bkt", "k").query("restore", "");
    assert_eq!(peer.ask(&restore).status, 202);
    assert_eq!(peer.ask(&restore).code(), "RestoreAlreadyInProgress");
    peer.server.set_clock_offset(120);
    peer.clock_shift = 120;
    assert_eq!(peer.get("k").body, b"cold");
    assert_eq!(peer.ask(&restore).status, 200);
    peer.put("plain", b"x");
    assert_eq!(
        peer.ask(&Ask::on("POST", "bkt", "plain").query("restore", "")).code(),
        "OperationNotSupported"
    );
}

#[test]
fn deletes_are_idempotent_and_journaled_once() {
    let mut peer = Peer::start();
    peer.put("k", b"1");
    for _ in 0..2 {
        assert_eq!(peer.ask(&Ask::on("DELETE", "bkt", "k")).status, 204);
    }
    assert_eq!(peer.changes(), ["put k", "delete k"]);
    let bare = Ask::on("POST", "bkt", "").query("delete", "").body(b"<Delete></Delete>");
    assert_eq!(peer.ask(&bare).code(), "MissingArgument");
}

#[test]
fn a_copy_that_replaces_metadata_keeps_the_content_type() {
    let mut peer = Peer::start();
    let put =
        Ask::on("PUT", "bkt", "k").header("Content-Type", "text/x-own").header("Cache-Control", "no-cache");
    assert_eq!(peer.ask(&put.body(b"1")).status, 200);
    let copy = Ask::on("PUT", "bkt", "copy").header("x-oss-copy-source", "/bkt/k");
    assert_eq!(peer.ask(&copy.header("x-oss-metadata-directive", "REPLACE")).status, 200);
    let seen = peer.get("copy");
    assert_eq!((seen.header("Content-Type"), seen.header("Cache-Control")), (Some("text/x-own"), None));
}

#[test]
fn a_read_that_announces_a_body_is_answered_without_it() {
    let mut peer = Peer::start();
    peer.put("k", b"data");
    for body in [&b""[..], b"123456789"] {
        let ask = Ask::on("GET", "bkt", "k").header("Content-Length", "9").body(body);
        assert_eq!(peer.ask(&ask).body, b"data");
        assert!(peer.try_ask(&Ask::on("GET", "bkt", "k")).is_err(), "the connection has ended");
        peer.reconnect();
    }
}

#[test]
fn a_callback_is_said_to_have_failed_and_the_object_is_there() {
    let mut peer = Peer::start();
    let put = Ask::on("PUT", "bkt", "k").header("x-oss-callback", "e30=").body(b"1");
    let told = peer.ask(&put);
    assert_eq!((told.status, told.code().as_str()), (203, "CallbackFailed"));
    assert_eq!(peer.get("k").body, b"1");
}

#[test]
fn a_client_may_ask_for_less_bandwidth_within_bounds() {
    let mut peer = Peer::start();
    peer.put("k", &[7; 20_480]);
    let limited = |bits| Ask::on("GET", "bkt", "k").header("x-oss-traffic-limit", bits);
    assert_eq!(peer.ask(&limited("819200")).body.len(), 20_480);
    // The next request is read only after the one before is written down as done.
    peer.get("other");
    let entries = peer.journal();
    let slow = entries.iter().find(|entry| entry["operation"] == "GetObject").unwrap();
    assert!(slow["elapsed_ms"].as_u64().unwrap() >= 100, "20 KiB at 100 KiB/s: {slow}");
    for bits in ["819199", "838860801", "fast"] {
        assert_eq!(peer.ask(&limited(bits)).code(), "InvalidArgument");
    }
}

#[test]
fn tls_on_a_plain_port_is_answered_at_once() {
    use std::io::{Read, Write};
    let mut peer = Peer::start();
    peer.stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 252]).unwrap();
    let mut answer = Vec::new();
    peer.stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_later_append_changes_bytes_alone() {
    let mut peer = Peer::start();
    let append = |position| Ask::on("POST", "bkt", "log").query("append", "").query("position", position);
    assert_eq!(peer.ask(&append("0").header("x-oss-tagging", "a=1").body(b"one")).status, 200);
    let refused = peer.ask(&append("0").header("x-oss-tagging", "=none").body(b"x"));
    assert_eq!((refused.status, refused.code().as_str()), (400, "InvalidTag"));
    assert_eq!(peer.ask(&append("3").header("x-oss-tagging", "=none").body(b"two")).status, 200);
    let seen = peer.get("log");
    assert_eq!((seen.body.as_slice(), seen.header("x-oss-tagging-count")), (&b"onetwo"[..], Some("1")));
}
