//! Reading through every kind of trouble: each test names the row of the fault matrix it stands for.

mod core_support;

use std::io::Write;
use std::time::{Duration, Instant};

use core_support::{
    BUCKET, Memory, Scripted, Step, World, client_with, config, content, get, get_whole, ok, raw, uri, world,
    world_with,
};
use oss_client::cancel::Cancel;
use oss_client::client::Client;
use oss_client::config::Verify;
use oss_client::error::ErrorKind;
use oss_client::operations::GetObject;
use oss_emulator::Options;
use oss_protocol::sign::Credentials;
use serde_json::{Value, json};

#[expect(clippy::disallowed_methods, reason = "a test measures how long something took")]
fn now() -> Instant {
    Instant::now()
}

fn any_get() -> Value {
    json!({"op": "GetObject"})
}

#[test]
fn a_whole_object_arrives_and_is_checked() {
    let world = world();
    let bytes = content(110_000);
    world.put("dir/ü +%?#&.bin", &bytes);
    let (read, got) = get_whole(&world.client, "dir/ü +%?#&.bin").unwrap();
    assert_eq!(read, bytes);
    assert_eq!((got.size, got.received_bytes, got.attempts), (110_000, 110_000, 1));
    assert_eq!(got.object_crc64, Some(got.received_crc64));
    assert_eq!(world.stat("crc_checked"), 1);
    assert!(got.etag.is_some_and(|etag| etag.starts_with('"')));
    let request = &world.requests("GetObject")[0];
    assert_eq!(request["headers"]["range"], Value::Null, "a whole object is asked for without Range");
    assert_eq!(request["headers"]["x-oss-range-behavior"], "standard");
}

#[test]
fn a_range_arrives_pinned_and_its_connection_is_used_again() {
    let world = world();
    let bytes = content(1_000_000);
    world.put("k", &bytes);
    let uri = uri("k");
    let (first, got) = get(&world.client, &GetObject::part(&uri, 0..300_000)).unwrap();
    assert_eq!(first, bytes[..300_000]);
    let pinned = GetObject {
        etag: got.etag.as_deref(),
        size: Some(got.size),
        ..GetObject::part(&uri, 999_990..1_000_000)
    };
    assert_eq!(get(&world.client, &pinned).unwrap().0, bytes[999_990..]);
    assert_eq!((world.stat("connections_opened"), world.stat("connections_reused")), (1, 1));
    assert_eq!(world.stat("in_flight"), 0);
}

#[test]
fn a_first_range_is_cut_to_the_size() {
    let world = world();
    let bytes = content(5_000);
    world.put("k", &bytes);
    let uri = uri("k");
    let request = GetObject { first_range: true, ..GetObject::part(&uri, 0..1 << 20) };
    let (read, got) = get(&world.client, &request).unwrap();
    assert_eq!((read, got.size), (bytes, 5_000));
    assert_eq!(world.stat("crc_checked"), 1, "it was the whole object after all");
}

#[test]
fn a_first_range_of_an_empty_object_is_settled_by_head() {
    let world = world();
    world.put("k", b"");
    let uri = uri("k");
    let request = GetObject { first_range: true, ..GetObject::part(&uri, 0..1 << 20) };
    let (read, got) = get(&world.client, &request).unwrap();
    assert_eq!((read.len(), got.size), (0, 0));
    assert_eq!(world.requests("HeadObject").len(), 1);
    assert_eq!(get_whole(&world.client, "k").unwrap().0, b"");
}

#[test]
fn test_f08_a_reset_body_resumes_where_it_broke() {
    for tls in [false, true] {
        for at in [0, 1, 99_999, 100_000, 150_001, 199_999] {
            let world = world_with(Options { tls, ..Options::default() }, |_config| {});
            let bytes = content(200_000);
            world.put("k", &bytes);
            world.rule(any_get(), json!({"reset_after_bytes": at}), 1);
            let (read, got) = get_whole(&world.client, "k").unwrap();
            assert_eq!(read, bytes, "reset at {at}, tls {tls}");
            assert_eq!(got.attempts, 2, "{:?}", world.client.stats());
            assert_eq!(world.stat("crc_checked"), 1);
        }
    }
}

