//! Everything that is not a read: writes, listings, refusals, credentials, clock, throttling.

mod core_support;

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use core_support::{
    BUCKET, Scripted, Step, client_by, client_with, config, content, get_whole, raw, uri, world, world_with,
};
use oss_client::cancel::Cancel;
use oss_client::credentials::{AnonymousProvider, CallbackProvider, Fetched};
use oss_client::error::ErrorKind;
use oss_client::list::ListOptions;
use oss_client::operations::{OnAmbiguous, PutOptions, UploadPart};
use oss_emulator::Options;
use oss_protocol::crc64::crc64;
use oss_protocol::sign::Credentials;
use serde_json::json;

#[expect(clippy::disallowed_methods, reason = "a test measures how long something took")]
fn now() -> Instant {
    Instant::now()
}

fn cancel() -> Cancel {
    Cancel::new()
}

#[test]
fn an_object_is_put_headed_copied_and_deleted() {
    let world = world();
    let bytes = content(70_000);
    let options = PutOptions {
        content_type: Some("image/png".to_owned()),
        metadata: vec![("epoch".to_owned(), "7".to_owned())],
        ..PutOptions::default()
    };
    let pieces: [&[u8]; 3] = [&bytes[..10], &bytes[10..60_000], &bytes[60_000..]];
    let written = world.client.put_object(&uri("a"), &pieces, &options, &cancel()).unwrap();
    assert_eq!(written.crc64, Some(crc64(&bytes)));
    assert_eq!(world.emulator.object(BUCKET, "a").unwrap(), bytes);
    let info = world.client.head_object(&uri("a"), &cancel()).unwrap();
    assert_eq!((info.size, info.content_type.as_deref()), (70_000, Some("image/png")));
    assert_eq!(info.metadata, [("epoch".to_owned(), "7".to_owned())]);
    assert_eq!(info.crc64, written.crc64);
    let copied = world.client.copy_object(&uri("a"), &uri("b c"), &PutOptions::default(), &cancel()).unwrap();
    assert!(copied.etag.is_some());
    assert_eq!(get_whole(&world.client, "b c").unwrap().0, bytes);
    world.client.delete_object(&uri("a"), None, &cancel()).unwrap();
    world.client.delete_object(&uri("a"), None, &cancel()).unwrap();
    let gone = world.client.head_object(&uri("a"), &cancel()).unwrap_err();
    assert!(gone.is_not_found() && gone.errno == 2, "{gone}");
    assert!(gone.to_string().contains("oss://bucket/a"));
}

#[test]
fn an_object_is_uploaded_in_parts() {
    let world = world();
    let (client, target) = (&world.client, uri("m"));
    let upload_id = client.initiate_multipart_upload(&target, &PutOptions::default(), &cancel()).unwrap();
    let bytes = content(450_000);
    let mut parts = Vec::new();
    for (index, body) in bytes.chunks(200_000).enumerate() {
        let part_number = u32::try_from(index + 1).unwrap();
        let part = UploadPart {
            uri: &target,
            upload_id: &upload_id,
            part_number,
            body: &[body],
            crc64: crc64(body),
        };
        parts.push(client.upload_part(&part, &cancel()).unwrap());
    }
    let listed = client.list_parts(&target, &upload_id, &cancel()).unwrap();
    assert_eq!(listed.iter().map(|part| part.size).collect::<Vec<_>>(), [200_000, 200_000, 50_000]);
    let uploads = client.list_multipart_uploads(&uri("m"), None, &cancel()).unwrap();
    assert_eq!(uploads.uploads[0].upload_id, upload_id);
    let options = PutOptions::default();
    let written = client.complete_multipart_upload(&target, &upload_id, &parts, &options, &cancel()).unwrap();
    assert_eq!(written.crc64, Some(crc64(&bytes)));
    assert_eq!(get_whole(client, "m").unwrap().0, bytes);
    client.abort_multipart_upload(&target, &upload_id, &cancel()).unwrap();
    assert!(client.list_parts(&target, &upload_id, &cancel()).unwrap_err().is_not_found());
}

