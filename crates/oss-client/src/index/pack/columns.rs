//! The columns of a block, and how one is deflated.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::varint::{Reading, put_length};

/// What a block's rows are cut into.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Bytes a key shares with the front of the key before.
    Front,
    /// Bytes it shares with the back of the key before.
    Back,
    /// How many bytes longer the key is than the one before; signed, by zigzag. Most often it is none, which
    /// costs less than telling how many bytes are between.
    Growth,
    /// The bytes between.
    Text,
    /// Size + 1, 0 if unknown: all lowest bytes of the block, then the next ones.
    Size,
    /// An [`EtagKind`].
    EtagKind,
    /// MD5 sums, sixteen bytes each.
    EtagSum,
    /// Parts of multipart ETags, and whole ETags of no known form.
    EtagRest,
    /// Number of the bucket.
    Bucket,
    /// Length + 1 and text of a label, 0 for the one before.
    Label,
    /// 0 for a whole object, or length + 1 and start.
    Range,
}

/// Columns of a block.
pub(super) const COLUMNS: usize = 11;

/// Forms of ETags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EtagKind {
    /// There is none.
    None,
    /// `"<MD5 in capitals>"`.
    Sum,
    /// `"<MD5 in capitals>-<parts>"`.
    Parts,
    /// Anything else.
    Other,
}

impl EtagKind {
    pub(super) const ALL: [EtagKind; 4] = [EtagKind::None, EtagKind::Sum, EtagKind::Parts, EtagKind::Other];
}

/// A column's bytes may be this many, so that a bomb ends: 1 GiB.
const MAX_COLUMN_BYTES: u64 = 1 << 30;

/// Appends a column, deflated where that is shorter.
pub(super) fn write(out: &mut Vec<u8>, column: Column, bytes: &[u8]) {
    // Sums are noise, and the largest column: trying would cost most of the time and save nothing.
    let packed = if matches!(column, Column::EtagSum) { None } else { deflated(bytes) };
    let packed = packed.filter(|packed| packed.len() < bytes.len());
    put_length(out, bytes.len());
    put_length(out, packed.as_ref().map_or(0, Vec::len));
    out.extend_from_slice(packed.as_deref().unwrap_or(bytes));
}

fn deflated(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::default());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Reads a column; None if it is damaged.
pub(super) fn read(reading: &mut Reading<'_>) -> Option<Vec<u8>> {
    let (length, packed) = (reading.number()?, reading.length()?);
    if packed == 0 {
        return Some(reading.bytes(usize::try_from(length).ok()?)?.to_vec());
    }
    if length > MAX_COLUMN_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    let decoder = DeflateDecoder::new(reading.bytes(packed)?);
    decoder.take(length + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == length).then_some(bytes)
}
