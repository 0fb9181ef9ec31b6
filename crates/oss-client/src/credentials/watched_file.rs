//! A file that others rewrite: read whole, and looked at whether it changed.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::statics::broken;
use crate::error::Error;
use crate::sync::Mutex;

/// Larger files are not credentials: 1 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What tells one state of a file from another. Symbolic links are followed, so a rename in a mounted
/// secret shows as another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    modified_ns: i128,
    size: u64,
    inode: u64,
}

/// A file and what it looked like when it was read last.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    last_read: Mutex<Option<Fingerprint>>,
}

impl WatchedFile {
    /// Touches nothing yet.
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        WatchedFile { path: path.into(), last_read: Mutex::new(None) }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it whole and lets `parse` make something of it; only what could be parsed counts as read.
    ///
    /// # Errors
    /// `Credentials`, naming `source`; or what `parse` says. `remedy` ends the text where it cannot be opened.
    pub(super) fn read<T>(
        &self,
        source: &str,
        remedy: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let before = self.fingerprint();
        let parsed = parse(&self.content(source, remedy)?)?;
        *self.last_read.lock() = before;
        Ok(parsed)
    }

    /// Whether it is there and differs from what was read last.
    pub(super) fn has_changed(&self) -> bool {
        let now = self.fingerprint();
        now.is_some() && now != *self.last_read.lock()
    }

    /// Whether the file is there, or nothing that this user could reach.
    ///
    /// # Errors
    /// `Credentials`, naming `source`, if that cannot be told now.
    pub(super) fn is_there(&self, source: &str) -> Result<bool, Error> {
        unless_absent(&self.path, source, fs::metadata(&self.path)).map(|found| found.is_some())
    }

    fn content(&self, source: &str, remedy: &str) -> Result<Vec<u8>, Error> {
        let file = fs::File::open(&self.path)
            .map_err(|error| broken(source, &format!("cannot be opened ({}); {remedy}", error.kind())))?;
        let mut content = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(|error| broken(source, &format!("cannot be read ({})", error.kind())))?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(broken(source, "is larger than 1 MiB, so it holds no credentials"));
        }
        Ok(content)
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        let meta = fs::metadata(&self.path).ok()?;
        Some(Fingerprint {
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            size: meta.len(),
            inode: meta.ino(),
        })
    }
}

/// The first bytes of the file at `path`; `None` where there is no file, or nothing that this user could reach.
///
/// # Errors
/// `Credentials`, naming `source`, if it cannot be opened or read now.
pub(super) fn start_of(path: &Path, source: &str) -> Result<Option<Vec<u8>>, Error> {
    const START_BYTES: u64 = 64;
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(START_BYTES).read_to_end(&mut start));
    Ok(unless_absent(path, source, read)?.map(|_count| start))
}

/// `None` for the errors which say that there is no file for this user. Any other, such as too many open files or a
/// stale handle, says that there is one which cannot be had now: to go on without it could mean another identity.
fn unless_absent<T>(path: &Path, source: &str, outcome: io::Result<T>) -> Result<Option<T>, Error> {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let error = match outcome {
        Ok(value) => return Ok(Some(value)),
        Err(error) => error,
    };
    // A look takes no descriptor. If that is denied a directory above is closed: it is another user's.
    let look = || fs::metadata(path).map_or_else(|error| Some(error.kind()), |_found| None);
    match error.kind() {
        NotFound | NotADirectory | IsADirectory => Ok(None),
        _ if matches!(look(), Some(NotFound | NotADirectory | PermissionDenied)) => Ok(None),
        _ => Err(broken(source, &format!("cannot be read ({error}); make it readable, or remove it"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_for_this_user_is_absent() {
        let here = std::env::current_exe().expect("a file that is there");
        let nowhere = Path::new("/nonexistent/file");
        let after = |path: &Path, errno| {
            unless_absent(path, "the source", Err::<(), _>(io::Error::from_raw_os_error(errno)))
        };
        for errno in [libc::ENOENT, libc::ENOTDIR, libc::EISDIR] {
            assert_eq!(after(&here, errno).expect("absent"), None);
        }
        assert_eq!(after(nowhere, libc::EACCES).expect("a directory above is closed"), None);
        let unreadable = after(&here, libc::EACCES).expect_err("the file itself is closed").to_string();
        assert!(unreadable.contains("the source: cannot be read (Permission denied"), "{unreadable}");
        for errno in [libc::EMFILE, libc::ENFILE, libc::EIO, libc::ESTALE, libc::ELOOP] {
            assert!(after(&here, errno).is_err(), "{errno}");
            assert_eq!(after(nowhere, errno).expect("nothing is there all the same"), None);
        }
    }
}
