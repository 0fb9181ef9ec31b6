//! Building an index file: once, by whichever process comes first.
//!
//! The file lives in a private directory (0700, ours). Beside it are `<name>.lock`, on which an advisory
//! lock is held while somebody builds, and `<name>.building`, which is written, renamed to `<name>` when
//! it is whole, and removed when it is not. A process that finds the lock taken waits; when it gets it,
//! the file is there and nothing is left to do. A process that dies gives its lock back to the system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oss_protocol::crc64::Crc64;

use super::format::{HEADER_BYTES, Header, MAGIC, Row, Shape, UNKNOWN};
use super::map::{Index, file_error};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::interrupt::{SLICE, Watch};

/// Text is handed to the file in pieces of this size, so that those who wait see it grow: 64 KiB.
const TEXT_BUFFER_BYTES: usize = 64 * 1024;

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

/// How a caller waits: by which clock, for how long without progress, and who may end it.
pub struct Patience<'a> {
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The longest wait for another process that makes no progress.
    pub deadline: Duration,
    /// Called at least every 50 ms of waiting, and now and then while rows are taken.
    pub watch: Watch<'a>,
}

impl std::fmt::Debug for Patience<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Patience").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Writes the index file `path` unless it is there, with the rows that `fill` pushes.
///
/// `fill` returns the number of zero-byte objects it left out. The directory is made if it is missing.
///
/// # Errors
/// Those of `fill` and of `patience.watch`; `Config` if the directory is not private to this user, if a
/// file that is no index has that name, or if writing fails; `RequestTimeout` if the process that holds
/// the lock makes no progress.
pub fn build(
    path: &Path,
    patience: &mut Patience<'_>,
    fill: impl FnOnce(&mut Builder, &mut Patience<'_>) -> Result<u64, Error>,
) -> Result<BuildOutcome, Error> {
    let files = Files::beside(path)?;
    let directory = files.prepare_directory()?;
    let lock = files.open_lock(&directory)?;
    files.take_lock(&lock, patience)?;
    let outcome = match files.present()? {
        Some(outcome) => Ok(outcome),
        None => files.write(patience, fill),
    };
    // A forked child may hold a copy of the descriptor: the lock is given back, not left to the close.
    let _ = lock.unlock();
    outcome
}

/// Writes the index file `path` with `rows`, unless it is there.
///
/// # Errors
/// As [`build`].
pub fn build_from_rows<'a>(
    path: &Path,
    patience: &mut Patience<'_>,
    rows: impl IntoIterator<Item = Result<Row<'a>, Error>>,
) -> Result<BuildOutcome, Error> {
    build(path, patience, |builder, patience| {
        for (n, row) in rows.into_iter().enumerate() {
            builder.push(&row?)?;
            if n % 1000 == 999 {
                (patience.watch)()?;
            }
        }
        Ok(0)
    })
}

/// The names that belong to one index.
struct Files {
    directory: PathBuf,
    index: PathBuf,
    lock: PathBuf,
    building: PathBuf,
}

impl Files {
    fn beside(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().ok_or_else(|| {
            Error::config(format!("{} cannot be an index file: it has no file name", path.display()))
        })?;
        let with = |suffix: &str| {
            let mut text = name.to_owned();
            text.push(suffix);
            path.with_file_name(text)
        };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Ok(Files {
            directory: directory.unwrap_or(Path::new(".")).to_owned(),
            index: path.to_owned(),
            lock: with(".lock"),
            building: with(".building"),
        })
    }

