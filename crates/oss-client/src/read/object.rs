//! Random access and read-ahead over one pinned version of one object.
//!
//! Large reads fan out in ranges that land in the caller's memory; small ones are served from parts that were
//! read [`ahead`](super::ahead). When everything that was received tiles the object, its CRC-64 is compared with the
//! one OSS keeps.
//!
//! All requests run on worker threads; the calling thread waits in slices and calls `watch` between them, so that
//! an interrupt is felt at once.

mod ranges;

use oss_protocol::uri::ObjectUri;

use crate::client::Client;
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::fork;
use crate::interrupt::{SLICE, Watch};
use crate::lend::{self, Lend};
use crate::read::ahead::{Ahead, Version};
use crate::read::engine::{ReadEngine, call};
use crate::read::fetch;
use crate::read::loading::Loading;
use crate::read::slot::Slot;
use crate::read::tiles::Tiles;
use crate::stats::Counter;
use crate::sync::{Arc, Weak};
use crate::telling::crowd::{Reads, Stream, Told};
use crate::workers::Workers;

/// Reads at least this large go straight into the caller's memory.
const DIRECT_BYTES: u64 = 1024 * 1024;

/// A reader of one object. Used by one thread at a time.
#[derive(Debug)]
pub struct ObjectReader {
    engine: ReadEngine,
    client: Client,
    workers: Workers,
    generation: u32,
    uri: ObjectUri,
    version: Option<Version>,
    position: u64,
    ahead: Ahead,
    tiles: Tiles,
    /// What was found when all was received, some of which the caller has: no read goes on behind it.
    damage: Option<Error>,
    /// True once the caller saw anything of this version: from then on another version is an error.
    is_told: bool,
    has_begun_again: bool,
    notes: Arc<Stream>,
    loading: Loading,
}

impl ObjectReader {
    /// Prepares to read `uri`; nothing is sent. Size and ETag may be known from a listing.
    ///
    /// # Errors
    /// `Forked` if the client cannot work in this process.
    pub fn new(
        engine: &ReadEngine,
        uri: ObjectUri,
        size: Option<u64>,
        etag: Option<String>,
    ) -> Result<Self, Error> {
        let version = size.zip(etag).map(|(size, etag)| Version { size, etag, crc64: None });
        let workers = engine.workers()?;
        let notes = Stream::new(Reads::Object(uri.to_string()), 0, SystemClock.now());
        engine.client().transport("read")?.crowd.enter(Arc::downgrade(&notes) as Weak<dyn Told>);
        Ok(Self {
            loading: Loading::new(&uri, engine.client().config().timeouts.tick),
            notes,
            ahead: Ahead::new(engine.client(), &workers, &uri),
            workers,
            generation: fork::generation(),
            engine: engine.clone(),
            client: engine.client().clone(),
            uri,
            version,
            position: 0,
            tiles: Tiles::default(),
            damage: None,
            is_told: false,
            has_begun_again: false,
        })
    }

    /// The object that is read.
    #[must_use]
    pub fn uri(&self) -> &ObjectUri {
        &self.uri
    }

