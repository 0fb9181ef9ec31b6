//! Index files: what goes in comes out, whole, and anything else is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oss_client::clock::{Clock, ManualClock};
use oss_client::error::{Error, ErrorKind};
use oss_client::index::{BuildOutcome, Index, Patience, Row, build, build_from_rows};
use oss_client::objects::ObjectSource;
use oss_protocol::time::UtcTime;
use proptest::prelude::*;

mod index_support;

use index_support::{Place, patiently};

fn object<'a>(key: &'a str, size: Option<u64>, etag: Option<&'a str>, label: &'a str) -> Row<'a> {
    Row { bucket: "b", key, range: None, size, etag, label }
}

fn store(path: &Path, rows: &[Row<'_>]) -> Result<BuildOutcome, Error> {
    patiently(|patience| build_from_rows(path, patience, rows.iter().cloned().map(Ok)))
}

fn samples() -> Vec<Row<'static>> {
    vec![
        object("a/ü 1.jpg", Some(10), Some("\"0123456789ABCDEF0123456789ABCDEF\""), "cat"),
        object("a/2.jpg", None, None, ""),
        Row { bucket: "other", ..object("t.tar", Some(1 << 41), Some("\"X-3\""), "Ö\n") },
        object("", Some(0), None, "no key"),
    ]
}

#[test]
fn rows_come_back_as_they_were_given() {
    let place = Place::new();
    let path = place.file("index");
    let outcome = store(&path, &samples()).expect("built");
    let index = Index::open(&path).expect("opened");
    assert_eq!((outcome.rows, outcome.is_new, index.rows()), (4, true, 4));
    for (position, row) in samples().iter().enumerate() {
        assert_eq!(&index.row(position as u64).expect("a row"), row);
    }
    let beyond = index.row(4).expect_err("no such row");
    assert_eq!(beyond.kind, ErrorKind::Format);
    assert_eq!(index.fingerprint(), outcome.fingerprint);
    let seen = index.object(0).expect("an object");
    assert_eq!((seen.bucket, seen.key, seen.size), ("b", "a/ü 1.jpg", Some(10)));
    assert_eq!(index.count(), 4);
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn parts_of_objects_are_rows_too() {
    let place = Place::new();
    let path = place.file("index");
    let mut rows = samples();
    rows[2].range = Some(512..1024);
    store(&path, &rows).expect("built");
    let index = Index::open(&path).expect("opened");
    for (position, row) in rows.iter().enumerate() {
        assert_eq!(&index.row(position as u64).expect("a row"), row);
    }
}

#[test]
fn an_empty_index_is_one() {
    let place = Place::new();
    store(&place.file("index"), &[]).expect("built");
    let index = Index::open(&place.file("index")).expect("opened");
    assert_eq!((index.rows(), index.object(0)), (0, None));
}

#[test]
fn a_row_costs_at_most_64_bytes_beside_its_key() {
    let place = Place::new();
    let path = place.file("index");
    let key = "k".repeat(40);
    let etag = format!("\"{}\"", "A".repeat(32));
    let rows: Vec<_> = (0..1000).map(|size| object(&key, Some(size), Some(&etag), "")).collect();
    store(&path, &rows).expect("built");
    let bytes = fs::metadata(&path).expect("a file").len();
    assert!(bytes <= 1000 * (64 + 40), "{bytes} bytes");
}

#[test]
fn the_fingerprint_tells_rows_and_their_order_apart() {
    let place = Place::new();
    let print = |name: &str, rows: &[Row<'_>]| store(&place.file(name), rows).expect("built").fingerprint;
    let rows = samples();
    let first = print("1", &rows);
    assert_eq!(first, print("2", &rows));
    let mut turned = rows.clone();
    turned.swap(0, 1);
    assert_ne!(first, print("3", &turned));
    let mut relabelled = rows;
    relabelled[1].label = "dog";
    assert_ne!(first, print("4", &relabelled));
}

#[test]
fn every_cut_and_every_foreign_file_is_refused() {
    let place = Place::new();
    let path = place.file("index");
    store(&path, &samples()).expect("built");
    let whole = fs::read(&path).expect("bytes");
    let copy = place.file("copy");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&copy, bytes).expect("written");
        assert_eq!(Index::open(&copy).expect_err(what).kind, ErrorKind::Format, "{what}");
    };
    for length in 0..whole.len() {
        refused(&whole[..length], "cut");
    }
    refused(&[&whole[..], b"x"].concat(), "longer");
    refused(&vec![b'{'; 4096], "foreign");
    for bit in 0..96 * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped, "a flipped header bit");
    }
    assert_eq!(Index::open(&place.file("none")).expect_err("missing").kind, ErrorKind::NotFound);
}