    /// Makes the directory, or checks that nobody else can put files into it.
    fn prepare_directory(&self) -> Result<fs::Metadata, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|error| file_error("make directory", &self.directory, &error))?;
        let found = fs::symlink_metadata(self.directory.join("."));
        let found = found.map_err(|error| file_error("look at", &self.directory, &error))?;
        if found.mode() & 0o077 != 0 {
            let name = self.directory.display();
            return Err(Error::config(format!(
                "directory {name} of an index file is open to others (mode {:o}); use a private one, or chmod 700 {name}",
                found.mode() & 0o7777,
            )));
        }
        Ok(found)
    }

    /// Opens the lock file; its owner tells whether the directory is ours.
    fn open_lock(&self, directory: &fs::Metadata) -> Result<File, Error> {
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&self.lock)
            .and_then(|lock| Ok((lock.metadata()?.uid(), lock)));
        let (owner, lock) = opened.map_err(|error| file_error("open lock file", &self.lock, &error))?;
        if owner != directory.uid() {
            let name = self.directory.display();
            return Err(Error::config(format!(
                "directory {name} of an index file belongs to user {}, not to user {owner}; use one of your own",
                directory.uid(),
            )));
        }
        Ok(lock)
    }

    /// Waits until this process holds the lock.
    fn take_lock(&self, lock: &File, patience: &mut Patience<'_>) -> Result<(), Error> {
        let mut seen = 0;
        let mut give_up = patience.clock.now() + patience.deadline;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(file_error("lock", &self.lock, &error)),
            }
            (patience.watch)()?;
            let grown = fs::metadata(&self.building).map_or(0, |found| found.size());
            if grown != seen {
                seen = grown;
                give_up = patience.clock.now() + patience.deadline;
            } else if patience.clock.now() >= give_up {
                return Err(self.holder_is_stuck(patience.deadline));
            }
            patience.clock.sleep_until(patience.clock.now() + SLICE);
        }
    }

    fn holder_is_stuck(&self, deadline: Duration) -> Error {
        let text = format!(
            "another process holds {} and has written nothing for {:.0} s; end it, or use another index file",
            self.lock.display(),
            deadline.as_secs_f64(),
        );
        Error::new(ErrorKind::RequestTimeout, "index", text)
    }

    /// The index that is there already. A damaged one is nothing; a file that never was one is an error.
    fn present(&self) -> Result<Option<BuildOutcome>, Error> {
        match Index::open(&self.index) {
            Ok(index) => Ok(Some(BuildOutcome {
                rows: index.rows(),
                left_out_empty: index.left_out_empty(),
                fingerprint: index.fingerprint(),
                is_new: false,
            })),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind == ErrorKind::Format && self.was_ours() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the file began as an index, so that writing over it destroys nothing of the user's.
    fn was_ours(&self) -> bool {
        let mut start = Vec::new();
        let read =
            File::open(&self.index).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start));
        read.is_ok() && (start.is_empty() || start == MAGIC)
    }

    fn write(
        &self,
        patience: &mut Patience<'_>,
        fill: impl FnOnce(&mut Builder, &mut Patience<'_>) -> Result<u64, Error>,
    ) -> Result<BuildOutcome, Error> {
        let _ = fs::remove_file(&self.building);
        let written = Builder::create(&self.building).and_then(|mut builder| {
            let left_out_empty = fill(&mut builder, patience)?;
            builder.finish(left_out_empty)
        });
        let written = written.and_then(|outcome| {
            let renamed = fs::rename(&self.building, &self.index);
            renamed.map_err(|error| file_error("rename to", &self.index, &error))?;
            Ok(outcome)
        });
        if written.is_err() {
            let _ = fs::remove_file(&self.building);
        }
        written
    }
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
    fn create(path: &Path) -> Result<Self, Error> {
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

    fn finish(mut self, left_out_empty: u64) -> Result<BuildOutcome, Error> {
        self.write_text()?;
        for column in self.columns.encoded() {
            self.write_out(&column)?;
        }
        self.write_buckets()?;
        self.header.left_out_empty = left_out_empty;
        self.header.fingerprint = self.fingerprint.value();
        let header = self.header.encode();
        let written = std::os::unix::fs::FileExt::write_all_at(&self.file, &header, 0);
        written.map_err(|error| file_error("write", &self.path, &error))?;
        let Header { rows, fingerprint, .. } = self.header;
        Ok(BuildOutcome { rows, left_out_empty, fingerprint, is_new: true })
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
        self.header.has_ranges = !self.columns.ranges.is_empty();
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

    /// The columns in the order of the file.
    fn encoded(&self) -> [Vec<u8>; 5] {
        [
            bytes64(&self.text_ends),
            bytes64(&self.sizes),
            bytes32(&self.shapes),
            bytes32(&self.buckets),
            bytes64(&self.ranges),
        ]
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
