//! Uploads that go well, are given up, or are interrupted.

mod write_support;

use std::time::Duration;

use oss_client::cancel::Cancel;
use oss_client::clock::{Clock, SystemClock};
use oss_client::config::Timeouts;
use oss_client::error::{Error, ErrorKind, UploadState};
use oss_client::write::{Stage, UploadOptions};
use oss_protocol::crc64::crc64;
use proptest::prelude::*;
use serde_json::json;
use write_support::{PART, Scene, bytes, uri};

fn calm() -> Result<(), Error> {
    Ok(())
}

/// A watch that asks to stop at its `looks`-th look.
fn impatient(looks: u32) -> impl FnMut() -> Result<(), Error> {
    let mut seen = 0;
    move || {
        seen += 1;
        if seen < looks {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::Internal, "signal", "KeyboardInterrupt"))
        }
    }
}

#[test]
fn a_small_object_is_one_put() {
    let scene = Scene::new();
    for size in [0, 1, PART] {
        let data = bytes(size, 1);
        let upload = scene.save(&format!("small/{size}"), &data, UploadOptions::default()).expect("saved");
        assert_eq!(upload.stage(), Stage::Published);
        assert_eq!(upload.crc64(), oss_protocol::crc64::crc64(&data));
        assert_eq!(scene.object(&format!("small/{size}")), Some(data));
    }
    assert_eq!((scene.count("PutObject"), scene.count("InitiateMultipartUpload")), (3, 0));
    assert_eq!(scene.client.stats().get("crc_checked"), 3);
    assert_eq!(scene.client.stats().get("uploads_abandoned"), 0);
}

#[test]
fn an_upload_nothing_was_written_to_is_an_empty_object() {
    let scene = Scene::new();
    scene.upload("empty").publish(&mut calm).expect("published");
    assert_eq!(scene.object("empty"), Some(Vec::new()));
}

#[test]
fn a_large_object_is_parts_and_one_complete() {
    let scene = Scene::new();
    for (n, size) in [PART + 1, 2 * PART, 7 * PART + 12_345].into_iter().enumerate() {
        let data = bytes(size, 2);
        let upload = scene.save("large", &data, UploadOptions::default()).expect("saved");
        assert_eq!(upload.accepted_bytes(), size as u64);
        assert_eq!(upload.crc64(), oss_protocol::crc64::crc64(&data));
        assert_eq!(scene.object("large"), Some(data));
        assert_eq!(scene.count("CompleteMultipartUpload"), n + 1);
    }
    assert_eq!(scene.count("UploadPart"), 2 + 2 + 8);
    assert_eq!(scene.count("PutObject") + scene.count("DeleteObject") + scene.count("CopyObject"), 0);
    assert_eq!(scene.open_uploads(), 0);
}

#[test]
fn a_write_larger_than_the_window_is_sent_from_the_callers_memory() {
    let scene = Scene::with(|config| config.limits.upload_buffer_bytes = Some(4 * PART as u64));
    let data = bytes(23 * PART + 777, 3);
    let mut upload = scene.upload("huge");
    upload.write(&data[..10], &mut calm).expect("taken");
    upload.write(&data[10..], &mut calm).expect("taken");
    upload.publish(&mut calm).expect("published");
    assert_eq!(scene.object("huge"), Some(data));
    assert_eq!(scene.count("UploadPart"), 24);
}

#[test]
fn nothing_is_visible_before_publish() {
    let scene = Scene::new();
    scene.server.put_object("bucket", "key", b"old").expect("an old object");
    let mut upload = scene.upload("key");
    upload.write(&bytes(3 * PART, 4), &mut calm).expect("taken");
    upload.seal().expect("sealed");
    upload.seal().expect("sealed twice");
    assert_eq!(upload.stage(), Stage::Sealed);
    assert_eq!(scene.object("key").as_deref(), Some(&b"old"[..]));
    let refused = upload.write(b"more", &mut calm).expect_err("sealed");
    assert_eq!(refused.kind, ErrorKind::Closed);
    upload.publish(&mut calm).expect("published");
    assert_eq!(scene.object("key"), Some(bytes(3 * PART, 4)));
}