#[test]
fn test_f19_a_part_damaged_on_the_way_is_sent_again() {
    let world = world();
    let (client, target) = (&world.client, uri("m"));
    let upload_id = client.initiate_multipart_upload(&target, &PutOptions::default(), &cancel()).unwrap();
    let body = content(120_000);
    let part = UploadPart {
        uri: &target,
        upload_id: &upload_id,
        part_number: 1,
        body: &[&body],
        crc64: crc64(&body),
    };
    world.rule(json!({"op": "UploadPart"}), json!({"flip_bit": "in"}), 2);
    assert_eq!(client.upload_part(&part, &cancel()).unwrap().attempts, 3);
    world.rule(json!({"op": "UploadPart"}), json!({"flip_bit": "in"}), 100);
    let error = client.upload_part(&part, &cancel()).unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Integrity, 4), "{error}");
}

#[test]
fn test_f11_an_upload_that_stalls_goes_on_over_a_new_connection() {
    let world = world();
    let body = content(24 << 20);
    world.rule(json!({"op": "PutObject"}), json!({"stop_reading": 1000}), 1);
    let written = world.client.put_object(&uri("k"), &[&body], &PutOptions::default(), &cancel()).unwrap();
    assert_eq!(written.attempts, 2);
    assert_eq!(world.stat("retries_timeout"), 1);
    assert_eq!(world.emulator.object(BUCKET, "k").unwrap(), body);
}

#[test]
fn an_ambiguous_put_is_repeated_or_returned_as_asked() {
    let world = world();
    let lost = json!({"commit_then_reset": true});
    world.rule(json!({"op": "PutObject"}), lost.clone(), 1);
    let written = world.client.put_object(&uri("k"), &[b"one"], &PutOptions::default(), &cancel()).unwrap();
    assert_eq!(written.attempts, 2);
    let settled = PutOptions { on_ambiguous: OnAmbiguous::Return, ..PutOptions::default() };
    world.rule(json!({"op": "PutObject"}), lost.clone(), 1);
    let error = world.client.put_object(&uri("k"), &[b"two"], &settled, &cancel()).unwrap_err();
    assert!(error.ambiguous && error.request_sent && !error.own_repeat && error.attempts == 1, "{error:?}");
    assert_eq!(world.emulator.object(BUCKET, "k").unwrap(), b"two");
    let absent = PutOptions { if_absent: true, ..PutOptions::default() };
    world.rule(json!({"op": "PutObject"}), lost, 1);
    let error = world.client.put_object(&uri("new"), &[b"x"], &absent, &cancel()).unwrap_err();
    assert!(error.kind == ErrorKind::AlreadyExists && error.own_repeat && error.errno == 17, "{error:?}");
    let error = world.client.put_object(&uri("new"), &[b"x"], &absent, &cancel()).unwrap_err();
    assert!(error.kind == ErrorKind::AlreadyExists && !error.own_repeat && !error.ambiguous, "{error:?}");
}

#[test]
fn a_5xx_to_a_settled_put_is_ambiguous_and_a_throttle_is_not() {
    let world = world();
    let settled = PutOptions { on_ambiguous: OnAmbiguous::Return, ..PutOptions::default() };
    world.rule(json!({"op": "PutObject"}), json!({"commit_then_status": 500}), 1);
    let error = world.client.put_object(&uri("k"), &[b"x"], &settled, &cancel()).unwrap_err();
    assert!(error.ambiguous && error.status == Some(500), "{error:?}");
    world.rule(
        json!({"op": "PutObject"}),
        json!({"status": 503, "code": "UploadTrafficRateLimitExceeded"}),
        2,
    );
    assert_eq!(world.client.put_object(&uri("k"), &[b"x"], &settled, &cancel()).unwrap().attempts, 3);
    world.rule(json!({"op": "PutObject"}), json!({"status": 403, "code": "AccessDenied"}), 1);
    let error = world.client.put_object(&uri("k"), &[b"x"], &settled, &cancel()).unwrap_err();
    assert!(!error.ambiguous && error.kind == ErrorKind::PermissionDenied, "{error:?}");
}

