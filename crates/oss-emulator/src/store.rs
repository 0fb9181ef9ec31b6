//! Buckets and objects, and the moments at which they change.
//!
//! One lock guards everything. What changes under it is written to the journal before it is
//! released (lock order: store, then journal), so the journal's order is the order clients could
//! see. With `--root` the small sidecar of a key is written under the lock too: its rename is the
//! commit, and it must not be overtaken by the next one.

pub(crate) mod body;
pub(crate) mod bucket;
pub(crate) mod disk;
pub(crate) mod intake;
pub(crate) mod multitude;
pub(crate) mod object;
pub(crate) mod pattern;
pub(crate) mod sidecar;
pub(crate) mod slot;
pub(crate) mod synthetic;
pub(crate) mod upload;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use crate::clock::Clock;
use crate::journal::{Change, Journal};
use crate::locks::{read, write};
use crate::random::mix;
use crate::refusal::Refusal;
use crate::store::bucket::{Bucket, Found, check_overwrite, check_version, find};
use crate::store::disk::Disk;
use crate::store::intake::Intake;
use crate::store::object::Object;
use crate::store::slot::{Content, NULL_VERSION, Slot, Version, Versioning};

/// What became of a write.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The object as it is now.
    pub(crate) object: Arc<Object>,
    /// Its version id; `None` where versioning was never switched on.
    pub(crate) version_id: Option<String>,
}

/// What became of a delete.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// Version that was removed, or the delete marker that was made.
    pub(crate) version_id: Option<String>,
    /// Whether a delete marker was made or removed.
    pub(crate) delete_marker: bool,
}

/// Everything the emulator keeps.
#[derive(Debug)]
pub(crate) struct Store {
    buckets: RwLock<BTreeMap<String, Bucket>>,
    journal: Arc<Journal>,
    clock: Arc<Clock>,
    disk: Option<Disk>,
    serial: AtomicU64,
    opaque_etags: bool,
}

impl Store {
    /// Makes an empty store, or loads what lies below the disk's root.
    ///
    /// # Errors
    /// The root cannot be read.
    pub(crate) fn open(
        journal: Arc<Journal>,
        clock: Arc<Clock>,
        disk: Option<Disk>,
        opaque_etags: bool,
    ) -> io::Result<Self> {
        let buckets = disk.as_ref().map(Disk::load).transpose()?.unwrap_or_default();
        let serial = AtomicU64::new(mix(clock.unix_millis().unsigned_abs()));
        Ok(Self { buckets: RwLock::new(buckets), journal, clock, disk, serial, opaque_etags })
    }