#[test]
fn a_resume_asks_for_the_rest_of_the_same_version() {
    let world = world();
    let bytes = content(200_000);
    world.put("k", &bytes);
    world.rule(any_get(), json!({"close_after_bytes": 150_000}), 1);
    let (read, got) = get_whole(&world.client, "k").unwrap();
    assert_eq!(read, bytes);
    let second = &world.requests("GetObject")[1];
    assert_eq!(second["headers"]["range"], "bytes=150000-199999");
    assert_eq!(second["headers"]["if-match"].as_str(), got.etag.as_deref());
    assert_eq!((world.stat("resumed"), world.stat("retries_broken")), (1, 1));
}

#[test]
fn test_f09_a_reset_for_ever_ends_at_the_deadline() {
    let world = world();
    world.put("k", &content(1000));
    world.rule(any_get(), json!({"reset_after_bytes": 0}), 1_000_000);
    let started = now();
    let error = get_whole(&world.client, "k").unwrap_err();
    let elapsed = started.elapsed().as_secs_f64();
    assert_eq!(error.kind, ErrorKind::ConnectionFailed);
    assert!((0.9..2.8).contains(&elapsed), "{elapsed}");
    assert!(error.attempts > 5 && error.attempts <= 45, "{error}");
    assert!(error.message.contains("deadline") && !error.causes.is_empty(), "{error}");
}

#[test]
fn test_f10_a_stalled_body_is_noticed_and_resumed() {
    for tls in [false, true] {
        let world = world_with(Options { tls, ..Options::default() }, |_config| {});
        let bytes = content(300_000);
        world.put("k", &bytes);
        world.rule(any_get(), json!({"stall_after_bytes": 100_000}), 1);
        let started = now();
        let (read, got) = get_whole(&world.client, "k").unwrap();
        assert_eq!((read, got.attempts), (bytes, 2));
        let elapsed = started.elapsed().as_secs_f64();
        assert!((0.09..1.0).contains(&elapsed), "{elapsed}");
        assert_eq!((world.stat("retries_timeout"), world.stat("resumed")), (1, 1));
    }
}

#[test]
fn test_f12_a_slow_but_steady_body_is_left_alone() {
    let world = world_with(Options::default(), |config| {
        // 1/100 scale: the floor of 1 KiB/s becomes 100 KiB/s, so 20 KiB/s becomes 2 MiB/s.
        config.limits.floor_bytes_per_second *= 100;
        config.limits.relative_floor_bytes_per_second *= 100;
    });
    let bytes = content(1 << 20);
    world.put("k", &bytes);
    world.rule(any_get(), json!({"rate_bytes_per_second": 1 << 20}), 10);
    let (read, got) = get_whole(&world.client, "k").unwrap();
    assert_eq!((read, got.attempts), (bytes, 1));
}

#[test]
fn test_f13_a_trickle_is_given_up() {
    let world = world();
    let bytes = content(64 << 10);
    world.put("k", &bytes);
    world.rule(any_get(), json!({"rate_bytes_per_second": 500}), 1);
    let (read, got) = get_whole(&world.client, "k").unwrap();
    assert_eq!((read, got.attempts), (bytes, 2));
    assert_eq!(world.stat("retries_timeout"), 1);
}

#[test]
fn test_f15_a_short_body_is_no_end_of_file() {
    let world = world();
    let bytes = content(50_000);
    world.put("k", &bytes);
    world.rule(any_get(), json!({"truncate_body": 20_000}), 1);
    assert_eq!(get_whole(&world.client, "k").unwrap().0, bytes);
    assert_eq!(world.requests("GetObject").len(), 2);
}

#[test]
fn test_f16_lengths_that_lie_are_protocol_errors() {
    let lies = [json!("missing"), json!("-5"), json!(["10", "11"]), json!("garbage")];
    for lie in lies {
        let world = world();
        world.put("k", &content(5_000));
        world.rule(any_get(), json!({"content_length": lie}), 100);
        let error = get_whole(&world.client, "k").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Protocol, "{lie}: {error}");
        assert_eq!(error.attempts, 4, "{lie}: {error}");
    }
}

