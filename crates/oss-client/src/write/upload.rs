//! One object on its way: bytes in, parts out, nothing visible before `publish`.
//!
//! ```text
//! Open ── first part full ──► Multipart ──┐
//!   │                                     ├─ seal, publish ─► Publishing ─► Published
//!   └── small, still one buffer ──────────┘                       └──────► Unknown
//! any state before ── a failed part, abort, drop, fork ─► Aborted
//! ```
//!
//! [`Upload::write`] copies into the buffer of the part being filled and returns; full parts are sent by
//! [`UploadWorkers`] meanwhile. A write larger than the window is sent from the caller's memory, and only
//! its tail is copied. The CRC-64 of a part runs over the bytes as they are handed in, slice by slice while they
//! are in the cache; the service's checksum of what it received is compared with it, and those of all parts make
//! that of the object.
//!
//! An upload belongs to the process that made it. In a forked child every call is refused before it
//! touches a lock, a thread or a socket, and dropping it does nothing: the upload is the parent's.

use std::collections::VecDeque;

use oss_protocol::crc64::{Crc64, combine};
use oss_protocol::uri::ObjectUri;

use super::failure;
use super::options::UploadOptions;
use super::parts::{MAX_PARTS, PartSchedule};
use super::progress::{Progress, Timings, telling};
use super::resume::Begun;
use super::settle::Intent;
use super::stage::Stage;
use super::workers::{UploadWorkers, allocate};
use crate::client::Client;
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::fork;
use crate::interrupt::{self, Watch};
use crate::lend::populate;
use crate::operations::{OnAmbiguous, PutOptions, Written};
use crate::stats::Counter;

/// Bytes are summed up and copied in slices of 256 KiB, which stay in the cache between the two.
const SLICE_BYTES: usize = 256 << 10;

/// An object being written. See the module for its life.
#[derive(Debug)]
pub struct Upload {
    pub(super) client: Client,
    pub(super) uri: ObjectUri,
    pub(super) options: PutOptions,
    pub(super) schedule: PartSchedule,
    pub(super) size_hint_bytes: Option<u64>,
    /// What the service has stays when the upload is given up.
    pub(super) keeps_parts: bool,
    capacity_bytes: u64,
    generation: u32,
    pub(super) stage: Stage,
    /// There once the object is larger than a part.
    pub(super) workers: Option<UploadWorkers>,
    /// Id of the multipart upload; stays when the workers are gone.
    pub(super) upload_id: Option<String>,
    /// A part was cancelled on its way.
    pub(super) is_cut_off: bool,
    /// The part being filled; without memory until a byte is copied.
    pub(super) buffer: Vec<u8>,
    /// Number of the part being filled.
    number: u32,
    pub(super) accepted_bytes: u64,
    /// Of the parts handed over.
    parts_crc64: u64,
    pub(super) parts_bytes: u64,
    /// Bytes that the service had already, of an upload that was gone on with; known once all are there.
    pub(super) reused_bytes: u64,
    /// Size and CRC-64 of each part; known once all are there.
    pub(super) part_sums: Vec<(u64, u64)>,
    /// Of the part being filled.
    crc: Crc64,
    pub(super) progress: Progress,
    /// Why nothing can be published any more.
    pub(super) failure: Option<Error>,
    pub(super) written: Option<Written>,
    /// A Complete that may be carried out yet, and that nobody has called back.
    pub(super) in_doubt: Option<Intent>,
}

