//! A Complete that was met with silence is called back: an abort decides whether it can be carried out yet.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

mod write_support;

use std::time::Duration;

use oss_client::clock::{Clock as _, SystemClock};
use oss_client::error::{Error, ErrorKind, UploadState};
use oss_client::write::{Stage, Upload, UploadOptions};
use serde_json::{Value, json};
use write_support::{PART, Scene, bytes};

const LARGE: usize = 4 * PART + 5;
const COMPLETE: &str = "CompleteMultipartUpload";

fn state_of(error: &Error) -> Option<UploadState> {
    match error.kind {
        ErrorKind::Upload { state, .. } => Some(state),
        _ => None,
    }
}

/// An emulator that holds an old object, and a client that soon gives up.
fn impatient() -> Scene {
    let scene = Scene::with(|config| {
        config.timeouts.deadline = Duration::from_millis(600);
        config.timeouts.settle = Duration::from_millis(300);
    });
    scene.server.put_object("bucket", "key", b"old").expect("an old object");
    scene
}

fn save_under(scene: &Scene, rules: Value) -> Result<Upload, Box<(Upload, Error)>> {
    scene.rules(rules);
    scene.save("key", &bytes(LARGE, 1), UploadOptions::default())
}

fn rule(operation: &str, nth: Option<u32>, action: &Value) -> Value {
    match nth {
        Some(nth) => json!({"match": {"op": operation, "nth": nth}, "action": action}),
        None => json!({"match": {"op": operation}, "action": action}),
    }
}

fn silence() -> Value {
    json!({"fail_without_commit": "reset"})
}

fn denied() -> Value {
    json!({"status": 403, "code": "AccessDenied"})
}

#[test]
fn test_f57_a_complete_that_was_never_carried_out_is_called_back_and_told_as_failed() {
    for refusal in [silence(), denied(), json!({"status": 503})] {
        let scene = impatient();
        let rules = json!([rule(COMPLETE, Some(1), &silence()), rule(COMPLETE, None, &refusal)]);
        let (mut upload, error) = *save_under(&scene, rules).expect_err("never carried out");
        let told = state_of(&error);
        assert!(
            told == Some(UploadState::NotCommitted) || error.kind == ErrorKind::PermissionDenied,
            "{refusal}: {error}"
        );
        assert_eq!(upload.stage(), Stage::Aborted, "{refusal}");
        assert_eq!((scene.open_uploads(), scene.object("key").as_deref()), (0, Some(&b"old"[..])));
        upload.abort(&mut || Ok(())).expect("it was given up already");
    }
}

#[test]
fn test_f57_a_complete_that_landed_behind_the_last_look_is_a_success() {
    // It landed at once; that the first look sees nothing of it stands for one that lands right behind the look.
    let scene = impatient();
    let open = "<ListPartsResult><IsTruncated>false</IsTruncated></ListPartsResult>";
    let rules = json!([
        rule(COMPLETE, Some(1), &json!({"commit_then_reset": true})),
        rule("HeadObject", Some(1), &json!({"status": 404, "code": "NoSuchKey"})),
        rule("ListParts", Some(1), &json!({"status": 200, "body": open})),
        rule(COMPLETE, None, &denied()),
    ]);
    let upload = save_under(&scene, rules).expect("it is there");
    assert_eq!((upload.stage(), scene.object("key")), (Stage::Published, Some(bytes(LARGE, 1))));
    assert_eq!((scene.count(COMPLETE), scene.count("AbortMultipartUpload")), (2, 1));
    assert_eq!(scene.client.stats().get("saves"), 1);
}

#[test]
fn test_f57_a_complete_that_cannot_be_called_back_stays_unknown() {
    let gone = json!({"status": 404, "code": "NoSuchUpload"});
    for (why, abort, head) in [
        ("nobody may abort", denied(), None),
        ("the upload is gone, and the object is another", gone.clone(), None),
        ("the upload is gone, and nobody may look", gone, Some(denied())),
    ] {
        let scene = impatient();
        let mut rules = vec![rule(COMPLETE, None, &silence()), rule("AbortMultipartUpload", None, &abort)];
        rules.extend(head.map(|action| rule("HeadObject", None, &action)));
        let (mut upload, error) = *save_under(&scene, json!(rules)).expect_err("nobody can tell");
        assert_eq!(state_of(&error), Some(UploadState::Unknown), "{why}: {error}");
        assert!(error.message.contains("met with silence"), "{why}: {error}");
        let again = upload.abort(&mut || Ok(())).expect_err("it was tried");
        assert_eq!((&again.message, scene.count("AbortMultipartUpload")), (&error.message, 1), "{why}");
    }
}

#[test]
fn test_f57_an_abort_that_was_itself_repeated_proves_nothing_by_a_404() {
    let scene = impatient();
    let rules = json!([
        rule(COMPLETE, None, &silence()),
        rule("AbortMultipartUpload", Some(1), &json!({"commit_then_reset": true})),
    ]);
    let (_, error) = *save_under(&scene, rules).expect_err("never carried out");
    assert_eq!(state_of(&error), Some(UploadState::Unknown), "{error}");
    assert_eq!(scene.count("AbortMultipartUpload"), 2);
}

