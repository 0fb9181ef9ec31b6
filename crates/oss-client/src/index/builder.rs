//! Rows in, the bytes of an index file out.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::fingerprint::Fingerprint;
use super::format::{HEADER_BYTES, Header, NO_BUCKET, Row, UNKNOWN, row_head, stop};
use super::map::file_error;
use crate::error::{Error, ErrorKind};

/// Rows are handed to the file in pieces of this size, so that those who read along or wait see it grow: 16 KiB,
/// about 200 rows. A page of a listing is four of them, so its first objects are read before the next page comes.
const ROWS_BUFFER_BYTES: usize = 16 * 1024;

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

/// Takes rows and writes them; memory grows by 8 bytes a row.
#[derive(Debug)]
pub struct Builder {
    path: PathBuf,
    file: File,
    rows: Vec<u8>,
    header: Header,
    ends: Vec<u64>,
    /// Empty while every row is a whole object.
    ranges: Vec<u64>,
    buckets: Vec<String>,
    fingerprint: Fingerprint,
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
        let builder = Builder {
            path: path.to_owned(),
            file,
            rows: Vec::with_capacity(ROWS_BUFFER_BYTES),
            header: Header::default(),
            ends: Vec::new(),
            ranges: Vec::new(),
            buckets: Vec::new(),
            fingerprint: Fingerprint::default(),
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
        if row.range.as_ref().is_some_and(|range| range.start > range.end) {
            return Err(unfit(row, "its range ends before it starts"));
        }
        let bucket = self.bucket_number(row.bucket)?;
        let head = row_head(row, bucket).ok_or_else(|| unfit(row, "its key, ETag or label is too long"))?;
        for part in [&head[..], row.key.as_bytes(), row.etag.unwrap_or("").as_bytes(), row.label.as_bytes()] {
            self.rows.extend_from_slice(part);
            self.header.row_bytes += part.len() as u64;
        }
        self.push_range(row);
        self.ends.push(self.header.row_bytes);
        self.header.rows += 1;
        self.fingerprint.add(row);
        if self.rows.len() >= ROWS_BUFFER_BYTES { self.write_rows() } else { Ok(()) }
    }

    fn push_range(&mut self, row: &Row<'_>) {
        if row.range.is_some() && self.ranges.is_empty() {
            self.ranges = [0, UNKNOWN].repeat(self.ends.len());
        }
        if row.range.is_some() || !self.ranges.is_empty() {
            let range = row.range.clone().unwrap_or(0..UNKNOWN);
            self.ranges.extend([range.start, range.end]);
        }
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
        let number = u32::try_from(number).ok().filter(|number| *number < NO_BUCKET);
        number.ok_or_else(|| Error::config("an index cannot name so many buckets: 2^32 - 1"))
    }

    pub(super) fn finish(mut self, left_out_empty: u64) -> Result<BuildOutcome, Error> {
        self.rows.extend_from_slice(&stop());
        self.write_rows()?;
        self.write_words(&self.ends)?;
        self.header.has_ranges = !self.ranges.is_empty();
        self.write_words(&self.ranges)?;
        self.write_buckets()?;
        self.header.left_out_empty = left_out_empty;
        self.header.fingerprint = self.fingerprint.value();
        let header = self.header.encode();
        let written = self.file.write_all_at(&header, 0);
        written.map_err(|error| file_error("write", &self.path, &error))?;
        let Header { rows, fingerprint, .. } = self.header;
        Ok(BuildOutcome { rows, left_out_empty, fingerprint, is_new: true })
    }

    /// Writes numbers piece by piece: a copy of them all would double the memory.
    fn write_words(&self, numbers: &[u64]) -> Result<(), Error> {
        numbers.chunks(COLUMN_PIECE).try_for_each(|piece| self.write_out(&bytes64(piece)))
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

    fn write_rows(&mut self) -> Result<(), Error> {
        self.write_out(&self.rows)?;
        self.rows.clear();
        Ok(())
    }

    fn write_out(&self, bytes: &[u8]) -> Result<(), Error> {
        (&self.file).write_all(bytes).map_err(|error| file_error("write", &self.path, &error))
    }
}

fn bytes64(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn unfit(row: &Row<'_>, reason: &str) -> Error {
    let text = format!("this object cannot be a row of an index: {reason}");
    let start: String = row.key.chars().take(64).collect();
    Error::new(ErrorKind::Format, "index", text).with_uri(format!("oss://{}/{start}", row.bucket))
}