#[test]
fn listings_come_in_pages_and_byte_order() {
    let world = world();
    for n in 0..25 {
        world.put(&format!("p/{n:02}"), &content(n + 1));
    }
    world.put("q", b"x");
    let options = ListOptions { page_size: 10, ..ListOptions::default() };
    let pages: Vec<_> =
        world.client.list_objects(&uri("p/"), options, &cancel()).map(Result::unwrap).collect();
    assert_eq!(pages.iter().map(|page| page.objects.len()).collect::<Vec<_>>(), [10, 10, 5]);
    let keys: Vec<_> = pages.iter().flat_map(|page| &page.objects).map(|object| object.key.clone()).collect();
    assert_eq!(keys, (0..25).map(|n| format!("p/{n:02}")).collect::<Vec<_>>());
    let range = ListOptions {
        start_after: Some("p/03".to_owned()),
        end_before: Some("p/06".to_owned()),
        ..ListOptions::default()
    };
    let part: Vec<_> = world
        .client
        .list_objects(&uri("p/"), range, &cancel())
        .flat_map(|page| page.unwrap().objects)
        .collect();
    assert_eq!(part.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["p/04", "p/05"]);
    assert_eq!(part[0].size, 5);
}

#[test]
fn test_f44_a_listing_that_repeats_itself_is_an_error() {
    for fault in ["same", "first", "missing", "not_rising"] {
        let world = world();
        for n in 0..30 {
            world.put(&format!("p/{n:02}"), b"x");
        }
        world.rule(json!({"op": "ListObjectsV2"}), json!({"repeat_token": fault}), 100);
        let options = ListOptions { page_size: 5, ..ListOptions::default() };
        let pages: Vec<_> = world.client.list_objects(&uri("p/"), options, &cancel()).collect();
        let error = pages.last().unwrap().as_ref().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Listing, "{fault}: {error}");
        assert!(pages.len() <= 5, "{fault}: {} pages", pages.len());
    }
}

#[test]
fn test_f48_a_page_that_is_no_listing_is_never_an_empty_one() {
    let bodies = [
        "",
        "<html>login</html>",
        "<ListBucketResult><Contents><Key>a",
        "<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
    ];
    for body in bodies {
        let world = world();
        world.rule(json!({"op": "ListObjectsV2"}), json!({"status": 200, "body": body}), 100);
        let mut pages = world.client.list_objects(&uri(""), ListOptions::default(), &cancel());
        let error = pages.next().unwrap().unwrap_err();
        assert_eq!((&error.kind, error.attempts), (&ErrorKind::Protocol, 4), "{body}: {error}");
        assert!(pages.next().is_none());
    }
}

#[test]
fn test_f26_transient_refusals_are_repeated_whatever_their_body() {
    for status in [408, 429, 500, 502, 503, 504] {
        let world = world();
        world.put("k", b"x");
        let html = json!({"status": status, "body": "<html>Bad gateway</html>", "drop_headers": ["Date", "x-oss-request-id"]});
        world.rule(json!({"op": "GetObject"}), html, 3);
        assert_eq!(get_whole(&world.client, "k").unwrap().1.attempts, 4, "{status}");
    }
}

#[test]
fn test_f27_a_refusal_that_stays_shows_status_and_excerpt() {
    let world = world();
    world.put("k", b"x");
    world.rule(
        json!({"op": "GetObject"}),
        json!({"status": 502, "body": "<html>nginx says no</html>"}),
        10_000,
    );
    let error = get_whole(&world.client, "k").unwrap_err();
    assert_eq!((&error.kind, error.status, error.errno), (&ErrorKind::Service, Some(502), 5), "{error}");
    assert!(error.message.contains("nginx says no"), "{error}");
    assert!(error.attempts <= 40, "{error}");
}

