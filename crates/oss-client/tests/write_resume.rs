//! Uploads that are gone on with: what the service holds is not sent again, and nothing else is believed.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

mod write_support;

use oss_client::cancel::Cancel;
use oss_client::error::{Error, ErrorKind};
use oss_client::write::{Stage, Upload, UploadOptions};
use serde_json::json;
use write_support::{PART, Scene, bytes, uri};

const PARTS: usize = 6;
/// The last part is shorter.
const SIZE: usize = PARTS * PART - 777;

fn calm() -> Result<(), Error> {
    Ok(())
}

/// An upload whose parts stay when it is given up.
fn kept(scene: &Scene, key: &str, size_bytes: usize) -> Upload {
    let mut upload = scene.upload_with(
        key,
        UploadOptions {
            size_hint_bytes: Some(size_bytes as u64),
            content_type: Some("text/x-log".to_owned()),
            ..UploadOptions::default()
        },
    );
    upload.keep_parts();
    upload
}

/// Sends the whole parts of `data`, which are followed by a byte, and gives up; the id of what is left.
fn left_behind(scene: &Scene, key: &str, data: &[u8]) -> String {
    let mut upload = kept(scene, key, SIZE);
    let id = upload.begin(&mut calm).expect("begun").expect("several parts").to_owned();
    assert_eq!(upload.stage(), Stage::Multipart);
    upload.write(data, &mut calm).expect("taken");
    while held(scene, key, &id) < data.len() / PART {
        std::thread::yield_now();
    }
    upload.abort(&mut calm).expect("given up");
    id
}

fn held(scene: &Scene, key: &str, id: &str) -> usize {
    scene.client.list_parts(&uri(key), id, &Cancel::new()).expect("the upload is open").len()
}

fn gone_on_with(scene: &Scene, key: &str, id: &str, data: &[u8]) -> Upload {
    let mut upload = kept(scene, key, data.len());
    assert!(upload.go_on_with(id, &mut calm).expect("asked"), "it can be gone on with");
    for piece in data.chunks(33_333) {
        upload.write(piece, &mut calm).expect("taken");
    }
    upload.publish(&mut calm).expect("published");
    upload
}

#[test]
fn parts_that_the_service_holds_are_not_sent_again() {
    let scene = Scene::new();
    let data = bytes(SIZE, 1);
    let id = left_behind(&scene, "log", &data[..4 * PART + 1]);
    let before = scene.count("UploadPart");
    let upload = gone_on_with(&scene, "log", &id, &data);
    assert_eq!(scene.count("UploadPart") - before, PARTS - 4);
    assert_eq!(upload.reused_bytes(), 4 * PART as u64);
    assert_eq!(upload.crc64(), oss_protocol::crc64::crc64(&data));
    assert_eq!((scene.object("log"), scene.open_uploads()), (Some(data), 0));
    let info = scene.client.head_object(&uri("log"), &Cancel::new()).expect("there");
    assert_eq!(info.content_type.as_deref(), Some("text/x-log"), "as it was begun");
}

#[test]
fn a_part_with_other_bytes_is_sent_again() {
    let scene = Scene::new();
    let old = bytes(SIZE, 2);
    let id = left_behind(&scene, "log", &old[..4 * PART + 1]);
    let mut data = old;
    data[2 * PART + 5] ^= 1;
    let before = scene.count("UploadPart");
    let upload = gone_on_with(&scene, "log", &id, &data);
    assert_eq!(scene.count("UploadPart") - before, PARTS - 3, "the third, and those that were not there");
    assert_eq!(upload.reused_bytes(), 3 * PART as u64);
    assert_eq!(scene.object("log"), Some(data));
}

#[test]
fn memory_of_the_caller_is_compared_too() {
    let scene = Scene::with(|config| config.limits.upload_buffer_bytes = Some(2 * PART as u64));
    let data = bytes(SIZE, 3);
    let id = left_behind(&scene, "log", &data[..4 * PART + 1]);
    let before = scene.count("UploadPart");
    let mut upload = kept(&scene, "log", SIZE);
    assert!(upload.go_on_with(&id, &mut calm).expect("asked"));
    upload.write(&data, &mut calm).expect("taken");
    upload.publish(&mut calm).expect("published");
    assert_eq!(scene.count("UploadPart") - before, PARTS - 4);
    assert_eq!(scene.object("log"), Some(data));
}

