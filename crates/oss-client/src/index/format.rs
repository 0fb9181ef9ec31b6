//! The bytes of an index file. Pure: slices in, rows out.
//!
//! ```text
//! header   96 bytes, closed by its own CRC-64
//! text     key, ETag and label of each row, one row after the other
//! columns  text_end u64, size u64, shape u32, bucket u32 for each row; flat, little-endian
//! ranges   start u64, end u64 for each row, only if some row is a part of an object
//! buckets  end u32 for each bucket, then their names
//! ```
//!
//! A row costs 24 bytes (40 with ranges) beside its key, ETag and label. The header is checked when a
//! file is opened, with the file's length: a cut or foreign file is refused there. Rows are checked as
//! they are read, so opening costs the same for ten rows and for a hundred million.

use std::ops::Range;

use oss_protocol::crc64::crc64;

/// The first bytes of every index file.
pub(crate) const MAGIC: &[u8; 8] = b"OSSINDEX";

/// Raised whenever the layout changes; other versions are refused.
const VERSION: u32 = 1;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 96;

/// Stands for "size unknown" in the size column.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// Bytes of one row in the four columns.
const ROW_BYTES: u64 = 24;

/// Bytes of one row in the ranges.
const RANGE_BYTES: u64 = 16;

/// One line of an index: an object, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The bucket; for a local directory the first component of the path.
    pub bucket: &'a str,
    /// The key, as raw text.
    pub key: &'a str,
    /// The bytes of the object that are this row, half-open; None is all of it.
    pub range: Option<Range<u64>>,
    /// Size of the whole object in bytes, if it is known.
    pub size: Option<u64>,
    /// ETag as the listing wrote it, if it is known.
    pub etag: Option<&'a str>,
    /// The user's label; may be empty.
    pub label: &'a str,
}

/// What the header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) rows: u64,
    pub(crate) left_out_empty: u64,
    pub(crate) fingerprint: u64,
    pub(crate) text_bytes: u64,
    pub(crate) buckets: u64,
    pub(crate) bucket_text_bytes: u64,
    pub(crate) has_ranges: bool,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&u32::from(self.has_ranges).to_le_bytes());
        for (slot, number) in bytes[16..64].chunks_exact_mut(8).zip(self.numbers()) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc64(&bytes[..HEADER_BYTES - 8]);
        bytes[HEADER_BYTES - 8..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of `file`, which is the whole file.
    ///
    /// # Errors
    /// A sentence that says why this is no index file, or not a whole one.
    pub(crate) fn decode(file: &[u8]) -> Result<Self, String> {
        let bytes = file.get(..HEADER_BYTES).ok_or("it is shorter than a header")?;
        if &bytes[..8] != MAGIC {
            return Err("it is not an index file".to_owned());
        }
        let version = number32(bytes, 8).unwrap_or(0);
        if version != VERSION {
            return Err(format!("its format is version {version}, this build reads version {VERSION}"));
        }
        if number64(bytes, HEADER_BYTES - 8) != Some(crc64(&bytes[..HEADER_BYTES - 8])) {
            return Err("its header is damaged".to_owned());
        }
        let field = |n: usize| number64(bytes, 16 + 8 * n).unwrap_or(0);
        let header = Header {
            rows: field(0),
            left_out_empty: field(1),
            fingerprint: field(2),
            text_bytes: field(3),
            buckets: field(4),
            bucket_text_bytes: field(5),
            has_ranges: number32(bytes, 12) == Some(1),
        };
        match header.layout() {
            Some(layout) if layout.file_bytes == file.len() => Ok(header),
            _ => Err("it is cut, or bytes were added to it".to_owned()),
        }
    }

    fn numbers(&self) -> [u64; 6] {
        [
            self.rows,
            self.left_out_empty,
            self.fingerprint,
            self.text_bytes,
            self.buckets,
            self.bucket_text_bytes,
        ]
    }

    /// Where everything is; None if the numbers cannot be those of a file.
    pub(crate) fn layout(&self) -> Option<Layout> {
        let text = HEADER_BYTES as u64;
        let columns = text.checked_add(self.text_bytes)?;
        let ranges = columns.checked_add(self.rows.checked_mul(ROW_BYTES)?)?;
        let range_bytes = if self.has_ranges { self.rows.checked_mul(RANGE_BYTES)? } else { 0 };
        let buckets = ranges.checked_add(range_bytes)?;
        let names = buckets.checked_add(self.buckets.checked_mul(4)?)?;
        let end = names.checked_add(self.bucket_text_bytes)?;
        Some(Layout {
            rows: usize::try_from(self.rows).ok()?,
            text: HEADER_BYTES,
            columns: usize::try_from(columns).ok()?,
            ranges: self.has_ranges.then_some(usize::try_from(ranges).ok()?),
            buckets: usize::try_from(buckets).ok()?,
            names: usize::try_from(names).ok()?,
            file_bytes: usize::try_from(end).ok()?,
        })
    }
}