#[test]
fn publishing_twice_sends_once() {
    let scene = Scene::new();
    let mut upload = scene.save("key", b"data", UploadOptions::default()).expect("saved");
    upload.publish(&mut calm).expect("a second time");
    assert_eq!(scene.count("PutObject"), 1);
    assert_eq!(upload.abort(&mut calm).expect_err("too late").kind, ErrorKind::Closed);
    assert_eq!(scene.object("key").as_deref(), Some(&b"data"[..]));
}

#[test]
fn abort_leaves_no_object_and_no_parts() {
    let scene = Scene::new();
    scene.server.put_object("bucket", "key", b"old").expect("an old object");
    let mut upload = scene.upload("key");
    upload.write(&bytes(5 * PART, 5), &mut calm).expect("taken");
    assert_eq!(upload.stage(), Stage::Multipart);
    upload.abort(&mut calm).expect("aborted");
    upload.abort(&mut calm).expect("a second abort does nothing");
    assert_eq!(scene.object("key").as_deref(), Some(&b"old"[..]));
    assert_eq!(scene.open_uploads(), 0);
    assert_eq!(upload.publish(&mut calm).expect_err("aborted").kind, ErrorKind::Closed);
    assert_eq!(scene.count("CompleteMultipartUpload"), 0);
}

#[test]
fn test_f62_a_dropped_upload_publishes_nothing() {
    let scene = Scene::new();
    let mut small = scene.upload("small");
    small.write(b"data", &mut calm).expect("taken");
    small.seal().expect("sealed");
    drop(small);
    let mut large = scene.upload("large");
    large.write(&bytes(5 * PART, 6), &mut calm).expect("taken");
    drop(large);
    assert_eq!((scene.object("small"), scene.object("large")), (None, None));
    assert_eq!(scene.client.stats().get("uploads_abandoned"), 2);
    assert_eq!(scene.open_uploads(), 0);
    assert_eq!((scene.count("PutObject"), scene.count("CompleteMultipartUpload")), (0, 0));
}

#[test]
fn test_f61_an_interrupted_write_can_only_be_aborted() {
    let scene = Scene::with(|config| config.limits.upload_buffer_bytes = Some(4 * PART as u64));
    scene.rules(json!([{"match": {"op": "UploadPart"}, "action": {"stop_reading": true}}]));
    let mut upload = scene.upload("key");
    let mut watch = impatient(6);
    let started = SystemClock.now();
    let error = (0..100).find_map(|_| upload.write(&bytes(PART, 7), &mut watch).err()).expect("interrupted");
    assert_eq!((error.operation, error.kind.clone()), ("signal", ErrorKind::Internal));
    let took = SystemClock.now() - started;
    assert!(took < Duration::from_secs(5), "{took:?}");
    let refused = upload.publish(&mut calm).expect_err("refused");
    assert!(!matches!(refused.kind, ErrorKind::Upload { state: UploadState::Unknown, .. }), "{refused}");
    scene.rules(json!([]));
    upload.abort(&mut calm).expect("aborted");
    assert_eq!((scene.object("key"), scene.open_uploads()), (None, 0));
}

#[test]
fn an_interrupt_while_publishing_leaves_the_fate_unknown() {
    let scene = Scene::new();
    scene.rules(json!([{"match": {"op": "PutObject"}, "action": {"delay_ms": 60_000}}]));
    let mut upload = scene.upload("key");
    upload.write(b"data", &mut calm).expect("taken");
    let error = upload.publish(&mut impatient(4)).expect_err("interrupted");
    assert_eq!(error.operation, "signal");
    assert_eq!(upload.stage(), Stage::Unknown);
    let again = upload.publish(&mut calm).expect_err("not twice");
    assert!(matches!(again.kind, ErrorKind::Upload { state: UploadState::Unknown, .. }), "{again}");
    assert_eq!(scene.count("PutObject"), 1);
}

#[test]
fn test_f71_a_full_window_blocks() {
    let window = 5 * PART;
    let scene = Scene::with(|config| config.limits.upload_buffer_bytes = Some(window as u64));
    scene.rules(json!([{"match": {"op": "UploadPart"}, "action": {"stop_reading": true}}]));
    let mut upload = scene.upload("key");
    let piece = bytes(10_000, 8);
    let mut watch = impatient(8);
    let error = (0..1000).find_map(|_| upload.write(&piece, &mut watch).err()).expect("blocked");
    assert_eq!(error.operation, "signal");
    let taken = upload.accepted_bytes();
    assert!(taken <= window as u64, "{taken} bytes taken into a window of {window}");
    assert!(taken > window as u64 - 10_000, "{taken} bytes taken only");
}

