//! Packed indexes: what goes in comes out, a few bytes a row, and anything else is refused.
#![expect(clippy::expect_used, reason = "a test that cannot set up its scene has failed")]

use std::path::Path;

use oss_client::error::{Error, ErrorKind};
use oss_client::index::{BuildOutcome, Index, Row, build_from_rows, pack, unpack};
use proptest::prelude::*;

mod index_support;

use index_support::{Place, patiently};

fn object<'a>(key: &'a str, size: Option<u64>, etag: Option<&'a str>, label: &'a str) -> Row<'a> {
    Row { bucket: "b", key, range: None, size, etag, label }
}

fn store(path: &Path, rows: &[Row<'_>]) -> Result<BuildOutcome, Error> {
    patiently(|patience| build_from_rows(path, patience, rows.iter().cloned().map(Ok)))
}

fn packed(place: &Place, rows: &[Row<'_>]) -> (Index, Vec<u8>) {
    let path = place.file("index");
    store(&path, rows).expect("built");
    let index = Index::open(&path).expect("opened");
    let bytes = pack(&index, &mut || Ok(())).expect("packed");
    (index, bytes)
}

fn unpacked(bytes: &[u8], path: &Path) -> Result<Index, Error> {
    patiently(|patience| unpack(bytes, path, patience))?;
    Index::open(path)
}

fn assert_comes_back(rows: &[Row<'_>]) {
    let place = Place::new();
    let (index, bytes) = packed(&place, rows);
    let again = unpacked(&bytes, &place.file("again")).expect("unpacked");
    assert_eq!((again.rows(), again.fingerprint()), (rows.len() as u64, index.fingerprint()));
    for (position, row) in rows.iter().enumerate() {
        assert_eq!(&again.row(position as u64).expect("a row"), row);
    }
}

#[test]
fn rows_of_every_kind_come_back() {
    assert_comes_back(&[]);
    let sum = "\"0123456789ABCDEF0123456789ABCDEF\"";
    let mut rows = vec![
        object("a/ü 1.jpg", Some(10), Some(sum), "cat"),
        object("a/ü 2.jpg", Some(u64::MAX - 1), Some("\"0123456789ABCDEF0123456789ABCDEF-17\""), "cat"),
        object("a/2.jpg", None, None, ""),
        Row { bucket: "other", ..object("t.tar", Some(1 << 41), Some("\"X-3\""), "Ö\n") },
        object("", Some(0), Some("\"0123456789abcdef0123456789abcdef\""), "no key"),
        object("a/ü 1.jpg", Some(10), Some("W/\"0123456789ABCDEF0123456789ABCDEF\""), "cat"),
    ];
    assert_comes_back(&rows);
    rows[3].range = Some(512..1024);
    rows[4].range = Some(7..7);
    assert_comes_back(&rows);
}

fn realistic(count: u64) -> Vec<(String, u64, String)> {
    // SplitMix64, so that sizes and ETags are as incompressible as real ones.
    let mix = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    };
    let mut rows: Vec<_> = (1..=count)
        .map(|n| {
            let (class, number) = (n / 1300, mix(n) % 130_000);
            let key =
                format!("imagenet/train/n{:08}/n{0:08}_{number}.JPEG", 1_440_764 + mix(class) % 14_000_000);
            let etag = format!("\"{:016X}{:016X}\"", mix(n ^ 1 << 40), mix(n ^ 1 << 41));
            (key, 90_000 + mix(n ^ 1 << 42) % 60_000, etag)
        })
        .collect();
    rows.sort();
    rows
}

#[test]
fn a_row_of_realistic_objects_travels_in_20_bytes() {
    let rows = realistic(100_000);
    let rows: Vec<_> =
        rows.iter().map(|(key, size, etag)| object(key, Some(*size), Some(etag), "")).collect();
    let place = Place::new();
    let (index, bytes) = packed(&place, &rows);
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let bytes_a_row = bytes.len() as f64 / rows.len() as f64;

    assert!(bytes_a_row <= 20.0, "{bytes_a_row} bytes a row");
    let again = unpacked(&bytes, &place.file("again")).expect("unpacked");
    assert_eq!(again.fingerprint(), index.fingerprint());
}

#[test]
fn damage_is_refused_and_leaves_no_file() {
    let place = Place::new();
    let (_, bytes) = packed(&place, &[object("k", Some(1), None, ""), object("l", Some(2), None, "")]);
    let path = place.file("again");
    for cut in 0..bytes.len() {
        assert_eq!(unpacked(&bytes[..cut], &path).expect_err("cut").kind, ErrorKind::Format, "{cut}");
    }
    for at in 0..bytes.len() {
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 0x20;
        assert_eq!(unpacked(&spoilt, &path).expect_err("spoilt").kind, ErrorKind::Format, "{at}");
    }
    let mut newer = bytes;
    newer[8] = 9;
    let error = unpacked(&newer, &path).expect_err("another version").to_string();
    assert!(error.contains("version 9") && error.contains("version 1"), "{error}");
    assert!(!path.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_rows_come_back(
        rows in proptest::collection::vec(
            ("[a-c/ü]{0,6}", proptest::option::of(any::<u64>().prop_filter("a size", |n| *n < u64::MAX)),
             proptest::option::of("\"[0-9A-F]{30,34}(-[0-9])?\"|x{1,3}"), "[xy]{0,2}",
             proptest::option::of((0_u64..9, 9_u64..20))),
            0..40,
        )
    ) {
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(key, size, etag, label, range)| Row {
                range: range.map(|(start, end)| start..end),
                ..object(key, *size, etag.as_deref(), label)
            })
            .collect();
        assert_comes_back(&rows);
    }

    /// The checksum of random bytes is made right, so that what is behind it is reached.
    #[test]
    fn garbage_is_refused_without_harm(body: Vec<u8>) {
        let mut bytes = b"OSSINPAK\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&oss_protocol::crc64::crc64(&bytes).to_le_bytes());
        let place = Place::new();
        if let Err(error) = unpacked(&bytes, &place.file("index")) {
            prop_assert_eq!(&error.kind, &ErrorKind::Format);
        }
    }
}
