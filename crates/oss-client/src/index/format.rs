//! The bytes of an index file. Pure: slices in, rows out.
//!
//! ```text
//! header   96 bytes, closed by its own CRC-64
//! rows     size u64, lengths of key and ETag u32, bucket u32, length of the label u32, the three texts
//! stop     a row without texts, of no bucket
//! ends     u64 for each row: where it ends, counted from the first
//! ranges   start u64, end u64 for each row, only if some row is a part of an object
//! buckets  end u32 for each bucket, then their names
//! ```
//!
//! All numbers are little-endian. A row costs 28 bytes (44 with ranges) beside its key, ETag and label. It tells its
//! own length, so that a file can be read while it grows (`tail`). The header is checked when a file is opened, with
//! the file's length: a cut or foreign file is refused there. Rows are checked as they are read, so opening costs the
//! same for ten rows and for a hundred million.

use std::ops::Range;

use oss_protocol::crc64::crc64;

/// The first bytes of every index file.
pub(crate) const MAGIC: &[u8; 8] = b"OSSINDEX";

/// Raised whenever the layout changes; other versions are refused.
const VERSION: u32 = 2;

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 96;

/// Stands for "size unknown".
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// The bucket of the row behind the last.
pub(crate) const NO_BUCKET: u32 = u32::MAX;

/// Bytes of the numbers that a row begins with.
pub(crate) const ROW_HEAD_BYTES: usize = 20;

/// Bytes of a row's end.
const END_BYTES: u64 = 8;

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
    pub(crate) row_bytes: u64,
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
            row_bytes: field(3),
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
            self.row_bytes,
            self.buckets,
            self.bucket_text_bytes,
        ]
    }

    /// Where everything is; None if the numbers cannot be those of a file.
    pub(crate) fn layout(&self) -> Option<Layout> {
        let stop = (HEADER_BYTES as u64).checked_add(self.row_bytes)?;
        let ends = stop.checked_add(ROW_HEAD_BYTES as u64)?;
        let ranges = ends.checked_add(self.rows.checked_mul(END_BYTES)?)?;
        let range_bytes = if self.has_ranges { self.rows.checked_mul(RANGE_BYTES)? } else { 0 };
        let buckets = ranges.checked_add(range_bytes)?;
        let names = buckets.checked_add(self.buckets.checked_mul(4)?)?;
        let end = names.checked_add(self.bucket_text_bytes)?;
        Some(Layout {
            rows: usize::try_from(self.rows).ok()?,
            stop: usize::try_from(stop).ok()?,
            ends: usize::try_from(ends).ok()?,
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
    stop: usize,
    ends: usize,
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
        let start = if position == 0 { 0 } else { self.row_end(file, position - 1)? };
        let bytes = file.get(HEADER_BYTES..self.stop)?.get(start..self.row_end(file, position)?)?;
        let (row, rest) = StoredRow::read(bytes)?;
        let bucket = self.bucket(file, usize::try_from(row.bucket).ok()?)?;
        rest.is_empty().then_some(Row { range: self.range(file, position)?, ..row.of(bucket) })
    }

    fn row_end(&self, file: &[u8], position: usize) -> Option<usize> {
        usize::try_from(number64(file, self.ends.checked_add(position.checked_mul(8)?)?)?).ok()
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

/// A row as it stands in the file: its bucket is a number, its range elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredRow<'a> {
    size: u64,
    pub(crate) bucket: u32,
    key: &'a str,
    etag: &'a str,
    label: &'a str,
}

impl<'a> StoredRow<'a> {
    /// Reads the row that `bytes` begin with; returns it with the bytes behind it. None if they hold no whole row.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, texts) = bytes.split_at_checked(ROW_HEAD_BYTES)?;
        let shape = Shape(number32(head, 8)?);
        let (key, texts) = texts.split_at_checked(shape.key_bytes())?;
        let (etag, texts) = texts.split_at_checked(shape.etag_bytes())?;
        let (label, rest) = texts.split_at_checked(usize::try_from(number32(head, 16)?).ok()?)?;
        let row = StoredRow {
            size: number64(head, 0)?,
            bucket: number32(head, 12)?,
            key: std::str::from_utf8(key).ok()?,
            etag: std::str::from_utf8(etag).ok()?,
            label: std::str::from_utf8(label).ok()?,
        };
        Some((row, rest))
    }

    /// The row, which is of the bucket of this name.
    pub(crate) fn of(&self, bucket: &'a str) -> Row<'a> {
        Row {
            bucket,
            key: self.key,
            range: None,
            size: (self.size != UNKNOWN).then_some(self.size),
            etag: (!self.etag.is_empty()).then_some(self.etag),
            label: self.label,
        }
    }
}

/// Writes the numbers that a row begins with; None if a text is too long for them.
pub(crate) fn row_head(row: &Row<'_>, bucket: u32) -> Option<[u8; ROW_HEAD_BYTES]> {
    let shape = Shape::new(row.key.len(), row.etag.unwrap_or("").len())?;
    let label_bytes = u32::try_from(row.label.len()).ok()?;
    Some(head_of(row.size.unwrap_or(UNKNOWN), shape, bucket, label_bytes))
}

/// What stands behind the last row.
pub(crate) fn stop() -> [u8; ROW_HEAD_BYTES] {
    head_of(UNKNOWN, Shape(0), NO_BUCKET, 0)
}

fn head_of(size: u64, shape: Shape, bucket: u32, label_bytes: u32) -> [u8; ROW_HEAD_BYTES] {
    let mut head = [0; ROW_HEAD_BYTES];
    head[..8].copy_from_slice(&size.to_le_bytes());
    head[8..12].copy_from_slice(&shape.0.to_le_bytes());
    head[12..16].copy_from_slice(&bucket.to_le_bytes());
    head[16..].copy_from_slice(&label_bytes.to_le_bytes());
    head
}

/// Lengths of key and ETag in one number: 24 and 8 bits.
#[derive(Clone, Copy, Debug)]
struct Shape(u32);

impl Shape {
    /// None if the key has 16 MiB or the ETag 256 bytes; OSS allows 1023 and sends about 40.
    fn new(key_bytes: usize, etag_bytes: usize) -> Option<Self> {
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