#[test]
fn test_f50_an_endless_error_body_is_cut() {
    let head = "Content-Length: 100000000\r\n";
    let step = || vec![Step::Close(raw("403 Forbidden", head, &vec![b'x'; 300_000]))];
    let server = Scripted::start(vec![step()]);
    let error = get_whole(&server.client(), "k").unwrap_err();
    assert_eq!((&error.kind, error.status), (&ErrorKind::PermissionDenied, Some(403)));
    assert!(error.to_string().len() < 1500);
}

#[test]
fn test_f24_redirects_are_never_followed() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    target.set_nonblocking(true).unwrap();
    let address = target.local_addr().unwrap();
    for status in [301, 302, 307, 308] {
        let world = world();
        world.put("k", b"x");
        let redirect =
            json!({"redirect": {"status": status, "location": format!("http://user:pw@{address}/k")}});
        world.rule(json!({"op": "GetObject"}), redirect, 100);
        let error = get_whole(&world.client, "k").unwrap_err();
        assert_eq!((&error.kind, error.attempts), (&ErrorKind::Protocol, 1), "{error}");
        assert!(error.message.contains(&address.to_string()) && !error.message.contains("pw"), "{error}");
    }
    assert!(target.accept().is_err(), "nobody came to the target");
}

#[test]
fn test_f28_a_pause_that_the_service_asks_for_holds_for_the_process() {
    let cases = [
        json!({"status": 429, "code": "QpsLimitExceeded", "headers": {"x-oss-qos-delay-time": "120"}}),
        json!({"status": 503, "headers": {"x-oss-qos-delay-time": "120"}}),
    ];
    for refusal in cases {
        let world = world();
        world.put("k", b"x");
        world.rule(json!({"op": "GetObject"}), refusal, 1);
        let client = world.client.clone();
        let first = oss_client::sync::spawn("first", move || get_whole(&client, "k").map(drop)).unwrap();
        while world.client.pressure().pacings == 0 {
            std::thread::yield_now();
        }
        while world.client.pressure().pause_seconds == 0.0 && world.requests("GetObject").len() < 2 {
            std::thread::yield_now();
        }
        get_whole(&world.client, "k").unwrap();
        first.join().unwrap().unwrap();
        let started: Vec<_> =
            world.requests("GetObject").iter().map(|entry| entry["started_ms"].as_u64().unwrap()).collect();
        assert!(started[1..].iter().all(|at| at - started[0] >= 115), "{started:?}");
        assert_eq!(world.stat("throttled"), 1);
    }
}

#[test]
fn a_throttle_that_stays_ends_as_one() {
    let world = world();
    world.put("k", b"x");
    world.rule(json!({"op": "GetObject"}), json!({"status": 503, "code": "TotalQpsLimitExceeded"}), 100_000);
    let error = get_whole(&world.client, "k").unwrap_err();
    assert_eq!((&error.kind, error.errno), (&ErrorKind::Throttled, 5), "{error}");
    assert!(!world.client.pressure().slow_mode, "throttles cost no tokens");
}

#[test]
fn test_f31_a_wrong_secret_is_refused_once_with_hints() {
    let world = world();
    let wrong = Credentials::new(world.emulator.credentials().access_key_id, "canary-secret", None);
    let client = client_with(&config(&world.emulator.endpoint()), wrong);
    let error = client.head_object(&uri("k"), &cancel()).unwrap_err();
    assert_eq!((&error.kind, error.attempts, error.errno), (&ErrorKind::PermissionDenied, 1, 1), "{error}");
    assert!(error.message.contains("region cn-local") && error.message.contains("x-oss-*"), "{error}");
    assert!(!format!("{error:?} {error}").contains("canary"));
}

#[test]
fn a_wrong_region_is_hinted_at() {
    let world = world();
    let mut config = config(&world.emulator.endpoint());
    config.region = "cn-elsewhere".to_owned();
    let client = client_with(&config, world.emulator.credentials());
    let error = get_whole(&client, "k").unwrap_err();
    assert!(matches!(error.kind, ErrorKind::PermissionDenied), "{error}");
    assert!(error.attempts == 1 && error.message.contains("region"), "{error}");
}