#[test]
fn buffers_are_used_again() {
    let scene = Scene::with(|config| {
        config.limits.upload_buffer_bytes = Some(2 * PART as u64);
        config.limits.upload_max_concurrency = Some(1);
    });
    let data = bytes(20 * PART, 9);
    scene.save("key", &data, UploadOptions::default()).expect("saved");
    assert_eq!(scene.object("key"), Some(data));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn writes_of_any_sizes_are_one_object_byte_by_byte(
        // Of nothing up to three windows: copied, sent from the caller's memory, and both in any order.
        sizes in proptest::collection::vec(
            prop_oneof![0..100_usize, 0..2 * PART, 0..12 * PART, Just(PART), Just(4 * PART)], 0..5,
        ),
        seed in any::<u64>(),
    ) {
        let scene = Scene::with(|config| config.limits.upload_buffer_bytes = Some(4 * PART as u64));
        let data = bytes(sizes.iter().sum(), seed);
        let mut upload = scene.upload("key");
        let mut rest = &data[..];
        for size in sizes {
            let (piece, behind) = rest.split_at(size);
            upload.write(piece, &mut calm).expect("taken");
            rest = behind;
        }
        upload.publish(&mut calm).expect("published");
        prop_assert_eq!((upload.crc64(), upload.accepted_bytes()), (crc64(&data), data.len() as u64));
        prop_assert!(scene.object("key") == Some(data));
    }
}

#[test]
fn test_f13_a_part_that_moves_outlives_the_deadline_of_one_that_does_not() {
    // It takes two and a half seconds. The kernels between hold some megabytes of it, so it must be large.
    let part_bytes = 16 << 20;
    let scene = Scene::with(|config| {
        let (deadline, tick) = (Duration::from_millis(1500), Duration::from_millis(20));
        config.timeouts = Timeouts { deadline, tick, ..Timeouts::default() };
        config.limits.part_size_bytes = part_bytes as u64;
    });
    scene.rules(json!([
        {"match": {"op": "UploadPart"}, "action": {"rate_bytes_per_second": part_bytes * 2 / 5, "direction": "in"}},
    ]));
    let data = vec![7; part_bytes + 1];
    let mut upload = scene.upload("key");
    upload.write(&data, &mut calm).expect("taken");
    upload.publish(&mut calm).expect("published");
    assert!(scene.object("key") == Some(data));
    assert_eq!(scene.count("UploadPart"), 2);
}

#[test]
fn more_than_ten_thousand_parts_is_refused_before_a_byte_is_taken() {
    let scene = Scene::with(|config| config.limits.upload_buffer_bytes = Some(2 * PART as u64));
    let mut upload = scene.upload("key");
    let data = vec![0; 10_000 * PART + 1];
    let error = upload.write(&data, &mut calm).expect_err("too large");
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("size_hint_bytes"), "{error}");
    assert_eq!(upload.accepted_bytes(), 0);
}

#[test]
fn options_reach_the_object() {
    let scene = Scene::new();
    let options = UploadOptions {
        size_hint_bytes: Some(1 << 30),
        content_type: Some("image/jpeg".to_owned()),
        storage_class: Some("IA".to_owned()),
        metadata: vec![("step".to_owned(), "42".to_owned())],
        ..UploadOptions::default()
    };
    for (key, size) in [("small", 10), ("large", 3 * PART)] {
        scene.save(key, &bytes(size, 10), options.clone()).expect("saved");
        let info = scene.client.head_object(&uri(key), &Cancel::new()).expect("an object");
        assert_eq!(info.content_type.as_deref(), Some("image/jpeg"), "{key}");
        assert_eq!(info.storage_class.as_deref(), Some("IA"), "{key}");
        assert_eq!(info.metadata, [("step".to_owned(), "42".to_owned())], "{key}");
    }
}

