//! Every golden vector of CRC-64/XZ, and the algebra of combining.
#![expect(clippy::unwrap_used, reason = "a test that fails here fails loudly")]

use oss_protocol::crc64::{Crc64, combine, crc64};
use oss_protocol::encoding::hex;
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/crc64-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'a>(file: &'a Value, name: &str) -> &'a [Value] {
    let entries = file[name].as_array().unwrap();
    assert!(!entries.is_empty(), "{name} is empty");
    entries
}

/// CRCs are written as decimal text, as in the header.
fn decimal(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn bytes_of_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// SHA-256 of `seed:0`, `seed:1`, ... one after the other, cut to the length.
fn generated(seed: &str, length: usize) -> Vec<u8> {
    let blocks = (0..length.div_ceil(32)).flat_map(|at| Sha256::digest(format!("{seed}:{at}")));
    blocks.take(length).collect()
}

#[test]
fn single_vectors_match() {
    let file = vectors();
    for vector in list(&file, "single") {
        let data = bytes_of_hex(vector["hex"].as_str().unwrap());
        assert_eq!(data.len() as u64, vector["length"].as_u64().unwrap());
        assert_eq!(crc64(&data), decimal(&vector["crc64"]), "{}", vector["name"]);
        assert_eq!(format!("{:016x}", crc64(&data)), vector["crc64_hex"].as_str().unwrap());
    }
}

#[test]
fn generated_vectors_match_whole_and_in_pieces() {
    let file = vectors();
    for vector in list(&file, "generated") {
        let length = usize::try_from(vector["length"].as_u64().unwrap()).unwrap();
        let data = generated(vector["seed"].as_str().unwrap(), length);
        assert_eq!(hex(&Sha256::digest(&data)), vector["sha256"].as_str().unwrap());
        assert_eq!(crc64(&data), decimal(&vector["crc64"]), "{}", vector["name"]);
        let mut running = Crc64::new();
        data.chunks(777).for_each(|piece| running.update(piece));
        assert_eq!(running.value(), decimal(&vector["crc64"]), "{}", vector["name"]);
    }
}

#[test]
fn combine_vectors_match() {
    let file = vectors();
    for vector in list(&file, "combine") {
        let (a, b) = (decimal(&vector["crc_a"]), decimal(&vector["crc_b"]));
        let combined = combine(a, b, vector["len_b"].as_u64().unwrap());
        assert_eq!(combined, decimal(&vector["combined"]), "{}", vector["name"]);
    }
}

#[test]
fn multipart_vector_matches_part_by_part() {
    let file = vectors();
    let vector = &file["multipart"];
    let mut running = decimal(&vector["start"]);
    for (at, step) in list(vector, "steps").iter().enumerate() {
        let size = step["size"].as_u64().unwrap();
        let part = generated(&format!("m{at}"), usize::try_from(size).unwrap());
        assert_eq!(crc64(&part), decimal(&step["crc64"]), "part {at}");
        running = combine(running, crc64(&part), size);
        assert_eq!(running, decimal(&step["running"]), "part {at}");
    }
    assert_eq!(running, decimal(&vector["final"]));
}

#[test]
fn a_crc_is_continued_behind_earlier_bytes() {
    let file = vectors();
    let before = decimal(&file["continue"]["crc_12345"]);
    assert_eq!(crc64(b"12345"), before);
    let mut running = Crc64::with(before);
    assert_eq!(running.value(), before);
    running.update(b"6789");
    assert_eq!(running.value(), decimal(&file["continue"]["then_6789"]));
}

proptest! {
    #[test]
    fn combining_equals_appending(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        let both = [a.as_slice(), b.as_slice()].concat();
        prop_assert_eq!(combine(crc64(&a), crc64(&b), b.len() as u64), crc64(&both));
        let mut running = Crc64::with(crc64(&a));
        running.update(&b);
        prop_assert_eq!(running.value(), crc64(&both));
    }

    #[test]
    fn combining_is_associative_over_any_length(a: u64, b: u64, c: u64, len_b in 0..1_u64 << 46, len_c in 0..1_u64 << 46) {
        let left = combine(combine(a, b, len_b), c, len_c);
        let right = combine(a, combine(b, c, len_c), len_b + len_c);
        prop_assert_eq!(left, right);
    }
}