#[test]
fn test_f57_where_nobody_may_look_the_abort_alone_decides() {
    for (operation, action) in [("HeadObject", json!({"status": 500})), ("ListParts", denied())] {
        let scene = impatient();
        let rules = json!([rule(COMPLETE, None, &silence()), rule(operation, None, &action)]);
        let (upload, error) = *save_under(&scene, rules).expect_err("never carried out");
        assert_eq!(state_of(&error), Some(UploadState::NotCommitted), "{operation}: {error}");
        assert_eq!((upload.stage(), scene.object("key").as_deref()), (Stage::Aborted, Some(&b"old"[..])));
    }
}

#[test]
fn test_f57_parts_that_are_to_be_gone_on_with_are_not_aborted() {
    let scene = impatient();
    scene.rules(json!([rule(COMPLETE, None, &silence())]));
    let mut upload = scene.upload("key");
    upload.keep_parts();
    upload.write(&bytes(LARGE, 1), &mut || Ok(())).expect("taken");
    let error = upload.publish(&mut || Ok(())).expect_err("never carried out");
    assert_eq!(state_of(&error), Some(UploadState::Unknown), "{error}");
    assert_eq!((scene.count("AbortMultipartUpload"), scene.open_uploads()), (0, 1));
}

/// A look around that says `kind` as soon as the request that publishes has arrived.
fn once_it_is_sent(scene: &Scene, kind: ErrorKind) -> impl FnMut() -> Result<(), Error> + '_ {
    move || match scene.count(COMPLETE) {
        0 => Ok(()),
        _ => Err(Error::new(kind.clone(), "signal", "stop")),
    }
}

/// An upload whose Complete is carried out at once, and never answered.
fn landing(scene: &Scene) -> Upload {
    with_silent_complete(scene, &json!({"stall_after_bytes": 0, "count_from": "head"}))
}

/// An upload whose Complete is carried out long after whoever sent it has left.
fn late(scene: &Scene) -> Upload {
    with_silent_complete(scene, &json!({"stop_reading": true, "stall_ms": 700}))
}

fn with_silent_complete(scene: &Scene, action: &Value) -> Upload {
    scene.rules(json!([rule(COMPLETE, None, action)]));
    let mut upload = scene.upload("key");
    upload.write(&bytes(LARGE, 1), &mut || Ok(())).expect("taken");
    upload
}

/// Waits until the late Complete was carried out, and returns what became of it.
fn what_came_of_it(scene: &Scene) -> Option<u64> {
    let clock = SystemClock;
    let end = clock.now() + Duration::from_secs(30);
    while clock.now() < end {
        let journal = scene.server.journal(0);
        let entries = journal["entries"].as_array().cloned().unwrap_or_default();
        let sent = entries.iter().find(|entry| entry["operation"] == COMPLETE);
        if let Some(status) = sent.and_then(|entry| entry["status"].as_u64()) {
            return Some(status);
        }
        clock.sleep_until(clock.now() + Duration::from_millis(5));
    }
    None
}

#[test]
fn test_f64_an_abort_of_another_thread_calls_back_what_was_sent() {
    let scene = impatient();
    let mut upload = late(&scene);
    let error = upload.publish(&mut once_it_is_sent(&scene, ErrorKind::Closed)).expect_err("given up");
    assert_eq!((upload.stage(), &error.kind), (Stage::Aborted, &ErrorKind::Closed), "{error}");
    upload.abort(&mut || Ok(())).expect("it was given up already");
    assert_eq!(what_came_of_it(&scene), Some(404), "the abort came first");
    assert_eq!((scene.open_uploads(), scene.object("key").as_deref()), (0, Some(&b"old"[..])));
}

#[test]
fn test_f64_what_was_published_when_another_thread_aborts_is_a_success() {
    let scene = Scene::new();
    let mut upload = landing(&scene);
    upload.publish(&mut once_it_is_sent(&scene, ErrorKind::Closed)).expect("it is there");
    let error = upload.abort(&mut || Ok(())).expect_err("too late");
    assert_eq!((&error.kind, scene.object("key")), (&ErrorKind::Closed, Some(bytes(LARGE, 1))), "{error}");
}

#[test]
fn test_f64_what_ctrl_c_left_on_its_way_is_called_back_when_the_upload_is_given_up() {
    let scene = impatient();
    let mut upload = late(&scene);
    let error = upload.publish(&mut once_it_is_sent(&scene, ErrorKind::Internal)).expect_err("interrupted");
    assert_eq!((error.operation, scene.count("AbortMultipartUpload")), ("signal", 0), "at once");
    upload.abandon();
    let told = upload.publish(&mut || Ok(())).expect_err("told again");
    assert_eq!(state_of(&told), Some(UploadState::NotCommitted), "{told}");
    assert_eq!(what_came_of_it(&scene), Some(404), "the abort came first");
    assert_eq!((scene.open_uploads(), scene.object("key").as_deref()), (0, Some(&b"old"[..])));
    assert_eq!(scene.client.stats().get("uploads_abandoned"), 0, "it was told as a failure");
}

#[test]
fn test_f64_what_was_published_when_ctrl_c_came_is_told_when_it_is_asked_for() {
    let scene = impatient();
    let mut upload = landing(&scene);
    upload.publish(&mut once_it_is_sent(&scene, ErrorKind::Internal)).expect_err("interrupted");
    let error = upload.abort(&mut || Ok(())).expect_err("too late");
    assert_eq!((&error.kind, upload.stage()), (&ErrorKind::Closed, Stage::Published), "{error}");
    assert_eq!(scene.object("key"), Some(bytes(LARGE, 1)));
}