#[test]
fn damage_behind_the_header_never_reaches_beyond_the_file() {
    let place = Place::new();
    let path = place.file("index");
    let mut rows = samples();
    rows[0].range = Some(1..2);
    store(&path, &rows).expect("built");
    let whole = fs::read(&path).expect("bytes");
    for at in 96..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] = 0xFF;
        let copy = place.file("copy");
        fs::write(&copy, &damaged).expect("written");
        let index = Index::open(&copy).expect("the header is whole");
        for position in 0..5 {
            let _ = index.row(position);
        }
    }
}

#[test]
fn an_index_that_is_there_is_not_built_again() {
    let place = Place::new();
    let path = place.file("index");
    let first = store(&path, &samples()).expect("built");
    let second =
        patiently(|patience| build(&path, patience, |_, _| panic!("must not be called"))).expect("found");
    assert_eq!(second, BuildOutcome { is_new: false, ..first });
}

#[test]
fn a_damaged_index_is_built_again_and_a_foreign_file_is_left_alone() {
    let place = Place::new();
    let path = place.file("index");
    store(&path, &samples()).expect("built");
    let whole = fs::read(&path).expect("bytes");
    fs::write(&path, &whole[..whole.len() - 1]).expect("cut");
    assert!(store(&path, &samples()).expect("built again").is_new);
    assert_eq!(fs::read(&path).expect("bytes"), whole);
    fs::write(&path, b"the user's thesis").expect("written");
    assert_eq!(store(&path, &samples()).expect_err("refused").kind, ErrorKind::Format);
    assert_eq!(fs::read(&path).expect("bytes"), b"the user's thesis");
}

#[test]
fn a_failed_build_leaves_nothing_behind() {
    let place = Place::new();
    let path = place.file("index");
    let rows = [Ok(object("a", None, None, "")), Err(Error::cancelled("list"))];
    let error = patiently(|patience| build_from_rows(&path, patience, rows)).expect_err("the row's error");
    assert_eq!(error.kind, ErrorKind::Cancelled);
    let names: Vec<_> = fs::read_dir(place.path())
        .expect("a directory")
        .map(|entry| entry.expect("one").file_name())
        .collect();
    assert_eq!(names, ["index.lock"]);
}

#[test]
fn a_directory_open_to_others_is_refused() {
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    let error = store(&place.file("index"), &samples()).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("chmod 700"), "{error}");
}

#[test]
fn many_builders_build_once() {
    let place = Place::new();
    let path = place.file("deep/er/index");
    let built = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let outcome = patiently(|patience| {
                    build(&path, patience, |builder, _| {
                        built.fetch_add(1, Ordering::Relaxed);
                        samples().iter().try_for_each(|row| builder.push(row)).map(|()| 7)
                    })
                });
                assert_eq!(outcome.expect("built or found").left_out_empty, 7);
            });
        }
    });
    assert_eq!(built.load(Ordering::Relaxed), 1);
}

#[test]
fn waiting_for_another_builder_ends_by_signal_and_by_deadline() {
    let place = Place::new();
    let path = place.file("index");
    store(&path, &[]).expect("makes the lock file");
    let lock = fs::File::open(place.file("index.lock")).expect("the lock");
    lock.lock().expect("held");
    let mut looks = 0;
    let mut watch = || {
        looks += 1;
        if looks < 3 { Ok(()) } else { Err(Error::cancelled("signal")) }
    };
    let clock = ManualClock::new(UtcTime(0));
    let mut patience = Patience { clock: &clock, deadline: Duration::from_secs(60), watch: &mut watch };
    let error = build_from_rows(&path, &mut patience, []).expect_err("interrupted");
    assert_eq!((error.operation, looks), ("signal", 3));
    let mut watch = || Ok(());
    let mut patience = Patience { clock: &clock, deadline: Duration::from_secs(60), watch: &mut watch };
    let before = clock.now();
    let error = build_from_rows(&path, &mut patience, []).expect_err("stuck");
    assert_eq!(error.kind, ErrorKind::RequestTimeout);
    assert!(error.message.contains("index.lock"), "{error}");
    assert!(clock.now() - before < Duration::from_secs(61));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_survive_the_file(
        rows in proptest::collection::vec(
            (".{0,12}", ".{0,40}", any::<Option<u32>>(), proptest::option::of(".{1,40}"), ".{0,9}", any::<Option<u16>>()),
            0..40,
        ),
    ) {
        let place = Place::new();
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(bucket, key, size, etag, label, start)| Row {
                bucket,
                key,
                range: start.map(|start| u64::from(start)..u64::from(start) + 5),
                size: size.map(u64::from),
                etag: etag.as_deref(),
                label,
            })
            .collect();
        store(&place.file("index"), &rows).expect("built");
        let index = Index::open(&place.file("index")).expect("opened");
        for (position, row) in rows.iter().enumerate() {
            prop_assert_eq!(&index.row(position as u64).expect("a row"), row);
        }
    }
}
