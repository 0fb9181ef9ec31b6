//! An index in its travelling form: front-coded, compressed, a few bytes a row. Pure, but for writing the file.
//!
//! ```text
//! magic    "OSSINPAK", version u32
//! header   rows, zero-byte objects left out, fingerprint u64, the buckets' names
//! blocks   up to 65,536 rows each: the number of rows, then eleven columns, each deflated or as it is
//! crc      CRC-64 of all of the above
//! ```
//!
//! Numbers are varints where nothing else is said. A key is what it shares with the key before at both ends, and
//! what is between; an ETag that is an MD5 travels as its sixteen bytes. Blocks stand alone, so a damaged or
//! hostile one cannot make the reader hold more than itself.

mod columns;
mod decode;
mod encode;

use std::path::Path;

use oss_protocol::crc64::crc64;

use self::decode::Blocks;
use self::encode::Encoder;
use super::build::{Patience, build};
use super::builder::BuildOutcome;
use super::map::Index;
use crate::error::{Error, ErrorKind};
use crate::varint::{Reading, put, put_length};

/// The first bytes of every packed index.
const MAGIC: &[u8; 8] = b"OSSINPAK";

/// Raised whenever the form changes; other versions are refused.
const VERSION: u32 = 1;

/// Rows between two looks at whether to go on.
const ROWS_A_LOOK: usize = 4096;

/// Packs `index`; `watch` is called now and then, and its error ends the work.
///
/// # Errors
/// `Format` if the index file is damaged; those of `watch`.
pub fn pack(index: &Index, watch: crate::interrupt::Watch<'_>) -> Result<Vec<u8>, Error> {
    let mut encoder = Encoder::default();
    for position in 0..index.rows() {
        encoder.push(&index.row(position)?);
        if position % ROWS_A_LOOK as u64 == 0 {
            watch()?;
        }
    }
    let (buckets, blocks) = encoder.finish();
    let mut out = Vec::with_capacity(blocks.len() + 256);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    put(&mut out, index.rows());
    put(&mut out, index.left_out_empty());
    out.extend_from_slice(&index.fingerprint().to_le_bytes());
    put_length(&mut out, buckets.len());
    for bucket in &buckets {
        put_length(&mut out, bucket.len());
        out.extend_from_slice(bucket.as_bytes());
    }
    out.extend_from_slice(&blocks);
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// Writes the index file `path` from what [`pack`] made, unless it is there; the rows' fingerprint is checked.
///
/// # Errors
/// `Format` if the bytes are no whole packed index of this version; those of [`build`].
pub fn unpack(packed: &[u8], path: &Path, patience: &mut Patience<'_>) -> Result<BuildOutcome, Error> {
    let (header, blocks) = Header::read(packed).map_err(|reason| malformed(&reason))?;
    let outcome = build(path, patience, |builder, patience| {
        for block in Blocks::new(blocks, &header.buckets) {
            block.ok_or_else(damaged)?.for_each(&mut |row| builder.push(row)).ok_or_else(damaged)??;
            (patience.watch)()?;
        }
        if (builder.rows(), builder.fingerprint()) != (header.rows, header.fingerprint) {
            return Err(damaged());
        }
        Ok(header.left_out_empty)
    })?;
    Ok(outcome)
}

struct Header<'a> {
    rows: u64,
    left_out_empty: u64,
    fingerprint: u64,
    buckets: Vec<&'a str>,
}

impl<'a> Header<'a> {
    /// Reads the header; returns it with the blocks behind it.
    fn read(packed: &'a [u8]) -> Result<(Self, &'a [u8]), String> {
        if !packed.starts_with(MAGIC) {
            return Err("these bytes are no packed index".to_owned());
        }
        let cut = || "it is cut".to_owned();
        let version = packed.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        match version.ok_or_else(cut)? {
            VERSION => (),
            other => {
                return Err(format!("its format is version {other}, this build reads version {VERSION}"));
            }
        }
        let (body, crc) = packed.split_last_chunk::<8>().ok_or_else(cut)?;
        if crc64(body) != u64::from_le_bytes(*crc) {
            return Err("it is cut or damaged, its checksum differs".to_owned());
        }
        let mut reading = Reading(body.get(12..).unwrap_or_default());
        Self::fields(&mut reading).map(|header| (header, reading.0)).ok_or_else(cut)
    }

    fn fields(reading: &mut Reading<'a>) -> Option<Self> {
        let (rows, left_out_empty) = (reading.number()?, reading.number()?);
        let fingerprint = reading.word()?;
        let mut buckets = Vec::new();
        for _ in 0..reading.number()? {
            let bytes = reading.length().and_then(|length| reading.bytes(length))?;
            buckets.push(std::str::from_utf8(bytes).ok()?);
        }
        Some(Header { rows, left_out_empty, fingerprint, buckets })
    }
}

fn damaged() -> Error {
    malformed("its rows are damaged")
}

fn malformed(reason: &str) -> Error {
    let text = format!("a packed index cannot be read: {reason}; fetch or save it again");
    Error::new(ErrorKind::Format, "index", text)
}