/// Offsets of the sections in a file, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    rows: usize,
    text: usize,
    columns: usize,
    ranges: Option<usize>,
    buckets: usize,
    names: usize,
    file_bytes: usize,
}

impl Layout {
    /// The row at `position`; None beyond the last, and where the file is damaged.
    pub(crate) fn row<'a>(&self, file: &'a [u8], position: usize) -> Option<Row<'a>> {
        if position >= self.rows {
            return None;
        }
        let start = if position == 0 { 0 } else { self.text_end(file, position - 1)? };
        let text = file.get(self.text..self.columns)?.get(start..self.text_end(file, position)?)?;
        let shape = Shape(number32(file, self.columns + 16 * self.rows + 4 * position)?);
        let bucket = number32(file, self.columns + 20 * self.rows + 4 * position)?;
        let (key, rest) = text.split_at_checked(shape.key_bytes())?;
        let (etag, label) = rest.split_at_checked(shape.etag_bytes())?;
        let size = number64(file, self.columns + 8 * self.rows + 8 * position)?;
        Some(Row {
            bucket: self.bucket(file, usize::try_from(bucket).ok()?)?,
            key: std::str::from_utf8(key).ok()?,
            range: self.range(file, position)?,
            size: (size != UNKNOWN).then_some(size),
            etag: if etag.is_empty() { None } else { Some(std::str::from_utf8(etag).ok()?) },
            label: std::str::from_utf8(label).ok()?,
        })
    }

    fn text_end(&self, file: &[u8], position: usize) -> Option<usize> {
        usize::try_from(number64(file, self.columns + 8 * position)?).ok()
    }

    /// The outer None is damage, the inner one a row that is a whole object.
    fn range(&self, file: &[u8], position: usize) -> Option<Option<Range<u64>>> {
        let Some(ranges) = self.ranges else { return Some(None) };
        let at = ranges + 16 * position;
        let (start, end) = (number64(file, at)?, number64(file, at + 8)?);
        if end == UNKNOWN {
            return Some(None);
        }
        (start <= end).then_some(Some(start..end))
    }

    fn bucket<'a>(&self, file: &'a [u8], number: usize) -> Option<&'a str> {
        let end_of = |n: usize| {
            let at = self.buckets.checked_add(n.checked_mul(4)?)?;
            if at >= self.names { None } else { usize::try_from(number32(file, at)?).ok() }
        };
        let start = if number == 0 { 0 } else { end_of(number - 1)? };
        std::str::from_utf8(file.get(self.names..)?.get(start..end_of(number)?)?).ok()
    }
}

/// Lengths of key and ETag in one number: 24 and 8 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape(pub(crate) u32);

impl Shape {
    /// None if the key has 16 MiB or the ETag 256 bytes; OSS allows 1023 and sends about 40.
    pub(crate) fn new(key_bytes: usize, etag_bytes: usize) -> Option<Self> {
        let key = u32::try_from(key_bytes).ok().filter(|bytes| *bytes < 1 << 24)?;
        let etag = u32::try_from(etag_bytes).ok().filter(|bytes| *bytes < 1 << 8)?;
        Some(Shape((key << 8) | etag))
    }

    fn key_bytes(self) -> usize {
        (self.0 >> 8) as usize
    }

    fn etag_bytes(self) -> usize {
        (self.0 & 0xFF) as usize
    }
}

fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