#[test]
fn a_length_that_is_too_small_never_gives_a_byte_too_many() {
    let world = world();
    world.put("k", &content(5_000));
    let uri = uri("k");
    world.rule(any_get(), json!({"content_length": "4000"}), 100);
    let known = GetObject { size: Some(5_000), ..GetObject::whole(&uri) };
    let error = get(&world.client, &known).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ObjectChanged, "{error}");
    let error = get(&world.client, &GetObject::whole(&uri)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Integrity, "{error}");
}

#[test]
fn test_f18_a_flipped_bit_is_refetched_and_never_delivered() {
    let world = world();
    let bytes = content(110_000);
    world.put("k", &bytes);
    world.rule(any_get(), json!({"flip_bit": 123_456}), 2);
    let (read, got) = get_whole(&world.client, "k").unwrap();
    assert_eq!((read, got.attempts), (bytes, 3));
    assert_eq!((world.stat("crc_mismatched"), world.stat("retries_integrity")), (2, 2));
    world.rule(any_get(), json!({"flip_bit": 7}), 100);
    let error = get_whole(&world.client, "k").unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Integrity, 4), "{error}");
    assert_eq!(error.errno, 5);
}

#[test]
fn a_missing_checksum_is_counted_or_refused() {
    let drop = json!({"drop_headers": ["x-oss-hash-crc64ecma"]});
    let world = world();
    world.put("k", &content(10));
    world.rule(any_get(), drop.clone(), 100);
    assert!(get_whole(&world.client, "k").is_ok());
    assert_eq!(world.stat("crc_unchecked"), 1);
    let strict = world_with(Options::default(), |config| config.verify = Verify::Require);
    strict.put("k", &content(10));
    strict.rule(any_get(), drop, 100);
    assert_eq!(get_whole(&strict.client, "k").unwrap_err().kind, ErrorKind::Integrity);
}

#[test]
fn test_f20_a_stored_coding_is_delivered_as_it_is_and_an_added_one_refused() {
    let world = world();
    let bytes = content(3_000);
    world.put("k", &bytes);
    world.rule(any_get(), json!({"headers": {"Content-Encoding": "gzip"}}), 1);
    assert_eq!(get_whole(&world.client, "k").unwrap().0, bytes);
    world.rule(any_get(), json!({"headers": {"Content-Encoding": "gzip"}, "drop_headers": "ETag"}), 100);
    assert_eq!(get_whole(&world.client, "k").unwrap_err().kind, ErrorKind::Protocol);
}

#[test]
fn test_f21_an_unknown_authority_is_refused_at_once() {
    let world = world_with(Options { tls: true, ..Options::default() }, |config| {
        let other = Options { tls: true, ..Options::default() };
        let stranger = oss_emulator::EmulatorServer::start(other).unwrap();
        // The stranger's certificate file must outlive it.
        let copy = std::env::temp_dir().join(format!("oss-client-{}-stranger.pem", std::process::id()));
        std::fs::copy(stranger.ca_file().unwrap(), &copy).unwrap();
        config.ca_file = Some(copy);
    });
    world.put("k", b"x");
    let error = get_whole(&world.client, "k").unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::ConnectionFailed, 1), "{error}");
    assert!(error.message.contains("certificate"), "{error}");
}

#[test]
fn test_f38_a_replaced_object_is_an_error_or_read_anew() {
    let world = world();
    let bytes = content(200_000);
    world.put("k", &bytes);
    let rules = json!({"seed": 1, "rules": [
        {"match": any_get(), "action": {"close_after_bytes": 100_000}, "times": 1},
        {"match": any_get(), "action": {"replace_object": {"size": 1000}}, "times": 1},
    ]});
    world.emulator.set_rules(rules.clone()).unwrap();
    let (read, got) = get_whole(&world.client, "k").unwrap();
    assert_eq!(read, world.emulator.object(BUCKET, "k").unwrap());
    assert_eq!(got.size, 1000);
    world.put("k", &bytes);
    let uri = uri("k");
    let etag = get(&world.client, &GetObject::whole(&uri)).unwrap().1.etag;
    world.emulator.set_rules(rules).unwrap();
    let pinned = GetObject { etag: etag.as_deref(), ..GetObject::whole(&uri) };
    let error = get(&world.client, &pinned).unwrap_err();
    assert_eq!((&error.kind, error.errno), (&ErrorKind::ObjectChanged, 116), "{error}");
}

