//! Building an index file: once, by whichever process comes first.
//!
//! The file lives in a private directory (0700, ours). Beside it are `<name>.lock`, on which an advisory
//! lock is held while somebody builds, and `<name>.building`, which is written, renamed to `<name>` when
//! it is whole, and removed when it is not. A process that finds the lock taken waits; when it gets it,
//! the file is there and nothing is left to do. A process that dies gives its lock back to the system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::builder::{BuildOutcome, Builder};
use super::format::{MAGIC, Row};
use super::map::{Index, file_error};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::interrupt::{SLICE, Watch};

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

/// The file that is written while the index `path` is built.
pub(super) fn building_path(path: &Path) -> Result<PathBuf, Error> {
    Files::beside(path).map(|files| files.building)
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