impl Upload {
    /// Prepares an upload to `uri`. Sends nothing.
    #[must_use]
    pub fn new(client: &Client, uri: ObjectUri, options: UploadOptions) -> Self {
        let limits = &client.config().limits;
        let progress = Progress::new(&uri, client.config().timeouts.tick);
        let schedule =
            PartSchedule::new(limits.part_size_bytes, options.size_hint_bytes, limits.upload_buffer_bytes);
        Upload {
            client: client.clone(),
            uri,
            options: PutOptions {
                if_absent: options.if_absent,
                content_type: options.content_type,
                storage_class: options.storage_class,
                metadata: options.metadata,
                on_ambiguous: OnAmbiguous::Return,
            },
            capacity_bytes: schedule.capacity_bytes(),
            schedule,
            size_hint_bytes: options.size_hint_bytes,
            keeps_parts: false,
            generation: fork::generation(),
            stage: Stage::Open,
            workers: None,
            upload_id: None,
            is_cut_off: false,
            buffer: Vec::new(),
            number: 1,
            accepted_bytes: 0,
            parts_crc64: 0,
            parts_bytes: 0,
            reused_bytes: 0,
            part_sums: Vec::new(),
            crc: Crc64::new(),
            progress,
            failure: None,
            written: None,
            in_doubt: None,
        }
    }

    /// The object.
    #[must_use]
    pub fn uri(&self) -> &ObjectUri {
        &self.uri
    }