#[test]
fn test_f40_a_shrunk_object_is_a_changed_one() {
    let world = world();
    world.put("k", &content(100));
    let uri = uri("k");
    let request = GetObject { size: Some(2000), ..GetObject::part(&uri, 1000..2000) };
    let error = get(&world.client, &request).unwrap_err();
    assert_eq!(error.kind, ErrorKind::ObjectChanged, "{error}");
}

#[test]
fn test_f41_answers_to_another_range_are_refused() {
    let lies = [
        json!({"ignore_range": true}),
        json!({"content_range": "bytes 0-9/5000"}),
        json!({"content_range": "bytes 100-199/*"}),
        json!({"drop_headers": "Content-Range"}),
        json!({"drop_headers": "ETag"}),
    ];
    for lie in lies {
        let world = world();
        world.put("k", &content(5_000));
        let uri = uri("k");
        let etag = get(&world.client, &GetObject::whole(&uri)).unwrap().1.etag;
        world.rule(any_get(), lie.clone(), 100);
        let part = GetObject { etag: etag.as_deref(), size: Some(5_000), ..GetObject::part(&uri, 100..200) };
        let mut memory = Memory::default();
        let error = world.client.get_object(&part, &mut memory, &Cancel::new()).unwrap_err();
        assert_eq!((&error.kind, error.attempts), (&ErrorKind::Protocol, 4), "{lie}: {error}");
        assert!(memory.begun.is_empty(), "no byte was taken");
    }
}

#[test]
fn an_etag_that_differs_is_a_changed_object() {
    let world = world();
    world.put("k", &content(50));
    let uri = uri("k");
    let etag = get(&world.client, &GetObject::whole(&uri)).unwrap().1.etag;
    world.rule(any_get(), json!({"wrong_etag": true}), 100);
    let pinned = GetObject { etag: etag.as_deref(), ..GetObject::part(&uri, 1..20) };
    assert_eq!(get(&world.client, &pinned).unwrap_err().kind, ErrorKind::ObjectChanged);
}

#[test]
fn test_f43_an_archived_object_says_what_to_do() {
    let world = world();
    world.put("k", b"x");
    world.rule(any_get(), json!({"archive": true}), 1);
    let error = get_whole(&world.client, "k").unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::ObjectArchived, 1), "{error}");
    assert!(error.message.contains("RestoreObject"));
}

#[test]
fn test_f07_a_reset_inside_the_head_is_repeated() {
    for at in [0, 1, 12, 17, 40, 100, 250] {
        let world = world();
        let bytes = content(5_000);
        world.put("k", &bytes);
        world.rule(any_get(), json!({"reset_after_bytes": at, "count_from": "head"}), 1);
        let (read, got) = get_whole(&world.client, "k").unwrap();
        assert_eq!((read, got.attempts), (bytes, 2), "reset at byte {at} of the head");
    }
}

#[test]
fn test_f06_a_connection_closed_while_idle_is_replaced_silently() {
    let body = content(100);
    let server = Scripted::start(vec![vec![Step::Close(ok(&body))], vec![Step::Answer(ok(&body))]]);
    let client = server.client();
    get_whole(&client, "k").unwrap();
    let (read, got) = get_whole(&client, "k").unwrap();
    assert_eq!((read, got.attempts), (body, 2));
    assert_eq!(client.stats().get("retries_stale"), 1);
    assert_eq!(client.stats().get("retries_broken"), 0);
}

