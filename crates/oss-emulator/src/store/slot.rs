//! All versions behind one key, newest last, by the rules of OSS's versioning.

use std::sync::Arc;

use crate::store::object::Object;

/// What a bucket does with versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versioning {
    /// Never switched on.
    Off,
    /// Every write makes a version of its own.
    Enabled,
    /// Was on: writes replace the version `null`, older versions stay.
    Suspended,
}

impl Versioning {
    /// The word of the XML; `None` where versioning was never switched on.
    pub(crate) fn status(self) -> Option<&'static str> {
        match self {
            Versioning::Off => None,
            Versioning::Enabled => Some("Enabled"),
            Versioning::Suspended => Some("Suspended"),
        }
    }
}

/// The id of the version that unversioned writes make.
pub(crate) const NULL_VERSION: &str = "null";

/// What a version is: bytes, or the mark that the key was deleted then.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// An object.
    Object(Arc<Object>),
    /// A delete marker, made at that unix millisecond.
    DeleteMarker(i64),
}

/// One version.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// Its id, or `null`.
    pub(crate) id: String,
    /// What it is.
    pub(crate) content: Content,
}

/// All versions of a key; a bucket never keeps an empty slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    versions: Vec<Version>,
}

impl Slot {
    /// Makes a slot of versions, oldest first.
    pub(crate) fn new(versions: Vec<Version>) -> Self {
        Self { versions }
    }

    /// All versions, oldest first.
    pub(crate) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The newest version.
    pub(crate) fn latest(&self) -> Option<&Version> {
        self.versions.last()
    }

    /// The object that a plain GET sees; `None` if the newest version is a delete marker.
    pub(crate) fn current(&self) -> Option<&Arc<Object>> {
        match &self.latest()?.content {
            Content::Object(object) => Some(object),
            Content::DeleteMarker(_) => None,
        }
    }

    /// Finds a version by its id.
    pub(crate) fn find(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }

    /// Adds a version as the newest; one with the same id (as `null`) is replaced.
    pub(crate) fn push(&mut self, version: Version) {
        self.remove(&version.id);
        self.versions.push(version);
    }

    /// Removes one version for good and returns it.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Version> {
        let at = self.versions.iter().position(|version| version.id == id)?;
        Some(self.versions.remove(at))
    }

    /// Puts another object in the place of the version with that id.
    pub(crate) fn replace(&mut self, id: &str, object: Arc<Object>) {
        if let Some(version) = self.versions.iter_mut().find(|version| version.id == id) {
            version.content = Content::Object(object);
        }
    }

    /// Says whether no version is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }
}