    /// Where the upload is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn accepted_bytes(&self) -> u64 {
        self.accepted_bytes
    }

    /// Size and CRC-64/XZ of each part, in order, once the service has all. None for an object of one part.
    #[must_use]
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.part_sums
    }

    /// CRC-64/XZ of the bytes taken so far.
    #[must_use]
    pub fn crc64(&self) -> u64 {
        combine(self.parts_crc64, self.crc.value(), self.accepted_bytes - self.parts_bytes)
    }

    /// How long the stages took so far.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.progress.timings()
    }

    /// Id of the multipart upload, if one was begun.
    #[must_use]
    pub fn upload_id(&self) -> Option<&str> {
        self.upload_id.as_deref()
    }

    /// Bytes that were not sent, as the service had them of an earlier try; 0 before it is published.
    #[must_use]
    pub fn reused_bytes(&self) -> u64 {
        self.reused_bytes
    }

    /// Whether this process is a child that inherited the upload, which is dead here.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }

    /// Takes all of `data`, which may be reused when this returns. Blocks while the window is full.
    ///
    /// # Errors
    /// `Closed` after `seal` or `abort`, `Forked` in a child, `Config` if OSS has no room for that many
    /// bytes, `OutOfMemory`; what a part failed with, after the upload was aborted; or the watch's
    /// error: then it is not known how much of `data` was taken, and only `abort` is left to do.
    pub fn write(&mut self, data: &[u8], watch: Watch<'_>) -> Result<(), Error> {
        self.check_process("write")?;
        self.check_takes_bytes()?;
        let total = self.accepted_bytes.saturating_add(data.len() as u64);
        if total > self.capacity_bytes {
            return Err(self.too_large(total));
        }
        self.progress.begin();
        let taken = self.take(data, &mut *watch);
        taken.map_err(|error| self.fail(error, watch))
    }

    /// Takes no more bytes. Nothing becomes visible.
    ///
    /// # Errors
    /// `Closed` after `abort`, `Forked` in a child, or what an earlier write failed with.
    pub fn seal(&mut self) -> Result<(), Error> {
        self.check_process("close")?;
        match (&self.failure, self.stage) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Stage::Aborted) => Err(self.closed("it was aborted")),
            (None, Stage::Open | Stage::Multipart) => {
                self.stage = Stage::Sealed;
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    fn take(&mut self, mut data: &[u8], watch: Watch<'_>) -> Result<(), Error> {
        while !data.is_empty() {
            let part_bytes = self.part_bytes()?;
            if self.buffer.len() as u64 == part_bytes {
                self.send_buffer(watch)?;
            } else if self.buffer.is_empty() && data.len() as u64 > self.schedule.window_bytes(part_bytes) {
                data = self.send_borrowed(data, watch)?;
            } else {
                data = self.copy(data, part_bytes, watch)?;
            }
        }
        Ok(())
    }

    /// Copies what fits into the part being filled; returns the rest.
    fn copy<'d>(&mut self, data: &'d [u8], part_bytes: u64, watch: Watch<'_>) -> Result<&'d [u8], Error> {
        if self.buffer.capacity() == 0 {
            let window_bytes = self.schedule.window_bytes(part_bytes);
            self.buffer = match &self.workers {
                Some(workers) => {
                    let began = SystemClock.now();
                    let mut telling = telling(&mut self.progress, workers, watch);
                    let buffer = workers.buffer(part_bytes, window_bytes, &mut telling);
                    drop(telling);
                    self.progress.uploaded_since(began);
                    buffer?
                }
                None => allocate(part_bytes)?,
            };
        }
        let room = part_bytes - self.buffer.len() as u64;
        let (piece, rest) = data.split_at(usize::try_from(room).unwrap_or(usize::MAX).min(data.len()));
        if piece.len() > SLICE_BYTES {
            populate(&mut self.buffer.spare_capacity_mut()[..piece.len()]);
        }
        for slice in piece.chunks(SLICE_BYTES) {
            self.crc.update(slice);
            self.buffer.extend_from_slice(slice);
        }
        self.accepted_bytes += piece.len() as u64;
        Ok(rest)
    }

    /// Hands the part being filled to the workers, whatever its size.
    pub(super) fn send_buffer(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        let number = self.number;
        let held_bytes = self.buffer.capacity() as u64;
        self.workers(held_bytes, watch)?;
        let crc64 = std::mem::replace(&mut self.crc, Crc64::new()).value();
        let bytes = std::mem::take(&mut self.buffer);
        self.handed_over(crc64, bytes.len() as u64);
        if let Some(workers) = &self.workers {
            workers.send(number, bytes, crc64);
            self.progress.look(|| workers.counts());
        }
        self.number += 1;
        Ok(())
    }

    /// Sends as many whole parts as `data` has from the caller's memory; returns the rest.
    fn send_borrowed<'d>(&mut self, data: &'d [u8], watch: Watch<'_>) -> Result<&'d [u8], Error> {
        let mut parts = VecDeque::new();
        let (first, mut rest) = (self.number, data);
        while let Ok(part_bytes) = self.part_bytes()
            && let Some((part, behind)) =
                usize::try_from(part_bytes).ok().and_then(|at| rest.split_at_checked(at))
        {
            parts.push_back((self.number, part));
            rest = behind;
            self.number += 1;
        }
        self.workers(0, &mut *watch)?;
        let Some(workers) = &self.workers else {
            return Err(Error::internal("write", "an upload without workers"));
        };
        let began = SystemClock.now();
        let mut telling = telling(&mut self.progress, workers, watch);
        let sent = workers.send_borrowed(parts, &mut telling);
        drop(telling);
        self.progress.uploaded_since(began);
        sent?;
        // The bytes were summed up when they were sent.
        let (crc64, size_bytes) = workers.sum_from(first);
        self.handed_over(crc64, size_bytes);
        self.accepted_bytes += size_bytes;
        Ok(rest)
    }

    fn handed_over(&mut self, crc64: u64, size_bytes: u64) {
        self.parts_crc64 = combine(self.parts_crc64, crc64, size_bytes);
        self.parts_bytes += size_bytes;
    }

    /// Begins the multipart upload, if that was not done.
    pub(super) fn workers(&mut self, held_bytes: u64, watch: Watch<'_>) -> Result<(), Error> {
        if self.workers.is_some() {
            return Ok(());
        }
        self.check_process("write")?;
        let began = SystemClock.now();
        let (client, uri, options) = (&self.client, &self.uri, &self.options);
        let initiate = |cancel: &_| client.initiate_multipart_upload(uri, options, cancel);
        let ran = interrupt::run("oss-upload", None, &SystemClock, watch, initiate);
        self.progress.uploaded_since(began);
        // An id that came in the moment of an interrupt is kept, so that it can be aborted.
        if let Ok(upload_id) = &ran.result {
            self.upload_id = Some(upload_id.clone());
        }
        let upload_id = ran.or_interrupt()?;
        self.take_over(Begun::anew(upload_id), held_bytes);
        Ok(())
    }

    /// Makes the workers of a multipart upload that was begun. `held_bytes` is the memory there is already.
    pub(super) fn take_over(&mut self, begun: Begun, held_bytes: u64) {
        self.workers = Some(UploadWorkers::new(&self.client, &self.uri, begun, held_bytes));
        if self.stage == Stage::Open {
            self.stage = Stage::Multipart;
        }
    }

    fn part_bytes(&self) -> Result<u64, Error> {
        self.schedule.part_size_bytes(self.number).ok_or_else(|| self.too_large(self.accepted_bytes + 1))
    }

    fn too_large(&self, total_bytes: u64) -> Error {
        let text = format!(
            "{total_bytes} bytes do not fit into {MAX_PARTS} parts, which hold {} bytes here; give size_hint_bytes, \
             or raise part_size_bytes or upload_buffer_bytes",
            self.capacity_bytes,
        );
        Error::new(ErrorKind::Config, "write", text).with_uri(self.uri.to_string())
    }

    pub(super) fn check_process(&self, operation: &'static str) -> Result<(), Error> {
        if !self.is_forked() {
            return Ok(());
        }
        let text =
            "this writer was opened by the parent process and is dead in a forked child; open one here";
        Err(Error::new(ErrorKind::Forked, operation, text).with_uri(self.uri.to_string()))
    }

    pub(super) fn check_takes_bytes(&self) -> Result<(), Error> {
        match (&self.failure, self.stage) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Stage::Open | Stage::Multipart) => Ok(()),
            (None, stage) => Err(self.closed(&format!("it is {}", stage.as_str()))),
        }
    }

    pub(super) fn closed(&self, why: &str) -> Error {
        let text = format!("this writer takes nothing any more: {why}; open a new one");
        Error::new(ErrorKind::Closed, "write", text).with_uri(self.uri.to_string())
    }

    /// Remembers why nothing can be published any more, and returns the error to raise.
    ///
    /// A failed request aborts the upload at once. After an interrupt that is left to the caller, who knows
    /// how long it may take; the watch's own error goes back as it came.
    pub(super) fn fail(&mut self, error: Error, watch: Watch<'_>) -> Error {
        let is_part = self.workers.as_ref().is_some_and(|workers| workers.failure().is_some());
        let is_request = is_part || error.attempts > 0;
        let mut failed = failure::not_committed(error.clone(), self.upload_id.as_deref());
        if failed.uri.is_empty() {
            failed.uri = self.uri.to_string();
        }
        self.stop();
        if is_request {
            if let Err(leftover) = self.abort_upload(watch) {
                failed = failed.with_cause(leftover.message.clone());
            }
            self.stage = Stage::Aborted;
        }
        self.failure = Some(failed.clone());
        if is_request { failed } else { error }
    }

    /// Ends all work of ours on the upload and gives its memory back.
    pub(super) fn stop(&mut self) {
        self.progress.stop();
        if let Some(workers) = self.workers.take() {
            self.is_cut_off |= workers.stop();
        }
        self.buffer = Vec::new();
    }

    /// Gives up without a word: for finalisers, and after an interrupt. Never publishes; in a forked child does
    /// nothing at all, nor where something of it is visible, or may be and cannot be called back.
    pub fn abandon(&mut self) {
        if self.is_forked() {
            if let Some(workers) = self.workers.take() {
                workers.forget();
            }
            return;
        }
        // Publishing: it was interrupted between two tries, the first of which was proved to have done nothing.
        let is_open =
            matches!(self.stage, Stage::Open | Stage::Multipart | Stage::Sealed | Stage::Publishing);
        let is_in_doubt = self.stage == Stage::Unknown && self.in_doubt.is_some();
        if is_open || is_in_doubt {
            if self.failure.is_none() {
                self.client.count(Counter::UploadsAbandoned);
            }
            let _ = self.abort(&mut || Ok(()));
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.abandon();
    }
}