    /// Where the next read starts.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Lets the next read start at `position`, which may lie beyond the end. Sends nothing.
    ///
    /// At the start of an object that came damaged, everything is read anew.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
        if position == 0 {
            self.damage = None;
        }
    }

    /// Reads piece by piece, by `read`; if that fails the position is where it was, since nobody gets what was taken:
    /// at the start, damage that was found is read anew as well.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn all_or_nothing<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let start = self.position;
        self.ahead.keep_from(Some(start));
        let outcome = self.timed(read).inspect_err(|_| self.seek(start));
        self.ahead.keep_from(None);
        outcome
    }

    /// The pinned version's ETag, once it is known.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.version.as_ref().map(|version| version.etag.as_str())
    }

    /// The object's size in bytes; asks OSS when it is not known yet.
    ///
    /// # Errors
    /// Those of HeadObject, and of `watch`.
    pub fn size(&mut self, watch: Watch<'_>) -> Result<u64, Error> {
        let size = self.open(watch)?.size;
        self.is_told = true;
        Ok(size)
    }

    /// How many bytes are left between the position and the end.
    ///
    /// # Errors
    /// As [`ObjectReader::size`].
    pub fn remaining(&mut self, watch: Watch<'_>) -> Result<u64, Error> {
        let position = self.position;
        Ok(self.open(watch)?.size.saturating_sub(position))
    }

    /// Bytes at the position that are in memory; empty when a request is needed first.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        self.ahead.buffered(self.position)
    }

    /// Moves the position over `count` bytes that [`ObjectReader::buffered`] gave.
    pub fn advance(&mut self, count: usize) {
        self.move_to(self.position + count as u64);
    }

    /// Makes [`ObjectReader::buffered`] give at least one byte, unless the position is at the end.
    ///
    /// # Errors
    /// Those of GetObject, `ObjectChanged`, `Integrity`, and of `watch`.
    pub fn fill(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        match self.fill_once(watch) {
            Err(error) if self.begins_again(&error) => self.fill_once(watch),
            outcome => outcome,
        }
    }

    /// Says whether the read that failed with `error` is to be begun again, on the version that is there now: the
    /// object was replaced before the caller saw anything of it. Once in a reader's life; its size may be another.
    pub fn begins_again(&mut self, error: &Error) -> bool {
        let begins = error.kind == ErrorKind::ObjectChanged && !self.is_told && !self.has_begun_again;
        if begins {
            self.has_begun_again = true;
            self.forget_version();
        }
        begins
    }

    /// Fills all of `buffer` from the position on, which has that many bytes [`ObjectReader::remaining`].
    ///
    /// # Errors
    /// Those of GetObject, `ObjectChanged` (see [`ObjectReader::begins_again`]), `Integrity`, and of `watch`; the
    /// loan was given back by then and holds unspecified bytes, and the position is where it was.
    pub fn read_into<B: Lend>(&mut self, buffer: B, watch: Watch<'_>) -> Result<B, Error> {
        self.timed(|reader| reader.fill_loan(buffer, watch))
    }

    fn fill_loan<B: Lend>(&mut self, mut buffer: B, watch: Watch<'_>) -> Result<B, Error> {
        let (start, count) = (self.position, buffer.memory().len() as u64);
        self.open(watch)?;
        if !self.is_direct(count) {
            self.all_or_nothing(|reader| reader.read_small(&mut buffer, watch))?;
            return Ok(buffer);
        }
        self.notes.waits(SystemClock.now());
        let read = self.read_large(start..start + count, buffer, watch);
        self.ahead.caller_leaves();
        self.told();
        let buffer = read?;
        self.move_to(start + count);
        Ok(buffer)
    }

    /// True if a read of `count` bytes goes straight into the caller's memory: a large one, and the whole object at
    /// once, which is then compared with its checksum, and fetched again, before anything of it is told.
    #[must_use]
    pub fn is_direct(&self, count: u64) -> bool {
        let is_whole = || self.version.as_ref().is_some_and(|version| version.size == count);
        count >= DIRECT_BYTES || (count > 0 && self.position == 0 && is_whole())
    }

    /// Fills `buffer` with what is read ahead.
    fn read_small<B: Lend>(&mut self, buffer: &mut B, watch: Watch<'_>) -> Result<(), Error> {
        let mut offset = 0;
        while offset < buffer.memory().len() {
            self.fill_once(watch)?;
            let taken = lend::copy(self.buffered(), &mut buffer.memory()[offset..]);
            if taken == 0 {
                return Err(Error::internal("read", "a read beyond the end was asked for"));
            }
            self.advance(taken);
            offset += taken;
        }
        Ok(())
    }

    /// Gives up what is on the wire, and says how long a long load took.
    pub fn close(&mut self) {
        self.ahead.clear();
        if self.generation == fork::generation() {
            self.loading.tell_end();
        }
    }

    /// Counts the time of `call`, one of the program's, as time of the load.
    fn timed<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let begins = self.loading.begin();
        let outcome = call(self);
        if begins {
            self.loading.end();
            // Many a program reads everything, and closes nothing. A visit to the end is not the end yet.
            let is_at_end =
                |version: &Version| version.size == self.position && self.loading.has(version.size);
            if self.version.as_ref().is_some_and(is_at_end) {
                self.loading.tell_end();
            }
        }
        outcome
    }

    fn move_to(&mut self, position: u64) {
        self.position = position;
        self.ahead.read_to(position);
        self.is_told = true;
    }

    /// Takes over in a forked child: the parent's threads are not here, its parts are the parent's.
    ///
    /// Position and version stay, so the child reads on in the same object.
    fn enter_process(&mut self) -> Result<(), Error> {
        if self.generation != fork::generation() {
            self.workers = self.engine.workers()?;
            self.client.transport("read")?.crowd.enter(Arc::downgrade(&self.notes) as Weak<dyn Told>);
            let ahead = Ahead::new(&self.client, &self.workers, &self.uri);
            std::mem::forget(std::mem::replace(&mut self.ahead, ahead));
            self.ahead.read_to(self.position);
            self.tiles = Tiles::default();
            self.loading = Loading::new(&self.uri, self.client.config().timeouts.tick);
            self.generation = fork::generation();
        }
        Ok(())
    }

    /// Learns size and version from HEAD, if no listing told them. Every read passes here first.
    fn open(&mut self, watch: Watch<'_>) -> Result<&Version, Error> {
        self.enter_process()?;
        if self.version.is_none() {
            let (client, uri) = (self.client.clone(), self.uri.clone());
            self.notes.waits(SystemClock.now());
            let mut watch = self.loading.telling(watch);
            let info = call(&self.workers, &mut watch, move |cancel| client.head_object(&uri, cancel));
            drop(watch);
            self.told();
            let info = info?;
            let etag = info.etag.ok_or_else(|| self.versionless())?;
            let crc64 = fetch::comparable(&self.client, info.crc64);
            self.version = Some(Version { size: info.size, etag, crc64 });
        }
        self.version.as_ref().ok_or_else(|| Error::internal("HeadObject", "no version"))
    }

    /// Without a version the parts of a read could be of several.
    fn versionless(&self) -> Error {
        let text = "the answer names no version (ETag), without which a read could mix two; something between us and \
                    OSS takes headers away; let it pass them";
        Error::new(ErrorKind::Protocol, "HeadObject", text).with_uri(self.uri.to_string())
    }

    /// The version to read of.
    fn begin(&mut self, watch: Watch<'_>) -> Result<Version, Error> {
        match &self.damage {
            Some(damage) => Err(damage.clone()),
            None => self.open(watch).cloned(),
        }
    }

    /// Lets the reader start again on the version that is there now; the caller saw nothing of the old one.
    fn forget_version(&mut self) {
        self.ahead.clear();
        self.version = None;
        self.tiles = Tiles::default();
        self.client.count(Counter::ObjectsChanged);
    }

    fn fill_once(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        let version = self.begin(watch)?;
        if self.position >= version.size {
            return Ok(());
        }
        self.ahead.reach(self.position, &version);
        self.receive_ahead(self.position, watch)?;
        self.check_whole()
    }

    /// Waits until the part that holds `position` is in memory.
    fn receive_ahead(&mut self, position: u64, watch: Watch<'_>) -> Result<(), Error> {
        self.notes.waits(SystemClock.now());
        let arrived = self.ahead.wait(position, &mut self.loading.telling(watch));
        let arrived = arrived.inspect_err(|_| self.ahead.give_up_missing());
        self.told();
        let arrived = arrived?;
        if let Some(part) = arrived {
            self.loading.received(part.range.end - part.range.start);
            self.tiles.add(part.range, part.crc64);
            self.note_crc(part.object_crc64);
        }
        Ok(())
    }

    /// The consumer waits no longer.
    fn told(&self) {
        let ranges = self.ahead.ranges();
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        self.notes.delivered(ranges.len(), bytes, SystemClock.now());
    }

    /// Waits until the jobs of `slot`, which were cancelled, have ended; does them where nobody else can.
    fn outlast<T>(&self, slot: &Slot<T>) {
        while !slot.is_done() {
            if !self.workers.run_one() {
                slot.wait(SLICE);
            }
        }
    }

    fn note_crc(&mut self, crc64: Option<u64>) {
        if let Some(version) = &mut self.version {
            version.crc64 = version.crc64.or(crc64);
        }
    }

    /// Compares the CRC-64 of everything received with the object's, once it tiles the object.
    fn check_whole(&mut self) -> Result<(), Error> {
        let Some(Version { size, crc64, .. }) = self.version else { return Ok(()) };
        let Some(found) = self.tiles.whole(size) else { return Ok(()) };
        self.tiles = Tiles::default();
        let Some(expected) = crc64 else { return fetch::unchecked(&self.client, &self.uri) };
        if found == expected {
            self.client.count(Counter::CrcChecked);
            return Ok(());
        }
        self.client.count(Counter::CrcMismatched);
        let text = format!(
            "the bytes received have CRC-64 {found}, OSS keeps {expected}: they were damaged on the way; \
             read again from the start"
        );
        let damage = Error::new(ErrorKind::Integrity, "read", text).with_uri(self.uri.to_string());
        self.damage = Some(damage.clone());
        // The last part must not be told as if it were the end of a whole object.
        self.ahead.clear();
        Err(damage)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        // In a forked child this reaches nothing of the parent's: a cancel knows its process.
        self.close();
    }
}