#[test]
fn test_f17_chunks_and_trailing_garbage_poison_the_connection() {
    let garbage = [ok(b"hello"), b"HTTP/1.1 200 OK\r\n".to_vec()].concat();
    let server = Scripted::start(vec![vec![Step::Answer(garbage)], vec![Step::Answer(ok(b"world"))]]);
    let client = server.client();
    assert_eq!(get_whole(&client, "k").unwrap().0, b"hello");
    let (read, got) = get_whole(&client, "k").unwrap();
    assert_eq!((read.as_slice(), got.attempts), (b"world".as_slice(), 1), "on a fresh connection");
    assert_eq!(client.stats().get("connections_opened"), 2);
}

/// The answer to a read of a range of five bytes, coded in `chunks`.
fn five_bytes_in(chunks: &str) -> Vec<u8> {
    let headers = "ETag: \"E\"\r\nContent-Range: bytes 0-4/5\r\nTransfer-Encoding: chunked\r\n";
    raw("206 Partial Content", headers, chunks.as_bytes())
}

#[test]
fn test_f17_a_body_cut_behind_its_last_byte_is_whole() {
    // After the last one nothing more comes, but the connection stays.
    let cuts = ["5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"].map(five_bytes_in).map(Step::Close);
    let stalls = [Step::Answer(five_bytes_in("5\r\nhello\r\n")), Step::Answer(Vec::new())];
    let connections = cuts.into_iter().map(|cut| vec![cut]).chain([Vec::from(stalls)]);
    let server = Scripted::start(connections.collect());
    let (client, uri) = (server.client(), uri("k"));
    for _ in 0..4 {
        let (read, got) = get(&client, &GetObject::part(&uri, 0..5)).unwrap();
        assert_eq!((read.as_slice(), got.attempts), (b"hello".as_slice(), 1));
    }
    assert_eq!((client.stats().get("connections_opened"), client.stats().get("connections_reused")), (4, 0));
}

#[test]
fn test_f17_one_chunk_too_many_is_a_protocol_error() {
    let step = || vec![Step::Close(five_bytes_in("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"))];
    let server = Scripted::start(vec![step(), step(), step(), step()]);
    let error = get(&server.client(), &GetObject::part(&uri("k"), 0..5)).unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Protocol, 4), "{error}");
}

#[test]
fn test_f51_heads_have_limits() {
    let huge = format!("X-A: {}\r\n", "a".repeat(100_000));
    let many: String = (0..300).map(|n| format!("X-{n}: 1\r\n")).collect();
    for headers in [huge, many, "bad name: 1\r\n".to_owned()] {
        let step = || vec![Step::Close(raw("200 OK", &headers, b""))];
        let server = Scripted::start(vec![step(), step(), step(), step()]);
        let error = get_whole(&server.client(), "k").unwrap_err();
        assert_eq!((&error.kind, error.attempts), (&ErrorKind::Protocol, 4), "{error}");
    }
}

#[test]
fn a_cancelled_read_ends_at_once_and_the_client_goes_on() {
    let world = world_with(Options::default(), |config| {
        config.timeouts = oss_client::config::Timeouts::default();
    });
    world.put("k", &content(300_000));
    world.rule(any_get(), json!({"stall_after_bytes": 100_000}), 1);
    let cancel = Cancel::new();
    let (client, other) = (world.client.clone(), cancel.clone());
    let reader = oss_client::sync::spawn("reader", move || {
        let mut memory = Memory::default();
        client.get_object(&GetObject::whole(&uri("k")), &mut memory, &other).map(drop)
    })
    .unwrap();
    while world.stat("bytes_received") < 100_000 {
        std::thread::yield_now();
    }
    let started = now();
    cancel.cancel();
    let error = reader.join().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    assert!(started.elapsed().as_millis() < 200);
    assert_eq!(get_whole(&world.client, "k").unwrap().0.len(), 300_000);
}

#[test]
fn a_read_given_up_before_it_begins_asks_for_nothing_and_takes_no_connection() {
    let world = world();
    world.put("k", b"x");
    get_whole(&world.client, "k").unwrap();
    let cancel = Cancel::new();
    cancel.cancel();
    let key = uri("k");
    let whole = GetObject::whole(&key);
    let error = world.client.get_object(&whole, &mut Memory::default(), &cancel).unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Cancelled, 0), "{error}");
    assert_eq!((world.stat("requests"), world.stat("connections_discarded")), (1, 0));
    get_whole(&world.client, "k").unwrap();
    assert_eq!((world.stat("connections_opened"), world.stat("connections_reused")), (1, 1));
}