    /// Where changes are written down.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The service's clock.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Draws 128 bits of identity as upper-case hex: upload ids, version ids, names of files.
    pub(crate) fn fresh_id(&self) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        format!("{:016X}{:016X}", mix(serial), mix(!serial))
    }

    /// Begins to receive the bytes of `key`; `says_md5` if the client said what their MD5 is.
    ///
    /// # Errors
    /// The data file cannot be created.
    pub(crate) fn intake(
        &self,
        key: &str,
        expected_bytes: Option<u64>,
        says_md5: bool,
    ) -> Result<Intake, Refusal> {
        let file = self.disk.as_ref().map(|disk| disk.data_file(key, &self.fresh_id()));
        Intake::begin(file, expected_bytes, says_md5 || !self.opaque_etags)
            .map_err(|error| Refusal::internal(&error))
    }

    /// Makes the object that a PutObject of these bytes would make, without storing it.
    ///
    /// # Errors
    /// 500: the data file cannot be written.
    pub(crate) fn plain_object(&self, key: &str, bytes: &[u8]) -> Result<Object, Refusal> {
        let mut intake = self.intake(key, Some(bytes.len() as u64), false)?;
        intake.write(bytes).map_err(|error| Refusal::internal(&error))?;
        Ok(synthetic::plain(&intake.finish(), self.clock.unix_millis()))
    }

    /// Looks at all buckets.
    pub(crate) fn with_all<T>(&self, look: impl FnOnce(&BTreeMap<String, Bucket>) -> T) -> T {
        look(&read(&self.buckets))
    }

    /// Looks at one bucket.
    ///
    /// # Errors
    /// 404 NoSuchBucket.
    pub(crate) fn with<T>(&self, name: &str, look: impl FnOnce(&Bucket) -> T) -> Result<T, Refusal> {
        read(&self.buckets).get(name).map(look).ok_or_else(|| Refusal::no_such_bucket(name))
    }

    /// Changes one bucket; `alter` keeps to uploads and attributes, objects change through the
    /// methods below.
    ///
    /// # Errors
    /// 404 NoSuchBucket, or what `alter` refuses.
    pub(crate) fn alter<T>(
        &self,
        name: &str,
        alter: impl FnOnce(&mut Bucket) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut buckets = write(&self.buckets);
        alter(buckets.get_mut(name).ok_or_else(|| Refusal::no_such_bucket(name))?)
    }

    /// Creates a bucket, or changes the ACL of one that exists (it has one owner here).
    ///
    /// # Errors
    /// 500 if the root cannot be written.
    pub(crate) fn create_bucket(&self, name: &str, acl: Option<&str>, class: &str) -> Result<(), Refusal> {
        let mut buckets = write(&self.buckets);
        let bucket = buckets.entry(name.to_owned()).or_insert_with(|| Bucket {
            created_ms: self.clock.unix_millis(),
            acl: "private".to_owned(),
            storage_class: class.to_owned(),
            versioning: Versioning::Off,
            slots: BTreeMap::new(),
            multitudes: Vec::new(),
            uploads: BTreeMap::new(),
        });
        if let Some(acl) = acl {
            acl.clone_into(&mut bucket.acl);
        }
        self.save_bucket(name, bucket)
    }

    /// Changes attributes of a bucket and keeps them.
    ///
    /// # Errors
    /// 404 NoSuchBucket; 500 if the root cannot be written.
    pub(crate) fn set_bucket(&self, name: &str, set: impl FnOnce(&mut Bucket)) -> Result<(), Refusal> {
        self.alter(name, |bucket| {
            set(bucket);
            self.save_bucket(name, bucket)
        })
    }

    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// 404 NoSuchBucket; 409 BucketNotEmpty; 500 if the root cannot be written.
    pub(crate) fn delete_bucket(&self, name: &str) -> Result<(), Refusal> {
        let mut buckets = write(&self.buckets);
        let bucket = buckets.get(name).ok_or_else(|| Refusal::no_such_bucket(name))?;
        if !bucket.slots.is_empty() || !bucket.uploads.is_empty() {
            let message = "The bucket has objects. Please delete them first.";
            return Err(Refusal::new(409, "BucketNotEmpty", message).field("BucketName", name));
        }
        self.on_disk(|disk| disk.remove_bucket(name))?;
        buckets.remove(name);
        Ok(())
    }

    /// Finds an object; `version` as the query parameter `versionId` says.
    ///
    /// # Errors
    /// 404 NoSuchBucket, NoSuchKey or NoSuchVersion; 405 for a delete marker asked by its id.
    pub(crate) fn find(&self, bucket: &str, key: &str, version: Option<&str>) -> Result<Found, Refusal> {
        self.with(bucket, |found| find(found, key, version))?
    }

    /// Writes an object: the moment it becomes visible. `change` names it in the journal.
    ///
    /// # Errors
    /// 404 NoSuchBucket; 409 FileAlreadyExists if the key exists, `forbid_overwrite` was asked
    /// and the bucket knows no versions; 500 if the root cannot be written.
    pub(crate) fn put(
        &self,
        place: (&str, &str),
        forbid_overwrite: bool,
        object: Object,
    ) -> Result<Stored, Refusal> {
        self.alter(place.0, |bucket| {
            check_overwrite(bucket, place.1, forbid_overwrite)?;
            self.commit(bucket, place, "put", object)
        })
    }

    /// Makes an object visible in a bucket whose lock the caller holds.
    ///
    /// # Errors
    /// 500 if the root cannot be written.
    pub(crate) fn commit(
        &self,
        bucket: &mut Bucket,
        (name, key): (&str, &str),
        change: &'static str,
        object: Object,
    ) -> Result<Stored, Refusal> {
        let id = match bucket.versioning {
            Versioning::Enabled => self.fresh_id(),
            Versioning::Off | Versioning::Suspended => NULL_VERSION.to_owned(),
        };
        let object = Arc::new(object);
        let mut slot = bucket.slots.get(key).cloned().unwrap_or_default();
        slot.push(Version { id: id.clone(), content: Content::Object(Arc::clone(&object)) });
        self.on_disk(|disk| disk.save_slot(name, key, &slot))?;
        bucket.slots.insert(key.to_owned(), slot);
        self.journal.change(Change {
            etag: Some(object.etag.clone()),
            size: Some(object.body.size_bytes()),
            crc64: object.crc64,
            ..Change::new(change, name, key)
        });
        let version_id = (bucket.versioning != Versioning::Off).then_some(id);
        Ok(Stored { object, version_id })
    }

    /// Changes attributes of one version of an object; its bytes and ETag stay.
    ///
    /// # Errors
    /// As [`Store::find`]; what `change` refuses; 500 if the root cannot be written.
    pub(crate) fn update<T>(
        &self,
        (name, key): (&str, &str),
        version: Option<&str>,
        change: impl FnOnce(&mut Object) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.alter(name, |bucket| {
            let (old, id) = find(bucket, key, version)?;
            let mut object = Object::clone(&old);
            let result = change(&mut object)?;
            let mut slot = bucket.slots.get(key).cloned().unwrap_or_default();
            slot.replace(id.as_deref().unwrap_or(NULL_VERSION), Arc::new(object));
            self.on_disk(|disk| disk.save_slot(name, key, &slot))?;
            bucket.slots.insert(key.to_owned(), slot);
            Ok(result)
        })
    }

    /// Deletes a key, or one version of it; what is not there is deleted all the same.
    ///
    /// # Errors
    /// 404 NoSuchBucket; 400 InvalidArgument for a malformed version id; 500 if the root cannot be
    /// written.
    pub(crate) fn remove(&self, place: (&str, &str), version: Option<&str>) -> Result<Removed, Refusal> {
        let (name, key) = place;
        version.map_or(Ok(""), check_version)?;
        self.alter(name, |bucket| {
            let mut slot = bucket.slots.get(key).cloned().unwrap_or_default();
            let existed = slot.current().is_some();
            let removed = self.take_version(&mut slot, bucket.versioning, version);
            if slot.is_empty() {
                self.on_disk(|disk| disk.remove_slot(name, key))?;
                bucket.slots.remove(key);
            } else {
                self.on_disk(|disk| disk.save_slot(name, key, &slot))?;
                bucket.slots.insert(key.to_owned(), slot);
            }
            if existed {
                self.journal.change(Change::new("delete", name, key));
            }
            Ok(removed)
        })
    }

    fn take_version(&self, slot: &mut Slot, versioning: Versioning, version: Option<&str>) -> Removed {
        if let Some(id) = version {
            let taken = slot.remove(id);
            let delete_marker = taken.is_some_and(|v| matches!(v.content, Content::DeleteMarker(_)));
            return Removed { version_id: Some(id.to_owned()), delete_marker };
        }
        let id = match versioning {
            Versioning::Off => {
                *slot = Slot::default();
                return Removed::default();
            }
            Versioning::Enabled => self.fresh_id(),
            Versioning::Suspended => NULL_VERSION.to_owned(),
        };
        let content = Content::DeleteMarker(self.clock.unix_millis());
        slot.push(Version { id: id.clone(), content });
        Removed { version_id: Some(id), delete_marker: true }
    }

    /// Forgets all objects and uploads; buckets stay.
    ///
    /// # Errors
    /// 500 if the root cannot be written.
    pub(crate) fn clear_objects(&self) -> Result<(), Refusal> {
        for (name, bucket) in write(&self.buckets).iter_mut() {
            for key in bucket.slots.keys() {
                self.on_disk(|disk| disk.remove_slot(name, key))?;
            }
            bucket.slots.clear();
            bucket.multitudes.clear();
            bucket.uploads.clear();
        }
        Ok(())
    }

    fn save_bucket(&self, name: &str, bucket: &Bucket) -> Result<(), Refusal> {
        self.on_disk(|disk| disk.save_bucket(name, bucket))
    }

    fn on_disk(&self, act: impl FnOnce(&Disk) -> io::Result<()>) -> Result<(), Refusal> {
        self.disk.as_ref().map_or(Ok(()), act).map_err(|error| Refusal::internal(&error))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(disk) = &self.disk {
            disk.close();
        }
    }
}
