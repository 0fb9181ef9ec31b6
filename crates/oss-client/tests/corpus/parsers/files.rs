//! What lies on disks: indexes, whole, packed and growing; keys in files of three forms.

use std::fs;

use oss_client::credentials::{
    CredentialsProvider, Fetched, IniProvider, JsonFileProvider, ProfileProvider, Surroundings,
};
use oss_client::error::{Error, ErrorKind};
use oss_client::index::{Index, Row, Tail, build_from_rows, pack, unpack};
use oss_client::objects::ObjectSource;
use oss_protocol::crc64::crc64;

use super::Parser;
use index_support::{Place, patiently};

#[path = "../../index_support/mod.rs"]
mod index_support;

fn check_error(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind, kind, "{error}");
    assert!(!error.to_string().contains('\n') && error.to_string().len() < 2000, "{error}");
}

/// The rows, all of which can be read or none of which is believed.
fn rows(index: &Index) -> Option<Vec<Row<'_>>> {
    let mut rows = Vec::new();
    for position in 0..index.rows().min(1000) {
        match index.row(position) {
            Ok(row) => {
                assert_eq!(index.object(position).map(|object| object.key), Some(row.key));
                rows.push(row);
            }
            Err(error) => {
                check_error(&error, ErrorKind::Format);
                assert_eq!(index.object(position), None);
                return None;
            }
        }
    }
    Some(rows)
}

/// What is read can be written again, and is the same.
fn check_written_again(index: &Index, place: &Place) -> bool {
    let Some(rows) = rows(index) else { return false };
    let path = place.file("again");
    let written = patiently(|patience| build_from_rows(&path, patience, rows.iter().cloned().map(Ok)));
    written.expect("rows that were read can be written");
    let again = Index::open(&path).expect("what we write we read");
    assert_eq!(self::rows(&again), Some(rows));
    drop(again);
    fs::remove_file(path).expect("it was there");
    true
}

pub(crate) fn index_files() -> Parser {
    let place = Place::new();
    // The header ends at byte 96 in its own checksum.
    let seal = |bytes: &mut Vec<u8>| {
        if bytes.len() >= 96 {
            let crc = crc64(&bytes[..88]).to_le_bytes();
            bytes[88..96].copy_from_slice(&crc);
        }
    };
    Parser::sealed(seal, move |bytes| match Index::open(&place.written("index", bytes)) {
        Ok(index) => check_written_again(&index, &place),
        Err(error) => {
            check_error(&error, ErrorKind::Format);
            false
        }
    })
}

pub(crate) fn packed_indexes() -> Parser {
    let place = Place::new();
    let seal = |bytes: &mut Vec<u8>| {
        bytes.truncate(bytes.len().saturating_sub(8));
        let crc = crc64(bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
    };
    Parser::sealed(seal, move |bytes| {
        let path = place.file("index");
        let outcome = patiently(|patience| unpack(bytes, &path, patience));
        let taken = match outcome {
            Ok(_outcome) => {
                let index = Index::open(&path).expect("what was unpacked is whole");
                let again = pack(&index, &mut || Ok(())).expect("what was unpacked can be packed");
                let other = place.file("other");
                patiently(|patience| unpack(&again, &other, patience)).expect("and unpacked again");
                assert_eq!(rows(&Index::open(&other).expect("whole")), rows(&index));
                fs::remove_file(other).expect("it was there");
                true
            }
            Err(error) => {
                check_error(&error, ErrorKind::Format);
                assert!(!path.exists(), "an index that is not whole has no name");
                false
            }
        };
        let _ = fs::remove_file(path);
        taken
    })
}

pub(crate) fn growing_indexes() -> Parser {
    let place = Place::new();
    Parser::new(move |bytes| {
        place.written("index.building", bytes);
        let tail = Tail::open(&place.file("index"), "bucket", 2).expect("it can be opened");
        let mut tail = tail.expect("it is there");
        let mut count = 0;
        loop {
            let piece = tail.next_piece().expect("a file of ours can be read");
            assert_eq!(piece.first(), count);
            if piece.rows() == 0 {
                return count > 0;
            }
            for position in piece.first()..piece.first() + piece.rows() {
                let row = piece.row(position).expect("a row of the piece");
                assert_eq!(row.bucket, "bucket");
            }
            count += piece.rows();
        }
    })
}

/// Keys that were read are whole; an error is one line and shows nothing of the file.
fn check_keys(outcome: Result<Fetched, Error>, may_quote: bool) -> bool {
    match outcome {
        Ok(fetched) => {
            let shown = format!("{fetched:?}");
            let id = fetched.credentials.map(|keys| keys.access_key_id).unwrap_or_default();
            assert!(id.contains("CANARY") || !shown.contains("CANARY"), "{shown}");
            !id.is_empty()
        }
        Err(error) => {
            check_error(&error, ErrorKind::Credentials);
            assert!(may_quote || !error.to_string().contains("CANARY"), "{error}");
            false
        }
    }
}

pub(crate) fn key_files() -> Parser {
    let place = Place::new();
    Parser::new(move |bytes| {
        let path = place.written("keys", bytes);
        let _ = JsonFileProvider::looks_like_one(&path);
        check_keys(JsonFileProvider::new(path).fetch(), false)
    })
}

/// Kinds of keys that are fetched from elsewhere, or made by a command: here only files are read.
fn leads_elsewhere(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    ["role", "oidc", "external", "credentialsuri", "process"].iter().any(|word| text.contains(word))
}

fn home(place: &Place) -> Surroundings {
    let home = place.path().display().to_string();
    Surroundings::with(move |name| (name == "HOME").then(|| home.clone()), "/nonexistent", None)
}

pub(crate) fn profiles() -> Parser {
    let place = Place::new();
    fs::create_dir(place.file(".aliyun")).expect("a directory");
    let around = home(&place);
    Parser::new(move |bytes| {
        place.written(".aliyun/config.json", bytes);
        match ProfileProvider::from_environment(&around) {
            Ok(Some(provider)) => leads_elsewhere(bytes) || check_keys(provider.fetch(), true),
            Ok(None) => false,
            Err(error) => {
                check_error(&error, ErrorKind::Credentials);
                assert!(!error.to_string().contains("CANARY"), "{error}");
                false
            }
        }
    })
}

pub(crate) fn ini_files() -> Parser {
    let place = Place::new();
    fs::create_dir(place.file(".alibabacloud")).expect("a directory");
    let around = home(&place);
    Parser::new(move |bytes| {
        place.written(".alibabacloud/credentials.ini", bytes);
        let provider = IniProvider::from_environment(&around).expect("readable").expect("the file is there");
        !leads_elsewhere(bytes) && check_keys(provider.fetch(), true)
    })
}