#[test]
fn what_cannot_be_gone_on_with_leaves_the_upload_as_new() {
    let scene = Scene::new();
    let data = bytes(SIZE, 4);
    scene.save("log", b"old", UploadOptions::default()).expect("an older object");
    let id = left_behind(&scene, "log", &data[..4 * PART + 1]);
    let mut unhinted = scene.upload("log");
    assert!(!unhinted.go_on_with(&id, &mut calm).expect("asked"), "nobody knows how it will be cut");
    let mut shorter = kept(&scene, "log", 3 * PART);
    assert!(!shorter.go_on_with(&id, &mut calm).expect("asked"), "a part too many");
    let mut upload = kept(&scene, "log", SIZE);
    assert!(!upload.go_on_with("0004B999EF518A1FE585B0C9360DC4C8", &mut calm).expect("asked"), "no such");
    let mut other = kept(&scene, "other", SIZE);
    assert!(!other.go_on_with(&id, &mut calm).expect("asked"), "an upload belongs to its key");
    assert_eq!((upload.stage(), upload.upload_id()), (Stage::Open, None));
    upload.write(&data, &mut calm).expect("taken");
    assert!(!upload.go_on_with(&id, &mut calm).expect("asked"), "bytes were written");
    upload.publish(&mut calm).expect("published");
    assert_eq!(upload.reused_bytes(), 0);
    assert_eq!((scene.object("log"), held(&scene, "log", &id)), (Some(data), 4));
}

#[test]
fn a_listing_of_parts_that_fails_is_told_and_one_that_is_forbidden_is_not() {
    let scene = Scene::new();
    let data = bytes(SIZE, 5);
    let id = left_behind(&scene, "log", &data[..4 * PART + 1]);
    let listing =
        |status, code| json!([{"match": {"op": "ListParts"}, "action": {"status": status, "code": code}}]);
    scene.rules(listing(403, "AccessDenied"));
    let mut upload = kept(&scene, "log", SIZE);
    assert!(!upload.go_on_with(&id, &mut calm).expect("asked"));
    scene.rules(listing(400, "InvalidArgument"));
    let error = upload.go_on_with(&id, &mut calm).expect_err("told");
    assert!(matches!(error.kind, ErrorKind::Upload { .. }), "{error:?}");
    scene.rules(json!([]));
    assert_eq!(held(&scene, "log", &id), 4, "and the upload is as it was");
}

#[test]
fn an_upload_that_is_to_be_gone_on_with_outlives_failures() {
    let scene = Scene::new();
    scene.rules(json!([{"match": {"op": "UploadPart", "part": 5}, "action": {"status": 403, "code": "AccessDenied"}}]));
    let data = bytes(SIZE, 6);
    let mut upload = kept(&scene, "log", SIZE);
    let id = upload.begin(&mut calm).expect("begun").expect("several parts").to_owned();
    let failed = upload.write(&data, &mut calm).and_then(|()| upload.publish(&mut calm).map(drop));
    assert_eq!(failed.expect_err("refused").kind, ErrorKind::PermissionDenied);
    assert_eq!((upload.stage(), scene.count("AbortMultipartUpload")), (Stage::Aborted, 0));
    scene.rules(json!([]));
    let parts = scene.client.list_parts(&uri("log"), &id, &Cancel::new()).expect("the upload is open");
    let held_bytes: u64 = parts.iter().map(|part| part.size).sum();
    let upload = gone_on_with(&scene, "log", &id, &data);
    assert!(upload.reused_bytes() >= held_bytes, "one that was cut off may have arrived since");
    assert_eq!(scene.object("log"), Some(data));
}

#[test]
fn an_object_of_one_part_is_not_begun() {
    let scene = Scene::new();
    for hint in [None, Some(0), Some(PART as u64)] {
        let options = UploadOptions { size_hint_bytes: hint, ..UploadOptions::default() };
        let mut upload = scene.upload_with("small", options);
        assert_eq!(upload.begin(&mut calm).expect("asked"), None);
        upload.write(b"data", &mut calm).expect("taken");
        upload.publish(&mut calm).expect("published");
    }
    assert_eq!((scene.count("PutObject"), scene.count("InitiateMultipartUpload")), (3, 0));
}
