//! Rows in, the bytes of an index file out.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use oss_protocol::crc64::Crc64;

use super::format::{HEADER_BYTES, Header, Row, Shape, UNKNOWN};
use super::map::file_error;
use crate::error::{Error, ErrorKind};

/// Text is handed to the file in pieces of this size, so that those who wait see it grow: 64 KiB.
const TEXT_BUFFER_BYTES: usize = 64 * 1024;

/// Numbers of a column that are written at once.
const COLUMN_PIECE: usize = 8192;

/// What building came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOutcome {
    /// Rows of the index.
    pub rows: u64,
    /// Zero-byte objects that were found and left out.
    pub left_out_empty: u64,
    /// Hash of all rows.
    pub fingerprint: u64,
    /// This call wrote the file; false if it was there, or another process wrote it meanwhile.
    pub is_new: bool,
}

/// Takes rows and writes them; memory grows by 24 bytes a row.
#[derive(Debug)]
pub struct Builder {
    path: PathBuf,
    file: File,
    text: Vec<u8>,
    header: Header,
    columns: Columns,
    buckets: Vec<String>,
    fingerprint: Crc64,
}

#[derive(Debug, Default)]
struct Columns {
    text_ends: Vec<u64>,
    sizes: Vec<u64>,
    shapes: Vec<u32>,
    buckets: Vec<u32>,
    /// Empty while every row is a whole object.
    ranges: Vec<u64>,
}

impl Builder {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|error| file_error("create", path, &error))?;
        let mut builder = Builder {
            path: path.to_owned(),
            file,
            text: Vec::with_capacity(TEXT_BUFFER_BYTES),
            header: Header::default(),
            columns: Columns::default(),
            buckets: Vec::new(),
            fingerprint: Crc64::new(),
        };
        builder.write_out(&[0; HEADER_BYTES])?;
        Ok(builder)
    }

    /// Adds a row behind the ones before.
    ///
    /// # Errors
    /// `Format` if the key has 16 MiB, the ETag 256 bytes or the range its ends swapped; `Config` if
    /// writing fails.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let etag = row.etag.unwrap_or("");
        let shape =
            Shape::new(row.key.len(), etag.len()).ok_or_else(|| unfit(row, "its key or ETag is too long"))?;
        if row.range.as_ref().is_some_and(|range| range.start > range.end) {
            return Err(unfit(row, "its range ends before it starts"));
        }
        let bucket = self.bucket_number(row.bucket)?;
        for text in [row.key, etag, row.label] {
            self.text.extend_from_slice(text.as_bytes());
            self.header.text_bytes += text.len() as u64;
        }
        self.columns.push(self.header.text_bytes, row, shape, bucket);
        self.header.rows += 1;
        self.remember(row);
        if self.text.len() >= TEXT_BUFFER_BYTES { self.write_text() } else { Ok(()) }
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.header.rows
    }

    /// The fingerprint of the rows so far.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint.value()
    }

    fn bucket_number(&mut self, bucket: &str) -> Result<u32, Error> {
        let known = self.buckets.iter().rposition(|name| name == bucket);
        let number = known.unwrap_or_else(|| {
            self.buckets.push(bucket.to_owned());
            self.buckets.len() - 1
        });
        u32::try_from(number).map_err(|_| Error::config("an index cannot name more than 2^32 buckets"))
    }

    /// Adds a row to the fingerprint: all lengths first, so that no two rows read alike.
    fn remember(&mut self, row: &Row<'_>) {
        let etag = row.etag.unwrap_or("");
        let range = row.range.clone().unwrap_or(0..UNKNOWN);
        let texts = [row.bucket, row.key, etag, row.label];
        let mut bytes = Vec::with_capacity(64 + texts.iter().map(|text| text.len()).sum::<usize>());
        for text in texts {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        }
        for number in [row.size.unwrap_or(UNKNOWN), range.start, range.end] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
        }
        self.fingerprint.update(&bytes);
    }

    pub(super) fn finish(mut self, left_out_empty: u64) -> Result<BuildOutcome, Error> {
        self.write_text()?;
        self.write_columns()?;
        self.write_buckets()?;
        self.header.left_out_empty = left_out_empty;
        self.header.fingerprint = self.fingerprint.value();
        let header = self.header.encode();
        let written = self.file.write_all_at(&header, 0);
        written.map_err(|error| file_error("write", &self.path, &error))?;
        let Header { rows, fingerprint, .. } = self.header;
        Ok(BuildOutcome { rows, left_out_empty, fingerprint, is_new: true })
    }

    /// Writes the columns in the order of the file, piece by piece: a copy of them all would double the memory.
    fn write_columns(&mut self) -> Result<(), Error> {
        let Columns { text_ends, sizes, shapes, buckets, ranges } = std::mem::take(&mut self.columns);
        self.header.has_ranges = !ranges.is_empty();
        self.write_words(&text_ends)?;
        self.write_words(&sizes)?;
        self.write_halves(&shapes)?;
        self.write_halves(&buckets)?;
        self.write_words(&ranges)
    }

    fn write_words(&mut self, numbers: &[u64]) -> Result<(), Error> {
        numbers.chunks(COLUMN_PIECE).try_for_each(|piece| self.write_out(&bytes64(piece)))
    }

    fn write_halves(&mut self, numbers: &[u32]) -> Result<(), Error> {
        numbers.chunks(COLUMN_PIECE).try_for_each(|piece| self.write_out(&bytes32(piece)))
    }

    fn write_buckets(&mut self) -> Result<(), Error> {
        let names = self.buckets.concat();
        let mut end = 0;
        let mut ends = Vec::with_capacity(4 * self.buckets.len());
        for bucket in &self.buckets {
            end += bucket.len();
            let end =
                u32::try_from(end).map_err(|_| Error::config("the bucket names of an index exceed 4 GiB"))?;
            ends.extend_from_slice(&end.to_le_bytes());
        }
        self.header.buckets = self.buckets.len() as u64;
        self.header.bucket_text_bytes = names.len() as u64;
        self.write_out(&ends)?;
        self.write_out(names.as_bytes())
    }

    fn write_text(&mut self) -> Result<(), Error> {
        let text = std::mem::take(&mut self.text);
        let written = self.write_out(&text);
        self.text = text;
        self.text.clear();
        written
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|error| file_error("write", &self.path, &error))
    }
}

impl Columns {
    fn push(&mut self, text_end: u64, row: &Row<'_>, shape: Shape, bucket: u32) {
        if row.range.is_some() && self.ranges.is_empty() {
            self.ranges = [0, UNKNOWN].repeat(self.sizes.len());
        }
        if row.range.is_some() || !self.ranges.is_empty() {
            let range = row.range.clone().unwrap_or(0..UNKNOWN);
            self.ranges.extend([range.start, range.end]);
        }
        self.text_ends.push(text_end);
        self.sizes.push(row.size.unwrap_or(UNKNOWN));
        self.shapes.push(shape.0);
        self.buckets.push(bucket);
    }
}

fn bytes64(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn bytes32(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn unfit(row: &Row<'_>, reason: &str) -> Error {
    let text = format!("this object cannot be a row of an index: {reason}");
    let start: String = row.key.chars().take(64).collect();
    Error::new(ErrorKind::Format, "index", text).with_uri(format!("oss://{}/{start}", row.bucket))
}
