//! Multipart uploads over the wire.

use std::io::Write;

use crate::peer::{Ask, Peer, Reply};

const PART: usize = 100 * 1024;

fn initiate(peer: &mut Peer, key: &str) -> String {
    peer.ask(&Ask::on("POST", "bkt", key).query("uploads", "")).element("UploadId").unwrap()
}

fn part(peer: &mut Peer, id: &str, number: &str, body: &[u8]) -> Reply {
    let ask = Ask::on("PUT", "bkt", "k").query("partNumber", number).query("uploadId", id);
    peer.ask(&ask.body(body))
}

fn complete(peer: &mut Peer, id: &str, parts: &[(u32, &str)]) -> Reply {
    let list: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
    peer.ask(&Ask::on("POST", "bkt", "k").query("uploadId", id).body(body.as_bytes()))
}

fn etag(reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("ETag").unwrap().to_owned()
}

#[test]
fn parts_become_one_object_with_gaps_in_their_numbers() {
    let mut peer = Peer::start();
    let id = initiate(&mut peer, "k");
    let (first, last) = (vec![1; PART], vec![2; 7]);
    let one = etag(&part(&mut peer, &id, "3", &first));
    let two = etag(&part(&mut peer, &id, "9999", &last));
    let done = complete(&mut peer, &id, &[(3, &one), (9999, &two)]);
    let whole: Vec<u8> = first.iter().chain(&last).copied().collect();
    let crc = oss_protocol::crc64::crc64(&whole).to_string();
    assert_eq!(done.header("x-oss-hash-crc64ecma"), Some(crc.as_str()));
    let got = peer.get("k");
    assert_eq!(got.body, whole);
    assert_eq!(got.header("x-oss-object-type"), Some("Multipart"));
    assert_eq!(got.header("Content-MD5"), None);
    assert!(got.header("ETag").unwrap().ends_with("-2\""));
    assert_eq!(complete(&mut peer, &id, &[(3, &one)]).code(), "NoSuchUpload");
    assert_eq!(peer.changes(), ["initiate k", "part k", "part k", "complete k"]);
}

#[test]
fn complete_checks_order_etags_and_sizes() {
    let mut peer = Peer::start();
    let id = initiate(&mut peer, "k");
    let small = etag(&part(&mut peer, &id, "1", b"small"));
    let large = etag(&part(&mut peer, &id, "2", &[0; PART]));
    assert_eq!(complete(&mut peer, &id, &[(2, &large), (1, &small)]).code(), "InvalidPartOrder");
    assert_eq!(complete(&mut peer, &id, &[(2, "\"wrong\"")]).code(), "InvalidPart");
    assert_eq!(complete(&mut peer, &id, &[(3, &large)]).code(), "InvalidPart");
    assert_eq!(complete(&mut peer, &id, &[(1, &small), (2, &large)]).code(), "EntityTooSmall");
    assert_eq!(part(&mut peer, &id, "0", b"x").code(), "InvalidArgument");
    assert_eq!(part(&mut peer, &id, "10001", b"x").code(), "InvalidArgument");
    assert_eq!(complete(&mut peer, &id, &[(1, &small)]).status, 200);
}

#[test]
fn complete_all_takes_what_is_there() {
    let mut peer = Peer::start();
    let id = initiate(&mut peer, "k");
    part(&mut peer, &id, "1", &[1; PART]);
    part(&mut peer, &id, "2", b"old");
    part(&mut peer, &id, "2", b"new");
    let ask = Ask::on("POST", "bkt", "k").query("uploadId", &id).header("x-oss-complete-all", "yes");
    assert_eq!(peer.ask(&ask).status, 200);
    assert_eq!(peer.get("k").body[PART..], *b"new");
}

#[test]
fn an_abort_spares_the_part_that_is_still_arriving() {
    let mut peer = Peer::start();
    let id = initiate(&mut peer, "k");
    part(&mut peer, &id, "1", b"landed");
    let ask = Ask::on("PUT", "bkt", "k").query("partNumber", "2").query("uploadId", &id);
    let head = peer.head(&ask.header("Content-Length", "4").header("Expect", "100-continue"));
    peer.stream.write_all(&head).unwrap();
    peer.await_continue();
    peer.stream.write_all(b"la").unwrap();
    let flying = std::mem::replace(&mut peer.stream, {
        let address = peer.server.endpoint();
        std::net::TcpStream::connect(address.split_once("://").unwrap().1).unwrap()
    });
    let list = Ask::on("GET", "bkt", "k").query("uploadId", &id);
    let abort = Ask::on("DELETE", "bkt", "k").query("uploadId", &id);
    assert_eq!(peer.ask(&list).elements("PartNumber"), ["1"]);
    assert_eq!(peer.ask(&abort).status, 204);
    assert_eq!(peer.ask(&list).code(), "NoSuchUpload");
    assert_eq!(part(&mut peer, &id, "3", b"late").code(), "NoSuchUpload");
    let quiet = std::mem::replace(&mut peer.stream, flying);
    peer.stream.write_all(b"te").unwrap();
    assert_eq!(peer.reply("PUT").unwrap().status, 200);
    peer.stream = quiet;
    assert_eq!(peer.ask(&list).elements("PartNumber"), ["2"]);
    assert_eq!(peer.ask(&abort).status, 204);
    assert_eq!(peer.ask(&list).code(), "NoSuchUpload");
    assert_eq!(peer.ask(&abort).code(), "NoSuchUpload");
}

#[test]
fn a_part_may_be_copied_from_a_range() {
    let mut peer = Peer::start();
    peer.put("src", b"0123456789");
    let id = initiate(&mut peer, "k");
    let ask = Ask::on("PUT", "bkt", "k").query("partNumber", "1").query("uploadId", &id);
    let ask = ask.header("x-oss-copy-source", "/bkt/src").header("x-oss-copy-source-range", "bytes=2-4");
    let copied = peer.ask(&ask).element("ETag").unwrap().replace("&quot;", "\"");
    assert_eq!(complete(&mut peer, &id, &[(1, &copied)]).status, 200);
    assert_eq!(peer.get("k").body, b"234");
}
