//! A listing that is being written, read as it grows: by the process that lists, or by any other of its node.
//!
//! Whoever builds an index appends whole rows to `<name>.building`, and a stop behind the last one. A `Tail` reads
//! them from there in pieces that it holds in memory, so a piece stays what it was whatever becomes of the file.
//! Rows are no more than a beginning until the file has its name: a listing may fail, and the next one may differ.
//! [`Tail::is_beginning_of`] tells, once there is an index.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::build::building_path;
use super::fingerprint::Fingerprint;
use super::format::{HEADER_BYTES, NO_BUCKET, Row, StoredRow};
use super::map::{Index, file_error};
use crate::error::Error;
use crate::objects::{ObjectRef, ObjectSource};

/// Bytes of rows that a piece has at most: 4 MiB, about 40,000 rows. Far more than the largest row of a listing.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// Rows of a listing that is still going on.
#[derive(Debug)]
pub struct Tail {
    file: File,
    path: PathBuf,
    bucket: String,
    round: u64,
    read_bytes: u64,
    rows: u64,
    fingerprint: Fingerprint,
    at_stop: bool,
}

impl Tail {
    /// Opens what is being written for the index file `path`, a listing of `bucket`; None if nobody writes.
    ///
    /// Pieces end where a `round` of rows ends, as there are ranks that share them: whether what remains is dealt to
    /// anybody is known at the end alone.
    ///
    /// # Errors
    /// `Config` if the file cannot be opened.
    pub fn open(path: &Path, bucket: &str, round: u64) -> Result<Option<Self>, Error> {
        let path = building_path(path)?;
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file_error("open", &path, &error)),
        };
        Ok(Some(Tail {
            file,
            path,
            bucket: bucket.to_owned(),
            round: round.max(1),
            read_bytes: HEADER_BYTES as u64,
            rows: 0,
            fingerprint: Fingerprint::default(),
            at_stop: false,
        }))
    }

    /// The rows that were written since the last piece, 4 MiB of them at most; there may be none.
    ///
    /// # Errors
    /// `Config` if the file cannot be read.
    pub fn next_piece(&mut self) -> Result<Piece, Error> {
        let mut piece =
            Piece { bucket: self.bucket.clone(), first: self.rows, bytes: Vec::new(), rows: Vec::new() };
        let mut bytes = if self.at_stop { Vec::new() } else { self.new_bytes()? };
        let mut start = 0;
        while let Some((row, behind)) = StoredRow::read(&bytes[start..]) {
            if row.bucket == NO_BUCKET {
                self.at_stop = true;
                break;
            }
            piece.rows.push(start..bytes.len() - behind.len());
            start = bytes.len() - behind.len();
        }
        let incomplete = (piece.first + piece.rows()) % self.round;
        piece.rows.truncate(usize::try_from(piece.rows().saturating_sub(incomplete)).unwrap_or(0));
        bytes.truncate(piece.rows.last().map_or(0, |row| row.end));
        piece.bytes = bytes;
        self.read_bytes += piece.bytes.len() as u64;
        self.rows += piece.rows();
        for position in piece.first..self.rows {
            piece.row(position).iter().for_each(|row| self.fingerprint.add(row));
        }
        Ok(piece)
    }

    fn new_bytes(&self) -> Result<Vec<u8>, Error> {
        let failed = |error| file_error("read", &self.path, &error);
        let grown = self.file.metadata().map_err(failed)?.len().saturating_sub(self.read_bytes);
        let mut bytes = vec![0; usize::try_from(grown).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
        let filled = self.file.read_at(&mut bytes, self.read_bytes).map_err(failed)?;
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Whether the rows read so far are the first ones of `index`.
    ///
    /// The same file is; of another one, as there is after a listing that failed, the rows are compared.
    ///
    /// # Errors
    /// `Format` if the index file is damaged; `Config` if one of the two cannot be looked at.
    pub fn is_beginning_of(&self, index: &Index) -> Result<bool, Error> {
        let own = self.file.metadata().map_err(|error| file_error("look at", &self.path, &error))?;
        let other =
            fs::metadata(index.path()).map_err(|error| file_error("look at", index.path(), &error))?;
        if (own.dev(), own.ino()) == (other.dev(), other.ino()) {
            return Ok(true);
        }
        if index.rows() < self.rows {
            return Ok(false);
        }
        let mut fingerprint = Fingerprint::default();
        for position in 0..self.rows {
            fingerprint.add(&index.row(position)?);
        }
        Ok(fingerprint.value() == self.fingerprint.value())
    }
}

/// Some rows that follow each other, in memory.
#[derive(Debug)]
pub struct Piece {
    bucket: String,
    first: u64,
    bytes: Vec<u8>,
    rows: Vec<Range<usize>>,
}

impl Piece {
    /// The position of its first row.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The row at `position` of the index; None outside of this piece.
    #[must_use]
    pub fn row(&self, position: u64) -> Option<Row<'_>> {
        let within = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let bytes = self.bytes.get(self.rows.get(within)?.clone())?;
        Some(StoredRow::read(bytes)?.0.of(&self.bucket))
    }
}

impl ObjectSource for Piece {
    fn count(&self) -> u64 {
        self.first + self.rows()
    }

    fn object(&self, position: u64) -> Option<ObjectRef<'_>> {
        let row = self.row(position)?;
        Some(ObjectRef { bucket: row.bucket, key: row.key, size: row.size, etag: row.etag })
    }
}