#[test]
fn test_f32_an_expired_token_makes_one_refresh() {
    let world = world();
    for n in 0..8 {
        world.put(&format!("k{n}"), b"x");
    }
    let fetches = Arc::new(AtomicUsize::new(0));
    let (good, counter) = (world.emulator.credentials(), Arc::clone(&fetches));
    let provider = CallbackProvider::new("test.Rotating", move || {
        let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
        let credentials = if first { Credentials::new("stale-id", "stale", None) } else { good.clone() };
        Ok(Fetched { credentials: Some(credentials), expires_at: None })
    });
    let client = client_by(&config(&world.emulator.endpoint()), Arc::new(provider));
    std::thread::scope(|scope| {
        for n in 0..8 {
            let client = &client;
            scope.spawn(move || get_whole(client, &format!("k{n}")).unwrap());
        }
    });
    assert_eq!(fetches.load(Ordering::SeqCst), 2, "one first fetch and one refresh");
}

#[test]
fn a_key_that_stays_refused_is_a_credentials_error() {
    let world = world();
    let client = client_with(&config(&world.emulator.endpoint()), Credentials::new("unknown-id", "x", None));
    let error = client.head_object(&uri("k"), &cancel()).unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Credentials, 1), "{error}");
    assert!(error.message.contains("the given credentials"), "{error}");
}

#[test]
fn test_f35_a_wrong_clock_is_learned_once_and_kept() {
    for seconds in [-1200, 86_400] {
        let world = world();
        world.put("k", b"x");
        world.emulator.set_clock_offset(seconds);
        assert_eq!(get_whole(&world.client, "k").unwrap().1.attempts, 2);
        assert_eq!(get_whole(&world.client, "k").unwrap().1.attempts, 1, "the offset is kept");
        assert_eq!(world.stat("retries_clock"), 1);
    }
}

#[test]
fn test_f35_all_who_signed_by_a_wrong_clock_ask_again_by_the_right_one() {
    const THREADS: usize = 16;
    const KEYS: usize = 32;
    let world = world();
    (0..KEYS).for_each(|number| world.put(&format!("k{number}"), b"x"));
    world.emulator.set_clock_offset(3600);
    // Everybody has signed before the first of them learns.
    world.rule(json!({"op": "GetObject"}), json!({"delay_ms": 100}), 1000);
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (client, start) = (&world.client, &start);
            scope.spawn(move || {
                start.wait();
                for number in (thread..KEYS).step_by(THREADS) {
                    get_whole(client, &format!("k{number}")).unwrap();
                }
            });
        }
    });
    let repeated = world.stat("retries_clock");
    assert!((1..=THREADS as u64).contains(&repeated), "{repeated}");
}

#[test]
fn test_f36_missing_things_are_told_apart() {
    let world = world();
    let error = get_whole(&world.client, "nothing").unwrap_err();
    assert_eq!((&error.kind, error.attempts, error.code.as_str()), (&ErrorKind::NotFound, 1, "NoSuchKey"));
    let other = oss_protocol::uri::ObjectUri::parse("oss://no-such-bucket/k").unwrap();
    let get = oss_client::operations::GetObject::whole(&other);
    let error = core_support::get(&world.client, &get).unwrap_err();
    assert_eq!((&error.kind, error.code.as_str()), (&ErrorKind::NotFound, "NoSuchBucket"));
    assert!(error.message.contains("bucket") && !error.request_id.is_empty());
}

#[test]
fn anonymous_requests_carry_no_signature() {
    let server = Scripted::start(vec![vec![Step::Answer(core_support::ok(b"public"))]]);
    let client = client_by(&config(&format!("http://{}", server.address)), Arc::new(AnonymousProvider));
    assert_eq!(get_whole(&client, "k").unwrap().0, b"public");
    let head = server.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(!head.contains("authorization") && !head.contains("x-oss-date"), "{head}");
}

