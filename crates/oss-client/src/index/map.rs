//! An index file in memory: mapped read-only, shared by all processes of a node.
//!
//! This is the door to memory mapping. A mapped file must not shrink while it is mapped, or touching it
//! would end the process by a signal. Ours never do: they live in a directory that only we may enter, are
//! written under another name, and are replaced by `rename` as a whole.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use super::format::{Header, Layout, Row};
use crate::error::{Error, ErrorKind};
use crate::objects::{ObjectRef, ObjectSource};

/// A read-only, memory-mapped index: which objects, in which order.
#[derive(Debug)]
pub struct Index {
    map: Mmap,
    header: Header,
    layout: Layout,
    path: PathBuf,
}

impl Index {
    /// Maps the index file at `path` and checks its header and length.
    ///
    /// # Errors
    /// `Format` if it is not a whole index file of this version (user: delete it and build it again);
    /// `NotFound` if there is none; `Config` if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|error| file_error("open", path, &error))?;
        #[expect(unsafe_code, reason = "a mapping is outside of what the compiler can check")]
        // SAFETY: nobody shortens or writes an index file once it has its name (see the module); all
        // reads of the map are bounds-checked, and rows are validated before they are handed out.
        let map =
            unsafe { MmapOptions::new().map(&file) }.map_err(|error| file_error("map", path, &error))?;
        let header = Header::decode(&map).map_err(|reason| malformed(path, &reason))?;
        let layout = header.layout().ok_or_else(|| malformed(path, "its header is damaged"))?;
        Ok(Index { map, header, layout, path: path.to_owned() })
    }

    /// Rows of the index.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.header.rows
    }

    /// Zero-byte objects that the listing found and the index leaves out.
    #[must_use]
    pub fn left_out_empty(&self) -> u64 {
        self.header.left_out_empty
    }

    /// A hash of all rows in their order: equal rows give an equal number, whoever wrote the file.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.header.fingerprint
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The row at `position`, `0 <= position < rows()`.
    ///
    /// # Errors
    /// `Format` beyond the last row, and where the file is damaged (user: delete it and build it again).
    pub fn row(&self, position: u64) -> Result<Row<'_>, Error> {
        self.find(position)
            .ok_or_else(|| malformed(&self.path, &format!("it has no readable row {position}")))
    }

    fn find(&self, position: u64) -> Option<Row<'_>> {
        self.layout.row(&self.map, usize::try_from(position).ok()?)
    }
}

impl ObjectSource for Index {
    fn count(&self) -> u64 {
        self.rows()
    }

    fn object(&self, position: u64) -> Option<ObjectRef<'_>> {
        let row = self.find(position)?;
        Some(ObjectRef { bucket: row.bucket, key: row.key, size: row.size, etag: row.etag })
    }
}

/// A file that is no index, or no whole one.
pub(super) fn malformed(path: &Path, reason: &str) -> Error {
    let text = format!("index file {}: {reason}; delete it and build it again", path.display());
    Error::new(ErrorKind::Format, "index", text)
}

/// A system call on an index file, or on its directory, that failed.
pub(super) fn file_error(action: &str, path: &Path, error: &std::io::Error) -> Error {
    let kind =
        if error.kind() == std::io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Config };
    let text =
        format!("cannot {action} {}: {error}; check the path, its rights and the space left", path.display());
    let failed = Error::new(kind, "index", text);
    match error.raw_os_error() {
        Some(errno) => failed.with_errno(errno),
        None => failed,
    }
}