#[test]
fn reads_cancelled_before_an_answer_cost_no_retry() {
    let server = Scripted::start(vec![vec![Step::Answer(Vec::new()), Step::Answer(Vec::new())]]);
    let (client, cancel) = (server.client(), Cancel::new());
    let (reader, handle) = (client.clone(), cancel.clone());
    let thread = std::thread::Builder::new()
        .spawn(move || {
            reader.get_object(&GetObject::whole(&uri("k")), &mut Memory::default(), &handle).unwrap_err()
        })
        .unwrap();
    while server.count() == 0 {
        std::thread::yield_now();
    }
    cancel.cancel();
    assert_eq!(thread.join().unwrap().kind, ErrorKind::Cancelled);
    assert_eq!(client.stats().get("retries_broken"), 0, "giving up is no fault of the endpoint");
}

#[test]
fn an_answer_that_trickles_meets_the_deadline() {
    let trickles = [
        ("HTTP/1.1 200 OK\r\nX-A: ", "a"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"),
    ];
    for (start, more) in trickles {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = config(&format!("http://{}", listener.local_addr().unwrap()));
        config.timeouts.deadline = Duration::from_millis(300);
        let server = std::thread::Builder::new()
            .spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut sent = stream.write_all(start.as_bytes());
                // Far more often than the tick of 10 ms, and for far longer than the deadline.
                for _ in 0..1000 {
                    std::thread::park_timeout(Duration::from_millis(3));
                    sent = sent.and_then(|()| stream.write_all(more.as_bytes()));
                    if sent.is_err() {
                        break;
                    }
                }
            })
            .unwrap();
        let client = client_with(&config, Credentials::new("id", "secret", None));
        let error = client.get_bucket_location(BUCKET, &Cancel::new()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::RequestTimeout, "{start:?}: {error}");
        server.join().unwrap();
    }
}

#[test]
fn test_f01_a_refused_connection_is_given_up_with_a_hint() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client: Client = core_support::client_of(address);
    let started = now();
    let error = get_whole(&client, "k").unwrap_err();
    assert_eq!((&error.kind, error.errno), (&ErrorKind::ConnectionFailed, 111), "{error}");
    assert!(error.message.contains("check endpoint and region"), "{error}");
    assert!(started.elapsed() < config("http://h").timeouts.deadline, "first contact is shorter");
}

#[test]
fn test_f03_a_name_that_does_not_exist_is_named_after_two_tries() {
    let mut config = config("http://no-such-host.invalid");
    config.addressing = oss_protocol::uri::Addressing::Path;
    let client = core_support::client_with(&config, oss_protocol::sign::Credentials::new("i", "s", None));
    let error = get_whole(&client, "k").unwrap_err();
    assert_eq!((&error.kind, error.errno), (&ErrorKind::ConnectionFailed, 113), "{error}");
    assert!(error.message.contains("no-such-host.invalid"), "{error}");
}

fn keyed(world: &World, count: usize) {
    for n in 0..count {
        world.put(&format!("k{n}"), format!("body of k{n}").as_bytes());
    }
}

#[test]
fn many_threads_share_the_pool_without_mixing_answers() {
    let world = world_with(Options::default(), |config| config.limits.max_concurrency = 4);
    keyed(&world, 16);
    world.emulator
        .set_rules(json!({"seed": 3, "rules": [{"match": {"op": "GetObject", "probability": 0.1}, "action": {"reset_after_bytes": 3}}]}))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = &world.client;
            scope.spawn(move || {
                for round in 0..50 {
                    let key = format!("k{}", (thread * 7 + round) % 16);
                    let (bytes, _) = get_whole(client, &key).unwrap();
                    assert_eq!(bytes, format!("body of {key}").as_bytes());
                }
            });
        }
    });
    assert_eq!(world.stat("in_flight"), 0);
}
