//! Objects that outlive the emulator: what lies below `--root`.
//!
//! ```text
//! ROOT/data/<key, escaped and cut>.<id>        bytes of one PUT or part, never changed
//! ROOT/buckets/<bucket>/bucket.json            attributes of the bucket
//! ROOT/buckets/<bucket>/<key, escaped>.json    the sidecar: all versions of a key
//! ```
//! A sidecar is written beside and renamed, which is the commit. Data files that no sidecar names
//! (parts of an upload that was open when the emulator was killed) are removed at the next start.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::body::DataFile;
use crate::store::bucket::Bucket;
use crate::store::intake::md5_of;
use crate::store::sidecar;
use crate::store::slot::Slot;

/// Longest escaped key used as it is in a file name; longer ones are cut and get a hash.
const MAX_NAME_BYTES: usize = 120;

/// Data files by name, so that copies which shared a file share it again after loading.
pub(crate) type DataFiles = HashMap<PathBuf, Arc<DataFile>>;

/// The directory given by `--root`.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    closing: Arc<AtomicBool>,
}

impl Disk {
    /// Uses a directory, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root.join("data"))?;
        fs::create_dir_all(root.join("buckets"))?;
        Ok(Self { root: root.to_owned(), closing: Arc::default() })
    }

    /// From now on data files stay where they are, although nothing refers to them any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Names a new data file for bytes of `key`.
    pub(crate) fn data_file(&self, key: &str, id: &str) -> DataFile {
        let name = format!("{}.{id}", file_name(key));
        DataFile { path: self.root.join("data").join(name), closing: Arc::clone(&self.closing) }
    }

    /// Keeps all versions of a key.
    ///
    /// # Errors
    /// The sidecar cannot be written.
    pub(crate) fn save_slot(&self, bucket: &str, key: &str, slot: &Slot) -> io::Result<()> {
        self.replace(&self.sidecar_path(bucket, key), sidecar::write_slot(key, slot)?.as_bytes())
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// The sidecar cannot be removed.
    pub(crate) fn remove_slot(&self, bucket: &str, key: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.sidecar_path(bucket, key)))
    }

    /// Keeps the attributes of a bucket.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save_bucket(&self, name: &str, bucket: &Bucket) -> io::Result<()> {
        let directory = self.root.join("buckets").join(name);
        fs::create_dir_all(&directory)?;
        self.replace(&directory.join("bucket.json"), sidecar::write_bucket(bucket).as_bytes())
    }

    /// Forgets an empty bucket.
    ///
    /// # Errors
    /// The directory cannot be removed.
    pub(crate) fn remove_bucket(&self, name: &str) -> io::Result<()> {
        let directory = self.root.join("buckets").join(name);
        absent_is_fine(fs::remove_file(directory.join("bucket.json")))?;
        absent_is_fine(fs::remove_dir(directory))
    }

    /// Loads all buckets, and removes data files that nothing names.
    ///
    /// # Errors
    /// A directory or a sidecar cannot be read; the text names it.
    pub(crate) fn load(&self) -> io::Result<BTreeMap<String, Bucket>> {
        let mut files = self.data_files()?;
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(self.root.join("buckets"))? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if path.join("bucket.json").is_file() {
                buckets.insert(name.to_owned(), load_bucket(&path, &files)?);
            }
        }
        // Files whose only reference is this table are dropped with it, and thereby removed.
        files.clear();
        Ok(buckets)
    }

    fn data_files(&self) -> io::Result<DataFiles> {
        let mut files = DataFiles::new();
        for entry in fs::read_dir(self.root.join("data"))? {
            let entry = entry?;
            let file = DataFile { path: entry.path(), closing: Arc::clone(&self.closing) };
            files.insert(PathBuf::from(entry.file_name()), Arc::new(file));
        }
        Ok(files)
    }

    fn sidecar_path(&self, bucket: &str, key: &str) -> PathBuf {
        self.root.join("buckets").join(bucket).join(format!("{}.json", sidecar_name(key)))
    }

    /// Writes a file beside its place and renames it: readers see the old or the new one, whole.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        fs::write(&beside, bytes)?;
        fs::rename(&beside, path)
    }
}

fn load_bucket(directory: &Path, files: &DataFiles) -> io::Result<Bucket> {
    let mut bucket = sidecar::read_bucket(&fs::read(directory.join("bucket.json"))?)?;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_sidecar = path.extension().is_some_and(|extension| extension == "json");
        if !is_sidecar || path.file_name().is_some_and(|name| name == "bucket.json") {
            continue;
        }
        let (key, slot) = sidecar::read_slot(&fs::read(&path)?, files)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        bucket.slots.insert(key, slot);
    }
    Ok(bucket)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Escapes a key into a file name: letters, digits, `-` and `_` stay, other bytes become `%XX`.
fn file_name(key: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let mut name = String::new();
    for byte in key.bytes() {
        if kept(byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name.truncate(MAX_NAME_BYTES);
    name
}

/// The name of a key's sidecar: the escaped key; with a hash where it had to be cut. `bucket.json`
/// cannot arise, because a dot is escaped and the plain name `bucket` gets the hash too.
fn sidecar_name(key: &str) -> String {
    let name = file_name(key);
    if name.len() < MAX_NAME_BYTES && name != "bucket" {
        return name;
    }
    format!("{name}~{}", oss_protocol::encoding::hex(&md5_of(key.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn any_key_has_a_file_name_of_its_own() {
        let long = "x".repeat(1023);
        let longer = format!("{long}y");
        let keys = ["bucket", "a/b", "a%2Fb", "..", ".", "é", "\u{1}", "a b", &long, &longer];
        let names: HashSet<String> = keys.iter().map(|key| sidecar_name(key)).collect();
        assert_eq!(names.len(), keys.len());
        assert!(names.iter().all(|name| name.len() < 200 && !name.contains('/') && name != "bucket"));
    }
}