#[test]
fn control_characters_in_metadata_never_reach_the_wire() {
    let world = world();
    let evil =
        PutOptions { metadata: vec![("a".to_owned(), "1\r\nX-B: 2".to_owned())], ..PutOptions::default() };
    let error = world.client.put_object(&uri("k"), &[b"x"], &evil, &cancel()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(world.requests("PutObject").is_empty());
}

#[test]
fn test_f25_busy_connections_are_waited_for_until_the_deadline() {
    let world = world_with(Options::default(), |config| {
        config.limits.max_concurrency = 1;
        config.timeouts.deadline = Duration::from_secs(1);
    });
    // A body that moves keeps its connection for three seconds, deadline or not.
    world.put("k", &vec![b'x'; 1_200_000]);
    world.rule(json!({"op": "GetObject"}), json!({"rate_bytes_per_second": 400_000, "direction": "out"}), 1);
    let client = world.client.clone();
    let holder = oss_client::sync::spawn("holder", move || get_whole(&client, "k").map(drop)).unwrap();
    while world.stat("bytes_received") == 0 {
        std::thread::yield_now();
    }
    let error = get_whole(&world.client, "k").unwrap_err();
    assert!(error.message.contains("all 1 connections were busy"), "{error}");
    let _ = holder.join().unwrap();
}

#[test]
fn the_region_of_a_bucket_is_told() {
    let world = world();
    assert_eq!(world.client.get_bucket_location(BUCKET, &cancel()).unwrap(), "cn-local");
}

#[test]
fn a_long_wait_says_so_in_the_log() {
    let world =
        world_with(Options::default(), |config| config.timeouts.tell_after = Duration::from_millis(300));
    world.put("told", b"x");
    world.rule(json!({"key": "told"}), json!({"status": 500}), 100_000);
    get_whole(&world.client, "told").unwrap_err();
    let told: Vec<_> =
        oss_client::logs::drain().into_iter().filter(|record| record.text.contains("bucket/told")).collect();
    assert!(!told.is_empty() && told.len() < 10, "{told:?}");
    assert!(told[0].text.contains("no progress") && told[0].text.contains("until the deadline"), "{told:?}");
}

#[test]
fn test_f83_keys_that_rotate_under_load_fail_no_read() {
    let world = world();
    for n in 0..8 {
        world.put(&format!("k{n}"), b"x");
    }
    let path = std::env::temp_dir().join(format!("oss-client-{}-rotating", std::process::id()));
    let write = |id: &str, secret: &str| {
        let next = path.with_extension("next");
        std::fs::write(&next, json!({"AccessKeyId": id, "AccessKeySecret": secret}).to_string()).unwrap();
        std::fs::rename(&next, &path).unwrap();
    };
    write("stale", "stale");
    let provider = oss_client::credentials::JsonFileProvider::new(&path);
    let client = client_by(&config(&world.emulator.endpoint()), Arc::new(provider));
    let error = get_whole(&client, "k0").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.message.contains("rotating") && error.message.contains("credentials file"), "{error}");
    let good = world.emulator.credentials();
    write(&good.access_key_id, good.access_key_secret.expose());
    // The file is looked at once a second; a refusal of its key was already answered by a forced look.
    let deadline = now() + Duration::from_secs(5);
    while get_whole(&client, "k1").is_err() {
        assert!(now() < deadline, "the rewritten file is never read");
        std::thread::yield_now();
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(get_whole(&client, "k2").unwrap().0, b"x", "a vanished file keeps the last good value");
}

#[test]
fn a_source_of_ever_new_bad_keys_makes_no_loop() {
    let world = world();
    let fetches = AtomicUsize::new(0);
    let provider = CallbackProvider::new("test.Endless", move || {
        let id = format!("bad-{}", fetches.fetch_add(1, Ordering::SeqCst));
        Ok(Fetched { credentials: Some(Credentials::new(id, "x", None)), expires_at: None })
    });
    let client = client_by(&config(&world.emulator.endpoint()), Arc::new(provider));
    let error = get_whole(&client, "k").unwrap_err();
    assert_eq!((&error.kind, error.attempts), (&ErrorKind::Credentials, 4), "{error}");
    assert!(error.message.contains("test.Endless"), "{error}");
}