#[test]
fn test_f68_of_many_careful_writers_one_wins() {
    let scene = Scene::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|n| {
                let scene = &scene;
                let options = UploadOptions { if_absent: true, ..UploadOptions::default() };
                let size = if n % 2 == 0 { 1000 } else { 2 * PART + 1 };
                scope.spawn(move || scene.save("key", &bytes(size, n), options).map_err(|failed| failed.1))
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("no panic")).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 15));
    for error in lost.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}");
    }
    assert_eq!(scene.open_uploads(), 0);
    let kept = scene.object("key").expect("an object");
    let candidates = (0..16).map(|n| bytes(if n % 2 == 0 { 1000 } else { 2 * PART + 1 }, n));
    assert!(candidates.into_iter().any(|data| data == kept), "whole bytes of one writer");
}

#[test]
fn test_f68_the_last_of_two_writers_wins_whole() {
    let scene = Scene::new();
    let (mut first, mut second) = (scene.upload("key"), scene.upload("key"));
    for n in 0..4 {
        first.write(&bytes(PART, n), &mut calm).expect("taken");
        second.write(&bytes(PART, 100 + n), &mut calm).expect("taken");
    }
    second.publish(&mut calm).expect("published");
    first.publish(&mut calm).expect("published");
    assert_eq!(scene.object("key"), Some((0..4).flat_map(|n| bytes(PART, n)).collect()));
}

/// The child reports by its exit status which of its expectations failed.
#[test]
fn test_f72_a_forked_child_publishes_and_aborts_nothing() {
    let scene = Scene::new();
    let mut upload = scene.upload("key");
    upload.write(&bytes(3 * PART, 11), &mut calm).expect("taken");
    let before = scene.server.journal(0)["next"].clone();
    #[expect(unsafe_code, reason = "only fork can show what a forked child does")]
    // SAFETY: the child calls only functions that refuse it before they touch a lock, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let forked =
            |result: Result<(), Error>| matches!(result, Err(error) if error.kind == ErrorKind::Forked);
        let refused = upload.is_forked()
            && forked(upload.write(b"x", &mut calm))
            && forked(upload.seal())
            && forked(upload.publish(&mut calm).map(drop))
            && forked(upload.abort(&mut calm));
        drop(upload);
        #[expect(unsafe_code, reason = "a forked test must not run the test harness's exit")]
        // SAFETY: ends this process at once.
        unsafe {
            libc::_exit(if refused { 0 } else { 1 })
        }
    }
    let mut status = 0;
    #[expect(unsafe_code, reason = "std cannot wait for a process it did not start")]
    // SAFETY: `child` is our child and `status` a local number.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "the child was refused everywhere");
    let journal = scene.server.journal(before.as_u64().expect("a number"));
    let entries = journal["entries"].as_array().expect("entries");
    assert!(
        entries.iter().all(|entry| entry["operation"] == "UploadPart" || entry["change"] == "part"),
        "{journal}"
    );
    upload.publish(&mut calm).expect("the parent's upload is unharmed");
    assert_eq!(scene.object("key"), Some(bytes(3 * PART, 11)));
}

#[test]
fn test_f29_a_throttled_upload_sends_fewer_parts_at_once_and_ends_well() {
    let scene = Scene::new();
    let slow_down = json!({"status": 503, "code": "QpsLimitExceeded"});
    scene.rules(json!([{"match": {"op": "UploadPart", "nth": [3, 4, 5]}, "action": slow_down}]));
    let data = bytes(40 * PART + 1, 12);
    scene.save("key", &data, UploadOptions::default()).expect("saved");
    assert_eq!(scene.object("key"), Some(data));
    assert_eq!(scene.count("UploadPart"), 41 + 3);
    assert!(scene.client.stats().get("throttled") >= 3);
}

#[test]
fn sizes_and_checksums_of_the_parts_are_told_once_they_are_sent() {
    let scene = Scene::new();
    let data = bytes(2 * PART + 5, 1);
    let mut upload = scene.upload("key");
    upload.write(&data, &mut || Ok(())).expect("taken");
    assert_eq!(upload.parts(), []);
    upload.publish(&mut || Ok(())).expect("published");
    let parts: Vec<_> = data.chunks(PART).map(|part| (part.len() as u64, crc64(part))).collect();
    assert_eq!(upload.parts(), parts);
    let small = scene.save("small", b"one part", UploadOptions::default()).expect("published");
    assert_eq!(small.parts(), []);
}
